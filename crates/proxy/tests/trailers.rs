//! Trailers of chunked bodies on their way through a proxy, in both directions: which of them pass, and what becomes of invalid ones.

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;

use common::{Client, Connection, Rig, counter, server};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a service and `Connection` do not let pass, what may not be a trailer, and what passes.
const TRAILERS: &str = "X-Sum: 1\r\nContent-Length: 5\r\nX-Hop: 1\r\nX-Forwarded-For: 10.0.0.1\r\nX-Env: theirs\r\n\
    transfer-encoding: chunked\r\nX-Last:\r\n\r\n";
const PASSED: &str = "X-Sum: 1\r\nX-Last:\r\n\r\n";
const EDITED: &str = "request_headers = { set = { x-env = \"ours\" } }\n\
    response_headers = { remove = [\"x-env\"] }\n";

/// What comes on a connection.
struct Incoming<'c> {
    connection: &'c mut Connection,
    bytes: Vec<u8>,
}

impl Incoming<'_> {
    /// The next request, whose body, if it has one, ends with an empty line; what there is of it if the connection ends before.
    fn request(&mut self) -> Result<String, String> {
        let mut end = self.empty_line_after(0)?;
        if self.text(end).contains("Transfer-Encoding: chunked") {
            let last = self.find("\r\n0\r\n", end)?;
            // The line end of the last chunk may begin the empty line.
            end = self.empty_line_after(last + 3)?;
        }
        let request = self.text(end);
        self.bytes.drain(..end);
        Ok(request)
    }

    fn empty_line_after(&mut self, from: usize) -> Result<usize, String> {
        Ok(self.find("\r\n\r\n", from)? + 4)
    }

    fn find(&mut self, wanted: &str, from: usize) -> Result<usize, String> {
        loop {
            let mut windows = self.bytes[from..].windows(wanted.len());
            if let Some(at) = windows.position(|bytes| bytes == wanted.as_bytes()) {
                return Ok(from + at);
            }
            let mut part = [0; 4096];
            match self.connection.stream.read(&mut part) {
                Ok(n) if n > 0 => self.bytes.extend_from_slice(&part[..n]),
                _ => return Err(self.text(self.bytes.len())),
            }
        }
    }

    fn text(&self, end: usize) -> String {
        String::from_utf8_lossy(&self.bytes[..end]).into_owned()
    }
}

/// A server that answers every request with this, and what it gets.
fn answering(answer: &'static str) -> (SocketAddr, mpsc::Receiver<Result<String, String>>) {
    let (to_test, got) = mpsc::channel();
    let (address, _) = server(move |connection| {
        let bytes = Vec::new();
        let mut incoming = Incoming { connection, bytes };
        loop {
            let request = incoming.request();
            let is_over = request.is_err();
            // The test may be over.
            to_test.send(request).ok();
            if is_over {
                return;
            }
            incoming.connection.answer(answer);
        }
    });
    (address, got)
}

/// A client whose bytes leave as they are written.
fn client(rig: &Rig) -> Client {
    let client = rig.client();
    client.stream.set_nodelay(true).expect("a socket");
    client
}

fn post(connection: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
    )
}

#[test]
fn trailers_of_a_request_reach_the_server_by_the_rules_of_its_header() {
    let (address, got) = answering(OK);
    let rig = Rig::new(&[address], EDITED);
    let mut client = client(&rig);
    let body = format!("5\r\nhello\r\n0\r\n{TRAILERS}");
    let whole = post("keep-alive, x-hop", &body);
    for cut in (whole.len() - body.len()..whole.len()).step_by(3) {
        let (first, second) = whole.split_at(cut);
        client.send(first);
        client.send(second);
        assert_eq!(client.response().body, b"ok");
        let request = got.recv().expect("it came").expect("it is whole");
        assert!(request.contains("x-env: ours\r\n"), "{request:?}");
        let passed = format!("\r\n\r\n5\r\nhello\r\n0\r\n{PASSED}");
        assert!(request.ends_with(&passed), "cut at {cut}: {request:?}");
    }
    // Nothing is left of them: a request that follows at once is read as one.
    client.send(format!("{whole}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response().body, b"ok");
    assert_eq!(client.response().body, b"ok");
    let requests = [(); 2].map(|()| got.recv().expect("it came").expect("it is whole"));
    assert!(requests[0].ends_with(PASSED), "{requests:?}");
    assert!(requests[1].starts_with("GET /next "), "{requests:?}");
}

/// The buffer of a head that came in parts is small, and grows with what has to come as a whole.
#[test]
fn trailers_may_have_as_many_bytes_as_are_allowed_in_whatever_parts_they_come() {
    let (address, got) = answering(OK);
    let rig = Rig::new(&[address], "");
    let mut client = client(&rig);
    let trailers = format!("X-Sum: {}\r\n\r\n", "a".repeat(8 * 1024 - 9));
    let whole = post("keep-alive", &format!("5\r\nhello\r\n0\r\n{trailers}"));
    for part in whole.as_bytes().chunks(37) {
        client.send(part);
    }
    assert_eq!(client.response().body, b"ok");
    let request = got.recv().expect("it came").expect("it is whole");
    assert!(request.ends_with(&trailers));
}

#[test]
fn invalid_trailers_of_a_request_are_answered_400_and_blamed_on_the_client() {
    let (address, got) = answering(OK);
    let rig = Rig::new(&[address], "");
    let long = format!("X-Sum: {}\r\n\r\n", "a".repeat(8 * 1024));
    let many = format!("{}\r\n", "X: a\r\n".repeat(65));
    let invalid = [
        "X : a\r\n\r\n",
        "X: a\r\n b\r\n\r\n",
        "X: a\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\n",
        &long,
        &many,
    ];
    for trailers in invalid {
        let mut client = client(&rig);
        client.send(post("keep-alive", "5\r\nhello\r\n0\r\n"));
        client.send(trailers);
        let response = client.response();
        assert_eq!(response.status, 400, "{trailers:?}");
        let status = response.header("proxy-status").unwrap_or_default();
        assert!(status.contains("bad-trailer"), "{status}");
        assert_eq!(client.rest(), b"", "{trailers:?}");
        // It gets no end of the request: perhaps nothing at all, if the attempt had not begun to send.
        if let Ok(request) = got.recv().expect("its connection ended") {
            panic!("{trailers:?} was passed on: {request:?}");
        }
    }
    rig.wait_for(|rig| {
        let cancelled = counter(rig, "evenkeel_attempts_total", &["shop", "cancelled"]);
        cancelled == invalid.len() as u64
    });
    let blamed = counter(&rig, "evenkeel_attempts_total", &["shop", "bad-response"]);
    assert_eq!(blamed, 0);
}

/// What is sent again is what was sent: the first server closes when it has all of it.
#[test]
fn a_request_that_is_sent_again_has_the_same_trailers() {
    let (to_test, got) = mpsc::channel();
    let closes = move |connection: &mut Connection| {
        let bytes = Vec::new();
        let request = Incoming { connection, bytes }.request();
        to_test.send(request).ok();
    };
    let (bad, _) = server(closes);
    let (good, then) = answering(OK);
    let rig = Rig::new(&[bad, good], "balance = { policy = \"round-robin\" }\n");
    let body = format!("5\r\nhello\r\n0\r\n{TRAILERS}");
    let mut both = 0;
    for _ in 0..4 {
        let mut client = client(&rig);
        client.send(post("x-hop", &body).replacen("POST", "PUT", 1));
        assert_eq!(client.response().body, b"ok");
        let request = then.recv().expect("it came").expect("it is whole");
        assert!(request.ends_with("0\r\nX-Sum: 1\r\nX-Env: theirs\r\nX-Last:\r\n\r\n"));
        if let Ok(first) = got.try_recv() {
            assert_eq!(first.expect("it is whole"), request);
            both += 1;
        }
    }
    assert!(both > 0, "the first server got none");
}

#[test]
fn trailers_of_a_response_reach_the_client_by_the_rules_of_its_header() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nTransfer-Encoding: chunked\r\n\r\n";
    const LENGTH: usize = "5\r\nhello\r\n0\r\n".len() + TRAILERS.len();
    let (address, _) = server(|connection| {
        connection.stream.set_nodelay(true).ok();
        let whole = format!("{HEAD}5\r\nhello\r\n0\r\n{TRAILERS}");
        let mut cut = whole.len() - LENGTH;
        while connection.request().is_some() {
            let (first, second) = whole.split_at(cut.min(whole.len()));
            connection.answer(first);
            connection.answer(second);
            cut += 3;
        }
    });
    let rig = Rig::new(&[address], EDITED);
    let requests = LENGTH / 3 + 1;
    let mut client = rig.client();
    for _ in 0..requests {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let passed = format!("5\r\nhello\r\n0\r\n{PASSED}");
        let mut all = Vec::new();
        while !all.ends_with(passed.as_bytes()) {
            let mut part = [0; 4096];
            let n = common::read_some(&client.stream, &mut part).expect("an answer");
            assert!(n > 0, "{:?}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&part[..n]);
        }
        let body = all.windows(4).position(|four| four == b"\r\n\r\n");
        assert_eq!(body.map(|at| &all[at + 4..]), Some(passed.as_bytes()));
    }
    rig.wait_for(|rig| rig.totals().requests == requests as u64);
    let opened = counter(&rig, "evenkeel_server_connections_total", &["shop"]);
    assert_eq!(
        opened, 1,
        "the connection stands at the end of each response"
    );
}

#[test]
fn invalid_trailers_of_a_response_are_the_servers_fault() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let many: &'static str = format!("{}\r\n", "X: a\r\n".repeat(65)).leak();
    let long: &'static str = format!("X: {}\r\n\r\n", "a".repeat(8 * 1024)).leak();
    for trailers in [
        "X : a\r\n\r\n",
        "X: a\n\r\n",
        "nonsense\r\n\r\n",
        many,
        long,
    ] {
        let (may_go_on, goes_on) = mpsc::channel::<()>();
        let goes_on = std::sync::Mutex::new(goes_on);
        let (address, _) = server(move |connection| {
            let begin = format!("{HEAD}5\r\nhello\r\n0\r\n");
            while let Some(request) = connection.request() {
                if request.starts_with("GET /whole") {
                    connection.answer(format!("{begin}{trailers}"));
                } else {
                    connection.answer(&begin);
                    goes_on.lock().expect("no panic").recv().ok();
                    connection.answer(trailers);
                }
            }
        });
        let rig = Rig::new(&[address], "retry = { limit = 0 }\n");
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut all = Vec::new();
        while !all.ends_with(b"hello\r\n0\r\n") {
            let mut part = [0; 4096];
            let n = common::read_some(&client.stream, &mut part).expect("an answer");
            assert!(n > 0, "{:?}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&part[..n]);
        }
        may_go_on.send(()).expect("the server waits");
        // Something has reached the client, so all that can be done is to break off before the end of the body.
        assert_eq!(client.rest(), b"", "{trailers:?}");
        let count =
            |rig: &Rig, outcome| counter(rig, "evenkeel_attempts_total", &["shop", outcome]);
        rig.wait_for(|rig| count(rig, "bad-response") == 1);
        // What came with the head is looked at before anything is passed on.
        let response = rig.client().get("/whole");
        if trailers.len() < 100 {
            assert_eq!(response.status, 502, "{trailers:?}");
            let why = response.header("proxy-status").unwrap_or_default();
            assert!(why.contains("bad-response; trailers are at most"), "{why}");
        }
        rig.wait_for(|rig| count(rig, "bad-response") == 2);
        assert_eq!(count(&rig, "success"), 0);
    }
}

/// An HTTP/1.0 client knows no chunks: it gets the content.
#[test]
fn a_client_of_http_1_0_gets_no_trailers() {
    let (address, _) = server(|connection| {
        while connection.request().is_some() {
            connection
                .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            connection.answer(format!("0\r\n{TRAILERS}"));
        }
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client
        .stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .expect("it reads");
    assert!(client.rest().ends_with(b"\r\n\r\nhello"));
}
