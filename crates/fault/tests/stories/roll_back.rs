//! Roll-back to the previous version.

use std::collections::BTreeSet;

use evenkeel_core::{ProgramChange, Random};
use evenkeel_fault::contract::OperatorOrder;
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::policy::{Action, FaultOptions};
use evenkeel_fault::policy::{Mode, Playbook};
use evenkeel_fault::{FaultKind, Incident, Output};

use super::kinds::{actions, kind};
use super::world::{Condition, World, ms, options};

const CANNOT: [Condition; 2] = [Condition::Stillborn, Condition::Unstartable];

/// Servers of a service that can be rolled back, and whose next processes cannot start.
fn world_of(seed: u64, servers: usize, spec: FaultOptions) -> World {
    let mut world = World::that_rolls_back(servers, spec);
    world.random = Random::seeded(seed);
    world.every = ms(2 + seed % 10);
    world.changed = Some(ProgramChange {
        path: "shop".to_owned(),
        modified_millis: 1_764_000_000_000,
    });
    world.run(5_000 + seed * 37);
    for index in 0..servers {
        world.reborn(index, CANNOT[seed as usize % 2]);
    }
    world
}

/// The incident in which the others have ended.
fn own(world: &World) -> &Incident {
    world.assert_both_ids_are_told();
    let mut own = world.incidents.values();
    own.find(|incident| incident.end != Some(CloseReason::Merged))
        .expect("an incident")
}

/// The servers that were started before the service was rolled back.
fn started_before(world: &World) -> BTreeSet<u32> {
    let orders = world.outputs.iter().filter_map(|(_, output)| match output {
        Output::Act(order) => Some(order),
        _ => None,
    });
    let before = orders.take_while(|order| order.action != Action::RollBack);
    before.map(|order| order.server.index).collect()
}

#[test]
fn a_version_that_cannot_start_is_rolled_back_once_and_all_are_started_again() {
    for seed in 0..100 {
        let servers = 1 + seed as usize % 3;
        let mut world = world_of(seed, servers, options());
        for index in 0..servers {
            world.break_server(index, Condition::Dead);
            world.run(seed % 5 * 100);
        }
        world.until(20_000, |world| {
            world.roll_backs > 0 && (0..servers).all(|index| world.in_service(index))
        });
        assert_eq!(world.roll_backs, 1, "seed {seed}");
        assert_eq!(started_before(&world).len(), 1, "seed {seed}");
        let incident = own(&world);
        assert_eq!(kind(incident), FaultKind::BadDeploy, "seed {seed}");
        let mut done = incident.actions.iter();
        let rolled_back = done.find(|action| action.action == "roll-back");
        let detail = rolled_back.and_then(|action| action.detail.as_deref());
        assert_eq!(
            detail,
            Some("rolled back to the copy of shop"),
            "seed {seed}"
        );
        world.run(5_000);
        assert_eq!(own(&world).status, IncidentStatus::Closed, "seed {seed}");
        assert_eq!(world.roll_backs, 1, "seed {seed}");
    }
}

/// Starts fail beside each other at any time, also while another server is being rolled back or verified.
#[test]
fn one_bad_deploy_is_one_incident_and_it_tells_of_the_roll_back() {
    for seed in 0..100 {
        let mut random = Random::seeded(seed);
        let mut below = |number: usize| random.below(number);
        let mut world = world_of(seed, 3, options());
        world.stillborn_after(20 + below(2_500) as u64);
        for index in 0..3 {
            world.reborn(index, CANNOT[below(2)]);
        }
        let between = [20, 400, 2_000][below(3)];
        for index in 0..3 {
            world.break_server(index, Condition::Dead);
            world.run(below(between) as u64);
        }
        world.until(60_000, |world| {
            world.roll_backs > 0 && (0..3).all(|index| world.in_service(index))
        });
        world.run(20_000);
        assert_eq!(world.roll_backs, 1, "seed {seed}: {:#?}", world.incidents);
        let own = world.incidents.values().filter(|incident| {
            let is_of_start = matches!(
                kind(incident),
                FaultKind::BadDeploy | FaultKind::CannotStart
            );
            is_of_start && incident.end != Some(CloseReason::Merged)
        });
        let own: Vec<&Incident> = own.collect();
        let [incident] = own.as_slice() else {
            panic!("seed {seed}: {own:#?}");
        };
        assert_eq!(incident.end, Some(CloseReason::Recovered), "seed {seed}");
        assert!(
            actions(incident).contains(&("roll-back", "done")),
            "seed {seed}: {incident:#?}"
        );
    }
}

#[test]
fn a_roll_back_that_does_not_help_is_not_done_again() {
    let mut world = world_of(1, 3, options());
    world.rolls_back_to = Condition::Unstartable;
    (0..3).for_each(|index| world.break_server(index, Condition::Dead));
    world.run(300_000);
    assert_eq!(world.roll_backs, 1);
    assert!(world.restarts.len() > 5, "it is tried on, in its back-off");
    (0..3).for_each(|index| world.reborn(index, Condition::Well));
    world.until(200_000, |world| (0..3).all(|index| world.in_service(index)));
}

#[test]
fn a_process_that_ends_of_something_else_is_not_rolled_back() {
    let mut world = world_of(2, 3, options());
    world.changed = None;
    world.break_server(1, Condition::Dead);
    world.run(60_000);
    assert_eq!(kind(own(&world)), FaultKind::CannotStart);
    assert_eq!(world.roll_backs, 0);
}

#[test]
fn a_person_is_asked_first_where_the_mode_says_so() {
    let mut spec = options();
    spec.recover.mode = Mode::Ask;
    spec.recover.playbooks = vec![Playbook {
        when: vec![FaultKind::ProcessCrashed, FaultKind::BadDeploy],
        actions: vec![Action::Eject, Action::RollBack, Action::Restart],
    }];
    let mut world = world_of(3, 1, spec);
    world.break_server(0, Condition::Dead);
    world.run(30_000);
    assert_eq!(world.roll_backs, 0);
    let told = actions(own(&world));
    assert!(told.contains(&("roll-back", "would-do")), "{told:?}");
    let id = own(&world).id.clone();
    world.order(OperatorOrder::Approve(id));
    world.until(10_000, |world| world.in_service(0));
    assert_eq!(world.roll_backs, 1);
}
