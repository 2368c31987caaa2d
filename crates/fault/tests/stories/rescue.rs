//! When requests in flight are moved to other servers: once per ejection, and only from dead or hung servers.

use evenkeel_core::{Directive, Instant, ServerId};
use evenkeel_fault::Output;
use evenkeel_fault::contract::{Managed, OperatorOrder};
use evenkeel_fault::maintenance::OrderTerms;

use super::world::{Condition, World, options};

const VICTIM: ServerId = ServerId::new(0, 1);

/// When requests were sent elsewhere from the victim, and when it was first ejected.
fn seen(world: &World) -> (Vec<Instant>, Option<Instant>) {
    let directives = world
        .outputs
        .iter()
        .filter_map(|(at, output)| match output {
            Output::Directive(directive) if directive.server() == VICTIM => Some((*at, *directive)),
            _ => None,
        });
    let (mut rescued, mut ejected) = (Vec::new(), None);
    for (at, directive) in directives {
        match directive {
            Directive::Rescue { .. } => rescued.push(at),
            Directive::Eject { .. } => ejected = ejected.or(Some(at)),
            Directive::Repair { .. }
            | Directive::Trial { .. }
            | Directive::Drain { .. }
            | Directive::Restore { .. } => {}
        }
    }
    (rescued, ejected)
}

fn after(managed: Managed, condition: Condition) -> (Vec<Instant>, Option<Instant>) {
    let mut world = World::new(3, managed, options());
    world.run(5_000);
    world.outputs.clear();
    world.break_server(1, condition);
    world.until(60_000, |world| !world.in_service(1));
    world.run(3_000);
    seen(&world)
}

#[test]
fn requests_leave_a_server_that_is_dead_or_hung_once() {
    for (managed, condition) in [
        (Managed::Child, Condition::Dead),
        (Managed::Nothing, Condition::Hung),
        (Managed::Nothing, Condition::Deaf),
        (Managed::Nothing, Condition::Unreachable),
    ] {
        let (rescued, ejected) = after(managed, condition);
        assert_eq!(rescued.len(), 1, "{condition:?}: {rescued:?}");
        assert!(ejected.is_some_and(|at| at <= rescued[0]), "{condition:?}");
    }
}

#[test]
fn requests_stay_where_errors_or_slow_answers_come_from() {
    for condition in [Condition::Errors(100), Condition::Slow(10)] {
        let (rescued, ejected) = after(Managed::Nothing, condition);
        assert!(ejected.is_some(), "{condition:?}");
        assert_eq!(rescued, [], "{condition:?}");
    }
}

#[test]
fn a_person_lets_requests_finish() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.outputs.clear();
    world.order(OperatorOrder::Eject(VICTIM, OrderTerms::default()));
    world.run(3_000);
    let (rescued, ejected) = seen(&world);
    assert!(ejected.is_some());
    assert_eq!(rescued, []);
}

#[test]
fn of_three_of_which_two_hang_the_third_gets_all() {
    for condition in [Condition::Blocked, Condition::Unreachable] {
        let mut world = World::new(3, Managed::Child, options());
        world.run(5_000);
        (0..2).for_each(|index| world.break_server(index, condition));
        world.run(8_000);
        let before = world.totals;
        // The first look for well servers comes later.
        world.run(5_000);
        assert_eq!(world.totals.failed, before.failed, "{condition:?}");
        let retried = world.totals.saved_by_retry - before.saved_by_retry;
        assert_eq!(retried, 0, "{condition:?}");
    }
}
