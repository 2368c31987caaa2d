//! Requests and responses through the proxy, on real sockets: framing, bodies, connections, refusals.

mod common;

use std::io::{Read, Write};
use std::time::Duration;

use common::{Client, Rig, always, nowhere, server};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_connection_carries_many_requests_and_so_does_the_servers() {
    let (address, seen) = server(|connection| {
        let mut n = 0;
        while connection.request().is_some() {
            n += 1;
            connection.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}"));
        }
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    for n in 1..=5 {
        let response = client.get("/x");
        assert_eq!(
            (response.status, response.body),
            (200, n.to_string().into_bytes())
        );
    }
    assert_eq!(seen.lock().unwrap().len(), 5);
    rig.wait_for(|rig| rig.totals().requests == 5);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (address, _) = server(|connection| {
        while let Some(request) = connection.request() {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            connection.answer(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
                path.len()
            ));
        }
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send(
        (0..20)
            .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .collect::<String>(),
    );
    for n in 0..20 {
        assert_eq!(client.response().body, format!("/{n}").into_bytes());
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_understood() {
    let (address, _) = always(OK);
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.stream.set_nodelay(true).unwrap();
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn large_bodies_pass_in_both_directions_unchanged() {
    let (address, _) = server(|connection| {
        while let Some(request) = connection.request() {
            let body = request.split_once("\r\n\r\n").unwrap().1;
            connection.answer(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    });
    let rig = Rig::new(&[address], "");
    let body: String = (0..3_000_000)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let mut client = rig.client();
    for _ in 0..2 {
        let mut sender = client.stream.try_clone().unwrap();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let sending = std::thread::spawn(move || sender.write_all(request.as_bytes()));
        assert!(
            client.response().body == body.as_bytes(),
            "the body came back changed"
        );
        sending.join().unwrap().unwrap();
    }
}

#[test]
fn chunks_pass_through_and_are_taken_apart_for_http_1_0() {
    let (address, seen) = always(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n".split_at(0).1,
    );
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let mut raw = vec![0; 4096];
    let n = common::read_some(&client.stream, &mut raw).unwrap();
    assert!(
        String::from_utf8_lossy(&raw[..n]).contains("3\r\nabc\r\n4;x=y\r\n"),
        "chunks pass as they are"
    );
    assert!(seen.lock().unwrap()[0].ends_with("5\r\nhello\r\n0\r\n\r\n"));

    let mut old = rig.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    let response = old.response();
    assert_eq!(response.body, b"abcdefg");
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn responses_without_a_body_leave_the_connection_usable() {
    let (address, _) = server(|connection| {
        while let Some(request) = connection.request() {
            connection.answer(if request.starts_with("HEAD") {
                "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
            } else if request.contains("/204") {
                "HTTP/1.1 204 No Content\r\n\r\n"
            } else {
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"
            });
        }
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        client.response_to("HEAD").header("content-length"),
        Some("500")
    );
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(client.get("/304").status, 304);
}

#[test]
fn a_response_that_ends_with_its_connection_ends_the_clients_too() {
    let (address, _) = server(|connection| {
        connection.request();
        connection.answer("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    let rig = Rig::new(&[address], "");
    let response = rig.client().get("/");
    assert_eq!(response.body, b"until the end");
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn a_body_is_sent_when_the_server_asks_for_it() {
    let (address, _) = server(|connection| {
        let head = connection.head().unwrap();
        assert!(head.to_ascii_lowercase().contains("expect: 100-continue"));
        connection.answer("HTTP/1.1 100 Continue\r\n\r\n");
        let mut body = [0; 5];
        connection.stream.read_exact(&mut body).unwrap();
        connection.answer(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",
            String::from_utf8_lossy(&body)
        ));
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("hello");
    assert_eq!(client.response().body, b"hello");
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let (address, _) = server(|connection| {
        connection.head();
        connection.answer(
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
        );
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.body), (413, b"big".to_vec()));
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let (address, _) = server(|connection| {
        let head = connection.head().unwrap().to_ascii_lowercase();
        assert!(head.contains("upgrade: echo") && head.contains("connection: upgrade"));
        connection.answer(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        );
        let mut bytes = [0; 1024];
        while let Ok(n @ 1..) = connection.stream.read(&mut bytes) {
            connection.answer(&bytes[..n]);
        }
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    let response = client.response();
    assert_eq!(
        (response.status, response.header("upgrade")),
        (101, Some("echo"))
    );
    for text in ["one", "two"] {
        client.send(text);
        let mut back = [0; 3];
        client.stream.read_exact(&mut back).unwrap();
        assert_eq!(back, text.as_bytes());
    }
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused_and_reaches_no_server() {
    const BAD: [&str; 22] = [
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\nX-Forwarded-For: 1\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let (address, seen) = always(OK);
    let rig = Rig::new(&[address], "");
    for bad in BAD {
        let mut client = rig.client();
        client.send(bad);
        let response = client.response();
        assert_eq!(response.status, 400, "{bad:?}");
        assert_eq!(response.header("connection"), Some("close"));
        assert!(
            response
                .header("proxy-status")
                .is_some_and(|status| status.contains("http_request_error"))
        );
        assert_eq!(client.rest(), b"", "the connection ends after {bad:?}");
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[test]
fn bad_chunks_are_refused_and_the_server_never_gets_them() {
    let chunks = [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "fffffffffffffffff\r\n",
    ];
    for bad in chunks {
        let (address, seen) = always(OK);
        let rig = Rig::new(&[address], "");
        let mut client = rig.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{bad}"
        ));
        assert_eq!(client.response().status, 400, "{bad:?}");
        assert_eq!(seen.lock().unwrap().len(), 0);
    }
}

#[test]
fn limits_on_heads_have_their_own_statuses() {
    let (address, _) = always(OK);
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send(format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "x".repeat(20_000)
    ));
    assert_eq!(client.response().status, 414);
    let mut client = rig.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    ));
    assert_eq!(client.response().status, 431);
    let mut client = rig.client();
    client.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    assert_eq!(client.response().status, 405);
}

#[test]
fn a_client_that_does_not_finish_its_head_is_told_and_closed() {
    let (address, _) = always(OK);
    let rig = Rig::new(
        &[address],
        "[listen.web.limits]\nhead_time = \"100ms\"\nidle_time = \"100ms\"\n",
    );
    let mut slow = rig.client();
    slow.send("GET / HT");
    assert_eq!(slow.response().status, 408);
    let mut idle = rig.client();
    assert_eq!(
        idle.rest(),
        b"",
        "an idle connection is closed without a word"
    );
}

#[test]
fn no_server_is_answered_with_a_cause_and_an_id() {
    let rig = Rig::new(&[nowhere()], "");
    let response = rig.client().get("/");
    assert_eq!(response.status, 502);
    assert!(
        response
            .header("proxy-status")
            .is_some_and(|s| s.contains("connection_refused")),
        "{}",
        response.head
    );
    assert_eq!(response.header("x-request-id").map(str::len), Some(24));
}

#[test]
fn a_body_that_breaks_off_breaks_off_for_the_client_too() {
    let (address, _) = server(|connection| {
        connection.request();
        connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    });
    let rig = Rig::new(&[address], "");
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let all = client.rest();
    assert!(String::from_utf8_lossy(&all).ends_with("only this"));
    rig.wait_for(|rig| rig.totals().failed == 1);
}

#[test]
fn draining_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let (address, _) = server(|connection| {
        while connection.request().is_some() {
            std::thread::park_timeout(Duration::from_millis(300));
            connection.answer(OK);
        }
    });
    let mut rig = Rig::new(&[address], "");
    let (mut idle, mut busy) = (rig.client(), rig.client());
    idle.get("/");
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.wait_for(|rig| rig.proxy().state().connections() == 2);
    let proxy_address = rig.address();
    let reader = std::thread::spawn(move || {
        let response = busy.response();
        (
            response.status,
            response.header("connection").map(str::to_owned),
            busy.rest(),
        )
    });
    assert!(rig.drain(Duration::from_secs(10)), "all connections ended");
    let (status, connection, rest) = reader.join().unwrap();
    assert_eq!(
        (status, connection.as_deref(), rest),
        (200, Some("close"), vec![])
    );
    assert_eq!(idle.rest(), b"");
    assert!(
        std::net::TcpStream::connect(proxy_address).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn a_slow_reader_gets_everything() {
    let (address, _) = server(|connection| {
        while connection.request().is_some() {
            let body = "z".repeat(8_000_000);
            connection.answer(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    });
    let rig = Rig::new(&[address], "");
    let mut client = Client::connect(rig.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::park_timeout(Duration::from_millis(200));
    assert_eq!(client.response().body.len(), 8_000_000);
}

/// A rig with a second listener, `routed`, that has these routes. The first server belongs to `shop`.
fn routed(servers: &[(&str, std::net::SocketAddr)], routes: &str) -> Rig {
    let others: String = servers[1..]
        .iter()
        .map(|(name, address)| format!("[service.{name}]\nservers = [\"{address}\"]\n"))
        .collect();
    let extra = format!(
        "[listen.routed]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\nroutes = [{routes}]\n{others}"
    );
    Rig::new(&[servers[0].1], &extra)
}

fn client_of_routes(rig: &Rig) -> Client {
    let addresses = rig.proxy().addresses();
    let routed = addresses.iter().find(|(name, _)| name == "routed");
    let (_, address) = routed.expect("the second listener");
    Client::connect(address.tcp().expect("an IP address"))
}

#[test]
fn a_redirect_leads_elsewhere_and_the_connection_goes_on() {
    let (address, seen) = always(OK);
    let rig = routed(
        &[("shop", address)],
        r#"{ path = "/old/*", redirect = { to = "https://new.example/{rest}{query}" } },
           { path = "/here/*", redirect = { to = "/{rest}", status = 302 } },"#,
    );
    let mut client = client_of_routes(&rig);
    let response = client.get("/old/a/b?c=d");
    assert_eq!(response.status, 308);
    assert_eq!(
        response.header("location"),
        Some("https://new.example/a/b?c=d")
    );
    assert_eq!(response.header("x-request-id").map(str::len), Some(24));
    let response = client.get("/here//evil.example");
    assert_eq!(
        (response.status, response.header("location")),
        (302, Some("/evil.example"))
    );
    assert_eq!(client.get("/").status, 200, "the same connection");
    assert_eq!(seen.lock().unwrap().len(), 1);
    client.send("POST /old/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    let response = client.response();
    assert_eq!(
        (response.status, response.header("connection")),
        (308, None)
    );
    assert_eq!(client.get("/").status, 200, "the body was left out");
}

#[test]
fn a_rewritten_path_is_what_the_server_gets() {
    let (address, seen) = always(OK);
    let rig = routed(
        &[("shop", address)],
        r#"{ path = "/v1/*", service = "shop", rewrite = "/api/{rest}{query}" },
           { path = "/gone/*", service = "shop", rewrite = "{rest}" },"#,
    );
    let mut client = client_of_routes(&rig);
    for path in [
        "/v1/a/b?c=d",
        "/v1",
        "/gone/x?y",
        "/other?q",
        "http://h.example/v1/z",
    ] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    let seen = seen.lock().unwrap();
    let lines: Vec<&str> = seen.iter().filter_map(|head| head.lines().next()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/a/b?c=d HTTP/1.1",
            "GET /api/ HTTP/1.1",
            "GET /x HTTP/1.1",
            "GET /other?q HTTP/1.1",
            "GET /api/z HTTP/1.1",
        ]
    );
    assert!(
        seen[4].contains("\r\nhost: h.example\r\n"),
        "the absolute form's host: {}",
        seen[4]
    );
}

#[test]
fn a_split_shares_requests_in_proportion() {
    let (stable, seen_stable) = always(OK);
    let (canary, seen_canary) = always(OK);
    let rig = routed(
        &[("shop", stable), ("canary", canary)],
        r#"{ path = "/*", split = { shop = 80, canary = 20 } },"#,
    );
    let mut client = client_of_routes(&rig);
    for _ in 0..1_000 {
        assert_eq!(client.get("/").status, 200);
    }
    let (stable, canary) = (
        seen_stable.lock().unwrap().len(),
        seen_canary.lock().unwrap().len(),
    );
    assert_eq!(stable + canary, 1_000);
    // Five standard deviations of a binomial with 1,000 and 0.2 are 63.
    assert!((137..=263).contains(&canary), "{canary}");
}

#[test]
fn routes_by_method_query_and_cookie() {
    let (shop, _) = always("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nshop");
    let (beta, _) = always("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbeta");
    let rig = routed(
        &[("shop", shop), ("beta", beta)],
        r#"{ method = ["PUT"], service = "beta" },
           { query = { beta = "1" }, service = "beta" },
           { cookie = { group = "~^b" }, service = "beta" },"#,
    );
    let mut client = client_of_routes(&rig);
    for (request, service) in [
        ("GET / HTTP/1.1\r\n", "shop"),
        ("PUT / HTTP/1.1\r\nContent-Length: 0\r\n", "beta"),
        ("GET /?a=b&beta=1 HTTP/1.1\r\n", "beta"),
        ("GET /?beta=2 HTTP/1.1\r\n", "shop"),
        ("GET / HTTP/1.1\r\nCookie: a=1; group=b2\r\n", "beta"),
        ("GET / HTTP/1.1\r\nCookie: group=a\r\n", "shop"),
    ] {
        client.send(format!("{request}Host: a\r\n\r\n"));
        assert_eq!(client.response().body, service.as_bytes(), "{request}");
    }
}

#[test]
fn equal_keys_go_to_the_same_server_whichever_connection_brings_them() {
    for policy in ["ring-hash", "maglev"] {
        let names = ["one", "two", "three"];
        let servers: Vec<_> = names
            .into_iter()
            .map(|name| {
                server(move |connection| {
                    while connection.request().is_some() {
                        let length = name.len();
                        connection.answer(format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}"
                        ));
                    }
                })
                .0
            })
            .collect();
        let rig = Rig::new(
            &servers,
            &format!(
                "[service.shop.balance]\npolicy = \"{policy}\"\nhash_on = \"header:x-user\"\n"
            ),
        );
        let ask = |client: &mut Client, user: usize| {
            client.send(format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n"
            ));
            client.response().body
        };
        let mut first = rig.client();
        let owners: Vec<_> = (0..60).map(|user| ask(&mut first, user)).collect();
        let mut second = rig.client();
        for (user, owner) in owners.iter().enumerate().rev() {
            assert_eq!(ask(&mut second, user), *owner, "{policy}, user {user}");
        }
        for name in names {
            let some = owners.iter().filter(|owner| **owner == name.as_bytes());
            assert!(some.count() > 5, "{policy} {name}: {owners:?}");
        }
    }
}
