//! Recovery is never worse than none: each fault in two simulations that differ only in the mode.

use evenkeel_core::Random;
use evenkeel_fault::contract::Managed;
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::policy::Mode;

use super::world::{Condition, World, ms, options};

/// What happens, by name. It begins after five seconds of a good life.
type Script = (&'static str, fn(&mut World));

fn all(world: &mut World, condition: Condition) {
    (0..world.servers()).for_each(|index| world.break_server(index, condition));
}

/// The first ones, or all that there are.
fn some(world: &mut World, number: usize, condition: Condition) {
    let servers = world.servers().min(number);
    (0..servers).for_each(|index| world.break_server(index, condition));
}

fn heal_all(world: &mut World) {
    (0..world.servers()).for_each(|index| world.heal(index));
}

/// One of three kinds of request fails on every server, for half a minute.
fn route_fails(world: &mut World, condition: Condition) {
    world.paths = vec!["/", "/orders/7", "/carts"];
    world.broken = Some(("/orders/7", condition));
    world.run(30_000);
    world.broken = None;
}

const SCRIPTS: [Script; 23] = [
    ("one is killed", |world| some(world, 1, Condition::Dead)),
    ("all are killed", |world| all(world, Condition::Dead)),
    ("one is stopped", |world| some(world, 1, Condition::Hung)),
    ("two are stopped", |world| some(world, 2, Condition::Hung)),
    ("one hangs", |world| some(world, 1, Condition::Blocked)),
    ("two hang", |world| some(world, 2, Condition::Blocked)),
    ("a route is answered with errors", |world| {
        route_fails(world, Condition::Errors(100));
    }),
    ("a route is answered with what is no HTTP", |world| {
        route_fails(world, Condition::Malformed);
    }),
    ("a route hangs", |world| route_fails(world, Condition::Hung)),
    ("a request ends its servers, again and again", |world| {
        world.kills = |path| path == "/crash";
        for _ in 0..6 {
            world.send("/crash");
            world.run(700);
        }
    }),
    ("a new version cannot start", |world| {
        (0..world.servers()).for_each(|index| world.reborn(index, Condition::Stillborn));
        some(world, 2, Condition::Dead);
        world.run(20_000);
        (0..world.servers()).for_each(|index| world.reborn(index, Condition::Well));
    }),
    ("a start is cold", |world| {
        (0..world.servers()).for_each(|index| world.reborn(index, Condition::Cold(200)));
        some(world, 1, Condition::Dead);
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
        some(world, 1, Condition::Sheds(100));
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
            some(world, 1, Condition::Blocked);
            world.run(3_000);
            world.heal(0);
            world.run(7_000);
        }
    }),
];

/// Where it happens.
#[derive(Debug, Clone, Copy)]
struct Place {
    seed: u64,
    servers: usize,
    managed: Managed,
    /// Milliseconds from one request to the next.
    every: u64,
}

impl Place {
    fn of(seed: u64, servers: usize, every: u64) -> Self {
        let managed = [Managed::Child, Managed::Nothing][usize::from(seed.is_multiple_of(3))];
        Self {
            seed,
            servers,
            managed,
            every,
        }
    }
}

/// Good answers of all requests, over the trouble and half a minute after it.
fn good(place: Place, mode: Mode, script: fn(&mut World)) -> (u64, u64) {
    let mut options = options();
    options.recover.mode = mode;
    let mut world = World::new(place.servers, place.managed, options);
    world.random = Random::seeded(place.seed);
    world.every = ms(place.every);
    world.run(5_000 + place.seed * 37);
    let before = world.totals;
    script(&mut world);
    world.run(30_000);
    let all = world.totals.requests - before.requests;
    (all - (world.totals.failed - before.failed), all)
}

/// While a route hangs, its requests are answered at once. The price: once it is well, the next trial has to find that out, and they come
/// at the pace of what an attempt may take.
fn price(name: &str, place: Place) -> u64 {
    let of_route = 3 * place.every;
    if name == "a route hangs" {
        500 / of_route + 1
    } else {
        0
    }
}

/// Where answers are drawn, each of the two simulations draws its own: three standard deviations of the difference of two counts.
fn chance(name: &str, failed: u64) -> u64 {
    let is_drawn = [
        "half of all answers are errors",
        "a few answers are errors",
        "they shed",
    ]
    .contains(&name);
    if is_drawn { 3 * failed.isqrt() } else { 0 }
}

fn assert_never_worse(place: Place) {
    for (name, script) in SCRIPTS {
        let (with, requests) = good(place, Mode::Automatic, script);
        let (without, as_many) = good(place, Mode::Off, script);
        assert_eq!(requests, as_many, "{name}, {place:?}");
        let by_chance = chance(name, 2 * requests - with - without);
        // A request or two may come at another moment of a server's life.
        assert!(
            with + 2 + price(name, place) + by_chance >= without,
            "{name}, {place:?}: {with} good of {requests}, {without} with mode off"
        );
    }
}

#[test]
fn each_trouble_costs_at_most_what_it_costs_without_recovery() {
    (0..32).for_each(|seed| assert_never_worse(Place::of(seed, 3, 3 + seed % 9)));
}

#[test]
fn nor_does_it_where_few_requests_come() {
    for every in [333, 1_000] {
        (0..100).for_each(|seed| assert_never_worse(Place::of(seed, 3, every + seed * 7)));
    }
}

#[test]
fn nor_does_it_of_one_server_or_two() {
    for servers in [1, 2] {
        (0..100).for_each(|seed| assert_never_worse(Place::of(seed, servers, 5 + seed * 11)));
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
