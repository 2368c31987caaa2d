//! A service in maintenance: its requests are answered for it, and no server sees one.

mod common;

use common::{Rig, always, counter};
use evenkeel_core::ServiceId;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SPARE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nspare";
const SHOP: ServiceId = ServiceId(0);

fn maintenance(rig: &Rig, service: ServiceId, on: bool) {
    rig.proxy().state().set_maintenance(service, on);
}

#[test]
fn requests_get_503_and_when_to_come_again() {
    let (shop, seen) = always(OK);
    let rig = Rig::new(&[shop], "");
    let mut client = rig.client();
    assert_eq!(client.get("/").status, 200);
    let before = seen.lock().expect("no panic").len();
    maintenance(&rig, SHOP, true);
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!(response.status, 503);
        assert_eq!(response.header("retry-after"), Some("30"));
        let why = response.header("proxy-status").unwrap_or_default();
        assert!(why.contains("details=\"maintenance\""), "{why}");
    }
    // A body that evenkeel does not pass on is not taken for the next request.
    let mut other = rig.client();
    other.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(other.response().status, 503);
    assert_eq!(seen.lock().expect("no panic").len(), before);
    maintenance(&rig, SHOP, false);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn the_fallback_answers_for_a_service_in_maintenance() {
    let (shop, _) = always(OK);
    let rig = Rig::new(&[shop], "fallback = { status = 200, body = \"soon\" }\n");
    maintenance(&rig, SHOP, true);
    let response = rig.client().get("/");
    assert_eq!(
        (response.status, response.body.as_slice()),
        (200, &b"soon"[..])
    );
    assert_eq!(
        counter(&rig, "evenkeel_fallbacks_total", &["shop", "response"]),
        1
    );
}

#[test]
fn another_service_answers_unless_it_is_in_maintenance_too() {
    let ((shop, _), (next, seen)) = (always(OK), always(SPARE));
    let extra =
        format!("fallback = {{ service = \"next\" }}\n[service.next]\nservers = [\"{next}\"]\n");
    let rig = Rig::new(&[shop], &extra);
    let mut client = rig.client();
    maintenance(&rig, SHOP, true);
    assert_eq!(client.get("/").body, b"spare");
    let before = seen.lock().expect("no panic").len();
    maintenance(&rig, ServiceId(1), true);
    let response = client.get("/");
    assert_eq!(
        (response.status, response.header("retry-after")),
        (503, Some("30"))
    );
    assert_eq!(seen.lock().expect("no panic").len(), before);
}
