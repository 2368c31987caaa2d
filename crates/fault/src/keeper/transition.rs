//! The transition table: what an event means for an open case.
//!
//! [`follows`] decides and changes nothing. `happened` executes the effects; the phase that the case enters depends on
//! the playbook and its guards, so the effect enters it.

use evenkeel_core::Instant;

use crate::incident::ActionOutcome;
use crate::kind::FaultKind;
use crate::outlook::WaitReason;
use crate::policy::Action;
use crate::recover::serves_nothing;
use crate::verify::{Verification, VerifyProgress};

use super::case::Case;
use super::phase::{CasePhase, Retry};

/// An event at a server with an open case.
#[derive(Debug, Clone)]
pub(super) enum CaseEvent {
    /// Another detector found something wrong.
    Detected,
    /// Its process has ended, or could not be started: this is what was noticed.
    ProcessDown(String),
    /// An order was answered.
    Answered {
        at: Instant,
        outcome: ActionOutcome,
        /// The process that the order started has ended again.
        has_failed: bool,
        why: String,
    },
    /// Its probes pass again, or the examination that is repeated in their place.
    ProbesPass,
    /// Its verification got so far.
    Verified(VerifyProgress),
    /// Time has passed.
    Tick {
        now: Instant,
        /// It shows something else than what it was taken out for.
        shows_another: bool,
    },
}

/// The effect of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// It is examined: an open question may have an answer now.
    Examine,
    /// It is examined as a server whose fault may have become another.
    LookAgain,
    /// The diagnosis is made with what is known, and its playbook begins.
    Diagnose,
    /// The wait at this place of the playbook is over.
    EndWait(usize),
    /// The order in progress was not answered in time.
    GiveUpOrder,
    /// The playbook goes on from this place.
    Run(usize),
    /// The ordered process runs, and the playbook goes on from this place.
    Started {
        at: Instant,
        next: usize,
    },
    /// No process could be started, so the repair did not hold.
    NotStarted {
        at: Instant,
        why: String,
    },
    /// Postponed actions are tried again.
    Retry(Retry),
    /// It gets a trickle of requests.
    Try,
    /// It is healthy.
    Recover,
    /// It goes back into rotation, and requests are still to prove that it is well.
    Return,
    /// The repair did not hold.
    RepairFailed(String),
    /// It is not yet well, and is watched on.
    WatchOn(String),
}

/// The effect of an event on a case, by its phase.
pub(super) fn follows(case: &Case, event: CaseEvent) -> Effect {
    match &case.phase {
        CasePhase::Judged => Effect::Nothing,
        CasePhase::Examining { until, .. } => while_examining(*until, &event),
        CasePhase::Acting { step, order, until } => {
            let due = |now: Instant| now >= *until;
            match order {
                Some(_) => while_ordered(case.steps.get(*step), *step, due, event),
                None => while_waiting(case, *step, due, &event),
            }
        }
        CasePhase::Verifying {
            verification,
            retry,
            ..
        } => while_verifying(case.kind, verification, *retry, event),
    }
}

fn while_examining(until: Instant, event: &CaseEvent) -> Effect {
    match event {
        CaseEvent::ProcessDown(_) => Effect::Diagnose,
        CaseEvent::Tick { now, .. } if *now >= until => Effect::Diagnose,
        CaseEvent::Detected
        | CaseEvent::Answered { .. }
        | CaseEvent::ProbesPass
        | CaseEvent::Verified(_)
        | CaseEvent::Tick { .. } => Effect::Nothing,
    }
}

/// An order is in progress. The meaning of a process exit that it causes is determined by its answer.
fn while_ordered(
    action: Option<&Action>,
    step: usize,
    due: impl Fn(Instant) -> bool,
    event: CaseEvent,
) -> Effect {
    match event {
        CaseEvent::Answered {
            at,
            outcome,
            has_failed,
            why,
        } => {
            let restarts = action.is_none_or(|action| *action == Action::Restart);
            match outcome {
                ActionOutcome::Done if restarts && has_failed => {
                    Effect::RepairFailed("the process exited again".to_owned())
                }
                ActionOutcome::Done if restarts => Effect::Started { at, next: step + 1 },
                ActionOutcome::Failed if restarts => Effect::NotStarted { at, why },
                ActionOutcome::TimedOut if restarts => Effect::RepairFailed(why),
                ActionOutcome::Done
                | ActionOutcome::Failed
                | ActionOutcome::TimedOut
                | ActionOutcome::Refused
                | ActionOutcome::WouldDo => Effect::Run(step + 1),
            }
        }
        CaseEvent::Tick { now, .. } if due(now) => Effect::GiveUpOrder,
        CaseEvent::Detected
        | CaseEvent::ProcessDown(_)
        | CaseEvent::ProbesPass
        | CaseEvent::Verified(_)
        | CaseEvent::Tick { .. } => Effect::Nothing,
    }
}

/// A wait of the playbook or a drain is in progress.
fn while_waiting(
    case: &Case,
    step: usize,
    due: impl Fn(Instant) -> bool,
    event: &CaseEvent,
) -> Effect {
    let waits = matches!(case.steps.get(step), Some(Action::Wait(_)));
    match event {
        CaseEvent::ProcessDown(_) => Effect::Diagnose,
        // A server that serves nothing is waited for until its probes pass.
        CaseEvent::ProbesPass if waits && serves_nothing(case.kind) => Effect::EndWait(step),
        CaseEvent::Tick { now, .. } if due(*now) => Effect::EndWait(step),
        CaseEvent::Detected
        | CaseEvent::Answered { .. }
        | CaseEvent::ProbesPass
        | CaseEvent::Verified(_)
        | CaseEvent::Tick { .. } => Effect::Nothing,
    }
}

/// A repair is verified, which ends; or it is watched, which goes on beside all that waits.
fn while_verifying(
    kind: FaultKind,
    verification: &Verification,
    retry: Option<Retry>,
    event: CaseEvent,
) -> Effect {
    let ends = verification.rules.ends;
    match event {
        // An open question that new evidence may answer.
        CaseEvent::Detected
            if !ends && matches!(kind, FaultKind::Unknown | FaultKind::BadProbe) =>
        {
            Effect::Examine
        }
        CaseEvent::ProcessDown(what) if ends => Effect::RepairFailed(what),
        CaseEvent::ProcessDown(_) => Effect::Diagnose,
        CaseEvent::Verified(progress) => after(progress, ends),
        CaseEvent::Tick { now, shows_another } => match retry.filter(|retry| now >= retry.at) {
            Some(retry) if is_asked_now(&retry, verification) => Effect::Retry(retry),
            _ if shows_another => Effect::LookAgain,
            _ => after(verification.tick(now), ends),
        },
        CaseEvent::Detected | CaseEvent::Answered { .. } | CaseEvent::ProbesPass => Effect::Nothing,
    }
}

/// A trickle that is going well is not cut off; a trial has had its time.
fn is_asked_now(retry: &Retry, verification: &Verification) -> bool {
    let is_vain = retry.waits == WaitReason::Trial && !verification.shows_good();
    !verification.in_trickle() || is_vain
}

fn after(progress: VerifyProgress, ends: bool) -> Effect {
    match progress {
        VerifyProgress::Pending => Effect::Nothing,
        VerifyProgress::Trickle => Effect::Try,
        VerifyProgress::Passed => Effect::Recover,
        VerifyProgress::Unproven => Effect::Return,
        VerifyProgress::Failed(why) if ends => Effect::RepairFailed(why),
        VerifyProgress::Failed(why) => Effect::WatchOn(why),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_core::Epoch;

    use crate::contract::OrderId;
    use crate::detect::{Detection, Detector};
    use crate::policy::VerifyOptions;
    use crate::verify::VerifyRules;

    use super::*;

    const NOW: Instant = Instant::from_millis(10_000);
    const LATER: Instant = Instant::from_millis(11_000);
    const ORDER: OrderId = OrderId(7);

    /// A case that is about to wait, to restart, and to escalate.
    fn case(phase: CasePhase) -> Case {
        let detection = Detection {
            by: Detector::Probe,
            onset: NOW,
            text: String::new(),
        };
        let (service, server) = ("shop".to_owned(), "shop-1".to_owned());
        let id = "2026-11-30-0001".to_owned();
        let mut case = Case::new(id, service, server, &detection, NOW, Epoch::default());
        case.kind = FaultKind::ProcessHung;
        case.steps = vec![
            Action::Wait(Duration::from_secs(1)),
            Action::Restart,
            Action::Exec(vec!["page".to_owned()]),
        ];
        case.phase = phase;
        case
    }

    fn verifying(ends: bool, retry: Option<Retry>) -> CasePhase {
        let rules = VerifyRules {
            options: VerifyOptions {
                probes: 1,
                every: Duration::from_millis(100),
                within: Duration::from_secs(10),
            },
            ends,
            from: NOW,
            patient: false,
            in_service: false,
            proof: 0,
            slow_limit: None,
        };
        CasePhase::Verifying {
            verification: Verification::new(rules),
            then: 1,
            retry,
        }
    }

    fn acting(step: usize, order: Option<OrderId>) -> CasePhase {
        CasePhase::Acting {
            step,
            order,
            until: LATER,
        }
    }

    fn phases() -> Vec<(&'static str, CasePhase)> {
        let examining = CasePhase::Examining {
            order: ORDER,
            until: LATER,
        };
        vec![
            ("judged", CasePhase::Judged),
            ("examining", examining),
            ("waiting", acting(0, None)),
            ("restarting", acting(1, Some(ORDER))),
            ("command", acting(2, Some(ORDER))),
            ("verifying", verifying(true, None)),
            ("watched", verifying(false, None)),
        ]
    }

    fn answered(outcome: ActionOutcome, has_failed: bool) -> CaseEvent {
        CaseEvent::Answered {
            at: NOW,
            outcome,
            has_failed,
            why: "why".to_owned(),
        }
    }

    fn tick(now: Instant) -> CaseEvent {
        let shows_another = false;
        CaseEvent::Tick { now, shows_another }
    }

    /// The effects in each phase, in order; none where nothing is listed.
    fn row(event: &CaseEvent) -> Vec<(&'static str, Effect)> {
        phases()
            .into_iter()
            .map(|(name, phase)| (name, follows(&case(phase), event.clone())))
            .filter(|(_, effect)| *effect != Effect::Nothing)
            .collect()
    }

    fn why() -> String {
        "why".to_owned()
    }

    #[test]
    fn each_event_has_one_effect_in_each_phase() {
        let repair_failed = || Effect::RepairFailed(why());
        let started = Effect::Started { at: NOW, next: 2 };
        let not_started = Effect::NotStarted {
            at: NOW,
            why: why(),
        };
        let ended_again = Effect::RepairFailed("the process exited again".to_owned());
        let command_over = || ("command", Effect::Run(3));
        let table = [
            (CaseEvent::Detected, vec![]),
            (
                CaseEvent::ProcessDown(why()),
                vec![
                    ("examining", Effect::Diagnose),
                    ("waiting", Effect::Diagnose),
                    ("verifying", repair_failed()),
                    ("watched", Effect::Diagnose),
                ],
            ),
            (CaseEvent::ProbesPass, vec![("waiting", Effect::EndWait(0))]),
            (
                answered(ActionOutcome::Done, false),
                vec![("restarting", started), command_over()],
            ),
            (
                answered(ActionOutcome::Done, true),
                vec![("restarting", ended_again), command_over()],
            ),
            (
                answered(ActionOutcome::Failed, true),
                vec![("restarting", not_started), command_over()],
            ),
            (
                answered(ActionOutcome::TimedOut, false),
                vec![("restarting", repair_failed()), command_over()],
            ),
            (
                answered(ActionOutcome::Refused, false),
                vec![("restarting", Effect::Run(2)), command_over()],
            ),
            (tick(NOW), vec![]),
            (
                tick(LATER),
                vec![
                    ("examining", Effect::Diagnose),
                    ("waiting", Effect::EndWait(0)),
                    ("restarting", Effect::GiveUpOrder),
                    ("command", Effect::GiveUpOrder),
                ],
            ),
        ];
        for (event, expected) in table {
            assert_eq!(row(&event), expected, "{event:?}");
        }
    }

    #[test]
    fn a_verification_tells_only_what_is_being_verified() {
        for (progress, verified, watched) in [
            (VerifyProgress::Trickle, Effect::Try, Effect::Try),
            (VerifyProgress::Passed, Effect::Recover, Effect::Recover),
            (VerifyProgress::Unproven, Effect::Return, Effect::Return),
            (
                VerifyProgress::Failed(why()),
                Effect::RepairFailed(why()),
                Effect::WatchOn(why()),
            ),
        ] {
            let expected = vec![("verifying", verified), ("watched", watched)];
            assert_eq!(row(&CaseEvent::Verified(progress)), expected);
        }
        assert_eq!(row(&CaseEvent::Verified(VerifyProgress::Pending)), vec![]);
    }

    #[test]
    fn an_open_question_is_examined_again_by_new_evidence_and_what_is_answered_is_not() {
        for (kind, expected) in [
            (FaultKind::Unknown, Effect::Examine),
            (FaultKind::BadProbe, Effect::Examine),
            (FaultKind::ProcessHung, Effect::Nothing),
        ] {
            let mut case = case(verifying(false, None));
            case.kind = kind;
            assert_eq!(follows(&case, CaseEvent::Detected), expected, "{kind}");
        }
    }

    #[test]
    fn only_a_server_that_serves_nothing_is_waited_for_until_its_probes_pass() {
        let mut slow = case(acting(0, None));
        slow.kind = FaultKind::SlowServer;
        assert_eq!(follows(&slow, CaseEvent::ProbesPass), Effect::Nothing);
    }

    #[test]
    fn what_waits_is_asked_for_at_its_time_unless_requests_show_that_it_is_well() {
        let retry = |waits| Retry {
            at: NOW,
            step: 1,
            allowed: false,
            waits,
        };
        for (waits, succeeded, expected) in [
            (WaitReason::BackOff, 0, Effect::Nothing),
            (
                WaitReason::Trial,
                0,
                Effect::Retry(retry(WaitReason::Trial)),
            ),
            (WaitReason::Trial, 1, Effect::Nothing),
        ] {
            let mut case = case(verifying(false, Some(retry(waits))));
            let asked = follows(&case, tick(NOW));
            assert_eq!(asked, Effect::Retry(retry(waits)), "nothing is tried yet");
            if let CasePhase::Verifying { verification, .. } = &mut case.phase {
                while verification.probe(NOW, true) != VerifyProgress::Trickle {}
                verification.succeeded = succeeded;
            }
            assert_eq!(follows(&case, tick(NOW)), expected, "{waits:?} {succeeded}");
        }
    }

    #[test]
    fn another_fault_is_looked_at_once_nothing_waits() {
        let shows_another = CaseEvent::Tick {
            now: NOW,
            shows_another: true,
        };
        let case = case(verifying(false, None));
        assert_eq!(follows(&case, shows_another), Effect::LookAgain);
    }
}
