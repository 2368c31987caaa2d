//! Whole files: what they become, and what is said about them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_config::plan::ManagedPlan;
use evenkeel_config::{Code, Loaded, Mistakes, Surroundings, load};
use evenkeel_core::ServiceId;
use evenkeel_fault::FaultKind;
use evenkeel_fault::policy::{Action, Mode, ProbeKind};
use evenkeel_request::route::{HeaderRule, HostRule, PathRule};

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
    assert_eq!(shop.timeout.total, Duration::from_secs(15));
    assert_eq!(shop.retry.on.statuses, [502, 503, 504]);
    assert_eq!(shop.fault.detect.probe.kind, ProbeKind::Tcp);
    assert_eq!(
        shop.fault.detect.failure_ratio.unwrap().minimum_attempts,
        20
    );
    assert_eq!(shop.fault.recover.mode, Mode::Automatic);
    assert_eq!(shop.fault.objective, None);
}

/// product.md's catalogue, without what is not available yet.
const EVERY_KEY: &str = r#"
workers = 2

[admin]
address = "127.0.0.1:7071"
token = { file = "secret" }

[store]
url = "sqlite:shop.db"

[log]
format = "json"
level = "debug"
access = true

[listen.web]
address  = "0.0.0.0:8080"
protocol = "http"
service  = "shop"
routes = [
  { host = "API.example.com", path = "/v1/*", service = "api" },
  { host = "*.example.com", path = "~^/v[0-9]+/", service = "api" },
  { header = { X-Canary = "always", x-present = "*", x-like = "~^a" }, path = "/cart", service = "api" },
]
limits = { head_bytes = "16KiB", headers = 50, head_time = "5s", idle_time = "30s", connections = 100 }

[service.shop]
servers = [
  "127.0.0.1:9001",
  { name = "two", address = "http://127.0.0.1:9002", weight = 2 },
  { address = "one.internal:80", tier = "backup", managed_by = { exec = { restart = ["./r", "{server}"], stop = ["./s"] } } },
]

[service.shop.balance]
policy = "weighted-random"
slow_start = "0s"
panic_below = 0.25

[service.shop.timeout]
connect = "500ms"
attempt = "2s"
total = "10s"
idle = "1m30s"

[service.shop.retry]
limit = 1
on = ["connect", "429"]
methods = ["GET"]
backoff = { base = "10ms", cap = "1s", jitter = "equal" }
budget = { ratio = 0.1, floor_per_second = 2, burst = 10 }
body_buffer = "1KiB"

[service.shop.detect]
probe = { http = "/health", expect = "200-299", host = "shop", every = "1s", timeout = "500ms", fall = 2, rise = 1, fast = "100ms" }
consecutive_failures = 0
failure_ratio = "off"
slow = { times_peers = 5 }

[service.shop.diagnose]
timeout = "1s"

[service.shop.recover]
mode = "ask"
keep_serving = 0.75
limit = { actions = 3, within = "1h" }
backoff = { base = "1s", cap = "2s", reset_after = "5m" }
verify = { probes = 5, every = "50ms", within = "20s" }

[[service.shop.recover.playbook]]
when = ["process-hung", "memory-leak"]
do = ["eject", "restart", { exec = ["./page.sh", "{service}", "{server}"] }, "wait", { wait = "5s" }]

[service.shop.objective]
availability = 0.999
latency = { quantile = 0.99, under = "300ms" }
window = "7d"

[service.api.run]
command = ["./api", "--port", "{port}", "--name={name}", "{\"json\": 1}"]
ports = [9101, 9102]
directory = "work"
environment = { PORT = "{port}", EMPTY = "" }
stop = { signal = "INT", wait = "3s" }
"#;

#[test]
fn every_key_arrives_in_the_plan() {
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
        matches!(&web.routes[2].headers[0], (name, HeaderRule::Exact(value)) if name == "x-canary" && value == "always")
    );
    assert!(matches!(web.routes[2].headers[1].1, HeaderRule::Present));
    assert!(matches!(web.routes[2].headers[2].1, HeaderRule::Pattern(_)));
    assert_eq!(web.routes[2].service, ServiceId(1));

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
    assert_eq!(shop.servers[2].address, "10.0.0.1:80".parse().unwrap());
    assert!(
        matches!(&shop.servers[2].managed, ManagedPlan::Commands { restart: Some(r), stop: Some(_) } if r.len() == 2)
    );
    assert_eq!(shop.timeout.idle, Duration::from_secs(90));
    assert_eq!((shop.retry.limit, shop.retry.body_buffer), (1, 1024));
    assert!(shop.retry.on.connect && !shop.retry.on.timeout);
    assert_eq!(shop.retry.on.statuses, [429]);
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
    assert_eq!(api.servers[1].address, "127.0.0.1:9102".parse().unwrap());
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
