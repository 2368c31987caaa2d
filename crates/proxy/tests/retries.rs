//! Faults of servers as clients see them: hidden where that is safe, told where it is not.

mod common;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Rig, Seen, always, nowhere, server};
use evenkeel_core::metric::{DurationSnapshot, Sink, Source as _};
use evenkeel_core::{Directive, EjectionReason, Instant, ServerId};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
const ROUND_ROBIN: &str = "[service.shop.balance]\npolicy = \"round-robin\"\n";

/// A server that reads a request and closes without a word.
fn dies_on_requests() -> (SocketAddr, Seen) {
    server(|connection| {
        connection.request();
    })
}

fn count(seen: &Seen, what: &str) -> usize {
    seen.lock()
        .expect("no panic")
        .iter()
        .filter(|request| request.starts_with(what))
        .count()
}

#[test]
fn a_dead_server_costs_no_request_whatever_its_method() {
    let (alive, _) = always(OK);
    let rig = Rig::new(&[nowhere(), alive, nowhere()], ROUND_ROBIN);
    let mut client = rig.client();
    for n in 0..30 {
        if n % 2 == 0 {
            assert_eq!(client.get("/").status, 200);
        } else {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
            assert_eq!(client.response().status, 200);
        }
    }
    rig.wait_for(|rig| rig.totals().requests == 30);
    assert_eq!(rig.totals().failed, 0);
    assert!(rig.totals().saved_by_retry > 0);
}

#[test]
fn a_listed_status_is_tried_elsewhere_and_an_unlisted_one_passes() {
    let (bad, _) = always(UNAVAILABLE);
    let (good, _) = always(OK);
    let rig = Rig::new(&[bad, good], ROUND_ROBIN);
    let mut client = rig.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    let (broken, _) = always("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nbug");
    let rig = Rig::new(&[broken], ROUND_ROBIN);
    let response = rig.client().get("/");
    assert_eq!((response.status, response.body), (500, b"bug".to_vec()));
    rig.wait_for(|rig| rig.totals().failed == 1);
}

#[test]
fn the_last_answer_is_passed_on_when_every_attempt_was_bad() {
    let (bad, seen) = always(UNAVAILABLE);
    let rig = Rig::new(&[bad], "");
    let response = rig.client().get("/");
    assert_eq!((response.status, response.body), (503, b"busy".to_vec()));
    assert_eq!(count(&seen, "GET"), 3, "one attempt and two retries");
}

#[test]
fn a_reset_is_retried_for_get_and_never_for_post() {
    let (dying, seen) = dies_on_requests();
    let (good, good_seen) = always(OK);
    let rig = Rig::new(&[dying, good], ROUND_ROBIN);
    let mut client = rig.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").status, 200);
    }
    let (gets_failed, posts) = (count(&seen, "GET"), 20);
    assert!(gets_failed > 0);
    let mut refused = 0;
    for n in 0..posts {
        let mut client = rig.client();
        client.send(format!(
            "POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{n:02}"
        ));
        refused += usize::from(client.response().status == 502);
    }
    assert_eq!(
        refused,
        count(&seen, "POST"),
        "whoever got it first was the only one"
    );
    assert_eq!(count(&seen, "POST") + count(&good_seen, "POST"), posts);
}

#[test]
fn a_put_is_sent_again_with_its_whole_body() {
    let (dying, seen) = dies_on_requests();
    let (good, good_seen) = always(OK);
    let rig = Rig::new(&[dying, good], ROUND_ROBIN);
    let body = "b".repeat(40_000);
    for _ in 0..4 {
        let mut client = rig.client();
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n{body}"
        ));
        assert_eq!(client.response().status, 200);
    }
    assert!(count(&seen, "PUT") > 0);
    assert!(
        good_seen
            .lock()
            .unwrap()
            .iter()
            .all(|request| request.ends_with(&body))
    );
}

#[test]
fn a_body_beyond_the_buffer_is_not_sent_twice() {
    let (bad, seen) = always(UNAVAILABLE);
    let rig = Rig::new(&[bad], "");
    let body = "b".repeat(200_000);
    let mut client = rig.client();
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{body}"
    ));
    assert_eq!(client.response().status, 503);
    assert_eq!(count(&seen, "PUT"), 1);
}

#[test]
fn retries_after_timeouts_have_a_limit_of_their_own() {
    let hang = || server(|connection| while connection.request().is_some() {});
    let [(one, _), (two, _), (three, _)] = [hang(), hang(), hang()];
    let settings = format!(
        "{ROUND_ROBIN}[service.shop.timeout]\nattempt = \"50ms\"\n[service.shop.retry]\nlimit = 2\ntimeout_limit = 1\n"
    );
    let rig = Rig::new(&[one, two, three], &settings);
    assert_eq!(rig.client().get("/").status, 504);
    // A busy server may not have seen the attempt that was given up.
    let attempts = common::counter(&rig, "evenkeel_attempts_total", &["shop", "timeout"]);
    assert_eq!(attempts, 2);
    rig.wait_for(|rig| {
        common::counter(rig, "evenkeel_retries_denied_total", &["timeout-limit"]) == 1
    });
    assert_eq!(
        common::counter(&rig, "evenkeel_requests_by_attempts_total", &["shop", "2"]),
        1
    );
    assert_eq!(
        common::counter(&rig, "evenkeel_retries_total", &["shop", "timeout"]),
        1
    );
}

#[test]
fn a_server_that_never_answers_costs_one_attempt_timeout() {
    let (hung, _) = server(|connection| {
        assert!(connection.stream.read_to_end(&mut Vec::new()).is_ok());
    });
    let (good, _) = always(OK);
    let timeouts = format!("{ROUND_ROBIN}[service.shop.timeout]\nattempt = \"100ms\"\n");
    let rig = Rig::new(&[hung, good], &timeouts);
    let started = rig.clock.now();
    let mut client = rig.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").status, 200);
    }
    // Far below the 30 s of a default attempt.
    assert!(rig.clock.now().since(started) < Duration::from_secs(20));

    let (hung, _) = server(|connection| {
        assert!(connection.stream.read_to_end(&mut Vec::new()).is_ok());
    });
    let rig = Rig::new(
        &[hung],
        "[service.shop.timeout]\nattempt = \"50ms\"\ntotal = \"200ms\"\n",
    );
    let response = rig.client().get("/");
    assert_eq!(response.status, 504);
    assert!(
        response
            .header("proxy-status")
            .unwrap()
            .contains("http_response_timeout")
    );
}

#[test]
fn a_kept_connection_that_the_server_closed_is_not_used_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    // Answers once as if it would go on, and closes.
    let (address, seen) = server(move |connection| {
        counter.fetch_add(1, Ordering::SeqCst);
        connection.request();
        connection.answer(OK);
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    for n in 1..=20 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.response().status, 200, "request {n}");
        // The close must have reached this machine's other side before the next request: that is what is tested.
        rig.wait_for(|rig| rig.totals().requests == n);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(count(&seen, "POST"), 20);
    assert_eq!(connections.load(Ordering::SeqCst), 20);
}

#[test]
fn directives_move_traffic_and_expire() {
    let (one, seen_one) = always(OK);
    let (two, seen_two) = always(OK);
    let rig = Rig::new(&[one, two], ROUND_ROBIN);
    let state = rig.proxy().state();
    let eject = |server, until| Directive::Eject {
        server: ServerId::new(0, server),
        verdict: EjectionReason::Known,
        until,
    };
    state.apply(&eject(0, Instant::NEVER), rig.clock.now());
    let mut client = rig.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!((count(&seen_one, "GET"), count(&seen_two, "GET")), (0, 10));

    let until = rig.clock.now() + Duration::from_millis(50);
    state.apply(&eject(1, Instant::NEVER), rig.clock.now());
    state.apply(
        &Directive::Restore {
            server: ServerId::new(0, 0),
            slowly: false,
        },
        rig.clock.now(),
    );
    state.apply(&eject(0, until), rig.clock.now());
    let response = client.get("/");
    assert_eq!(response.status, 503);
    assert!(
        response
            .header("proxy-status")
            .unwrap()
            .contains("destination_unavailable")
    );
    rig.wait_for(|rig| rig.clock.now() > until);
    assert_eq!(
        client.get("/").status,
        200,
        "a directive that is not renewed is forgotten"
    );
}

#[test]
fn outcomes_leave_as_signals() {
    let (bad, _) = always(UNAVAILABLE);
    let (good, _) = always(OK);
    let mut rig = Rig::new(&[bad, good], ROUND_ROBIN);
    let mut reader = rig.take_signals();
    let mut client = rig.client();
    for _ in 0..4 {
        client.get("/");
    }
    let mut signals = Vec::new();
    rig.wait_for(|_| true);
    reader.drain(&mut signals);
    let failures = signals
        .iter()
        .filter(|signal| signal.server.index == 0)
        .count();
    let successes = signals
        .iter()
        .filter(|signal| signal.server.index == 1)
        .count();
    assert_eq!(successes, 4);
    assert!(failures >= 1, "{signals:?}");
}

#[test]
fn a_server_that_asks_for_a_pause_gets_one() {
    let (busy, seen_busy) =
        always("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n");
    let (well, seen_well) = always(OK);
    let rig = Rig::new(&[busy, well], ROUND_ROBIN);
    let mut client = rig.client();
    for _ in 0..200 {
        assert_eq!(client.get("/").status, 200);
    }
    let state = rig.proxy().state();
    let servers = state.services()[0].servers();
    let server = &servers.pool().members()[0].state;
    assert_eq!(server.standing(rig.clock.now()).word(), "relieved");
    // Of round robin's hundred about ten are left; five standard deviations are some 17.
    let asked = seen_busy.lock().unwrap().len();
    assert!((1..=35).contains(&asked), "{asked}");
    assert_eq!(seen_well.lock().unwrap().len(), 200);
}

/// Answers like this so often, and then well.
fn busy_at_first(times: usize, retry_after: &'static str) -> SocketAddr {
    let asked = Arc::new(AtomicUsize::new(0));
    server(move |connection| {
        while connection.request().is_some() {
            if asked.fetch_add(1, Ordering::SeqCst) < times {
                let busy = format!(
                    "HTTP/1.1 503 Service Unavailable\r\n{retry_after}\r\nContent-Length: 0\r\n\r\n"
                );
                connection.answer(&busy);
            } else {
                connection.answer(OK);
            }
        }
    })
    .0
}

/// The time that a request took, and its status.
fn timed(rig: &Rig) -> (u16, Duration) {
    let began = rig.clock.now();
    let status = rig.client().get("/").status;
    (status, rig.clock.now() - began)
}

#[test]
fn a_retry_follows_retry_after_if_there_is_no_other_server() {
    let rig = Rig::new(&[busy_at_first(1, "Retry-After: 1")], ROUND_ROBIN);
    let (status, took) = timed(&rig);
    assert_eq!(status, 200);
    assert!(took >= Duration::from_secs(1), "{took:?}");

    // The answer's own clock is what a date is compared with, whatever the proxy's says.
    let dates = "Date: Fri, 31 Dec 1999 23:59:59 GMT\r\nRetry-After: Sat, 01 Jan 2000 00:00:00 GMT";
    let rig = Rig::new(&[busy_at_first(1, dates)], ROUND_ROBIN);
    let (status, took) = timed(&rig);
    assert_eq!(status, 200);
    assert!(took >= Duration::from_secs(1), "{took:?}");

    // It says nothing of others.
    let (good, _) = always(OK);
    let rig = Rig::new(&[busy_at_first(1, "Retry-After: 5"), good], ROUND_ROBIN);
    for _ in 0..2 {
        let (status, took) = timed(&rig);
        assert_eq!(status, 200);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn a_wish_to_wait_is_cut_and_does_not_go_beyond_the_deadline() {
    // Cut to 5 s, for which 4 s have no room: what the server said is passed on at once.
    let total = "[service.shop.timeout]\ntotal = \"4s\"\nattempt = \"1s\"";
    let rig = Rig::new(&[busy_at_first(9, "Retry-After: 3600")], total);
    assert_eq!(timed(&rig).0, 503);
    let labels = ["shop", "deadline"];
    rig.wait_for(|rig| common::counter(rig, "evenkeel_retries_denied_total", &labels) == 1);

    let rig = Rig::new(&[busy_at_first(1, "Retry-After: 3600")], ROUND_ROBIN);
    let (status, took) = timed(&rig);
    assert_eq!(status, 200);
    let cut = Duration::from_millis(5_000)..Duration::from_millis(9_000);
    assert!(cut.contains(&took), "{took:?}");
}

#[test]
fn picks_are_counted_by_their_reason() {
    #[derive(Default)]
    struct Picks(Vec<(String, String, u64)>);
    impl Sink for Picks {
        fn counter(&mut self, name: &str, _: &str, labels: &[(&str, &str)], value: u64) {
            if name == "evenkeel_picks_total" {
                let of = |label: &str| {
                    let found = labels.iter().find(|(name, _)| *name == label);
                    found.map_or_else(String::new, |(_, value)| (*value).to_owned())
                };
                self.0.push((of("server"), of("reason"), value));
            }
        }
        fn gauge(&mut self, _: &str, _: &str, _: &[(&str, &str)], _: f64) {}
        fn durations(&mut self, _: &str, _: &str, _: &[(&str, &str)], _: &DurationSnapshot) {}
    }
    let (bad, _) = always(UNAVAILABLE);
    let (well, _) = always(OK);
    let rig = Rig::new(&[bad, well], ROUND_ROBIN);
    let mut client = rig.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    let mut picks = Picks::default();
    rig.proxy().state().collect(&mut picks);
    let of = |reason: &str| -> u64 {
        let counts = picks.0.iter().filter(|(_, found, _)| found == reason);
        counts.map(|(_, _, value)| value).sum()
    };
    // Round robin picks each of the two five times; each time the bad one is picked, the other one is all that is left.
    assert_eq!(
        (of("policy"), of("only-one-left")),
        (10, 5),
        "{:?}",
        picks.0
    );
}

#[test]
fn an_answer_that_breaks_off_is_not_passed_on_broken() {
    let (bad, seen) = server(|connection| {
        if connection.request().is_some() {
            connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it");
        }
    });
    let (good, _) = always(OK);
    let hold = format!("{ROUND_ROBIN}[service.shop.retry]\nresponse_buffer = \"1000B\"\n");
    let rig = Rig::new(&[bad, good], &hold);
    for _ in 0..10 {
        let response = rig.client().get("/");
        assert_eq!(
            (response.status, response.body.as_slice()),
            (200, &b"ok"[..])
        );
    }
    assert!(count(&seen, "GET") >= 5);
    rig.wait_for(|rig| rig.totals().requests == 10);
    assert_eq!((rig.totals().failed, rig.totals().saved_by_retry), (0, 5));

    // Alone it has no answer, and a POST is not sent twice for one: it gets what there is.
    let rig = Rig::new(&[bad], &hold);
    let response = rig.client().get("/");
    assert_eq!(response.status, 502);
    let why = response.header("proxy-status").unwrap_or_default();
    assert!(
        why.contains("http_response_incomplete") && why.contains("truncated"),
        "{why}"
    );
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert!(client.rest().ends_with(b"half of it"));

    // What is longer is not held.
    let short = hold.replace("1000B", "999B");
    let rig = Rig::new(&[bad], &short);
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.rest().ends_with(b"half of it"));
}

/// RFC 10008: a QUERY is idempotent, so it is sent again like a GET, with its content.
#[test]
fn a_query_is_sent_again_with_its_content() {
    let (dead, _) = server(|connection| drop(connection.request()));
    let (alive, seen) = always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let rig = Rig::new(&[dead, alive], ROUND_ROBIN);
    let mut client = rig.client();
    for _ in 0..4 {
        client.send("QUERY / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nselect");
        assert_eq!(client.response().status, 200);
    }
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.len(), 4);
    assert!(
        seen.iter()
            .all(|request| request.ends_with("\r\n\r\nselect"))
    );
    assert!(rig.totals().saved_by_retry >= 1);
}
