//! Who gets the room that a server has, and when those that are held are told that there is nothing to wait for.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use evenkeel_core::{Directive, EjectionReason, Instant, Outcome, ServerId};
use evenkeel_request::Cause;
use evenkeel_request::exchange::{Event, Reply, Step};
use evenkeel_request::service::Service;
use evenkeel_tolerate::QueueOptions;

use crate::plan;
use crate::scene::{Caller, MS, Scene, plain, services};

/// So long a request waits at most that looks every 20 ms.
const SOON: Duration = Duration::from_millis(25);
/// So long a called request owns the slot that was freed for it.
const LOOKS_WITHIN: Duration = Duration::from_millis(50);

/// One server has room, which a request that has been on it may not take. It is called first all the same: since it came last and the
/// newest go first, or since it matters more. Those behind it wait for no other server.
#[test]
fn a_request_that_may_not_take_a_slot_keeps_no_other_from_it() {
    let _one = crate::one_at_a_time();
    let newest_first = QueueOptions {
        newest_first_after: Some(Duration::ZERO),
        ..QueueOptions::default()
    };
    for (queue, class) in [
        (newest_first, "critical"),
        (QueueOptions::default(), "critical"),
        (QueueOptions::default(), "critical-plus"),
    ] {
        let mut options = plain(2, 1);
        options.queue = queue;
        let services = services(vec![options]);
        let mut scene = Scene::new(&services);
        let mut picky = scene.arrive_with(0, &[(plan::CLASS, class)]);
        let tried = picky.step;
        scene.ends(&mut picky, Outcome::Answered(503));
        let Step::Wait(again) = picky.step else {
            panic!("{:?}", picky.step);
        };
        let mut busy = [scene.arrive(), scene.arrive()];
        let mut other = scene.arrive();
        assert!(matches!(other.step, Step::Wait(_)), "{:?}", other.step);
        scene.now = again;
        scene.tell(&mut picky, Event::Woken);
        assert!(matches!(picky.step, Step::Wait(_)), "{:?}", picky.step);
        let ends = busy.iter_mut().find(|caller| caller.step == tried);
        scene.answer(ends.expect("one is on the server that was tried"));
        let took = scene.run(&mut [&mut other, &mut picky], 200 * MS);
        assert!(
            took.is_some_and(|took| took <= SOON),
            "{queue:?}, {class}: {took:?}"
        );
        assert_eq!(other.step, tried);
        // The other server is for the request that may go there.
        let ends = busy.iter_mut().find(|caller| caller.step != Step::Done);
        scene.answer(ends.expect("one is on the other server"));
        let took = scene.run(&mut [&mut picky], 200 * MS);
        assert!(
            took.is_some_and(|took| took <= SOON),
            "{queue:?}, {class}: {took:?}"
        );
    }
}

/// It was called and has not looked yet. Neither a request that comes now nor one that looks by itself takes its room, however much it
/// matters; what is beyond that room is taken at once.
#[test]
fn a_called_request_owns_its_room() {
    let _one = crate::one_at_a_time();
    let services = services(vec![plain(1, 2)]);
    let mut scene = Scene::new(&services);
    let mut busy = [scene.arrive(), scene.arrive()];
    let (mut called, mut next) = (scene.arrive(), scene.arrive());
    scene.answer(&mut busy[0]);
    let mut newcomer = scene.arrive_with(0, &[(plan::CLASS, "critical-plus")]);
    assert!(
        matches!(newcomer.step, Step::Wait(_)),
        "{:?}",
        newcomer.step
    );
    scene.now += SOON;
    for other in [&mut next, &mut newcomer] {
        scene.tell(other, Event::Woken);
        assert!(matches!(other.step, Step::Wait(_)), "{:?}", other.step);
    }
    scene.tell(&mut called, Event::Woken);
    assert_eq!(called.step, Step::Attempt(0));
    scene.answer(&mut busy[1]);
    scene.tell(&mut newcomer, Event::Woken);
    assert_eq!(newcomer.step, Step::Attempt(0));
    assert!(matches!(next.step, Step::Wait(_)), "{:?}", next.step);
}

/// The worker of the requests before it hangs, and does not let them look at what they were called for.
#[test]
fn a_stuck_worker_keeps_a_slot_from_others_for_a_moment_only() {
    let _one = crate::one_at_a_time();
    let services = services(vec![plain(1, 1)]);
    let mut scene = Scene::new(&services);
    let mut busy = scene.arrive();
    let mut stuck = [scene.arrive(), scene.arrive(), scene.arrive()];
    let mut other = scene.arrive();
    scene.answer(&mut busy);
    let took = scene.run(&mut [&mut other], 500 * MS);
    let within = LOOKS_WITHIN + SOON;
    assert!(took.is_some_and(|took| took <= within), "{took:?}");
    // The next slot costs no such time: that worker is known to be stuck.
    let mut last = scene.arrive();
    assert!(matches!(last.step, Step::Wait(_)), "{:?}", last.step);
    scene.answer(&mut other);
    let took = scene.run(&mut [&mut last], 500 * MS);
    assert!(took.is_some_and(|took| took <= SOON), "{took:?}");
    // It goes on: its requests have kept their places, and go when there is room.
    for one in &mut stuck {
        scene.tell(one, Event::Woken);
        assert!(matches!(one.step, Step::Wait(_)), "{:?}", one.step);
    }
    scene.answer(&mut last);
    let mut newcomer = scene.arrive();
    assert!(
        matches!(newcomer.step, Step::Wait(_)),
        "{:?}",
        newcomer.step
    );
    for mut one in stuck {
        let took = scene.run(&mut [&mut one], 500 * MS);
        assert!(took.is_some_and(|took| took <= SOON), "{took:?}");
        scene.answer(&mut one);
    }
    let took = scene.run(&mut [&mut newcomer], 500 * MS);
    assert!(took.is_some_and(|took| took <= SOON), "{took:?}");
}

/// The only request that waits is that of a worker that hangs: one that comes then is served.
#[test]
fn a_request_that_comes_while_a_worker_is_stuck_is_served() {
    let _one = crate::one_at_a_time();
    let services = services(vec![plain(1, 1)]);
    let mut scene = Scene::new(&services);
    let mut busy = scene.arrive();
    let stuck = scene.arrive();
    scene.answer(&mut busy);
    scene.now += LOOKS_WITHIN;
    let mut newcomer = scene.arrive();
    assert_eq!(newcomer.step, Step::Attempt(0));
    scene.answer(&mut newcomer);
    drop(stuck);
    assert_eq!(services[0].waiting(), 0);
    assert_eq!(scene.arrive().step, Step::Attempt(0));
}

#[test]
fn what_matters_more_is_called_first() {
    let _one = crate::one_at_a_time();
    let services = services(vec![plain(1, 1)]);
    let mut scene = Scene::new(&services);
    let mut first = scene.arrive();
    let mut less = scene.arrive();
    let mut more = scene.arrive_with(0, &[(plan::CLASS, "critical-plus")]);
    scene.answer(&mut first);
    let took = scene.run(&mut [&mut more, &mut less], 50 * MS);
    assert_eq!(took, Some(Duration::ZERO));
    assert!(matches!(less.step, Step::Wait(_)), "{:?}", less.step);
}

/// Its turn came in time, its timer late.
#[test]
fn a_turn_that_is_heard_of_after_the_deadline_is_the_next_ones() {
    let _one = crate::one_at_a_time();
    let services = services(vec![plain(1, 1)]);
    let mut scene = Scene::new(&services);
    let mut first = scene.arrive();
    let mut late = scene.arrive_with(0, &[(plan::DEADLINE, "300")]);
    let mut next = scene.arrive();
    scene.now += 200 * MS;
    scene.answer(&mut first);
    scene.now += 100 * MS;
    scene.tell(&mut late, Event::Woken);
    assert_eq!(late.step, Step::Reply(Reply::Cause(Cause::QueueTimeout)));
    assert_eq!(scene.run(&mut [&mut next], 50 * MS), Some(Duration::ZERO));
}

#[test]
fn a_request_is_held_no_longer_than_a_server_is_being_repaired() {
    let _one = crate::one_at_a_time();
    let mut options = plan::options(0, "held");
    options.servers.truncate(1);
    let services = services(vec![options]);
    let mut scene = Scene::new(&services);
    let until = scene.now + 300 * MS;
    let server = ServerId::new(0, 0);
    scene.apply(&Directive::Repair { server, until });
    scene.eject(0, 0);
    let mut held = scene.arrive();
    assert_eq!(held.step, Step::Wait(until));
    scene.now = until;
    scene.tell(&mut held, Event::Woken);
    assert_eq!(held.step, Step::Reply(Reply::Cause(Cause::NoServer)));
}

#[test]
fn a_request_is_told_at_once_that_a_repair_was_given_up() {
    let _one = crate::one_at_a_time();
    let mut options = plan::options(0, "held");
    options.servers.truncate(1);
    let services = services(vec![options]);
    let mut scene = Scene::new(&services);
    let (server, until) = (ServerId::new(0, 0), scene.now + 5_000 * MS);
    scene.apply(&Directive::Repair { server, until });
    scene.eject(0, 0);
    let mut held = scene.arrive();
    assert!(!held.exchange.poll_wake(Waker::noop()));
    scene.now += 10 * MS;
    let until = scene.now;
    scene.apply(&Directive::Repair { server, until });
    assert!(held.exchange.poll_wake(Waker::noop()));
    scene.tell(&mut held, Event::Woken);
    assert_eq!(held.step, Step::Reply(Reply::Cause(Cause::NoServer)));
}

#[test]
fn a_server_that_comes_back_gets_the_request_that_was_held() {
    let _one = crate::one_at_a_time();
    for is_trial in [true, false] {
        let mut options = plan::options(0, "held");
        options.servers.truncate(1);
        let services = services(vec![options]);
        let scene = Scene::new(&services);
        let (server, until) = (ServerId::new(0, 0), scene.now + 5_000 * MS);
        scene.apply(&Directive::Repair { server, until });
        scene.eject(0, 0);
        let mut held = scene.arrive();
        assert!(!held.exchange.poll_wake(Waker::noop()));
        let (share, slowly) = (1.0, true);
        scene.apply(&if is_trial {
            Directive::Trial {
                server,
                share,
                until,
            }
        } else {
            Directive::Restore { server, slowly }
        });
        assert!(held.exchange.poll_wake(Waker::noop()), "trial: {is_trial}");
        scene.tell(&mut held, Event::Woken);
        assert_eq!(held.step, Step::Attempt(0));
    }
}

/// The server comes back after each look for one, and is down again before the next one. A request that finds it back without having
/// waited looks once more, and not in circles.
#[test]
fn a_request_is_sent_back_from_hold_once_without_having_waited() {
    let _one = crate::one_at_a_time();
    let services = flapping();
    let scene = Scene::new(&services);
    let picks = down_before(&scene, |_| true);
    let one = scene.arrive();
    assert_eq!(one.step, Step::Reply(Reply::Cause(Cause::NoServer)));
    assert_eq!(picks.get(), 2);
}

/// Once for each attempt: it is down before every other look.
#[test]
fn a_request_is_sent_back_from_hold_once_for_each_attempt() {
    let _one = crate::one_at_a_time();
    let services = flapping();
    let mut scene = Scene::new(&services);
    let picks = down_before(&scene, |pick| pick % 2 == 1);
    let mut one = scene.arrive();
    assert_eq!((one.step, picks.get()), (Step::Attempt(0), 2));
    scene.ends(&mut one, Outcome::Answered(503));
    let Step::Wait(again) = one.step else {
        panic!("{:?}", one.step);
    };
    scene.now = again;
    scene.tell(&mut one, Event::Woken);
    assert_eq!((one.step, picks.get()), (Step::Attempt(0), 4));
}

/// A service of one server that holds requests.
fn flapping() -> Vec<Service> {
    let mut options = plan::options(0, "held");
    options.servers.truncate(1);
    services(vec![options])
}

/// The server is down during the looks for one that are `down`, by their number from 1, and in service after each. The number of looks.
fn down_before<'a>(scene: &Scene<'a>, down: impl Fn(u32) -> bool + 'a) -> Rc<Cell<u32>> {
    let picks = Rc::new(Cell::new(0));
    let (counted, now, service) = (Rc::clone(&picks), scene.now, &scene.services[0]);
    let server = ServerId::new(0, 0);
    scene.worker.set_around_picks(Box::new(move |is_after| {
        if is_after {
            let slowly = false;
            return service.apply(&Directive::Restore { server, slowly }, now);
        }
        counted.set(counted.get() + 1);
        assert!(counted.get() < 10, "it looks in circles");
        if down(counted.get()) {
            let eject = Directive::Eject {
                server,
                verdict: EjectionReason::Known,
                until: Instant::NEVER,
            };
            service.apply(&eject, now);
        }
    }));
    picks
}

/// It was hung and may be slow, not dead; and where no retry is wanted nobody waits for one.
#[test]
fn only_whoever_lost_its_server_or_was_granted_a_retry_is_held() {
    let _one = crate::one_at_a_time();
    let lost = Outcome::Reset { sent: true };
    for (outcome, limit, cause) in [
        (Outcome::AttemptTimeout, 0, Some(Cause::AttemptTimeout)),
        (Outcome::BadResponse, 0, Some(Cause::BadResponse)),
        (lost, 1, None),
    ] {
        let mut options = plan::options(0, "held");
        options.servers.truncate(1);
        options.policies.retry.limit = limit;
        let services = services(vec![options]);
        let scene = Scene::new(&services);
        let mut one = scene.arrive();
        let (server, until) = (ServerId::new(0, 0), scene.now + 5_000 * MS);
        scene.apply(&Directive::Repair { server, until });
        scene.eject(0, 0);
        scene.ends(&mut one, outcome);
        match cause {
            Some(cause) => assert_eq!(one.step, Step::Reply(Reply::Cause(cause))),
            None => assert!(matches!(one.step, Step::Wait(_)), "{:?}", one.step),
        }
    }
}

#[test]
fn a_quarantine_that_began_meanwhile_holds_when_the_turn_comes() {
    let _one = crate::one_at_a_time();
    let services = services(vec![plain(1, 1)]);
    let mut scene = Scene::new(&services);
    let mut first = scene.arrive();
    let mut refused = scene.arrive();
    let mut next = scene.arrive_to("/cart");
    scene.quarantine(&refused);
    scene.answer(&mut first);
    let took = scene.run(&mut [&mut next, &mut refused], 50 * MS);
    assert!(took.is_some_and(|took| took <= SOON), "{took:?}");
    let Step::Reply(Reply::Cause(Cause::Quarantined { .. })) = refused.step else {
        panic!("{:?}", refused.step);
    };
}

/// Two servers have died with the request. The third one gets it once a server has died without it.
#[test]
fn what_two_servers_did_not_survive_waits_for_one_that_dies_without_it() {
    let _one = crate::one_at_a_time();
    for dies in [false, true] {
        let mut options = plan::options(0, "held");
        options.servers.truncate(3);
        let services = services(vec![options]);
        let mut scene = Scene::new(&services);
        let mut suspect = scene.arrive();
        for _ in 0..2 {
            assert!(
                matches!(suspect.step, Step::Attempt(_)),
                "{:?}",
                suspect.step
            );
            scene.ends(&mut suspect, Outcome::Reset { sent: true });
        }
        let left = unseen(&suspect);
        for _ in 0..10 {
            scene.now += 50 * MS;
            scene.tell(&mut suspect, Event::Woken);
            assert!(matches!(suspect.step, Step::Wait(_)), "{:?}", suspect.step);
        }
        let server = ServerId::new(0, left);
        if dies {
            scene.eject(0, left);
            scene.tell(&mut suspect, Event::Woken);
        }
        scene.apply(&Directive::Restore {
            server,
            slowly: false,
        });
        let took = scene.run(&mut [&mut suspect], 2_000 * MS);
        assert_eq!(took.is_some(), dies, "{:?}", suspect.step);
    }
}

/// The first server on which it has made no attempt.
fn unseen(caller: &Caller<'_>) -> u32 {
    let records = || caller.exchange.attempts().records();
    let mut all = 0..3;
    let left = all.find(|index| records().all(|record| record.server != *index));
    left.expect("one is left")
}
