//! State of a service's requests that may crash its servers, and what was published to the balancer about them.

use evenkeel_core::{Instant, ServiceId, ShapeOrders};

use crate::incident::Finding;
use crate::poison::Poison;
use crate::policy::Mode;

use super::case::Case;
use super::shown::{EXPIRES, RENEWED};

/// The poison detection of a service.
#[derive(Debug)]
pub(super) struct PoisonWatch {
    pub(super) judge: Poison,
    /// The open incident.
    pub(super) open: Option<Box<PoisonCase>>,
    /// When the orders to the balancer are renewed; never if there are none.
    pub(super) renew_at: Instant,
}

/// The incident of a request that crashes servers.
#[derive(Debug)]
pub(super) struct PoisonCase {
    pub(super) case: Case,
    /// The indexes of the servers that it brought down.
    pub(super) servers: Vec<u32>,
    pub(super) finding: Finding,
    pub(super) last_end: Instant,
    /// When all of them began to serve again.
    pub(super) back_since: Option<Instant>,
    pub(super) recheck_at: Instant,
}

impl Default for PoisonWatch {
    fn default() -> Self {
        Self {
            judge: Poison::default(),
            open: None,
            renew_at: Instant::NEVER,
        }
    }
}

impl PoisonWatch {
    /// When something is to be done here.
    pub(super) fn wake(&self) -> Instant {
        let recheck_at = self.open.as_ref().map(|open| open.recheck_at);
        let judge_at = self.judge.wake();
        let wakes = [recheck_at, judge_at].into_iter().flatten();
        wakes.fold(self.renew_at, Instant::min)
    }

    /// The orders for the balancer, if they have changed or are about to expire.
    pub(super) fn orders(
        &mut self,
        now: Instant,
        service: ServiceId,
        mode: Mode,
    ) -> Option<ShapeOrders> {
        if !self.judge.take_change() && now < self.renew_at {
            return None;
        }
        let refused = self.judge.quarantined();
        let refused: Vec<(u64, Instant)> = match mode {
            Mode::Off => Vec::new(),
            Mode::Automatic | Mode::Ask | Mode::DryRun => {
                refused.map(|one| (one.hash, one.until)).collect()
            }
        };
        let watched: Vec<u64> = self.judge.watched().collect();
        let is_empty = refused.is_empty() && watched.is_empty();
        self.renew_at = if is_empty {
            Instant::NEVER
        } else {
            now + RENEWED
        };
        Some(ShapeOrders {
            service,
            refused,
            watched,
            until: now + EXPIRES,
        })
    }
}
