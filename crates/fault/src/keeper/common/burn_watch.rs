//! The state needed to detect a slow burn of a service, and its end.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, RequestShape};

use crate::kind::FaultKind;
use crate::slow_burn::{ErrorShare, ServerRoutes, UsualSpeed};

use super::{CommonIncident, UNPROVEN};

/// How long servers must have been slow together, and have recovered.
pub(super) const SETTLED: Duration = Duration::from_secs(20);
/// A route that failed on one server has recovered when this many consecutive requests have succeeded there …
const ROW: u32 = 3;
/// … and none has failed for so long.
const QUIET: Duration = Duration::from_secs(10);

/// State of the slow burn detection of a service.
#[derive(Debug, Default)]
pub(in crate::keeper) struct BurnWatch {
    pub(super) errors: ErrorShare,
    pub(super) pairs: ServerRoutes,
    /// How fast each server usually is.
    pub(super) usual: Vec<UsualSpeed>,
    pub(super) learn_at: Instant,
    /// When several became slow together, and which.
    pub(super) slow: Option<(Instant, Vec<usize>)>,
    pub(super) fast_since: Option<Instant>,
    pub(super) recheck_at: Instant,
    pub(super) has_failed: bool,
}

impl BurnWatch {
    /// An attempt has ended on a server that has no incident of its own.
    pub(in crate::keeper) fn attempt(
        &mut self,
        at: Instant,
        server: u32,
        shape: RequestShape,
        outcome: Outcome,
    ) {
        let failed = outcome.is_failure();
        if failed || outcome.is_success() {
            self.errors.add(at, failed);
            self.pairs.take(at, server, shape, outcome);
            self.has_failed |= failed;
        }
    }

    /// An incident does not become the usual state, unless an operator says so.
    pub(super) fn forget(&mut self, is_accepted: bool) {
        if is_accepted {
            self.errors.accept();
        } else {
            self.errors.forget();
        }
        self.pairs.forget();
        self.slow = None;
    }

    /// Another server is in this slot.
    pub(in crate::keeper) fn forget_server(&mut self, index: usize) {
        if let Some(usual) = self.usual.get_mut(index) {
            *usual = UsualSpeed::default();
        }
        if let Some((_, servers)) = &mut self.slow {
            servers.retain(|one| *one != index);
        }
    }

    /// Whether the slow burn of this incident is over, and whether that is proven.
    pub(super) fn is_over(&mut self, now: Instant, common: &CommonIncident) -> Option<bool> {
        if now.since(common.case.detected) < QUIET {
            return None;
        }
        let is_over = if common.cause.failing.is_some() {
            common.row >= ROW && now.since(common.last_failure) >= QUIET
        } else if common.cause.kind == FaultKind::ErrorBurst {
            self.errors.is_over(now)
        } else {
            let fast_since = self.fast_since;
            fast_since.is_some_and(|since| now.since(since) >= SETTLED)
        };
        let is_silent = common.row == 0 && now.since(common.last_failure) >= UNPROVEN;
        if is_over {
            Some(true)
        } else {
            is_silent.then_some(false)
        }
    }
}
