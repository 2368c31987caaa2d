//! What would be done next, for operators: derived from the phase of each case, without deciding anything.

use evenkeel_core::{Instant, ServiceId};

use crate::kind::FaultKind;
use crate::outlook::{NextStep, RecoveryOutlook, WaitReason};
use crate::policy::{Action, Mode};
use crate::recover::Veto;
use crate::verify::Verification;

use super::Keeper;
use super::case::Case;
use super::phase::CasePhase;
use super::server::WatchedServer;
use super::service::{Canary, WatchedService};
use super::shown::PlannedVerification;

impl Keeper {
    /// The outlook of each service (without index) and each server that is not healthy.
    #[must_use]
    pub fn outlooks(&self, now: Instant) -> Vec<(ServiceId, Option<u32>, RecoveryOutlook)> {
        let mut all = Vec::new();
        for service in &self.services {
            let id = service.spec.id;
            let own = service.outlook(now);
            all.extend((own != RecoveryOutlook::WELL).then_some((id, None, own)));
            for server in &service.servers {
                let outlook = service.outlook_of(now, server);
                let is_told = outlook != RecoveryOutlook::WELL;
                all.extend(is_told.then_some((id, Some(server.id.index), outlook)));
            }
        }
        all
    }
}

impl WatchedService {
    /// The outlook of the service as a whole.
    fn outlook(&self, now: Instant) -> RecoveryOutlook {
        if let Some(maintenance) = &self.maintenance {
            let next = if maintenance.is_ending {
                NextStep::Verify
            } else {
                NextStep::Nothing
            };
            return RecoveryOutlook::new(next, WaitReason::Maintenance).at(maintenance.until);
        }
        if let Some(common) = &self.common {
            return common.outlook(now);
        }
        if let Some(canary) = &self.canary {
            let name = self.servers.get(canary.index()).map(|server| &server.name);
            let name = name.cloned().unwrap_or_default();
            let waiting = canary.waiting();
            let detail = format!("{name} is tried; {waiting} more wait for it");
            return RecoveryOutlook::new(NextStep::Action("restart"), WaitReason::Canary)
                .because(detail);
        }
        if let Some(open) = &self.poison.open {
            let detail = format!("a request is in quarantine, see {}", open.case.incident.id);
            return RecoveryOutlook::new(NextStep::Close, WaitReason::Verification).because(detail);
        }
        RecoveryOutlook::WELL
    }

    /// The outlook of one of its servers.
    fn outlook_of(&self, now: Instant, server: &WatchedServer) -> RecoveryOutlook {
        if server.vacant.is_some() {
            return RecoveryOutlook::WELL;
        }
        if let Some(held) = &server.held {
            let next = if held.until.is_some() {
                NextStep::Verify
            } else {
                NextStep::Nothing
            };
            return RecoveryOutlook::new(next, WaitReason::Maintenance).at(held.until);
        }
        if self.is_suspended() {
            return RecoveryOutlook::new(NextStep::Nothing, WaitReason::Maintenance);
        }
        if let Some(case) = server.case.as_deref() {
            return case.outlook(now, self.spec.options.recover.mode);
        }
        match server.routine.as_deref() {
            Some(PlannedVerification { order: Some(_), .. }) => {
                return RecoveryOutlook::new(NextStep::Verify, WaitReason::Action);
            }
            Some(PlannedVerification { verification, .. }) => return verified(now, verification),
            None => {}
        }
        if server.follows {
            let leader = self.canary.as_ref().map(Canary::index);
            let leader = leader.and_then(|index| self.servers.get(index));
            let leader = leader.map_or_else(String::new, |leader| format!("see {}", leader.name));
            return RecoveryOutlook::new(NextStep::Action("restart"), WaitReason::Canary)
                .because(leader);
        }
        if server.starting.is_some() {
            return RecoveryOutlook::new(NextStep::Diagnose, WaitReason::Start).at(server.starting);
        }
        if let Some(unproven) = server.unproven.as_deref() {
            let out = RecoveryOutlook::new(NextStep::Close, WaitReason::Proof);
            return out.at(Some(unproven.until())).because(unproven.progress());
        }
        RecoveryOutlook::WELL
    }
}

impl Case {
    fn outlook(&self, now: Instant, mode: Mode) -> RecoveryOutlook {
        match &self.phase {
            CasePhase::Judged => RecoveryOutlook::WELL,
            CasePhase::Examining { until, .. } => {
                RecoveryOutlook::new(NextStep::Diagnose, WaitReason::Examination).at(Some(*until))
            }
            CasePhase::Acting { step, order, until } => self.acts(*step, order.is_some(), *until),
            CasePhase::Verifying {
                verification,
                then,
                retry,
            } => {
                let retry = retry.filter(|_| !verification.in_trickle());
                if let Some(retry) = retry {
                    let next = NextStep::from(self.steps.get(retry.step));
                    let veto = self.veto.filter(|_| retry.waits == WaitReason::Veto);
                    let why = veto.map_or("", Veto::words);
                    return RecoveryOutlook::new(next, retry.waits)
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

    /// An action or a wait is in progress.
    fn acts(&self, step: usize, is_ordered: bool, until: Instant) -> RecoveryOutlook {
        let (current, next) = (self.steps.get(step), self.steps.get(step + 1));
        let next = NextStep::from(next);
        if is_ordered {
            let word = current.map_or("an order", Action::word);
            return RecoveryOutlook::new(next, WaitReason::Action)
                .because(format!("{word} is in progress"));
        }
        let hangs = self.kind == FaultKind::ProcessHung && matches!(current, Some(Action::Wait(_)));
        let waits = if hangs {
            WaitReason::HangWait
        } else {
            WaitReason::Wait
        };
        RecoveryOutlook::new(next, waits).at(Some(until))
    }

    /// It is watched without an end.
    fn watched(&self, now: Instant, mode: Mode, verification: &Verification) -> RecoveryOutlook {
        if mode == Mode::Off {
            let next = NextStep::from(self.steps.first());
            return RecoveryOutlook::new(next, WaitReason::Off)
                .because("that is what would be done");
        }
        if verification.in_trickle() {
            return verified(now, verification);
        }
        if let Some(proposal) = &self.proposal {
            let next = NextStep::from(proposal.actions.first());
            return match mode {
                _ if proposal.rejected => {
                    RecoveryOutlook::new(NextStep::Restore, WaitReason::Verification)
                        .because("an operator rejected the action; it is watched")
                }
                Mode::Ask => {
                    let id = &self.incident.id;
                    RecoveryOutlook::new(next, WaitReason::Approval)
                        .because(format!("incident {id}"))
                }
                Mode::Automatic | Mode::DryRun | Mode::Off => {
                    RecoveryOutlook::new(next, WaitReason::DryRun)
                }
            };
        }
        if verification.rules.from > now {
            let out = RecoveryOutlook::new(NextStep::Try, WaitReason::Hold);
            return out.at(Some(verification.rules.from));
        }
        if self.escalated {
            return RecoveryOutlook::new(NextStep::Restore, WaitReason::Person);
        }
        verified(now, verification)
    }
}

/// How a verification stands.
fn verified(now: Instant, verification: &Verification) -> RecoveryOutlook {
    let rules = &verification.rules;
    if verification.in_trickle() {
        let succeeded = verification.succeeded;
        let waits = if succeeded < rules.proof {
            WaitReason::Proof
        } else {
            WaitReason::Verification
        };
        let detail = format!("{succeeded} requests of the trickle have succeeded");
        let out = RecoveryOutlook::new(NextStep::Restore, waits).because(detail);
        return out.at(verification.wake(now));
    }
    if rules.from > now {
        return RecoveryOutlook::new(NextStep::Try, WaitReason::Hold).at(Some(rules.from));
    }
    let (passed, all) = (verification.probes, rules.options.probes.max(1));
    let detail = format!("{passed} of {all} probes have passed in a row");
    RecoveryOutlook::new(NextStep::Restore, WaitReason::Verification).because(detail)
}
