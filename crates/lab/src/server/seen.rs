//! The sample server's log of requests: each one that arrived, whatever became of it.
//!
//! Recorded on arrival and not with the response, so that a test can prove that no POST arrived twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use evenkeel_core::Recent;

use crate::http::WireRequest;

const REMEMBERED: usize = 200_000;

/// Counts per method, and the latest requests.
#[derive(Debug)]
pub(crate) struct RequestLog {
    per_method: BTreeMap<String, u64>,
    latest: Recent<RequestLogEntry>,
}

#[derive(Debug)]
struct RequestLogEntry {
    method: String,
    id: String,
    target: String,
}

impl Default for RequestLog {
    fn default() -> Self {
        Self {
            per_method: BTreeMap::new(),
            latest: Recent::new(REMEMBERED),
        }
    }
}

impl RequestLog {
    pub(crate) fn add(&mut self, head: &WireRequest) {
        // A peer could invent methods without end; 64 are more than there are.
        if self.per_method.len() < 64 || self.per_method.contains_key(&head.method) {
            *self.per_method.entry(head.method.clone()).or_default() += 1;
        }
        let id = head.fields.get("x-request-id").unwrap_or("-").to_owned();
        self.latest.push(RequestLogEntry {
            method: head.method.clone(),
            id,
            target: head.target.clone(),
        });
    }

    /// `{"GET":3,"POST":1}`
    pub(crate) fn counts_json(&self) -> String {
        serde_json::json!(self.per_method).to_string()
    }

    /// A line `METHOD ID TARGET` for each remembered request (with `method`, if given), oldest first.
    pub(crate) fn lines(&self, method: Option<&str>) -> String {
        let mut text = String::new();
        for entry in self
            .latest
            .iter()
            .filter(|entry| method.is_none_or(|method| entry.method == method))
        {
            writeln!(text, "{} {} {}", entry.method, entry.id, entry.target)
                .expect("a string takes all");
        }
        text
    }
}
