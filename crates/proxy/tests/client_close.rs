//! What is closed under a client that has more to say, and what is counted when the client's own bytes end an attempt.

mod common;

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Client, Rig, counter, read_some, server};

/// How long a step may take before it counts as a hang.
const HANG: Duration = Duration::from_secs(30);

/// An answer up to the word `first`.
fn first_part(client: &Client) -> Vec<u8> {
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"first ") {
        let n = read_some(&client.stream, &mut part).expect("an answer");
        assert!(n > 0, "it ended early");
        answer.extend_from_slice(&part[..n]);
    }
    answer
}

#[test]
fn requests_behind_the_last_answer_do_not_reset_it() {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let (address, _) = server(move |connection| {
        if connection.request().is_some() {
            connection.answer("HTTP/1.1 200 OK\r\n\r\nfirst ");
            wait.lock().expect("no panic").recv_timeout(HANG).ok();
            connection.answer("second");
        }
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut answer = first_part(&client);
    // Nobody has told the client yet that the connection's end is the answer's end.
    client.send("GET /more HTTP/1.1\r\nHost: test\r\n\r\n");
    go.send(()).expect("the server waits");
    let end = client.stream.read_to_end(&mut answer);
    assert!(end.is_ok(), "the answer was reset: {end:?}");
    assert!(answer.ends_with(b"first second"));
}

#[test]
fn an_attempt_that_the_clients_bytes_end_is_counted() {
    let (seen, arrived) = channel();
    let seen = Mutex::new(seen);
    let (address, _) = server(move |connection| {
        if connection.head().is_some() {
            seen.lock().expect("no panic").send(()).ok();
            connection.request();
        }
    });
    let timeout = "timeout = { idle = \"300ms\" }";
    let rig = Rig::new(&[address], timeout);
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    // The second client is late with the rest of its body.
    for (rest, status, attempts) in [("zz\r\n", 400, 1), ("", 408, 2)] {
        let mut client = rig.client();
        client.send(head);
        arrived.recv_timeout(HANG).expect("the server has its head");
        client.send(rest);
        assert_eq!(client.response().status, status);
        rig.wait_for(|rig| rig.totals().requests == attempts);
        let cancelled = counter(&rig, "evenkeel_attempts_total", &["shop", "cancelled"]);
        assert_eq!(cancelled, attempts, "after {status}");
    }
    assert_eq!(rig.totals().saved_by_retry, 0);
}

#[test]
fn what_is_sent_beside_an_answer_is_counted() {
    const BODY: usize = 100_000;
    let read = Arc::new(Mutex::new(0));
    let count = Arc::clone(&read);
    let (address, _) = server(move |connection| {
        if connection.head().is_none() {
            return;
        }
        connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
        let mut body = Vec::new();
        let mut rest = (&connection.stream).take(BODY as u64);
        rest.read_to_end(&mut body).ok();
        *count.lock().expect("no panic") = body.len();
        connection.answer("k");
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {BODY}\r\n\r\n"
    ));
    let mut first = [0; 1];
    client.stream.read_exact(&mut first).expect("an answer");
    client
        .stream
        .write_all(&vec![b'x'; BODY])
        .expect("it reads");
    assert_eq!(first, *b"H");
    rig.wait_for(|rig| rig.totals().requests == 1);
    assert_eq!(*read.lock().expect("no panic"), BODY);
    let sent = counter(&rig, "evenkeel_server_sent_bytes_total", &["shop"]);
    assert!(sent > BODY as u64, "{sent}");
}

#[test]
fn requests_behind_a_broken_answer_do_not_reset_it() {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let (address, _) = server(move |connection| {
        if connection.request().is_some() {
            connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst ");
            wait.lock().expect("no panic").recv_timeout(HANG).ok();
        }
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut answer = first_part(&client);
    client.send("GET /more HTTP/1.1\r\nHost: test\r\n\r\n");
    go.send(()).expect("the server waits");
    let end = client.stream.read_to_end(&mut answer);
    assert!(end.is_ok(), "the answers were reset: {end:?}");
    assert!(answer.ends_with(b"first "), "nothing more comes");
}
