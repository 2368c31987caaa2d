//! The client's deadline: heeded when a request comes, and what is left of it told to servers with each attempt.
//!
//! A client can say any time, also one that no server can keep. So an attempt that a client's deadline has cut off is no
//! failure of its server: it counts as cancelled ([`evenkeel_core::blame`]).

use evenkeel_core::metric::Counter;
use evenkeel_request::Cause;
use evenkeel_request::deadline::{DeadlineHeader, ROOM, Told};

use crate::client::Client;
use crate::drive::Journey;
use crate::results::Results;
use crate::view::View;
use crate::worker::Workspace;

/// What clients' deadlines were; the place is what is counted with.
const RESULTS: [&str; 4] = ["shorter", "longer", "passed", "malformed"];
const SHORTER: usize = 0;
/// Than the service's own time: it changes nothing.
const LONGER: usize = 1;
const PASSED: usize = 2;
const MALFORMED: usize = 3;

/// One worker's numbers of one service's deadlines.
pub(crate) type DeadlineCounters = [Counter; RESULTS.len()];

/// Where in a prepared head the time that is left stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room<'a> {
    pub(crate) header: &'a DeadlineHeader,
    pub(crate) at: usize,
}

impl Journey<'_> {
    /// Takes the deadline of the client whose request's head is in `work`; a cause if it has passed already.
    pub(crate) fn heed_deadline(&mut self, client: &Client, work: &Workspace) -> Option<Cause> {
        let header = self.policies.deadline.as_ref()?;
        let told = header.told(&View {
            head: &work.request,
            bytes: client.buffer.unread(),
        });
        let place = match told {
            Told::Nothing => return None,
            Told::Malformed => MALFORMED,
            Told::Left(left) if left.is_zero() => PASSED,
            Told::Left(left) => {
                let own = self.exchange.deadline();
                self.exchange.heed(left, self.started);
                if self.exchange.deadline() == own {
                    LONGER
                } else {
                    SHORTER
                }
            }
        };
        let counters = self.worker.service_counters(self.service_id.0 as usize);
        counters.deadlines[place].add_from_owner(1);
        (place == PASSED).then_some(Cause::Deadline)
    }

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
