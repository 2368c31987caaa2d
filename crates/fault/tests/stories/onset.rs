//! The four durations are what they were, with errors in the background: held against the moment at which the fault was made.

use evenkeel_core::{Instant, Random};
use evenkeel_fault::contract::Managed;
use evenkeel_fault::policy::ProbeKind;
use evenkeel_fault::{Incident, Output};

use super::world::{Condition, World, ms, options};

/// When the incident of `server` was first recorded with what `is_there` asks for.
fn recorded(world: &World, server: &str, is_there: impl Fn(&Incident) -> bool) -> Option<Instant> {
    let found = world.outputs.iter().find(|(_, output)| match output {
        Output::Record(incident) => incident.servers == [server] && is_there(incident),
        _ => false,
    });
    found.map(|(at, _)| *at)
}

/// One server breaks, one of a hundred answers of all is an error, and the four durations are right.
fn assert_durations(seed: u64, condition: Condition, change: impl Fn(&mut World)) {
    let mut world = World::new(3, Managed::Child, options());
    world.random = Random::seeded(seed);
    world.every = ms(2 + seed % 10);
    world.background = 10;
    change(&mut world);
    world.run(20_000 + seed * 37);
    assert!(world.incidents.is_empty(), "seed {seed}");
    let broken = world.now;
    world.break_server(1, condition);
    let closed = |incident: &Incident| incident.closed.is_some();
    world.until(90_000, |world| recorded(world, "two", closed).is_some());
    let incident = world.incidents.values();
    let mut of_two = incident.filter(|incident| incident.servers == ["two"]);
    let incident = of_two.next().expect("one");
    let detected = recorded(&world, "two", |_| true);
    let diagnosed = recorded(&world, "two", |one| one.diagnosed.is_some());
    let recovered = recorded(&world, "two", |one| one.recovered.is_some());
    let truth = [
        Some(broken),
        detected,
        diagnosed,
        recovered,
        recorded(&world, "two", closed),
    ];
    let truth = truth.map(|at| at.expect("it was recorded"));
    let told = incident.durations_ms;
    let told = [told.detection, told.diagnosis, told.recovery, told.analysis];
    for (place, told) in told.into_iter().enumerate() {
        let truth = (truth[place + 1] - truth[place]).as_secs_f64() * 1e3;
        let told = told.expect("it is closed");
        let off = (told - truth).abs();
        assert!(
            off <= (truth / 10.0).max(50.0),
            "seed {seed} {condition:?}, duration {place}: {told:.1} ms, and it was {truth:.1} ms: {:#?}",
            incident.timeline
        );
    }
}

#[test]
fn of_a_process_that_is_killed() {
    (0..100).for_each(|seed| assert_durations(seed, Condition::Dead, |_| {}));
}

#[test]
fn of_a_process_that_is_stopped() {
    (0..100).for_each(|seed| assert_durations(seed, Condition::Hung, |_| {}));
}

#[test]
fn of_a_server_that_hangs() {
    (0..100).for_each(|seed| assert_durations(seed, Condition::Blocked, |_| {}));
}

/// Requests wait for long, and probes find it: what tells its beginning is that nothing was answered since.
#[test]
fn of_a_server_that_hangs_as_probes_find_it() {
    for seed in 0..100 {
        assert_durations(seed, Condition::Blocked, |world| {
            world.patience = ms(30_000);
        });
    }
}

#[test]
fn of_a_server_that_hangs_where_probes_only_connect() {
    for seed in 0..100 {
        let mut options = options();
        options.detect.probe.kind = ProbeKind::Tcp;
        assert_durations(seed, Condition::Blocked, move |world| {
            let random = Random::seeded(seed);
            let every = world.every;
            *world = World::new(3, Managed::Child, options.clone());
            (world.random, world.every, world.background) = (random, every, 10);
        });
    }
}

#[test]
fn of_a_server_that_errs() {
    for seed in 0..100 {
        assert_durations(seed, Condition::Errors(100), |_| {});
        assert_durations(seed, Condition::Errors(60), |_| {});
    }
}

#[test]
fn of_a_server_that_errs_at_times() {
    (0..100).for_each(|seed| assert_durations(seed, Condition::Errors(30), |_| {}));
}

#[test]
fn of_a_server_that_is_slow() {
    (0..100).for_each(|seed| assert_durations(seed, Condition::Slow(10), |_| {}));
}
