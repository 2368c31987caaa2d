//! Whole files: the resulting plans and diagnostics.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use listeners::EVERY_KEY;
use std::net::SocketAddr;

use std::path::{Path, PathBuf};

use std::time::Duration;

use evenkeel_config::plan::{AddressFamily, LoadProbePlan, ManagedPlan};

use evenkeel_config::{Code, Diagnostics, Environment, Loaded, load};

use evenkeel_core::ServiceId;

use evenkeel_fault::FaultKind;

use evenkeel_fault::policy::{Action, Mode, ProbeKind};

use evenkeel_request::FallbackTo;

use evenkeel_tolerate::HedgeAfter;

mod listeners;
mod lints;

fn resolver(name: &str) -> Result<Vec<SocketAddr>, String> {
    match name {
        "one.internal:80" => Ok(vec!["10.0.0.1:80".parse().unwrap()]),
        "two.internal:80" => Ok(vec![
            "10.0.0.2:80".parse().unwrap(),
            "10.0.0.3:80".parse().unwrap(),
        ]),
        _ => Err("no such host".to_owned()),
    }
}

pub(crate) fn read(text: &str) -> Result<Loaded, Diagnostics> {
    let around = Environment {
        base_dir: Path::new("/etc/shop"),
        state_dir: Path::new("/state"),
        cores: 4,
        descriptors: 65_536,
        resolver: &resolver,
    };
    load(text, "evenkeel.toml", &around)
}

pub(crate) fn codes(diagnostics: &Diagnostics) -> Vec<Code> {
    diagnostics
        .list()
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect()
}

pub(crate) const SMALLEST: &str = r#"
[listen.web]
address = "127.0.0.1:8080"
service = "shop"

[service.shop]
servers = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"]
"#;

/// Health probes and load probes name the same host.
#[test]
fn what_probes_send_as_host() {
    let with = |probe: &str, route: &str| {
        let text = format!(
            "[listen.web]\naddress = \"127.0.0.1:0\"\nroutes = [{{ {route}path = \"/\", service = \"shop\" }}]\n\
             [service.shop]\nservers = [\"127.0.0.1:1\"]\n[service.shop.detect]\nprobe = {{ {probe} }}\n\
             [service.shop.balance]\npolicy = \"prequal\"\nprequal = {{ probe = \"/load\" }}\n"
        );
        let service = read(&text).unwrap().plan.services.remove(0);
        let ProbeKind::Http { host, .. } = service.fault.detect.probe.kind else {
            return (None, service.ask.unwrap().host);
        };
        (host, service.ask.unwrap().host)
    };
    let (http, own) = (
        "http = \"/health\"",
        "http = \"/health\", host = \"own.example\"",
    );
    let route = "host = \"shop.example\", ";
    let both = |name: &str| (Some(name.to_owned()), name.to_owned());
    assert_eq!(with(own, route), both("own.example"));
    assert_eq!(with(http, route), both("shop.example"));
    assert_eq!(with("tcp = true", route), (None, "shop.example".to_owned()));
    assert_eq!(with(http, ""), (None, "localhost".to_owned()));
}

#[test]
fn the_smallest_file_gets_the_defaults() {
    let loaded = read(SMALLEST).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let plan = loaded.plan;
    assert_eq!(plan.workers, 4);
    assert_eq!(plan.admin.address, "127.0.0.1:7070".parse().unwrap());
    assert_eq!(plan.admin.token_file, PathBuf::from("/state/admin.token"));
    assert_eq!(plan.store.file, Some(PathBuf::from("/state/evenkeel.db")));
    assert_eq!(plan.listeners[0].default_service, Some(ServiceId(0)));
    assert_eq!(plan.listeners[0].limits.head_bytes, 32 * 1024);
    let shop = &plan.services[0];
    assert_eq!(shop.servers[2].name, "127-0-0-1-9003");
    assert_eq!(shop.policies.timeout.attempt, Duration::from_secs(30));
    assert_eq!(shop.policies.timeout.total, Duration::from_secs(60));
    assert_eq!(shop.policies.retry.on.statuses, [502, 503, 504]);
    assert_eq!(shop.fault.detect.probe.kind, ProbeKind::Tcp);
    assert_eq!(
        shop.fault.detect.failure_ratio.unwrap().minimum_attempts,
        20
    );
    assert_eq!(shop.fault.recover.mode, Mode::Automatic);
    assert_eq!(shop.fault.objective, None);
}

#[test]
fn every_key_of_discovery_arrives_in_the_plan() {
    let plan = read(EVERY_KEY).unwrap().plan;
    let shop = &plan.services[0];
    let [listed, found] = &shop.discover[..] else {
        panic!("{:?}", shop.discover)
    };
    assert_eq!(
        (listed.written(), listed.servers[0]),
        ("one.internal:80".to_owned(), 2)
    );
    assert_eq!((listed.servers.len(), listed.fixed), (1, Some((1, 1))));
    assert_eq!(listed.slot_name(0), "one-internal-80");
    assert_eq!(
        (found.name.as_str(), found.port),
        ("shop.internal", Some(8080))
    );
    assert_eq!((found.servers.clone(), found.fixed), (vec![3, 4, 5], None));
    let names = shop.servers[3..]
        .iter()
        .map(|server| (server.name.as_str(), server.address));
    assert!(names.eq([("dns-1", None), ("dns-2", None), ("dns-3", None)]));
    assert_eq!(found.family, AddressFamily::Ipv4);
    let resolvers: Vec<String> = found.resolver.iter().map(SocketAddr::to_string).collect();
    assert_eq!(resolvers, ["127.0.0.1:53", "127.0.0.2:5353"]);
    assert_eq!(found.least, Duration::from_millis(500));
    assert_eq!(found.most, Duration::from_secs(30));
    assert_eq!(found.hold, Duration::from_secs(60));
}

#[test]
fn fields_in_which_no_load_can_be_reported() {
    for name in ["Content-Length", "connection", "a b", "host"] {
        let text = format!("{SMALLEST}\n[service.shop.balance]\nload_header = \"{name}\"\n");
        assert_eq!(codes(&read(&text).expect_err(name)), [Code::BadRule]);
    }
}

#[test]
fn servers_are_asked_for_prequal_only() {
    let with = |lines: &str| {
        let text = format!("{SMALLEST}\n[service.shop.balance]\n{lines}\n");
        read(&text)
    };
    let policy = "policy = \"prequal\"\n";
    let ask = |lines: &str| with(&format!("{policy}prequal = {{ {lines} }}"));
    let plan = |loaded: Result<Loaded, Diagnostics>| loaded.unwrap().plan.services[0].ask.clone();
    let asks = |path: &str, timeout| {
        Some(LoadProbePlan {
            path: path.to_owned(),
            host: "localhost".to_owned(),
            timeout,
        })
    };
    assert_eq!(plan(with(policy)), None);
    let usual = asks("/load", Duration::from_millis(50));
    assert_eq!(plan(ask("probe = \"/load\"")), usual);
    let other = asks("/busy?as=json", Duration::from_millis(3));
    assert_eq!(
        plan(ask("probe = \"/busy?as=json\", timeout = \"3ms\"")),
        other
    );
    for (lines, code) in [
        ("", Code::Missing),
        ("probe = \"load\"", Code::BadRule),
        ("probe = \"/a b\"", Code::BadRule),
        ("probe = \"/a\\r\\n\"", Code::BadRule),
        ("probe = \"/load\", timeout = \"900us\"", Code::OutOfRange),
        ("probe = \"/load\", timeout = \"11s\"", Code::OutOfRange),
        ("probe = \"/load\", timeout = 50", Code::WrongType),
        ("probe = \"/load\", probes = 3", Code::UnknownKey),
    ] {
        assert_eq!(codes(&ask(lines).expect_err(lines)), [code], "{lines}");
    }
    for policy in ["", "policy = \"least-requests\"\n"] {
        let diagnostics = with(&format!("{policy}prequal = {{ probe = \"/load\" }}"));
        assert_eq!(
            codes(&diagnostics.expect_err(policy)),
            [Code::Contradiction]
        );
    }
}

#[test]
fn every_key_of_a_service_arrives_in_the_plan() {
    let plan = read(EVERY_KEY).unwrap().plan;
    let shop = &plan.services[0];
    assert_eq!(
        (
            shop.servers[1].name.as_str(),
            shop.servers[1].weight,
            shop.servers[1].tier
        ),
        ("two", 2, 0)
    );
    assert_eq!(
        (shop.servers[2].name.as_str(), shop.servers[2].tier),
        ("one-internal-80", 1)
    );
    assert_eq!(shop.servers[2].address, "10.0.0.1:80".parse().ok());
    assert!(
        matches!(&shop.servers[2].managed, ManagedPlan::Commands { restart: Some(r), stop: Some(_) } if r.len() == 2)
    );
    assert_eq!(shop.policies.timeout.idle, Duration::from_secs(90));
    assert_eq!(
        (shop.policies.retry.limit, shop.policies.retry.body_buffer),
        (1, 1024)
    );
    assert!(shop.policies.retry.on.connect && !shop.policies.retry.on.timeout);
    assert_eq!(shop.policies.retry.on.statuses, [429]);
    let expect = (200, 299);
    let probe = ProbeKind::Http {
        path: "/health".to_owned(),
        host: Some("shop".to_owned()),
        expect,
    };
    assert_eq!(shop.fault.detect.probe.kind, probe);
    assert_eq!(shop.fault.detect.failure_ratio, None);
    let slow = shop.fault.detect.slow.unwrap();
    assert!((slow.times_peers - 5.0).abs() < 1e-9 && slow.minimum_attempts == 20);
    let playbook = &shop.fault.recover.playbooks[0];
    assert_eq!(
        playbook.when,
        [FaultKind::ProcessHung, FaultKind::MemoryLeak]
    );
    assert_eq!(
        playbook.actions[3..],
        [
            Action::Wait(Duration::from_secs(1)),
            Action::Wait(Duration::from_secs(5))
        ]
    );

    let api = &plan.services[1];
    assert_eq!(api.servers[1].name, "api-2");
    assert_eq!(api.servers[1].address, "127.0.0.1:9102".parse().ok());
    let ManagedPlan::Child(child) = &api.servers[1].managed else {
        panic!("not a child")
    };
    assert_eq!(
        child.command,
        ["./api", "--port", "9102", "--name=api-2", "{\"json\": 1}"]
    );
    assert_eq!(child.directory, Some(PathBuf::from("/etc/shop/work")));
    assert_eq!(
        child.environment,
        [
            ("PORT".to_owned(), "9102".to_owned()),
            ("EMPTY".to_owned(), String::new())
        ]
    );
    assert_eq!(
        (child.stop_signal, child.stop_wait),
        (2, Duration::from_secs(3))
    );
}

#[test]
fn requests_are_held_within_limits_that_make_sense() {
    let read_with = |keys: &str| read(&format!("{SMALLEST}[service.shop.hold_requests]\n{keys}\n"));
    let plan = read_with("").unwrap().plan;
    let hold = plan.services[0].hold_requests.unwrap();
    assert_eq!(
        (hold.up_to, hold.requests, hold.bytes),
        (Duration::from_secs(3), 1_000, 16 << 20)
    );
    assert_eq!(read(SMALLEST).unwrap().plan.services[0].hold_requests, None);
    for keys in [
        "up_to = \"0s\"",
        "requests = 0",
        "requests = 1_000_001",
        "bytes = \"100B\"",
    ] {
        let diagnostics = read_with(keys).unwrap_err();
        assert_eq!(
            codes(&diagnostics),
            [Code::OutOfRange],
            "{keys}: {diagnostics}"
        );
    }
}

#[test]
fn hedges_and_fallbacks_arrive_in_the_plan() {
    let plan = read(EVERY_KEY).unwrap().plan;
    let mut services = plan.services.iter();
    let shop = services.find(|service| service.name == "shop").unwrap();
    let hedge = shop.policies.hedge.as_ref().unwrap();
    assert_eq!((hedge.limit, hedge.minimum_attempts), (2, 50));
    assert_eq!(hedge.floor, Duration::from_millis(5));
    assert!(matches!(hedge.after, HedgeAfter::Quantile(q) if (q - 0.999).abs() < 1e-9));
    let fallback = shop.policies.fallback.as_ref().unwrap();
    assert_eq!(fallback.on, [502, 503]);
    let FallbackTo::Response(response) = &fallback.to else {
        panic!("{fallback:?}");
    };
    assert_eq!((response.status, response.body.as_str()), (200, "[]"));
    assert_eq!(response.content_type, "application/json");
    assert_eq!(response.retry_after, Some(Duration::from_secs(30)));
}

#[test]
fn after_what_time_is_hedged() {
    let hedge = |after: &str| {
        let text = format!("{SMALLEST}\n[service.shop.hedge]\nafter = {after}\n");
        read(&text).map(|loaded| loaded.plan.services[0].policies.hedge.unwrap().after)
    };
    let usual = read(&format!("{SMALLEST}\n[service.shop.hedge]\n")).unwrap();
    let usual = usual.plan.services[0].policies.hedge.unwrap().after;
    assert_eq!(usual, HedgeAfter::Quantile(0.95));
    assert_eq!(hedge("\"p50\"").unwrap(), HedgeAfter::Quantile(0.5));
    let delay = HedgeAfter::Delay(Duration::from_millis(20));
    assert_eq!(hedge("\"20ms\"").unwrap(), delay);
    for (wrong, code) in [
        ("\"p5\"", Code::OutOfRange),
        ("\"p100\"", Code::OutOfRange),
        ("\"p95x\"", Code::OutOfRange),
        ("\"p\"", Code::OutOfRange),
        ("\"soon\"", Code::BadDuration),
        ("95", Code::WrongType),
    ] {
        let diagnostics = hedge(wrong).expect_err(wrong);
        assert_eq!(codes(&diagnostics), [code], "{wrong}: {diagnostics}");
    }
}

#[test]
fn a_service_needs_a_server() {
    for servers in ["[]", "[          ]"] {
        let text = format!("{SMALLEST}\n[service.b]\nservers = {servers}\n");
        assert_eq!(
            codes(&read(&text).unwrap_err()),
            [Code::Missing],
            "{servers}"
        );
    }
    let refused = format!("{SMALLEST}\n[service.b]\nservers = [1]\n");
    assert_eq!(codes(&read(&refused).unwrap_err()), [Code::WrongType]);
}

#[test]
fn the_store_may_keep_nothing() {
    assert_eq!(
        read(&format!("{SMALLEST}\n[store]\nurl = \"memory:\""))
            .unwrap()
            .plan
            .store
            .file,
        None
    );
}

#[test]
fn who_only_says_the_total_leaves_time_for_a_second_attempt() {
    for (typed, attempt, total) in [
        ("total = \"10s\"", 5, 10),
        ("total = \"5m\"", 30, 300),
        ("attempt = \"9s\"\ntotal = \"10s\"", 9, 10),
    ] {
        let text = format!("{SMALLEST}\n[service.shop.timeout]\n{typed}\n");
        let timeout = read(&text).unwrap().plan.services[0].policies.timeout;
        let seconds = (timeout.attempt.as_secs(), timeout.total.as_secs());
        assert_eq!(seconds, (attempt, total), "{typed}");
    }
}
