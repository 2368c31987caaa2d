//! How much has happened in a run: one in which something never happens tests nothing of it.

/// How much of what has happened, so that a run which tests nothing is noticed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) steps: u64,
    pub(crate) attempts: u64,
    pub(crate) hedges: u64,
    pub(crate) queued: u64,
    pub(crate) held: u64,
    pub(crate) rescued: u64,
    pub(crate) streams_refused: u64,
    pub(crate) passed_on: u64,
    pub(crate) replied: u64,
    pub(crate) aborted: u64,
    pub(crate) dropped: u64,
    pub(crate) switched_service: u64,
    pub(crate) quarantined: u64,
    pub(crate) closed: u64,
    pub(crate) maintenance: u64,
    pub(crate) strays: u64,
    /// Came by a route.
    pub(crate) routed: u64,
    /// Over a rate limit.
    pub(crate) limited: u64,
    /// Were held when nobody was to be held any longer.
    pub(crate) ended_holds: u64,
    /// Refused because the servers refuse most.
    pub(crate) throttled: u64,
    /// A worker did nothing for a while.
    pub(crate) stalls: u64,
    /// Turns in a queue that were not used in time.
    pub(crate) lapsed: u64,
}

impl Totals {
    fn all_mut(&mut self) -> [&mut u64; 23] {
        [
            &mut self.requests,
            &mut self.steps,
            &mut self.attempts,
            &mut self.hedges,
            &mut self.queued,
            &mut self.held,
            &mut self.rescued,
            &mut self.streams_refused,
            &mut self.passed_on,
            &mut self.replied,
            &mut self.aborted,
            &mut self.dropped,
            &mut self.switched_service,
            &mut self.quarantined,
            &mut self.closed,
            &mut self.maintenance,
            &mut self.strays,
            &mut self.routed,
            &mut self.limited,
            &mut self.ended_holds,
            &mut self.throttled,
            &mut self.stalls,
            &mut self.lapsed,
        ]
    }

    /// Adds those of another run.
    pub(crate) fn add(&mut self, mut other: Self) {
        let all = self.all_mut().into_iter().zip(other.all_mut());
        all.for_each(|(sum, count)| *sum += *count);
    }

    /// Whether all of it has happened.
    pub(crate) fn is_everything(&mut self) -> bool {
        self.all_mut().iter().all(|count| **count > 10)
    }
}
