//! Orders: which reach the program, and which are rejected.

use crate::fake::{Fake, request};
use crate::{ask, error, post, with_token};
use evenkeel_admin::{AdminRequest, AdminResponse, Order, OrderError, ServerToAdd};
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
        (OrderError::Invalid(why()), 400),
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

/// A change of servers, with its body.
fn change(live: &Fake, method: &str, target: &str, body: &str) -> AdminResponse {
    let request = AdminRequest {
        body: body.as_bytes().to_vec(),
        ..request(method, target)
    };
    ask(live, &with_token(request))
}

#[test]
fn changes_of_servers_reach_the_program() {
    let live = Fake::default();
    let (service, server) = (|| "shop".to_owned(), || "shop-1".to_owned());
    let servers = "/api/services/shop/servers";
    let one = "/api/services/shop/servers/shop-1";
    for (method, target, body, order) in [
        (
            "POST",
            servers.to_owned(),
            r#"{"name": "c", "address": "127.0.0.1:9003", "weight": 2, "tier": 1, "max_requests": 7, "persist": true}"#,
            Order::AddServer {
                service: service(),
                server: ServerToAdd {
                    name: Some("c".to_owned()),
                    address: ([127, 0, 0, 1], 9003).into(),
                    weight: Some(2),
                    tier: Some(1),
                    max_requests: Some(7),
                },
                persist: true,
            },
        ),
        (
            "DELETE",
            format!("{one}?persist=true&by=ada"),
            "",
            Order::RemoveServer {
                service: service(),
                server: server(),
                persist: true,
            },
        ),
        (
            "PUT",
            format!("{one}/weight"),
            r#"{"weight": 5}"#,
            Order::SetWeight {
                service: service(),
                server: server(),
                weight: 5,
                persist: false,
            },
        ),
        (
            "PUT",
            format!("{one}/max-requests"),
            r#"{"max_requests": 0, "persist": true}"#,
            Order::SetMaxRequests {
                service: service(),
                server: server(),
                max_requests: 0,
                persist: true,
            },
        ),
    ] {
        let response = change(&live, method, &target, body);
        assert_eq!(response.status, 200, "{target}: {}", response.body);
        assert_eq!(live.orders.lock().unwrap().pop(), Some(order), "{target}");
    }
    let terms = live.terms.lock().unwrap();
    assert_eq!(terms[1].0.by.as_deref(), Some("ada"));
}

#[test]
fn a_change_of_servers_that_cannot_be_read_or_has_no_target_does_not_reach_the_program() {
    let live = Fake::default();
    let one = "/api/services/shop/servers/shop-1";
    for (method, target, body, status) in [
        ("POST", "/api/services/shop/servers", "", 400),
        ("POST", "/api/services/shop/servers", "{}", 400),
        (
            "POST",
            "/api/services/shop/servers",
            r#"{"address": "shop.internal:80"}"#,
            400,
        ),
        (
            "POST",
            "/api/services/shop/servers",
            r#"{"address": "127.0.0.1:1", "wieght": 2}"#,
            400,
        ),
        (
            "POST",
            "/api/services/none/servers",
            r#"{"address": "127.0.0.1:1"}"#,
            404,
        ),
        ("PUT", "/api/services/shop/servers/shop-1/weight", "5", 400),
        (
            "PUT",
            "/api/services/shop/servers/shop-1/weight",
            r#"{"weight": -1}"#,
            400,
        ),
        (
            "PUT",
            "/api/services/shop/servers/shop-9/weight",
            r#"{"weight": 1}"#,
            404,
        ),
        ("DELETE", "/api/services/shop/servers/shop-9", "", 404),
        (
            "DELETE",
            "/api/services/shop/servers/shop-1?persist=yes",
            "",
            400,
        ),
        ("POST", one, "", 405),
        (
            "POST",
            "/api/services/shop/servers/shop-1/weight",
            r#"{"weight": 1}"#,
            405,
        ),
    ] {
        let response = change(&live, method, target, body);
        assert_eq!(
            response.status, status,
            "{method} {target}: {}",
            response.body
        );
    }
    let without = ask(&live, &request("DELETE", one));
    assert_eq!(without.status, 401, "a change needs the token");
    assert!(live.orders.lock().unwrap().is_empty());
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
