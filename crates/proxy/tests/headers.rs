//! Changes of headers, as servers and clients see them.

mod common;

use common::{Rig, always, server};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: secret/1.2\r\nX-Debug: a\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok";

/// The value of each line of this name in a head, in order.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.split("\r\n\r\n").next().unwrap_or_default().lines();
    lines
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

#[test]
fn request_headers_are_edited_by_the_service_then_by_the_route() {
    let (address, seen) = always(ANSWER);
    let rig = Rig::new(
        &[address],
        r#"
[service.shop.request_headers]
set = { x-env = "live", X-Path = "{path}{query} of {host}", x-client = "{client.address}" }
add = { accept = "text/plain", x-both = "service" }
remove = ["Cookie"]
[listen.two]
address = "127.0.0.1:0"
routes = [{ path = "/v1/*", service = "shop", request_headers = { set = { X-ENV = "canary", host = "{service}.internal:81", x-request-id = "{request.id}" }, add = { x-both = "{rest}" }, remove = ["x-debug", "x-client"] } }]
"#,
    );
    let request = "GET /v1/a/b?c=d HTTP/1.1\r\nHost: Test:80\r\nX-Env: forged\r\nx-env: twice\r\nAccept: text/html\r\n\
                   Cookie: a\r\nX-Debug: 1\r\nX-Request-Id: forged\r\nx-client: forged\r\n\r\n";
    let mut client = rig.client();
    client.send(request);
    assert_eq!(client.response().status, 200);
    let mut client =
        common::Client::connect(rig.proxy().addresses()[1].1.tcp().expect("an IP address"));
    client.send(request);
    assert_eq!(client.response().status, 200);

    let seen = seen.lock().unwrap();
    let of_service = |name: &str| values(&seen[0], name);
    assert_eq!(of_service("x-env"), ["live"]);
    assert_eq!(of_service("x-path"), ["/v1/a/b?c=d of Test"]);
    assert_eq!(of_service("x-client"), ["127.0.0.1"]);
    assert_eq!(of_service("accept"), ["text/html", "text/plain"]);
    assert_eq!(of_service("x-both"), ["service"]);
    assert_eq!(of_service("cookie"), [""; 0]);
    assert_eq!(of_service("x-debug"), ["1"]);
    assert_eq!(of_service("host"), ["Test:80"]);
    assert_eq!(of_service("x-request-id"), ["forged"]);

    let of_route = |name: &str| values(&seen[1], name);
    assert_eq!(of_route("x-env"), ["canary"]);
    assert_eq!(of_route("x-path"), ["/v1/a/b?c=d of Test"]);
    assert_eq!(of_route("x-both"), ["service", "a/b"]);
    for gone in ["x-client", "x-debug", "cookie"] {
        assert_eq!(of_route(gone), [""; 0], "{gone}");
    }
    assert_eq!(of_route("host"), ["shop.internal:81"]);
    assert_eq!(of_route("x-forwarded-host"), ["Test:80"]);
    let [id] = of_route("x-request-id")[..] else {
        panic!("{}", seen[1]);
    };
    assert!(id.len() == 24 && id != "forged", "{id}");
}

#[test]
fn response_headers_are_edited_by_the_service_then_by_the_route() {
    let (address, _) = always(ANSWER);
    let rig = Rig::new(
        &[address],
        r#"
[service.shop.response_headers]
set = { Cache-Control = "max-age=60", x-served-by = "{server} of {service}" }
add = { x-client = "{client.address}" }
remove = ["server"]
[listen.two]
address = "127.0.0.1:0"
routes = [{ service = "shop", response_headers = { set = { X-Served-By = "evenkeel" }, add = { cache-control = "private" }, remove = ["x-debug"] } }]
"#,
    );
    let name = format!("127-0-0-1-{}", address.port());
    let response = rig.client().get("/");
    assert_eq!(values(&response.head, "cache-control"), ["max-age=60"]);
    assert_eq!(
        values(&response.head, "x-served-by"),
        [format!("{name} of shop")]
    );
    assert_eq!(values(&response.head, "x-client"), ["127.0.0.1"]);
    assert_eq!(values(&response.head, "server"), [""; 0]);
    assert_eq!(values(&response.head, "x-debug"), ["a"]);
    assert_eq!(response.body, b"ok");

    let response =
        common::Client::connect(rig.proxy().addresses()[1].1.tcp().expect("an IP address"))
            .get("/");
    assert_eq!(
        values(&response.head, "cache-control"),
        ["max-age=60", "private"]
    );
    assert_eq!(values(&response.head, "x-served-by"), ["evenkeel"]);
    assert_eq!(values(&response.head, "x-debug"), [""; 0]);
    assert_eq!(response.body, b"ok");
}

#[test]
fn the_changes_hold_for_every_attempt_and_for_an_absolute_target() {
    let (bad, seen_by_bad) = server(|connection| {
        connection.request();
        connection.answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    });
    let (good, seen_by_good) = always(ANSWER);
    let rig = Rig::new(
        &[bad, good],
        "[service.shop.request_headers]\nset = { host = \"inner\", x-rest = \"{rest}\" }\n\
         [service.shop.balance]\npolicy = \"round-robin\"\n",
    );
    let mut client = rig.client();
    for _ in 0..2 {
        client.send("GET http://real.example/x HTTP/1.1\r\nHost: other.example\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    for seen in [seen_by_bad, seen_by_good] {
        let seen = seen.lock().unwrap();
        assert!(!seen.is_empty());
        for head in seen.iter() {
            assert_eq!(values(head, "host"), ["inner"], "{head}");
            assert_eq!(values(head, "x-rest"), ["x"], "{head}");
            assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
        }
    }
}
