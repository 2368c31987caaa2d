//! What would be done next, for people who look on: read from where each case stands, and nothing is decided by it.

use evenkeel_core::{Instant, ServiceId};

use crate::kind::FaultKind;
use crate::outlook::{NextStep, Outlook, Waits};
use crate::policy::{Action, Mode};
use crate::recover::Veto;
use crate::verify::Verification;

use super::Keeper;
use super::case::Case;
use super::phase::Phase;
use super::server::Server;
use super::service::{Canary, Service};
use super::shown::Routine;

impl Keeper {
    /// What would be done next about each service (no index) and each server that is not simply well.
    #[must_use]
    pub fn outlooks(&self, now: Instant) -> Vec<(ServiceId, Option<u32>, Outlook)> {
        let mut all = Vec::new();
        for service in &self.services {
            let id = service.spec.id;
            let own = service.outlook(now);
            all.extend((own != Outlook::WELL).then_some((id, None, own)));
            for server in &service.servers {
                let outlook = service.outlook_of(now, server);
                let is_told = outlook != Outlook::WELL;
                all.extend(is_told.then_some((id, Some(server.id.index), outlook)));
            }
        }
        all
    }
}

impl Service {
    /// What would be done next about the service as a whole.
    fn outlook(&self, now: Instant) -> Outlook {
        if let Some(maintenance) = &self.maintenance {
            let next = if maintenance.is_ending {
                NextStep::Verify
            } else {
                NextStep::Nothing
            };
            return Outlook::new(next, Waits::Maintenance).at(maintenance.until);
        }
        if let Some(common) = &self.common {
            return common.outlook(now);
        }
        if let Some(canary) = &self.canary {
            let name = self.servers.get(canary.index()).map(|server| &server.name);
            let name = name.cloned().unwrap_or_default();
            let waiting = canary.waiting();
            let detail = format!("{name} is tried; {waiting} more wait for it");
            return Outlook::new(NextStep::Action("restart"), Waits::Canary).because(detail);
        }
        if let Some(open) = &self.poison.open {
            let detail = format!("a request is in quarantine, see {}", open.case.incident.id);
            return Outlook::new(NextStep::Close, Waits::Verification).because(detail);
        }
        Outlook::WELL
    }

    /// What would be done next about one of its servers.
    fn outlook_of(&self, now: Instant, server: &Server) -> Outlook {
        if server.vacant.is_some() {
            return Outlook::WELL;
        }
        if let Some(held) = &server.held {
            let next = if held.until.is_some() {
                NextStep::Verify
            } else {
                NextStep::Nothing
            };
            return Outlook::new(next, Waits::Maintenance).at(held.until);
        }
        if self.is_suspended() {
            return Outlook::new(NextStep::Nothing, Waits::Maintenance);
        }
        if let Some(case) = server.case.as_deref() {
            return case.outlook(now, self.spec.options.recover.mode);
        }
        match server.routine.as_deref() {
            Some(Routine { order: Some(_), .. }) => {
                return Outlook::new(NextStep::Verify, Waits::Action);
            }
            Some(Routine { verification, .. }) => return verified(now, verification),
            None => {}
        }
        if server.follows {
            let leader = self.canary.as_ref().map(Canary::index);
            let leader = leader.and_then(|index| self.servers.get(index));
            let leader = leader.map_or_else(String::new, |leader| format!("see {}", leader.name));
            return Outlook::new(NextStep::Action("restart"), Waits::Canary).because(leader);
        }
        if server.starting.is_some() {
            return Outlook::new(NextStep::Diagnose, Waits::Start).at(server.starting);
        }
        if let Some(unproven) = server.unproven.as_deref() {
            let out = Outlook::new(NextStep::Close, Waits::Proof);
            return out.at(Some(unproven.until())).because(unproven.progress());
        }
        Outlook::WELL
    }
}

impl Case {
    fn outlook(&self, now: Instant, mode: Mode) -> Outlook {
        match &self.phase {
            Phase::Judged => Outlook::WELL,
            Phase::Examining { until, .. } => {
                Outlook::new(NextStep::Diagnose, Waits::Examination).at(Some(*until))
            }
            Phase::Acting { step, order, until } => self.acts(*step, order.is_some(), *until),
            Phase::Verifying {
                verification,
                then,
                retry,
            } => {
                let retry = retry.filter(|_| !verification.in_trickle());
                if let Some(retry) = retry {
                    let next = NextStep::from(self.steps.get(retry.step));
                    let veto = self.veto.filter(|_| retry.waits == Waits::Veto);
                    let why = veto.map_or("", Veto::words);
                    return Outlook::new(next, retry.waits)
                        .at(Some(retry.at))
                        .because(why);
                }
                let shown = verified(now, verification);
                match self.steps.get(*then) {
                    Some(action) if verification.rules.ends => {
                        let word = action.word();
                        let detail = format!("{}; if not, {word} is next", shown.detail);
                        shown.because(detail)
                    }
                    _ if verification.rules.ends => shown,
                    _ => self.watched(now, mode, verification),
                }
            }
        }
    }

    /// An action is under way, or a wait.
    fn acts(&self, step: usize, is_ordered: bool, until: Instant) -> Outlook {
        let (current, next) = (self.steps.get(step), self.steps.get(step + 1));
        let next = NextStep::from(next);
        if is_ordered {
            let word = current.map_or("an order", Action::word);
            return Outlook::new(next, Waits::Action).because(format!("{word} is under way"));
        }
        let hangs = self.kind == FaultKind::ProcessHung && matches!(current, Some(Action::Wait(_)));
        let waits = if hangs { Waits::HangWait } else { Waits::Wait };
        Outlook::new(next, waits).at(Some(until))
    }

    /// It is watched without an end.
    fn watched(&self, now: Instant, mode: Mode, verification: &Verification) -> Outlook {
        if mode == Mode::Off {
            let next = NextStep::from(self.steps.first());
            return Outlook::new(next, Waits::Off).because("that is what would be done");
        }
        if verification.in_trickle() {
            return verified(now, verification);
        }
        if let Some(proposal) = &self.proposal {
            let next = NextStep::from(proposal.actions.first());
            return match mode {
                _ if proposal.rejected => Outlook::new(NextStep::Restore, Waits::Verification)
                    .because("a person has said no; it is watched"),
                Mode::Ask => {
                    let id = &self.incident.id;
                    Outlook::new(next, Waits::Approval).because(format!("incident {id}"))
                }
                Mode::Automatic | Mode::DryRun | Mode::Off => Outlook::new(next, Waits::DryRun),
            };
        }
        if verification.rules.from > now {
            let out = Outlook::new(NextStep::Try, Waits::Hold);
            return out.at(Some(verification.rules.from));
        }
        if self.escalated {
            return Outlook::new(NextStep::Restore, Waits::Person);
        }
        verified(now, verification)
    }
}

/// How a verification stands.
fn verified(now: Instant, verification: &Verification) -> Outlook {
    let rules = &verification.rules;
    if verification.in_trickle() {
        let succeeded = verification.succeeded;
        let waits = if succeeded < rules.proof {
            Waits::Proof
        } else {
            Waits::Verification
        };
        let detail = format!("{succeeded} requests of the trickle have succeeded");
        let out = Outlook::new(NextStep::Restore, waits).because(detail);
        return out.at(verification.wake(now));
    }
    if rules.from > now {
        return Outlook::new(NextStep::Try, Waits::Hold).at(Some(rules.from));
    }
    let (passed, all) = (verification.probes, rules.options.probes.max(1));
    let detail = format!("{passed} of {all} probes have passed in a row");
    Outlook::new(NextStep::Restore, Waits::Verification).because(detail)
}
