//! What recovery would do next, when, and what it waits for, as an operator sees it during a case.

use evenkeel_core::{ServerId, ServiceId};
use evenkeel_fault::contract::{Managed, OperatorOrder};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::outlook::{NextStep, RecoveryOutlook, WaitReason};
use evenkeel_fault::policy::{ActionLimit, FaultOptions, Mode};

use super::world::{Condition, World, ms, options};

const RESTART: NextStep = NextStep::Action("restart");

/// Of a server, or of the service.
fn outlook(world: &World, index: Option<u32>) -> RecoveryOutlook {
    let all = world.keeper.outlooks(world.now);
    let mut its = all.into_iter().filter(|(_, server, _)| *server == index);
    its.next()
        .map_or(RecoveryOutlook::WELL, |(_, _, outlook)| outlook)
}

fn waits(world: &World, index: u32) -> WaitReason {
    outlook(world, Some(index)).waits
}

fn world_with(spec: FaultOptions) -> World {
    let mut world = World::new(3, Managed::Child, spec);
    world.run(5_000);
    world
}

#[test]
fn a_healthy_server_has_no_outlook() {
    let world = world_with(options());
    assert!(world.keeper.outlooks(world.now).is_empty());
}

#[test]
fn a_hang_is_examined_then_waited_for_then_restarted_and_verified() {
    let mut world = world_with(options());
    world.break_server(1, Condition::Blocked);
    world.until(5_000, |world| waits(world, 1) == WaitReason::Examination);
    world.until(5_000, |world| waits(world, 1) == WaitReason::HangWait);
    let shown = outlook(&world, Some(1));
    assert_eq!(shown.next, RESTART);
    let left = shown.in_time(world.now).expect("a moment");
    assert!(left > ms(8_500) && left <= ms(9_500), "{left:?}");
    world.until(11_000, |world| waits(world, 1) == WaitReason::Action);
    assert_eq!(world.restarts.len(), 1);
    world.until(5_000, |world| waits(world, 1) == WaitReason::Verification);
    let shown = outlook(&world, Some(1));
    assert_eq!(shown.next, NextStep::Restore);
    assert!(shown.detail.contains("of 3 probes"), "{}", shown.detail);
    world.until(5_000, |world| waits(world, 1) == WaitReason::Well);
    assert!(world.keeper.outlooks(world.now).is_empty());
}

#[test]
fn the_outlook_names_the_time_of_the_next_restart() {
    let mut spec = options();
    spec.recover.limit = ActionLimit {
        actions: 3,
        within: ms(600_000),
    };
    let mut world = world_with(spec);
    world.reborn(1, Condition::Unstartable);
    world.break_server(1, Condition::Dead);
    world.until(5_000, |world| waits(world, 1) == WaitReason::BackOff);
    let shown = outlook(&world, Some(1));
    assert_eq!(shown.next, RESTART);
    assert!(shown.in_time(world.now).expect("a moment") <= ms(200));
    world.until(60_000, |world| waits(world, 1) == WaitReason::Limit);
}

#[test]
fn one_waits_for_its_turn_and_the_other_is_at_work() {
    let mut world = world_with(options());
    (0..3).for_each(|index| world.break_server(index, Condition::Hung));
    world.until(10_000, |world| waits(world, 1) == WaitReason::Turn);
    assert_eq!(outlook(&world, Some(1)).next, RESTART);
}

#[test]
fn followers_name_their_canary_and_so_does_the_service() {
    let mut world = world_with(options());
    for index in 0..3 {
        world.reborn(index, Condition::Stillborn);
        world.break_server(index, Condition::Dead);
    }
    world.run(3_000);
    let shown: Vec<WaitReason> = (0..3).map(|index| waits(&world, index)).collect();
    let canaries = shown.iter().filter(|waits| **waits == WaitReason::Canary);
    assert_eq!(canaries.count(), 2, "{shown:?}");
    let service = outlook(&world, None);
    assert_eq!((service.next, service.waits), (RESTART, WaitReason::Canary));
    assert!(service.detail.contains("2 more wait"), "{}", service.detail);
}

#[test]
fn what_is_shared_is_told_of_the_service_and_of_no_server() {
    let mut world = world_with(options());
    (0..3).for_each(|index| world.break_server(index, Condition::Errors(100)));
    world.run(10_000);
    let service = outlook(&world, None);
    assert_eq!(
        (service.next, service.waits),
        (NextStep::Close, WaitReason::Shared)
    );
    assert!(service.detail.contains("dependency-failure"));
    (0..3).for_each(|index| assert_eq!(waits(&world, index), WaitReason::Well));
    // No more requests arrive: it is not proven, until ten minutes are over.
    world.every = ms(3_600_000);
    world.run(20_000);
    let service = outlook(&world, None);
    assert_eq!(service.waits, WaitReason::Proof);
    assert!(service.in_time(world.now).expect("a moment") > ms(500_000));
}

#[test]
fn modes_and_persons() {
    for (mode, expected) in [
        (Mode::Ask, WaitReason::Approval),
        (Mode::DryRun, WaitReason::DryRun),
        (Mode::Off, WaitReason::Off),
    ] {
        let mut spec = options();
        spec.recover.mode = mode;
        let mut world = world_with(spec);
        world.break_server(1, Condition::Dead);
        world.run(2_000);
        assert_eq!(waits(&world, 1), expected, "{mode:?}");
    }
    let mut world = world_with(options());
    let terms = OrderTerms {
        lasts: Some(ms(60_000)),
        ..OrderTerms::default()
    };
    world.order(OperatorOrder::Drain(ServerId::new(0, 2), terms));
    let shown = outlook(&world, Some(2));
    assert_eq!(
        (shown.next, shown.waits),
        (NextStep::Verify, WaitReason::Maintenance)
    );
    assert_eq!(shown.in_time(world.now), Some(ms(60_000)));
    let terms = OrderTerms::default();
    world.order(OperatorOrder::MaintenanceOn(ServiceId(0), terms));
    assert_eq!(outlook(&world, None).waits, WaitReason::Maintenance);
}

#[test]
fn what_cannot_be_repaired_waits_for_a_person_or_to_be_tried() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(1, Condition::Errors(100));
    world.until(10_000, |world| waits(world, 1) == WaitReason::Hold);
    let shown = outlook(&world, Some(1));
    assert_eq!(shown.next, NextStep::Try);
    assert!(shown.in_time(world.now).expect("a moment") >= ms(29_000));
    world.heal(1);
    world.break_server(2, Condition::Deaf);
    world.until(30_000, |world| waits(world, 2) == WaitReason::Person);
}
