//! A client that resets its connection ends whatever its request waits for; one that only closes its sending side does not.

mod common;

use std::cell::RefCell;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use common::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const HANG: Duration = Duration::from_secs(30);

/// What a server saw of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    Request,
    Closed,
}

/// A server that answers a request with `first` at once, and with the rest once it is told.
struct Held {
    address: SocketAddr,
    saw: mpsc::Receiver<Saw>,
    go: mpsc::Sender<()>,
}

impl Held {
    fn new(first: &'static str, rest: &'static str) -> Self {
        Self::build(first, rest, false)
    }

    /// The same, but the first request fails at once.
    fn failing_at_first(first: &'static str, rest: &'static str) -> Self {
        Self::build(first, rest, true)
    }

    fn build(first: &'static str, rest: &'static str, fails: bool) -> Self {
        let fails = AtomicBool::new(fails);
        let ((saw_in, saw), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
        let (saw_in, gone) = (Mutex::new(saw_in), Mutex::new(gone));
        let (address, _) = server(move |connection| {
            // The test may be over, and then nobody listens.
            let tell = |saw| saw_in.lock().expect("no panic").send(saw).ok();
            while connection.request().is_some() {
                tell(Saw::Request);
                if fails.swap(false, Ordering::SeqCst) {
                    connection.answer(BAD);
                    continue;
                }
                connection.answer(first);
                if rest.is_empty() || !wait_for_word(&gone, connection) {
                    break;
                }
                connection.answer(rest);
            }
            while connection.request().is_some() {}
            tell(Saw::Closed);
        });
        Self { address, saw, go }
    }

    fn saw(&self) -> Saw {
        self.saw.recv_timeout(HANG).expect("it sees something")
    }
}

/// False if the connection is closed before the word.
fn wait_for_word(word: &Mutex<mpsc::Receiver<()>>, connection: &Connection) -> bool {
    let step = Some(Duration::from_millis(5));
    connection.stream.set_read_timeout(step).expect("a socket");
    let said = loop {
        if word.lock().expect("no panic").try_recv().is_ok() {
            break true;
        }
        match connection.stream.peek(&mut [0]) {
            Ok(0) => break false,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break false,
            _ => {}
        }
    };
    connection.stream.set_read_timeout(None).expect("a socket");
    said
}

/// Whether an answer, or its beginning, is there.
fn is_answered(client: &Client) -> bool {
    let step = Some(Duration::from_millis(1));
    client.stream.set_read_timeout(step).expect("a socket");
    client.stream.peek(&mut [0]).is_ok()
}

fn begin(rig: &Rig) -> Client {
    let mut client = rig.client();
    client.send(GET);
    client
}

/// Closes it with a reset instead of a FIN.
fn reset(client: Client) {
    socket2::SockRef::from(&client.stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(client);
}

fn attempts(rig: &Rig, outcome: &str) -> u64 {
    counter(rig, "evenkeel_attempts_total", &["shop", outcome])
}

fn count_aborted(rig: &Rig) -> u64 {
    counter(rig, "evenkeel_requests_aborted_total", &["shop"])
}

fn aborted(rig: &Rig, expected: u64) {
    rig.wait_for(|rig| count_aborted(rig) >= expected);
    assert_eq!(count_aborted(rig), expected);
}

fn in_flight(rig: &Rig) -> u64 {
    counter(rig, "evenkeel_server_in_flight", &["shop"])
}

#[test]
fn a_client_reset_removes_its_request_from_the_queue() {
    let held = Held::new("", OK);
    let limit = "[service.shop.limit]\nconcurrency = 1\nqueue = { length = 2, wait = \"30s\" }\n";
    let rig = Rig::new(&[held.address], limit);
    let mut first = begin(&rig);
    assert_eq!(held.saw(), Saw::Request);
    let waiting = || rig.proxy().state().services()[0].waiting();
    let gone = [begin(&rig), begin(&rig)];
    rig.wait_for(|_| waiting() == 2);
    gone.into_iter().for_each(reset);
    rig.wait_for(|_| waiting() == 0);
    aborted(&rig, 2);
    // Both places are free, and nobody was asked for those who have gone.
    let mut last = begin(&rig);
    rig.wait_for(|_| waiting() == 1);
    held.go.send(()).expect("it runs");
    assert_eq!(first.response().body, b"ok");
    assert_eq!(held.saw(), Saw::Request);
    held.go.send(()).expect("it runs");
    assert_eq!(last.response().body, b"ok");
    rig.wait_for(|rig| attempts(rig, "success") == 2);
    assert_eq!(attempts(&rig, "cancelled"), 0);
}

#[test]
fn a_client_reset_ends_the_attempt_without_a_retry() {
    let held = Held::new("", OK);
    let rig = Rig::new(&[held.address], "");
    let client = begin(&rig);
    assert_eq!(held.saw(), Saw::Request);
    reset(client);
    assert_eq!(held.saw(), Saw::Closed);
    aborted(&rig, 1);
    assert_eq!(attempts(&rig, "cancelled"), 1);
    assert_eq!(in_flight(&rig), 0);
    assert_eq!((rig.totals().requests, rig.totals().failed), (1, 0));
    assert!(held.saw.try_recv().is_err());
}

#[test]
fn a_fin_or_more_requests_end_nothing_and_a_reset_behind_them_does() {
    let held = Held::new("", OK);
    let rig = Rig::new(&[held.address], "");
    // Closes its sending side, and still reads.
    let mut client = begin(&rig);
    client.stream.shutdown(Shutdown::Write).expect("a socket");
    assert_eq!(held.saw(), Saw::Request);
    held.go.send(()).expect("it runs");
    assert_eq!(client.response().body, b"ok");
    // Has sent the next request already.
    let mut client = rig.client();
    client.send(GET.repeat(2));
    for _ in 0..2 {
        assert_eq!(held.saw(), Saw::Request);
        held.go.send(()).expect("it runs");
        assert_eq!(client.response().body, b"ok");
    }
    rig.wait_for(|rig| attempts(rig, "success") == 3);
    assert_eq!(count_aborted(&rig), 0);
    // The same two, and then a reset.
    for (behind, expected) in [(true, 1), (false, 2)] {
        let mut client = begin(&rig);
        assert_eq!(held.saw(), Saw::Request);
        if behind {
            client.send(GET);
        } else {
            client.stream.shutdown(Shutdown::Write).expect("a socket");
        }
        reset(client);
        assert_eq!(held.saw(), Saw::Closed);
        aborted(&rig, expected);
    }
}

#[test]
fn a_reset_ends_a_back_off() {
    let (address, seen) = always("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let retry = "[service.shop.retry]\nbackoff = { base = \"40s\", cap = \"40s\", jitter = \"none\" }\n\
                 [service.shop.timeout]\ntotal = \"90s\"\n";
    let rig = Rig::new(&[address], retry);
    let client = begin(&rig);
    rig.wait_for(|rig| attempts(rig, "server-error") == 1);
    reset(client);
    aborted(&rig, 1);
    assert_eq!(seen.lock().expect("no panic").len(), 1);
}

#[test]
fn a_reset_ends_an_injected_delay() {
    let (address, seen) = always(OK);
    let inject = "inject = { delay = { share = 1, time = \"9s\" } }\n";
    let rig = Rig::new(&[address], inject);
    let client = begin(&rig);
    rig.wait_for(|rig| counter(rig, "evenkeel_injected_total", &["shop", "delay"]) == 1);
    reset(client);
    aborted(&rig, 1);
    assert_eq!(seen.lock().expect("no panic").len(), 0);
}

#[test]
fn a_reset_ends_the_wait_for_the_rest_of_an_answer() {
    // Held back until it is whole, or passed on as it comes.
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n";
    for (head, buffer) in [(sized, "1KiB"), (sized, "0B"), (chunked, "0B")] {
        let held = Held::new(head, "");
        let retry = format!("[service.shop.retry]\nresponse_buffer = \"{buffer}\"\n");
        let rig = Rig::new(&[held.address], &retry);
        let client = begin(&rig);
        assert_eq!(held.saw(), Saw::Request);
        rig.wait_for(|rig| in_flight(rig) > 0);
        reset(client);
        assert_eq!(held.saw(), Saw::Closed);
        aborted(&rig, 1);
        assert_eq!(attempts(&rig, "cancelled"), 1);
        assert_eq!(attempts(&rig, "truncated"), 0);
    }
}

#[test]
fn a_reset_ends_an_attempt_and_the_one_beside_it() {
    let (one, two) = (Held::new("", OK), Held::new("", OK));
    let rig = Rig::new(
        &[one.address, two.address],
        "hedge = { after = \"30ms\" }\n",
    );
    let client = begin(&rig);
    assert_eq!((one.saw(), two.saw()), (Saw::Request, Saw::Request));
    reset(client);
    assert_eq!((one.saw(), two.saw()), (Saw::Closed, Saw::Closed));
    aborted(&rig, 1);
    assert_eq!(attempts(&rig, "cancelled"), 2);
    let lost = counter(&rig, "evenkeel_hedges_total", &["shop", "lost"]);
    assert_eq!((lost, in_flight(&rig)), (1, 0));
}

#[test]
fn a_reset_gives_back_the_trial_of_a_breaker() {
    let held = Held::failing_at_first("", OK);
    let breaker = "[service.shop.breaker]\nconsecutive_failures = 1\nopen_for = \"50ms\"\n";
    let rig = Rig::new(&[held.address], breaker);
    assert_eq!(rig.client().get("/").status, 500);
    assert_eq!(held.saw(), Saw::Request);
    for expected in 1..=2 {
        // Refused until the breaker lets one through, which is the trial.
        let trial = RefCell::new(None);
        rig.wait_for(|rig| {
            let client = begin(rig);
            let came = loop {
                if held.saw.recv_timeout(Duration::from_millis(5)).is_ok() {
                    break true;
                }
                if is_answered(&client) {
                    break false;
                }
            };
            *trial.borrow_mut() = came.then_some(client);
            came
        });
        reset(trial.take().expect("one got through"));
        assert_eq!(held.saw(), Saw::Closed);
        rig.wait_for(|rig| attempts(rig, "cancelled") == expected);
    }
}
