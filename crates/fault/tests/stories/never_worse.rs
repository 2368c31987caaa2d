//! Recovery is never worse than none: each fault in two simulations that differ only in the mode.

use evenkeel_core::Random;
use evenkeel_fault::contract::Managed;
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::policy::Mode;

use super::world::{Condition, World, ms, options};

/// What happens, by name. It begins after five seconds of a good life.
type Script = (&'static str, fn(&mut World));

fn all(world: &mut World, condition: Condition) {
    (0..3).for_each(|index| world.break_server(index, condition));
}

fn heal_all(world: &mut World) {
    (0..3).for_each(|index| world.heal(index));
}

const SCRIPTS: [Script; 17] = [
    ("one is killed", |world| {
        world.break_server(1, Condition::Dead);
    }),
    ("all are killed", |world| all(world, Condition::Dead)),
    ("one is stopped", |world| {
        world.break_server(1, Condition::Hung);
    }),
    ("two are stopped", |world| {
        world.break_server(1, Condition::Hung);
        world.break_server(2, Condition::Hung);
    }),
    ("one hangs", |world| {
        world.break_server(1, Condition::Blocked);
    }),
    ("two hang", |world| {
        world.break_server(0, Condition::Blocked);
        world.break_server(2, Condition::Blocked);
    }),
    ("all hang for a while", |world| {
        all(world, Condition::Blocked);
        world.run(20_000);
        heal_all(world);
    }),
    ("a database is away", |world| {
        all(world, Condition::Errors(100));
        world.run(30_000);
        heal_all(world);
    }),
    ("half of all answers are errors", |world| {
        all(world, Condition::Errors(50));
        world.run(30_000);
        heal_all(world);
    }),
    ("a few answers are errors", |world| {
        all(world, Condition::Errors(5));
    }),
    ("they shed", |world| all(world, Condition::Sheds(30))),
    ("one sheds all", |world| {
        world.break_server(0, Condition::Sheds(100));
    }),
    ("the probe is wrong", |world| {
        all(world, Condition::Unhealthy);
    }),
    ("the probe is wrong, and then errors", |world| {
        all(world, Condition::Unhealthy);
        world.run(10_000);
        all(world, Condition::Errors(100));
        world.run(20_000);
        heal_all(world);
    }),
    ("all closed their ports", |world| {
        all(world, Condition::Deaf);
    }),
    ("none can be reached for a while", |world| {
        all(world, Condition::Unreachable);
        world.run(20_000);
        heal_all(world);
    }),
    ("a loop that blocks again and again", |world| {
        for _ in 0..4 {
            world.break_server(1, Condition::Blocked);
            world.run(3_000);
            world.heal(1);
            world.run(7_000);
        }
    }),
];

/// Good answers of all requests, over the trouble and half a minute after it.
fn good(seed: u64, mode: Mode, managed: Managed, script: fn(&mut World)) -> (u64, u64) {
    let mut options = options();
    options.recover.mode = mode;
    let mut world = World::new(3, managed, options);
    world.random = Random::seeded(seed);
    world.every = ms(3 + seed % 9);
    world.run(5_000 + seed * 37);
    let before = world.totals;
    script(&mut world);
    world.run(30_000);
    let all = world.totals.requests - before.requests;
    (all - (world.totals.failed - before.failed), all)
}

#[test]
fn each_trouble_costs_at_most_what_it_costs_without_recovery() {
    for (name, script) in SCRIPTS {
        for seed in 0..8 {
            let managed = [Managed::Child, Managed::Nothing][usize::from(seed % 3 == 0)];
            let with = good(seed, Mode::Automatic, managed, script);
            let without = good(seed, Mode::Off, managed, script);
            assert_eq!(with.1, without.1, "{name}, seed {seed}");
            // A request or two may come at another moment of a server's life.
            assert!(
                with.0 + 2 >= without.0,
                "{name}, seed {seed}, {managed:?}: {} good of {}, {} with mode off",
                with.0,
                with.1,
                without.0
            );
        }
    }
}

const CONDITIONS: [Condition; 11] = [
    Condition::Well,
    Condition::Dead,
    Condition::Hung,
    Condition::Blocked,
    Condition::Deaf,
    Condition::Errors(100),
    Condition::Errors(30),
    Condition::Sheds(40),
    Condition::Unhealthy,
    Condition::Slow(20),
    Condition::Unreachable,
];

/// One trouble after the other, of one server or of all, before the one before it is over. In the end all is mended but what only a
/// start mends.
fn troubles(world: &mut World, draws: &mut Random) {
    for _ in 0..5 {
        let condition = CONDITIONS[draws.below(CONDITIONS.len())];
        let servers = match draws.below(5) {
            index @ 0..3 => index..index + 1,
            _ => 0..3,
        };
        for index in servers {
            // A process that ended cannot do anything else.
            if world.condition(index) != Condition::Dead {
                world.break_server(index, condition);
            }
        }
        world.run(draws.below(12_000) as u64);
    }
    for index in 0..3 {
        world.heal_unless_gone(index);
    }
}

#[test]
fn after_any_troubles_all_serve_again() {
    for seed in 0..80 {
        let mut draws = Random::seeded(seed);
        let mut world = World::new(3, Managed::Child, options());
        world.random = Random::seeded(seed);
        world.every = ms(4 + seed % 9);
        world.run(5_000);
        troubles(&mut world, &mut draws);
        world.run(150_000);
        for index in 0..3 {
            let condition = world.condition(index);
            assert_eq!(
                condition,
                Condition::Well,
                "seed {seed}: {:#?}",
                world.incidents
            );
            assert!(
                world.in_service(index),
                "seed {seed}: {:#?}",
                world.incidents
            );
        }
        let before = world.totals;
        world.run(10_000);
        assert_eq!(world.totals.failed, before.failed, "seed {seed}");
        let open = world.incidents.values();
        let open: Vec<_> = open
            .filter(|one| one.status != IncidentStatus::Closed)
            .collect();
        assert!(open.is_empty(), "seed {seed}: {open:#?}");
    }
}
