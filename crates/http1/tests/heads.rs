//! Every head of the corpus has the expected result, in one piece and byte by byte.

mod corpus;

use evenkeel_http1::{
    FieldKind, Framing, HeadError, Limits, Method, Parsed, RequestHead, ResponseHead, Version,
    head_end,
};

fn request(bytes: &[u8]) -> RequestHead {
    let mut head = RequestHead::default();
    assert_eq!(
        head.parse(bytes, &Limits::default()),
        Ok(Parsed::Complete),
        "{}",
        bytes.escape_ascii()
    );
    head
}

fn response(bytes: &[u8], method: Method) -> ResponseHead {
    let mut head = ResponseHead::default();
    assert_eq!(
        head.parse(bytes, method, &Limits::default()),
        Ok(Parsed::Complete),
        "{}",
        bytes.escape_ascii()
    );
    head
}

fn request_error(bytes: &[u8], limits: &Limits) -> HeadError {
    RequestHead::default()
        .parse(bytes, limits)
        .expect_err("it is bad")
}

#[test]
fn bad_requests_are_refused_for_the_right_reason() {
    for &(name, bytes, error) in corpus::PROBE.iter().chain(corpus::REQUESTS) {
        let mut head = RequestHead::default();
        assert_eq!(head.parse(bytes, &Limits::default()), Err(error), "{name}");
        // However it comes, nothing of it is ever a whole request.
        for end in 0..bytes.len() {
            let parsed = head.parse(&bytes[..end], &Limits::default());
            assert!(
                matches!(parsed, Err(_) | Ok(Parsed::Partial)),
                "{name}, {end} bytes"
            );
        }
    }
}

#[test]
fn good_requests_are_taken_when_they_are_whole_and_not_before() {
    for &(name, whole, follows) in corpus::GOOD_REQUESTS {
        let length = whole.len();
        let bytes = &[whole, follows].concat()[..];
        assert_eq!(request(bytes).length, length, "{name}");
        let mut head = RequestHead::default();
        for end in 0..length {
            let parsed = head.parse(&bytes[..end], &Limits::default());
            assert_eq!(parsed, Ok(Parsed::Partial), "{name}, {end} bytes");
        }
        let tight = Limits {
            head_bytes: length,
            ..Limits::default()
        };
        assert_eq!(head.parse(bytes, &tight), Ok(Parsed::Complete), "{name}");
        let tighter = Limits {
            head_bytes: length - 1,
            ..tight
        };
        assert_eq!(
            request_error(bytes, &tighter),
            HeadError::TooLarge,
            "{name}"
        );
        assert_eq!(
            request_error(&bytes[..length - 1], &tighter),
            HeadError::TooLarge,
            "{name}"
        );
    }
}

#[test]
fn bad_responses_are_refused_for_the_right_reason() {
    for &(name, bytes, error) in corpus::RESPONSES {
        let mut head = ResponseHead::default();
        let limits = Limits::default();
        assert_eq!(
            head.parse(bytes, Method::Get, &limits),
            Err(error),
            "{name}"
        );
        for end in 0..bytes.len() {
            let parsed = head.parse(&bytes[..end], Method::Get, &limits);
            assert!(
                matches!(parsed, Err(_) | Ok(Parsed::Partial)),
                "{name}, {end} bytes"
            );
        }
    }
}

#[test]
fn good_responses_are_taken_when_they_are_whole_and_not_before() {
    for &(name, method, whole, follows) in corpus::GOOD_RESPONSES {
        let length = whole.len();
        let bytes = &[whole, follows].concat()[..];
        assert_eq!(response(bytes, method).length, length, "{name}");
        let mut head = ResponseHead::default();
        for end in 0..length {
            let parsed = head.parse(&bytes[..end], method, &Limits::default());
            assert_eq!(parsed, Ok(Parsed::Partial), "{name}, {end} bytes");
        }
    }
}

#[test]
fn the_parts_of_a_request_head_are_found() {
    let bytes = b"\r\nPATCH /a?b HTTP/1.1\r\nhOST: example.org:80\r\nX-Empty: \r\nCONTENT-length: 7\r\n\r\n";
    let head = request(bytes);
    assert_eq!(head.method, Method::Patch);
    assert_eq!(head.method_text.of(bytes), b"PATCH");
    assert_eq!(head.target.of(bytes), b"/a?b");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.host.unwrap().of(bytes), b"example.org:80");
    assert_eq!(head.framing, Framing::Length(7));
    assert!(head.keep_alive);
    assert_eq!(head.header(bytes, "x-EMPTY"), Some(&b""[..]));
    assert_eq!(head.header(bytes, "x-none"), None);
    let lines: Vec<_> = head
        .fields
        .iter()
        .map(|field| field.line.of(bytes))
        .collect();
    assert_eq!(lines[0], b"hOST: example.org:80\r\n");
    assert_eq!(
        lines.concat().len(),
        head.length - "\r\nPATCH /a?b HTTP/1.1\r\n\r\n".len()
    );
}

#[test]
fn fields_have_their_kind_in_any_letter_case() {
    let kinds = [
        ("Connection", FieldKind::HopByHop),
        ("Keep-Alive", FieldKind::HopByHop),
        ("Proxy-Connection", FieldKind::HopByHop),
        ("TE", FieldKind::HopByHop),
        ("Upgrade", FieldKind::HopByHop),
        ("HTTP2-Settings", FieldKind::HopByHop),
        ("Host", FieldKind::Host),
        ("Trailer", FieldKind::Trailer),
        ("Via", FieldKind::Via),
        ("X-Forwarded-For", FieldKind::XForwardedFor),
        ("X-Forwarded-Proto", FieldKind::XForwardedProto),
        ("X-Forwarded-Host", FieldKind::XForwardedHost),
        ("X-Request-Id", FieldKind::XRequestId),
        ("Date", FieldKind::Date),
        ("Server", FieldKind::Server),
        ("Proxy-Authenticate", FieldKind::Other),
        ("Hosts", FieldKind::Other),
        ("X-Forwarded", FieldKind::Other),
    ];
    for (name, kind) in kinds {
        for name in [name.to_owned(), name.to_uppercase(), name.to_lowercase()] {
            let bytes = format!("GET / HTTP/1.0\r\n{name}: a\r\n\r\n");
            assert_eq!(request(bytes.as_bytes()).fields[0].kind, kind, "{name}");
        }
    }
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    let kinds: Vec<_> = request(bytes)
        .fields
        .iter()
        .map(|field| field.kind)
        .collect();
    assert_eq!(
        kinds,
        [FieldKind::Host, FieldKind::ContentLength, FieldKind::Expect]
    );
}

#[test]
fn connection_names_what_goes_no_further() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX-One: a\r\nConnection: close, ,x-one,\tX-TWO\r\nX-Two: b\r\nX-Three: c\r\n\r\n";
    let head = request(bytes);
    let kind = |name: &[u8]| {
        let field = head
            .fields
            .iter()
            .find(|field| field.name.of(bytes) == name);
        field.unwrap().kind
    };
    assert_eq!(kind(b"X-One"), FieldKind::HopByHop);
    assert_eq!(kind(b"X-Two"), FieldKind::HopByHop);
    assert_eq!(kind(b"X-Three"), FieldKind::Other);
    assert!(!head.keep_alive);
    // A response cannot take away its own framing.
    let bytes =
        b"HTTP/1.1 200 OK\r\nConnection: content-length, x\r\nContent-Length: 5\r\nX: a\r\n\r\n";
    let head = response(bytes, Method::Get);
    assert_eq!(head.fields[1].kind, FieldKind::ContentLength);
    assert_eq!(head.fields[2].kind, FieldKind::HopByHop);
}

#[test]
fn connections_stay_open_by_version_and_wish() {
    let cases = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        (
            "1.1",
            "Connection: x\r\nConnection: Keep-Alive, CLOSE\r\n",
            false,
        ),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ];
    for (version, fields, stays) in cases {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(request(bytes.as_bytes()).keep_alive, stays, "{bytes}");
        let bytes = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{fields}\r\n");
        let head = response(bytes.as_bytes(), Method::Get);
        assert_eq!(head.keep_alive, stays, "{bytes}");
        assert_eq!(head.framing, Framing::None);
    }
}

#[test]
fn the_host_is_what_the_client_asked_for() {
    let cases = [
        ("GET / HTTP/1.1", "a", "a"),
        (
            "GET http://b.example:8080/x HTTP/1.1",
            "a",
            "b.example:8080",
        ),
        ("GET https://b?http://c/ HTTP/1.1", "a", "b"),
        ("GET http://[::1]:80 HTTP/1.1", "a", "[::1]:80"),
        ("GET http://b HTTP/1.0", "a", "b"),
        ("CONNECT b:443 HTTP/1.1", "a", "b:443"),
        ("OPTIONS * HTTP/1.1", "a", "a"),
        ("OPTIONS http://b HTTP/1.1", "a", "b"),
        ("GET / HTTP/1.1", "[::ffff:1.2.3.4]:", "[::ffff:1.2.3.4]:"),
        ("GET / HTTP/1.1", "a%2Fb", "a%2Fb"),
    ];
    for (line, host, expected) in cases {
        let bytes = format!("{line}\r\nHost: {host}\r\n\r\n");
        let head = request(bytes.as_bytes());
        let host = head.host.unwrap().of(bytes.as_bytes());
        assert_eq!(host, expected.as_bytes(), "{line}");
    }
    assert_eq!(request(b"GET / HTTP/1.0\r\n\r\n").host, None);
}

#[test]
fn upgrades_and_expectations_are_of_1_1() {
    let fields = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n";
    let bytes = format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let head = request(bytes.as_bytes());
    assert_eq!(head.upgrade.unwrap().of(bytes.as_bytes()), b"websocket");
    assert!(head.expect_continue);
    let head_10 = request(format!("GET / HTTP/1.0\r\n{fields}\r\n").as_bytes());
    assert_eq!(head_10.upgrade, None);
    assert!(!head_10.expect_continue);
    // Not named by `Connection`: the field may be anyone's.
    let head = request(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(head.upgrade, None);
}

#[test]
fn bodies_of_responses_are_told_by_status_and_request() {
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases = [
        (Method::Get, 200, length, Framing::Length(5), true),
        (Method::Get, 200, chunked, Framing::Chunked, true),
        (Method::Get, 200, "", Framing::UntilClose, false),
        (Method::Get, 500, "", Framing::UntilClose, false),
        (Method::Head, 200, length, Framing::None, true),
        (Method::Head, 200, chunked, Framing::None, true),
        (Method::Head, 200, "", Framing::None, true),
        (Method::Get, 304, length, Framing::None, true),
        (Method::Get, 204, "", Framing::None, true),
        (
            Method::Get,
            204,
            "Content-Length: 0\r\n",
            Framing::None,
            true,
        ),
        (Method::Get, 204, length, Framing::None, false),
        (Method::Get, 204, chunked, Framing::None, false),
        (Method::Get, 100, "", Framing::None, true),
        (Method::Get, 103, length, Framing::None, false),
        (Method::Get, 101, "", Framing::None, true),
        (Method::Connect, 200, length, Framing::None, true),
        (Method::Connect, 403, length, Framing::Length(5), true),
        (Method::Options, 205, length, Framing::Length(5), true),
    ];
    for (method, status, fields, framing, keep_alive) in cases {
        let bytes = format!("HTTP/1.1 {status} \r\n{fields}\r\n");
        let head = response(bytes.as_bytes(), method);
        assert_eq!(head.status, status);
        assert_eq!(head.framing, framing, "{method:?} {bytes}");
        assert_eq!(head.keep_alive, keep_alive, "{method:?} {bytes}");
        assert_eq!(head.upgrade, status == 101);
        // A body that may not be is not spoken of to the client either.
        let hidden = matches!(status, 100..200 | 204);
        for field in &head.fields {
            assert_eq!(field.kind == FieldKind::HopByHop, hidden, "{bytes}");
        }
    }
}

#[test]
fn limits_hold_before_the_end_has_come() {
    let limits = Limits {
        head_bytes: 400,
        headers: 3,
        target_bytes: 100,
    };
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100));
    for end in 110..target.len() {
        let error = request_error(&target.as_bytes()[..end], &limits);
        assert_eq!(error, HeadError::TargetTooLong, "{end}");
        assert_eq!(error.status(), 414);
    }
    let fits = format!("OPTIONS /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(99));
    for end in 0..fits.len() {
        let parsed = RequestHead::default().parse(&fits.as_bytes()[..end], &limits);
        assert_eq!(parsed, Ok(Parsed::Partial), "{end}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(400));
    assert_eq!(request_error(long.as_bytes(), &limits), HeadError::TooLarge);
    assert_eq!(HeadError::TooLarge.status(), 431);
    let many = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nA: b\r\nA";
    assert_eq!(request_error(many, &limits), HeadError::TooLarge);
    let enough = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nA: b\r\n\r\n";
    let parsed = RequestHead::default().parse(enough, &limits);
    assert_eq!(parsed, Ok(Parsed::Complete));
    let long = format!("HTTP/1.1 200 {}", "a".repeat(400));
    let parsed = ResponseHead::default().parse(long.as_bytes(), Method::Get, &limits);
    assert_eq!(parsed, Err(HeadError::TooLarge));
}

#[test]
fn a_head_can_be_used_again() {
    let mut head = RequestHead::default();
    let limits = Limits::default();
    for bytes in [
        &b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close, upgrade\r\nUpgrade: x\r\nExpect: 100-continue\r\n\r\n"[..],
        b"GET /b HTTP/1.0\r\n\r\n",
    ] {
        assert_eq!(head.parse(bytes, &limits), Ok(Parsed::Complete));
    }
    let fresh = request(b"GET /b HTTP/1.0\r\n\r\n");
    assert_eq!(format!("{head:?}"), format!("{fresh:?}"));
}

#[test]
fn the_end_of_a_head_is_found_from_anywhere_before_it() {
    let bytes = b"\r\n\r\r\n\r\nabc\r\n\r\n";
    assert_eq!(head_end(bytes, 0), Some(7));
    for from in 0..=3 {
        assert_eq!(head_end(bytes, from), Some(7));
    }
    for from in 4..=10 {
        assert_eq!(head_end(bytes, from), Some(14), "{from}");
    }
    for from in [11, 14, 15, usize::MAX] {
        assert_eq!(head_end(bytes, from), None);
    }
    assert_eq!(head_end(b"", 0), None);
}

#[test]
fn statuses_and_words_of_errors() {
    assert_eq!(HeadError::Version.status(), 505);
    assert_eq!(HeadError::Expectation.status(), 417);
    assert_eq!(HeadError::TransferEncoding.status(), 400);
    for &(name, _, error) in corpus::PROBE {
        assert_eq!(error.status(), 400, "{name}");
    }
    let mut words: Vec<_> = corpus::PROBE
        .iter()
        .chain(corpus::REQUESTS)
        .chain(corpus::RESPONSES)
        .map(|&(_, _, error)| (error.word(), error))
        .collect();
    words.sort_by_key(|&(word, _)| word);
    words.dedup();
    for pair in words.windows(2) {
        assert_ne!(pair[0].0, pair[1].0, "two errors have one word");
    }
    for (word, _) in words {
        assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
    }
}

#[test]
fn a_server_says_when_it_closes_idle_connections() {
    for (field, expected) in [
        ("Keep-Alive: timeout=5, max=100", Some(5)),
        ("keep-alive: max=100 ,Timeout=75", Some(75)),
        ("Keep-Alive: timeout=0", Some(0)),
        ("Keep-Alive: timeout=5\r\nKeep-Alive: max=7", Some(5)),
        ("Keep-Alive: timeout=-5", None),
        ("Keep-Alive: timeout=5s", None),
        ("Keep-Alive: timeout=99999999999999999999", None),
        ("Keep-Alive: 300", None),
        ("X-Keep-Alive: timeout=5", None),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 0\r\n\r\n");
        let head = response(text.as_bytes(), Method::Get);
        assert_eq!(head.idle_timeout, expected, "{field}");
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let mut again = head;
        let parsed = again.parse(text.as_bytes(), Method::Get, &Limits::default());
        assert_eq!((parsed, again.idle_timeout), (Ok(Parsed::Complete), None));
    }
}

/// RFC 10008: safe and idempotent, with content that has its framing like any other's.
#[test]
fn query_is_safe_and_has_content() {
    let head = request(b"QUERY /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(
        (head.method, head.framing),
        (Method::Query, Framing::Length(3))
    );
    assert!(head.method.is_safe() && head.method.is_idempotent());
    assert_eq!(Method::of(b"query"), Method::Other);
}
