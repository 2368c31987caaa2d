//! The context of one server in one step, on which the stages of a case operate.

use evenkeel_core::Instant;

use crate::analyze::ServiceTraffic;
use crate::common_cause::SymptomCounts;
use crate::contract::{OrderAnswer, OrderId, OrderTicket, Output, ProbePace, ServiceSpec};
use crate::detect::Detection;
use crate::incident::{Incident, IncidentStatus};
use crate::policy::Mode;
use crate::recover::Capacity;
use crate::verify::{Verification, VerifyRules};

use super::case::Case;
use super::phase::CasePhase;
use super::server::{DOUBT, WatchedServer};
use super::shared::KeeperShared;
use super::shown::PublishedState;

/// One server at work in one step: everything that a decision about it may read or change.
pub(super) struct ServerContext<'a> {
    pub(super) now: Instant,
    pub(super) spec: &'a ServiceSpec,
    pub(super) traffic: &'a ServiceTraffic,
    pub(super) shared: &'a mut KeeperShared,
    pub(super) capacity: Capacity,
    /// How many servers of the service show the same.
    pub(super) alike: SymptomCounts,
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
    /// Detections at servers without an incident are judged for the whole service first.
    pub(super) detections: &'a mut Vec<(u32, Detection)>,
    pub(super) server: &'a mut WatchedServer,
    /// The servers before it and behind it.
    pub(super) peers: (&'a [WatchedServer], &'a [WatchedServer]),
    pub(super) out: &'a mut Vec<Output>,
}

impl ServerContext<'_> {
    pub(super) fn mode(&self) -> Mode {
        self.spec.options.recover.mode
    }

    pub(super) fn order(&mut self) -> OrderId {
        self.shared.orders += 1;
        OrderId(self.shared.orders)
    }

    pub(super) fn rules(&self, ends: bool) -> VerifyRules {
        let case = self.server.case.as_deref();
        let only_traffic = case.is_some_and(|case| case.only_traffic_tells && !case.repaired);
        let mut options = self.spec.options.recover.verify;
        options.within = self.server.starts.allowance(options.within);
        VerifyRules {
            options,
            ends,
            from: self.now,
            patient: only_traffic,
            proof: case.map_or(0, Case::needed_proof),
            in_service: self.server.shown == PublishedState::Serving,
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

    /// Whether detection and repair are suspended by an operator's order.
    pub(super) fn is_held(&self) -> bool {
        self.suspended || self.server.held.is_some()
    }

    /// `service/server`, as orders name it.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.spec.name, self.server.name)
    }

    /// Answers an order at once, and with that for good.
    pub(super) fn reply(&mut self, ticket: OrderTicket, answer: OrderAnswer) {
        self.out.push(Output::Answer { ticket, answer });
    }

    pub(super) fn set_status(&mut self, status: IncidentStatus) {
        if let Some(case) = self.case() {
            // A decision that an operator can make takes precedence over the mere escalation.
            let is_last = matches!(
                status,
                IncidentStatus::Closed | IncidentStatus::AwaitingApproval
            );
            let status = if case.escalated && !is_last {
                IncidentStatus::Escalated
            } else {
                status
            };
            case.set_status(status);
        }
    }

    /// The verification in progress, of a case or of a planned restart.
    pub(super) fn verification(&mut self) -> Option<&mut Verification> {
        if let Some(case) = self.server.case.as_deref_mut() {
            return match &mut case.phase {
                CasePhase::Verifying { verification, .. } => Some(verification),
                CasePhase::Judged | CasePhase::Examining { .. } | CasePhase::Acting { .. } => None,
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
            self.server.set_pace(ProbePace::Fast, self.out);
        }
    }
}
