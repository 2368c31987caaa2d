//! Listeners, routes and request rewriting.

use crate::{SMALLEST, codes, read};
use evenkeel_config::Code;
use evenkeel_core::ServiceId;
use evenkeel_request::HashOn;
use evenkeel_request::route::HostRule;
use evenkeel_request::route::PathRule;
use evenkeel_request::route::Target;
use evenkeel_request::route::Template;
use evenkeel_request::route::ValueRule;
use std::time::Duration;

/// product.md's catalogue, without what is not available yet.
pub(crate) const EVERY_KEY: &str = include_str!("../every_key.toml");

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
        let diagnostics = read(&format!("{SMALLEST}\n{line}\n")).expect_err(line);
        assert_eq!(codes(&diagnostics), [code], "{line}: {diagnostics}");
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
        let diagnostics = read(&with(&lines)).expect_err(&lines);
        assert_eq!(codes(&diagnostics), [code], "{lines}: {diagnostics}");
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
        let diagnostics = read(&text).expect_err(table);
        assert_eq!(codes(&diagnostics), [code], "{table}: {diagnostics}");
    }
    for table in ["set = { host = \"a\" }", "set = { x = \"{path}\" }"] {
        let text = format!("{SMALLEST}\n[service.shop.response_headers]\n{table}\n");
        let diagnostics = read(&text).expect_err(table);
        assert_eq!(
            codes(&diagnostics),
            [Code::BadRule],
            "{table}: {diagnostics}"
        );
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
