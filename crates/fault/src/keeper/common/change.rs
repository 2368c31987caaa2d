//! A change just before is a suspect for what servers share: they were started with another version of a file.

use std::time::Duration;

use evenkeel_core::{Instant, ProgramChange};

use crate::common_cause::CommonCause;
use crate::keeper::service::WatchedService;
use crate::maintenance::calendar;

/// A start so long before is just before.
const JUST_BEFORE: Duration = Duration::from_secs(600);

impl WatchedService {
    /// What was changed before half or more of the servers of `cause` were started, in words.
    pub(super) fn change_before(&self, now: Instant, cause: &CommonCause) -> Option<String> {
        let all = cause.servers.iter().filter_map(|&at| self.servers.get(at));
        let changed: Vec<(Instant, &ProgramChange, &str)> = all
            .filter_map(|server| {
                let process = &server.facts.process;
                let (started, change) = (process.started?, process.changed.as_deref()?);
                let is_just_before = now.since(started) <= JUST_BEFORE;
                is_just_before.then_some((started, change, server.name.as_str()))
            })
            .collect();
        let (started, change, _) = changed.iter().max_by_key(|(started, ..)| *started)?;
        if changed.len() * 2 < cause.servers.len() {
            return None;
        }
        let names: Vec<&str> = changed.iter().map(|(_, _, name)| *name).collect();
        Some(format!(
            "{} was changed at {}, and {} {} started with it, the last {} s before",
            change.path,
            calendar(change.modified_millis),
            names.join(", "),
            if names.len() == 1 { "was" } else { "were" },
            now.since(*started).as_secs()
        ))
    }
}
