//! Servers that are asked how busy they are (`balance.prequal`): one question for each pick, beside the requests.
//!
//! No request waits for an answer: it is for the picks that come after it. A question is no attempt: it counts nowhere as
//! one, is no load of its server, and how it ends is no signal. What comes of one that fails is that the balancer goes by its
//! own counts.

use std::rc::Rc;
use std::time::Duration;

use evenkeel_balance::{Picker, ProbedLoad};
use evenkeel_config::plan::LoadProbePlan;
use evenkeel_core::blame::TimeLimit;
use evenkeel_core::{Endpoint, Instant, Outcome};
use evenkeel_http1::Method;
use evenkeel_request::service::ServerSet;
use serde::Deserialize;

use crate::upstream::client::{BodyEnd, UpstreamClient};
use crate::upstream::idle_timeout::Reuse;
use crate::worker::Worker;
use crate::worker::worker_snapshot::WorkerService;

/// Questions under way at the same time, for each service and worker.
const MOST_AT_ONCE: u32 = 16;
/// Longer answers are not understood.
const MOST_BYTES: usize = 4096;
/// So much of them is read all the same: closing with unread bytes would be a reset for the server.
const READ_BYTES: usize = 64 * 1024;
/// More requests in flight than this are no number of requests.
const MOST_IN_FLIGHT: f64 = 1e9;
/// A latency above this, a day, is none.
const MOST_MILLIS: f64 = 86_400_000.0;

/// The index of what was not asked at all.
const SKIPPED: usize = 4;

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Answered(ProbedLoad),
    /// No connection, no whole answer, or another status than 200.
    Failed,
    TimedOut,
    /// It is too long, or not what it should be.
    NotUnderstood,
    /// evenkeel had no descriptor or local port left for it.
    Skipped,
}

/// A question under way. Counted in when it is made and out when it is dropped.
#[derive(Debug)]
struct LoadProbe {
    worker: Rc<Worker>,
    service: Rc<WorkerService>,
    server: u32,
    address: Endpoint,
    /// Which of the servers that have been at this place is asked.
    generation: u64,
}

/// What a server says.
#[derive(Debug, Deserialize)]
struct LoadBody {
    in_flight: f64,
    #[serde(default)]
    latency_ms: Option<f64>,
}

impl Worker {
    /// After a pick: asks one of the servers, if the service's servers are asked.
    pub(crate) fn ask(
        self: &Rc<Self>,
        service: &Rc<WorkerService>,
        picker: &mut Picker,
        servers: &ServerSet,
        now: Instant,
    ) {
        if service.entry.ask.is_none() {
            return;
        }
        let Some(index) = picker.to_ask(servers.pool(), now) else {
            return;
        };
        let Some(address) = servers.address(index) else {
            return;
        };
        let under_way = service.asking();
        if under_way.get() >= MOST_AT_ONCE {
            count_asked(service, SKIPPED);
            return;
        }
        under_way.set(under_way.get() + 1);
        let question = LoadProbe {
            worker: Rc::clone(self),
            service: Rc::clone(service),
            server: index,
            address: address.clone(),
            generation: servers.generation(index),
        };
        tokio::task::spawn_local(question.travel());
    }
}

fn count_asked(service: &WorkerService, result: usize) {
    service.counters.asked[result].add_from_owner(1);
}

impl LoadProbe {
    /// Asks, and passes the answer on to the balancer.
    async fn travel(self) {
        let service = &self.service;
        let entry = &service.entry;
        let Some(plan) = &entry.ask else {
            return;
        };
        let end = self.end(plan, entry.policies().timeout.connect).await;
        count_asked(service, end.place());
        let servers = service.servers();
        if servers.generation(self.server) != self.generation {
            return;
        }
        let picker = &mut service.picker().borrow_mut();
        match end {
            End::Answered(answer) => {
                let now = self.worker.clock.now();
                picker.heard(servers.pool(), now, self.server, answer);
            }
            End::Failed | End::TimedOut | End::NotUnderstood | End::Skipped => picker.unheard(),
        }
    }

    async fn end(&self, plan: &LoadProbePlan, connect: Duration) -> End {
        let worker = &*self.worker;
        let end = worker.clock.now() + plan.timeout;
        let at = (&self.address, self.generation);
        let times = (connect, plan.timeout);
        let server = (&self.service, self.server);
        let opened = UpstreamClient::open(worker, server, at, Reuse::Once, times).await;
        let mut line = match opened {
            Ok(line) => line,
            Err(outcome) => return End::of_outcome(outcome),
        };
        line.until((end, TimeLimit::Attempt));
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: evenkeel\r\nAccept: application/json\r\n\r\n",
            plan.path, plan.host
        );
        let status = match line.ask(request.as_bytes(), Method::Get, None).await {
            Ok(status) => status,
            Err(outcome) => {
                line.end(worker, false);
                return End::of_outcome(outcome);
            }
        };
        let mut content = Vec::new();
        let body = line.read_body(READ_BYTES, Some(&mut content)).await;
        let reusable = matches!(body, BodyEnd::Whole { reusable: true });
        line.end(worker, reusable);
        match body {
            _ if status != 200 => End::Failed,
            _ if content.len() > MOST_BYTES => End::NotUnderstood,
            BodyEnd::Whole { .. } => understood(&content).map_or(End::NotUnderstood, End::Answered),
            BodyEnd::Enough => End::NotUnderstood,
            BodyEnd::Late => End::TimedOut,
            BodyEnd::Broken(_) => End::Failed,
        }
    }
}

impl Drop for LoadProbe {
    fn drop(&mut self) {
        let under_way = self.service.asking();
        under_way.set(under_way.get() - 1);
    }
}

impl End {
    const fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            // A question has no other limit of time than its own.
            Outcome::ConnectTimeout | Outcome::AttemptTimeout | Outcome::Cancelled => {
                Self::TimedOut
            }
            Outcome::LocalError => Self::Skipped,
            Outcome::Answered(_)
            | Outcome::ConnectRefused
            | Outcome::Unreachable
            | Outcome::Stale
            | Outcome::StreamRefused
            | Outcome::Reset { .. }
            | Outcome::BadResponse
            | Outcome::Truncated
            | Outcome::IdleTimeout
            | Outcome::Superseded
            | Outcome::Rescued => Self::Failed,
        }
    }

    /// Its place in [`LOAD_PROBES`](crate::stats::counters::LOAD_PROBES).
    const fn place(self) -> usize {
        match self {
            Self::Answered(_) => 0,
            Self::Failed => 1,
            Self::TimedOut => 2,
            Self::NotUnderstood => 3,
            Self::Skipped => SKIPPED,
        }
    }
}

/// What a server says with this body: `{"in_flight": 12, "latency_ms": 8.5}`. Other keys are passed over; what is wrong in
/// one of these is not taken at all.
fn understood(body: &[u8]) -> Option<ProbedLoad> {
    // A list would be read in the order of the fields.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let text = std::str::from_utf8(body).ok()?;
    if body.len() > MOST_BYTES || !is_object {
        return None;
    }
    let said: LoadBody = serde_json::from_str(text).ok()?;
    let latency = match said.latency_ms {
        Some(millis) if (0.0..=MOST_MILLIS).contains(&millis) => Some(millis),
        Some(_) => return None,
        None => None,
    };
    (0.0..=MOST_IN_FLIGHT)
        .contains(&said.in_flight)
        .then(|| ProbedLoad {
            in_flight: said.in_flight,
            latency: latency.map(|millis| Duration::from_secs_f64(millis / 1e3)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Option<(f64, Option<Duration>)> {
        understood(body.as_bytes()).map(|answer| (answer.in_flight, answer.latency))
    }

    #[test]
    fn valid_load_reports_are_parsed() {
        let latency = Some(Duration::from_micros(8_500));
        for (body, answer) in [
            ("{\"in_flight\": 12, \"latency_ms\": 8.5}", (12.0, latency)),
            ("{\"in_flight\": 0}", (0.0, None)),
            ("{\"in_flight\": 2.5, \"latency_ms\": null}", (2.5, None)),
            (
                " {\"name\": \"a\", \"more\": [{}], \"in_flight\": 1e1}\n",
                (10.0, None),
            ),
            (
                "{\"latency_ms\": 0, \"in_flight\": 1}",
                (1.0, Some(Duration::ZERO)),
            ),
        ] {
            assert_eq!(of(body), Some(answer), "{body}");
        }
    }

    #[test]
    fn invalid_load_reports_are_ignored() {
        for body in [
            "",
            "{}",
            "ok",
            "12",
            "[12, 8.5]",
            "null",
            "{\"in_flight\": 12",
            "{\"in_flight\": 12} x",
            "{\"in_flight\": \"12\"}",
            "{\"in_flight\": -1}",
            "{\"in_flight\": null}",
            "{\"in_flight\": NaN}",
            "{\"in_flight\": 1e999}",
            "{\"in_flight\": 1e10}",
            "{\"in_flight\": 1, \"in_flight\": 2}",
            "{\"in_flight\": 1, \"latency_ms\": -0.1}",
            "{\"in_flight\": 1, \"latency_ms\": \"1\"}",
            "{\"in_flight\": 1, \"latency_ms\": 1e300}",
            "{\"latency_ms\": 1}",
        ] {
            assert_eq!(of(body), None, "{body}");
        }
        let deep = |open: &str, close: &str| {
            let (open, close) = (open.repeat(1_000), close.repeat(1_000));
            of(&format!("{{\"in_flight\": 1, \"a\": {open}{close}}}"))
        };
        assert_eq!(deep("[", "]"), Some((1.0, None)), "it is passed over");
        assert_eq!(deep("[", "}"), None);
        let long = format!("{{\"in_flight\": 1{}}}", " ".repeat(MOST_BYTES));
        assert_eq!(of(&long), None);
        assert_eq!(understood(b"{\"in_flight\": 1, \"a\": \"\xff\"}"), None);
    }
}
