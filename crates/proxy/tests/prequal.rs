//! Servers that are asked how busy they are: what their answers do, and that nothing else comes of a question.

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use common::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn asked(timeout: &str) -> String {
    format!(
        "[service.shop.balance]\npolicy = \"prequal\"\nprequal = {{ probe = \"/load\", timeout = \"{timeout}\" }}\n"
    )
}

fn json(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A server that answers requests, and questions with these bytes; without any it does not answer them.
fn says(load: &str) -> (SocketAddr, Seen) {
    let load = load.to_owned();
    server(move |connection| {
        while let Some(request) = connection.request() {
            if request.starts_with("GET /load ") {
                connection.answer(&load);
            } else {
                connection.answer(OK);
            }
        }
    })
}

fn questions(seen: &Seen) -> Vec<String> {
    let mut heads = seen.lock().expect("no panic").clone();
    heads.retain(|head| head.starts_with("GET /load "));
    heads
}

fn requests(seen: &Seen) -> usize {
    let heads = seen.lock().expect("no panic");
    heads
        .iter()
        .filter(|head| !head.starts_with("GET /load "))
        .count()
}

fn results(rig: &Rig, result: &str) -> u64 {
    counter(rig, "evenkeel_prequal_probes_total", &["shop", result])
}

fn ended(rig: &Rig) -> u64 {
    results(rig, "")
        + ["answered", "failed", "timed-out", "not-understood"]
            .into_iter()
            .map(|result| results(rig, result))
            .sum::<u64>()
}

/// Requests one after the other, each of which succeeds.
fn get(rig: &Rig, number: usize) {
    let mut client = rig.client();
    for _ in 0..number {
        assert_eq!(client.get("/").status, 200);
    }
}

/// How many of 600 requests a busy server got and two calm ones.
fn shares() -> (Rig, [usize; 3], (SocketAddr, Seen)) {
    let busy = says(&json("{\"in_flight\": 1000}"));
    let calm = [(); 2].map(|()| says(&json("{\"in_flight\": 2, \"latency_ms\": 1.5}")));
    let rig = Rig::new(&[busy.0, calm[0].0, calm[1].0], &asked("5s"));
    for request in 1..=600 {
        get(&rig, 1);
        // On a busy machine answers can come later than the requests that they are for; without any, chance picks.
        rig.wait_for(|rig| ended(rig) + results(rig, "skipped") == request);
    }
    let counts = [&busy.1, &calm[0].1, &calm[1].1].map(requests);
    (rig, counts, busy)
}

#[test]
fn a_server_that_others_keep_busy_gets_little() {
    let as_it_should = |counts: &[usize; 3]| counts[0] < 60 && counts[1].min(counts[2]) > 10;
    // A calm server that this machine lets wait is not believed for a while, and rightly so: then another time.
    let mut all = Vec::new();
    let (mut rig, busy) = loop {
        let (rig, counts, busy) = shares();
        if as_it_should(&counts) {
            break (rig, busy);
        }
        all.push(counts);
        assert!(all.len() < 5, "{all:?}");
    };
    let mut signals = rig.take_signals();

    assert!(
        results(&rig, "answered") > 500,
        "{}",
        results(&rig, "answered")
    );
    // Applications that check the host refuse an address: the same rule as for health probes.
    let question = "GET /load HTTP/1.1\r\nHost: localhost\r\nUser-Agent: evenkeel\r\nAccept: application/json\r\n\r\n";
    assert!(questions(&busy.1).iter().all(|head| *head == question));
    // Nothing else comes of it: no attempt, no load, no signal; connections are shared with requests.
    rig.wait_for(|rig| rig.totals().requests == 600);
    assert_eq!(counter(&rig, "evenkeel_attempts_total", &["shop"]), 600);
    assert_eq!(counter(&rig, "evenkeel_picks_total", &["shop"]), 600);
    assert!(number(&rig, "evenkeel_server_in_flight", &["shop"]) < 0.5);
    let mut heard = Vec::new();
    assert_eq!(signals.drain(&mut heard), 600);
    let opened = counter(&rig, "evenkeel_server_connections_total", &["shop"]);
    assert!(opened < 60, "{opened} connections");
}

#[test]
fn broken_probe_endpoints_affect_only_their_counter() {
    for (load, result) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
            "failed",
        ),
        (
            "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            "failed",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
            "failed",
        ),
        ("garbage\r\n\r\n", "failed"),
        (OK, "not-understood"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "failed"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "failed",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"in_flight\": ",
            "timed-out",
        ),
        ("", "timed-out"),
    ] {
        let servers = [(); 3].map(|()| says(load));
        let addresses: Vec<SocketAddr> = servers.iter().map(|(address, _)| *address).collect();
        // On a machine that stalls, only what is to time out may do so.
        let timeout = if result == "timed-out" { "20ms" } else { "10s" };
        let rig = Rig::new(&addresses, &asked(timeout));
        get(&rig, 300);
        let counts = servers.iter().map(|(_, seen)| requests(seen));
        let counts: Vec<usize> = counts.collect();
        assert!(counts.iter().all(|count| *count > 40), "{load}: {counts:?}");
        rig.wait_for(|rig| ended(rig) + results(rig, "skipped") == 300);
        assert!(results(&rig, result) > 0, "{load}");
        assert_eq!(ended(&rig), results(&rig, result), "{load}");
        rig.wait_for(|rig| rig.totals().requests == 300);
        assert_eq!(rig.totals().failed, 0);
        assert_eq!(counter(&rig, "evenkeel_attempts_total", &["shop"]), 300);
    }
}

#[test]
fn a_closed_probe_port_is_not_blamed_on_the_server() {
    let (address, _) = says(&json("{\"in_flight\": 0}"));
    let rig = Rig::new(&[address, nowhere()], &asked("5s"));
    get(&rig, 100);
    let picks = counter(&rig, "evenkeel_picks_total", &["shop"]);
    rig.wait_for(|rig| ended(rig) + results(rig, "skipped") == picks);
    assert!(results(&rig, "failed") > 0 && results(&rig, "answered") > 0);
    let attempts = counter(&rig, "evenkeel_attempts_total", &["connect-refused"]);
    let failures = counter(&rig, "evenkeel_retries_total", &["connect-refused"]);
    assert_eq!(attempts, failures, "only requests were attempts");
}

#[test]
fn a_server_without_the_endpoint_is_not_left_out() {
    let old = says("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let new = [(); 2].map(|()| says(&json("{\"in_flight\": 3}")));
    let rig = Rig::new(&[old.0, new[0].0, new[1].0], &asked("5s"));
    get(&rig, 600);
    // A third of the picks compares all three; without load, that is a third for each.
    let counts = [&old.1, &new[0].1, &new[1].1].map(requests);
    assert!(counts.iter().all(|count| *count > 25), "{counts:?}");
    assert!(results(&rig, "failed") > 100, "{}", results(&rig, "failed"));
}

#[test]
fn what_a_server_can_make_evenkeel_read_is_bounded() {
    let (told, cut) = std::sync::mpsc::channel();
    let endless = move |connection: &mut Connection| {
        while let Some(request) = connection.request() {
            if !request.starts_with("GET /load ") {
                connection.answer(OK);
                continue;
            }
            connection.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
            while connection.stream.write_all(chunk.as_bytes()).is_ok() {}
            told.send(()).ok();
            return;
        }
    };
    let (endless, _) = server(endless);
    let body = format!("{{\"in_flight\": 1{}}}", " ".repeat(5_000));
    let (long, _) = says(&json(&body));
    let rig = Rig::new(&[endless, long], &asked("5s"));
    get(&rig, 100);
    cut.recv_timeout(Duration::from_secs(10))
        .expect("it was cut off");
    rig.wait_for(|rig| ended(rig) + results(rig, "skipped") == 100);
    assert_eq!(results(&rig, "not-understood"), ended(&rig));
}

#[test]
fn no_more_than_sixteen_questions_are_under_way() {
    let servers = [(); 3].map(|()| says(""));
    let addresses: Vec<SocketAddr> = servers.iter().map(|(address, _)| *address).collect();
    let rig = Rig::new(&addresses, &asked("10s"));
    get(&rig, 60);
    rig.wait_for(|rig| results(rig, "skipped") == 44);
    let all = || servers.iter().map(|(_, seen)| questions(seen).len());
    rig.wait_for(|_| all().sum::<usize>() == 16);
    assert_eq!(ended(&rig), 0);
}

#[test]
fn nobody_is_asked_without_the_key_or_without_traffic() {
    let servers = [(); 2].map(|()| says(&json("{\"in_flight\": 1}")));
    let addresses: Vec<SocketAddr> = servers.iter().map(|(address, _)| *address).collect();
    let rig = Rig::new(&addresses, "[service.shop.balance]\npolicy = \"prequal\"\n");
    get(&rig, 50);
    assert!(servers.iter().all(|(_, seen)| questions(seen).is_empty()));

    let rig = Rig::new(&addresses, &asked("5s"));
    get(&rig, 5);
    rig.wait_for(|rig| ended(rig) == 5);
    let all: usize = servers.iter().map(|(_, seen)| questions(seen).len()).sum();
    assert_eq!(all, 5, "one for each pick");
}

#[test]
fn picks_for_copies_ask_as_well() {
    let (shop, _) = always(OK);
    let next = [(); 2].map(|()| says(&json("{\"in_flight\": 1}")));
    let rig = Rig::new(
        &[shop],
        &format!(
            "mirror = {{ service = \"next\", share = 1.0 }}\n[service.next]\nservers = [\"{}\", \"{}\"]\n\
             balance = {{ policy = \"prequal\", prequal = {{ probe = \"/load\", timeout = \"5s\" }} }}\n",
            next[0].0, next[1].0
        ),
    );
    get(&rig, 10);
    let answered = |rig: &Rig| counter(rig, "evenkeel_prequal_probes_total", &["next", "answered"]);
    rig.wait_for(|rig| answered(rig) == 10);
}
