//! Orders that change a server (restart, stop, exec): what has to be asked before one is given, and what its answer means.

use std::time::Duration;

use evenkeel_core::{Instant, StartFailure, Verdict};

use crate::contract::{Managed, OrderId, Pace};
use crate::incident::{ActionOutcome, RepairedBy, Status};
use crate::kind::FaultKind;
use crate::outlook::Waits;
use crate::policy::Action;
use crate::recover::{Allowance, Change, Checked, serves_nothing};

use super::Work;
use super::act::{Next, NotYet};
use super::phase::{Phase, Retry};
use super::server::Server;
use super::transition::Event;

/// An order that is not answered for so long after its own limit is given up: then nobody works on it any more, and another
/// one cannot start a second process.
pub(super) const UNANSWERED: Duration = Duration::from_secs(10);

/// So often it is asked whether a process that the limit keeps from being started is wanted by now.
const ASKED_AGAIN: Duration = Duration::from_millis(500);

/// A server whose trouble was its peers', too, has so long to do well again before it is repaired.
const TRIED: Duration = Duration::from_secs(15);

/// A server that was slow has so long to do well before it is restarted for it.
const SLOW_TRIED: Duration = Duration::from_secs(4);

impl Server {
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
    pub(super) fn restart(&mut self, step: usize) -> Next {
        let now = self.now;
        if !self.server.managed.restarts() {
            return self.unmanaged(&Action::Restart);
        }
        if let Err(why) = self.allowed() {
            return self.refuse(step, &Action::Restart, &why);
        }
        if self.must_wait(step) {
            return Next::Parked;
        }
        if !self.may_act() {
            return self.propose(step);
        }
        let recover = &self.spec.options.recover;
        let is_dead = self.server.facts.process.down.is_some();
        // A process that does not run serves nobody: what can it cost to start it, where servers are wanting? But one whose last
        // start failed is not started for ever.
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
                "it ends again and again, and was started {starts} times"
            ));
        }
        match allowance {
            Allowance::Now => self.restart_now(step),
            Allowance::At(at) => {
                self.watch(Some(Retry {
                    at,
                    step,
                    allowed: true,
                    waits: Waits::BackOff,
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
                    waits: Waits::Limit,
                }));
            }
        }
        Next::Parked
    }

    /// Whether a costly action waits. What was shared and is over at its peers is tried with requests before it is repaired;
    /// there is nothing to be tried where no process runs, or where a person has decided.
    fn must_wait(&mut self, step: usize) -> bool {
        let is_decided = self
            .case()
            .is_some_and(|case| case.by_person || case.approved);
        if is_decided || self.server.facts.process.down.is_some() {
            return false;
        }
        let waited = self.case().and_then(|case| case.waits);
        let is_slow = self
            .case()
            .is_some_and(|case| case.kind == FaultKind::SlowServer);
        let not_yet = match self.may_cost() {
            Err(not_yet) => not_yet,
            Ok(()) if waited == Some(Waits::Shared) => NotYet {
                waits: Waits::Trial,
                at: self.now + TRIED,
                why: "its peers do well again, so it is tried first".to_owned(),
            },
            // It may have been the machine, or a moment of many requests.
            Ok(()) if is_slow && waited != Some(Waits::Trial) => NotYet {
                waits: Waits::Trial,
                at: self.now + SLOW_TRIED,
                why: "slowness may pass, so it is tried first".to_owned(),
            },
            Ok(()) => return false,
        };
        self.wait_for_turn(step, &not_yet, waited);
        true
    }

    /// Watches until a costly action may be asked for again. If it is well by then, none is needed.
    fn wait_for_turn(&mut self, step: usize, not_yet: &NotYet, waited: Option<Waits>) {
        let NotYet { waits, at, why } = not_yet;
        let (now, is_new) = (self.now, waited != Some(*waits));
        let next = Retry {
            at: *at,
            step,
            allowed: false,
            waits: *waits,
        };
        let begins = is_new && *waits == Waits::Trial;
        match self.case().map(|case| &mut case.phase) {
            // What is being watched goes on.
            Some(Phase::Verifying {
                verification,
                retry,
                ..
            }) if !verification.rules.ends && !begins => *retry = Some(next),
            _ => self.watch(Some(next)),
        }
        // For so short a time requests would only tell what is known, and put the action off. A longer wait may end by them.
        let is_short = *waits == Waits::Peers;
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
        let checked = match self.second_check(&Action::Restart) {
            Ok(checked) => checked,
            Err(veto) => {
                self.vetoed(step, &Action::Restart, veto);
                return;
            }
        };
        let change = match self.server.facts.process.down {
            Some(_) => Change::Start,
            None => Change::Restart,
        };
        self.server
            .repairs
            .note(now, change, &self.spec.options.recover.backoff);
        self.server.eject(now, Verdict::Known, self.out);
        self.server.set_pace(Pace::Paused, self.out);
        if self.server.managed == Managed::Child && self.server.facts.process.down.is_some() {
            self.server.facts.process.replaced();
        }
        self.act(step, checked);
    }

    pub(super) fn change(&mut self, step: usize, action: &Action) -> Next {
        let is_stop = *action == Action::Stop;
        if is_stop && !self.server.managed.stops() {
            return self.unmanaged(action);
        }
        if is_stop && let Err(why) = self.allowed() {
            return self.refuse(step, action, &why);
        }
        if self.must_wait(step) {
            return Next::Parked;
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
            return Next::On;
        }
        let backoff = &recover.backoff;
        let checked = match self.second_check(action) {
            Ok(checked) => checked,
            Err(veto) => return self.vetoed(step, action, veto),
        };
        self.server.repairs.note(now, Change::Other, backoff);
        if is_stop {
            self.server.eject(now, Verdict::Known, self.out);
        }
        self.act(step, checked);
        Next::Parked
    }

    /// Carries out what the second check has let through.
    pub(super) fn act(&mut self, step: usize, checked: Checked) {
        let now = self.now;
        self.set_status(Status::Recovering);
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
        case.phase = Phase::Acting {
            step,
            order: Some(order),
            until,
        };
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
        self.happened(Event::Answered {
            at,
            outcome,
            has_failed: self.server.facts.process.has_failed(),
            why: detail.unwrap_or_else(|| "the restart did not work".to_owned()),
        });
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

    /// Nobody has answered the order under way.
    pub(super) fn give_up_order(&mut self, order: OrderId) {
        let why = "no answer to the order".to_owned();
        self.action_ended(order, self.now, ActionOutcome::TimedOut, Some(why));
    }

    /// A wait of the playbook is over, or a drain.
    pub(super) fn wait_over(&mut self, step: usize) {
        let now = self.now;
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
}
