//! Diagnostics: all at once, and each lint.

use crate::{SMALLEST, codes, read};
use evenkeel_config::Code;
use evenkeel_config::Severity;

#[test]
fn a_file_without_anything_misses_both_things() {
    let diagnostics = read("").unwrap_err();
    assert_eq!(codes(&diagnostics), [Code::Missing, Code::Missing]);
}

#[test]
fn mistakes_are_found_in_one_go_and_in_order() {
    let text = SMALLEST
        .replace("9002", "9001")
        .replace("service = \"shop\"", "service = \"shopp\"\nserivce = 1");
    let diagnostics = read(&text).unwrap_err();
    assert_eq!(
        codes(&diagnostics),
        [Code::UnknownService, Code::UnknownKey, Code::Duplicate]
    );
    assert_eq!(
        diagnostics.position(diagnostics.list()[0].span.start),
        (4, 11)
    );
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
        "EK-130 EK-130",
        "",
        "[[service.shop.recover.playbook]]\nwhen = [\"dependency-failure\"]\ndo = [\"fail-over\", \"fall-back\", \"shed\"]",
    ),
    (
        "EK-130",
        "",
        "[service.shop.limit]\nconcurrency = 32\n[[service.shop.recover.playbook]]\nwhen = [\"slow-server\"]\ndo = [\"shed\"]",
    ),
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
    (
        "EK-131",
        "",
        "[listen.b]\naddress = \"unix:/missing/b.sock\"\nservice = \"shop\"",
    ),
    (
        "EK-132 EK-132 EK-132",
        "",
        "[service.shop.balance]\npolicy = \"maglev\"\n[service.shop.limit]\nrate = { per_second = 5, by = \"source-ip\" }\n\
         [listen.b]\naddress = \"unix:/run/b.sock\"\n\
         routes = [{ service = \"shop\", rate = { per_second = 5, by = \"source-ip\" } }]",
    ),
    (
        "EK-133",
        "servers = [\"127.0.0.1:9001\", \"unix:/run/shop.sock\"]",
        "[listen.b]\naddress = \"127.0.0.1:53\"\nprotocol = \"dns\"\nnames = [{ name = \"a.example\", service = \"shop\" }]",
    ),
];

#[test]
fn each_lint_speaks_when_it_should() {
    let servers = "servers = [\"127.0.0.1:9001\", \"127.0.0.1:9002\", \"127.0.0.1:9003\"]";
    let mut seen = Vec::new();
    for (expected, instead, after) in LINTS {
        let instead = if instead.is_empty() { servers } else { instead };
        let text = format!("{}\n{after}\n", SMALLEST.replace(servers, instead));
        let loaded = read(&text).unwrap_or_else(|diagnostics| panic!("{expected}: {diagnostics}"));
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
        "[[service.shop.recover.playbook]]\nwhen = [\"overload\"]\ndo = [{ webhook = \"u\" }]",
        "[[service.shop.recover.playbook]]\nwhen = [\"overload\"]\ndo = [{ notify = \"u\" }]",
    ];
    for line in lines {
        let diagnostics = read(&format!("{SMALLEST}\n{line}\n")).expect_err(line);
        assert_eq!(codes(&diagnostics), [Code::NotYet], "{line}: {diagnostics}");
    }
}

#[test]
fn a_service_is_not_called_as_evenkeel_itself() {
    let text = SMALLEST.replace("shop", "evenkeel");
    let diagnostics = read(&text).expect_err("its own incidents have that name");
    assert_eq!(codes(&diagnostics), [Code::BadName], "{diagnostics}");
}
