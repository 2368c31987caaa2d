//! What follows when a step has ended: the next rung of the playbook, another diagnosis, or a longer watch.

use evenkeel_core::{EjectionReason, Instant, StartFailure};

use crate::contract::{Managed, OrderAnswer};
use crate::incident::{ActionOutcome, RepairedBy};
use crate::outlook::WaitReason;
use crate::policy::Action;
use crate::recover::serves_nothing;

use super::ServerContext;
use super::case::Case;
use super::phase::{CasePhase, Retry};
use super::server::WatchedServer;
use super::shown::PublishedState;
use super::transition::CaseEvent;

impl WatchedServer {
    /// The order to start its process has failed, which no signal may tell.
    pub(super) fn start_order_failed(&mut self, at: Instant, why: &str) {
        let process = &mut self.facts.process;
        if self.managed == Managed::Child && !process.has_failed() && process.pid.is_none() {
            let reason = why.to_owned();
            process.start_failed(
                at,
                StartFailure {
                    reason,
                    changed: None,
                },
            );
        }
    }
}

impl Case {
    /// What was being verified did not hold: the place of the playbook's next action, if it was verified.
    fn not_verified(&mut self, now: Instant, why: &str) -> Option<usize> {
        self.note(now, "verification", format!("failed: {why}"));
        let CasePhase::Verifying {
            verification, then, ..
        } = &self.phase
        else {
            self.repaired_by = None;
            return None;
        };
        let (verification, then) = (verification.clone(), *then);
        self.verified(&verification, "failed");
        self.repaired_by = None;
        Some(then)
    }
}

impl ServerContext<'_> {
    /// The order in progress was answered, or is given up: the resulting event.
    pub(super) fn order_ended(
        &mut self,
        at: Instant,
        outcome: ActionOutcome,
        detail: Option<String>,
    ) -> Option<CaseEvent> {
        let case = self.server.case.as_deref_mut()?;
        let CasePhase::Acting { step, .. } = case.phase else {
            return None;
        };
        case.action_ended(at, outcome, detail.clone());
        let action = case.steps.get(step).cloned().unwrap_or(Action::Restart);
        let worked = outcome == ActionOutcome::Done;
        // Another version is started by what comes behind it.
        case.acted |= worked && action != Action::RollBack;
        let repairs = matches!(
            action,
            Action::Restart | Action::Stop | Action::RollBack | Action::Exec(_)
        );
        if worked && repairs {
            case.repaired_by = Some(if case.by_person {
                RepairedBy::Person
            } else {
                RepairedBy::Evenkeel
            });
        }
        case.by_person = false;
        case.repaired |= worked && action == Action::Restart;
        Some(CaseEvent::Answered {
            at,
            outcome,
            has_failed: self.server.facts.process.has_failed(),
            why: detail.unwrap_or_else(|| "the restart failed".to_owned()),
        })
    }

    /// The restart was carried out. The answer may come before the supervisor's signals or after them; either alone is believed.
    pub(super) fn started_by_order(&mut self, at: Instant, step: usize) {
        self.server.facts.process.down = None;
        self.server.starts.began(at);
        self.run(step);
    }

    /// The restart could not be carried out.
    pub(super) fn not_started(&mut self, at: Instant, why: &str) {
        self.server.start_order_failed(at, why);
        self.repair_failed(why);
    }

    /// A wait of the playbook is over, or a drain.
    pub(super) fn wait_over(&mut self, step: usize) {
        let now = self.now;
        let probes_pass = self.server.facts.probes.passed_in_row > 0;
        if let Some(case) = self.case() {
            let passes = if case.by_examination {
                case.reexamination.passed
            } else {
                probes_pass
            };
            // A wait is followed by a verification if it seems to have helped, or if nothing but escalation is left.
            let waited = matches!(case.steps.get(step), Some(Action::Wait(_)));
            let seems_well = passes && serves_nothing(case.kind);
            let last_hope = case.steps.get(step + 1) == Some(&Action::Escalate);
            case.acted |= waited && (seems_well || last_hope);
            case.action_ended(now, ActionOutcome::Done, None);
        }
        if self.server.case.is_some() {
            self.run(step + 1);
        }
    }

    pub(super) fn retry(&mut self, retry: Retry) {
        if self.warms_up() {
            self.continues_warm_up();
            return;
        }
        if retry.waits == WaitReason::HangWait {
            self.examine_whether_stopped();
            return;
        }
        let action = self
            .server
            .case
            .as_ref()
            .and_then(|case| case.steps.get(retry.step));
        match action {
            Some(Action::Restart) if retry.allowed => self.restart_now(retry.step),
            _ => self.run(retry.step),
        }
    }

    /// Watching goes on. What only traffic can tell is not tried again at once.
    pub(super) fn watch_on(&mut self, why: &str) {
        let (now, was_trial) = (self.now, self.server.shown == PublishedState::Trial);
        let mut from = now;
        if was_trial && !self.warms_up() {
            self.server.eject(now, self.server.suspicion(), self.out);
            if self.rules(false).patient {
                from = now + self.hold();
            }
        }
        if let Some(verification) = self.verification() {
            verification.again(from);
        }
        if let Some(case) = self.case().filter(|_| was_trial) {
            case.note(now, "verification", format!("not healthy yet: {why}"));
        }
    }

    /// A repair did not hold: the next rung, or the restart again, or escalation.
    pub(super) fn repair_failed(&mut self, why: &str) {
        let now = self.now;
        let is_down = self.server.facts.process.down.is_some();
        let is_late = self.starts_late();
        if !is_down {
            self.starts_too_late();
        }
        let then = self.case().and_then(|case| case.not_verified(now, why));
        self.server
            .answer(OrderAnswer::Failed(why.to_owned()), self.out);
        if self.server.shown == PublishedState::Trial || is_down {
            let verdict = if is_down {
                EjectionReason::Known
            } else {
                self.server.suspicion()
            };
            self.server.eject(now, verdict, self.out);
        }
        if let Some(next) = then.filter(|_| is_late) {
            self.examine_late_start(next, why);
            return;
        }
        if !is_down && self.fails_nonetheless() {
            return;
        }
        let before = self.case().map(|case| case.kind);
        if is_down {
            self.judge(None);
        }
        if self.is_off() {
            self.watch(None);
            return;
        }
        if is_down && self.plays_another(before) {
            self.begin_playbook(false);
            return;
        }
        self.next_rung(then, why);
    }
}
