//! Whole files: what they become, and what is said about them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_config::plan::{AskPlan, Family, ManagedPlan};
use evenkeel_config::{Code, Loaded, Mistakes, Severity, Surroundings, load};
use evenkeel_core::ServiceId;
use evenkeel_fault::FaultKind;
use evenkeel_fault::policy::{Action, Mode, ProbeKind};
use evenkeel_request::route::{HostRule, PathRule, Target, Template, ValueRule};
use evenkeel_request::{FallbackTo, HashOn};
use evenkeel_tolerate::HedgeAfter;

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

fn read(text: &str) -> Result<Loaded, Mistakes> {
    let around = Surroundings {
        base_dir: Path::new("/etc/shop"),
        state_dir: Path::new("/state"),
        cores: 4,
        descriptors: 65_536,
        resolver: &resolver,
    };
    load(text, "evenkeel.toml", &around)
}

fn codes(mistakes: &Mistakes) -> Vec<Code> {
    mistakes.list().iter().map(|mistake| mistake.code).collect()
}

const SMALLEST: &str = r#"
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

/// product.md's catalogue, without what is not available yet.
const EVERY_KEY: &str = include_str!("every_key.toml");

#[test]
fn every_key_of_a_listener_arrives_in_the_plan() {
    let plan = read(EVERY_KEY).unwrap().plan;
    assert_eq!(plan.workers, 2);
    assert!(plan.log.access);
    let web = &plan.listeners[0];
    assert_eq!(
        (web.limits.headers, web.limits.idle_time),
        (50, Duration::from_secs(30))
    );
    assert_eq!(
        web.routes[0].host,
        Some(HostRule::Exact("api.example.com".to_owned()))
    );
    assert!(matches!(&web.routes[0].path, Some(PathRule::Prefix(path)) if path == "/v1"));
    assert_eq!(
        web.routes[1].host,
        Some(HostRule::Suffix(".example.com".to_owned()))
    );
    assert!(matches!(&web.routes[1].path, Some(PathRule::Pattern(_))));
    assert!(matches!(&web.routes[2].path, Some(PathRule::Exact(path)) if path == "/cart"));
    assert!(
        matches!(&web.routes[2].headers[0], (name, ValueRule::Exact(value)) if name == "x-canary" && value == "always")
    );
    assert!(matches!(web.routes[2].headers[1].1, ValueRule::Present));
    assert!(matches!(web.routes[2].headers[2].1, ValueRule::Pattern(_)));
    assert!(web.routes[2].services().eq([ServiceId(1)]));
    let last = &web.routes[3];
    assert_eq!(last.methods, ["GET", "HEAD"]);
    assert!(
        matches!(&last.query[..], [(name, ValueRule::Exact(value))] if name == "Beta" && value == "1")
    );
    assert!(matches!(&last.cookies[..], [(name, ValueRule::Pattern(_))] if name == "Group"));
    let Target::Split(split) = &web.routes[4].target else {
        panic!("{:?}", web.routes[4]);
    };
    assert_eq!(split.parts(), [(ServiceId(1), 5), (ServiceId(0), 95)]);
    assert_eq!(
        web.routes[4].rewrite,
        Template::parse("/{rest}{query}").ok()
    );
    let changes = &web.routes[4].request_headers;
    assert!(changes.has("x-env") && changes.drops(b"x-debug") && changes.drops(b"X-ENV"));
    assert!(web.routes[4].response_headers.has("x-served-by"));
    let mirror = web.routes[4].mirror.as_ref().unwrap();
    assert_eq!((mirror.to, mirror.in_flight), (ServiceId(2), 64));
    assert_eq!(mirror.methods, ["GET", "HEAD", "OPTIONS", "QUERY"]);
    let shop = &plan.services[0];
    let mirror = shop.mirror.as_ref().unwrap();
    assert_eq!((mirror.to, mirror.in_flight), (ServiceId(2), 8));
    assert!(mirror.methods == ["GET"] && (mirror.share - 0.25).abs() < 1e-9);
    assert!(shop.request_headers.has("host") && shop.request_headers.has("x-note"));
    assert!(shop.response_headers.drops(b"Server"));
    assert_eq!(shop.load_header.as_deref(), Some("endpoint-load-metrics"));
    let Target::Redirect(redirect) = &web.routes[5].target else {
        panic!("{:?}", web.routes[5]);
    };
    assert_eq!(redirect.status, 301);
    assert_eq!(
        plan.services[0].hash_on,
        HashOn::Header("x-user".to_owned())
    );
}

#[test]
fn what_cannot_be_a_rule_or_hashed_on() {
    for (line, code) in [
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ method = [\"get\"], service = \"shop\" }]",
            Code::BadRule,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ cookie = { \"a b\" = \"*\" }, service = \"shop\" }]",
            Code::BadRule,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ query = { a = \"~(\" }, service = \"shop\" }]",
            Code::BadRule,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ path = \"/\" }]",
            Code::Missing,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ service = \"shop\", split = { shop = 1 } }]",
            Code::Contradiction,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ split = { shop = 0 } }]",
            Code::OutOfRange,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ split = { shpo = 1 } }]",
            Code::UnknownService,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ redirect = { to = \"{pth}\" } }]",
            Code::BadRule,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ redirect = { to = \"new.example\" } }]",
            Code::BadRule,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ redirect = { to = \"/x\", status = 304 } }]",
            Code::OutOfRange,
        ),
        (
            "[listen.b]\naddress = \"127.0.0.1:1\"\nroutes = [{ redirect = { to = \"/x\" }, rewrite = \"/y\" }]",
            Code::Contradiction,
        ),
        (
            "[service.shop.balance]\npolicy = \"maglev\"\nmaglev_table = 65536",
            Code::OutOfRange,
        ),
        (
            "[service.shop.balance]\npolicy = \"ring-hash\"\nbounded_load = 0.9",
            Code::OutOfRange,
        ),
        (
            "[service.shop.balance]\nhash_on = \"source-ip/33\"",
            Code::UnknownWord,
        ),
        (
            "[service.shop.balance]\nhash_on = \"header:\"",
            Code::UnknownWord,
        ),
    ] {
        let mistakes = read(&format!("{SMALLEST}\n{line}\n")).expect_err(line);
        assert_eq!(codes(&mistakes), [code], "{line}: {mistakes}");
    }
}

#[test]
fn every_key_of_discovery_arrives_in_the_plan() {
    let plan = read(EVERY_KEY).unwrap().plan;
    let shop = &plan.services[0];
    let [listed, found] = &shop.discover[..] else {
        panic!("{:?}", shop.discover)
    };
    assert_eq!(
        (listed.written(), listed.first),
        ("one.internal:80".to_owned(), 2)
    );
    assert_eq!((listed.slots, listed.fixed), (1, Some((1, 1))));
    assert_eq!(listed.slot_name(0), "one-internal-80");
    assert_eq!(
        (found.name.as_str(), found.port),
        ("shop.internal", Some(8080))
    );
    assert_eq!((found.first, found.slots, found.fixed), (3, 3, None));
    let names = shop.servers[3..]
        .iter()
        .map(|server| (server.name.as_str(), server.address));
    assert!(names.eq([("dns-1", None), ("dns-2", None), ("dns-3", None)]));
    assert_eq!(found.family, Family::Ipv4);
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
    let plan = |loaded: Result<Loaded, Mistakes>| loaded.unwrap().plan.services[0].ask.clone();
    let asks = |path: &str, timeout| {
        Some(AskPlan {
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
        let mistakes = with(&format!("{policy}prequal = {{ probe = \"/load\" }}"));
        assert_eq!(codes(&mistakes.expect_err(policy)), [Code::Contradiction]);
    }
}

#[test]
fn mirrors_that_cannot_be() {
    let with = |lines: &str| {
        format!(
            "{SMALLEST}\n[service.b]\nservers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n\
             [service.c]\nservers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n{lines}\n"
        )
    };
    let route =
        |what: &str| format!("[listen.b]\naddress = \"127.0.0.1:81\"\nroutes = [{{ {what} }}]");
    let mirror =
        |from: &str, to: &str| format!("[service.{from}.mirror]\nservice = \"{to}\"\nshare = 1\n");
    for (lines, code) in [
        (mirror("shop", "shop"), Code::Contradiction),
        (
            mirror("shop", "b") + &mirror("b", "shop"),
            Code::Contradiction,
        ),
        (
            mirror("shop", "b") + &mirror("b", "c") + &mirror("c", "shop"),
            Code::Contradiction,
        ),
        (
            mirror("b", "shop")
                + &route("split = { shop = 1, c = 1 }, mirror = { service = \"b\", share = 1 }"),
            Code::Contradiction,
        ),
        (
            route("service = \"b\", mirror = { service = \"b\", share = 1 }"),
            Code::Contradiction,
        ),
        (
            route("split = { shop = 1, b = 1 }, mirror = { service = \"b\", share = 1 }"),
            Code::Contradiction,
        ),
        (
            route("redirect = { to = \"/x\" }, mirror = { service = \"b\", share = 1 }"),
            Code::Contradiction,
        ),
        (mirror("shop", "d"), Code::UnknownService),
        (
            "[service.shop.mirror]\nservice = \"b\"".to_owned(),
            Code::Missing,
        ),
        ("[service.shop.mirror]\nshare = 1".to_owned(), Code::Missing),
        (
            mirror("shop", "b").replace("= 1", "= 1.5"),
            Code::OutOfRange,
        ),
        (mirror("shop", "b") + "in_flight = 0", Code::OutOfRange),
        (mirror("shop", "b") + "methods = []", Code::Missing),
        (mirror("shop", "b") + "methods = [\"get\"]", Code::BadRule),
    ] {
        let mistakes = read(&with(&lines)).expect_err(&lines);
        assert_eq!(codes(&mistakes), [code], "{lines}: {mistakes}");
    }
    let fine = mirror("shop", "b")
        + &mirror("c", "b")
        + &mirror("b", "d").replace("\"d\"", "\"e\"")
        + "[service.e]\nservers = [\"127.0.0.1:1\"]";
    assert!(read(&with(&fine)).is_ok());
}

#[test]
fn headers_that_cannot_be_changed_so() {
    for (table, code) in [
        ("set = { connection = \"close\" }", Code::BadRule),
        ("set = { Content-Length = \"5\" }", Code::BadRule),
        ("remove = [\"Transfer-Encoding\"]", Code::BadRule),
        ("add = { proxy-authorization = \"x\" }", Code::BadRule),
        (
            "set = { x-forwarded-for = \"{client.address}\" }",
            Code::BadRule,
        ),
        ("set = { \"a b\" = \"1\" }", Code::BadRule),
        ("set = { \"a\\r\\nb\" = \"1\" }", Code::BadRule),
        ("set = { x = \"a\\r\\nX-Evil: 1\" }", Code::BadRule),
        ("set = { x = \"a\\u0000b\" }", Code::OutOfRange),
        ("set = { x = \"{server}\" }", Code::BadRule),
        ("set = { x = \"{\" }", Code::BadRule),
        ("set = { host = \"{path}\" }", Code::BadRule),
        ("set = { host = \"a/b\" }", Code::BadRule),
        ("add = { host = \"a\" }", Code::BadRule),
        ("remove = [\"Host\"]", Code::BadRule),
        ("remove = []", Code::Missing),
        ("set = { x = \"1\" }\nremove = [\"X\"]", Code::Duplicate),
        ("set = { x = 1 }", Code::WrongType),
        ("sett = { x = \"1\" }", Code::UnknownKey),
    ] {
        let text = format!("{SMALLEST}\n[service.shop.request_headers]\n{table}\n");
        let mistakes = read(&text).expect_err(table);
        assert_eq!(codes(&mistakes), [code], "{table}: {mistakes}");
    }
    for table in ["set = { host = \"a\" }", "set = { x = \"{path}\" }"] {
        let text = format!("{SMALLEST}\n[service.shop.response_headers]\n{table}\n");
        let mistakes = read(&text).expect_err(table);
        assert_eq!(codes(&mistakes), [Code::BadRule], "{table}: {mistakes}");
    }
    for key in ["request_headers", "response_headers"] {
        let text = format!(
            "{SMALLEST}\n[listen.b]\naddress = \"127.0.0.1:1\"\n\
             routes = [{{ redirect = {{ to = \"/x\" }}, {key} = {{ set = {{ x = \"1\" }} }} }}]"
        );
        assert_eq!(codes(&read(&text).expect_err(key)), [Code::Contradiction]);
    }
    let many: Vec<String> = (0..33).map(|n| format!("\"x{n}\"")).collect();
    let text = format!(
        "{SMALLEST}\n[service.shop.request_headers]\nremove = [{}]\n",
        many.join(", ")
    );
    assert_eq!(
        codes(&read(&text).expect_err("too many")),
        [Code::OutOfRange]
    );
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
fn a_file_without_anything_misses_both_things() {
    let mistakes = read("").unwrap_err();
    assert_eq!(codes(&mistakes), [Code::Missing, Code::Missing]);
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
        let mistakes = read_with(keys).unwrap_err();
        assert_eq!(codes(&mistakes), [Code::OutOfRange], "{keys}: {mistakes}");
    }
}

#[test]
fn mistakes_are_found_in_one_go_and_in_order() {
    let text = SMALLEST
        .replace("9002", "9001")
        .replace("service = \"shop\"", "service = \"shopp\"\nserivce = 1");
    let mistakes = read(&text).unwrap_err();
    assert_eq!(
        codes(&mistakes),
        [Code::UnknownService, Code::UnknownKey, Code::Duplicate]
    );
    assert_eq!(mistakes.position(mistakes.list()[0].span.start), (4, 11));
}

/// Each lint: a change of the smallest file, and what is said about it.
const LINTS: &[(&str, &str, &str)] = &[
    (
        "EK-101",
        "",
        "[service.shop.timeout]\nattempt = \"5s\"\ntotal = \"3s\"\n[service.shop.detect.probe]\nevery = \"1s\"",
    ),
    ("EK-102", "servers = [\"127.0.0.1:9001\"]", ""),
    (
        "EK-103",
        "",
        "[service.shop.detect]\nprobe = { every = \"30s\" }",
    ),
    ("EK-104", "", "[service.shop.timeout]\nattempt = \"50s\""),
    (
        "EK-105 EK-106",
        "",
        "[service.shop.retry]\non = [\"500\"]\nmethods = [\"GET\", \"POST\"]",
    ),
    (
        "EK-106",
        "",
        "[service.shop.retry]\nmethods = [\"GET\", \"PATCH\"]",
    ),
    ("EK-107", "", "[service.shop.balance]\npanic_below = 0"),
    ("EK-108", "", "[service.shop.recover]\nkeep_serving = 1.0"),
    (
        "EK-109",
        "",
        "[service.shop.detect]\nprobe = { timeout = \"3s\" }",
    ),
    (
        "EK-110",
        "",
        "[service.shop.recover]\nverify = { probes = 200 }",
    ),
    ("EK-111", "", "[service.shop.retry]\nbudget = { ratio = 0 }"),
    ("EK-112", "", "[admin]\naddress = \"0.0.0.0:7070\""),
    ("EK-113", "", "[service.shop.retry]\nbody_buffer = \"2MiB\""),
    ("EK-114", "run = { command = [\"x\"], ports = [1, 2] }", ""),
    (
        "EK-115",
        "",
        "[[service.shop.recover.playbook]]\nwhen = [\"process-hung\"]\ndo = [\"restart\"]",
    ),
    (
        "EK-116",
        "",
        "[service.other]\nservers = [\"127.0.0.1:9001\", \"127.0.0.1:9002\"]",
    ),
    (
        "EK-117",
        "servers = [\"one.internal:80\", \"two.internal:80\"]",
        "",
    ),
    (
        "EK-123",
        "servers = [{ address = \"127.0.0.1:1\", zone = \"a\" }, \"127.0.0.1:2\"]",
        "",
    ),
    ("EK-124", "", "[service.shop.limit]\nqueue = { length = 5 }"),
    (
        "EK-129",
        "",
        "[service.shop.hold_requests]\n[service.shop.recover]\nmode = \"off\"",
    ),
    ("EK-129", "", "[service.shop.hold_requests]\nup_to = \"2m\""),
    (
        "EK-118",
        "servers = [{ address = \"127.0.0.1:1\", weight = 2 }, \"127.0.0.1:2\"]\nbalance = { policy = \"random\" }",
        "",
    ),
    (
        "EK-119",
        "",
        "[listen.b]\naddress = \"127.0.0.1:81\"\nroutes = [{ path = \"/*\", service = \"shop\" }, { path = \"/a\", service = \"shop\" }]",
    ),
    ("EK-120", "", "[service.shop.timeout]\nconnect = \"60s\""),
    (
        "EK-121 EK-121",
        "",
        "[service.shop.balance]\npolicy = \"maglev\"\nhash_on = \"path\"\nbounded_load = 1.25\n\
         [service.b]\nservers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nbalance = { hash_on = \"path\" }\n\
         [listen.b]\naddress = \"127.0.0.1:81\"\nservice = \"b\"",
    ),
    (
        "EK-122 EK-122",
        "",
        "[service.shop.mirror]\nservice = \"b\"\nshare = 0.5\nmethods = [\"GET\", \"POST\"]\n\
         [service.b]\nservers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n\
         [listen.b]\naddress = \"127.0.0.1:81\"\n\
         routes = [{ service = \"shop\", mirror = { service = \"b\", share = 1, methods = [\"PUT\"] } }]",
    ),
    (
        "EK-125",
        "servers = [\"one.internal:80\", \"nowhere.internal:80\"]",
        "",
    ),
    (
        "EK-126 EK-126",
        "",
        "[service.shop.limit]\nadaptive = { max = 50 }\nshares = { sheddable = 0.5 }",
    ),
    (
        "EK-128",
        "",
        "[listen.b]\naddress = \"127.0.0.1:81\"\nservice = \"shop\"\nlimits = { connections = 100_000 }",
    ),
    (
        "EK-127 EK-127",
        "",
        "[service.shop.inject]\nabort = { share = 0.5, status = 503 }\n\
         [listen.b]\naddress = \"127.0.0.1:81\"\n\
         routes = [{ path = \"/a\", service = \"shop\", inject = { seed = 2 } }, { service = \"shop\", inject = \"off\" }]",
    ),
];

#[test]
fn each_lint_speaks_when_it_should() {
    let servers = "servers = [\"127.0.0.1:9001\", \"127.0.0.1:9002\", \"127.0.0.1:9003\"]";
    let mut seen = Vec::new();
    for (expected, instead, after) in LINTS {
        let instead = if instead.is_empty() { servers } else { instead };
        let text = format!("{}\n{after}\n", SMALLEST.replace(servers, instead));
        let loaded = read(&text).unwrap_or_else(|mistakes| panic!("{expected}: {mistakes}"));
        let found: Vec<&str> = codes(&loaded.warnings)
            .into_iter()
            .map(Code::text)
            .collect();
        assert_eq!(found.join(" "), *expected, "{}", loaded.warnings);
        seen.extend(expected.split(' '));
    }
    for code in Code::ALL
        .iter()
        .filter(|code| code.severity() == Severity::Warning)
    {
        assert!(seen.contains(&code.text()), "{} has no test", code.text());
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
        let mistakes = hedge(wrong).expect_err(wrong);
        assert_eq!(codes(&mistakes), [code], "{wrong}: {mistakes}");
    }
}

#[test]
fn what_is_reserved_is_refused_by_name() {
    let lines = [
        "[listen.b]\naddress = \"127.0.0.1:81\"\nservice = \"shop\"\ntls = { certificate = \"c\", key = \"k\" }",
        "[listen.b]\naddress = \"127.0.0.1:81\"\nservice = \"shop\"\nprotocol = \"tcp\"",
        "[service.shop.detect]\nheartbeat_phi = 8.0",
        "[service.shop.detect]\nprobe = { grpc = \"name\" }",
        "[service.shop.detect]\nprobe = { exec = [\"x\"] }",
        "[service.b]\nservers = [{ address = \"127.0.0.1:1\", managed_by = { systemd = \"u\" } }]",
        "[service.b]\nservers = [{ address = \"127.0.0.1:1\", managed_by = { docker = \"u\" } }]",
        "[service.b]\nservers = [{ address = \"127.0.0.1:1\", managed_by = { kubernetes = \"u\" } }]",
        "[service.b]\nservers = [\"https://127.0.0.1:1\"]",
        "[service.b]\nservers = [\"h2c://127.0.0.1:1\"]",
        "[store]\nurl = \"postgres://db/x\"",
        "[[service.shop.recover.playbook]]\nwhen = [\"overload\"]\ndo = [\"fail-over\"]",
        "[[service.shop.recover.playbook]]\nwhen = [\"overload\"]\ndo = [\"shed\"]",
        "[[service.shop.recover.playbook]]\nwhen = [\"overload\"]\ndo = [\"fall-back\"]",
        "[[service.shop.recover.playbook]]\nwhen = [\"overload\"]\ndo = [{ webhook = \"u\" }]",
        "[[service.shop.recover.playbook]]\nwhen = [\"overload\"]\ndo = [{ notify = \"u\" }]",
    ];
    for line in lines {
        let mistakes = read(&format!("{SMALLEST}\n{line}\n")).expect_err(line);
        assert_eq!(codes(&mistakes), [Code::NotYet], "{line}: {mistakes}");
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
