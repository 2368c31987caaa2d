//! One cause for several servers: nothing is ejected or restarted, and one incident names the cause.

use evenkeel_core::{ProgramChange, Random, ServerId, ServiceId};
use evenkeel_fault::contract::{Managed, OperatorOrder};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::Mode;
use evenkeel_fault::{FaultKind, Incident, Output};

use super::kinds::{evidence, kind};
use super::world::{Condition, World, ms, options};

fn open(world: &World) -> Vec<&Incident> {
    let all = world.incidents.values();
    all.filter(|incident| incident.status != IncidentStatus::Closed)
        .collect()
}

/// The incident of the service: all others have ended in it.
fn common(world: &World) -> &Incident {
    world.assert_both_ids_are_told();
    let mut own = world
        .incidents
        .values()
        .filter(|incident| incident.end != Some(CloseReason::Merged));
    let incident = own.next().expect("an incident");
    assert_eq!(own.next(), None, "{:#?}", world.incidents);
    incident
}

fn serving(world: &World) -> usize {
    (0..3).filter(|index| world.in_service(*index)).count()
}

/// Three servers, all with the same trouble after a while; time and pace of the requests by the seed.
fn world_of(seed: u64, managed: Managed) -> World {
    let mut world = World::new(3, managed, options());
    world.random = Random::seeded(seed);
    world.every = ms(2 + seed % 10);
    world.run(5_000 + seed * 37);
    world
}

fn break_all(world: &mut World, condition: Condition) {
    (0..3).for_each(|index| world.break_server(index, condition));
}

#[test]
fn a_dependency_that_all_servers_need_is_one_incident_and_its_return_is_used_at_once() {
    for seed in 0..100 {
        let managed = [Managed::Child, Managed::Nothing][usize::from(seed % 2 == 0)];
        let mut world = world_of(seed, managed);
        break_all(&mut world, Condition::Errors(100));
        world.run(2_000);
        for _ in 0..58 {
            world.run(1_000);
            assert_eq!(serving(&world), 3, "seed {seed}");
        }
        let incident = common(&world);
        assert_eq!(kind(incident), FaultKind::DependencyFailure, "seed {seed}");
        assert_eq!(incident.servers.len(), 3, "seed {seed}");
        assert!(evidence(incident).contains("showed it first"));
        (0..3).for_each(|index| world.heal(index));
        let failed = world.totals.failed;
        world.run(10_000);
        assert_eq!(world.totals.failed, failed, "seed {seed}");
        assert!(open(&world).is_empty(), "seed {seed}: {:#?}", open(&world));
        assert!(world.restarts.is_empty(), "seed {seed}");
        let incident = common(&world);
        let verification = incident.verification.as_ref().expect("verified");
        assert_eq!(verification.outcome, "passed");
        assert!(verification.requests > 0);
        let timeline: Vec<&str> = incident.timeline.iter().map(|one| &*one.text).collect();
        for name in ["one", "two", "three"] {
            let text = format!("{name} answers again");
            assert!(timeline.contains(&&*text), "seed {seed}: {timeline:?}");
        }
    }
}

#[test]
fn a_change_just_before_is_a_suspect_for_what_servers_share() {
    for (changed, patience, told) in [
        (true, 20_000, true),
        (true, 700_000, false),
        (false, 20_000, false),
    ] {
        let mut world = world_of(1, Managed::Child);
        world.changed = changed.then(|| ProgramChange {
            path: "shop.py".to_owned(),
            modified_millis: 1_764_000_000_000,
        });
        for server in 0..3 {
            let order = OperatorOrder::Restart(ServerId::new(0, server), OrderTerms::default());
            world.order(order);
            world.run(10_000);
        }
        world.every = ms(50);
        world.run(patience);
        break_all(&mut world, Condition::Errors(100));
        world.run(5_000);
        let incident = common(&world);
        assert_eq!(kind(incident), FaultKind::DependencyFailure);
        let suspects = incident.diagnosis.iter().skip(1);
        let suspects: Vec<String> = suspects
            .filter(|finding| finding.fault == FaultKind::BadDeploy)
            .flat_map(|finding| finding.evidence.clone())
            .collect();
        assert_eq!(suspects.len(), usize::from(told), "{suspects:?}");
        for text in suspects {
            assert!(text.starts_with("shop.py was changed at 2025-11-24T16:00:00.000Z, and one, two, three were started with it, the last 3"), "{text}");
        }
    }
}

/// At night a server gets a request now and then: too few within any window to compare servers by.
#[test]
fn a_dependency_that_is_away_costs_no_restart_where_few_requests_come() {
    for every in [500, 1_000, 2_000, 5_000, 15_000] {
        for seed in 0..100 {
            for condition in [Condition::Errors(100), Condition::Blocked] {
                let mut world = world_of(seed, Managed::Child);
                world.every = ms(every + seed * 7);
                world.run(20 * every);
                break_all(&mut world, condition);
                world.run(60 * every);
                assert!(
                    world.restarts.is_empty(),
                    "seed {seed}, every {every} ms, {condition:?}: {:#?}",
                    world.incidents
                );
                assert_eq!(
                    serving(&world),
                    3,
                    "seed {seed}, every {every} ms, {condition:?}"
                );
                let incident = common(&world);
                assert_eq!(kind(incident), FaultKind::DependencyFailure);
                (0..3).for_each(|index| world.heal(index));
                world.run(10_000 + 10 * every);
                assert!(
                    open(&world).is_empty(),
                    "seed {seed}, every {every} ms: {:#?}",
                    open(&world)
                );
            }
        }
    }
}

#[test]
fn a_route_that_fails_on_all_servers_is_one_incident_that_names_it() {
    for seed in 0..100 {
        let conditions = [
            Condition::Errors(100),
            Condition::Malformed,
            Condition::Hung,
        ];
        for condition in conditions {
            let mut world = world_of(seed, Managed::Child);
            world.paths = vec!["/", "/orders/7", "/carts"];
            world.broken = Some(("/orders/7", condition));
            world.run(30_000);
            let incident = common(&world);
            assert_eq!(
                kind(incident),
                FaultKind::BrokenRoute,
                "seed {seed} {condition:?}"
            );
            assert!(
                evidence(incident).contains("GET /orders/*"),
                "{}",
                evidence(incident)
            );
            assert_eq!(serving(&world), 3, "seed {seed} {condition:?}");
            assert!(world.restarts.is_empty(), "seed {seed} {condition:?}");
            world.broken = None;
            world.run(20_000);
            assert!(open(&world).is_empty(), "seed {seed} {condition:?}");
        }
    }
}

#[test]
fn an_outage_of_the_whole_service_is_seen_behind_a_broken_route() {
    for seed in 0..100 {
        let condition = [Condition::Errors(100), Condition::Blocked][usize::from(seed < 5)];
        let mut world = world_of(seed, Managed::Child);
        world.paths = vec!["/", "/orders/7", "/carts", "/items", "/users"];
        world.broken = Some(("/orders/7", condition));
        world.run(15_000 + seed * 13);
        assert_eq!(kind(common(&world)), FaultKind::BrokenRoute, "seed {seed}");
        break_all(&mut world, Condition::Errors(100));
        for _ in 0..30 {
            world.run(1_000);
            assert_eq!(serving(&world), 3, "seed {seed}: {:#?}", world.incidents);
        }
        let incident = common(&world);
        assert_eq!(kind(incident), FaultKind::DependencyFailure, "seed {seed}");
        // The route is what remains.
        (0..3).for_each(|index| world.heal(index));
        world.run(20_000);
        let incident = common(&world);
        assert_eq!(incident.status, IncidentStatus::Escalated, "seed {seed}");
        assert_eq!(kind(incident), FaultKind::BrokenRoute, "seed {seed}");
        world.broken = None;
        world.run(20_000);
        assert!(open(&world).is_empty(), "seed {seed}: {:#?}", open(&world));
        assert!(world.restarts.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_probe_that_is_wrong_on_all_servers_is_one_incident_with_dense_and_with_thin_traffic() {
    for every in [5, 333] {
        for seed in 0..100 {
            let mut world = world_of(seed, Managed::Child);
            world.every = ms(every);
            break_all(&mut world, Condition::Unhealthy);
            world.run(60_000);
            let incident = common(&world);
            assert_eq!(kind(incident), FaultKind::BadProbe, "seed {seed} {every}");
            assert_eq!(serving(&world), 3, "seed {seed} {every}");
            assert!(world.restarts.is_empty(), "seed {seed} {every}");
            (0..3).for_each(|index| world.heal(index));
            world.run(30_000);
            assert!(open(&world).is_empty(), "seed {seed} {every}");
        }
    }
}

#[test]
fn what_is_graver_than_a_wrong_probe_is_seen_behind_it() {
    for seed in 0..200 {
        let mut world = world_of(seed, Managed::Child);
        break_all(&mut world, Condition::Unhealthy);
        world.run(20_000);
        if seed % 2 == 0 {
            break_all(&mut world, Condition::Errors(100));
            world.run(10_000);
            let incident = common(&world);
            assert_eq!(kind(incident), FaultKind::DependencyFailure, "seed {seed}");
            assert!(world.restarts.is_empty(), "seed {seed}");
        } else {
            break_all(&mut world, Condition::Dead);
            world.run(5_000);
            assert_eq!(world.restarts.len(), 3, "seed {seed}");
        }
    }
}

/// Whatever the incident is doing when they end: it has just begun, is being examined again, or is only watched.
#[test]
fn processes_that_end_behind_a_wrong_probe_are_started_whenever_they_end() {
    for seed in 0..100 {
        let mut world = world_of(seed, Managed::Child);
        let one_or_all = [1, 3][usize::from(seed % 2 == 0)];
        (0..one_or_all).for_each(|index| world.break_server(index, Condition::Unhealthy));
        world.until(10_000, |world| !world.incidents.is_empty());
        world.run(seed * 7);
        break_all(&mut world, Condition::Dead);
        world.run(5_000);
        assert_eq!(
            world.restarts.len(),
            3,
            "seed {seed}: {:#?}",
            world.incidents
        );
        assert_eq!(serving(&world), 3, "seed {seed}");
    }
}

#[test]
fn servers_that_shed_by_themselves_are_overloaded_and_left_alone() {
    for seed in 0..100 {
        let mut world = world_of(seed, Managed::Child);
        break_all(&mut world, Condition::Sheds(30));
        world.run(60_000);
        assert_eq!(kind(common(&world)), FaultKind::Overload, "seed {seed}");
        assert_eq!(serving(&world), 3, "seed {seed}");
        assert!(world.restarts.is_empty(), "seed {seed}");
    }
}

/// What their database did not take in time at first is lost altogether: they answer nothing but errors now.
#[test]
fn an_overload_that_becomes_a_dead_dependency_is_called_that() {
    for seed in 0..100 {
        let mut world = world_of(seed, Managed::Child);
        break_all(&mut world, Condition::Sheds(30));
        world.run(8_000 + seed * 50);
        assert_eq!(kind(common(&world)), FaultKind::Overload, "seed {seed}");
        break_all(&mut world, Condition::Errors(100));
        world.run(8_000);
        let incident = common(&world);
        assert_eq!(kind(incident), FaultKind::DependencyFailure, "seed {seed}");
        assert_eq!(serving(&world), 3, "seed {seed}");
        (0..3).for_each(|index| world.heal(index));
        world.run(20_000);
        let incident = common(&world);
        assert_eq!(incident.status, IncidentStatus::Closed, "seed {seed}");
        assert_eq!(kind(incident), FaultKind::DependencyFailure, "seed {seed}");
        assert!(world.restarts.is_empty(), "seed {seed}");
    }
}

/// The third can carry what they do not; and yet a restart of either would repair nothing that they share.
#[test]
fn two_of_three_are_taken_out_and_not_restarted() {
    for condition in [Condition::Errors(100), Condition::Blocked] {
        let mut world = world_of(3, Managed::Child);
        (0..2).for_each(|index| world.break_server(index, condition));
        world.run(10_000);
        let before = world.totals;
        world.run(60_000);
        assert!(world.restarts.is_empty(), "{condition:?}");
        // Now and then they are tried with a trickle.
        let failed = world.totals.failed - before.failed;
        let all = world.totals.requests - before.requests;
        assert!(failed * 100 <= all, "{condition:?}: {failed} of {all}");
        (0..2).for_each(|index| world.heal(index));
        world.until(200_000, |world| serving(world) == 3);
        assert!(world.restarts.is_empty(), "{condition:?}");
    }
}

#[test]
fn one_of_three_is_judged_alone() {
    for seed in 0..100 {
        let mut world = world_of(seed, Managed::Child);
        world.break_server(1, Condition::Errors(100));
        world.run(10_000);
        assert_eq!(kind(common(&world)), FaultKind::ErrorBurst, "seed {seed}");
        assert_eq!(common(&world).servers, ["two"], "seed {seed}");
        assert_eq!(world.restarts.len(), 1, "seed {seed}");
    }
}

#[test]
fn a_server_with_a_fault_of_its_own_is_repaired_while_the_service_has_one() {
    for seed in 0..20 {
        for (shared, own) in [
            (None, Condition::Hung),
            (None, Condition::Dead),
            (Some(Condition::Errors(100)), Condition::Hung),
            (Some(Condition::Errors(100)), Condition::Dead),
            (Some(Condition::Unhealthy), Condition::Hung),
        ] {
            let mut world = world_of(seed, Managed::Child);
            world.paths = vec!["/", "/orders/7", "/carts"];
            match shared {
                Some(condition) => break_all(&mut world, condition),
                None => world.broken = Some(("/orders/7", Condition::Errors(100))),
            }
            world.run(20_000);
            assert!(world.restarts.is_empty(), "seed {seed} {shared:?}");
            world.break_server(1, own);
            world.until(20_000, |world| !world.restarts.is_empty());
            assert_eq!(world.restarts.len(), 1, "seed {seed} {shared:?} {own:?}");
            assert_eq!(
                world.restarts[0].1.index, 1,
                "seed {seed} {shared:?} {own:?}"
            );
        }
    }
}

#[test]
fn a_person_can_close_it_and_maintenance_ends_it() {
    let orders: [fn(String) -> OperatorOrder; 2] = [OperatorOrder::Close, |_| {
        OperatorOrder::MaintenanceOn(ServiceId(0), OrderTerms::default())
    }];
    for (order, end) in orders
        .into_iter()
        .zip([CloseReason::ClosedByPerson, CloseReason::Maintenance])
    {
        let mut world = world_of(1, Managed::Child);
        break_all(&mut world, Condition::Errors(100));
        world.run(5_000);
        let id = common(&world).id.clone();
        world.order(OperatorOrder::Approve(id.clone()));
        assert_eq!(world.answers(), ["refused"]);
        world.order(order(id.clone()));
        assert_eq!(world.answers(), ["done"]);
        assert_eq!(world.incidents[&id].end, Some(end));
    }
}

#[test]
fn nothing_is_told_to_the_balancer_where_recovery_is_off() {
    let mut options = options();
    options.recover.mode = Mode::Off;
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    let before = world.outputs.len();
    break_all(&mut world, Condition::Errors(100));
    world.run(10_000);
    assert_eq!(kind(common(&world)), FaultKind::DependencyFailure);
    let directives = world.outputs[before..]
        .iter()
        .filter(|(_, output)| matches!(output, Output::Directive(_)));
    assert_eq!(directives.count(), 0);
}
