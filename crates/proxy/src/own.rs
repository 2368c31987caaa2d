//! Answers that evenkeel makes itself, on the wire.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use evenkeel_core::blame::{Event, Limit, Peer};
use evenkeel_http1::{Framing, Method, Version, write};
use evenkeel_request::route::{Redirect, Route};
use evenkeel_request::{Cause, FallbackResponse, Head as _};

use crate::client::{Client, Persist, poll_write_two};
use crate::fallback::Lack;
use crate::poll_budget::PollBudget;
use crate::view::View;
use crate::violation::Violation;
use crate::worker::{RequestId, Worker, Workspace};

/// Refuses a request that never became one: answers, counts, and closes.
pub(crate) async fn refuse(
    worker: &Worker,
    client: &mut Client,
    work: &mut Workspace,
    cause: Cause,
) -> Persist {
    worker.counters.homeless.add_one(cause.status());
    let id = worker.request_id();
    // The workspace has served other requests before.
    let violation = work.violation.take().filter(|_| cause.is_of_a_message());
    let out = &mut work.to_client;
    compose(out, cause, id, Method::Get, false, violation.as_ref());
    let violation = violation.map(tracing::field::display);
    tracing::debug!(peer = %client.peer, cause = cause.word(), violation, "a request was refused");
    let sent = send(worker, client, work).await;
    Persist::after(sent.is_ok(), false)
}

/// Sends the client elsewhere. The body of its request is not read: with one, the connection closes.
pub(crate) async fn redirect(
    worker: &Worker,
    client: &mut Client,
    work: &mut Workspace,
    route: &Route,
    redirect: &Redirect,
) -> Persist {
    worker.counters.homeless.add_one(redirect.status);
    let keep = work.request.keep_alive && matches!(work.request.framing, Framing::None);
    let view = View {
        head: &work.request,
        bytes: client.buffer.unread(),
    };
    let out = &mut work.to_client;
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(redirect.status));
    out.push(b' ');
    out.extend_from_slice(write::reason(redirect.status).as_bytes());
    out.extend_from_slice(b"\r\nlocation: ");
    redirect.location.write(out, &view, route.rest(view.path()));
    out.extend_from_slice(b"\r\ncontent-length: 0\r\nx-request-id: ");
    worker.request_id().write(out);
    out.extend_from_slice(b"\r\n");
    if !keep {
        out.extend_from_slice(b"connection: close\r\n");
    } else if work.request.version == Version::Http10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    client.buffer.consume(work.request.length);
    let sent = send(worker, client, work).await;
    Persist::after(sent.is_ok(), keep)
}

/// Writes the whole answer to `out`.
pub(crate) fn compose(
    out: &mut Vec<u8>,
    cause: Cause,
    id: RequestId,
    method: Method,
    keep_alive: bool,
    violation: Option<&Violation>,
) {
    const BEFORE_CAUSE: &[u8] = b" evenkeel has no answer from a server: ";
    const BEFORE_ID: &[u8] = b" (request ";
    const END: &[u8] = b")\n";
    const ID_LENGTH: usize = 24;
    let status = cause.status();
    let reason = write::reason(status);
    let length =
        3 + BEFORE_CAUSE.len() + cause.word().len() + BEFORE_ID.len() + ID_LENGTH + END.len();
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ");
    write::decimal(out, length as u64);
    out.extend_from_slice(b"\r\nproxy-status: evenkeel; error=");
    out.extend_from_slice(cause.proxy_error().as_bytes());
    out.extend_from_slice(b"; details=\"");
    out.extend_from_slice(cause.word().as_bytes());
    if let Some(violation) = violation {
        out.extend_from_slice(b"; ");
        violation.write(out);
    }
    out.extend_from_slice(b"\"\r\nx-request-id: ");
    id.write(out);
    out.extend_from_slice(b"\r\n");
    let retry_after = match cause {
        Cause::RateLimited { seconds } => Some(seconds),
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
    if !keep_alive {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if method != Method::Head {
        write::decimal(out, u64::from(status));
        out.extend_from_slice(BEFORE_CAUSE);
        out.extend_from_slice(cause.word().as_bytes());
        out.extend_from_slice(BEFORE_ID);
        id.write(out);
        out.extend_from_slice(END);
    }
}

/// Writes the answer that the file has for this case to `out`.
pub(crate) fn compose_response(
    out: &mut Vec<u8>,
    response: &FallbackResponse,
    lack: Lack,
    id: RequestId,
    method: Method,
    keep_alive: bool,
) {
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(out, u64::from(response.status));
    out.push(b' ');
    out.extend_from_slice(write::reason(response.status).as_bytes());
    let bodiless = matches!(response.status, 204 | 304);
    if !bodiless {
        out.extend_from_slice(b"\r\ncontent-type: ");
        out.extend_from_slice(response.content_type.as_bytes());
        out.extend_from_slice(b"\r\ncontent-length: ");
        write::decimal(out, response.body.len() as u64);
    }
    if let Some(after) = response.retry_after {
        out.extend_from_slice(b"\r\nretry-after: ");
        write::decimal(out, after.as_secs());
    }
    // It stands for a moment's lack, whatever its status says to caches.
    out.extend_from_slice(b"\r\ncache-control: no-store\r\nproxy-status: evenkeel; ");
    lack.write(out);
    out.extend_from_slice(b"\r\nx-request-id: ");
    id.write(out);
    out.extend_from_slice(b"\r\n");
    if !keep_alive {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if method != Method::Head && !bodiless {
        out.extend_from_slice(response.body.as_bytes());
    }
}

/// Sends what is in `work.to_client`.
///
/// # Errors
/// If the client is gone, takes nothing for [`SEND_IDLE`], or takes less than [`SEND_FLOOR`] over the whole.
pub(crate) async fn send(
    worker: &Worker,
    client: &mut Client,
    work: &Workspace,
) -> Result<(), Event> {
    let bytes = &work.to_client;
    let begun = worker.clock.now();
    let floor = Duration::from_secs(bytes.len() as u64 / SEND_FLOOR);
    let last = begun + SEND_IDLE + floor;
    client.timer.set(begun + SEND_IDLE);
    let mut sent = 0;
    poll_fn(|cx| {
        let before = sent;
        let mut budget = PollBudget::new();
        while sent < bytes.len() && !budget.is_spent(cx) {
            match poll_write_two(&mut client.stream, &bytes[sent..], &[], cx) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    sent += n;
                    budget.spend(n);
                }
                Poll::Ready(_) => return Poll::Ready(Err(Event::Closed(Peer::Client))),
                Poll::Pending => break,
            }
        }
        if sent == bytes.len() {
            return Poll::Ready(Ok(()));
        }
        if sent > before {
            let now = worker.clock.now();
            client.timer.set((now + SEND_IDLE).min(last));
        }
        if client.timer.poll_expired(cx) {
            return Poll::Ready(Err(Event::Late(Limit::Idle(Peer::Client))));
        }
        Poll::Pending
    })
    .await
}

/// `Retry-After` of a service in maintenance, which ends when a person says so: often enough for a client that waits, and
/// seldom enough for many of them.
const MAINTENANCE_RETRY_SECONDS: u32 = 30;

/// How long a client may take nothing of an answer that evenkeel has ready for it. A socket takes more only when a third of its
/// buffer is free, which is seconds for a slow reader.
const SEND_IDLE: Duration = Duration::from_secs(30);
/// Bytes a second that a client must take on the whole, beside that time once: one that dribbles cannot hold an answer for ever.
const SEND_FLOOR: u64 = 1024;

#[cfg(test)]
mod tests {
    use evenkeel_http1::{Framing, Limits, Parsed, ResponseHead};

    use super::*;

    #[test]
    fn every_answer_says_why_and_is_as_long_as_it_says() {
        for cause in [
            Cause::NoServer,
            Cause::NoRoute,
            Cause::Reset,
            Cause::TotalTimeout,
            Cause::MethodNotAllowed,
            Cause::RateLimited { seconds: 7 },
            Cause::Maintenance,
        ] {
            let mut out = Vec::new();
            compose(
                &mut out,
                cause,
                RequestId::for_tests(),
                Method::Get,
                true,
                None,
            );
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
