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
}

impl Totals {
    /// Whether all of it has happened.
    pub(crate) fn is_everything(&self) -> bool {
        let all = [
            self.hedges,
            self.queued,
            self.held,
            self.rescued,
            self.streams_refused,
            self.passed_on,
            self.replied,
            self.aborted,
            self.dropped,
            self.switched_service,
            self.quarantined,
            self.closed,
            self.maintenance,
            self.strays,
        ];
        all.iter().all(|count| *count > 10)
    }
}
