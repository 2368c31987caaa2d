//! The client's deadline: heeded when a request comes, and what is left of it told to servers with each attempt.
//!
//! A client can say any time, also one that no server can keep. So an attempt that a client's deadline has cut off is no
//! failure of its server: it counts as cancelled ([`evenkeel_core::blame`]).

use evenkeel_core::metric::Counter;
use evenkeel_request::deadline::{DeadlineHeader, ROOM};

use crate::context::RequestContext;
use crate::results::Results;

/// What clients' deadlines were; the place is what is counted with.
const RESULTS: [&str; 4] = ["shorter", "longer", "passed", "malformed"];

/// One worker's numbers of one service's deadlines.
pub(crate) type DeadlineCounters = [Counter; RESULTS.len()];

/// Where in a prepared head the time that is left stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room<'a> {
    pub(crate) header: &'a DeadlineHeader,
    pub(crate) at: usize,
}

impl RequestContext<'_> {
    /// Puts the time that is left now into a head that is about to be sent.
    pub(crate) fn tell_deadline(&self, head: &mut [u8]) {
        if let Some(Room { header, at }) = self.room
            && let Some(room) = head.get_mut(at..at + ROOM)
        {
            let now = self.worker.clock.now();
            header.write(room, self.exchange.deadline(), now);
        }
    }
}

/// The metric of them.
pub(crate) const DEADLINES: Results = Results {
    name: "evenkeel_deadlines_total",
    about: "Requests whose clients said how long they wait, by what that was.",
    words: &RESULTS,
    counters: |counters| &counters.deadlines,
    is_there: |policies| policies.deadline.is_some(),
};
