//! The header policy without a protocol: heads as HTTP/2 has them, lists of fields, in and out.

mod list;
mod cases;

use cases::{Changes, REQUESTS, RESPONSES, RequestCase, TRAILERS};
use list::{ListFields, ListRequest, ListResponse, ListWriter};

#[test]
fn requests_as_servers_get_them() {
    for case in &REQUESTS {
        let request = ListRequest::of(case);
        let mut writer = ListWriter::default();
        let changes = (case.changes)();
        changes.request().write(&request, &mut writer);
        assert_eq!(writer.text(), case.expected, "{}", case.name);
    }
}

#[test]
fn responses_as_clients_get_them() {
    for case in &RESPONSES {
        let response = ListResponse::of(case);
        let mut writer = ListWriter::default();
        let changes = (case.changes)();
        case.write(&changes, &response, &mut writer);
        assert_eq!(writer.text(), case.expected, "{}", case.name);
    }
}

#[test]
fn trailers_as_the_other_side_gets_them() {
    for case in &TRAILERS {
        let [header, trailers] = ListFields::of(case);
        let mut writer = ListWriter::default();
        let changes = (case.changes)();
        (case.forwarded(&header, &changes)).write(&trailers, &mut writer);
        assert_eq!(writer.text(), case.expected, "{}", case.name);
    }
}

/// `:authority` counts for more than `host` (RFC 9113 section 8.3.1), and `Via` names the version that the request came by.
static OF_HTTP2: RequestCase = RequestCase {
    name: "HTTP/2 on both sides",
    version: "2",
    method: "GET",
    absolute: Some("shop.example"),
    path: "/a?b",
    fields: &[
        ("host", "other.example"),
        ("te", "trailers"),
        ("accept", "*/*"),
        ("x-forwarded-for", "10.0.0.1"),
    ],
    changes: Changes::default,
    expected: "\
        :method: GET\n\
        :scheme: http\n\
        :path: /a?b\n\
        :authority: shop.example\n\
        accept: */*\n\
        x-forwarded-for: 192.0.2.7\n\
        x-forwarded-proto: http\n\
        x-forwarded-host: shop.example\n\
        x-request-id: 000000000000000100000002\n\
        via: 2 evenkeel\n\
        te: trailers\n",
};

#[test]
fn a_request_of_http2() {
    let mut writer = ListWriter::default();
    let changes = (OF_HTTP2.changes)();
    let request = changes.request();
    request.write(&ListRequest::of(&OF_HTTP2), &mut writer);
    assert_eq!(writer.text(), OF_HTTP2.expected, "{}", OF_HTTP2.name);
}
