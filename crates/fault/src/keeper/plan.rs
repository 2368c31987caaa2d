//! Plans before they are executed: the facts for their second check, and the order for a plan that passes it.

use std::time::Duration;

use evenkeel_core::{EjectionReason, Instant, Outcome};

use crate::contract::{ActionOrder, OrderId, Output, ProbePace};
use crate::incident::ActionOutcome;
use crate::kind::FaultKind;
use crate::policy::Action;
use crate::recover::{ActionPlan, Author, CheckedPlan, ServerFacts, ServiceFacts, Veto, check};
use crate::verify::Verification;

use super::ServerContext;
use super::server::WatchedServer;
use super::shown::{PlannedKind, PlannedVerification, PublishedState};

/// How long after its own limit an unanswered order is given up: by then nothing works on it any longer, and another
/// order cannot start a second process.
pub(super) const UNANSWERED: Duration = Duration::from_secs(10);
/// So many failures in a row, without a success, and a server does nothing well.
const ROW: u32 = 5;

impl WatchedServer {
    /// The facts for the second check: observations, not conclusions.
    pub(super) fn facts_for_check(&self, now: Instant, tier: u8) -> ServerFacts {
        let (attempts, probes) = (&self.facts.attempts, &self.facts.probes);
        let is_present = self.vacant.is_none();
        let last = attempts.failures(now).next_back();
        let errs = matches!(last, Some((_, Outcome::Answered(_))));
        let answers = if errs {
            Some(true)
        } else if attempts.failed_in_row > 0 || probes.no_server_responds() {
            Some(false)
        } else {
            let is_known = attempts.tally(now).total > 0 || probes.passed_in_row > 0;
            is_known.then_some(true)
        };
        let incident = self.case.as_deref().map(|case| case.incident.id.as_str());
        ServerFacts {
            is_present,
            in_rotation: self.shown == PublishedState::Serving && self.held.is_none() && is_present,
            runs: self.facts.process.down.is_none(),
            answers,
            does_well: attempts.failed_in_row < ROW && probes.failed_in_row < ROW.min(3),
            is_changing: self.lately.is_changing(incident),
            tier,
        }
    }
}

impl ServerContext<'_> {
    /// Puts a plan to the second check.
    pub(super) fn second_check(&mut self, action: &Action) -> Result<CheckedPlan, Veto> {
        let case = self.server.case.as_deref();
        let author = match case {
            Some(case) if case.by_person => Author::Person,
            Some(case) if case.approved => Author::Approved,
            Some(_) | None => Author::Evenkeel,
        };
        let fault = case.map_or(FaultKind::Unknown, |case| case.kind);
        self.second_check_for(author, action, fault)
    }

    fn second_check_for(
        &mut self,
        author: Author,
        action: &Action,
        fault: FaultKind,
    ) -> Result<CheckedPlan, Veto> {
        let (now, spec) = (self.now, self.spec);
        let read = |server: &WatchedServer| {
            let spec = spec.servers.get(server.id.index as usize);
            server.facts_for_check(now, spec.map_or(0, |spec| spec.tier))
        };
        let (before, after) = self.peers;
        let plan = ActionPlan {
            server: self.server.id,
            action: action.clone(),
            fault,
            author,
        };
        let facts = ServiceFacts {
            recover: &spec.options.recover,
            in_maintenance: self.is_held(),
            own: read(self.server),
            others: before.iter().chain(after).map(read).collect(),
            lately: &self.server.lately,
        };
        let checked = check(now, plan, &facts);
        if let Err(veto) = checked {
            self.shared.vetoed(spec.id, veto);
        }
        checked
    }

    /// Writes a veto into the incident, once for each reason.
    pub(super) fn record_veto(&mut self, action: &Action, veto: Veto) {
        let now = self.now;
        if let Some(case) = self.case().filter(|case| case.veto != Some(veto)) {
            case.veto = Some(veto);
            let why = format!("second check: {}", veto.words());
            case.action(now, action, ActionOutcome::Refused, Some(why));
        }
    }

    /// Orders what was let through, for the open incident or for none.
    pub(super) fn order_checked(&mut self, checked: CheckedPlan, at_once: bool) -> OrderId {
        let now = self.now;
        let id = self.order();
        let incident = self.server.case.as_deref();
        let incident = incident.map_or_else(String::new, |case| case.incident.id.clone());
        let runs = self.server.facts.process.down.is_none();
        self.server.lately.note(now, runs, &incident);
        let ActionPlan {
            server,
            action,
            fault,
            author,
        } = checked.into_plan();
        let reconfigures = action == Action::Restart && author == Author::Person;
        self.server.is_outdated &= !reconfigures;
        self.out.push(Output::Act(Box::new(ActionOrder {
            id,
            server,
            action,
            at_once,
            reconfigures,
            incident,
            fault,
        })));
        id
    }

    /// Orders a restart outside of any incident, for this reason. Whether it was ordered.
    pub(super) fn order_routine(
        &mut self,
        kind: PlannedKind,
        author: Author,
        fault: FaultKind,
    ) -> bool {
        let Ok(checked) = self.second_check_for(author, &Action::Restart, fault) else {
            return false;
        };
        let now = self.now;
        let order = self.order_checked(checked, false);
        self.server.starting = None;
        self.server.follows = false;
        self.server.eject(now, EjectionReason::Known, self.out);
        self.server.set_pace(ProbePace::Paused, self.out);
        let verification = Verification::new(self.rules(true));
        self.server.routine = Some(Box::new(PlannedVerification {
            kind,
            order: Some(order),
            until: now + self.server.order_limit + UNANSWERED,
            verification,
        }));
        true
    }
}
