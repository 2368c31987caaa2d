//! Which kept connections are used again, with servers that close them for being idle at the very moment of a request.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server whose clock ends a connection that is idle for `timeout` just when the next request comes: it closes without an
/// answer. Also, how many connections it has had.
fn closes_at_the_last_moment(
    timeout: Duration,
    answer: &'static str,
) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let (address, _) = server(move |connection| {
        count.fetch_add(1, Ordering::SeqCst);
        let mut answered: Option<Instant> = None;
        while connection.request().is_some() {
            if answered.is_some_and(|at| at.elapsed() >= timeout) {
                return;
            }
            connection.answer(answer);
            answered = Some(now());
        }
    });
    (address, connections)
}

#[expect(clippy::disallowed_methods, reason = "a server's own clock")]
fn now() -> Instant {
    Instant::now()
}

/// Lets a connection be idle for longer than this.
#[expect(clippy::disallowed_methods, reason = "what is tested is idleness")]
fn idle(time: Duration) {
    std::thread::sleep(time + Duration::from_millis(500));
}

fn post(client: &mut Client) -> u16 {
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    client.response().status
}

fn get(client: &mut Client) -> u16 {
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client.response().status
}

fn ended(rig: &Rig, why: &str) -> u64 {
    counter(rig, "evenkeel_kept_connections_ended_total", &["shop", why])
}

#[test]
fn what_may_not_be_repeated_takes_no_connection_that_may_be_about_to_close() {
    let timeout = Duration::from_millis(300);
    let (address, connections) = closes_at_the_last_moment(timeout, OK);
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    for round in 1..=4 {
        assert_eq!(post(&mut client), 200, "round {round}");
        idle(timeout);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 4);
    // A large body is not kept, whatever the method.
    let size = 100 << 10;
    let body = "x".repeat(size);
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n{body}"
    ));
    assert_eq!(client.response().status, 200);
    idle(timeout);
    // A request that can be sent again takes the risk, and nobody sees it.
    assert_eq!(get(&mut client), 200);
    assert_eq!(rig.totals().failed, 0);
}

/// With nothing to say when a request may be repeated, none is.
#[test]
fn without_retries_of_resets_every_request_goes_once() {
    let timeout = Duration::from_millis(300);
    for retry in ["on = [\"connect\"]", "methods = []"] {
        let (address, _) = closes_at_the_last_moment(timeout, OK);
        let rig = Rig::new(&[address], &format!("[service.shop.retry]\n{retry}\n"));
        let mut client = rig.client();
        for _ in 0..3 {
            assert_eq!(get(&mut client), 200, "{retry}");
            idle(timeout);
        }
    }
}

#[test]
fn a_server_that_says_its_idle_timeout_is_believed() {
    const SAYS: &str =
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=100\r\nContent-Length: 2\r\n\r\nok";
    // It is a little early, as some are.
    let timeout = Duration::from_millis(900);
    let (address, connections) = closes_at_the_last_moment(timeout, SAYS);
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    for _ in 0..3 {
        assert_eq!(post(&mut client), 200);
        idle(timeout);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
    // Past what it says, nothing is kept for anybody.
    assert_eq!(get(&mut client), 200);
    rig.wait_for(|rig| ended(rig, "too-old") >= 4);
}

#[test]
fn what_was_used_a_moment_ago_is_used_again() {
    let (address, connections) = closes_at_the_last_moment(Duration::from_secs(20), OK);
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    for _ in 0..50 {
        assert_eq!(post(&mut client), 200);
    }
    // All of them on a machine that never stops for a quarter of a second.
    assert!(connections.load(Ordering::SeqCst) < 50);
}

/// The server has closed, and the proxy could know.
#[test]
fn a_connection_that_is_closed_is_not_used() {
    let (address, _) = server(|connection| {
        if connection.request().is_some() {
            connection.answer(OK);
        }
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    for round in 1..=8 {
        assert_eq!(post(&mut client), 200, "round {round}");
        // The end has come when the server's side is gone, which is right after the answer.
        rig.wait_for(|rig| ended(rig, "closed-by-server") >= round);
    }
}
