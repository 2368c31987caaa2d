//! What must hold of a stream that a server refused before it processed any of it: no application has seen the request, so it is
//! sent again at once, whatever its method and whatever the configuration lists.

use evenkeel_core::Outcome;
use evenkeel_request::exchange::{Count, Event};

use super::retries::MOST_FREE;
use super::{RequestBooks, Stepped};

impl RequestBooks {
    /// A server may have seen something of it.
    pub(super) fn was_seen(&self) -> bool {
        let is_seen = |outcome| outcome != Some(Outcome::StreamRefused);
        let mut attempts = self.attempts.iter();
        attempts.any(|one| one.is_sent && is_seen(one.outcome))
    }

    /// An attempt whose stream was refused is followed by another one, free and without a pause: the first time on a server, with
    /// all of the body at hand, in time, and for a client that waits.
    pub(super) fn check_refused_stream(&self, stepped: &Stepped<'_, '_>) {
        let is_refusal =
            matches!(stepped.event, Event::Ended(end) if end.outcome == Outcome::StreamRefused);
        let Some(report) = stepped.calls.ended.last().filter(|_| is_refusal) else {
            return;
        };
        let free_on = &self.visit.free_on;
        let is_free = free_on.len() < MOST_FREE && !free_on.contains(&report.server.index);
        let may_be_sent = !stepped.facts.is_lost && stepped.now < self.visit.deadline;
        let mut counts = stepped.calls.counts.iter();
        let is_retried = counts.any(|(_, count)| {
            matches!(count, Count::Retry(Outcome::StreamRefused, wait) if wait.is_zero())
        });
        let must_be = is_free && may_be_sent && !self.has_client_gone;
        assert!(is_retried || !must_be, "it is not sent again: {stepped:?}");
    }
}
