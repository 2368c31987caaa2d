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
}

impl Totals {
    /// Whether all of it has happened.
    pub(crate) fn is_everything(&self) -> bool {
        let all = [
            self.hedges,
            self.queued,
            self.held,
            self.rescued,
            self.passed_on,
            self.replied,
            self.aborted,
            self.dropped,
            self.switched_service,
            self.quarantined,
            self.closed,
            self.maintenance,
            self.strays,
            self.routed,
            self.limited,
        ];
        self.ended_holds > 0 && all.iter().all(|count| *count > 10)
    }
}
