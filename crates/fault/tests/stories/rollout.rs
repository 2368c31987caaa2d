//! Processes whose configuration a reload has changed are replaced one at a time.

use evenkeel_core::{ServerId, ServiceId};
use evenkeel_fault::contract::{Managed, OperatorOrder, ServerStatus};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::Mode;

use super::world::{Condition, World, options};

const SHOP: ServiceId = ServiceId(0);

fn world(servers: usize) -> World {
    let mut world = World::new(servers, Managed::Child, options());
    world.run(5_000);
    world
}

/// Which servers were restarted, in order; each by the latest configuration.
fn replaced(world: &World) -> Vec<u32> {
    let restarts = world
        .restarts
        .iter()
        .filter(|(_, _, order)| order.reconfigures);
    restarts.map(|(_, server, _)| server.index).collect()
}

fn waits(world: &World) -> bool {
    world
        .keeper
        .measures(SHOP)
        .iter()
        .any(|one| one.contains("earlier"))
}

#[test]
fn one_after_the_other_each_verified_and_none_fails_a_request() {
    let mut world = world(3);
    world.starts_in(700);
    world.reload(|_| {}, &[0, 1, 2]);
    assert!(waits(&world));
    let (mut least, failed) = (3, world.totals.failed);
    let mut rounds = 0;
    while waits(&world) || replaced(&world).len() < 3 {
        world.run(10);
        least = least.min((0..3).filter(|index| world.in_service(*index)).count());
        rounds += 1;
        assert!(rounds < 6_000, "{:?}", world.keeper.measures(SHOP));
    }
    world.run(10_000);
    assert_eq!((replaced(&world), least), (vec![0, 1, 2], 2));
    assert_eq!(world.totals.failed, failed);
    assert!((0..3).all(|index| world.state(index) == ServerStatus::Up));
    assert!(world.incidents.is_empty(), "{:#?}", world.incidents);
}

#[test]
fn in_every_mode_since_a_person_has_changed_it() {
    for mode in [Mode::Ask, Mode::DryRun, Mode::Off] {
        let mut world = world(2);
        world.reload(|service| service.options.recover.mode = mode, &[0, 1]);
        world.until(30_000, |world| replaced(world).len() == 2 && !waits(world));
        world.run(5_000);
        assert!(world.in_service(0) && world.in_service(1) && world.incidents.is_empty());
    }
}

#[test]
fn it_stops_at_the_first_that_does_not_come_back() {
    for condition in [
        Condition::Stillborn,
        Condition::Unstartable,
        Condition::Deaf,
    ] {
        let mut world = world(3);
        for index in 0..3 {
            world.reborn(index, condition);
        }
        world.reload(|_| {}, &[0, 1, 2]);
        world.run(120_000);
        assert_eq!(replaced(&world), [0], "{condition:?}");
        assert!(world.in_service(1) && world.in_service(2));
        let words = world.keeper.measures(SHOP).join("; ");
        assert!(words.contains("one did not come back"), "{words}");
        assert!(
            words.contains("two, three run by the earlier one"),
            "{words}"
        );
        assert!(
            world
                .incidents
                .values()
                .any(|one| one.status != IncidentStatus::Closed)
        );
        // Another reload: what is wrong was mended.
        for index in 0..3 {
            world.reborn(index, Condition::Well);
        }
        world.reload(|_| {}, &[0, 1, 2]);
        world.until(60_000, |world| !waits(world));
        world.run(60_000);
        assert!((0..3).all(|index| world.in_service(index)), "{condition:?}");
    }
}

/// What cannot start may be cured by what was changed.
#[test]
fn processes_that_do_not_run_come_first() {
    let mut world = world(3);
    world.break_server(2, Condition::Dead);
    world.reborn(2, Condition::Stillborn);
    world.run(60_000);
    assert_ne!(world.state(2), ServerStatus::Up);
    world.reborn(2, Condition::Well);
    world.reload(|_| {}, &[0, 1, 2]);
    world.until(60_000, |world| !waits(world));
    world.run(20_000);
    assert_eq!(replaced(&world)[0], 2);
    assert!((0..3).all(|index| world.in_service(index)));
    let mut open = world.incidents.values();
    assert!(open.all(|one| one.status == IncidentStatus::Closed));
}

#[test]
fn the_only_server_is_replaced_and_keep_serving_holds_for_others() {
    let mut world = world(1);
    world.reload(|_| {}, &[0]);
    world.until(5_000, |world| world.in_service(0) && !waits(world));
    assert_eq!(replaced(&world), [0]);

    let mut options = options();
    options.recover.keep_serving = 0.7;
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world.reload(|_| {}, &[0, 1, 2]);
    world.run(30_000);
    assert!(replaced(&world).is_empty());
    let words = world.keeper.measures(SHOP).join("; ");
    assert!(words.contains("keep_serving"), "{words}");
    world.reload(
        |service| service.options.recover.keep_serving = 0.5,
        &[0, 1, 2],
    );
    world.until(30_000, |world| replaced(world).len() == 3);
}

#[test]
fn a_server_in_maintenance_is_replaced_when_it_comes_back() {
    let mut world = world(4);
    let two = ServerId::new(0, 1);
    world.order(OperatorOrder::Drain(two, OrderTerms::default()));
    world.reload(|_| {}, &[0, 1, 2, 3]);
    world.run(30_000);
    assert_eq!(replaced(&world), [0, 2, 3]);
    assert!(waits(&world));
    world.order(OperatorOrder::Restore(two));
    world.until(30_000, |world| replaced(world).len() == 4 && !waits(world));
    world.run(10_000);
    assert!(world.in_service(1) && world.incidents.is_empty());
}

/// What an operator restarts runs by the latest configuration; what evenkeel restarts for a fault does not.
#[test]
fn a_restart_for_a_fault_goes_on_with_the_configuration_that_ran() {
    let mut world = world(3);
    world.order(OperatorOrder::MaintenanceOn(SHOP, OrderTerms::default()));
    world.reload(|_| {}, &[0, 1, 2]);
    world.order(OperatorOrder::Restart(
        ServerId::new(0, 0),
        OrderTerms::default(),
    ));
    world.run(5_000);
    assert_eq!(
        replaced(&world),
        [0],
        "the others wait for the end of maintenance"
    );
    world.order(OperatorOrder::MaintenanceOff(SHOP, OrderTerms::default()));
    world.until(30_000, |world| replaced(world).len() == 3 && !waits(world));
    assert_eq!(replaced(&world), [0, 1, 2]);
    world.run(5_000);
    world.break_server(1, Condition::Dead);
    world.until(20_000, |world| {
        world.restarts.len() == 4 && world.in_service(1)
    });
    assert!(!world.restarts[3].2.reconfigures);
}

/// A server that is removed, or drained by an operator, while its process is replaced holds up nobody.
#[test]
fn the_one_that_is_being_replaced_may_go() {
    let mut world = world(5);
    world.starts_in(2_000);
    world.reload(|_| {}, &[0, 1, 2, 3, 4]);
    world.run(500);
    assert_eq!(replaced(&world), [0]);
    let gone = evenkeel_fault::contract::ServerSpec::vacant;
    world.reload(|service| service.servers[0] = gone(), &[1, 2, 3, 4]);
    world.run(500);
    let two = ServerId::new(0, 1);
    let forced = OrderTerms {
        force: true,
        ..OrderTerms::default()
    };
    world.order(OperatorOrder::Drain(two, forced));
    world.until(60_000, |world| replaced(world).contains(&3));
    world.order(OperatorOrder::Restore(two));
    world.until(60_000, |world| !waits(world));
    world.run(20_000);
    assert!(
        world.in_service(1) && world.in_service(2),
        "{:#?}",
        world.incidents
    );
}
