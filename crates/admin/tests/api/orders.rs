//! Orders: which reach the program, and which are rejected.

use crate::fake::Fake;
use crate::{error, post};
use evenkeel_admin::Order;
use evenkeel_admin::OrderError;
use evenkeel_fault::maintenance::OrderTerms;
use std::time::Duration;

#[test]
fn orders_reach_the_program() {
    let live = Fake::with_proposal();
    let (service, server) = (|| "shop".to_owned(), || "a long name".to_owned());
    let id = || "2026-11-22-0007".to_owned();
    let on_server = "/api/services/shop/servers/a%20long%20name";
    for (target, order) in [
        (
            format!("{on_server}/drain"),
            Order::Drain {
                service: service(),
                server: server(),
            },
        ),
        (
            format!("{on_server}/restore"),
            Order::Restore {
                service: service(),
                server: server(),
            },
        ),
        (
            format!("{on_server}/eject"),
            Order::Eject {
                service: service(),
                server: server(),
            },
        ),
        (
            format!("{on_server}/restart"),
            Order::Restart {
                service: service(),
                server: server(),
            },
        ),
        (
            format!("/api/incidents/{}/approve", id()),
            Order::Approve(id()),
        ),
        (
            format!("/api/incidents/{}/reject", id()),
            Order::Reject(id()),
        ),
        (format!("/api/incidents/{}/close", id()), Order::Close(id())),
    ] {
        let response = post(&live, &target);
        assert_eq!(response.status, 200, "{target}: {}", response.body);
        assert_eq!(response.body, format!("{{\"message\":\"{order}: done\"}}"));
        assert_eq!(live.orders.lock().unwrap().pop(), Some(order), "{target}");
    }
}

#[test]
fn orders_about_nothing_and_orders_that_cannot_be_done() {
    let live = Fake::with_incident();
    for target in [
        "/api/services/shop/servers/shop-9/drain",
        "/api/services/empty/servers/shop-1/drain",
        "/api/services/none/servers/shop-1/drain",
        "/api/services/shop/servers/shop-1/burn",
        "/api/incidents/2000-01-01-0001/close",
        "/api/incidents/2026-11-22-0007/forget",
    ] {
        assert_eq!(post(&live, target).status, 404, "{target}");
    }
    assert!(live.orders.lock().unwrap().is_empty());
    let live = Fake {
        refusal: Some(OrderError::Refused("it is the last one".to_owned())),
        ..Fake::with_incident()
    };
    let response = post(&live, "/api/services/shop/servers/shop-1/drain");
    assert_eq!(
        (response.status, error(&response).as_str()),
        (409, "it is the last one")
    );
}

#[test]
fn each_outcome_of_an_order_has_its_status() {
    let why = || "why".to_owned();
    for (refusal, status) in [
        (OrderError::Refused(why()), 409),
        (OrderError::Failed(why()), 500),
        (OrderError::Unavailable(why()), 503),
        (OrderError::Unfinished(why()), 504),
    ] {
        let live = Fake {
            refusal: Some(refusal),
            ..Fake::default()
        };
        let response = post(&live, "/api/services/shop/servers/shop-1/restart");
        assert_eq!((response.status, error(&response)), (status, why()));
    }
    let live = Fake {
        takes_time: true,
        ..Fake::default()
    };
    let response = post(&live, "/api/services/shop/servers/shop-1/restore");
    assert_eq!(response.status, 202);
}

#[test]
fn nothing_can_be_decided_about_a_closed_incident() {
    let live = Fake::with_incident();
    for verb in ["approve", "reject", "close"] {
        let response = post(&live, &format!("/api/incidents/2026-11-22-0007/{verb}"));
        assert_eq!(response.status, 409, "{verb}");
        assert!(error(&response).contains("is closed"), "{}", response.body);
    }
    assert!(live.orders.lock().unwrap().is_empty());
}

#[test]
fn the_body_of_an_order_is_validated() {
    let live = Fake::default();
    let on_server = "/api/services/shop/servers/shop-1";
    let terms = "for=30m&reason=a%20new%20disk&by=ada&force=true&wait=10s";
    assert_eq!(
        post(&live, &format!("{on_server}/drain?{terms}")).status,
        200
    );
    let second = Duration::from_secs(1);
    assert_eq!(
        live.terms.lock().unwrap().pop().unwrap(),
        (
            OrderTerms {
                lasts: Some(1800 * second),
                reason: Some("a new disk".to_owned()),
                by: Some("ada".to_owned()),
                force: true,
            },
            Some(10 * second)
        )
    );
    let maintenance = "/api/services/shop/maintenance";
    for (query, on) in [("", true), ("?state=on", true), ("?state=off", false)] {
        assert_eq!(post(&live, &format!("{maintenance}{query}")).status, 200);
        let order = Order::Maintenance {
            service: "shop".to_owned(),
            on,
        };
        assert_eq!(live.orders.lock().unwrap().pop(), Some(order));
    }
    let long = "x".repeat(201);
    for wrong in [
        format!("{on_server}/drain?for=soon"),
        format!("{on_server}/drain?for=0s"),
        format!("{on_server}/drain?wait=11m"),
        format!("{on_server}/drain?force=yes"),
        format!("{on_server}/drain?reason={long}"),
        format!("{on_server}/drain?reason=a%1bb"),
        format!("{on_server}/restart?for=30m"),
        format!("{on_server}/restore?force=true"),
        format!("{maintenance}?state=maybe"),
    ] {
        assert_eq!(post(&live, &wrong).status, 400, "{wrong}");
    }
    assert_eq!(post(&live, "/api/services/none/maintenance").status, 404);
}
