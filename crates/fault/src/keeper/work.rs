//! One server at work in one step, which the stages of a case are functions of.

use evenkeel_core::Instant;

use crate::analyze::Traffic;
use crate::common_cause::Alike;
use crate::contract::{OrderAnswer, OrderId, Output, Pace, ServiceSpec, Ticket};
use crate::detect::Detection;
use crate::incident::{Incident, Status};
use crate::policy::Mode;
use crate::recover::Capacity;
use crate::verify::{Rules, Verification};

use super::case::Case;
use super::phase::Phase;
use super::server::{DOUBT, Server};
use super::shared::Shared;
use super::shown::Shown;

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
    /// Another server is tried for all that cannot start.
    pub(super) waits_for_canary: bool,
    /// When servers that could not start were verified to have started after all, and their incident.
    pub(super) started_again: &'a mut Option<(Instant, String)>,
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
            proof: case.map_or(0, Case::needed_proof),
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

    /// Whether anything but a record may come of a case.
    pub(super) fn is_off(&self) -> bool {
        self.mode() == Mode::Off
    }

    /// Whether nothing is detected and repaired here by a person's order.
    pub(super) fn is_held(&self) -> bool {
        self.suspended || self.server.held.is_some()
    }

    /// `service/server`, as orders name it.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.spec.name, self.server.name)
    }

    /// Answers an order at once, and with that for good.
    pub(super) fn reply(&mut self, ticket: Ticket, answer: OrderAnswer) {
        self.out.push(Output::Answer { ticket, answer });
    }

    pub(super) fn set_status(&mut self, status: Status) {
        if let Some(case) = self.case() {
            // A question that a person can answer goes before the word that one is needed.
            let is_last = matches!(status, Status::Closed | Status::AwaitingApproval);
            let status = if case.escalated && !is_last {
                Status::Escalated
            } else {
                status
            };
            case.set_status(status);
        }
    }

    /// The verification under way, of a case or of a routine restart.
    pub(super) fn verification(&mut self) -> Option<&mut Verification> {
        if let Some(case) = self.server.case.as_deref_mut() {
            return match &mut case.phase {
                Phase::Verifying { verification, .. } => Some(verification),
                Phase::Judged | Phase::Examining { .. } | Phase::Acting { .. } => None,
            };
        }
        let routine = self
            .server
            .routine
            .as_mut()
            .filter(|routine| routine.order.is_none());
        routine.map(|routine| &mut routine.verification)
    }

    /// One failure puts the server in doubt: it is probed faster, for a while.
    pub(super) fn doubt(&mut self) {
        self.server.doubt_until = Some(self.now + DOUBT);
        if self.server.is_quiet() {
            self.server.set_pace(Pace::Fast, self.out);
        }
    }
}
