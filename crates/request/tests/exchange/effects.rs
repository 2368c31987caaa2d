//! What the end of an attempt does to what requests share: its server, the server's breaker, closed routes; and what a request may not take
//! along.

use std::time::Duration;

use evenkeel_balance::Availability;
use evenkeel_core::{ClosedRoute, Instant, Outcome, ServiceId, ServiceOrders};
use evenkeel_request::exchange::{AttemptEnd, Event, FirstEnd, HedgeEnd, Reply, ResponseEnd, Step};
use evenkeel_request::{Cause, Fallback, FallbackTo};
use evenkeel_tolerate::{HedgeAfter, HedgeOptions};

use crate::plan;
use crate::scene::{MS, Scene, plain, services};

#[test]
fn an_end_tells_the_server_how_long_it_took_and_whether_it_broke() {
    let _one = crate::one_at_a_time();
    let services = services(vec![plain(1, 0)]);
    let scene = Scene::new(&services);
    let mut one = scene.arrive();
    let end = AttemptEnd::failed(Outcome::Answered(200), 30 * MS);
    scene.tell(&mut one, Event::Ended(end));
    assert_eq!(scene.server(0).latency(), None, "the response is passed on");
    let whole = ResponseEnd {
        outcome: Outcome::Answered(200),
        broke_off: None,
        is_tunnel: false,
    };
    scene.tell(&mut one, Event::Passed(whole));
    let latency = scene.server(0).latency().expect("a response has come");
    assert!(latency.abs_diff(30 * MS) < MS, "{latency:?}");

    let mut other = scene.arrive();
    scene.ends(&mut other, Outcome::Answered(200));
    let broken = ResponseEnd {
        outcome: Outcome::Truncated,
        broke_off: Some(Outcome::Truncated),
        is_tunnel: false,
    };
    scene.tell(&mut other, Event::Passed(broken));
    let latency = scene.server(0).latency().expect("a response has come");
    assert!(latency > 60 * MS, "a failure counts as slow: {latency:?}");
}

#[test]
fn a_breaker_opens_by_failures_and_lets_trials_through() {
    let _one = crate::one_at_a_time();
    let mut options = plain(1, 0);
    options.watch = plan::options(0, "breaking").watch;
    let services = services(vec![options]);
    let mut scene = Scene::new(&services);
    for _ in 0..3 {
        let mut one = scene.arrive();
        assert_eq!(one.step, Step::Attempt(0));
        scene.ends(&mut one, Outcome::Answered(500));
    }
    assert_eq!(scene.server(0).standing(scene.now), Availability::Broken);
    let refused = scene.arrive();
    assert_eq!(refused.step, Step::Reply(Reply::Cause(Cause::NoServer)));
    scene.now += 1_000 * MS;
    let trials = [scene.arrive(), scene.arrive()];
    assert!(trials.iter().all(|one| one.step == Step::Attempt(0)));
    let third = scene.arrive();
    assert!(!matches!(third.step, Step::Attempt(_)), "{:?}", third.step);
    for mut one in trials {
        scene.answer(&mut one);
    }
    assert!(scene.server(0).standing(scene.now).is_usable());
    let set = services[0].servers();
    assert_eq!(set.pool().members()[0].bound(), None, "it is closed");
}

fn close(scene: &Scene<'_>, service: u32) {
    let orders = ServiceOrders {
        closed: vec![ClosedRoute::All],
        until: Instant::NEVER,
        ..ServiceOrders::none(ServiceId(service))
    };
    scene.services[service as usize].set_orders(&orders, scene.now);
}

fn is_refused(step: Step) -> bool {
    matches!(step, Step::Reply(Reply::Cause(Cause::RouteBroken { .. })))
}

#[test]
fn a_trial_that_is_answered_opens_its_route_again() {
    let _one = crate::one_at_a_time();
    let services = services(vec![plain(2, 0)]);
    let scene = Scene::new(&services);
    close(&scene, 0);
    let mut trial = scene.arrive();
    assert!(matches!(trial.step, Step::Attempt(_)), "{:?}", trial.step);
    assert!(is_refused(scene.arrive().step));
    scene.answer(&mut trial);
    let next = scene.arrive();
    assert!(matches!(next.step, Step::Attempt(_)), "{:?}", next.step);
    assert!(is_refused(scene.arrive().step), "one at a time");
}

/// The route is closed at both. A trial at the first one is none at the second.
#[test]
fn a_trial_is_not_taken_along_to_the_fallback_service() {
    let _one = crate::one_at_a_time();
    let mut falls = plain(1, 0);
    falls.policies.fallback = Some(Fallback {
        on: Vec::new(),
        stale: None,
        to: FallbackTo::Service(ServiceId(1)),
    });
    let services = services(vec![falls, plain(1, 0)]);
    let scene = Scene::new(&services);
    scene.eject(0, 0);
    close(&scene, 0);
    close(&scene, 1);
    let trial = scene.arrive_with(1, &[]);
    assert!(matches!(trial.step, Step::Attempt(_)), "{:?}", trial.step);
    assert!(is_refused(scene.arrive().step));
}

/// A hedged attempt begins when it is due, not after the deadline, and not when a quarantine has begun; and as many as may.
#[test]
fn hedged_attempts_begin_while_they_may() {
    let _one = crate::one_at_a_time();
    for (late, is_quarantined, hedges) in [
        (Duration::ZERO, false, true),
        (30 * MS, false, false),
        (Duration::ZERO, true, false),
    ] {
        let mut options = plain(3, 0);
        options.policies.hedge = Some(hedge_after(HedgeAfter::Delay(10 * MS)));
        let services = services(vec![options]);
        let mut scene = Scene::new(&services);
        let mut one = scene.arrive_with(0, &[(plan::DEADLINE, "30")]);
        one.facts.is_sent = true;
        scene.tell(&mut one, Event::Connected);
        let due = scene.now + 10 * MS;
        assert_eq!(one.step, Step::GoOn(Some(due)));
        if is_quarantined {
            scene.quarantine(&one);
        }
        scene.now = due + late;
        scene.tell(&mut one, Event::HedgeDue);
        match one.step {
            Step::Hedge(_, next) => assert!(hedges && next.is_none(), "{:?}", one.step),
            other => assert!(!hedges && other == Step::GoOn(None), "{other:?}"),
        }
    }
}

/// A hedged attempt takes neither the slot that was freed for a request in the queue, nor more than the share of its class.
#[test]
fn a_hedge_takes_no_slot_that_is_not_its_own() {
    let _one = crate::one_at_a_time();
    for (is_awaited, class, hedges) in [
        (false, "critical", true),
        (true, "critical", false),
        (false, "sheddable", false),
    ] {
        let mut options = plain(2, 1);
        options.admission.shares.sheddable = 0.5;
        options.policies.hedge = Some(hedge_after(HedgeAfter::Delay(10 * MS)));
        let services = services(vec![options]);
        let mut scene = Scene::new(&services);
        let mut one = scene.arrive_with(0, &[(plan::CLASS, class)]);
        one.facts.is_sent = true;
        scene.tell(&mut one, Event::Connected);
        // Not dropped before the end.
        let mut callers = Vec::new();
        if is_awaited {
            let mut other = scene.arrive();
            let waiting = scene.arrive();
            assert!(matches!(waiting.step, Step::Wait(_)), "{:?}", waiting.step);
            scene.answer(&mut other);
            callers.push(waiting);
        }
        scene.now += 10 * MS;
        scene.tell(&mut one, Event::HedgeDue);
        let is_made = matches!(one.step, Step::Hedge(..));
        assert_eq!(is_made, hedges, "{is_awaited}, {class}: {:?}", one.step);
    }
}

/// The last one to end without a response decides: its request goes on as if it had been alone.
#[test]
fn the_attempt_of_a_race_that_fails_last_decides() {
    let _one = crate::one_at_a_time();
    for (last, step) in [
        (Outcome::Answered(500), Step::PassOn),
        (
            Outcome::BadResponse,
            Step::Reply(Reply::Cause(Cause::BadResponse)),
        ),
    ] {
        let mut options = plain(2, 0);
        options.policies.retry.limit = 0;
        options.policies.hedge = Some(hedge_after(HedgeAfter::Delay(10 * MS)));
        let services = services(vec![options]);
        let mut scene = Scene::new(&services);
        let mut one = scene.arrive();
        one.facts.is_sent = true;
        scene.tell(&mut one, Event::Connected);
        scene.now += 10 * MS;
        scene.tell(&mut one, Event::HedgeDue);
        let Step::Hedge(server, _) = one.step else {
            panic!("{:?}", one.step);
        };
        scene.tell(&mut one, Event::FirstEnded(FirstEnd::Response(503)));
        assert_eq!(one.step, Step::GoOn(None));
        let outcome = last;
        scene.tell(&mut one, Event::HedgeEnded(HedgeEnd { server, outcome }));
        assert_eq!(one.step, Step::Switch(server));
        scene.ends(&mut one, last);
        assert_eq!(one.step, step);
    }
}

/// It would have taken longer: without it the quantile would be that of the attempts that were quick enough.
#[test]
fn an_attempt_that_timed_out_counts_for_the_delay_of_hedges() {
    let _one = crate::one_at_a_time();
    let mut options = plain(2, 0);
    options.policies.retry.limit = 0;
    options.policies.hedge = Some(HedgeOptions {
        minimum_attempts: 1,
        ..hedge_after(HedgeAfter::Quantile(0.95))
    });
    let services = services(vec![options]);
    let mut scene = Scene::new(&services);
    let mut late = scene.arrive();
    scene.tell(&mut late, Event::Connected);
    assert_eq!(late.step, Step::GoOn(None), "no latency is known");
    scene.now += 500 * MS;
    // What the end of a race says of its time is only the last part of it.
    scene.ends(&mut late, Outcome::AttemptTimeout);
    scene.now += 500 * MS;
    let mut next = scene.arrive();
    scene.tell(&mut next, Event::Connected);
    let Step::GoOn(Some(due)) = next.step else {
        panic!("{:?}", next.step);
    };
    assert!(due >= scene.now + 490 * MS, "{:?}", due.since(scene.now));
}

fn hedge_after(after: HedgeAfter) -> HedgeOptions {
    HedgeOptions {
        after,
        limit: 1,
        ..HedgeOptions::default()
    }
}

#[test]
fn nothing_is_tried_again_for_a_client_that_has_gone() {
    let _one = crate::one_at_a_time();
    let services = services(vec![plain(2, 0)]);
    let scene = Scene::new(&services);
    let mut one = scene.arrive();
    scene.tell(&mut one, Event::ClientGone);
    assert_eq!(one.step, Step::Settle);
    scene.ends(&mut one, Outcome::ConnectRefused);
    assert_eq!(one.step, Step::Abort);
}

/// A client that belongs to a server goes elsewhere when that one has failed.
#[test]
fn a_client_is_not_sent_back_to_its_own_server_that_failed() {
    let _one = crate::one_at_a_time();
    let mut options = plan::options(0, "sticky");
    options.servers.truncate(3);
    let services = services(vec![options]);
    let scene = Scene::new(&services);
    let set = services[0].servers();
    let sticky = set.sticky().expect("it is sticky");
    let (_, value) = sticky.field(1).expect("it tells clients");
    let mut one = scene.arrive_with(0, &[(plan::STICKY, value)]);
    assert_eq!(one.step, Step::Attempt(1));
    scene.ends(&mut one, Outcome::ConnectRefused);
    assert!(matches!(one.step, Step::Attempt(0 | 2)), "{:?}", one.step);
}
