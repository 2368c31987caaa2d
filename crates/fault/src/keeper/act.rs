//! The playbook: its actions one after the other, each past its guards, and what follows when one has ended.

use std::time::Duration;

use evenkeel_core::{Instant, Verdict};

use crate::contract::{ActionOrder, Managed, OrderId, Output, Pace};
use crate::incident::{ActionOutcome, Status};
use crate::kind::FaultKind;
use crate::policy::{Action, Mode};
use crate::recover::{Allowance, Situation, playbook, serves_nothing};

use super::Work;
use super::case::{Phase, Retry};
use super::server::{Server, Shown};

/// An order that is not answered for so long is given up.
const UNANSWERED: Duration = Duration::from_secs(120);
/// Attempts in flight get so long to finish when a server is drained.
const DRAIN: Duration = Duration::from_secs(1);
/// After the guard of capacity refused, the next look.
const REFUSED: Duration = Duration::from_secs(5);

/// What one action leads to.
enum Next {
    /// The next action.
    On,
    /// The keeper waits; the phase says for what.
    Parked,
}

impl Server {
    /// Whether an answer to this order is waited for.
    pub(super) fn awaits_action(&self, id: OrderId) -> bool {
        let by_case = self.case.as_ref().is_some_and(
            |case| matches!(&case.phase, Phase::Acting { order: Some(order), .. } if *order == id),
        );
        by_case
            || self
                .routine
                .as_ref()
                .is_some_and(|routine| routine.order == Some(id))
    }
}

impl Work<'_> {
    /// The diagnosis is made: chooses the actions, and begins if that is allowed.
    pub(super) fn begin_playbook(&mut self, bad_probe: bool, passed: bool) {
        let situation = Situation {
            managed: self.server.managed,
            bad_probe,
            passed,
        };
        let of_user = &self.spec.options.recover.playbooks;
        let Some(case) = self.server.case.as_deref_mut() else {
            return;
        };
        let same = case.steps.clone();
        case.steps = playbook(case.kind, of_user, situation);
        case.acted = false;
        let steps = case.steps.clone();
        if self.may_act() {
            self.set_status(Status::Recovering);
            self.run(0);
            return;
        }
        let proposed = same == steps && !steps.is_empty();
        match self.mode() {
            Mode::DryRun | Mode::Ask if !proposed => self.propose(&steps),
            Mode::DryRun | Mode::Ask | Mode::Off | Mode::Automatic => {}
        }
        self.watch(None);
    }

    /// Writes down what would be done.
    fn propose(&mut self, steps: &[Action]) {
        let now = self.now;
        let asks = self.mode() == Mode::Ask && !steps.is_empty();
        let is_out = matches!(self.server.shown, Shown::Ejected(_));
        let Some(case) = self.case() else {
            return;
        };
        for action in steps {
            // A dead process is kept out of traffic in these modes too.
            let outcome = if *action == Action::Eject && is_out {
                ActionOutcome::Done
            } else {
                ActionOutcome::WouldDo
            };
            case.action(now, action, outcome, None);
        }
        if asks {
            case.note(now, "approval", "waits for a person's approval".to_owned());
            self.set_status(Status::AwaitingApproval);
        }
    }

    /// Carries out the playbook from action `step` on, until something has to be waited for or the repair is to be
    /// verified.
    pub(super) fn run(&mut self, step: usize) {
        let mut step = step;
        while let Some(case) = self.server.case.as_deref() {
            let Some(action) = case.steps.get(step).cloned() else {
                self.verify(step);
                return;
            };
            let ends_rung = matches!(action, Action::Restart | Action::Stop | Action::Escalate);
            if ends_rung && case.acted {
                self.verify(step);
                return;
            }
            match self.carry_out(step, &action) {
                Next::On => step += 1,
                Next::Parked => return,
            }
        }
    }

    fn carry_out(&mut self, step: usize, action: &Action) -> Next {
        let now = self.now;
        match action {
            Action::Eject | Action::Drain => self.take_out(step, action),
            Action::Restore => {
                self.server.restore(true, self.out);
                self.done(action);
                Next::On
            }
            Action::Restart => self.restart(step),
            Action::Stop | Action::Exec(_) => self.change(step, action),
            Action::Wait(length) => {
                if let Some(case) = self.case() {
                    case.action_began(now, action);
                    case.phase = Phase::Acting {
                        step,
                        order: None,
                        until: now + *length,
                    };
                }
                Next::Parked
            }
            Action::Escalate => {
                self.escalate("the playbook says so");
                Next::On
            }
        }
    }

    fn take_out(&mut self, step: usize, action: &Action) -> Next {
        let now = self.now;
        if self.server.facts.process.down.is_some() {
            let is_new = !self.has_done(Action::Eject.word());
            self.server.eject(now, Verdict::Known, self.out);
            if is_new {
                self.done(action);
            }
            return Next::On;
        }
        if !matches!(self.server.shown, Shown::Ejected(_)) {
            if let Err(why) = self.allowed() {
                return self.refuse(step, action, why);
            }
            self.server.eject(now, Verdict::Suspected, self.out);
            if *action == Action::Eject {
                self.done(action);
            }
        }
        if *action == Action::Drain {
            if let Some(case) = self.case() {
                case.action_began(now, action);
                case.phase = Phase::Acting {
                    step,
                    order: None,
                    until: now + DRAIN,
                };
            }
            return Next::Parked;
        }
        Next::On
    }

    fn restart(&mut self, step: usize) -> Next {
        let now = self.now;
        if !self.server.managed.restarts() {
            return self.unmanaged(&Action::Restart);
        }
        if let Err(why) = self.allowed() {
            return self.refuse(step, &Action::Restart, why);
        }
        let recover = &self.spec.options.recover;
        match self
            .server
            .repairs
            .restart(now, recover.limit, &recover.backoff)
        {
            Allowance::Now => self.restart_now(step),
            Allowance::At(at) => {
                self.watch(Some(Retry {
                    at,
                    step,
                    allowed: true,
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
                self.watch(Some(Retry {
                    at,
                    step,
                    allowed: true,
                }));
            }
        }
        Next::Parked
    }

    /// Orders the restart; back-off and limit have been asked.
    pub(super) fn restart_now(&mut self, step: usize) {
        let now = self.now;
        self.server
            .repairs
            .note(now, true, &self.spec.options.recover.backoff);
        self.server.eject(now, Verdict::Known, self.out);
        self.server.set_pace(Pace::Paused, self.out);
        if self.server.managed == Managed::Child && self.server.facts.process.down.is_some() {
            self.server.facts.process.replaced();
        }
        self.act(step, Action::Restart);
    }

    fn change(&mut self, step: usize, action: &Action) -> Next {
        let is_stop = *action == Action::Stop;
        if is_stop && !self.server.managed.stops() {
            return self.unmanaged(action);
        }
        if is_stop && let Err(why) = self.allowed() {
            return self.refuse(step, action, why);
        }
        let (now, recover) = (self.now, &self.spec.options.recover);
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
            return Next::On;
        }
        self.server.repairs.note(now, false, &recover.backoff);
        if is_stop {
            self.server.eject(now, Verdict::Known, self.out);
        }
        self.act(step, action.clone());
        Next::Parked
    }

    fn act(&mut self, step: usize, action: Action) {
        let (now, order, server) = (self.now, self.order(), self.server.id);
        self.set_status(Status::Recovering);
        let Some(case) = self.server.case.as_deref_mut() else {
            return;
        };
        case.action_began(now, &action);
        case.phase = Phase::Acting {
            step,
            order: Some(order),
            until: now + UNANSWERED,
        };
        self.out.push(Output::Act(Box::new(ActionOrder {
            id: order,
            server,
            action,
            at_once: case.kind == FaultKind::ProcessHung,
            incident: case.incident.id.clone(),
            fault: case.kind,
        })));
    }

    /// An order was answered.
    pub(super) fn action_ended(
        &mut self,
        id: OrderId,
        at: Instant,
        outcome: ActionOutcome,
        detail: Option<String>,
    ) {
        if self
            .server
            .routine
            .as_ref()
            .is_some_and(|routine| routine.order == Some(id))
        {
            self.routine_ended(outcome, detail);
            return;
        }
        let Some(case) = self.server.case.as_deref_mut() else {
            return;
        };
        let Phase::Acting { step, .. } = case.phase else {
            return;
        };
        case.action_ended(at, outcome, detail.clone());
        let action = case.steps.get(step).cloned().unwrap_or(Action::Restart);
        let worked = outcome == ActionOutcome::Done;
        case.acted |= worked;
        if action == Action::Restart {
            case.repaired |= worked;
            self.restart_ended(step, at, outcome, detail);
            return;
        }
        self.run(step + 1);
    }

    /// The answer may come before the supervisor's signals or after them; either alone is believed.
    fn restart_ended(
        &mut self,
        step: usize,
        at: Instant,
        outcome: ActionOutcome,
        detail: Option<String>,
    ) {
        let process = &mut self.server.facts.process;
        let has_failed = process.has_failed();
        let why = detail.unwrap_or_else(|| "the restart did not work".to_owned());
        match outcome {
            ActionOutcome::Done if has_failed => self.repair_failed("the process ended again"),
            ActionOutcome::Done => {
                process.down = None;
                self.run(step + 1);
            }
            ActionOutcome::Failed => {
                if self.server.managed == Managed::Child && !has_failed && process.pid.is_none() {
                    process.start_failed(at, why.clone());
                }
                self.repair_failed(&why);
            }
            ActionOutcome::TimedOut => self.repair_failed(&why),
            ActionOutcome::Refused | ActionOutcome::WouldDo => self.run(step + 1),
        }
    }

    /// The time of an action that was waited for is over.
    pub(super) fn action_over(&mut self, step: usize, order: Option<OrderId>) {
        let now = self.now;
        if let Some(order) = order {
            self.action_ended(
                order,
                now,
                ActionOutcome::TimedOut,
                Some("no answer to the order".to_owned()),
            );
            return;
        }
        let passes = self.server.facts.probes.passed_in_row > 0;
        if let Some(case) = self.case() {
            // A wait is worth a verification if it seems to have helped, or if nothing is left but a person.
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

    /// A person is needed; told once.
    pub(super) fn escalate(&mut self, why: &str) {
        let now = self.now;
        let Some(case) = self
            .server
            .case
            .as_deref_mut()
            .filter(|case| !case.escalated)
        else {
            return;
        };
        case.escalated = true;
        case.action(
            now,
            &Action::Escalate,
            ActionOutcome::Done,
            Some(why.to_owned()),
        );
        case.note(now, "escalation", format!("a person is needed: {why}"));
        case.set_status(Status::Escalated);
    }

    /// The guard of capacity. A server that serves nothing costs none.
    fn allowed(&self) -> Result<(), String> {
        let kind = self
            .server
            .case
            .as_ref()
            .map_or(FaultKind::Unknown, |case| case.kind);
        let costs_nothing = !self.server.serves() || serves_nothing(kind) || self.fails_always();
        if costs_nothing {
            Ok(())
        } else {
            self.capacity.allows(self.spec.options.recover.keep_serving)
        }
    }

    /// All of its recent attempts failed, and there were some.
    fn fails_always(&self) -> bool {
        let tally = self.server.facts.attempts.tally(self.now);
        tally.total >= 5
            && self.server.facts.attempts.failed_in_row >= 5
            && tally.hits * 10 >= tally.total * 9
    }

    fn refuse(&mut self, step: usize, action: &Action, why: String) -> Next {
        let now = self.now;
        if let Some(case) = self.server.case.as_deref_mut().filter(|case| !case.refused) {
            case.refused = true;
            case.action(now, action, ActionOutcome::Refused, Some(why.clone()));
        }
        self.escalate(&why);
        self.watch(Some(Retry {
            at: now + REFUSED,
            step,
            allowed: false,
        }));
        Next::Parked
    }

    fn unmanaged(&mut self, action: &Action) -> Next {
        let now = self.now;
        let why = "evenkeel does not run this server and has no command for it".to_owned();
        if let Some(case) = self.server.case.as_deref_mut().filter(|case| !case.refused) {
            case.refused = true;
            case.action(now, action, ActionOutcome::Refused, Some(why));
        }
        Next::On
    }

    fn done(&mut self, action: &Action) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.action(now, action, ActionOutcome::Done, None);
        }
    }

    fn has_done(&self, word: &str) -> bool {
        let actions = self
            .server
            .case
            .as_ref()
            .map(|case| case.incident.actions.iter());
        actions.is_some_and(|mut actions| actions.any(|action| action.action == word))
    }
}
