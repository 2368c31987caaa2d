//! One server at work in one step, which the stages of a case are functions of.

use evenkeel_core::Instant;

use crate::analyze::Traffic;
use crate::common_cause::Alike;
use crate::contract::{OrderId, Output, ServiceSpec};
use crate::detect::Detection;
use crate::incident::Incident;
use crate::policy::Mode;
use crate::recover::Capacity;
use crate::verify::Rules;

use super::case::Case;
use super::server::{Server, Shown};
use super::shared::Shared;

/// One server at work in one step: everything that a decision about it may read or change.
pub(super) struct Work<'a> {
    pub(super) now: Instant,
    pub(super) spec: &'a ServiceSpec,
    pub(super) traffic: &'a Traffic,
    pub(super) shared: &'a mut Shared,
    pub(super) capacity: Capacity,
    /// How many servers of the service show the same.
    pub(super) alike: Alike,
    /// How many of its peers are being restarted or stopped.
    pub(super) changing: usize,
    /// How many of its peers cannot start.
    pub(super) failed_starts: usize,
    /// The whole service is in maintenance.
    pub(super) suspended: bool,
    /// What is detected at servers without an incident is judged for the whole service first.
    pub(super) detections: &'a mut Vec<(u32, Detection)>,
    pub(super) server: &'a mut Server,
    /// The servers before it and behind it.
    pub(super) peers: (&'a [Server], &'a [Server]),
    pub(super) out: &'a mut Vec<Output>,
}

impl Work<'_> {
    pub(super) fn mode(&self) -> Mode {
        self.spec.options.recover.mode
    }

    pub(super) fn order(&mut self) -> OrderId {
        self.shared.orders += 1;
        OrderId(self.shared.orders)
    }

    pub(super) fn rules(&self, ends: bool) -> Rules {
        let case = self.server.case.as_deref();
        let only_traffic = case.is_some_and(|case| case.only_traffic_tells && !case.repaired);
        let mut options = self.spec.options.recover.verify;
        options.within = self.server.starts.allowance(options.within);
        Rules {
            options,
            ends,
            from: self.now,
            patient: only_traffic,
            needs_request: case.is_some_and(Case::is_about_requests),
            in_service: self.server.shown == Shown::Serving,
            slow_limit: case.and_then(|case| case.slow_limit),
        }
    }

    /// Hands a record out, consistent.
    pub(super) fn record(&mut self, incident: Box<Incident>) {
        self.shared.record(incident, self.out);
    }

    /// The open case.
    pub(super) fn case(&mut self) -> Option<&mut Case> {
        self.server.case.as_deref_mut()
    }
}
