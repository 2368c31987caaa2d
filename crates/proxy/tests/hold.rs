//! Requests that wait for the first server that comes back, while none is left and at least one is being repaired.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::*;
use evenkeel_core::{Directive, EjectionReason, Instant, ServerId, ServiceId};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HOLD: &str = "[service.shop.hold_requests]\nup_to = \"60s\"\n";
/// A guard against a test that hangs.
const HANG: Duration = Duration::from_secs(30);

fn apply(rig: &Rig, directive: Directive) {
    rig.proxy().state().apply(&directive, rig.clock.now());
}

fn server_id(index: u32) -> ServerId {
    ServerId::new(0, index)
}

/// As the control loop says it of a process that has ended.
fn eject(rig: &Rig, index: u32) {
    apply(
        rig,
        Directive::Eject {
            server: server_id(index),
            verdict: EjectionReason::Known,
            until: Instant::NEVER,
        },
    );
}

fn repair(rig: &Rig, index: u32) {
    apply(
        rig,
        Directive::Repair {
            server: server_id(index),
            until: Instant::NEVER,
        },
    );
}

fn restore(rig: &Rig, index: u32) {
    apply(
        rig,
        Directive::Restore {
            server: server_id(index),
            slowly: true,
        },
    );
}

fn held(rig: &Rig) -> u32 {
    rig.proxy().state().services()[0].held()
}

fn entered(rig: &Rig) -> u64 {
    counter(rig, "evenkeel_held_requests_total", &["shop"])
}

fn gave_up(rig: &Rig, reason: &str) -> u64 {
    counter(
        rig,
        "evenkeel_held_requests_given_up_total",
        &["shop", reason],
    )
}

fn cause(response: &Response) -> String {
    let status = response.header("proxy-status").unwrap_or_default();
    let details = status.split("details=\"").nth(1).unwrap_or_default();
    details.split('"').next().unwrap_or_default().to_owned()
}

/// Sends a request of which it is waited until it is held as the `number`th.
fn wait_held(rig: &Rig, number: u32, request: &str) -> Client {
    let mut client = rig.client();
    client.send(request);
    rig.wait_for(|rig| held(rig) == number);
    client
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// Servers that are well, and out of service; the first one is being repaired.
fn all_out(extra: &str) -> (Rig, Vec<Seen>) {
    let (addresses, seen): (Vec<_>, Vec<_>) = (0..3).map(|_| always(OK)).unzip();
    let rig = Rig::new(&addresses, extra);
    repair(&rig, 0);
    (0..3).for_each(|index| eject(&rig, index));
    (rig, seen)
}

#[test]
fn they_are_answered_by_the_first_that_comes_back_in_the_order_in_which_they_came() {
    // One at a time, so that the order can be seen.
    let limit = "[service.shop.limit]\nconcurrency = 1\nqueue = { wait = \"30s\" }\n";
    for back in 0..2 {
        let (rig, seen) = all_out(&format!("{HOLD}{limit}"));
        let mut clients: Vec<Client> = (0..6)
            .map(|number| wait_held(&rig, number + 1, &get(&format!("/{number}"))))
            .collect();
        assert_eq!(rig.totals().requests, 0);
        if back == 0 {
            restore(&rig, 1);
        } else {
            apply(
                &rig,
                Directive::Trial {
                    server: server_id(1),
                    share: 0.1,
                    until: Instant::NEVER,
                },
            );
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
        let seen = seen[1].lock().expect("no panic");
        let paths = seen.iter().map(|request| request.split(' ').nth(1));
        let order: Vec<&str> = paths.flatten().collect();
        assert_eq!(order, ["/0", "/1", "/2", "/3", "/4", "/5"]);
        rig.wait_for(|rig| rig.totals().requests == 6);
        assert_eq!((rig.totals().failed, held(&rig), entered(&rig)), (0, 0, 6));
    }
}

#[test]
fn without_the_key_or_a_repair_they_fail_at_once() {
    let (rig, _) = all_out("");
    assert_eq!(rig.client().get("/").status, 503);
    let (rig, _) = all_out(HOLD);
    apply(
        &rig,
        Directive::Repair {
            server: server_id(0),
            until: rig.clock.now(),
        },
    );
    let response = rig.client().get("/");
    assert_eq!(
        (response.status, cause(&response).as_str()),
        (503, "no-server")
    );
    assert_eq!((entered(&rig), gave_up(&rig, "no-repair")), (0, 1));
}

#[test]
fn a_repair_that_is_given_up_ends_the_wait() {
    let (rig, _) = all_out(HOLD);
    let mut client = wait_held(&rig, 1, &get("/"));
    repair(&rig, 1);
    let ends = |index| Directive::Repair {
        server: server_id(index),
        until: rig.clock.now(),
    };
    apply(&rig, ends(0));
    assert_eq!(held(&rig), 1, "the other one is still being repaired");
    apply(&rig, ends(1));
    assert_eq!(cause(&client.response()), "no-server");
    assert_eq!(gave_up(&rig, "no-repair"), 1);
}

#[test]
fn only_so_many_and_so_many_bytes_wait() {
    let (rig, _) =
        all_out("[service.shop.hold_requests]\nup_to = \"60s\"\nrequests = 2\nbytes = \"4KiB\"\n");
    let large = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX-Fill: {}\r\n\r\n",
        "x".repeat(5_000)
    );
    let mut client = rig.client();
    client.send(&large);
    assert_eq!(cause(&client.response()), "no-server");
    let mut clients = [wait_held(&rig, 1, &get("/")), wait_held(&rig, 2, &get("/"))];
    assert_eq!(cause(&rig.client().get("/")), "no-server");
    assert_eq!(gave_up(&rig, "full"), 2);
    let bytes = number(&rig, "evenkeel_held_bytes", &["shop"]);
    assert!(bytes > 20.0 && bytes < 4_096.0, "{bytes}");
    restore(&rig, 0);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(number(&rig, "evenkeel_held_bytes", &["shop"]).to_bits(), 0);
}

#[test]
fn a_client_that_is_gone_frees_its_place() {
    let (rig, seen) = all_out("[service.shop.hold_requests]\nup_to = \"60s\"\nrequests = 1\n");
    let client = wait_held(&rig, 1, &get("/gone"));
    socket2::SockRef::from(&client.stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(client);
    rig.wait_for(|rig| gave_up(rig, "client-gone") == 1 && held(rig) == 0);
    let mut client = wait_held(&rig, 1, &get("/here"));
    restore(&rig, 0);
    assert_eq!(client.response().status, 200);
    assert_eq!(seen[0].lock().expect("no panic").len(), 1);
}

#[test]
fn it_waits_as_long_as_it_may_and_no_longer_than_the_request_may_take() {
    let (rig, _) = all_out("[service.shop.hold_requests]\nup_to = \"200ms\"\n");
    let began = rig.clock.now();
    let response = rig.client().get("/");
    assert_eq!(
        (response.status, cause(&response).as_str()),
        (503, "no-server")
    );
    assert!(rig.clock.now() - began >= Duration::from_millis(200));
    assert_eq!(gave_up(&rig, "up-to"), 1);
    let timeout = "[service.shop.timeout]\ntotal = \"200ms\"\n";
    let (rig, _) = all_out(&format!("{HOLD}{timeout}"));
    let response = rig.client().get("/");
    assert_eq!(
        (response.status, cause(&response).as_str()),
        (504, "total-timeout")
    );
    assert_eq!(gave_up(&rig, "deadline"), 1);
}

#[test]
fn maintenance_and_the_end_of_the_program_end_it() {
    let (mut rig, _) = all_out(HOLD);
    let mut client = wait_held(&rig, 1, &get("/"));
    rig.proxy().state().set_maintenance(ServiceId(0), true);
    assert_eq!(cause(&client.response()), "maintenance");
    assert_eq!(gave_up(&rig, "maintenance"), 1);
    rig.proxy().state().set_maintenance(ServiceId(0), false);
    let mut client = wait_held(&rig, 1, &get("/"));
    assert!(rig.drain(HANG));
    assert_eq!(cause(&client.response()), "no-server");
}

/// Its body is not kept, and none of it was sent.
#[test]
fn a_body_that_is_streamed_waits_before_its_first_attempt() {
    let (rig, seen) = all_out(HOLD);
    let body = "b".repeat(200_000);
    let mut client = wait_held(
        &rig,
        1,
        &format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ),
    );
    restore(&rig, 2);
    client.send(&body);
    assert_eq!(client.response().status, 200);
    assert!(seen[2].lock().expect("no panic")[0].ends_with(&body));
}

/// A server that says when a request has come, and closes the connection on the word; well again once it is told so.
struct Mortal {
    address: std::net::SocketAddr,
    came: mpsc::Receiver<()>,
    die: mpsc::Sender<()>,
    well: Arc<AtomicBool>,
}

fn mortal() -> Mortal {
    let ((came_in, came), (die, word)) = (mpsc::channel(), mpsc::channel());
    let (came_in, word) = (Mutex::new(came_in), Mutex::new(word));
    let well = Arc::<AtomicBool>::default();
    let is_well = Arc::clone(&well);
    let (address, _) = server(move |connection| {
        while connection.request().is_some() {
            if is_well.load(Ordering::SeqCst) {
                connection.answer(OK);
                continue;
            }
            came_in.lock().expect("no panic").send(()).ok();
            word.lock().expect("no panic").recv().ok();
            return;
        }
    });
    Mortal {
        address,
        came,
        die,
        well,
    }
}

#[test]
fn what_was_in_flight_when_the_last_server_died_waits_if_it_may_be_sent_again() {
    for (method, waits) in [("GET", true), ("POST", false)] {
        let mortal = mortal();
        let rig = Rig::new(&[mortal.address], HOLD);
        let mut client = rig.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        ));
        mortal.came.recv_timeout(HANG).expect("it comes");
        repair(&rig, 0);
        eject(&rig, 0);
        mortal.die.send(()).expect("it listens");
        if waits {
            rig.wait_for(|rig| held(rig) == 1);
            mortal.well.store(true, Ordering::SeqCst);
            restore(&rig, 0);
            assert_eq!(client.response().status, 200);
        } else {
            assert_eq!(cause(&client.response()), "reset");
            assert_eq!(entered(&rig), 0);
        }
    }
}

/// Two servers died with it: if a third one did so without it, it is not what kills them, and waits like others.
#[test]
fn what_two_servers_did_not_survive_waits_for_one_that_dies_without_it() {
    let retry = "[service.shop.retry]\nbackoff = { base = \"1ms\", cap = \"1ms\" }\n";
    for is_innocent in [true, false] {
        let ((one, two), (third, _)) = ((mortal(), mortal()), always(OK));
        let hold = "[service.shop.hold_requests]\nup_to = \"2s\"\n";
        let rig = Rig::new(
            &[one.address, two.address, third],
            &format!("{hold}{retry}[service.shop.balance]\npanic_below = 0\n"),
        );
        // Out for a moment, so that the request goes to the other two.
        apply(
            &rig,
            Directive::Eject {
                server: server_id(2),
                verdict: EjectionReason::Suspected,
                until: Instant::NEVER,
            },
        );
        let mut client = rig.client();
        client.send(get("/"));
        for server in [0, 1].iter().cycle() {
            let (mortal, index) = if *server == 0 { (&one, 0) } else { (&two, 1) };
            if mortal.came.recv_timeout(Duration::from_millis(20)).is_ok() {
                repair(&rig, index);
                eject(&rig, index);
                mortal.die.send(()).expect("it listens");
                if rig.proxy().state().services()[0]
                    .servers()
                    .pool()
                    .in_service(rig.clock.now())
                    == 0
                {
                    break;
                }
            }
        }
        rig.wait_for(|rig| held(rig) == 1);
        if is_innocent {
            repair(&rig, 2);
            restore(&rig, 2);
            assert_eq!(client.response().status, 200);
        } else {
            // The others come back; that says nothing.
            one.well.store(true, Ordering::SeqCst);
            restore(&rig, 0);
            assert_eq!(cause(&client.response()), "reset");
        }
    }
}

/// It may be what kills them.
#[test]
fn what_two_servers_did_not_survive_is_not_held() {
    let mortal = mortal();
    let retry = "[service.shop.retry]\nbackoff = { base = \"1ms\", cap = \"1ms\" }\n";
    let rig = Rig::new(&[mortal.address], &format!("{HOLD}{retry}"));
    let mut client = rig.client();
    client.send(get("/"));
    for _ in 0..2 {
        mortal.came.recv_timeout(HANG).expect("it comes");
        mortal.die.send(()).expect("it listens");
    }
    assert_eq!(cause(&client.response()), "reset");
    assert_eq!(entered(&rig), 0);
}

/// The control loop has not spoken yet.
#[test]
fn servers_that_have_just_died_are_given_a_moment_and_only_once() {
    let (well, _) = always(OK);
    let hold = "[service.shop.hold_requests]\nup_to = \"2s\"\n";
    let rig = Rig::new(&[nowhere(), well], hold);
    eject(&rig, 1);
    // It is tried again as soon as another one is there, also with a method that is sent only once: nobody has seen it.
    for method in ["GET", "POST"] {
        let mut client = wait_held(
            &rig,
            1,
            &format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
        );
        restore(&rig, 1);
        assert_eq!(client.response().status, 200);
        eject(&rig, 1);
    }
    // Nobody says anything.
    let began = rig.clock.now();
    assert_eq!(cause(&rig.client().get("/")), "connect-refused");
    assert!(rig.clock.now() - began >= Duration::from_secs(2));
    assert_eq!((entered(&rig), gave_up(&rig, "up-to")), (3, 1));
    // So the next ones do not wait …
    assert_eq!(cause(&rig.client().get("/")), "connect-refused");
    assert_eq!((entered(&rig), gave_up(&rig, "no-repair")), (3, 1));
    // … until there is something to wait for.
    repair(&rig, 1);
    let mut client = wait_held(&rig, 1, &get("/"));
    restore(&rig, 1);
    assert_eq!(client.response().status, 200);
}

#[test]
fn requests_that_a_server_can_take_are_not_held() {
    let (well, _) = always(OK);
    let rig = Rig::new(&[nowhere(), well], HOLD);
    repair(&rig, 0);
    eject(&rig, 0);
    for _ in 0..20 {
        assert_eq!(rig.client().get("/").status, 200);
    }
    assert_eq!(entered(&rig), 0);
}
