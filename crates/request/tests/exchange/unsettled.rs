//! A request that ends its servers is held back while it is not known whether it has ended two: exits become known later than connections
//! break.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, Random};
use evenkeel_request::exchange::{Event, Step};

use crate::scene::{Caller, MS, Scene, plain, services};

const RELOADS: u32 = 10;
const BROKE: Outcome = Outcome::Reset { sent: true };

/// Somebody reloads what ends its servers, again as soon as there is a response, while others ask for something else. How many servers
/// it has ended, and for how long a response took at most.
fn reload(seed: u64, tells_exits: bool) -> (u32, Duration) {
    let mut random = Random::seeded(seed);
    let mut options = plain(3, 0);
    options.tells_exits = tells_exits;
    let services = services(vec![options]);
    let mut scene = Scene::new(&services);
    let mut exits: Vec<(Instant, u32)> = Vec::new();
    let (mut victims, mut known, mut longest) = (0, 0, Duration::ZERO);
    for _ in 0..RELOADS {
        let (mut caller, began) = (scene.arrive_to("/crash"), scene.now);
        while !matches!(caller.step, Step::Reply(_)) {
            if let Step::Attempt(server) = caller.step {
                victims += 1;
                exits.push((scene.now + random.duration_up_to(240 * MS), server));
                scene.ends(&mut caller, BROKE);
            }
            scene.now += MS;
            let before = exits.len();
            exits.retain(|(at, server)| {
                let is_known = scene.now >= *at;
                if is_known {
                    scene.eject(0, *server);
                }
                !is_known
            });
            known += before - exits.len();
            if known >= 2 {
                scene.quarantine(&caller);
            }
            if victims < 3 {
                assert_is_sent(&scene);
            }
            if let Step::Wait(until) = caller.step
                && scene.now >= until
            {
                scene.tell(&mut caller, Event::Woken);
            }
        }
        longest = longest.max(scene.now.since(began));
    }
    (victims, longest)
}

/// Another request is sent to a server at once.
fn assert_is_sent(scene: &Scene<'_>) {
    let mut other = scene.arrive_to("/");
    assert!(matches!(other.step, Step::Attempt(_)), "{:?}", other.step);
    scene.answer(&mut other);
}

#[test]
fn of_ten_reloads_two_end_a_server_however_late_the_exits_become_known() {
    let _one = crate::one_at_a_time();
    for seed in 0..100 {
        let (victims, longest) = reload(seed, true);
        assert_eq!(victims, 2, "seed {seed}");
        assert!(longest <= 300 * MS, "seed {seed}: {longest:?}");
    }
    // Where exits do not become known, there is nothing to wait for.
    let (victims, _) = reload(1, false);
    assert!(victims > 2, "{victims}");
}

/// A service of three servers, two of which have broken off such a request.
fn broken_off(scene: &mut Scene<'_>) {
    let mut caller = scene.arrive_to("/crash");
    while !matches!(caller.step, Step::Reply(_)) {
        match caller.step {
            Step::Attempt(_) => scene.ends(&mut caller, BROKE),
            _ => {
                scene.now += MS;
                scene.tell(&mut caller, Event::Woken);
            }
        }
    }
}

#[test]
fn what_ends_no_process_is_held_back_for_a_moment_only() {
    let _one = crate::one_at_a_time();
    let mut options = plain(3, 0);
    options.tells_exits = true;
    let services = services(vec![options]);
    let mut scene = Scene::new(&services);
    // It is under way on the third server before the others break it off.
    let mut early: Caller<'_> = scene.arrive_to("/crash");
    broken_off(&mut scene);
    let mut held = scene.arrive_to("/crash");
    assert!(matches!(held.step, Step::Wait(_)), "{:?}", held.step);
    let took = scene.run(&mut [&mut held], 400 * MS);
    let took = took.expect("it is sent in the end");
    assert!(took >= 200 * MS && took <= 260 * MS, "{took:?}");
    scene.answer(&mut held);

    broken_off(&mut scene);
    let mut held = scene.arrive_to("/crash");
    assert!(matches!(held.step, Step::Wait(_)), "{:?}", held.step);
    // A server has answered it, and lives.
    scene.answer(&mut early);
    let took = scene.run(&mut [&mut held], 400 * MS);
    assert!(took.is_some_and(|took| took <= 10 * MS), "{took:?}");
}
