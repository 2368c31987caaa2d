//! Answers that evenkeel makes itself, of all kinds: their date, their framing, and what becomes of the connection.

mod common;

use common::{Client, Response, Rig, always, server};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers of each kind, by path: none of them comes from a server.
fn rig() -> Rig {
    // A server that reads a request and closes.
    let (broken, _) = server(|connection| {
        connection.request();
    });
    let (well, _) = always(OK);
    Rig::of(&format!(
        r#"
workers = 1
[listen.web]
address = "127.0.0.1:0"
routes = [
    {{ path = "/redirect/*", redirect = {{ to = "https://{{host}}{{path}}" }} }},
    {{ path = "/broken", service = "broken" }},
    {{ path = "/fallback", service = "covered" }},
    {{ path = "/injected", service = "well", inject = {{ abort = {{ share = 1.0, status = 502 }} }} }},
    {{ path = "/limited", service = "well", rate = {{ per_second = 0.001, burst = 1 }} }},
    {{ path = "/well", service = "well" }},
]
[service.broken]
servers = ["{broken}"]
[service.covered]
servers = ["{broken}"]
fallback = {{ status = 200, body = "instead" }}
[service.well]
servers = ["{well}"]
"#
    ))
}

/// Each kind: what is asked for, and the status.
const KINDS: [(&str, u16); 6] = [
    ("/nowhere", 404),
    ("/redirect/a", 308),
    ("/broken", 502),
    ("/fallback", 200),
    ("/injected", 502),
    ("/limited", 429),
];

/// Sends a request, and reads its answer.
fn ask(client: &mut Client, method: &str, path: &str, version: &str, more: &str) -> Response {
    client.send(format!(
        "{method} {path} HTTP/{version}\r\nHost: test\r\n{more}\r\n"
    ));
    client.response_to(method)
}

/// The rig, with the one request used up that may come to `/limited`.
fn used_up() -> Rig {
    let rig = rig();
    assert_eq!(rig.client().get("/limited").status, 200);
    rig
}

fn assert_date(response: &Response) {
    let dates = response.head.to_ascii_lowercase();
    assert_eq!(dates.matches("\r\ndate: ").count(), 1, "{}", response.head);
    let date = response.header("date").unwrap_or_default();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
}

#[test]
fn each_has_one_date_and_leaves_the_connection_open() {
    let rig = used_up();
    let mut client = rig.client();
    for (path, status) in KINDS {
        let response = ask(&mut client, "GET", path, "1.1", "");
        assert_eq!(response.status, status, "{path}");
        assert_date(&response);
        assert_eq!(response.header("connection"), None, "{path}");
    }
    // It is the same connection still.
    assert_eq!(ask(&mut client, "GET", "/well", "1.1", "").status, 200);
}

#[test]
fn an_answer_to_head_is_the_same_without_its_body() {
    let rig = used_up();
    let mut client = rig.client();
    for (path, status) in KINDS {
        let whole = ask(&mut client, "GET", path, "1.1", "");
        let head = ask(&mut client, "HEAD", path, "1.1", "");
        assert_eq!((whole.status, head.status), (status, status), "{path}");
        for name in ["content-length", "content-type", "location", "connection"] {
            assert_eq!(head.header(name), whole.header(name), "{path}: {name}");
        }
        let length: usize = whole.header("content-length").unwrap().parse().unwrap();
        assert_eq!(whole.body.len(), length, "{path}");
        assert_date(&head);
    }
    assert_eq!(ask(&mut client, "GET", "/well", "1.1", "").status, 200);
}

#[test]
fn an_http_1_0_client_is_told_that_the_connection_stays_or_it_does_not() {
    let rig = used_up();
    let mut client = rig.client();
    for (path, status) in KINDS.into_iter().chain([("/well", 200)]) {
        let response = ask(
            &mut client,
            "GET",
            path,
            "1.0",
            "Connection: keep-alive\r\n",
        );
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("connection"), Some("keep-alive"), "{path}");
    }
    for (path, status) in KINDS.into_iter().chain([("/well", 200)]) {
        let mut client = rig.client();
        let response = ask(&mut client, "GET", path, "1.0", "");
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("connection"), Some("close"), "{path}");
        assert_eq!(client.rest(), b"", "{path}: it closes");
    }
}

#[test]
fn a_body_that_has_come_does_not_close_the_connection_and_one_that_has_not_does() {
    let rig = used_up();
    let mut client = rig.client();
    for (path, status) in KINDS {
        for (framing, body) in [
            ("Content-Length: 5", "hello"),
            ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n{body}"
            ));
            let response = client.response();
            assert_eq!(response.status, status, "{path}");
            assert_eq!(response.header("connection"), None, "{path}");
        }
        let mut client = rig.client();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\nhell"
        ));
        if matches!(path, "/broken" | "/fallback") {
            // The server has it all before it closes.
            client.send("o".repeat(496));
            assert_eq!(client.response().status, status, "{path}");
            continue;
        }
        let response = client.response();
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("connection"), Some("close"), "{path}");
        assert_eq!(client.rest(), b"", "{path}");
    }
    // Nothing of a body was read as a request.
    assert_eq!(ask(&mut client, "GET", "/well", "1.1", "").status, 200);
}

#[test]
fn what_is_no_request_is_refused_with_a_date_and_closed() {
    let rig = rig();
    let long = format!("X-Long: {}\r\n", "a".repeat(40_000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            400,
        ),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{long}\r\n"), 431),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000)),
            414,
        ),
        (
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".to_owned(),
            404,
        ),
    ] {
        let mut client = rig.client();
        client.send(&request);
        let response = client.response();
        assert_eq!(response.status, status);
        assert_date(&response);
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(client.rest(), b"");
        let mut client = rig.client();
        client.send(request.replacen("GET ", "HEAD ", 1));
        if request.starts_with("GET ") {
            assert_eq!(client.response_to("HEAD").status, status);
            assert_eq!(client.rest(), b"", "an answer to HEAD has no body");
        }
    }
}

#[test]
fn an_answer_that_is_passed_on_gets_a_date_only_if_it_has_none() {
    let (with, _) = always(
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok",
    );
    let (without, _) = always(OK);
    let rig = Rig::of(&format!(
        r#"
workers = 1
[listen.web]
address = "127.0.0.1:0"
routes = [
    {{ path = "/with", service = "with" }},
    {{ path = "/removed", service = "without", response_headers = {{ remove = ["Date"] }} }},
    {{ path = "/set", service = "without", response_headers = {{ set = {{ date = "today" }} }} }},
    {{ service = "without" }},
]
[service.with]
servers = ["{with}"]
[service.without]
servers = ["{without}"]
"#
    ));
    let mut client = rig.client();
    let with = client.get("/with");
    assert_date(&with);
    assert_eq!(with.header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_date(&client.get("/without"));
    assert_eq!(client.get("/removed").header("date"), None);
    let set = client.get("/set");
    assert_eq!(set.header("date"), Some("today"));
    assert_eq!(
        set.head.to_ascii_lowercase().matches("\r\ndate: ").count(),
        1
    );
}

/// A kept answer says when it was made, or when it came: not when it is shown.
#[test]
fn a_kept_answer_has_one_date_and_tells_an_http_1_0_client_that_the_connection_stays() {
    for given in ["", "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{given}Cache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok"
        );
        let (address, seen) = server(move |connection| {
            while connection.request().is_some() {
                connection.answer(&answer);
            }
        });
        let rig = Rig::new(
            &[address],
            "fallback = { stale = { answer_first = true } }\n",
        );
        let mut client = rig.client();
        let first = client.get("/");
        assert_date(&first);
        let mut client = rig.client();
        let second = ask(&mut client, "GET", "/", "1.0", "Connection: keep-alive\r\n");
        assert_eq!(second.body, b"ok");
        assert_eq!(seen.lock().unwrap().len(), 1, "it was kept");
        assert_date(&second);
        assert_eq!(second.header("date"), first.header("date"));
        assert_eq!(second.header("connection"), Some("keep-alive"));
        assert_eq!(client.get("/").header("connection"), None);
    }
}

#[test]
fn a_host_with_a_final_dot_is_the_same_host() {
    let (address, _) = always(OK);
    let rig = Rig::of(&format!(
        r#"
workers = 1
[listen.web]
address = "127.0.0.1:0"
routes = [
    {{ host = "shop.example.com", path = "/moved", redirect = {{ to = "https://{{host}}/new" }} }},
    {{ host = "shop.example.com", service = "shop" }},
    {{ host = "*.dotted.example.com.", service = "shop" }},
    {{ host = "[::1]", service = "shop" }},
]
[service.shop]
servers = ["{address}"]
"#
    ));
    let mut client = rig.client();
    for (host, status) in [
        ("shop.example.com", 200),
        ("shop.example.com.", 200),
        ("SHOP.example.com.:8080", 200),
        ("a.dotted.example.com", 200),
        ("a.dotted.example.com.", 200),
        ("[::1]", 200),
        ("[::1]:8080", 200),
        ("[0:0:0:0:0:0:0:1]", 200),
        ("shop.example.com..", 404),
        ("example.com.", 404),
        ("[::2]", 404),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().status, status, "{host}");
    }
    client.send("GET /moved HTTP/1.1\r\nHost: shop.example.com.\r\n\r\n");
    let moved = client.response();
    let location = moved.header("location");
    assert_eq!(location, Some("https://shop.example.com/new"));
}

/// RFC 9110, section 15.5.6: what may be asked instead, QUERY (RFC 10008) included.
#[test]
fn a_method_that_is_not_allowed_is_told_which_are() {
    let rig = rig();
    let mut client = rig.client();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 405);
    let allowed = response.header("allow").expect("it says which are");
    let allowed: Vec<&str> = allowed.split(", ").collect();
    assert!(
        allowed.contains(&"QUERY") && !allowed.contains(&"CONNECT"),
        "{allowed:?}"
    );
}
