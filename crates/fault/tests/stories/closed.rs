//! A route that hangs on all servers fails fast: a few trials reach servers, all other requests of the route are
//! answered at once.

use evenkeel_core::Random;
use evenkeel_fault::contract::Managed;
use evenkeel_fault::incident::{ActionOutcome, IncidentStatus};
use evenkeel_fault::policy::Mode;
use evenkeel_fault::{FaultKind, Incident};

use super::kinds::kind;
use super::world::{Condition, World, ms, options};

fn world(seed: u64, mode: Mode) -> World {
    let mut options = options();
    options.recover.mode = mode;
    let mut world = World::new(3, Managed::Child, options);
    world.random = Random::seeded(seed);
    world.every = ms(4 + seed % 10);
    world.paths = vec!["/", "POST /orders/7", "/carts"];
    world.run(5_000 + seed * 37);
    world
}

fn of_route(world: &World) -> Option<&Incident> {
    let mut all = world.incidents.values();
    all.find(|incident| !incident.diagnosis.is_empty() && kind(incident) == FaultKind::BrokenRoute)
}

fn shed(incident: &Incident) -> usize {
    let done = incident
        .actions
        .iter()
        .filter(|action| action.action == "shed" && action.outcome == Some(ActionOutcome::Done));
    done.count()
}

#[test]
fn a_route_that_hangs_is_closed_but_for_trials_and_opens_by_itself() {
    for (seed, mode) in (0..100).zip(
        [Mode::Automatic, Mode::Ask, Mode::DryRun]
            .into_iter()
            .cycle(),
    ) {
        let mut world = world(seed, mode);
        world.broken = Some(("POST /orders/7", Condition::Hung));
        world.until(10_000, |world| world.closing.refused > 0);
        world.run(3_000);
        let (before, out) = (world.totals.failed, world.closing.refused);
        world.run(20_000);
        // One trial at a time, each for half a second; all others were answered at once, and those of other routes as ever.
        let (failed, out) = (world.totals.failed - before, world.closing.refused - out);
        assert!(failed - out <= 41, "seed {seed}: {failed} {out}");
        let expected = 20_000 / (3 * (4 + seed % 10)) * 9 / 10;
        assert!(out >= expected, "seed {seed}: {out} of {expected}");
        assert!((0..3).all(|index| world.in_service(index)), "seed {seed}");
        let incident = of_route(&world).expect("it is known");
        assert_eq!(shed(incident), 1, "seed {seed}: {:#?}", incident.actions);
        let measures = world.keeper.measures(evenkeel_core::ServiceId(0));
        assert!(
            measures[0].starts_with("POST /orders/* hangs on all"),
            "{measures:?}"
        );

        world.broken = None;
        world.run(2_500);
        let out = world.closing.refused;
        world.run(20_000);
        assert_eq!(world.closing.refused, out, "seed {seed}: it is open");
        let incident = of_route(&world).expect("it is known");
        assert_eq!(incident.status, IncidentStatus::Closed, "seed {seed}");
        let verification = incident.verification.as_ref().expect("verified");
        assert_eq!(verification.outcome, "passed", "seed {seed}");
        assert!(
            world.closing.routes.is_empty()
                && world
                    .keeper
                    .measures(evenkeel_core::ServiceId(0))
                    .is_empty()
        );
        assert!(world.restarts.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_route_that_is_answered_with_errors_reaches_servers_and_in_off_nothing_is_closed() {
    for seed in 0..20 {
        for (mode, condition) in [
            (Mode::Automatic, Condition::Errors(100)),
            (Mode::Off, Condition::Hung),
        ] {
            let mut world = world(seed, mode);
            world.broken = Some(("POST /orders/7", condition));
            world.run(20_000);
            let incident = of_route(&world).expect("it is known");
            assert_eq!(shed(incident), 0, "seed {seed} {condition:?}");
            assert_eq!(world.closing.refused, 0, "seed {seed} {condition:?}");
            assert!(world.closing.routes.is_empty());
        }
    }
}

#[test]
fn a_route_that_answers_again_with_errors_is_open() {
    for seed in 0..100 {
        let mut world = world(seed, Mode::Automatic);
        world.broken = Some(("POST /orders/7", Condition::Hung));
        world.until(10_000, |world| world.closing.refused > 0);
        world.run(3_000);
        world.broken = Some(("POST /orders/7", Condition::Errors(100)));
        world.run(4_000);
        let out = world.closing.refused;
        world.run(10_000);
        assert_eq!(world.closing.refused, out, "seed {seed}");
        let incident = of_route(&world).expect("it is known");
        assert_ne!(incident.status, IncidentStatus::Closed, "seed {seed}");
    }
}

/// Most of its requests succeed, and the servers still show what it did to them.
#[test]
fn a_route_that_is_well_again_at_once_was_the_route_and_nothing_else() {
    for seed in 0..100 {
        let mut world = world(seed, Mode::Automatic);
        world.broken = Some(("POST /orders/7", Condition::Hung));
        world.until(10_000, |world| world.closing.refused > 0);
        world.run(300 + seed * 20);
        world.broken = None;
        world.run(20_000);
        assert_eq!(
            of_route(&world).map(|one| one.status),
            Some(IncidentStatus::Closed)
        );
        let others = world.incidents.values();
        let others = others.filter(|one| kind(one) == FaultKind::DependencyFailure);
        assert_eq!(others.count(), 0, "seed {seed}: {:#?}", world.incidents);
    }
}
