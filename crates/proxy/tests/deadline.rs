//! Deadlines of clients, and what servers are told of them.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use common::{Client, Response, Rig, Seen, always, counter, server, still_open_after};
use evenkeel_config::resolve::Environment;
use evenkeel_core::{Observation, Outcome};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

fn rig(servers: &[SocketAddr], header: &str, more: &str) -> Rig {
    Rig::new(
        servers,
        &format!("timeout = {{ total = \"9s\", deadline_header = \"{header}\" }}\n{more}"),
    )
}

fn get(client: &mut Client, lines: &str) -> Response {
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
    client.response()
}

fn deadlines(rig: &Rig, result: &str) -> u64 {
    counter(rig, "evenkeel_deadlines_total", &["shop", result])
}

/// The values of this field in each request that was seen.
fn values(seen: &Seen, name: &str) -> Vec<Vec<String>> {
    let seen = seen.lock().expect("no panic");
    let of = |request: &String| {
        let lines = request.lines().filter_map(|line| line.split_once(':'));
        let lines = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.trim().to_owned()).collect()
    };
    seen.iter().map(of).collect()
}

/// A server that reads requests and answers none.
fn hung() -> (SocketAddr, Seen) {
    server(|connection| while connection.request().is_some() {})
}

/// The times that a request has by default, at a tenth of their length: what would take 6 s takes 600 ms.
#[test]
fn a_slow_get_succeeds_with_one_attempt_by_default() {
    const SCALE: u32 = 10;
    let takes = Duration::from_secs(6) / SCALE;
    let (address, seen) = server(move |connection| {
        while connection.request().is_some() {
            work(takes);
            connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
        }
    });
    let (attempt, total) = default_timeouts();
    let extra = format!(
        "timeout = {{ attempt = \"{}ms\", total = \"{}ms\" }}\n",
        (attempt / SCALE).as_millis(),
        (total / SCALE).as_millis()
    );
    let rig = Rig::new(&[address], &extra);
    let response = rig.client().get("/");
    assert_eq!((response.status, response.body), (200, b"slow".to_vec()));
    rig.wait_for(|rig| rig.totals().requests == 1);
    assert_eq!(counter(&rig, "evenkeel_attempts_total", &["shop"]), 1);
    assert_eq!(seen.lock().expect("no panic").len(), 1);
}

#[expect(clippy::disallowed_methods, reason = "a server that takes its time")]
fn work(takes: Duration) {
    std::thread::sleep(takes);
}

/// `timeout.attempt` and `timeout.total`.
fn default_timeouts() -> (Duration, Duration) {
    let around = Environment {
        base_dir: Path::new("."),
        state_dir: Path::new("."),
        cores: 1,
        descriptors: 65_536,
        resolver: &|_| Err("no names".to_owned()),
        socket: &|_, _| Ok(()),
    };
    let text = "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\nservers = [\"127.0.0.1:1\"]\n";
    let loaded = evenkeel_config::load(text, "default.toml", &around).expect("a configuration");
    let timeout = &loaded.plan.services[0].policies.timeout;
    (timeout.attempt, timeout.total)
}

#[test]
fn servers_get_the_remaining_time() {
    let (shop, seen) = always(OK);
    let rig = rig(
        &[shop],
        "X-Deadline",
        "request_headers = { set = { x-deadline = \"forged\" } }\n",
    );
    let mut client = rig.client();
    assert_eq!(get(&mut client, "").status, 200);
    assert_eq!(get(&mut client, "X-Deadline: 2000\r\n").status, 200);
    assert_eq!(get(&mut client, "x-deadline:  60000 \r\n").status, 200);
    let all = values(&seen, "x-deadline");
    assert!(all.iter().all(|lines| lines.len() == 1), "{all:?}");
    let left: Vec<u64> = all
        .iter()
        .map(|lines| lines[0].parse().expect("milliseconds"))
        .collect();
    for (left, most) in left.iter().zip([9_000, 2_000, 9_000]) {
        assert!(*left <= most && *left > most - 1_900, "{left} of {most}");
    }
    assert_eq!(
        (deadlines(&rig, "shorter"), deadlines(&rig, "longer")),
        (1, 1)
    );
}

#[test]
fn each_attempt_gets_its_own_remaining_time() {
    let (shop, seen) = server(|connection| {
        while connection.request().is_some() {
            // Nothing comes, so this is how long it thinks.
            still_open_after(&connection.stream, Duration::from_millis(20));
            connection.answer(BUSY);
        }
    });
    let rig = rig(&[shop], "grpc-timeout", "retry = { limit = 2 }\n");
    assert_eq!(get(&mut rig.client(), "grpc-timeout: 5S\r\n").status, 503);
    let micros: Vec<u64> = (values(&seen, "grpc-timeout").concat().iter())
        .map(|value| value.strip_suffix('u').and_then(|text| text.parse().ok()))
        .map(|value| value.expect("microseconds"))
        .collect();
    assert_eq!(micros.len(), 3, "{micros:?}");
    assert!(micros[0] < 5_000_000 && micros[0] > 3_000_000, "{micros:?}");
    assert!(
        micros.windows(2).all(|pair| pair[0] >= pair[1] + 20_000),
        "{micros:?}"
    );
}

#[test]
fn a_client_whose_deadline_has_passed_costs_no_attempt() {
    let (shop, seen) = always(OK);
    let rig = rig(
        &[shop],
        "x-deadline",
        "fallback = { status = 200, body = \"later\" }\n",
    );
    let mut client = rig.client();
    let response = get(&mut client, "x-deadline: 0\r\n");
    assert_eq!(response.status, 504);
    let why = response.header("proxy-status").unwrap_or_default();
    assert!(why.contains("details=\"deadline\""), "{why}");
    // The connection is in step after it.
    assert_eq!(get(&mut client, "").body, b"ok");
    assert_eq!(seen.lock().expect("no panic").len(), 1);
    assert_eq!(deadlines(&rig, "passed"), 1);
}

#[test]
fn an_invalid_deadline_is_ignored() {
    let (shop, seen) = always(OK);
    let rig = rig(&[shop], "grpc-timeout", "");
    let mut client = rig.client();
    for lines in [
        "grpc-timeout: soon\r\n",
        "grpc-timeout: 123456789m\r\n",
        "grpc-timeout: 1S\r\ngrpc-timeout: 2S\r\n",
    ] {
        assert_eq!(get(&mut client, lines).status, 200, "{lines}");
    }
    let all = values(&seen, "grpc-timeout");
    assert!(
        all.iter()
            .all(|lines| lines.len() == 1 && lines[0].ends_with('u')),
        "{all:?}"
    );
    assert_eq!(deadlines(&rig, "malformed"), 3);
}

#[test]
fn without_the_key_the_field_passes_as_it_is() {
    let (shop, seen) = always(OK);
    let rig = Rig::new(&[shop], "");
    assert_eq!(get(&mut rig.client(), "grpc-timeout: 0m\r\n").status, 200);
    assert_eq!(values(&seen, "grpc-timeout"), [["0m"]]);
}

/// A client can say any time: a server that does not keep it is not to blame.
#[test]
fn an_impatient_client_does_not_make_a_server_look_bad() {
    let (shop, _) = hung();
    let mut rig = rig(&[shop], "x-deadline", "");
    let mut signals = rig.take_signals();
    let begun = rig.clock.now();
    let response = get(&mut rig.client(), "x-deadline: 60\r\n");
    let took = rig.clock.now().since(begun);
    assert_eq!(response.status, 504);
    let why = response.header("proxy-status").unwrap_or_default();
    assert!(why.contains("total-timeout"), "{why}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    let mut taken = Vec::new();
    rig.wait_for(|rig| rig.totals().requests == 1);
    signals.drain(&mut taken);
    let outcomes: Vec<Outcome> = (taken.iter())
        .filter_map(|signal| match signal.observation {
            Observation::Attempt { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [Outcome::Cancelled]);
}

#[test]
fn a_hedged_attempt_gets_its_own_remaining_time() {
    let (slow, seen_slow) = hung();
    let (quick, seen) = always(OK);
    let rig = rig(
        &[slow, quick],
        "x-deadline",
        "hedge = { after = \"50ms\" }\nbalance = { policy = \"round-robin\" }\n",
    );
    let mut client = rig.client();
    let left = |seen: &Seen| -> Vec<u64> {
        let all = values(seen, "x-deadline").concat();
        all.iter()
            .map(|value| value.parse().expect("milliseconds"))
            .collect()
    };
    // A machine that is late may hedge before it has sent the first attempt.
    let is_told = || !left(&seen_slow).is_empty() && left(&seen).iter().any(|left| *left <= 2_950);
    for _ in 0..20 {
        assert_eq!(get(&mut client, "x-deadline: 3000\r\n").status, 200);
        if is_told() {
            break;
        }
    }
    assert!(is_told(), "{:?} {:?}", left(&seen_slow), left(&seen));
    assert!(left(&seen_slow).iter().all(|left| *left <= 3_000));
}
