//! Success rates of costly actions, by service, kind of fault and action, read from closed incidents.
//!
//! A playbook says what usually helps; this says whether it has helped at this service. An action that has failed
//! repeatedly is no longer the first one to be tried. Only the latest tries count, so that a service which has changed
//! is not judged by its past.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::incident::{ActionOutcome, ActionRecord, Incident, RepairedBy};
use crate::kind::FaultKind;
use crate::policy::Action;

/// So many tries of one action for one kind at one service count, the latest.
const REMEMBERED: usize = 20;
/// Fewer tries say nothing.
const LEAST: u32 = 3;
/// An action whose estimate is below this seldom helps.
const SELDOM: f64 = 0.25;
/// How long an operator has, after a notification, before an action that seldom helps is taken.
const FOR_A_PERSON: Duration = Duration::from_secs(60);

/// How often an action was tried, and how often that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActionTries {
    /// Tries whose end is known.
    pub tried: u32,
    /// Of these, those after which the server was verified to be well.
    pub verified: u32,
}

impl ActionTries {
    /// The share of tries that help, from 0 to 1: as if there had been one more success and one more failure, so that few tries
    /// say little.
    #[must_use]
    pub fn estimate(self) -> f64 {
        f64::from(self.verified + 1) / f64::from(self.tried + 2)
    }

    /// Whether it was tried often enough and has helped in less than one of four.
    #[must_use]
    pub fn seldom_helps(self) -> bool {
        self.tried >= LEAST && self.estimate() < SELDOM
    }
}

/// One line of what has helped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccessRate {
    /// The kind of fault.
    pub fault: FaultKind,
    /// The action's word.
    pub action: String,
    /// How often.
    pub tries: ActionTries,
}

/// The success rates of all services.
#[derive(Debug, Clone, Default)]
pub struct SuccessRates {
    /// By service, kind and action: whether each of the latest tries was verified.
    tries: BTreeMap<(String, FaultKind, String), VecDeque<bool>>,
}

impl SuccessRates {
    /// Takes in an incident that is over.
    pub fn learn(&mut self, incident: &Incident) {
        let Some(fault) = fault_of(incident) else {
            return;
        };
        for (action, verified) in tries_of(incident) {
            let key = (incident.service.clone(), fault, action.to_owned());
            let tries = self.tries.entry(key).or_default();
            if tries.len() == REMEMBERED {
                tries.pop_front();
            }
            tries.push_back(verified);
        }
    }

    /// Of one action.
    #[must_use]
    pub fn of(&self, service: &str, fault: FaultKind, action: &Action) -> ActionTries {
        let key = (service.to_owned(), fault, action.word().to_owned());
        self.tries
            .get(&key)
            .map_or_else(ActionTries::default, counted)
    }

    /// All of one service, by kind and action.
    #[must_use]
    pub fn of_service(&self, service: &str) -> Vec<SuccessRate> {
        let its = self.tries.iter();
        let its = its.filter(|((name, _, _), _)| name == service);
        its.map(|((_, fault, action), tries)| SuccessRate {
            fault: *fault,
            action: action.clone(),
            tries: counted(tries),
        })
        .collect()
    }
}

fn counted(tries: &VecDeque<bool>) -> ActionTries {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    ActionTries {
        tried: count(tries.len()),
        verified: count(tries.iter().filter(|verified| **verified).count()),
    }
}

/// The kind that was acted on: the request that crashed a server is no reason for a restart; the exit is.
fn fault_of(incident: &Incident) -> Option<FaultKind> {
    let mut kinds = incident.diagnosis.iter().map(|finding| finding.fault);
    kinds.find(|kind| *kind != FaultKind::PoisonRequest)
}

/// The costly actions that evenkeel carried out, and whether each was verified. Of the last one that may not be known.
fn tries_of(incident: &Incident) -> impl Iterator<Item = (&str, bool)> {
    let is_try = |action: &&ActionRecord| {
        let is_costly = matches!(
            action.action.as_str(),
            "restart" | "stop" | "exec" | "roll-back"
        );
        let has_ended = matches!(
            action.outcome,
            Some(ActionOutcome::Done | ActionOutcome::Failed | ActionOutcome::TimedOut)
        );
        is_costly && has_ended && !action.by_person
    };
    let tries: Vec<&ActionRecord> = incident.actions.iter().filter(is_try).collect();
    let last = tries.len().saturating_sub(1);
    let outcome = incident.verification.as_ref();
    let is_known = |slot: usize, action: &ActionRecord| {
        // The success of a roll-back is that of the start that follows it.
        let is_last = slot == last || slot + 1 == last && action.action == "roll-back";
        if !is_last || action.outcome != Some(ActionOutcome::Done) {
            return Some(false);
        }
        let verification = outcome?;
        let by_evenkeel = verification.repaired_by == Some(RepairedBy::Evenkeel);
        match verification.outcome.as_str() {
            "passed" if by_evenkeel => Some(true),
            "failed" => Some(false),
            // By itself, or not proven.
            "passed" => Some(false),
            _ => None,
        }
    };
    let known = tries.into_iter().enumerate();
    let known: Vec<(&str, bool)> = known
        .filter_map(|(slot, action)| Some((action.action.as_str(), is_known(slot, action)?)))
        .collect();
    known.into_iter()
}

/// The playbook with its first costly action demoted, if that seldom helps: behind the others, or, if there are none,
/// until an operator was notified and has had a minute. Commands keep their position: they may be notifications.
#[must_use]
pub fn demote_costly(
    steps: &[Action],
    seldom_helps: impl Fn(&Action) -> bool,
) -> Option<Vec<Action>> {
    let is_costly = |action: &Action| matches!(action, Action::Restart | Action::Stop);
    let slot = steps.iter().position(is_costly)?;
    let (before, action, behind) = (&steps[..slot], &steps[slot], &steps[slot + 1..]);
    if !seldom_helps(action) {
        return None;
    }
    let is_better = |other: &Action| is_costly(other) && other != action && !seldom_helps(other);
    let mut steps = before.to_vec();
    if behind.iter().any(is_better) {
        steps.extend_from_slice(behind);
        steps.push(action.clone());
        return Some(steps);
    }
    if !before.contains(&Action::Escalate) {
        steps.push(Action::Escalate);
    }
    steps.push(Action::Wait(FOR_A_PERSON));
    steps.push(action.clone());
    steps.extend_from_slice(behind);
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tries_say_little_and_many_failures_much() {
        for (tried, verified, seldom) in [
            (0, 0, false),
            (2, 0, false),
            (3, 0, true),
            (3, 1, false),
            (6, 1, false),
            (7, 1, true),
            (20, 4, true),
            (20, 5, false),
        ] {
            let tries = ActionTries { tried, verified };
            assert_eq!(tries.seldom_helps(), seldom, "{tries:?}");
        }
    }

    fn incident(fault: &str, actions: &[(&str, &str, bool)], verification: &str) -> Incident {
        let record = |(action, outcome, by_person): &(&str, &str, bool)| {
            serde_json::json!({
                "action": action, "server": "one", "started": "", "outcome": outcome, "by_person": by_person,
            })
        };
        let actions: Vec<_> = actions.iter().map(record).collect();
        let (outcome, by) = verification.split_once(' ').unwrap_or((verification, ""));
        let mut verification = serde_json::json!({ "outcome": outcome, "probes": 3 });
        if !by.is_empty() {
            verification["repaired_by"] = by.into();
        }
        let incident = serde_json::json!({
            "id": "2026-11-22-0001", "drill": false, "status": "closed", "service": "shop", "servers": ["one"],
            "onset": "", "durations_ms": {}, "detected_by": "supervisor",
            "diagnosis": [
                { "fault": "poison-request", "confidence": 0.9, "evidence": ["GET /x"] },
                { "fault": fault, "confidence": 0.9, "evidence": ["it is so"] },
            ],
            "actions": actions, "verification": verification,
            "impact": { "requests": 0, "failed": 0, "saved_by_retry": 0, "budget_spent": 0.0 },
            "timeline": [],
        });
        serde_json::from_value(incident).unwrap()
    }

    #[test]
    fn incidents_tell_what_was_tried_and_what_helped() {
        let (eject, done, failed) = (
            ("eject", "done", false),
            ("restart", "done", false),
            ("restart", "failed", false),
        );
        for (actions, verification, tried, verified) in [
            (&[eject, done][..], "passed evenkeel", 1, 1),
            (&[eject, done, failed, done], "passed evenkeel", 3, 1),
            (&[eject, done, done], "failed", 2, 0),
            (&[done, done], "not-proven", 1, 0),
            (&[done], "passed", 1, 0),
            (
                &[failed, ("roll-back", "done", false), done],
                "passed evenkeel",
                2,
                1,
            ),
            (&[("restart", "done", true)], "passed person", 0, 0),
            (&[("restart", "would-do", false)], "passed", 0, 0),
            (&[("restart", "refused", false), eject], "passed", 0, 0),
        ] {
            let mut rates = SuccessRates::default();
            rates.learn(&incident("error-burst", actions, verification));
            let tries = rates.of("shop", FaultKind::ErrorBurst, &Action::Restart);
            assert_eq!(
                tries,
                ActionTries { tried, verified },
                "{actions:?} {verification}"
            );
            let all = rates.of_service("shop");
            let back = all.iter().find(|rate| rate.action == "roll-back");
            assert!(back.is_none_or(|rate| rate.tries.verified == 1));
            assert_eq!(all.is_empty(), tried == 0);
            assert!(rates.of_service("cart").is_empty());
        }
    }

    #[test]
    fn only_the_latest_tries_count() {
        let mut rates = SuccessRates::default();
        let of = |rates: &SuccessRates| rates.of("shop", FaultKind::ErrorBurst, &Action::Restart);
        for _ in 0..30 {
            rates.learn(&incident(
                "error-burst",
                &[("restart", "failed", false)],
                "failed",
            ));
        }
        assert_eq!(
            of(&rates),
            ActionTries {
                tried: 20,
                verified: 0
            }
        );
        for _ in 0..30 {
            let helps = [("restart", "done", false)];
            rates.learn(&incident("error-burst", &helps, "passed evenkeel"));
        }
        assert_eq!(
            of(&rates),
            ActionTries {
                tried: 20,
                verified: 20
            }
        );
    }

    #[test]
    fn what_seldom_helps_comes_behind_what_may_and_else_behind_a_person() {
        let (eject, restart, stop, escalate) = (
            Action::Eject,
            Action::Restart,
            Action::Stop,
            Action::Escalate,
        );
        let command = Action::Exec(vec!["./page.sh".to_owned()]);
        let wait = Action::Wait(FOR_A_PERSON);
        let restart_seldom = |action: &Action| *action == Action::Restart;
        for (steps, expected) in [
            (vec![eject.clone()], None),
            (vec![eject.clone(), stop.clone(), restart.clone()], None),
            (
                vec![eject.clone(), restart.clone()],
                Some(vec![
                    eject.clone(),
                    escalate.clone(),
                    wait.clone(),
                    restart.clone(),
                ]),
            ),
            (
                vec![
                    eject.clone(),
                    restart.clone(),
                    stop.clone(),
                    escalate.clone(),
                ],
                Some(vec![eject.clone(), stop, escalate.clone(), restart.clone()]),
            ),
            (
                vec![
                    command.clone(),
                    escalate.clone(),
                    restart.clone(),
                    command.clone(),
                ],
                Some(vec![command.clone(), escalate, wait, restart, command]),
            ),
        ] {
            assert_eq!(demote_costly(&steps, restart_seldom), expected, "{steps:?}");
        }
        assert_eq!(demote_costly(&[eject, Action::Restart], |_| false), None);
    }
}
