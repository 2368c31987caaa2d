//! Overrides of timeouts, retries, hedging and fallbacks by routes.

use std::path::Path;
use std::time::Duration;

use evenkeel_config::{Code, Diagnostics, Environment, Loaded, load};
use evenkeel_request::{FallbackTo, Policies};
use evenkeel_tolerate::{Growth, HedgeAfter, Jitter};

const SERVICES: &str = r#"
[service.shop]
servers = ["127.0.0.1:9001", "127.0.0.1:9002"]
timeout = { attempt = "2s", total = "8s" }
retry = { limit = 1, methods = ["GET"], backoff = { base = "10ms", jitter = "none" }, budget = { ratio = 0.1 } }
hedge = { after = "p90", limit = 2 }
fallback = { body = "later", retry_after = "30s", on = ["503"] }

[service.api]
servers = ["127.0.0.1:9101", "127.0.0.1:9102"]

[service.spare]
servers = ["127.0.0.1:9201", "127.0.0.1:9202"]
"#;

fn read(routes: &str) -> Result<Loaded, Diagnostics> {
    let around = Environment {
        base_dir: Path::new("/b"),
        state_dir: Path::new("/s"),
        cores: 2,
        descriptors: 65_536,
        resolver: &|_| Err("no such host".to_owned()),
        socket: &|_, _| Ok(()),
    };
    let all = "{ path = \"/a\", service = \"api\" }, { path = \"/b\", service = \"spare\" }";
    let listen = "[listen.web]\naddress = \"127.0.0.1:8080\"\nservice = \"shop\"\n";
    let text = format!("{listen}routes = [{all}, {routes}]\n{SERVICES}");
    load(&text, "x.toml", &around)
}

/// What the third route says for each service.
fn policies(route: &str) -> Vec<Policies> {
    let loaded = read(route).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let route = &loaded.plan.listeners[0].routes[2];
    let all = route.policies.iter();
    all.map(|(_, policies)| policies.clone()).collect()
}

fn one(own: &str) -> Policies {
    policies(&format!("{{ path = \"/x\", service = \"shop\", {own} }}")).remove(0)
}

/// The code of each diagnostic, and the text at its location.
fn wrong(route: &str) -> Vec<(Code, String)> {
    let diagnostics = match read(route) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    };
    let text = diagnostics.text();
    let all = diagnostics.list().iter();
    all.map(|diagnostic| {
        (
            diagnostic.code,
            text.get(diagnostic.span.clone())
                .unwrap_or_default()
                .to_owned(),
        )
    })
    .collect()
}

#[test]
fn a_route_without_any_has_none() {
    assert!(policies("{ path = \"/x\", service = \"shop\" }").is_empty());
}

#[test]
fn what_a_route_leaves_out_is_the_services_key_by_key() {
    let own = one(
        "timeout = { total = \"4s\" }, retry = { backoff = { cap = \"50ms\", growth = \"linear\" } }",
    );
    assert_eq!(own.timeout.total, Duration::from_secs(4));
    assert_eq!(own.timeout.attempt, Duration::from_secs(2));
    assert_eq!(own.timeout.idle, Duration::from_secs(60));
    assert_eq!((own.retry.limit, own.retry.methods.len()), (1, 1));
    assert_eq!(own.retry.backoff.base, Duration::from_millis(10));
    assert_eq!(own.retry.backoff.cap, Duration::from_millis(50));
    assert_eq!(own.retry.backoff.jitter, Jitter::None);
    assert_eq!(own.retry.backoff.growth, Growth::Linear);
    assert_eq!(own.hedge.unwrap().limit, 2);
    assert!(own.fallback.is_some());

    let own = one("hedge = { after = \"20ms\" }");
    let hedge = own.hedge.unwrap();
    assert_eq!(hedge.after, HedgeAfter::Delay(Duration::from_millis(20)));
    assert_eq!(hedge.limit, 2);
}

#[test]
fn what_a_service_has_can_be_off_for_a_route() {
    let own = one("hedge = \"off\", fallback = \"off\"");
    assert!(own.hedge.is_none() && own.fallback.is_none());
    assert_eq!(
        wrong("{ path = \"/x\", service = \"shop\", hedge = false }"),
        [(Code::WrongType, "false".to_owned())]
    );
}

#[test]
fn a_route_has_what_its_service_does_not_have() {
    let own =
        policies("{ path = \"/x\", service = \"api\", hedge = {}, fallback = { body = \"\" } }");
    assert_eq!(own[0].hedge.unwrap().after, HedgeAfter::Quantile(0.95));
    assert!(own[0].fallback.is_some());
}

#[test]
fn one_kind_of_fallback_leaves_the_other_one_behind() {
    let own = one("fallback = { service = \"spare\" }").fallback.unwrap();
    assert!(matches!(own.to, FallbackTo::Service(service) if service.0 == 2));
    assert_eq!(own.on, [503]);
    let own = one("fallback = { status = 200, on = [] }")
        .fallback
        .unwrap();
    let FallbackTo::Response(response) = &own.to else {
        panic!("{own:?}")
    };
    assert_eq!((response.status, response.body.as_str()), (200, "later"));
    assert_eq!(response.retry_after, Some(Duration::from_secs(30)));
    assert!(own.on.is_empty());
}

#[test]
fn with_a_split_each_service_fills_in_its_own() {
    let own = policies(
        "{ path = \"/x\", split = { shop = 1, api = 1 }, retry = { limit = 0 } }, \
         { path = \"/y\", service = \"api\", hedge = {} }",
    );
    let attempts: Vec<_> = own.iter().map(|own| own.timeout.attempt).collect();
    assert_eq!(attempts, [Duration::from_secs(2), Duration::from_secs(30)]);
    assert!(own.iter().all(|own| own.retry.limit == 0));
    // After those of three services.
    let places: Vec<_> = own.iter().map(|own| own.place).collect();
    assert_eq!(places, [3, 4]);
}

#[test]
fn a_deadline_is_told_in_a_field_that_means_nothing_else() {
    let own = one("timeout = { deadline_header = \"X-Deadline\" }");
    assert_eq!(own.deadline.unwrap().name(), "x-deadline");
    assert_eq!(own.timeout.total, Duration::from_secs(8));
    for taken in ["Host", "x-request-id", "Content-Length", "x y"] {
        let own = format!(
            "{{ path = \"/x\", service = \"shop\", timeout = {{ deadline_header = \"{taken}\" }} }}"
        );
        assert_eq!(wrong(&own), [(Code::BadRule, format!("\"{taken}\""))]);
    }
}

#[test]
fn faults_are_for_a_route_alone_or_for_all_but_one() {
    let wanted = |own: &str| {
        let route = format!("{{ path = \"/x\", service = \"shop\", inject = {own} }}");
        read(&route).map(|loaded| {
            let route = &loaded.plan.listeners[0].routes[2];
            route.policies[0].1.inject
        })
    };
    let some = wanted("{ delay = { share = 0.5, time = \"1s\" } }").unwrap();
    let some = some.expect("it is asked for");
    assert_eq!(some.delay.expect("a delay").time, Duration::from_secs(1));
    assert!(some.abort.is_none() && some.seed == 0);
    assert!(wanted("\"off\"").unwrap().is_none());

    let code = |own: &str| wanted(own).unwrap_err().list()[0].code;
    assert_eq!(code("{}"), Code::Missing);
    assert_eq!(code("{ abort = { share = 0.1 } }"), Code::Missing);
    let success = "{ abort = { share = 0.1, status = 200 } }";
    assert_eq!(code(success), Code::OutOfRange);
    let long = "{ delay = { share = 0.1, time = \"8s\" } }";
    assert_eq!(code(long), Code::Contradiction);
}

#[test]
fn what_requests_share_stays_the_services() {
    let own =
        "{ path = \"/x\", service = \"shop\", retry = { limit = 1, budget = { ratio = 1 } } }";
    assert_eq!(wrong(own), [(Code::Contradiction, "budget".to_owned())]);
}

#[test]
fn a_redirect_takes_no_policies() {
    let keys = ["timeout", "retry", "hedge", "fallback", "inject"];
    for key in keys {
        let own = format!("{{ path = \"/x\", redirect = {{ to = \"/y\" }}, {key} = {{}} }}");
        assert_eq!(wrong(&own), [(Code::Contradiction, key.to_owned())]);
    }
}

#[test]
fn a_fallback_of_a_route_ends() {
    let itself = "{ path = \"/x\", service = \"shop\", fallback = { service = \"shop\" } }";
    let drawn =
        "{ path = \"/x\", split = { shop = 1, api = 1 }, fallback = { service = \"api\" } }";
    for (own, at) in [(itself, "\"shop\""), (drawn, "\"api\"")] {
        assert_eq!(wrong(own), [(Code::Contradiction, at.to_owned())]);
    }
    let unknown = "{ path = \"/x\", service = \"shop\", fallback = { service = \"sparee\" } }";
    assert_eq!(wrong(unknown)[0].0, Code::UnknownService);
}

#[test]
fn contradictions_in_routes_are_reported() {
    let at = |key: &str| wrong(&format!("{{ path = \"/x\", service = \"shop\", {key} }}"));
    assert_eq!(
        at("timeout = { total = \"1s\" }"),
        [
            (Code::TotalShorterThanAttempt, "\"1s\"".to_owned()),
            (Code::ConnectLongerThanTotal, "\"1s\"".to_owned())
        ]
    );
    assert_eq!(
        at("timeout = { attempt = \"7s\" }"),
        [(Code::NoTimeForRetry, "\"8s\"".to_owned())]
    );
    assert_eq!(
        at("retry = { methods = [\"POST\"] }"),
        [(Code::UnsafeMethodRetried, "\"POST\"".to_owned())]
    );
    assert_eq!(
        at("retry = { backoff = { base = \"9s\" } }"),
        [(Code::Contradiction, "\"9s\"".to_owned())]
    );
}

/// What was already reported for a service is not repeated for its routes.
#[test]
fn a_diagnostic_of_a_service_is_not_repeated_for_its_routes() {
    let text = SERVICES.replace("methods = [\"GET\"]", "methods = [\"POST\"]");
    let around = Environment {
        base_dir: Path::new("/b"),
        state_dir: Path::new("/s"),
        cores: 2,
        descriptors: 65_536,
        resolver: &|_| Err("no such host".to_owned()),
        socket: &|_, _| Ok(()),
    };
    let listen = "[listen.web]\naddress = \"127.0.0.1:8080\"\nservice = \"shop\"\n";
    let routes = "{ path = \"/a\", service = \"api\" }, { path = \"/b\", service = \"spare\" }, { path = \"/x\", service = \"shop\", hedge = \"off\" }";
    let loaded = load(
        &format!("{listen}routes = [{routes}]\n{text}"),
        "x.toml",
        &around,
    )
    .unwrap();
    let codes: Vec<_> = (loaded.warnings.list().iter())
        .map(|diagnostic| diagnostic.code)
        .collect();
    assert_eq!(codes, [Code::UnsafeMethodRetried]);
}
