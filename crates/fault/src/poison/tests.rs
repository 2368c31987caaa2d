//! Tables and short scenarios: which request is convicted, which is not, and for how long.

use evenkeel_core::Outcome;
use std::hash::{BuildHasherDefault, DefaultHasher};

use super::*;
use crate::signal::Routes;

const fn at(millis: u64) -> Instant {
    Instant::from_millis(1_000_000 + millis)
}

type Keys = BuildHasherDefault<DefaultHasher>;

fn head(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n")
}

fn shape(target: &str) -> ExactShape {
    ExactShape::of_head(&Keys::default(), head(target).as_bytes())
}

/// A request had been in flight for 2 ms on `server` when its connection broke.
fn broke(poison: &mut Poison, millis: u64, server: u32, target: &str) {
    broke_after(poison, millis, server, target, 2);
}

fn broke_after(poison: &mut Poison, millis: u64, server: u32, target: &str, age: u64) {
    poison.broke(BrokenAttempt {
        at: at(millis),
        server,
        shape: shape(target),
        age: Duration::from_millis(age),
        text: ExactText::of_head(head(target).as_bytes()),
        route: RequestShape::of(b"GET", target.as_bytes()),
    });
}

/// So many requests for each of these have succeeded.
fn traffic(poison: &mut Poison, targets: &[(&str, u32)]) {
    let mut routes = Routes::new(Duration::from_secs(10));
    for (target, number) in targets {
        for _ in 0..*number {
            let shape = RequestShape::of(b"GET", target.as_bytes());
            routes.take(at(0), 0, shape, Outcome::Answered(200));
        }
    }
    poison.note_routes(&routes.tallies(at(1)));
}

fn convicted(poison: &mut Poison, millis: u64) -> Option<String> {
    let conviction = poison.convict(at(millis))?;
    let query = match conviction.level {
        SuspectLevel::Target => " with its query",
        SuspectLevel::Path => "",
    };
    Some(conviction.text.path + query)
}

/// One step of a story.
enum Step {
    /// The requests in flight on a server whose process exits at this time.
    Dies(u64, u32, &'static [&'static str]),
    /// The same, and they were watched.
    DiesWatched(u64, u32, &'static [&'static str]),
    /// A watched request is answered.
    Survives(u64, u32, &'static str),
    /// Other requests succeed.
    Others,
    /// A watched request begins and is not answered.
    Begins(u64, u32, &'static str),
}
use Step::{Begins, Dies, DiesWatched, Others, Survives};

/// A scenario, and the request that is convicted at its end; before that, none is.
const TABLE: &[(&str, &[Step], Option<&str>)] = &[
    ("one victim only", &[Dies(0, 0, &["/crash"])], None),
    (
        "two victims of one request that was tried again",
        &[Dies(0, 0, &["/crash"]), Dies(5, 1, &["/crash"])],
        Some("GET /crash"),
    ),
    (
        "two victims far apart on one server",
        &[Dies(0, 0, &["/crash"]), Dies(500_000, 0, &["/crash"])],
        Some("GET /crash"),
    ),
    (
        "a crash loop without requests",
        &[Dies(0, 0, &[]), Dies(1_000, 0, &[]), Dies(3_000, 0, &[])],
        None,
    ),
    (
        "several at the first end, one at the second",
        &[
            Dies(0, 0, &["/crash", "/carts/7", "/slow"]),
            Dies(500, 1, &["/crash", "/orders/9"]),
        ],
        Some("GET /crash"),
    ),
    (
        "a popular path that does well, at every end",
        &[
            Dies(0, 0, &["/"]),
            DiesWatched(500, 1, &["/"]),
            DiesWatched(900, 2, &["/"]),
            DiesWatched(1_500, 0, &["/"]),
        ],
        None,
    ),
    (
        "a rare path that does well, at ends that come together",
        &[Dies(0, 0, &["/rare"]), Dies(3, 1, &["/rare"])],
        None,
    ),
    (
        "the same, and it kills again once it is watched, but nothing else succeeds",
        &[
            Dies(0, 0, &["/rare"]),
            Dies(3, 1, &["/rare"]),
            DiesWatched(900, 2, &["/rare"]),
        ],
        None,
    ),
    (
        "the same, and other requests succeed",
        &[
            Dies(0, 0, &["/rare"]),
            Dies(3, 1, &["/rare"]),
            Others,
            DiesWatched(900, 2, &["/rare"]),
        ],
        Some("GET /rare"),
    ),
    (
        "what a server survived between",
        &[
            Dies(0, 0, &["/slow"]),
            Survives(100, 1, "/slow"),
            Dies(500, 1, &["/slow"]),
        ],
        None,
    ),
    (
        "what a living server has had under way for long",
        &[
            Dies(0, 0, &["/events"]),
            Begins(10, 2, "/events"),
            DiesWatched(5_000, 1, &["/events"]),
        ],
        None,
    ),
    (
        "what most ends came without",
        &[
            Dies(0, 0, &["/slow"]),
            Dies(100, 1, &[]),
            Dies(200, 2, &[]),
            Dies(300, 0, &["/slow"]),
        ],
        None,
    ),
    (
        "what follows when every request crashes servers",
        &[
            Dies(0, 0, &["/a"]),
            Dies(100, 1, &["/b"]),
            Dies(200, 2, &["/c"]),
            Dies(1_000, 0, &["/crash"]),
            Dies(1_100, 1, &["/crash"]),
            Dies(1_200, 2, &["/crash"]),
            Dies(1_300, 2, &["/crash"]),
        ],
        None,
    ),
    (
        "one query of a path, and no other was asked",
        &[Dies(0, 0, &["/find?q=x"]), Dies(5, 1, &["/find?q=x"])],
        Some("GET /find with its query"),
    ),
    (
        "a path with whatever query",
        &[Dies(0, 0, &["/find?q=1"]), Dies(5, 1, &["/find?q=2"])],
        Some("GET /find"),
    ),
    (
        "one number of many",
        &[
            Dies(0, 0, &["/orders/17", "/orders/18"]),
            Others,
            DiesWatched(700, 1, &["/orders/17", "/orders/19"]),
        ],
        Some("GET /orders/17"),
    ),
];

#[test]
fn the_request_that_crashes_servers_is_found() {
    for (name, steps, expected) in TABLE {
        let mut poison = Poison::default();
        traffic(&mut poison, &[("/", 900), ("/rare", 5), ("/orders/1", 50)]);
        let mut last = 0;
        for step in *steps {
            assert_eq!(convicted(&mut poison, last), None, "{name}");
            match step {
                Dies(time, server, targets) | DiesWatched(time, server, targets) => {
                    for target in *targets {
                        if matches!(step, DiesWatched(..)) {
                            poison.began(at(time - 1), *server, shape(target));
                        }
                        broke(&mut poison, *time, *server, target);
                    }
                    poison.ended(at(time + 1), *server, true);
                    last = time + 1;
                }
                Survives(time, server, target) => {
                    poison.began(at(time - 1), *server, shape(target));
                    poison.survived(at(*time), *server, shape(target));
                }
                Others => (0..10).for_each(|_| poison.succeeded()),
                Begins(time, server, target) => poison.began(at(*time), *server, shape(target)),
            }
        }
        assert_eq!(convicted(&mut poison, last).as_deref(), *expected, "{name}");
        assert_eq!(convicted(&mut poison, last), None, "{name}: one at a time");
    }
}

#[test]
fn what_breaks_counts_before_and_after_the_end_is_told_and_not_without_one() {
    let mut poison = Poison::default();
    poison.ended(at(0), 0, true);
    broke(&mut poison, 3, 0, "/crash");
    broke(&mut poison, 900, 1, "/crash");
    assert_eq!(convicted(&mut poison, 900), None, "server 1 lives");
    poison.ended(at(5_000), 1, true);
    assert_eq!(convicted(&mut poison, 5_000), None, "too late");
    broke(&mut poison, 5_001, 1, "/crash");
    assert_eq!(convicted(&mut poison, 5_001).as_deref(), Some("GET /crash"));
}

#[test]
fn processes_that_are_killed_together_say_nothing_of_requests() {
    let mut poison = Poison::default();
    for server in 0..3 {
        broke(&mut poison, 10, server, "/never-before");
        poison.ended(at(11), server, false);
    }
    assert_eq!(convicted(&mut poison, 12), None);
}

#[test]
fn a_quarantine_is_given_up_when_another_process_ends_at_once_without_it() {
    for (alone, expected) in [(false, 0), (true, 1)] {
        let mut poison = Poison::default();
        for (time, server) in [(0, 0), (5, 1)] {
            broke(&mut poison, time, server, "/rare");
            poison.ended(at(time), server, true);
            (0..10).filter(|_| alone).for_each(|_| poison.succeeded());
        }
        assert!(poison.convict(at(5)).is_some());
        assert!(!poison.take_doubt());
        poison.ended(at(9), 2, true);
        assert_eq!(poison.quarantined().count(), expected, "alone: {alone}");
        assert_eq!(poison.take_doubt(), !alone);
        assert_eq!(poison.convict(at(9)), None);
    }
}

#[test]
fn a_server_whose_process_is_not_known_has_ended_when_nobody_listens() {
    let mut poison = Poison::default();
    for (time, server) in [(0, 0), (100, 1)] {
        poison.refused(at(time), server);
        assert_eq!(poison.ended, u64::from(server), "nothing broke there");
        broke(&mut poison, time, server, "/crash");
        poison.refused(at(time + 2), server);
        poison.refused(at(time + 4), server);
    }
    assert_eq!(poison.ended, 2);
    assert_eq!(convicted(&mut poison, 200).as_deref(), Some("GET /crash"));
}

#[test]
fn a_wrong_one_is_given_up_for_another_that_explains_more() {
    let mut poison = Poison::default();
    for (time, server) in [(0, 0), (100, 1)] {
        broke_after(&mut poison, time, server, "/beside", 1);
        broke_after(&mut poison, time, server, "/crash", 5);
        poison.ended(at(time), server, true);
    }
    assert_eq!(convicted(&mut poison, 100).as_deref(), Some("GET /beside"));
    broke_after(&mut poison, 1_500, 2, "/crash", 5);
    poison.ended(at(1_500), 2, true);
    let conviction = poison.convict(at(1_500)).expect("the other one");
    assert_eq!(conviction.text.path, "GET /crash");
    assert_eq!(conviction.servers, [0, 1, 2]);
    assert_eq!(conviction.released[0].path, "GET /beside");
    assert_eq!(poison.quarantined().count(), 1);
}

#[test]
fn a_quarantine_ends_and_begins_again_with_the_next_victim_for_twice_as_long() {
    let mut poison = Poison::default();
    for (time, server) in [(0, 0), (5, 1)] {
        broke(&mut poison, time, server, "/crash");
        poison.ended(at(time), server, true);
    }
    let first = poison.convict(at(5)).expect("convicted");
    let term = Duration::from_secs(600);
    assert_eq!(first.until, at(5) + term);
    assert!(!first.again);
    // Requests in flight since before it are reported, and change nothing.
    broke(&mut poison, 20, 2, "/crash");
    poison.ended(at(20), 2, true);
    assert_eq!(poison.take_further_victims(), [(2, at(20))]);
    assert_eq!(poison.convict(at(20)), None);
    assert_eq!(poison.wake(), Some(first.until));
    poison.tick(first.until);
    assert_eq!(poison.quarantined().count(), 0);
    assert_eq!(poison.watched().count(), 1);
    broke(&mut poison, 700_000, 0, "/crash");
    poison.ended(at(700_000), 0, true);
    let again = poison.convict(at(700_000)).expect("at once");
    assert!(again.again);
    assert_eq!(again.until, at(700_000) + 2 * term);
    poison.tick(again.until);
    for _ in 0..3 {
        poison.survived(again.until, 0, shape("/crash"));
    }
    assert_eq!(poison.watched().count(), 0, "cleared");
}

#[test]
fn what_is_known_is_bounded_and_what_kills_stays() {
    let mut poison = Poison::default();
    for (time, server) in [(0, 0), (5, 1)] {
        broke(&mut poison, time, server, "/crash");
        poison.ended(at(time), server, true);
    }
    assert!(poison.convict(at(5)).is_some());
    for n in 0..2_000 {
        broke_after(&mut poison, 2_000, 0, &format!("/x/{n}?{n}"), 5_000);
    }
    poison.ended(at(2_000), 0, true);
    assert_eq!(poison.suspects.len(), SUSPECTS);
    assert!(poison.broken.len() <= BROKEN && poison.ends.len() <= ENDS);
    assert_eq!(poison.quarantined().count(), 1);
    poison.tick(at(5) + WINDOW * 3);
    assert!(poison.ends.is_empty() && poison.routes.is_empty());
    assert_eq!(poison.lift(at(2)), 0, "its time is over");
}
