//! An action that has failed repeatedly is not the first one to be tried.

use evenkeel_fault::contract::Managed;
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::keeper::PersistedState;
use evenkeel_fault::policy::Action;
use evenkeel_fault::recover::{ActionTries, SuccessRates};
use evenkeel_fault::{FaultKind, Incident};

use super::kinds::actions;
use super::world::{Condition, World, ms, options};

/// A world in which restarts have not helped against errors of a server: and the incident that tells of it.
fn world_of_vain_restarts() -> World {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.reborn(1, Condition::Errors(100));
    world.break_server(1, Condition::Errors(100));
    world.until(300_000, |world| world.restarts.len() >= 5);
    world.until(60_000, |world| {
        world.only().status == IncidentStatus::Escalated
    });
    world.heal(1);
    world.until(300_000, |world| {
        world.only().status == IncidentStatus::Closed
    });
    world
}

fn last(world: &World) -> &Incident {
    world.incidents.values().last().expect("an incident")
}

/// Breaks the server again: an operator is notified, and after a minute the action is taken nevertheless.
fn is_put_off(mut world: World, restarts: usize) {
    world.run(10_000);
    let before = world.incidents.len();
    world.reborn(1, Condition::Well);
    world.break_server(1, Condition::Errors(100));
    world.until(5_000, |world| world.incidents.len() > before);
    world.run(50_000);
    assert_eq!(world.restarts.len(), restarts, "not at first");
    assert_eq!(last(&world).status, IncidentStatus::Escalated);
    let told = last(&world).timeline.iter();
    let mut told = told.filter(|entry| entry.text.contains("other actions are tried first"));
    assert!(told.next().is_some(), "{:#?}", last(&world).timeline);
    world.until(60_000, |world| world.restarts.len() > restarts);
    world.until(60_000, |world| last(world).status == IncidentStatus::Closed);
    assert!(actions(last(&world)).contains(&("escalate", "done")));
}

#[test]
fn a_restart_that_never_helps_is_put_off_until_a_person_was_told() {
    let world = world_of_vain_restarts();
    let shown = world.keeper.success_rates(world.only_service());
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(
        (shown[0].fault, shown[0].action.as_str()),
        (FaultKind::ErrorBurst, "restart")
    );
    assert!(shown[0].tries.seldom_helps(), "{shown:?}");
    let restarts = world.restarts.len();
    is_put_off(world, restarts);
}

#[test]
fn what_earlier_runs_have_learnt_is_known() {
    let mut rates = SuccessRates::default();
    let world = world_of_vain_restarts();
    world.incidents.values().for_each(|one| rates.learn(one));
    let memory = PersistedState {
        rates,
        ..PersistedState::default()
    };
    is_put_off(World::with_memory(3, Managed::Child, options(), memory), 0);
}

#[test]
fn one_that_helps_stays_the_first_thing() {
    let mut world = World::new(3, Managed::Child, options());
    for n in 0..4 {
        world.run(20_000);
        world.break_server(1, Condition::Errors(100));
        world.until(5_000, |world| world.restarts.len() == n + 1);
        world.until(20_000, |world| last(world).status == IncidentStatus::Closed);
    }
    let rate = &world.keeper.success_rates(world.only_service())[0];
    let (tried, verified) = (4, 4);
    assert_eq!(rate.tries, ActionTries { tried, verified });
}

/// To start what has ended costs nothing.
#[test]
fn a_dead_process_is_started_at_once_whatever_has_helped() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.reborn(1, Condition::Stillborn);
    world.break_server(1, Condition::Dead);
    world.run(60_000);
    world.reborn(1, Condition::Well);
    world.until(200_000, |world| {
        world.only().status == IncidentStatus::Closed
    });
    world.run(700_000);
    let restarts = world.restarts.len();
    world.break_server(1, Condition::Dead);
    let took = world.until(2_000, |world| world.restarts.len() > restarts);
    assert!(took < ms(100), "{took:?}");
    let kinds = [FaultKind::ProcessCrashed, FaultKind::CannotStart];
    let mut rates = SuccessRates::default();
    world.incidents.values().for_each(|one| rates.learn(one));
    let tried = kinds.map(|kind| rates.of("shop", kind, &Action::Restart).tried);
    assert!(tried.iter().sum::<u32>() > 3, "{tried:?}");
}
