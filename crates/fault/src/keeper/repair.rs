//! Actions that change a server (restart, stop, exec), and the conditions for each.

use std::time::Duration;

use evenkeel_core::EjectionReason;

use crate::contract::{Managed, ProbePace};
use crate::incident::{ActionOutcome, IncidentStatus};
use crate::kind::FaultKind;
use crate::outlook::WaitReason;
use crate::policy::Action;
use crate::recover::{Allowance, CheckedPlan, ServerChange};

use super::ServerContext;
use super::guard::Postponed;
use super::phase::{CasePhase, Retry};
use super::plan::UNANSWERED;
use super::refuse::AfterAction;

/// So often it is asked whether a process that the limit keeps from being started is wanted by now.
const ASKED_AGAIN: Duration = Duration::from_millis(500);

/// How long a server whose peers had the same fault has to recover before it is repaired.
const TRIED: Duration = Duration::from_secs(15);

/// A server that was slow has so long to do well before it is restarted for it.
const SLOW_TRIED: Duration = Duration::from_secs(4);

impl ServerContext<'_> {
    pub(super) fn restart(&mut self, step: usize) -> AfterAction {
        let now = self.now;
        if !self.server.managed.restarts() {
            return self.unmanaged(&Action::Restart);
        }
        if let Err(why) = self.allowed() {
            return self.refuse(step, &Action::Restart, &why);
        }
        if let Some(wait) = self.start_wait().filter(|_| !self.is_decided()) {
            // Another start would begin again what is perhaps about to be done.
            self.start_continues(step, wait);
            return AfterAction::Parked;
        }
        if self.must_wait(step) {
            return AfterAction::Parked;
        }
        if !self.may_act() {
            return self.propose(step);
        }
        let recover = &self.spec.options.recover;
        let is_dead = self.server.facts.process.down.is_some();
        // A process that is not running serves nothing, so starting it costs nothing. But one whose last start failed
        // is not restarted endlessly.
        let is_wanting = self.capacity.allows(recover.keep_serving).is_err();
        let is_free = is_dead && is_wanting && !self.server.cannot_start();
        let repairs = &mut self.server.repairs;
        let allowance = if is_free {
            repairs.start(now, &recover.backoff)
        } else {
            repairs.restart(now, recover.limit, &recover.backoff)
        };
        let (starts, kind) = (repairs.restarts(), self.case().map(|case| case.kind));
        if kind == Some(FaultKind::CrashLoop) && starts >= recover.limit.actions {
            self.escalate(&format!(
                "it exits repeatedly, and was started {starts} times"
            ));
        }
        match allowance {
            Allowance::Now => self.restart_now(step),
            Allowance::At(at) => {
                self.watch(Some(Retry {
                    at,
                    step,
                    allowed: true,
                    waits: WaitReason::BackOff,
                }));
                let delay = (at - now).as_millis();
                if let Some(case) = self.case() {
                    case.note(
                        now,
                        "action",
                        format!("restart waits {delay} ms (back-off)"),
                    );
                }
            }
            Allowance::Limited(at) => {
                let limit = recover.limit;
                self.escalate(&format!(
                    "the limit of {} actions within {} s is reached",
                    limit.actions,
                    limit.within.as_secs()
                ));
                // It may be wanted before.
                let asked_before = is_dead && at > now + ASKED_AGAIN;
                self.watch(Some(Retry {
                    at: if asked_before { now + ASKED_AGAIN } else { at },
                    step,
                    allowed: !asked_before,
                    waits: WaitReason::Limit,
                }));
            }
        }
        AfterAction::Parked
    }

    /// Whether an operator has decided what is done.
    fn is_decided(&self) -> bool {
        let case = self.server.case.as_deref();
        case.is_some_and(|case| case.by_person || case.approved)
    }

    /// Whether a costly action waits. After a shared cause that is over at its peers, the server gets requests before
    /// it is repaired; not if no process runs, or if an operator has decided.
    fn must_wait(&mut self, step: usize) -> bool {
        if self.is_decided() || self.server.facts.process.down.is_some() {
            return false;
        }
        let waited = self.case().and_then(|case| case.waits);
        let is_slow = self
            .case()
            .is_some_and(|case| case.kind == FaultKind::SlowServer);
        let not_yet = match self.may_cost() {
            Err(not_yet) => not_yet,
            Ok(()) if waited == Some(WaitReason::Shared) => Postponed {
                waits: WaitReason::Trial,
                at: self.now + TRIED,
                why: "its peers have recovered, so it is tried first".to_owned(),
            },
            // It may have been the machine, or a moment of many requests.
            Ok(()) if is_slow && waited != Some(WaitReason::Trial) => Postponed {
                waits: WaitReason::Trial,
                at: self.now + SLOW_TRIED,
                why: "the slowness may pass, so it is tried first".to_owned(),
            },
            Ok(()) => return false,
        };
        self.wait_for_turn(step, &not_yet, waited);
        true
    }

    /// Watches until a costly action may be tried again. If the server is healthy by then, none is needed.
    fn wait_for_turn(&mut self, step: usize, not_yet: &Postponed, waited: Option<WaitReason>) {
        let Postponed { waits, at, why } = not_yet;
        let (now, is_new) = (self.now, waited != Some(*waits));
        let next = Retry {
            at: *at,
            step,
            allowed: false,
            waits: *waits,
        };
        let begins = is_new && *waits == WaitReason::Trial;
        match self.case().map(|case| &mut case.phase) {
            // A watch continues.
            Some(CasePhase::Verifying {
                verification,
                retry,
                ..
            }) if !verification.rules.ends && !begins => *retry = Some(next),
            _ => self.watch(Some(next)),
        }
        // For so short a time requests would only tell what is known, and put the action off. A longer wait may end by them.
        let is_short = matches!(waits, WaitReason::Peers | WaitReason::HangWait);
        if let Some(verification) = self.verification().filter(|_| is_short) {
            verification.again(*at);
        }
        if let Some(case) = self.case().filter(|_| is_new) {
            case.waits = Some(*waits);
            case.note(now, "action", format!("a restart or stop waits: {why}"));
        }
    }

    /// Orders the restart; back-off and limit have been asked.
    pub(super) fn restart_now(&mut self, step: usize) {
        let now = self.now;
        if let Some(why) = self.canary_before().filter(|_| !self.is_decided()) {
            self.wait_for_canary(step, &why);
            return;
        }
        let checked = match self.second_check(&Action::Restart) {
            Ok(checked) => checked,
            Err(veto) => {
                self.vetoed(step, &Action::Restart, veto);
                return;
            }
        };
        let change = match self.server.facts.process.down {
            Some(_) => ServerChange::Start,
            None => ServerChange::Restart,
        };
        self.server
            .repairs
            .note(now, change, &self.spec.options.recover.backoff);
        self.server.eject(now, EjectionReason::Known, self.out);
        self.server.set_pace(ProbePace::Paused, self.out);
        if self.server.managed == Managed::Child && self.server.facts.process.down.is_some() {
            self.server.facts.process.replaced();
        }
        self.act(step, checked);
    }

    pub(super) fn change(&mut self, step: usize, action: &Action) -> AfterAction {
        let is_stop = *action == Action::Stop;
        if is_stop && !self.server.managed.stops() {
            return self.unmanaged(action);
        }
        if is_stop && let Err(why) = self.allowed() {
            return self.refuse(step, action, &why);
        }
        if self.must_wait(step) {
            return AfterAction::Parked;
        }
        if !self.may_act() {
            return self.propose(step);
        }
        let (now, spec) = (self.now, self.spec);
        let recover = &spec.options.recover;
        if !self.server.repairs.within_limit(now, recover.limit) {
            let limit = recover.limit;
            let why = format!(
                "limit: {} actions within {} s",
                limit.actions,
                limit.within.as_secs()
            );
            if let Some(case) = self.case() {
                case.action(now, action, ActionOutcome::Refused, Some(why.clone()));
            }
            self.escalate(&why);
            return AfterAction::On;
        }
        let backoff = &recover.backoff;
        let checked = match self.second_check(action) {
            Ok(checked) => checked,
            Err(veto) => return self.vetoed(step, action, veto),
        };
        self.server.repairs.note(now, ServerChange::Other, backoff);
        if is_stop {
            self.server.eject(now, EjectionReason::Known, self.out);
        }
        self.act(step, checked);
        AfterAction::Parked
    }

    /// Carries out what the second check has let through.
    pub(super) fn act(&mut self, step: usize, checked: CheckedPlan) {
        let now = self.now;
        self.set_status(IncidentStatus::Recovering);
        let is_alive = self.server.facts.process.down.is_none();
        let hangs = self.case().map(|case| case.kind) == Some(FaultKind::ProcessHung);
        let action = checked.plan().action.clone();
        let order = self.order_checked(checked, hangs);
        let until = now + self.server.order_limit + UNANSWERED;
        let Some(case) = self.case() else {
            return;
        };
        case.costly |= is_alive;
        case.action_began(now, &action);
        case.phase = CasePhase::Acting {
            step,
            order: Some(order),
            until,
        };
    }
}
