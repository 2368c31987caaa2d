//! Answers that evenkeel makes itself, on the wire.
//!
//! Each has a `Date` and says how it is framed. The connection stays if the request was understood and nothing of its body is
//! still to come; then an HTTP/1.0 client is told so, since for it the end of the connection would be the end of the answer.

use evenkeel_http1::{Method, Version, write};
use evenkeel_request::exchange::NoResponse;
use evenkeel_request::route::{Redirect, Route};
use evenkeel_request::{Cause, FallbackResponse, RequestId, RequestView as _};

use crate::downstream::h1::head::{H1Request, write_connection};
use crate::downstream::h1::response::send;
use crate::downstream::h1::{Client, Persist, RequestBody};
use crate::downstream::violation::Violation;
use crate::worker::date::{self, DateText};
use crate::worker::{Worker, Workspace};

/// What an answer of evenkeel's own needs to know beside what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyContext {
    pub(crate) id: RequestId,
    /// The request's: an answer to HEAD has no content (RFC 9110 section 9.3.2).
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// Whether the connection stays open after it.
    pub(crate) keep_alive: bool,
    pub(crate) date: DateText,
}

/// Refuses what never became a request: answers, counts, and closes.
pub(crate) async fn refuse(
    worker: &Worker,
    client: &mut Client,
    work: &mut Workspace,
    cause: Cause,
) -> Persist {
    // Of what could not be parsed, at least whether content is expected can be told.
    let method = if client.buffer.unread().starts_with(b"HEAD ") {
        Method::Head
    } else {
        Method::Get
    };
    let context = ReplyContext {
        id: worker.request_id(),
        method,
        version: Version::Http11,
        keep_alive: false,
        date: worker.date(worker.clock.now()),
    };
    refuse_with(worker, client, work, cause, &context).await
}

/// Refuses the request whose head is in `work`, which no service is asked for.
pub(crate) async fn refuse_request(
    worker: &Worker,
    client: &mut Client,
    work: &mut Workspace,
    cause: Cause,
) -> Persist {
    let mut context = context(worker, client, work);
    client.buffer.consume(work.request.length);
    // What follows a CONNECT is not HTTP.
    context.keep_alive &= discard_body(client, work) && work.request.method != Method::Connect;
    refuse_with(worker, client, work, cause, &context).await
}

async fn refuse_with(
    worker: &Worker,
    client: &mut Client,
    work: &mut Workspace,
    cause: Cause,
    context: &ReplyContext,
) -> Persist {
    worker.counters.unrouted.add_one(cause.status());
    // The workspace has served other requests before.
    let violation = work.violation.take().filter(|_| cause.is_of_a_message());
    compose(&mut work.to_client, cause, context, violation.as_ref());
    let violation = violation.map(tracing::field::display);
    tracing::debug!(peer = %client.peer_text, cause = cause.word(), violation, "a request was refused");
    let sent = send(worker, client, work).await;
    Persist::after(sent.is_ok(), context.keep_alive)
}

/// Sends the client elsewhere.
pub(crate) async fn redirect(
    worker: &Worker,
    client: &mut Client,
    work: &mut Workspace,
    route: &Route,
    redirect: &Redirect,
) -> Persist {
    worker.counters.unrouted.add_one(redirect.status);
    let mut context = context(worker, client, work);
    let view = H1Request {
        head: &work.request,
        bytes: client.buffer.unread(),
    };
    let out = &mut work.to_client;
    begin(out, redirect.status, &context);
    out.extend_from_slice(b"location: ");
    redirect.location.write(out, &view, route.rest(view.path()));
    out.extend_from_slice(b"\r\ncontent-length: 0\r\n");
    client.buffer.consume(work.request.length);
    context.keep_alive &= discard_body(client, work);
    end(&mut work.to_client, &context);
    let sent = send(worker, client, work).await;
    Persist::after(sent.is_ok(), context.keep_alive)
}

/// For the request whose head is in `work`, before its body was looked at. The client waits anew from now on.
fn context(worker: &Worker, client: &mut Client, work: &Workspace) -> ReplyContext {
    client.latest = worker.clock.now();
    ReplyContext {
        id: worker.request_id(),
        method: work.request.method,
        version: work.request.version,
        keep_alive: work.request.keep_alive && !worker.is_last_for(&client.listener),
        date: worker.date(client.latest),
    }
}

/// Leaves out the body of a request whose head is off the buffer, if all of it has come; whether it has.
fn discard_body(client: &mut Client, work: &Workspace) -> bool {
    RequestBody::new(work.request.framing, 0).discard(&mut client.buffer)
}

/// Begins an answer: its status and its date.
fn begin(out: &mut Vec<u8>, status: u16, context: &ReplyContext) {
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(write::reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    date::write(out, &context.date);
}

/// Ends an answer's head.
fn end(out: &mut Vec<u8>, context: &ReplyContext) {
    out.extend_from_slice(b"x-request-id: ");
    context.id.write(out);
    out.extend_from_slice(b"\r\n");
    write_connection(out, context.version, context.keep_alive);
    out.extend_from_slice(b"\r\n");
}

/// Writes the whole answer to `out`.
pub(crate) fn compose(
    out: &mut Vec<u8>,
    cause: Cause,
    context: &ReplyContext,
    violation: Option<&Violation>,
) {
    const BEFORE_CAUSE: &[u8] = b" evenkeel has no answer from a server: ";
    const BEFORE_ID: &[u8] = b" (request ";
    const END: &[u8] = b")\n";
    const ID_LENGTH: usize = 24;
    let status = cause.status();
    let length =
        3 + BEFORE_CAUSE.len() + cause.word().len() + BEFORE_ID.len() + ID_LENGTH + END.len();
    begin(out, status, context);
    out.extend_from_slice(b"content-type: text/plain; charset=utf-8\r\ncontent-length: ");
    write::decimal(out, length as u64);
    out.extend_from_slice(b"\r\nproxy-status: evenkeel; error=");
    out.extend_from_slice(cause.proxy_error().as_bytes());
    out.extend_from_slice(b"; details=\"");
    out.extend_from_slice(cause.word().as_bytes());
    if let Some(violation) = violation {
        out.extend_from_slice(b"; ");
        violation.write(out);
    }
    out.extend_from_slice(b"\"\r\n");
    let retry_after = match cause {
        Cause::RateLimited { seconds }
        | Cause::Quarantined { seconds }
        | Cause::RouteBroken { seconds }
        | Cause::FallenBack { seconds } => Some(seconds),
        Cause::Maintenance => Some(MAINTENANCE_RETRY_SECONDS),
        _ => None,
    };
    if let Some(seconds) = retry_after {
        out.extend_from_slice(b"retry-after: ");
        write::decimal(out, u64::from(seconds));
        out.extend_from_slice(b"\r\n");
    }
    if cause == Cause::MethodNotAllowed {
        out.extend_from_slice(
            b"allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH, QUERY\r\n",
        );
    }
    end(out, context);
    if context.method != Method::Head {
        write::decimal(out, u64::from(status));
        out.extend_from_slice(BEFORE_CAUSE);
        out.extend_from_slice(cause.word().as_bytes());
        out.extend_from_slice(BEFORE_ID);
        context.id.write(out);
        out.extend_from_slice(END);
    }
}

/// Writes the answer that the file has for this case to `out`.
pub(crate) fn compose_response(
    out: &mut Vec<u8>,
    response: &FallbackResponse,
    why: NoResponse,
    context: &ReplyContext,
) {
    begin(out, response.status, context);
    let bodiless = matches!(response.status, 204 | 304);
    if !bodiless {
        out.extend_from_slice(b"content-type: ");
        out.extend_from_slice(response.content_type.as_bytes());
        out.extend_from_slice(b"\r\ncontent-length: ");
        write::decimal(out, response.body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(after) = response.retry_after {
        out.extend_from_slice(b"retry-after: ");
        write::decimal(out, after.as_secs());
        out.extend_from_slice(b"\r\n");
    }
    // It stands for a moment's lack, whatever its status says to caches.
    out.extend_from_slice(b"cache-control: no-store\r\nproxy-status: evenkeel; ");
    write_why(why, out);
    out.extend_from_slice(b"\r\n");
    end(out, context);
    if context.method != Method::Head && !bodiless {
        out.extend_from_slice(response.body.as_bytes());
    }
}

/// Writes why there is no response as parameters of `Proxy-Status` (RFC 9209).
pub(crate) fn write_why(why: NoResponse, out: &mut Vec<u8>) {
    match why {
        NoResponse::Cause(cause) => {
            out.extend_from_slice(b"error=");
            out.extend_from_slice(cause.proxy_error().as_bytes());
            out.extend_from_slice(b"; details=\"");
            out.extend_from_slice(cause.word().as_bytes());
            out.push(b'"');
        }
        NoResponse::Status(status) => {
            out.extend_from_slice(b"received-status=");
            write::decimal(out, u64::from(status));
        }
    }
}

/// `Retry-After` of a service in maintenance, which ends when a person says so: often enough for a client that waits, and
/// seldom enough for many of them.
const MAINTENANCE_RETRY_SECONDS: u32 = 30;

#[cfg(test)]
mod tests {
    use evenkeel_http1::{Framing, Limits, Parsed, ResponseHead};

    use super::*;

    #[test]
    fn local_replies_name_their_cause_and_have_their_content_length() {
        for cause in [
            Cause::NoServer,
            Cause::NoRoute,
            Cause::Reset,
            Cause::TotalTimeout,
            Cause::MethodNotAllowed,
            Cause::RateLimited { seconds: 7 },
            Cause::Quarantined { seconds: 600 },
            Cause::RouteBroken { seconds: 8 },
            Cause::FallenBack { seconds: 1 },
            Cause::Maintenance,
        ] {
            let mut out = Vec::new();
            let context = ReplyContext {
                id: RequestId::new(1, 2),
                method: Method::Get,
                version: Version::Http11,
                keep_alive: true,
                date: *b"Sun, 06 Nov 1994 08:49:37 GMT",
            };
            compose(&mut out, cause, &context, None);
            let date = &b"\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"[..];
            assert!(out.windows(date.len()).any(|line| line == date));
            let mut head = ResponseHead::default();
            assert_eq!(
                head.parse(&out, Method::Get, &Limits::default()),
                Ok(Parsed::Complete)
            );
            assert_eq!(head.status, cause.status());
            assert_eq!(
                head.framing,
                Framing::Length((out.len() - head.length) as u64)
            );
            let status = head.header(&out, "proxy-status").expect("a Proxy-Status");
            assert!(String::from_utf8_lossy(status).contains(cause.word()));
            assert_eq!(head.header(&out, "x-request-id").map(<[u8]>::len), Some(24));
        }
    }
}
