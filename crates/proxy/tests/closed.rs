//! A route that is closed: one request of it tries the servers, the others are answered at once; an answer opens it.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use common::{Rig, counter, server};
use evenkeel_core::{ClosedRoute, Instant, LimitHint, RequestShape, ServiceId, ServiceOrders};

const BAD: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nbad";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// While it is false, `/slow` hangs.
static IS_WELL: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

fn order(rig: &Rig, closed: &[ClosedRoute]) {
    rig.proxy().state().set_service(&ServiceOrders {
        closed: closed.to_vec(),
        ..ServiceOrders::none(ServiceId(0))
    });
}

#[test]
fn a_trial_waits_all_others_are_answered_at_once_and_its_answer_opens_the_route() {
    let (shop, seen) = server(|connection| {
        while let Some(request) = connection.request() {
            if request.starts_with("GET /slow") {
                let is_well = IS_WELL.0.lock().expect("no panic");
                drop(IS_WELL.1.wait_while(is_well, |well| !*well));
            }
            connection.answer(OK);
        }
    });
    // Between two trials lies a quarter of it: nothing here takes so long.
    let rig = Rig::new(
        &[shop],
        "timeout = { attempt = \"10m\", total = \"10m\" }\n",
    );
    order(
        &rig,
        &[ClosedRoute::Route(RequestShape::of(b"GET", b"/slow").route)],
    );
    let mut first = rig.client();
    first.send("GET /slow?1 HTTP/1.1\r\nHost: test\r\n\r\n");
    let slow = || {
        let seen = seen.lock().expect("no panic");
        seen.iter()
            .filter(|head| head.starts_with("GET /slow"))
            .count()
    };
    rig.wait_for(|_| slow() == 1);
    let mut client = rig.client();
    for _ in 0..20 {
        let answer = client.get("/slow?2");
        assert_eq!(answer.status, 503);
        // Until the next trial.
        let seconds = answer
            .header("retry-after")
            .and_then(|text| text.parse().ok());
        assert!(seconds.is_some_and(|seconds: u32| (100..=150).contains(&seconds)));
        let why = answer.header("proxy-status").unwrap_or_default();
        assert!(why.contains("details=\"route-broken\""), "{why}");
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(slow(), 1);
    assert_eq!(counter(&rig, "evenkeel_route_refused_total", &["shop"]), 20);
    assert_eq!(counter(&rig, "evenkeel_routes_closed", &["shop"]), 1);

    *IS_WELL.0.lock().expect("no panic") = true;
    IS_WELL.1.notify_all();
    assert_eq!(first.response().status, 200);
    for _ in 0..20 {
        assert_eq!(client.get("/slow?3").status, 200);
    }
    assert_eq!(
        counter(&rig, "evenkeel_route_trials_total", &["shop", "answered"]),
        21
    );
    order(&rig, &[]);
    assert_eq!(client.get("/slow?4").status, 200);
    assert_eq!(counter(&rig, "evenkeel_routes_closed", &["shop"]), 0);
    assert_eq!(
        counter(&rig, "evenkeel_route_trials_total", &["shop", "answered"]),
        21
    );
}

#[test]
fn a_fallback_answers_for_it() {
    let (shop, _) = common::always(OK);
    let rig = Rig::new(
        &[shop],
        "timeout = { attempt = \"10m\", total = \"10m\" }\nfallback = { status = 200, body = \"soon\" }\n",
    );
    let post = ClosedRoute::Method(RequestShape::of(b"GET", b"/").method);
    // Its first request is a trial, which does not end: the server never hears of it.
    order(&rig, &[post]);
    let mut first = rig.client();
    first.send("GET /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    rig.wait_for(|rig| {
        let mut client = rig.client();
        client.get("/").body == b"soon"
    });
}

/// Whoever ordered it may be gone: the first request after the orders have run out takes the bounds off.
#[test]
fn bounds_that_are_not_renewed_are_taken_off() {
    let (shop, _) = common::always(OK);
    let rig = Rig::new(&[shop], "");
    let order = |until| {
        let hint = LimitHint {
            initial: 7,
            ..LimitHint::default()
        };
        rig.proxy().state().set_service(&ServiceOrders {
            limits: vec![hint],
            until,
            ..ServiceOrders::none(ServiceId(0))
        });
    };
    let limit = || counter(&rig, "evenkeel_server_limit", &["shop"]);
    let found = || counter(&rig, "evenkeel_limits_found", &["shop"]);
    let mut client = rig.client();
    order(Instant::NEVER);
    assert_eq!(client.get("/").status, 200);
    assert_eq!((limit(), found()), (7, 1));
    order(rig.clock.now());
    assert_eq!(client.get("/").status, 200);
    assert_eq!((limit(), found()), (0, 0));
    assert_eq!(client.get("/").status, 200);
    // The next orders are like the first.
    order(Instant::NEVER);
    assert_eq!(client.get("/").status, 200);
    assert_eq!((limit(), found()), (7, 1));
}

/// The server fails until it is told otherwise: each failure closes it again, and the first success opens it.
#[test]
fn what_is_answered_for_opens_with_a_success() {
    let is_well = Arc::new(AtomicBool::new(false));
    let of_server = Arc::clone(&is_well);
    let (shop, seen) = server(move |connection| {
        while connection.request().is_some() {
            let is_well = of_server.load(Ordering::Relaxed);
            connection.answer(if is_well { OK } else { BAD });
        }
    });
    let rig = Rig::new(&[shop], "fallback = { status = 200, body = \"soon\" }\n");
    rig.proxy().state().set_service(&ServiceOrders {
        closed: vec![ClosedRoute::All],
        until_success: true,
        ..ServiceOrders::none(ServiceId(0))
    });
    let mut client = rig.client();
    // The first is a trial, whose failure is passed on.
    assert_eq!(client.get("/").status, 500);
    let answer = client.get("/");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"soon"[..]));
    let trials = |outcome| counter(&rig, "evenkeel_route_trials_total", &["shop", outcome]);
    assert_eq!((trials("failed"), trials("answered")), (1, 0));
    is_well.store(true, Ordering::Relaxed);
    rig.wait_for(|rig| rig.client().get("/").body == b"ok");
    for _ in 0..20 {
        assert_eq!(client.get("/").body, b"ok");
    }
    assert!(trials("answered") >= 20 && seen.lock().expect("no panic").len() >= 22);
}

/// Orders that make the first tier give way reach the balancer, and end with it.
#[test]
fn the_first_tier_gives_way_while_it_is_ordered() {
    let (first, seen_first) = common::always(OK);
    let (behind, seen_behind) = common::always(OK);
    let servers =
        format!("servers = [\"{first}\", {{ address = \"{behind}\", tier = \"backup\" }}]");
    let rig = Rig::of(&format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\n{servers}\n"
    ));
    let order = |fails_over, until| {
        rig.proxy().state().set_service(&ServiceOrders {
            fails_over,
            until,
            ..ServiceOrders::none(ServiceId(0))
        });
    };
    let seen = || [&seen_first, &seen_behind].map(|seen| seen.lock().expect("no panic").len());
    let failed_over = || counter(&rig, "evenkeel_failed_over", &["shop"]);
    let mut client = rig.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!((seen(), failed_over()), ([20, 0], 0));
    order(true, Instant::NEVER);
    for _ in 0..100 {
        assert_eq!(client.get("/").status, 200);
    }
    let [first, behind] = seen();
    assert!(first <= 40 && behind >= 80, "{first} {behind}");
    assert_eq!(failed_over(), 1);
    // Nobody renews it.
    order(true, rig.clock.now());
    assert_eq!(client.get("/").status, 200);
    let [first, _] = seen();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!((seen()[0], failed_over()), (first + 20, 0));
}
