//! The state needed to detect a slow burn of a service, and its end.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, RequestShape};

use crate::detect::RecentTypical;
use crate::kind::FaultKind;
use crate::policy::SlowServerOptions;
use crate::slow_burn::{ErrorShare, ServerRoutes, Speed, UsualSpeed};

use super::{CommonIncident, UNPROVEN};

/// How long servers must have been slow together, and have recovered.
pub(super) const SETTLED: Duration = Duration::from_secs(20);
/// Medians this many times slower than usual are not learnt.
const NOT_LEARNT: f64 = 1.5;
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
    /// When several were last seen to be.
    pub(super) slow_at: Instant,
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

    /// Several servers are slow together, or are not.
    pub(super) fn note_slow(
        &mut self,
        now: Instant,
        slow: Option<Vec<usize>>,
        speeds: &[Option<Speed>],
        options: &SlowServerOptions,
    ) {
        if let Some(servers) = slow {
            let since = self.slow.as_ref().map_or(now, |(since, _)| *since);
            self.slow = Some((since, servers));
            self.slow_at = now;
            self.fast_since = None;
            return;
        }
        self.slow = None;
        // All may be slow by now, and none is as fast as ever to show it.
        let is_slow = |speed: &Speed| speed.is_slow(options.times_peers);
        if speeds.iter().flatten().any(is_slow) {
            self.fast_since = None;
        } else {
            self.fast_since.get_or_insert(now);
        }
    }

    /// Learns how fast servers usually are: not from those that are slow together.
    pub(super) fn learn(&mut self, latest: &[Option<RecentTypical>]) {
        let slow = self.slow.as_ref().map_or(&[][..], |(_, slow)| slow);
        for (slot, (latest, usual)) in latest.iter().zip(&mut self.usual).enumerate() {
            if let Some(latest) = latest.filter(|_| !slow.contains(&slot)) {
                usual.learn(latest.attempts.median, latest.attempts.count, NOT_LEARNT);
            }
        }
    }

    /// An incident does not become the usual state, unless an operator says so.
    pub(super) fn forget(&mut self, is_accepted: bool) {
        if is_accepted {
            self.errors.accept();
            self.usual.clear();
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
