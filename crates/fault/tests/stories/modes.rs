//! Modes concern costly actions only: with `ask` and `dry-run` a failing server leaves the rotation and returns as with
//! `automatic`.

use evenkeel_core::{Directive, Random, ServerId};
use evenkeel_fault::contract::{Managed, OperatorOrder, ServerStatus};
use evenkeel_fault::incident::{ActionOutcome, CloseReason, IncidentStatus};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::{Action, Mode, Playbook};
use evenkeel_fault::{FaultKind, Incident, Output};

use super::kinds::kind;
use super::world::{Condition, World, ms, options};

/// Each is noticed and told apart in its own way: failed requests, failed probes, a refused connection, how slow it is.
const CONDITIONS: [Condition; 7] = [
    Condition::Errors(100),
    Condition::Errors(40),
    Condition::Hung,
    Condition::Blocked,
    Condition::Deaf,
    Condition::Unreachable,
    Condition::Slow(20),
];

fn world_of(seed: u64, mode: Mode) -> World {
    let mut options = options();
    options.recover.mode = mode;
    let mut world = World::new(3, Managed::Child, options);
    world.random = Random::seeded(seed);
    // Dense, or so thin that probes are what fails.
    world.every = ms(if seed % 4 == 3 { 900 } else { 2 + seed % 10 });
    world.run(5_000 + seed * 37);
    world
}

fn outcomes(incident: &Incident) -> Vec<(&str, Option<ActionOutcome>)> {
    let actions = incident.actions.iter();
    actions
        .map(|action| (action.action.as_str(), action.outcome))
        .collect()
}

fn ordered(world: &World) -> usize {
    let acts = world.outputs.iter();
    acts.filter(|(_, output)| matches!(output, Output::Act(_)))
        .count()
}

fn all_closed(world: &World) -> bool {
    let mut all = world.incidents.values();
    all.all(|incident| incident.status == IncidentStatus::Closed)
}

#[test]
fn requests_fare_as_with_automatic_up_to_its_first_restart_and_nothing_costly_is_done() {
    for condition in CONDITIONS {
        for seed in 0..8 {
            let told = format!("seed {seed} {condition:?}");
            let mut automatic = world_of(seed, Mode::Automatic);
            automatic.break_server(1, condition);
            for _ in 0..1_500 {
                if !automatic.restarts.is_empty() {
                    break;
                }
                automatic.run(20);
            }
            for mode in [Mode::Ask, Mode::DryRun] {
                let mut world = world_of(seed, mode);
                world.break_server(1, condition);
                world.run(u64::try_from((automatic.now - world.now).as_millis()).expect("small"));
                assert_eq!(world.totals, automatic.totals, "{told} {mode:?}");
                assert_eq!(
                    world.in_service(1),
                    automatic.restarts.is_empty() && automatic.in_service(1),
                    "{told} {mode:?}"
                );
                world.run(40_000);
                assert_eq!(ordered(&world), 0, "{told} {mode:?}");
            }
        }
    }
}

#[test]
fn it_stays_out_while_it_fails_and_is_back_when_it_is_well_by_itself() {
    for condition in CONDITIONS {
        for mode in [Mode::Ask, Mode::DryRun] {
            for seed in 0..3 {
                let told = format!("seed {seed} {condition:?} {mode:?}");
                let mut world = world_of(seed, mode);
                world.break_server(1, condition);
                world.until(120_000, |world| !world.in_service(1));
                world.run(15_000);
                let (before, sent) = (world.totals, world.sent(1));
                world.run(60_000);
                let (failed, requests) = (
                    world.totals.failed - before.failed,
                    world.totals.requests - before.requests,
                );
                assert_eq!(failed, 0, "{told}");
                // Now and then it is tried.
                assert!((world.sent(1) - sent) * 5 <= requests, "{told}");
                let asked = world.only().status == IncidentStatus::AwaitingApproval;
                assert_eq!(asked, mode == Mode::Ask, "{told}: {:#?}", world.only());
                let written = outcomes(world.only());
                let restart = ("restart", Some(ActionOutcome::WouldDo));
                let escalate = ("escalate", Some(ActionOutcome::WouldDo));
                assert!(
                    written.contains(&restart) || written.contains(&escalate),
                    "{told}: {written:?}"
                );
                assert!(
                    written.iter().filter(|one| **one == restart).count() <= 1,
                    "{told}: {written:?}"
                );
                world.heal(1);
                world.until(400_000, |world| world.in_service(1) && all_closed(world));
                let incident = world.only();
                assert_eq!(incident.end, Some(CloseReason::Recovered), "{told}");
                let verification = incident.verification.as_ref().expect("verified");
                assert_eq!(verification.repaired_by, None, "{told}");
                assert_eq!(ordered(&world), 0, "{told}");
            }
        }
    }
}

#[test]
fn in_ask_mode_a_dead_process_is_ejected_and_started_on_approval() {
    for mode in [Mode::Ask, Mode::DryRun] {
        let mut world = world_of(1, mode);
        world.break_server(1, Condition::Dead);
        world.run(20_000);
        assert_eq!(world.state(1), ServerStatus::Down);
        assert_eq!(ordered(&world), 0, "{mode:?}");
        let id = world.only().id.clone();
        world.order(match mode {
            Mode::Ask => OperatorOrder::Approve(id),
            _ => OperatorOrder::Restart(ServerId::new(0, 1), OrderTerms::default()),
        });
        world.until(10_000, all_closed);
        assert_eq!(world.answers(), ["accepted", "done"], "{mode:?}");
        assert_eq!(world.restarts.len(), 1, "{mode:?}");
        assert!(world.in_service(1), "{mode:?}");
    }
}

/// What would not be done is not proposed: a pause that is over, and what all servers share.
#[test]
fn nothing_is_proposed_that_automatic_would_not_do() {
    for mode in [Mode::Ask, Mode::DryRun] {
        let mut world = world_of(1, mode);
        world.break_server(1, Condition::Blocked);
        world.run(6_000);
        assert!(!world.in_service(1), "{mode:?}");
        world.heal(1);
        world.until(20_000, all_closed);
        let written = outcomes(world.only());
        assert!(
            !written.iter().any(|(action, _)| *action == "restart"),
            "{written:?}"
        );

        let mut world = world_of(1, mode);
        (0..3).for_each(|index| world.break_server(index, Condition::Errors(100)));
        world.run(30_000);
        assert!((0..3).all(|index| world.in_service(index)), "{mode:?}");
        let restart = |incident: &Incident| {
            outcomes(incident)
                .iter()
                .any(|(action, _)| *action == "restart")
        };
        assert!(
            !world.incidents.values().any(restart),
            "{mode:?}: {:#?}",
            world.incidents
        );
    }
}

/// Where the guard of capacity is against it, the server stays, as with `automatic`.
#[test]
fn the_guard_of_capacity_holds_in_every_mode() {
    for mode in [Mode::Automatic, Mode::Ask, Mode::DryRun] {
        let mut options = options();
        options.recover.mode = mode;
        options.recover.keep_serving = 1.0;
        let mut world = World::new(3, Managed::Child, options);
        world.run(5_000);
        world.break_server(1, Condition::Slow(20));
        world.run(60_000);
        assert_eq!(kind(world.only()), FaultKind::SlowServer);
        assert!(world.in_service(1), "{mode:?}");
        let written = outcomes(world.only());
        assert_eq!(
            written[0],
            ("drain", Some(ActionOutcome::Refused)),
            "{mode:?}"
        );
        let escalated = world.only().status == IncidentStatus::Escalated;
        assert_eq!(escalated, mode != Mode::DryRun, "{mode:?}");
    }
}

/// A command that comes first in a playbook of the user's own waits; the ejection behind it does not.
#[test]
fn what_is_free_does_not_wait_behind_what_is_costly() {
    let command = Action::Exec(vec!["./page.sh".to_owned()]);
    for mode in [Mode::Ask, Mode::DryRun] {
        let mut options = options();
        options.recover.mode = mode;
        options.detect.slow = None;
        options.recover.playbooks = vec![Playbook {
            when: vec![FaultKind::SlowServer, FaultKind::ErrorBurst],
            actions: vec![command.clone(), Action::Eject, Action::Restart],
        }];
        let mut world = World::new(3, Managed::Child, options);
        world.run(5_000);
        world.break_server(1, Condition::Errors(100));
        world.run(10_000);
        let would = Some(ActionOutcome::WouldDo);
        let written = outcomes(world.only());
        assert_eq!(
            written,
            [
                ("eject", Some(ActionOutcome::Done)),
                ("exec", would),
                ("restart", would)
            ]
        );
        assert!(!world.in_service(1));
        if mode == Mode::Ask {
            let id = world.only().id.clone();
            world.order(OperatorOrder::Approve(id));
            // The command is tried first.
            world.until(120_000, all_closed);
            assert_eq!(world.restarts.len(), 1);
        }
    }
}

#[test]
fn a_rejected_proposal_stays_rejected() {
    let mut world = world_of(1, Mode::Ask);
    world.break_server(1, Condition::Dead);
    world.run(5_000);
    let id = world.only().id.clone();
    world.order(OperatorOrder::Reject(id));
    assert_eq!(world.only().status, IncidentStatus::Open);
    // Somebody starts it, and it ends again.
    let server = ServerId::new(0, 1);
    world.reborn(1, Condition::Stillborn);
    world.order(OperatorOrder::Restart(server, OrderTerms::default()));
    world.run(20_000);
    assert_eq!(world.restarts.len(), 1);
    assert_eq!(world.state(1), ServerStatus::Down);
    assert_eq!(
        world.only().status,
        IncidentStatus::Open,
        "{:#?}",
        world.only()
    );
}

/// Lets requests wait for it: published before the ejection, so that no request finds it out of service without knowing
/// of the repair.
#[test]
fn a_repair_is_told_to_the_balancer_while_it_lasts_and_only_where_there_is_one() {
    for (mode, managed, is_told) in [
        (Mode::Automatic, Managed::Child, true),
        (Mode::Ask, Managed::Child, false),
        (Mode::DryRun, Managed::Child, false),
        (Mode::Off, Managed::Child, false),
    ] {
        let mut options = options();
        options.recover.mode = mode;
        let mut world = World::new(3, managed, options);
        world.run(5_000);
        assert!(
            !(0..3).any(|index| world.is_being_repaired(index)),
            "{mode:?}"
        );
        let before = world.outputs.len();
        world.starts_in(7_000);
        (0..3).for_each(|index| world.break_server(index, Condition::Dead));
        for _ in 0..60 {
            world.run(100);
            let told = (0..3).all(|index| world.is_being_repaired(index));
            assert_eq!(told, is_told, "{mode:?}");
        }
        let first = world.outputs[before..]
            .iter()
            .find_map(|(_, output)| match output {
                Output::Directive(directive) => Some(*directive),
                _ => None,
            });
        assert_eq!(
            matches!(first, Some(Directive::Repair { .. })),
            is_told,
            "{mode:?}: {first:?}"
        );
        if is_told {
            world.until(20_000, all_closed);
            world.run(100);
            assert!(!(0..3).any(|index| world.is_being_repaired(index)));
        }
    }
}
