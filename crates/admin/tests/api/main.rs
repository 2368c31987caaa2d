//! The API as a function: the answer of each route, what is rejected, and which orders reach the program.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../fake/mod.rs"]
mod fake;

use std::time::Duration;

use evenkeel_admin::{
    AccessPolicy, AdminRequest, AdminResponse, ConfigurationView, Exposition, IncidentQuery,
    InstanceView, ServiceReport, ServiceView, ServiceWhy, answer,
};

use evenkeel_core::metric::{DurationHistogram, DurationSnapshot, Sink as _};

use evenkeel_fault::Incident;

use fake::{Fake, TOKEN, guard, request};

use serde_json::Value;

mod orders;
mod description;

pub(crate) fn ask(live: &Fake, request: &AdminRequest) -> AdminResponse {
    answer(live, request, &guard())
}

pub(crate) fn get(live: &Fake, target: &str) -> AdminResponse {
    ask(live, &request("GET", target))
}

pub(crate) fn post(live: &Fake, target: &str) -> AdminResponse {
    ask(live, &with_token(request("POST", target)))
}

pub(crate) fn with_token(request: AdminRequest) -> AdminRequest {
    AdminRequest {
        authorization: Some(format!("Bearer {TOKEN}")),
        ..request
    }
}

/// The error of a response, which must be JSON.
pub(crate) fn error(response: &AdminResponse) -> String {
    assert_eq!(response.content_type, "application/json");
    let value: Value = serde_json::from_str(&response.body).unwrap();
    value["error"].as_str().unwrap().to_owned()
}

#[test]
pub(crate) fn services() {
    let live = Fake::default();
    let all = get(&live, "/api/services");
    assert_eq!((all.status, all.content_type), (200, "application/json"));
    assert_eq!(
        serde_json::from_str::<Vec<ServiceView>>(&all.body).unwrap(),
        fake::services()
    );
    let one = get(&live, "/api/services/shop");
    assert_eq!(
        serde_json::from_str::<ServiceView>(&one.body).unwrap(),
        fake::services()[0]
    );
    let none = get(&live, "/api/services/sh%6Fp2");
    assert_eq!(
        (none.status, error(&none).as_str()),
        (404, "there is no service \"shop2\"")
    );
}

#[test]
fn the_state_of_this_evenkeel() {
    let live = Fake::default();
    let status = get(&live, "/api/status");
    assert_eq!(status.status, 200);
    assert_eq!(
        serde_json::from_str::<InstanceView>(&status.body).unwrap(),
        fake::instance()
    );
}

#[test]
fn the_configuration_needs_the_token_because_it_may_hold_secrets() {
    let live = Fake::default();
    assert_eq!(get(&live, "/api/configuration").status, 401);
    for (target, toml) in [
        ("/api/configuration", "# all: false\n"),
        ("/api/configuration?all=true", "# all: true\n"),
    ] {
        let shown = ask(&live, &with_token(request("GET", target)));
        assert_eq!(shown.status, 200);
        let view: ConfigurationView = serde_json::from_str(&shown.body).unwrap();
        assert_eq!(view.toml, toml);
    }
}

#[test]
fn why_a_server_gets_its_share() {
    let live = Fake::default();
    let why = get(&live, "/api/services/shop/why");
    assert_eq!((why.status, why.content_type), (200, "application/json"));
    assert_eq!(
        serde_json::from_str::<ServiceWhy>(&why.body).unwrap(),
        fake::why()
    );
    let none = get(&live, "/api/services/shpo/why");
    assert_eq!(
        (none.status, error(&none).as_str()),
        (404, "there is no service \"shpo\"")
    );
}

#[test]
pub(crate) fn incidents() {
    let live = Fake::with_incident();
    let all = get(&live, "/api/incidents");
    assert_eq!(
        serde_json::from_str::<Vec<Incident>>(&all.body).unwrap(),
        live.incidents
    );
    let one = get(&live, "/api/incidents/2026-11-22-0007");
    assert_eq!(
        serde_json::from_str::<Incident>(&one.body).unwrap(),
        live.incidents[0]
    );
    assert_eq!(get(&live, "/api/incidents/2000-01-01-0001").status, 404);
    get(
        &live,
        "/api/incidents?service=a%2Fb&since=2026-11-22T10:00:00%2B02:00&status=awaiting-approval&limit=7",
    );
    get(&live, "/api/incidents?service=&since=30d&status=");
    let filters = live.filters.lock().unwrap();
    let text = |text: &str| Some(text.to_owned());
    let chosen = IncidentQuery {
        service: text("a/b"),
        since: text("2026-11-22T10:00:00+02:00"),
        status: text("awaiting-approval"),
        limit: 7,
    };
    assert_eq!(filters[1], chosen);
    assert_eq!(
        filters[2],
        IncidentQuery {
            since: text("30d"),
            ..IncidentQuery::default()
        }
    );
}

#[test]
fn queries_that_are_wrong_are_refused_and_not_widened() {
    let live = Fake::default();
    for (query, part) in [
        ("stauts=open", "unknown parameter \"stauts\""),
        ("status=opened", "awaiting-approval"),
        ("since=yesterday", "30d"),
        ("since='%20or%201=1--", "30d"),
        ("limit=0", "from 1 to 1000"),
        ("limit=1001", "from 1 to 1000"),
        ("limit=-1", "from 1 to 1000"),
        ("service=a&service=b", "twice"),
        ("service=%ff", "cannot be read"),
        ("service=%0a", "cannot be read"),
        (&"service=&".repeat(100), "cannot be read"),
        (&format!("service={}", "x".repeat(5000)), "cannot be read"),
    ] {
        let response = get(&live, &format!("/api/incidents?{query}"));
        assert_eq!(response.status, 400, "{query}: {}", response.body);
        assert!(
            error(&response).contains(part),
            "{query}: {}",
            response.body
        );
    }
    assert_eq!(get(&live, "/api/report?until=1d").status, 400);
    assert!(live.filters.lock().unwrap().is_empty() && live.reports.lock().unwrap().is_empty());
}

#[test]
fn the_report_covers_30_days_by_default() {
    let live = Fake::default();
    let response = get(&live, "/api/report?since=7d");
    assert_eq!(
        serde_json::from_str::<Vec<ServiceReport>>(&response.body).unwrap(),
        [fake::report()]
    );
    get(&live, "/api/report");
    assert_eq!(*live.reports.lock().unwrap(), ["7d", "30d"]);
}

#[test]
fn an_unreadable_store_is_reported() {
    let live = Fake {
        store_is_broken: true,
        ..Fake::default()
    };
    for target in ["/api/incidents", "/api/incidents/1", "/api/report"] {
        let response = get(&live, target);
        assert_eq!(response.status, 503, "{target}");
        assert!(error(&response).contains("the disk is gone"), "{target}");
    }
    assert_eq!(
        post(&live, "/api/incidents/1/approve").status,
        200,
        "people decide all the same"
    );
}

#[test]
fn changes_need_the_token_even_from_here() {
    let live = Fake::with_incident();
    let targets = [
        "/api/services/shop/servers/shop-1/drain",
        "/api/incidents/2026-11-22-0007/approve",
    ];
    for target in targets {
        for authorization in [
            None,
            Some("Bearer wrong"),
            Some("Bearer "),
            Some(TOKEN),
            Some("Basic eDp5"),
        ] {
            let authorization = authorization.map(str::to_owned);
            let response = ask(
                &live,
                &AdminRequest {
                    authorization,
                    ..request("POST", target)
                },
            );
            assert_eq!(response.status, 401, "{target}: {}", response.body);
        }
        let rebound = AdminRequest {
            host: Some("evil.example:7070".to_owned()),
            ..with_token(request("POST", target))
        };
        assert_eq!(ask(&live, &rebound).status, 403, "Host");
        let page = AdminRequest {
            origin: Some("http://evil.example".to_owned()),
            ..with_token(request("POST", target))
        };
        assert_eq!(ask(&live, &page).status, 403, "Origin");
    }
    assert!(live.orders.lock().unwrap().is_empty());
}

#[test]
fn reading_is_free_from_here_and_needs_the_token_from_elsewhere() {
    let live = Fake {
        not_ready: Some("no servers".to_owned()),
        ..Fake::with_incident()
    };
    for target in [
        "/api/services",
        "/api/incidents",
        "/api/report",
        "/metrics",
        "/api/openapi.json",
        "/nothing",
    ] {
        let from_here = get(&live, target).status;
        let everywhere = AccessPolicy {
            address: "0.0.0.0:7070".parse().unwrap(),
            ..guard()
        };
        let remote = request("GET", target);
        assert_eq!(answer(&live, &remote, &everywhere).status, 401, "{target}");
        assert_eq!(
            answer(&live, &with_token(remote), &everywhere).status,
            from_here,
            "{target}"
        );
        let rebound = AdminRequest {
            host: Some("evil.example".to_owned()),
            ..request("GET", target)
        };
        let response = ask(&live, &rebound);
        assert!(
            response.status == 403 && !response.body.contains("shop"),
            "{target}"
        );
        let page = AdminRequest {
            origin: Some("http://evil.example".to_owned()),
            ..request("GET", target)
        };
        assert_eq!(ask(&live, &page).status, 403, "{target}");
    }
    let far = |path| AdminRequest {
        host: Some("pod".to_owned()),
        ..request("GET", path)
    };
    assert_eq!(
        ask(&live, &far("/health/live")).status,
        200,
        "anybody may know whether it lives"
    );
    let ready = ask(&live, &far("/health/ready"));
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (503, "not ready\n"),
        "but not why it is not ready"
    );
}

#[test]
fn health_is_ready_unless_a_reason_is_given() {
    let live = Fake::default();
    assert_eq!(get(&live, "/health/live").body, "live\n");
    assert_eq!(get(&live, "/health/ready").status, 200);
    let ill = Fake {
        not_ready: Some("no server is up".to_owned()),
        ..Fake::default()
    };
    assert_eq!(get(&ill, "/health/live").status, 200);
    let stuck = Fake {
        not_alive: Some("the control loop has been stalled for 12 s".to_owned()),
        ..Fake::default()
    };
    let alive = get(&stuck, "/health/live");
    assert_eq!(
        (alive.status, alive.body.as_str()),
        (
            503,
            "not live: the control loop has been stalled for 12 s\n"
        )
    );
    assert_eq!(get(&stuck, "/health/ready").status, 200);
    let ready = get(&ill, "/health/ready");
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (503, "not ready: no server is up\n")
    );
}

#[test]
fn what_is_not_there_and_what_is_asked_wrongly() {
    let live = Fake::with_incident();
    for target in [
        "/",
        "/api",
        "/api/",
        "/api/services/",
        "/API/services",
        "/metrics/",
        "//metrics",
        "/api/services/a/b",
        "/..",
    ] {
        let response = get(&live, target);
        assert_eq!(response.status, 404, "{target}");
        error(&response);
    }
    for target in [
        "",
        "*",
        "metrics",
        "/%",
        "/%zz",
        "/api/services/%00",
        "/api/services/%c0%af",
    ] {
        assert_eq!(get(&live, target).status, 400, "{target:?}");
    }
    assert_eq!(get(&live, &"/x".repeat(2000)).status, 400);
    for (method, target, allow) in [
        ("POST", "/api/services", "GET, HEAD"),
        ("DELETE", "/api/incidents/2026-11-22-0007", "GET, HEAD"),
        ("get", "/metrics", "GET, HEAD"),
        ("GET", "/api/services/shop/servers/shop-1/drain", "POST"),
        ("OPTIONS", "/api/incidents/2026-11-22-0007/close", "POST"),
    ] {
        let response = ask(&live, &request(method, target));
        assert_eq!(
            (response.status, response.allow),
            (405, Some(allow)),
            "{method} {target}"
        );
        error(&response);
    }
    assert_eq!(ask(&live, &request("HEAD", "/api/services")).status, 200);
}

#[test]
fn metrics_have_what_the_program_says_and_the_states_of_servers() {
    let page = get(&Fake::default(), "/metrics");
    assert_eq!(
        page.content_type,
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in [
        "evenkeel_build_info{version=\"1.2.3\"} 1\n",
        "evenkeel_uptime_seconds 90.5\n",
        "# TYPE evenkeel_server_state gauge\n",
        "evenkeel_server_state{service=\"shop\",server=\"shop-1\",state=\"up\"} 1\n",
        "evenkeel_server_state{service=\"shop\",server=\"shop-1\",state=\"ejected\"} 0\n",
        "evenkeel_server_state{service=\"shop\",server=\"a long name\",state=\"ejected\"} 1\n",
        "evenkeel_servers{service=\"shop\",state=\"up\"} 1\n",
        "evenkeel_servers{service=\"shop\",state=\"down\"} 0\n",
        "evenkeel_servers{service=\"empty\",state=\"up\"} 0\n",
        "evenkeel_server_share_intended{service=\"shop\",server=\"shop-1\"} 0.75\n",
        "evenkeel_requests_total{service=\"shop\",code=\"200\"} 41\n",
    ] {
        assert!(
            page.body.contains(line),
            "{line} is missing in\n{}",
            page.body
        );
    }
}

#[test]
fn a_page_of_metrics_is_as_prometheus_reads_it() {
    let histogram = DurationHistogram::default();
    for micros in [40, 100, 3000, 3000, 12_000_000] {
        histogram.add_from_owner(Duration::from_micros(micros));
    }
    let (name, help) = ("evenkeel_requests_total", "Requests, by status.");
    let mut page = Exposition::default();
    page.counter(name, help, &[("service", "shop"), ("code", "200")], 41);
    page.gauge(
        "evenkeel_server_weight",
        "A server's weight.",
        &[("server", "a\"b\\c\nd")],
        1.5,
    );
    let labels = [("service", "shop")];
    page.durations(
        "evenkeel_request_duration_seconds",
        "How long.\nIn all \\.",
        &labels,
        &histogram.snapshot(),
    );
    page.counter(name, help, &[("service", "shop"), ("code", "503")], 2);
    page.counter(name, help, &[("service", "shop"), ("code", "200")], 1);
    page.durations(
        "evenkeel_bare_seconds",
        "No labels.",
        &[],
        &DurationSnapshot::default(),
    );
    for (which, value) in [
        ("none", f64::NAN),
        ("most", f64::INFINITY),
        ("least", f64::NEG_INFINITY),
    ] {
        page.gauge("evenkeel_odd", "Odd numbers.", &[("which", which)], value);
    }
    fake::check("metrics.txt", &page.text());
}
