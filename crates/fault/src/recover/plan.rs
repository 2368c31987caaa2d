//! A plan, which is one costly action that has been decided but not executed, and its second check.
//!
//! The check is a second opinion: it gets the plan and plain facts about the service, knows nothing about how the
//! decision was made, and shares no code with it. Only a plan that passes can be executed. The guards of the decision
//! know more and refuse earlier; whatever is refused here is a bug in them, or something that they do not consider.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::{Instant, ServerId};

use crate::kind::FaultKind;
use crate::policy::{Action, Mode, RecoverOptions};

/// The maximum number of remembered actions per server.
const REMEMBERED: usize = 1024;

/// One action, decided and not yet carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionPlan {
    /// The server.
    pub server: ServerId,
    /// The action.
    pub action: Action,
    /// For which fault.
    pub fault: FaultKind,
    /// The author of the plan.
    pub author: Author,
}

/// The author of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// evenkeel.
    Evenkeel,
    /// evenkeel, approved by an operator.
    Approved,
    /// An operator: the order's own guards have been checked, and nothing else delays it.
    Person,
}

/// A plan that the second check has let through. Nothing else makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedPlan(ActionPlan);

impl CheckedPlan {
    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &ActionPlan {
        &self.0
    }

    /// The plan, to be carried out.
    #[must_use]
    pub fn into_plan(self) -> ActionPlan {
        self.0
    }
}

/// Why a plan is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Veto {
    /// The mode requires approval, or forbids actions.
    Mode,
    /// The server or the service is in maintenance.
    Maintenance,
    /// Too few servers would be left, or none that answers anything.
    Capacity,
    /// It is the last backup that carries what no primary server does.
    Tier,
    /// As many servers as `at_once` allows are under a costly action.
    AtOnce,
    /// More actions on this server than limit and back-off can allow.
    RateLimit,
}

impl Veto {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Mode,
        Self::Maintenance,
        Self::Capacity,
        Self::Tier,
        Self::AtOnce,
        Self::RateLimit,
    ];

    /// Its word in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Maintenance => "maintenance",
            Self::Capacity => "capacity",
            Self::Tier => "tier",
            Self::AtOnce => "at-once",
            Self::RateLimit => "rate-limit",
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Mode => "`recover.mode` does not allow it",
            Self::Maintenance => "it is in maintenance",
            Self::Capacity => {
                "too few responding servers would be left in rotation (`recover.keep_serving`)"
            }
            Self::Tier => "it is the last backup that responds, and no primary server does",
            Self::AtOnce => "`recover.at_once` servers are already being changed",
            Self::RateLimit => {
                "more actions on this server than `recover.limit` and `recover.backoff` allow"
            }
        }
    }
}

/// The facts about one server for the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerFacts {
    /// There is a server at this place.
    pub is_present: bool,
    /// It takes its full share of requests.
    pub in_rotation: bool,
    /// Its process is not known to have ended.
    pub runs: bool,
    /// Whether it answers something, be it with errors, as far as is known.
    pub answers: Option<bool>,
    /// There is no evidence against it, or most of its answers are successes.
    pub does_well: bool,
    /// It was running and is being changed: a costly action on it was let through, and its incident is not over.
    pub is_changing: bool,
    /// Its tier: 0 is primary, 1 is backup.
    pub tier: u8,
}

/// The facts about the service for the check.
#[derive(Debug)]
pub struct ServiceFacts<'a> {
    /// Its options.
    pub recover: &'a RecoverOptions,
    /// The server or the service is in maintenance.
    pub in_maintenance: bool,
    /// The server that the plan is about.
    pub own: ServerFacts,
    /// All others.
    pub others: Vec<ServerFacts>,
    /// Recent actions on the server.
    pub lately: &'a RecentActions,
}

/// Actions on one server that were let through.
#[derive(Debug, Clone, Default)]
pub struct RecentActions {
    /// When, and whether its process ran.
    actions: VecDeque<(Instant, bool)>,
    /// The incident in which its running process was changed last.
    changed_in: Option<String>,
}

impl RecentActions {
    /// A plan for it was let through.
    pub fn note(&mut self, now: Instant, runs: bool, incident: &str) {
        if self.actions.len() == REMEMBERED {
            self.actions.pop_front();
        }
        self.actions.push_back((now, runs));
        if runs {
            self.changed_in = Some(incident.to_owned());
        }
    }

    /// Whether it was changed while it ran in this incident, which is open.
    #[must_use]
    pub fn is_changing(&self, incident: Option<&str>) -> bool {
        incident.is_some() && self.changed_in.as_deref() == incident
    }

    fn count(&self, now: Instant, within: Duration, runs: bool) -> u128 {
        let recent = self.actions.iter().rev();
        let recent = recent.take_while(|(at, _)| now.since(*at) < within);
        recent.filter(|(_, ran)| *ran == runs).count() as u128
    }
}

/// The second check: lets the plan through, or says why not.
///
/// # Errors
/// The first rule that is against it.
pub fn check(
    now: Instant,
    plan: ActionPlan,
    facts: &ServiceFacts<'_>,
) -> Result<CheckedPlan, Veto> {
    if plan.author == Author::Person {
        return Ok(CheckedPlan(plan));
    }
    let is_costly = is_costly(&plan.action);
    let rules = [
        (Veto::Mode, mode_forbids(&plan, is_costly, facts)),
        (Veto::Maintenance, facts.in_maintenance),
        (Veto::Capacity, capacity_forbids(&plan, facts)),
        (Veto::Tier, is_costly && is_last_backup(facts)),
        (
            Veto::AtOnce,
            is_costly && plan.author == Author::Evenkeel && too_many_change(facts),
        ),
        (Veto::RateLimit, is_costly && is_too_often(now, facts)),
    ];
    match rules.into_iter().find(|(_, forbids)| *forbids) {
        Some((veto, _)) => Err(veto),
        None => Ok(CheckedPlan(plan)),
    }
}

const fn is_costly(action: &Action) -> bool {
    match action {
        Action::Restart | Action::Stop | Action::RollBack | Action::Exec(_) => true,
        Action::Eject
        | Action::Drain
        | Action::Restore
        | Action::FailOver
        | Action::Shed
        | Action::FallBack
        | Action::Wait(_)
        | Action::Escalate => false,
    }
}

fn mode_forbids(plan: &ActionPlan, is_costly: bool, facts: &ServiceFacts<'_>) -> bool {
    match facts.recover.mode {
        Mode::Automatic => false,
        Mode::Ask => is_costly && plan.author != Author::Approved,
        Mode::DryRun => is_costly,
        Mode::Off => true,
    }
}

/// Whether the requests that it takes now would have too few others to go to.
fn capacity_forbids(plan: &ActionPlan, facts: &ServiceFacts<'_>) -> bool {
    let own = facts.own;
    let takes_it_away = match plan.action {
        Action::Eject | Action::Drain | Action::FailOver | Action::Restart | Action::Stop => true,
        Action::RollBack
        | Action::Exec(_)
        | Action::Restore
        | Action::Shed
        | Action::FallBack
        | Action::Wait(_)
        | Action::Escalate => false,
    };
    if !takes_it_away || !own.in_rotation || !own.runs {
        return false;
    }
    let in_rotation = facts.others.iter();
    let in_rotation = in_rotation.filter(|one| one.in_rotation && one.runs);
    let is_present = |one: &&ServerFacts| one.is_present;
    let all = 1 + facts.others.iter().filter(is_present).count();
    let left = in_rotation.clone().count();
    // Missing knowledge counts in favour of the server itself, and of no other. A repair may help a server that answers
    // with nothing but errors, even if it is the only one; taking it out of rotation would not.
    let is_repair = matches!(plan.action, Action::Restart | Action::Stop);
    let is_last =
        own.answers != Some(false) && !in_rotation.clone().any(|one| one.answers == Some(true));
    // Those behind are there to carry it all.
    let counts = plan.action != Action::FailOver;
    let too_few =
        counts && (left as f64) < facts.recover.keep_serving.clamp(0.0, 1.0) * all as f64 - 1e-9;
    own.does_well && (too_few || is_last) || is_last && !is_repair
}

/// Whether it carries what no primary server does, and no other backup would.
fn is_last_backup(facts: &ServiceFacts<'_>) -> bool {
    let own = facts.own;
    let carries = |one: &ServerFacts| one.in_rotation && one.runs && one.answers == Some(true);
    let may_carry = own.in_rotation && own.runs && own.answers != Some(false) && own.does_well;
    own.tier > 0
        && may_carry
        && !facts
            .others
            .iter()
            .any(|one| carries(one) && one.tier <= own.tier)
}

fn too_many_change(facts: &ServiceFacts<'_>) -> bool {
    let changing = facts.others.iter().filter(|one| one.is_changing).count();
    facts.own.runs && changing as u64 >= u64::from(facts.recover.at_once.max(1))
}

/// Whether there were more than limit and back-off allow together: the limit, then one for each longest back-off. A process that
/// has ended may be started beyond the limit, once for each step of the back-off.
fn is_too_often(now: Instant, facts: &ServiceFacts<'_>) -> bool {
    let (limit, backoff) = (facts.recover.limit, facts.recover.backoff);
    let slow = limit.within.as_nanos() / backoff.cap.as_nanos().max(1);
    let mut steps = 2;
    let mut delay = backoff.base.max(Duration::from_nanos(1));
    while delay < backoff.cap {
        delay = delay.saturating_mul(2);
        steps += 1;
    }
    let runs = facts.own.runs;
    let most = if runs {
        u128::from(limit.actions)
    } else {
        u128::from(limit.actions).max(steps) + 1
    };
    facts.lately.count(now, limit.within, runs) > most.saturating_add(slow)
}

#[cfg(test)]
mod tests {
    use crate::policy::{ActionLimit, RestartBackoff, VerifyOptions};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const WELL: ServerFacts = ServerFacts {
        is_present: true,
        in_rotation: true,
        runs: true,
        answers: Some(true),
        does_well: true,
        is_changing: false,
        tier: 0,
    };
    const ERRS: ServerFacts = ServerFacts {
        does_well: false,
        ..WELL
    };
    const HANGS: ServerFacts = ServerFacts {
        answers: Some(false),
        ..ERRS
    };
    /// Nothing is known of what it answers.
    const NEW: ServerFacts = ServerFacts {
        answers: None,
        ..WELL
    };
    const OUT: ServerFacts = ServerFacts {
        in_rotation: false,
        ..ERRS
    };
    const DEAD: ServerFacts = ServerFacts {
        runs: false,
        in_rotation: false,
        ..HANGS
    };
    const BACKUP: ServerFacts = ServerFacts { tier: 1, ..WELL };
    const CHANGES: ServerFacts = ServerFacts {
        is_changing: true,
        ..OUT
    };

    fn recover(mode: Mode) -> RecoverOptions {
        RecoverOptions {
            mode,
            keep_serving: 0.5,
            at_once: 1,
            hang_wait: 10 * SECOND,
            limit: ActionLimit {
                actions: 5,
                within: 600 * SECOND,
            },
            backoff: RestartBackoff {
                base: Duration::from_millis(100),
                cap: 60 * SECOND,
                reset_after: 600 * SECOND,
            },
            verify: VerifyOptions {
                probes: 3,
                every: Duration::from_millis(100),
                within: 10 * SECOND,
            },
            playbooks: Vec::new(),
        }
    }

    fn asked(
        (mode, author): (Mode, Author),
        action: Action,
        own: ServerFacts,
        others: &[ServerFacts],
    ) -> Option<Veto> {
        let lately = RecentActions::default();
        let recover = recover(mode);
        let plan = ActionPlan {
            server: ServerId::new(0, 0),
            action,
            fault: FaultKind::ErrorBurst,
            author,
        };
        let facts = ServiceFacts {
            recover: &recover,
            in_maintenance: false,
            own,
            others: others.to_vec(),
            lately: &lately,
        };
        check(Instant::from_millis(1), plan, &facts).err()
    }

    #[test]
    fn the_last_that_answer_and_the_share_that_must_serve() {
        let by = (Mode::Automatic, Author::Evenkeel);
        for (action, own, others, expected) in [
            (Action::Restart, WELL, &[WELL, WELL][..], None),
            (Action::Restart, WELL, &[WELL], None),
            (Action::Restart, WELL, &[DEAD], Some(Veto::Capacity)),
            (
                Action::Restart,
                WELL,
                &[WELL, DEAD, DEAD],
                Some(Veto::Capacity),
            ),
            (Action::Restart, WELL, &[], Some(Veto::Capacity)),
            (Action::Restart, ERRS, &[], None),
            (Action::Restart, HANGS, &[], None),
            (Action::Restart, DEAD, &[], None),
            (Action::Restart, OUT, &[HANGS], None),
            (Action::Eject, ERRS, &[], Some(Veto::Capacity)),
            (Action::Eject, ERRS, &[HANGS, DEAD], Some(Veto::Capacity)),
            (Action::Drain, ERRS, &[OUT], Some(Veto::Capacity)),
            (Action::Eject, ERRS, &[ERRS], None),
            (Action::Eject, ERRS, &[NEW], Some(Veto::Capacity)),
            (Action::Eject, NEW, &[WELL], None),
            (Action::Eject, NEW, &[NEW], Some(Veto::Capacity)),
            (Action::Eject, HANGS, &[], None),
            (Action::Eject, HANGS, &[DEAD, ERRS], None),
            (
                Action::Eject,
                WELL,
                &[BACKUP, DEAD, DEAD],
                Some(Veto::Capacity),
            ),
            (Action::FailOver, WELL, &[BACKUP, DEAD, DEAD], None),
            (Action::FailOver, WELL, &[DEAD], Some(Veto::Capacity)),
            (Action::FallBack, HANGS, &[], None),
            (Action::Shed, WELL, &[], None),
            (Action::Exec(vec![]), WELL, &[], None),
        ] {
            let found = asked(by, action.clone(), own, others);
            assert_eq!(found, expected, "{action:?} {own:?} {others:?}");
        }
    }

    #[test]
    fn the_last_backup_is_kept_while_no_primary_answers() {
        let by = (Mode::Automatic, Author::Evenkeel);
        let [hung_backup, erring_backup] =
            [HANGS, ERRS].map(|server| ServerFacts { tier: 1, ..server });
        let later = ServerFacts { tier: 2, ..WELL };
        for (own, others, expected) in [
            (BACKUP, &[DEAD, later, later][..], Some(Veto::Tier)),
            (BACKUP, &[DEAD, BACKUP, BACKUP], None),
            (BACKUP, &[ERRS], None),
            (hung_backup, &[DEAD], None),
            // A server without successes may be repaired, as in the first tier.
            (erring_backup, &[DEAD, OUT], None),
            (ERRS, &[BACKUP], None),
        ] {
            let found = asked(by, Action::Restart, own, others);
            assert_eq!(found, expected, "{own:?} {others:?}");
        }
    }

    #[test]
    fn one_restarter_at_a_time_and_starts_of_the_dead_are_free() {
        for (author, own, expected) in [
            (Author::Evenkeel, OUT, Some(Veto::AtOnce)),
            (Author::Approved, OUT, None),
            (Author::Person, OUT, None),
            (Author::Evenkeel, DEAD, None),
        ] {
            let by = (Mode::Automatic, author);
            let found = asked(by, Action::Restart, own, &[CHANGES, WELL]);
            assert_eq!(found, expected, "{author:?} {own:?}");
        }
    }

    #[test]
    fn modes_by_author() {
        for (mode, author, action, expected) in [
            (
                Mode::Ask,
                Author::Evenkeel,
                Action::Restart,
                Some(Veto::Mode),
            ),
            (Mode::Ask, Author::Approved, Action::Restart, None),
            (Mode::Ask, Author::Person, Action::Restart, None),
            (Mode::Ask, Author::Evenkeel, Action::Eject, None),
            (
                Mode::DryRun,
                Author::Approved,
                Action::Stop,
                Some(Veto::Mode),
            ),
            (Mode::DryRun, Author::Evenkeel, Action::Drain, None),
            (Mode::Off, Author::Evenkeel, Action::Eject, Some(Veto::Mode)),
            (Mode::Off, Author::Person, Action::Restart, None),
        ] {
            let found = asked((mode, author), action.clone(), HANGS, &[WELL, WELL]);
            assert_eq!(found, expected, "{mode:?} {author:?} {action:?}");
        }
    }

    /// 5 and one a minute for what runs; for what has ended 12 steps of the back-off, and one a minute.
    #[test]
    fn more_than_limit_and_back_off_can_allow_is_too_often() {
        for (own, most) in [(HANGS, 15), (DEAD, 23)] {
            let mut lately = RecentActions::default();
            let recover = recover(Mode::Automatic);
            let mut passed = 0;
            for n in 0..100 {
                let now = Instant::from_millis(n * 1_000);
                let plan = ActionPlan {
                    server: ServerId::new(0, 0),
                    action: Action::Restart,
                    fault: FaultKind::CrashLoop,
                    author: Author::Evenkeel,
                };
                let facts = ServiceFacts {
                    recover: &recover,
                    in_maintenance: false,
                    own,
                    others: vec![WELL],
                    lately: &lately,
                };
                match check(now, plan, &facts) {
                    Ok(checked) => {
                        assert_eq!(checked.plan().action, Action::Restart);
                        lately.note(now, own.runs, "one");
                        passed += 1;
                    }
                    Err(veto) => assert_eq!(veto, Veto::RateLimit),
                }
            }
            assert_eq!(passed, most + 1);
        }
    }

    #[test]
    fn a_change_lasts_as_long_as_its_incident() {
        let mut lately = RecentActions::default();
        lately.note(Instant::ZERO, false, "one");
        assert!(!lately.is_changing(Some("one")));
        lately.note(Instant::ZERO, true, "one");
        assert!(lately.is_changing(Some("one")));
        assert!(!lately.is_changing(Some("two")) && !lately.is_changing(None));
    }

    #[test]
    fn nothing_is_done_in_maintenance() {
        let (recover, lately) = (recover(Mode::Automatic), RecentActions::default());
        let facts = ServiceFacts {
            recover: &recover,
            in_maintenance: true,
            own: DEAD,
            others: vec![WELL],
            lately: &lately,
        };
        let plan = ActionPlan {
            server: ServerId::new(0, 0),
            action: Action::Restart,
            fault: FaultKind::ProcessCrashed,
            author: Author::Evenkeel,
        };
        let vetoed = check(Instant::ZERO, plan, &facts);
        assert_eq!(vetoed.err(), Some(Veto::Maintenance));
    }
}
