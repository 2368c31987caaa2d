//! The incident of a server that is back in rotation without proof: requests had failed, and too few of that kind have come since.
//!
//! Nothing waits for it: the server counts as well, it holds no turn, and what is detected is judged as on any other server, only that
//! the incident is opened again for it. It closes once enough requests of the kind have succeeded, or after ten minutes.

use evenkeel_core::Instant;

use crate::incident::Impact;
use crate::signal::ObservedAttempt;
use crate::verify::{UNPROVEN, Verification, is_proof};

use super::case::Case;

/// If so many of its requests fail again, and a fifth of all, it was not over.
const FAILED: u32 = 3;

/// An incident that is not proven to be over.
#[derive(Debug)]
pub(super) struct Unproven {
    pub(super) case: Box<Case>,
    /// What it cost until the server was back.
    pub(super) impact: Impact,
    /// Probes that had passed in a row.
    pub(super) probes: u32,
    /// Requests of the kind that failed which succeeded since the repair.
    pub(super) succeeded: u32,
    failed: u32,
    /// The first of those that failed again.
    failed_since: Instant,
    /// When it closes without proof.
    until: Instant,
    /// It is settled, one way or the other: looked at again at once.
    is_due: bool,
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// Requests have proven that it is over.
    Proven,
    /// They have not, within ten minutes.
    Silent,
    /// Requests of the kind fail again, since then.
    Fails(Instant),
}

impl Unproven {
    /// The server is back in rotation at `now`, and `verification` was not enough.
    pub(super) fn new(
        case: Box<Case>,
        verification: &Verification,
        impact: Impact,
        now: Instant,
    ) -> Self {
        Self {
            case,
            impact,
            probes: verification.probes,
            succeeded: verification.succeeded,
            failed: verification.failed,
            failed_since: now,
            until: now + UNPROVEN,
            is_due: false,
        }
    }

    /// An attempt on its server has ended.
    pub(super) fn attempt(&mut self, ended: &ObservedAttempt) {
        if !self.case.is_about(ended.shape) {
            return;
        }
        let is_slow = |limit| ended.latency > limit;
        let is_bad = self.case.slow_limit.is_some_and(is_slow) || ended.outcome.is_failure();
        if !is_bad && !ended.outcome.is_success() {
            return;
        }
        if is_bad {
            if self.failed == 0 {
                self.failed_since = ended.at;
            }
            self.failed = self.failed.saturating_add(1);
        } else {
            self.succeeded = self.succeeded.saturating_add(1);
        }
        self.is_due = self.settled(ended.at).is_some();
    }

    /// What has become of it by now, if anything.
    pub(super) fn settled(&self, now: Instant) -> Option<Settled> {
        let all = self.succeeded.saturating_add(self.failed);
        if is_proof(self.case.needed_proof(), self.succeeded, self.failed) {
            Some(Settled::Proven)
        } else if self.failed >= FAILED && u64::from(self.failed) * 5 > u64::from(all) {
            Some(Settled::Fails(self.failed_since))
        } else if now >= self.until {
            Some(Settled::Silent)
        } else {
            None
        }
    }

    /// That it fails again is told: what comes of it is judged elsewhere, and what fails from now on is counted anew.
    pub(super) fn reconsider(&mut self) {
        (self.succeeded, self.failed, self.is_due) = (0, 0, false);
    }

    /// What failed of what came again, in words.
    pub(super) fn text(&self) -> String {
        let all = self.succeeded.saturating_add(self.failed);
        format!(
            "{} of {all} requests of the kind that failed have failed since the server was back",
            self.failed
        )
    }

    /// How far the proof has come, in words.
    pub(super) fn progress(&self) -> String {
        let (id, needed) = (&self.case.incident.id, self.case.needed_proof());
        let succeeded = self.succeeded;
        format!("incident {id}: {succeeded} of {needed} requests have succeeded")
    }

    /// When it closes without proof.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// When it is to be looked at again.
    pub(super) fn wake(&self) -> Instant {
        if self.is_due || self.case.changed {
            Instant::ZERO
        } else {
            self.until
        }
    }
}
