//! Heads as HTTP/1.1 writes them: some as text, the cases that every protocol shares, and random ones, which must have the fields that
//! the policy writes as a list.

#[path = "../../../../../request/tests/forward/cases.rs"]
mod cases;
#[path = "../../../../../request/tests/forward/list.rs"]
mod list;

use std::fmt::Write as _;

use evenkeel_core::Endpoint;
use evenkeel_http1::{
    Body, Field, Framing, Limits, Method, Parsed, RequestHead, ResponseHead, Version,
};
use evenkeel_request::forward::{ForwardedTrailers, write_interim as write_interim_by_policy};
use evenkeel_request::headers::Side;
use proptest::prelude::*;

use self::cases::{Changes, DATE, REQUESTS, RESPONSES, TRAILERS, value};
use self::list::{ListFields, ListRequest, ListResponse, ListWriter};
use super::view::{H1Request, H1Response, H1Trailers};
use super::*;

const KEPT: Manner = Manner {
    version: Version::Http11,
    keep_alive: true,
    decode: false,
};

fn parsed_request(text: &str) -> Option<RequestHead> {
    let mut head = RequestHead::default();
    let parsed = head.parse(text.as_bytes(), &Limits::default());
    (parsed == Ok(Parsed::Complete)).then_some(head)
}

fn parsed_response(text: &str) -> Option<ResponseHead> {
    let mut head = ResponseHead::default();
    let parsed = head.parse(text.as_bytes(), Method::Get, &Limits::default());
    (parsed == Ok(Parsed::Complete)).then_some(head)
}

fn rewritten_with(text: &str, changes: &Changes) -> String {
    let head = parsed_request(text).expect("a request");
    let mut out = b"what was there before".to_vec();
    write_request(&mut out, &head, text.as_bytes(), &changes.request());
    String::from_utf8(out).expect("text")
}

fn rewritten(text: &str) -> String {
    rewritten_with(text, &Changes::default())
}

#[test]
fn hop_by_hop_and_forged_forwarding_fields_go_and_the_rest_stays_as_it_was() {
    let out = rewritten(
        "GET /a?b HTTP/1.1\r\nHost: Shop.example\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nX-Forwarded-For: \
         10.0.0.1\r\nAccept:  */*\r\nKeep-Alive: timeout=5\r\nCookie: c\r\n\r\n",
    );
    assert_eq!(
        out,
        "GET /a?b HTTP/1.1\r\nHost: Shop.example\r\nAccept:  */*\r\nCookie: c\r\nx-forwarded-for: 192.0.2.7\r\n\
         x-forwarded-proto: http\r\nx-forwarded-host: Shop.example\r\nx-request-id: 000000000000000100000002\r\n\
         via: 1.1 evenkeel\r\n\r\n"
    );
}

#[test]
fn absolute_form_becomes_origin_form_with_its_own_host() {
    let out = rewritten("GET http://real.example?q=1 HTTP/1.1\r\nHost: other.example\r\n\r\n");
    assert!(
        out.starts_with("GET /?q=1 HTTP/1.1\r\nhost: real.example\r\n"),
        "{out}"
    );
    assert!(!out.contains("other.example"));
    assert!(
        rewritten("OPTIONS http://real.example HTTP/1.1\r\nHost: a\r\n\r\n")
            .starts_with("OPTIONS * ")
    );
    let lines = "OPTIONS * HTTP/1.1\r\nAccept: */*\r\nHost: a\r\n";
    assert!(rewritten(&format!("{lines}\r\n")).starts_with(lines));
}

#[test]
fn a_request_without_host_gets_the_server_as_host() {
    assert!(
        rewritten("GET / HTTP/1.0\r\n\r\n")
            .starts_with("GET / HTTP/1.1\r\nhost: 127.0.0.1:9001\r\n")
    );
    let mut out = Vec::new();
    let text = "GET / HTTP/1.0\r\n\r\n";
    let head = parsed_request(text).expect("a request");
    let changes = Changes::default();
    for (server, host) in [
        ("[2001:db8::1]:81", "[2001:db8::1]:81"),
        ("[fe80::1%3]:81", "[fe80::1]:81"),
        ("unix:/run/shop.sock", "localhost"),
    ] {
        let server: Endpoint = server.parse().expect("an address");
        let mut request = changes.request();
        request.server = Some(&server);
        write_request(&mut out, &head, text.as_bytes(), &request);
        let out = String::from_utf8_lossy(&out);
        assert!(out.contains(&format!("host: {host}\r\n")), "{out}");
    }
}

/// Applications read what stands in `X-Forwarded-For` as an IP address.
#[test]
fn a_client_without_an_address_is_not_forwarded() {
    let mut out = Vec::new();
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
    let head = parsed_request(text).expect("a request");
    let mut changes = Changes::default();
    let value = value("from {client.address}", Side::Request);
    changes.service.set("X-From", value);
    let mut request = changes.request();
    request.client_address = None;
    write_request(&mut out, &head, text.as_bytes(), &request);
    let out = String::from_utf8_lossy(&out).to_lowercase();
    assert!(!out.contains("x-forwarded-for"), "{out}");
    assert!(out.contains("x-from: from unix\r\n"), "{out}");
}

#[test]
fn an_upgrade_is_asked_for_again_and_the_deadline_comes_last() {
    let text = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let changes = Changes {
        deadline: Some("x-deadline"),
        ..Changes::default()
    };
    let out = rewritten_with(text, &changes);
    let end = "via: 1.1 evenkeel\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-deadline:                     \r\n\r\n";
    assert!(out.ends_with(end), "{out}");
    let head = parsed_request(text).expect("a request");
    let mut bytes = Vec::new();
    let room = write_request(&mut bytes, &head, text.as_bytes(), &changes.request());
    assert_eq!(room, Some(out.len() - 4 - evenkeel_request::deadline::ROOM));
}

#[test]
fn trailers_that_a_client_accepts_are_accepted_from_the_server() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip\r\nConnection: TE\r\n\r\n";
    let out = rewritten(text);
    assert!(
        out.ends_with("\r\nconnection: te\r\nte: trailers\r\n\r\n"),
        "{out}"
    );
    assert!(!rewritten(&text.replace("HTTP/1.1", "HTTP/1.0")).contains("te: trailers"));
}

#[test]
fn a_response_loses_what_was_meant_for_us() {
    let text = "HTTP/1.1 200 Fine\r\nConnection: close\r\nServer: x\r\nContent-Length: 0\r\n\r\n";
    let head = parsed_response(text).expect("a response");
    let mut out = Vec::new();
    let (changes, sticky) = (Changes::default(), Some(("set-cookie", "server=1")));
    let date = DATE.as_bytes();
    let response = changes.response();
    write_response(
        &mut out,
        &head,
        text.as_bytes(),
        KEPT,
        &response,
        date,
        sticky,
    );
    let expected = "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 0\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                    set-cookie: server=1\r\nvia: 1.1 evenkeel\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn chunks_are_taken_apart_for_an_old_client() {
    let text = "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n";
    let head = parsed_response(text).expect("a response");
    let mut out = Vec::new();
    let changes = Changes::default();
    let manner = Manner {
        version: Version::Http10,
        keep_alive: false,
        decode: true,
    };
    let response = changes.response();
    write_response(
        &mut out,
        &head,
        text.as_bytes(),
        manner,
        &response,
        b"",
        None,
    );
    let expected = "HTTP/1.1 200 OK\r\nDate: x\r\nvia: 1.1 evenkeel\r\nconnection: close\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn stored_lines_are_changed_like_those_of_a_response() {
    let mut out = Vec::new();
    let changes = cases::edited_response();
    let lines = b"Server: a\r\nX-Kept:  b: c\r\nx-debug: d\r\nDate: e\r\n";
    write_stored(&mut out, lines, &changes.response());
    let expected = "X-Kept:  b: c\r\nserver: one of shop\r\nx-client: 192.0.2.7\r\nx-id: 000000000000000100000002\r\n";
    let out = String::from_utf8_lossy(&out).to_lowercase();
    assert_eq!(out, expected.to_lowercase());
}

/// The fields of a head that HTTP/1.1 has written, as the list has them: without those that only HTTP/1.1 has.
fn listed(start: &str, fields: &[Field], bytes: &[u8]) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (mut authority, mut list) = (String::new(), String::new());
    for field in fields {
        let name = text(field.name.of(bytes)).to_ascii_lowercase();
        let value = text(field.value.of(bytes));
        match name.as_str() {
            "connection" | "upgrade" | "transfer-encoding" => {}
            "host" => authority = format!(":authority: {value}\n"),
            _ => writeln!(list, "{name}: {value}").expect("a text takes everything"),
        }
    }
    format!("{start}{authority}{list}")
}

/// A request that HTTP/1.1 has written, as a list.
fn listed_request(out: &str) -> String {
    let head = parsed_request(out).unwrap_or_else(|| panic!("no request: {out}"));
    assert_eq!(head.length, out.len(), "{out}");
    let bytes = out.as_bytes();
    let (method, target) = (head.method_text.of(bytes), head.target.of(bytes));
    let start = format!(
        ":method: {}\n:scheme: http\n:path: {}\n",
        String::from_utf8_lossy(method),
        String::from_utf8_lossy(target)
    );
    listed(&start, &head.fields, bytes)
}

/// A response that HTTP/1.1 has written, as a list.
fn listed_response(out: &str) -> String {
    let head = parsed_response(out).unwrap_or_else(|| panic!("no response: {out}"));
    assert_eq!(head.length, out.len(), "{out}");
    let start = format!(":status: {}\n", head.status);
    listed(&start, &head.fields, out.as_bytes())
}

/// What both writers make of a request.
fn both_of_request(text: &str, head: &RequestHead, changes: &Changes) -> (String, String) {
    let bytes = text.as_bytes();
    let mut writer = ListWriter::default();
    let request = H1Request { head, bytes };
    changes.request().write(&request, &mut writer);
    let mut out = Vec::new();
    write_request(&mut out, head, bytes, &changes.request());
    (
        writer.text(),
        listed_request(&String::from_utf8_lossy(&out)),
    )
}

fn request_text((method, target, protocol): (&str, &str, &str), fields: &[(&str, &str)]) -> String {
    message_text(&format!("{method} {target} HTTP/{protocol}"), fields)
}

fn message_text(start: &str, fields: &[(&str, &str)]) -> String {
    let lines: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("{start}\r\n{lines}\r\n")
}

#[test]
fn every_protocol_carries_out_the_same_policy() {
    for case in &REQUESTS {
        let absolute = case.absolute.map(|host| format!("http://{host}"));
        let target = absolute.unwrap_or_default() + case.path;
        let text = request_text((case.method, &target, case.version), case.fields);
        let head = parsed_request(&text).expect("a request");
        let (list, h1) = both_of_request(&text, &head, &(case.changes)());
        assert_eq!(list, case.expected, "{}", case.name);
        assert_eq!(h1, case.expected, "{}", case.name);
        let mut writer = ListWriter::default();
        let changes = (case.changes)();
        (changes.request()).write(&ListRequest::of(case), &mut writer);
        assert_eq!(writer.text(), case.expected, "{}", case.name);
    }
    for case in &RESPONSES {
        let text = message_text(&format!("HTTP/1.1 {} OK", case.status), case.fields);
        let (head, bytes) = (parsed_response(&text).expect("a response"), text.as_bytes());
        let changes = (case.changes)();
        let mut writer = ListWriter::default();
        case.write(&changes, &H1Response { head: &head, bytes }, &mut writer);
        assert_eq!(writer.text(), case.expected, "{}", case.name);
        let mut writer = ListWriter::default();
        case.write(&changes, &ListResponse::of(case), &mut writer);
        assert_eq!(writer.text(), case.expected, "{}", case.name);
        let mut out = Vec::new();
        let (response, date) = (changes.response(), DATE.as_bytes());
        write_response(&mut out, &head, bytes, KEPT, &response, date, case.sticky);
        let h1 = listed_response(&String::from_utf8_lossy(&out));
        assert_eq!(h1, case.expected, "{}", case.name);
    }
}

/// The trailer fields of a body without content, which are the section `text`.
fn parsed_trailers(text: &str) -> Vec<Field> {
    let (mut body, mut fields) = (Body::new(Framing::Chunked), Vec::new());
    let last = body.advance_to_trailers(b"0\r\n");
    assert!(last.is_ok_and(|last| last.taken == 3 && !last.done));
    let read = body.read_trailers(text.as_bytes(), &mut fields);
    assert_eq!(read, Ok(Some(text.len())), "{text:?}");
    fields
}

/// What the policy makes of trailers as a list, and what HTTP/1.1 writes of them, read again.
fn both_of_trailers(text: &str, forwarded: &ForwardedTrailers<'_>) -> (String, String) {
    let (fields, bytes) = (parsed_trailers(text), text.as_bytes());
    let view = H1Trailers {
        fields: &fields,
        bytes,
    };
    let (mut list, mut out) = (ListWriter::default(), Vec::new());
    forwarded.write(&view, &mut list);
    write_trailers(&mut out, &fields, bytes, forwarded);
    assert!(out.len() <= text.len(), "it is put where they were");
    let out = String::from_utf8(out).expect("text");
    let mut again = String::new();
    for field in parsed_trailers(&out) {
        let [name, value] = [field.name, field.value].map(|span| span.of(out.as_bytes()));
        let name = name.to_ascii_lowercase();
        let [name, value] = [&name, value].map(String::from_utf8_lossy);
        writeln!(again, "{name}: {value}").expect("a text takes everything");
    }
    (list.text(), again)
}

#[test]
fn trailers_pass_by_the_same_policy_in_every_protocol() {
    for case in &TRAILERS {
        let header = message_text("HTTP/1.1 200 OK", case.header);
        let (head, bytes) = (parsed_response(&header).expect("a head"), header.as_bytes());
        let changes = (case.changes)();
        let forwarded = case.forwarded(&H1Response { head: &head, bytes }, &changes);
        let trailers = message_text("", case.trailers);
        let both = both_of_trailers(trailers.trim_start_matches("\r\n"), &forwarded);
        assert_eq!(both.0, case.expected, "{}", case.name);
        assert_eq!(both.1, case.expected, "{}", case.name);
        let ([header, trailers], mut writer) = (ListFields::of(case), ListWriter::default());
        (case.forwarded(&header, &changes)).write(&trailers, &mut writer);
        assert_eq!(writer.text(), case.expected, "{}", case.name);
    }
}

const NAMES: [&str; 22] = [
    "accept",
    "cookie",
    "connection",
    "upgrade",
    "te",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "x-a",
    "x-env",
    "x-client",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
    "x-evenkeel-mirror",
    "x-request-id",
    "x-deadline",
    "date",
    "server",
    "trailer",
    "via",
];
const VALUES: [&str; 10] = [
    "1",
    "",
    "a, b",
    "x-a, keep-alive",
    "upgrade",
    "X-Env,close",
    "websocket",
    "h2c",
    "a: b",
    "gzip, Trailers",
];
const TARGETS: [&str; 8] = [
    "/",
    "/v1/a/b?c=d",
    "/a?",
    "//a",
    "http://real.example",
    "http://real.example?q",
    "http://real.example:81/v1//x",
    "*",
];

/// Fields of names that matter to the policy, in any letter case, with what frames a body and a host among them.
fn random_fields() -> impl Strategy<Value = Vec<(String, &'static str)>> {
    let field = (0..NAMES.len(), 0..VALUES.len(), 0..3_u8).prop_map(|(name, value, case)| {
        let name = match case {
            0 => NAMES[name].to_owned(),
            1 => NAMES[name].to_ascii_uppercase(),
            _ => NAMES[name].replace('a', "A").replace('e', "E"),
        };
        (name, VALUES[value])
    });
    let framing = prop_oneof![
        4 => Just(None),
        1 => Just(Some(("Content-Length", "3"))),
        1 => Just(Some(("Transfer-Encoding", "chunked"))),
    ];
    let host = prop_oneof![
        4 => Just(Some(("Host", "Shop.example:80"))),
        1 => Just(Some(("hOST", ""))),
        1 => Just(None),
    ];
    let fields = prop::collection::vec(field, 0..10);
    (fields, framing, host, any::<(u8, u8)>()).prop_map(|(mut fields, framing, host, at)| {
        for ((name, value), at) in [framing, host].into_iter().flatten().zip([at.0, at.1]) {
            let at = usize::from(at) % (fields.len() + 1);
            fields.insert(at, (name.to_owned(), value));
        }
        fields
    })
}

fn random_changes(which: u8) -> Changes {
    match which {
        0 => cases::edited_request(),
        1 => cases::edited_by_route(),
        2 => cases::edited_response(),
        3 => Changes {
            deadline: Some("X-Deadline"),
            load: Some("x-a"),
            ..Changes::default()
        },
        _ => Changes::default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_global_rejects: 20_000,
        failure_persistence: None,
        ..ProptestConfig::with_cases(2_000)
    })]

    /// What HTTP/1.1 has written parses again, and has exactly the fields of the list.
    #[test]
    fn a_request_has_the_same_fields_in_every_protocol(
        method in prop::sample::select(&["GET", "POST", "OPTIONS", "PROPFIND"][..]),
        target in prop::sample::select(&TARGETS[..]),
        protocol in prop::sample::select(&["1.1", "1.1", "1.0"][..]),
        fields in random_fields(),
        which in 0..8_u8,
    ) {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let text = request_text((method, target, protocol), &fields);
        let head = parsed_request(&text);
        prop_assume!(head.is_some());
        let (list, h1) = both_of_request(&text, &head.unwrap_or_default(), &random_changes(which));
        prop_assert_eq!(h1, list);
    }

    #[test]
    fn a_response_has_the_same_fields_in_every_protocol(
        status in prop::sample::select(&[100_u16, 101, 103, 200, 204, 304, 404, 503][..]),
        fields in random_fields(),
        which in 2..8_u8,
        keep_alive in any::<bool>(),
    ) {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let text = message_text(&format!("HTTP/1.1 {status} "), &fields);
        let (head, bytes) = (parsed_response(&text), text.as_bytes());
        prop_assume!(head.is_some());
        let head = head.unwrap_or_default();
        let view = H1Response { head: &head, bytes };
        let changes = random_changes(which);
        let (mut writer, mut out) = (ListWriter::default(), Vec::new());
        if matches!(status, 100 | 103) {
            write_interim_by_policy(&view, &mut writer);
            write_interim(&mut out, &head, bytes);
        } else {
            let (response, date) = (changes.response(), DATE.as_bytes());
            response.write(&view, date, None, &mut writer);
            let manner = Manner { keep_alive, ..KEPT };
            write_response(&mut out, &head, bytes, manner, &response, date, None);
        }
        let out = String::from_utf8_lossy(&out).into_owned();
        prop_assert_eq!(listed_response(&out), writer.text());
    }

    /// What HTTP/1.1 has written of trailers reads again, and has exactly the fields of the list.
    #[test]
    fn trailers_that_are_written_are_those_of_the_policy(
        header in random_fields(),
        trailers in random_fields(),
        which in 0..8_u8,
        is_response in any::<bool>(),
    ) {
        let lines = |fields: &[(String, &str)]| -> String {
            let line = |(name, value): &(String, &str)| format!("{name}: {value}\r\n");
            fields.iter().map(line).collect()
        };
        let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", lines(&header));
        let (head, bytes) = (parsed_response(&text), text.as_bytes());
        prop_assume!(head.is_some());
        let head = head.unwrap_or_default();
        let changes = random_changes(which);
        let edits = match is_response {
            true => changes.response().edits,
            false => changes.request().edits,
        };
        let forwarded = ForwardedTrailers::of(&H1Response { head: &head, bytes }, edits);
        let (list, again) = both_of_trailers(&format!("{}\r\n", lines(&trailers)), &forwarded);
        prop_assert_eq!(&again, &list);
        for line in list.lines() {
            let name = line.split(':').next().unwrap_or_default();
            prop_assert!(["accept", "server", "x-a", "x-env", "x-client", "x-deadline"].contains(&name));
        }
    }
}
