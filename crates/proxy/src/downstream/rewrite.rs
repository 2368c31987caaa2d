//! Heads as the other side gets them. Lines that pass through are copied in runs, not rebuilt.
//!
//! Hop-by-hop fields go (RFC 9110 section 7.6.1); `X-Forwarded-For/Proto/Host` are replaced, and `X-Evenkeel-Mirror` goes,
//! since no peer is trusted; `Via` is added. `Host` and everything else passes unchanged, unless a service or a route
//! says otherwise ([`crate::downstream::edit`]).

use std::net::SocketAddr;

use evenkeel_http1::{
    Field, FieldKind, Framing, Method, RequestHead, ResponseHead, Version, write,
};

use evenkeel_request::Head as _;
use evenkeel_request::deadline::ROOM;
use evenkeel_request::route::Route;

use crate::downstream::address::AddressText;
use crate::downstream::edit::{Answerer, Edits, Origin};
use crate::downstream::view::View;
use crate::worker::date::{self, DateText};

/// Writes the request's head for a server to `out`. Says where the room for what is left of the deadline is, if it has some.
pub(crate) fn request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    bytes: &[u8],
    origin: Origin<'_>,
) -> Option<usize> {
    out.clear();
    out.extend_from_slice(head.method_text.of(bytes));
    out.push(b' ');
    let absolute = write_target(out, head, bytes, origin.route);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let has = |kind| head.fields.iter().any(|field| field.kind == kind);
    let sets = |name| origin.edits.is_some_and(|edits| edits.has(name));
    if (absolute || !has(FieldKind::Host)) && !sets("host") {
        write_host(out, head, bytes, origin.server);
    }
    let passes = |kind| match kind {
        FieldKind::HopByHop
        | FieldKind::XForwardedFor
        | FieldKind::XForwardedProto
        | FieldKind::XForwardedHost
        | FieldKind::Forwarded
        | FieldKind::XEvenkeelMirror => false,
        FieldKind::Host => !absolute,
        _ => true,
    };
    copy_changed(out, &head.fields, bytes, origin.edits, passes);
    if let Some(edits) = origin.edits {
        edits.write_request(out, &View { head, bytes }, &origin);
    }
    out.extend_from_slice(b"x-forwarded-for: ");
    out.extend_from_slice(origin.peer.as_bytes());
    out.extend_from_slice(b"\r\nx-forwarded-proto: http\r\n");
    if let Some(host) = head.host {
        out.extend_from_slice(b"x-forwarded-host: ");
        out.extend_from_slice(host.of(bytes));
        out.extend_from_slice(b"\r\n");
    }
    let dropped = origin
        .edits
        .is_some_and(|edits| edits.drops(b"x-request-id"));
    if (!has(FieldKind::XRequestId) || dropped) && !sets("x-request-id") {
        out.extend_from_slice(b"x-request-id: ");
        origin.id.write(out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(match head.version {
        Version::Http11 => b"via: 1.1 evenkeel\r\n",
        Version::Http10 => b"via: 1.0 evenkeel\r\n",
    });
    if let Some(upgrade) = head.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
        out.extend_from_slice(upgrade.of(bytes));
        out.extend_from_slice(b"\r\n");
    }
    let room = origin.deadline.map(|name| write_room(out, name));
    out.extend_from_slice(b"\r\n");
    room
}

/// A line whose value is put in for each attempt; where it begins.
fn write_room(out: &mut Vec<u8>, name: &str) -> usize {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let room = out.len();
    out.extend_from_slice(&[b' '; ROOM]);
    out.extend_from_slice(b"\r\n");
    room
}

/// How a response goes on to its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) version: Version,
    /// Whether the connection stays open after it.
    pub(crate) keep_alive: bool,
    /// Whether the chunks are taken apart, for a client that does not know them.
    pub(crate) decode: bool,
    /// When it came, if it does not say itself when it was made (RFC 9110 section 6.6.1).
    pub(crate) date: Option<DateText>,
}

/// Writes the response's head for the client to `out`, with `more` lines.
pub(crate) fn response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    bytes: &[u8],
    manner: Manner,
    edits: Option<(Edits<'_>, Answerer<'_>)>,
    more: &[u8],
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(head.status));
    out.push(b' ');
    out.extend_from_slice(head.reason.of(bytes));
    out.extend_from_slice(b"\r\n");
    let passes = |kind| match kind {
        FieldKind::HopByHop => false,
        FieldKind::TransferEncoding | FieldKind::Trailer => !manner.decode,
        _ => true,
    };
    let changes = edits.map(|(edits, _)| edits);
    copy_changed(out, &head.fields, bytes, changes, passes);
    if let Some(date) = &manner.date
        && !changes.is_some_and(|changes| changes.drops(b"date"))
    {
        date::write(out, date);
    }
    if let Some((edits, answerer)) = edits {
        edits.write_response(out, answerer);
    }
    out.extend_from_slice(more);
    out.extend_from_slice(b"via: 1.1 evenkeel\r\n");
    if head.status == 101 {
        write_upgrade(out, head, bytes);
    } else {
        write_connection(out, manner.version, manner.keep_alive);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim response (1xx but 101) to `out`.
pub(crate) fn interim(out: &mut Vec<u8>, head: &ResponseHead, bytes: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(head.status));
    out.push(b' ');
    out.extend_from_slice(head.reason.of(bytes));
    out.extend_from_slice(b"\r\n");
    copy_fields(out, &head.fields, bytes, |field| {
        field.kind != FieldKind::HopByHop
    });
    out.extend_from_slice(b"\r\n");
}

/// Whether this response's end can be told by a client without closing the connection.
pub(crate) const fn is_delimited(head: &ResponseHead, manner_decode: bool) -> bool {
    match head.framing {
        Framing::None | Framing::Length(_) => true,
        Framing::Chunked => !manner_decode,
        Framing::UntilClose => false,
    }
}

/// A request's target as a server wants it (origin-form); says whether it came in absolute-form.
fn write_target(
    out: &mut Vec<u8>,
    head: &RequestHead,
    bytes: &[u8],
    route: Option<&Route>,
) -> bool {
    let target = head.target.of(bytes);
    let view = View { head, bytes };
    if let Some(route) = route
        && target != b"*"
        && let Some(template) = &route.rewrite
    {
        let start = out.len();
        template.write(out, &view, route.rest(view.path()));
        if out.get(start) != Some(&b'/') {
            out.insert(start, b'/');
        }
        return target.first() != Some(&b'/');
    }
    if matches!(target.first(), Some(b'/' | b'*')) {
        out.extend_from_slice(target);
        return false;
    }
    let authority_at = target
        .windows(3)
        .position(|window| window == b"://")
        .map_or(0, |at| at + 3);
    let rest = &target[authority_at..];
    let path = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .map_or(&b""[..], |at| &rest[at..]);
    match path.first() {
        None if head.method == Method::Options => out.push(b'*'),
        None => out.push(b'/'),
        Some(b'?') => {
            out.push(b'/');
            out.extend_from_slice(path);
        }
        Some(_) => out.extend_from_slice(path),
    }
    true
}

fn write_host(out: &mut Vec<u8>, head: &RequestHead, bytes: &[u8], server: Option<SocketAddr>) {
    out.extend_from_slice(b"host: ");
    match head.host {
        Some(host) => out.extend_from_slice(host.of(bytes)),
        None => {
            if let Some(server) = server {
                let bracketed = server.is_ipv6();
                out.extend_from_slice(if bracketed { b"[" } else { b"" });
                out.extend_from_slice(AddressText::of(server.ip()).as_bytes());
                out.extend_from_slice(if bracketed { b"]:" } else { b":" });
                write::decimal(out, u64::from(server.port()));
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_upgrade(out: &mut Vec<u8>, head: &ResponseHead, bytes: &[u8]) {
    out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
    out.extend_from_slice(head.header(bytes, "upgrade").unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Copies the lines whose kind passes and that are not taken out.
fn copy_changed(
    out: &mut Vec<u8>,
    fields: &[Field],
    bytes: &[u8],
    edits: Option<Edits<'_>>,
    passes: impl Fn(FieldKind) -> bool,
) {
    match edits {
        None => copy_fields(out, fields, bytes, |field| passes(field.kind)),
        Some(edits) => copy_fields(out, fields, bytes, |field| {
            passes(field.kind) && !edits.drops(field.name.of(bytes))
        }),
    }
}

/// Copies the lines that pass; neighbours in one piece.
fn copy_fields(out: &mut Vec<u8>, fields: &[Field], bytes: &[u8], passes: impl Fn(&Field) -> bool) {
    let mut run: Option<(u32, u32)> = None;
    for field in fields {
        if passes(field) {
            run = match run {
                Some((start, end)) if end == field.line.start => Some((start, field.line.end)),
                other => {
                    copy_run(out, bytes, other);
                    Some((field.line.start, field.line.end))
                }
            };
        } else {
            copy_run(out, bytes, run.take());
        }
    }
    copy_run(out, bytes, run);
}

fn copy_run(out: &mut Vec<u8>, bytes: &[u8], run: Option<(u32, u32)>) {
    if let Some((start, end)) = run {
        out.extend_from_slice(&bytes[start as usize..end as usize]);
    }
}

/// Says whether the connection stays, where that is not what the client takes for granted (RFC 9112 section 9.3).
pub(crate) fn write_connection(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    match (keep_alive, version) {
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use evenkeel_http1::{Limits, Parsed};

    use super::*;
    use crate::worker::RequestId;

    fn origin() -> Origin<'static> {
        static PEER: LazyLock<AddressText> =
            LazyLock::new(|| AddressText::of([192, 0, 2, 7].into()));
        Origin {
            peer: &PEER,
            id: RequestId::for_tests(),
            server: "127.0.0.1:9001".parse().ok(),
            service: "shop",
            route: None,
            edits: None,
            deadline: None,
        }
    }

    fn rewritten(text: &str) -> String {
        let mut head = RequestHead::default();
        assert_eq!(
            head.parse(text.as_bytes(), &Limits::default()),
            Ok(Parsed::Complete)
        );
        let mut out = Vec::new();
        request(&mut out, &head, text.as_bytes(), origin());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn hop_by_hop_and_forged_forwarding_fields_go_and_the_rest_stays_as_it_was() {
        let out = rewritten(
            "GET /a?b HTTP/1.1\r\nHost: Shop.example\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nX-Forwarded-For: \
             10.0.0.1\r\nAccept:  */*\r\nKeep-Alive: timeout=5\r\nCookie: c\r\n\r\n",
        );
        assert!(
            out.starts_with(
                "GET /a?b HTTP/1.1\r\nHost: Shop.example\r\nAccept:  */*\r\nCookie: c\r\n"
            ),
            "{out}"
        );
        assert!(out.contains("x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\nx-forwarded-host: Shop.example\r\n"));
        assert!(
            out.contains("x-request-id: ")
                && out.contains("via: 1.1 evenkeel\r\n")
                && out.ends_with("\r\n\r\n")
        );
        for gone in ["X-Secret", "10.0.0.1", "Connection", "Keep-Alive"] {
            assert!(!out.contains(gone), "{gone} is still there: {out}");
        }
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
    }

    #[test]
    fn a_request_without_host_gets_the_server_as_host() {
        assert!(
            rewritten("GET / HTTP/1.0\r\n\r\n")
                .starts_with("GET / HTTP/1.1\r\nhost: 127.0.0.1:9001\r\n")
        );
    }

    #[test]
    fn an_upgrade_is_asked_for_again() {
        let out = rewritten(
            "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        assert!(
            out.contains("connection: upgrade\r\nupgrade: websocket\r\n"),
            "{out}"
        );
    }

    #[test]
    fn a_response_loses_what_was_meant_for_us() {
        let text =
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nServer: x\r\nContent-Length: 0\r\n\r\n";
        let mut head = ResponseHead::default();
        assert_eq!(
            head.parse(text, Method::Get, &Limits::default()),
            Ok(Parsed::Complete)
        );
        let mut out = Vec::new();
        let manner = Manner {
            version: Version::Http11,
            keep_alive: true,
            decode: false,
            date: None,
        };
        response(&mut out, &head, text, manner, None, b"");
        assert_eq!(
            out,
            b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 0\r\nvia: 1.1 evenkeel\r\n\r\n"
        );
    }
}
