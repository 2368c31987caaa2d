//! `fail-over`, `shed` and `fall-back` of a user's playbook: when they are used, what ends them, and what they never
//! do.

use std::time::Duration;

use evenkeel_fault::contract::Managed;
use evenkeel_fault::incident::{ActionOutcome, IncidentStatus};
use evenkeel_fault::policy::{Action, FaultOptions, Mode, Playbook};
use evenkeel_fault::{FaultKind, Incident};

use super::kinds::kind;
use super::world::{Condition, World, ms, options};

fn with_playbook(when: &[FaultKind], actions: &[Action]) -> FaultOptions {
    let mut options = options();
    options.recover.playbooks = vec![Playbook {
        when: when.to_vec(),
        actions: actions.to_vec(),
    }];
    options
}

const SHARED: &[FaultKind] = &[FaultKind::DependencyFailure, FaultKind::Overload];

/// Two servers and one behind them.
fn with_a_backup(options: FaultOptions) -> World {
    let mut world = World::with_backups(3, 1, Managed::Child, options);
    world.by_tier = true;
    world.run(5_000);
    world
}

fn break_first_tier(world: &mut World, condition: Condition) {
    (0..2).for_each(|index| world.break_server(index, condition));
}

fn outcomes(incident: &Incident, word: &str) -> Vec<ActionOutcome> {
    let of_word = incident.actions.iter().filter(|one| one.action == word);
    of_word.filter_map(|action| action.outcome).collect()
}

/// The share of requests that failed in the next `millis`.
fn failed(world: &mut World, millis: u64) -> f64 {
    let before = world.totals;
    world.run(millis);
    let requests = world.totals.requests - before.requests;
    (world.totals.failed - before.failed) as f64 / requests as f64
}

fn is_closed(world: &World) -> bool {
    let mut all = world.incidents.values();
    !world.incidents.is_empty() && all.all(|one| one.status == IncidentStatus::Closed)
}

#[test]
fn the_servers_behind_take_over_until_the_first_tier_is_back() {
    for mode in [Mode::Automatic, Mode::Ask, Mode::DryRun] {
        let mut options = with_playbook(SHARED, &[Action::FailOver]);
        options.recover.mode = mode;
        let mut world = with_a_backup(options);
        break_first_tier(&mut world, Condition::Errors(100));
        world.until(10_000, |world| world.ordered.fails_over);
        let share = failed(&mut world, 20_000);
        assert!(share <= 0.03, "{mode:?}: {share}");
        let measures = world.keeper.measures(world.only_service());
        assert!(
            measures[0].starts_with("the first tier fails"),
            "{measures:?}"
        );
        assert_eq!(kind(world.only()), FaultKind::DependencyFailure);
        assert_eq!(outcomes(world.only(), "fail-over"), [ActionOutcome::Done]);

        (0..2).for_each(|index| world.heal(index));
        world.until(10_000, is_closed);
        assert!(!world.ordered.fails_over);
        let verification = world.only().verification.as_ref().expect("verified");
        assert_eq!(verification.outcome, "passed");
        let behind = world.sent(2);
        assert!(failed(&mut world, 5_000) < 1e-9);
        assert_eq!(world.sent(2), behind, "{mode:?}");
        assert!(world.restarts.is_empty());
    }
}

#[test]
fn servers_behind_that_fail_too_are_no_help_and_then_it_is_answered_for() {
    let mut world = with_a_backup(with_playbook(SHARED, &[Action::FailOver, Action::FallBack]));
    break_first_tier(&mut world, Condition::Errors(100));
    world.until(10_000, |world| world.ordered.fails_over);
    world.run(2_000);
    assert_eq!(world.closing.refused, 0);
    world.break_server(2, Condition::Errors(100));
    world.until(5_000, |world| world.ordered.until_success);
    assert!(!world.ordered.fails_over);
    world.run(5_000);
    assert!(!world.ordered.fails_over, "once");
    (0..3).for_each(|index| world.heal(index));
    world.until(10_000, is_closed);
    assert!(failed(&mut world, 5_000) < 1e-9);
    assert!(world.restarts.is_empty());
}

/// What is slower, or has a wrong probe, is still better than what fails.
#[test]
fn servers_behind_that_answer_slowly_carry_on() {
    for condition in [Condition::Slow(20), Condition::Unhealthy] {
        let mut world = with_a_backup(with_playbook(SHARED, &[Action::FailOver]));
        break_first_tier(&mut world, Condition::Errors(100));
        world.until(10_000, |world| world.ordered.fails_over);
        world.break_server(2, condition);
        let share = failed(&mut world, 30_000);
        assert!(share <= 0.03, "{condition:?}: {share}");
        assert!(world.ordered.fails_over, "{condition:?}");
    }
}

#[test]
fn without_a_server_behind_a_fail_over_is_refused_and_what_comes_after_it_done() {
    let mut world = World::new(
        3,
        Managed::Child,
        with_playbook(SHARED, &[Action::FailOver, Action::FallBack]),
    );
    world.run(5_000);
    (0..3).for_each(|index| world.break_server(index, Condition::Errors(100)));
    world.until(10_000, |world| world.ordered.until_success);
    assert_eq!(
        outcomes(world.only(), "fail-over"),
        [ActionOutcome::Refused]
    );
    assert_eq!(outcomes(world.only(), "fall-back"), [ActionOutcome::Done]);
}

#[test]
fn all_is_answered_for_but_trials_and_a_success_opens_it() {
    for condition in [Condition::Errors(100), Condition::Hung] {
        let playbook = with_playbook(
            &[
                FaultKind::DependencyFailure,
                FaultKind::ProcessHung,
                FaultKind::BrokenRoute,
            ],
            &[Action::Wait(Duration::from_secs(2)), Action::FallBack],
        );
        let mut world = World::new(3, Managed::Nothing, playbook);
        world.run(5_000);
        (0..3).for_each(|index| world.break_server(index, condition));
        world.until(10_000, |world| !world.incidents.is_empty());
        let waited = world.until(10_000, |world| world.closing.refused > 0);
        assert!(waited >= ms(1_500), "{waited:?}");
        world.run(3_000);
        let (requests, refused) = (world.totals.requests, world.closing.refused);
        world.run(20_000);
        let reached = (world.totals.requests - requests) - (world.closing.refused - refused);
        assert!(reached <= 25, "{condition:?}: {reached}");
        (0..3).for_each(|index| world.heal(index));
        world.run(4_000);
        assert!(failed(&mut world, 5_000) < 1e-9, "{condition:?}");
        world.until(30_000, is_closed);
        assert!(world.ordered.is_none());
    }
}

#[test]
fn of_a_route_that_fails_only_its_requests_are_answered_for() {
    let mut world = World::new(
        3,
        Managed::Child,
        with_playbook(&[FaultKind::BrokenRoute], &[Action::FallBack]),
    );
    world.paths = vec!["/", "/carts", "POST /orders/7"];
    world.run(5_000);
    world.broken = Some(("POST /orders/7", Condition::Errors(100)));
    world.until(10_000, |world| world.closing.refused > 0);
    let (requests, refused) = (world.totals.requests, world.closing.refused);
    world.run(20_000);
    let share =
        (world.closing.refused - refused) as f64 / (world.totals.requests - requests) as f64;
    assert!((0.30..0.34).contains(&share), "{share}");
    world.broken = None;
    world.until(10_000, is_closed);
    assert!(failed(&mut world, 5_000) < 1e-9);
}

#[test]
fn one_server_gives_way_to_those_behind_it_below_the_share_that_must_serve() {
    for (backups, expected) in [(1, ActionOutcome::Done), (0, ActionOutcome::Refused)] {
        let mut options = with_playbook(&[FaultKind::SlowServer], &[Action::FailOver]);
        options.recover.keep_serving = 1.0;
        let mut world = World::with_backups(3, backups, Managed::Nothing, options);
        world.run(30_000);
        world.break_server(0, Condition::Slow(20));
        world.until(60_000, |world| {
            let mut all = world.incidents.values();
            all.any(|incident| !outcomes(incident, "fail-over").is_empty())
        });
        assert_eq!(outcomes(world.only(), "fail-over"), [expected]);
        assert_eq!(world.in_service(0), expected == ActionOutcome::Refused);
    }
}

#[test]
fn a_single_server_is_answered_for_while_it_fails_and_one_of_several_is_not() {
    let (eject, done, refused) = (Action::Eject, ActionOutcome::Done, ActionOutcome::Refused);
    for (servers, before, expected) in [
        (1, vec![eject.clone()], done),
        (1, vec![], done),
        (3, vec![eject], refused),
    ] {
        let kinds = [
            FaultKind::ProcessHung,
            FaultKind::ErrorBurst,
            FaultKind::Unknown,
        ];
        let actions = [before, vec![Action::FallBack]].concat();
        let mut world = World::new(servers, Managed::Nothing, with_playbook(&kinds, &actions));
        world.run(5_000);
        world.break_server(0, Condition::Errors(100));
        world.until(20_000, |world| {
            let mut all = world.incidents.values();
            all.any(|incident| !outcomes(incident, "fall-back").is_empty())
        });
        assert_eq!(outcomes(world.only(), "fall-back"), [expected]);
        world.run(10_000);
        let is_on = expected == ActionOutcome::Done;
        assert_eq!(world.closing.refused > 1_000, is_on);
        assert_eq!(world.ordered.until_success, is_on);
        world.heal(0);
        world.until(30_000, is_closed);
        assert!(world.ordered.is_none());
        assert!(failed(&mut world, 5_000) < 1e-9);
    }
}

#[test]
fn bounds_are_found_where_a_playbook_says_so_and_end_with_the_incident() {
    let mut world = World::new(
        3,
        Managed::Nothing,
        with_playbook(
            &[FaultKind::SlowServer, FaultKind::DependencyFailure],
            &[Action::Shed],
        ),
    );
    world.run(30_000);
    world.break_server(0, Condition::Slow(20));
    world.until(60_000, |world| !world.ordered.limits.is_empty());
    assert_eq!(world.ordered.limits.len(), 3);
    assert_eq!(outcomes(world.only(), "shed"), [ActionOutcome::Done]);
    world.heal(0);
    world.until(200_000, is_closed);
    assert!(world.ordered.is_none());

    (0..3).for_each(|index| world.break_server(index, Condition::Errors(100)));
    world.until(10_000, |world| !world.ordered.limits.is_empty());
    (0..3).for_each(|index| world.heal(index));
    world.until(30_000, is_closed);
    assert!(world.ordered.is_none());
}

#[test]
fn in_off_and_for_a_slow_burn_nothing_of_it_is_done() {
    let all = [Action::FailOver, Action::Shed, Action::FallBack];
    let mut options = with_playbook(&FaultKind::ALL, &all);
    options.recover.mode = Mode::Off;
    let mut world = with_a_backup(options);
    break_first_tier(&mut world, Condition::Errors(100));
    world.run(20_000);
    assert!(world.ordered.is_none() && !world.incidents.is_empty());

    let mut world = World::new(3, Managed::Child, with_playbook(&FaultKind::ALL, &all));
    world.run(120_000);
    (0..3).for_each(|index| world.break_server(index, Condition::Errors(8)));
    world.until(120_000, |world| !world.incidents.is_empty());
    world.run(5_000);
    assert!(world.ordered.is_none(), "{:#?}", world.incidents);
}

/// Clients would get less than what servers still do well.
#[test]
fn what_is_served_in_part_is_not_answered_for() {
    let kinds = [
        FaultKind::DependencyFailure,
        FaultKind::ErrorBurst,
        FaultKind::Overload,
    ];
    for servers in [1, 3] {
        let playbook = with_playbook(&kinds, &[Action::FallBack]);
        let mut world = World::new(servers, Managed::Nothing, playbook);
        world.run(5_000);
        (0..servers).for_each(|index| world.break_server(index, Condition::Errors(70)));
        world.until(20_000, |world| !world.incidents.is_empty());
        world.run(20_000);
        assert!(!world.ordered.until_success, "{:#?}", world.incidents);
        assert_eq!(world.closing.refused, 0);
    }
}

#[test]
fn what_is_served_in_part_again_reaches_the_servers() {
    let playbook = with_playbook(&[FaultKind::DependencyFailure], &[Action::FallBack]);
    let mut world = World::new(3, Managed::Nothing, playbook);
    world.run(5_000);
    (0..3).for_each(|index| world.break_server(index, Condition::Errors(100)));
    world.until(20_000, |world| world.ordered.until_success);
    world.run(2_000);
    (0..3).for_each(|index| world.break_server(index, Condition::Errors(40)));
    world.until(20_000, |world| !world.ordered.until_success);
    let refused = world.closing.refused;
    world.run(10_000);
    assert_eq!(world.closing.refused, refused);
}
