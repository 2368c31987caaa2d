//! Requests in quarantine get to no server; of those that are watched, and of what breaks, it is told what became of them.

mod common;

use common::{Rig, always, counter, server};
use evenkeel_core::{ExactShape, Exposure, ExposureEvent, Instant, ServiceId, ShapeOrders};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SPARE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nspare";

fn shape(rig: &Rig, target: &str) -> ExactShape {
    let head = format!("GET {target} HTTP/1.1\r\n");
    rig.proxy().state().exact_shape(head.as_bytes())
}

/// Refuses and watches these.
fn order(rig: &Rig, refused: &[&str], watched: &[&str]) {
    rig.proxy().state().set_shapes(&ShapeOrders {
        service: ServiceId(0),
        refused: (refused.iter())
            .map(|target| (shape(rig, target).path, Instant::NEVER))
            .collect(),
        watched: (watched.iter())
            .map(|target| shape(rig, target).path)
            .collect(),
        until: Instant::NEVER,
    });
}

fn words(exposures: &[Exposure]) -> Vec<&'static str> {
    let word = |exposure: &Exposure| match exposure.what {
        ExposureEvent::Began => "began",
        ExposureEvent::Survived => "survived",
        ExposureEvent::Unsent => "unsent",
        ExposureEvent::Broke { .. } => "broke",
    };
    exposures.iter().map(word).collect()
}

#[test]
fn what_is_in_quarantine_gets_503_and_no_server_sees_it() {
    let (shop, seen) = always(OK);
    let rig = Rig::new(&[shop], "");
    let mut client = rig.client();
    assert_eq!(client.get("/crash").status, 200);
    let before = seen.lock().expect("no panic").len();
    order(&rig, &["/crash"], &[]);
    for target in ["/crash", "/crash?again"] {
        let response = client.get(target);
        assert_eq!(response.status, 503);
        assert_eq!(response.header("retry-after"), Some("3600"));
        let why = response.header("proxy-status").unwrap_or_default();
        assert!(why.contains("details=\"quarantined\""), "{why}");
    }
    assert_eq!(seen.lock().expect("no panic").len(), before);
    assert_eq!(client.get("/").status, 200);
    let refused = counter(&rig, "evenkeel_quarantine_refused_total", &["shop"]);
    assert_eq!(refused, 2);
    order(&rig, &[], &[]);
    assert_eq!(client.get("/crash").status, 200);
}

#[test]
fn a_fallback_body_answers_for_it_and_another_service_does_not() {
    let (shop, _) = always(OK);
    let rig = Rig::new(&[shop], "fallback = { status = 200, body = \"soon\" }\n");
    order(&rig, &["/crash"], &[]);
    assert_eq!(rig.client().get("/crash").body, b"soon");

    let ((shop, _), (next, seen)) = (always(OK), always(SPARE));
    let extra =
        format!("fallback = {{ service = \"next\" }}\n[service.next]\nservers = [\"{next}\"]\n");
    let rig = Rig::new(&[shop], &extra);
    order(&rig, &["/crash"], &[]);
    assert_eq!(rig.client().get("/crash").status, 503);
    assert!(seen.lock().expect("no panic").is_empty());
}

#[test]
fn watched_attempts_are_told_of_and_others_only_if_they_break() {
    let (shop, _) = server(|connection| {
        while let Some(request) = connection.request() {
            if request.starts_with("GET /crash") {
                return;
            }
            connection.answer(OK);
        }
    });
    let mut rig = Rig::new(&[shop], "");
    let mut signals = rig.take_signals();
    assert_eq!(rig.client().get("/").status, 200);
    assert!(signals.exposures().is_empty());
    // Its connection breaks, and once more when it is tried again.
    assert_eq!(rig.client().get("/crash?x").status, 502);
    let told = signals.exposures();
    assert!(words(&told).iter().all(|word| *word == "broke"), "{told:?}");
    let ExposureEvent::Broke { text, route, .. } = &told[0].what else {
        panic!("{told:?}")
    };
    assert_eq!(text.path, "GET /crash");
    assert!(text.is_route && route.is_known());
    assert_eq!(told[0].shape, shape(&rig, "/crash?x"));
    order(&rig, &[], &["/slow"]);
    assert_eq!(rig.client().get("/slow?y").status, 200);
    assert_eq!(rig.client().get("/").status, 200);
    let told = signals.exposures();
    assert_eq!(words(&told), ["began", "survived"]);
    assert_eq!(told[1].shape, shape(&rig, "/slow?y"));
}
