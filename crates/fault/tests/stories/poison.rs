//! A request that crashes servers is found by its second victim and no longer sent to servers; harmless requests are
//! never suspected. Dead processes are started as often as necessary while servers are lacking.

use evenkeel_core::{Random, ServiceId};
use evenkeel_fault::contract::{Managed, OperatorOrder, ServerStatus};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::policy::Mode;
use evenkeel_fault::{FaultKind, Incident};

use super::kinds::{actions, evidence, kind};
use super::world::{Condition, World, ms, options};

/// Three servers with mixed traffic; its pace and time by the seed.
fn world_of(seed: u64) -> World {
    let mut world = World::new(3, Managed::Child, options());
    world.random = Random::seeded(seed);
    world.every = ms(3 + seed % 40);
    world.paths = vec!["/", "/carts", "/orders/7", "/orders/8", "/", "POST /carts"];
    world.run(5_000 + seed * 37);
    world
}

fn poisoned(world: &World) -> Vec<&Incident> {
    let all = world.incidents.values();
    all.filter(|incident| kind(incident) == FaultKind::PoisonRequest)
        .collect()
}

/// The incidents of the service itself.
fn of_service(world: &World) -> Vec<&Incident> {
    let all = poisoned(world).into_iter();
    all.filter(|incident| actions(incident) == [("quarantine", "done")])
        .collect()
}

#[test]
fn after_its_second_victim_a_request_gets_to_no_server_and_all_else_is_served() {
    for seed in 0..100 {
        let mut world = world_of(seed);
        let failed = world.totals.failed;
        world.kills = |path| path == "/crash";
        for _ in 0..20 {
            world.send("/crash");
            world.run(500);
        }
        assert_eq!(world.deaths, 2, "seed {seed}");
        assert_eq!(world.refused, 19, "seed {seed}");
        assert_eq!(
            world.totals.failed - failed,
            20,
            "seed {seed}: only these failed"
        );
        world.until(10_000, |world| (0..3).all(|index| world.in_service(index)));
        world.until(30_000, |world| {
            world
                .incidents
                .values()
                .all(|one| one.status == IncidentStatus::Closed)
        });
        let of_service = of_service(&world);
        assert_eq!(of_service.len(), 1, "seed {seed}: {:#?}", world.incidents);
        let incident = of_service[0];
        assert!(evidence(incident).contains("GET /crash was in flight"));
        assert_eq!(incident.servers.len(), 2);
        let verification = incident.verification.as_ref().expect("verified");
        assert_eq!(verification.outcome, "passed");
        // The servers' own incidents name the request that crashed them.
        assert_eq!(poisoned(&world).len(), 3, "seed {seed}");
    }
}

#[test]
fn one_number_among_many_that_do_well_is_found() {
    for seed in 0..100 {
        let mut world = world_of(seed);
        world.kills = |path| path == "/orders/666";
        for _ in 0..10 {
            world.send("/orders/666");
            world.run(700);
        }
        assert!(world.deaths <= 4, "seed {seed}: {}", world.deaths);
        assert!(world.refused >= 8, "seed {seed}: {}", world.refused);
        let failed = world.totals.failed;
        world.run(30_000);
        assert_eq!(world.totals.failed, failed, "seed {seed}");
        assert!(evidence(of_service(&world)[0]).contains("GET /orders/666"));
    }
}

#[test]
fn what_is_under_way_by_chance_when_processes_end_is_not_taken_for_it() {
    for seed in 0..100 {
        let mut world = world_of(seed);
        for turn in 0..12_u64 {
            if turn % 4 == 3 {
                (0..3).for_each(|index| world.break_server(index, Condition::Dead));
            } else {
                let index = world.random.below(3);
                world.break_server(index, Condition::Doomed(turn * seed % 7));
            }
            world.run(200 + (seed * 13 + turn * 991) % 9_000);
        }
        assert_eq!(world.refused, 0, "seed {seed}");
        assert!(poisoned(&world).is_empty(), "seed {seed}");
    }
}

#[test]
fn where_every_request_brings_servers_down_none_is_blamed_and_service_is_back_with_the_cause_gone()
{
    for seed in 0..100 {
        let mut world = world_of(seed);
        world.every = ms(50);
        world.kills = |_| true;
        world.run(60_000 + seed * 100);
        world.kills = |_| false;
        world.until(120_000, |world| {
            (0..3).all(|index| world.state(index) == ServerStatus::Up)
        });
        let (failed, refused) = (world.totals.failed, world.refused);
        world.run(5_000);
        assert_eq!(
            (world.totals.failed, world.refused),
            (failed, refused),
            "seed {seed}"
        );
        assert_eq!(refused, 0, "seed {seed}");
    }
}

/// A shared cause ends them one after the other, and a rare request coincides with two of the exits.
#[test]
fn processes_that_end_together_are_not_blamed_on_a_request() {
    for seed in 0..100 {
        let mut world = world_of(seed);
        world.kills = |path| path == "/rare";
        world.send("/rare");
        world.kills = |_| false;
        world.run(3 + seed % 30);
        for index in 0..3 {
            if world.state(index) == ServerStatus::Up {
                world.break_server(index as usize, Condition::Doomed(0));
            }
        }
        world.run(10_000);
        world.send("/rare");
        assert_eq!((world.deaths, world.refused), (3, 0), "seed {seed}");
        world.until(30_000, |world| {
            let mut all = world.incidents.values();
            all.all(|one| one.status == IncidentStatus::Closed)
        });
    }
}

#[test]
fn one_victim_is_not_enough() {
    let mut world = world_of(1);
    world.kills = |path| path == "/crash";
    (1..3).for_each(|index| world.break_server(index, Condition::Dead));
    world.run(5);
    world.send("/crash");
    world.kills = |_| false;
    world.run(30_000);
    world.send("/crash");
    world.run(1_000);
    assert_eq!((world.deaths, world.refused), (3, 0));
    assert!(poisoned(&world).is_empty());
}

#[test]
fn when_its_time_is_over_it_is_tried_again_and_the_next_victim_is_enough() {
    let mut world = world_of(1);
    world.every = ms(200);
    world.kills = |path| path == "/crash";
    world.send("/crash");
    world.run(599_000);
    world.send("/crash");
    assert_eq!((world.deaths, world.refused), (2, 1));
    world.run(2_000);
    assert!(
        world
            .shapes
            .as_ref()
            .is_some_and(|orders| orders.refused.is_empty())
    );
    world.send("/crash");
    world.run(1_100_000);
    world.send("/crash");
    assert_eq!((world.deaths, world.refused), (4, 2));
    assert_eq!(of_service(&world).len(), 2);
    // A server that is mended survives it.
    world.run(200_000);
    world.kills = |_| false;
    for _ in 0..4 {
        world.send("/crash");
        world.run(100);
    }
    let orders = world.shapes.as_ref().expect("they were given");
    assert!(orders.refused.is_empty() && orders.watched.is_empty());
    assert_eq!((world.deaths, world.refused), (4, 2));
}

#[test]
fn a_person_ends_a_quarantine() {
    let mut world = world_of(1);
    let lift = || OperatorOrder::LiftQuarantine(ServiceId(0));
    world.order(lift());
    assert_eq!(world.answers(), ["refused"]);
    world.kills = |path| path == "/crash";
    world.send("/crash");
    world.run(1_000);
    world.send("/crash");
    assert_eq!(world.refused, 1);
    let id = of_service(&world)[0].id.clone();
    world.order(OperatorOrder::Approve(id.clone()));
    assert_eq!(world.answers(), ["refused"]);
    world.order(OperatorOrder::Close(id.clone()));
    assert_eq!(world.answers(), ["done"]);
    assert_eq!(world.incidents[&id].status, IncidentStatus::Closed);
    world.send("/crash");
    assert_eq!(world.refused, 2, "it is in quarantine still");
    world.kills = |_| false;
    world.order(lift());
    assert_eq!(world.answers(), ["done"]);
    world.send("/crash");
    world.run(1_000);
    assert_eq!((world.deaths, world.refused), (2, 2));
}

#[test]
fn where_recovery_is_off_it_is_told_and_nothing_is_refused() {
    let mut options = options();
    options.recover.mode = Mode::Off;
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world.kills = |path| path == "/crash";
    world.send("/crash");
    world.run(1_000);
    world.send("/crash");
    world.run(1_000);
    assert_eq!((world.deaths, world.refused), (3, 0));
    assert!(!poisoned(&world).is_empty());
}

#[test]
fn starts_that_were_verified_do_not_use_up_the_limit() {
    let mut options = options();
    options.recover.backoff.cap = ms(1_000);
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    for crash in 0..12 {
        world.break_server(1, Condition::Dead);
        world.run(5);
        let took = world.until(5_000, |world| world.in_service(1));
        assert!(took < ms(3_000), "crash {crash}: {took:?}");
        // Longer than in a crash loop.
        world.run(15_000);
    }
    let escalated = world.incidents.values();
    let escalated = escalated.filter(|one| actions(one).contains(&("escalate", "done")));
    assert_eq!(escalated.count(), 0);
    assert_eq!(world.restarts.len(), 12);
}

#[test]
fn dead_processes_are_started_beyond_the_limit_while_servers_are_wanting() {
    for seed in 0..100 {
        let mut world = World::new(3, Managed::Child, options());
        world.run(5_000 + seed * 37);
        for index in 0..3 {
            world.reborn(index, Condition::Doomed(150));
            world.break_server(index, Condition::Dead);
        }
        // Delays of 0.1, 0.2, … 3.2 s, and not of a minute after the fifth.
        world.run(8_000);
        assert!(world.restarts.len() >= 3 * 7, "{}", world.restarts.len());
        (0..3).for_each(|index| world.reborn(index, Condition::Well));
        let took = world.until(15_000, |world| (0..3).all(|index| world.in_service(index)));
        assert!(took < ms(10_000), "seed {seed}: {took:?}");
    }
}

#[test]
fn one_that_the_limit_holds_up_is_started_when_it_becomes_wanted() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.reborn(0, Condition::Doomed(150));
    world.break_server(0, Condition::Dead);
    world.run(15_000);
    assert_eq!(world.restarts.len(), 5, "while others serve it is rationed");
    for index in [1, 2] {
        world.reborn(index, Condition::Unstartable);
        world.break_server(index, Condition::Dead);
    }
    world.reborn(0, Condition::Well);
    let took = world.until(10_000, |world| world.in_service(0));
    assert!(took < ms(4_000), "{took:?}");
}
