//! Where a response goes: what is written to the client, how the end of the response is shown, and whether the connection stays.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_connect::Stream;
use evenkeel_core::blame::{EndEvent, Peer, TimeLimit};
use evenkeel_http1::{Framing, RequestHead, ResponseHead, Version};
use tokio::io::AsyncWrite;

use super::body::RequestBody;
use super::client::{Client, Persist};
use super::head::{self, is_delimited};
use crate::downstream::io::poll_write_two;
use crate::worker::poll_budget::PollBudget;
use crate::worker::{Worker, Workspace};

/// How long a client may take nothing of an answer that evenkeel has ready for it. A socket takes more only when a third of its
/// buffer is free, which is seconds for a slow reader.
const SEND_IDLE: Duration = Duration::from_secs(30);
/// Bytes a second that a client must take on the whole, beside that time once: one that dribbles cannot hold an answer for ever.
const SEND_FLOOR: u64 = 1024;

/// How a response is sent to its client, given the version of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseForm {
    /// Whether the connection stays open after it.
    pub(crate) keep_alive: bool,
    /// Whether the body is decoded, since the client does not know its framing.
    pub(crate) decode: bool,
    /// Whether the client can tell its end without a close of the connection.
    is_delimited: bool,
}

impl ResponseForm {
    /// For a response to this request. `keep_alive`: whether the connection may stay open otherwise.
    pub(crate) fn of(request: &RequestHead, response: &ResponseHead, keep_alive: bool) -> Self {
        let is_chunked = response.framing == Framing::Chunked;
        let decode = request.version == Version::Http10 && is_chunked;
        let is_delimited = is_delimited(response, decode);
        Self {
            keep_alive: keep_alive && is_delimited,
            decode,
            is_delimited,
        }
    }
}

/// Where a response is written: first what is pending (its head, and what was appended to it), then its body as it arrives.
#[derive(Debug)]
pub(crate) struct ResponseSink<'a, W = Stream> {
    stream: &'a mut W,
    pending: &'a mut Vec<u8>,
    /// Bytes of `pending` that were written.
    written: &'a mut usize,
}

impl<'a, W: AsyncWrite + Unpin> ResponseSink<'a, W> {
    /// `written` bytes of `pending` have been written.
    pub(crate) const fn new(
        stream: &'a mut W,
        pending: &'a mut Vec<u8>,
        written: &'a mut usize,
    ) -> Self {
        Self {
            stream,
            pending,
            written,
        }
    }

    /// Whether everything pending is written.
    pub(crate) const fn is_flushed(&self) -> bool {
        *self.written == self.pending.len()
    }

    /// What is pending, to append to it.
    pub(crate) fn pending(&mut self) -> &mut Vec<u8> {
        if self.is_flushed() {
            self.pending.clear();
            *self.written = 0;
        }
        self.pending
    }

    /// Writes what is pending, then `body`. Returns how many bytes of `body` were written.
    ///
    /// # Errors
    /// [`EndEvent::Closed`] if the client has disconnected.
    pub(crate) fn poll_write(
        &mut self,
        body: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, EndEvent>> {
        let pending = &self.pending[*self.written..];
        let of_pending = pending.len();
        match poll_write_two(self.stream, pending, body, cx) {
            Poll::Ready(Ok(n)) if n > 0 => {
                *self.written += n.min(of_pending);
                Poll::Ready(Ok(n.saturating_sub(of_pending)))
            }
            Poll::Ready(_) => Poll::Ready(Err(EndEvent::Closed(Peer::Client))),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Writes the interim response (1xx) in `work.response`, whose bytes are `bytes`, to `work.to_client`. Returns whether the client
/// may get one: HTTP/1.0 has none.
pub(crate) fn write_interim(work: &mut Workspace, bytes: &[u8]) -> bool {
    let takes = work.request.version == Version::Http11;
    if takes {
        work.to_client.clear();
        head::write_interim(&mut work.to_client, &work.response, bytes);
    }
    takes
}

/// Sends what is in `work.to_client`.
///
/// # Errors
/// If the client is gone, takes nothing for [`SEND_IDLE`], or takes less than [`SEND_FLOOR`] over the whole.
pub(crate) async fn send(
    worker: &Worker,
    client: &mut Client,
    work: &Workspace,
) -> Result<(), EndEvent> {
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
                Poll::Ready(_) => return Poll::Ready(Err(EndEvent::Closed(Peer::Client))),
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
            return Poll::Ready(Err(EndEvent::Late(TimeLimit::Idle(Peer::Client))));
        }
        Poll::Pending
    })
    .await
}

impl Client {
    /// A response was relayed completely: what becomes of the connection. `wants_more`: the client has not asked for its end.
    pub(crate) fn response_complete(
        &self,
        form: ResponseForm,
        wants_more: bool,
        body: &RequestBody,
    ) -> Persist {
        // A close with unread bytes is a reset, which can take the answer with it. Whoever has not asked for the close itself
        // may have sent its next requests, or send them now.
        let more = wants_more || !body.is_through() || !self.buffer.is_empty();
        match (form.keep_alive, more) {
            (true, _) => Persist::Keep,
            (false, true) => Persist::Linger,
            (false, false) => Persist::Close,
        }
    }

    /// A response broke off after its head was sent: what becomes of the connection, so that the client can see it.
    pub(crate) fn response_aborted(&self, form: ResponseForm, event: EndEvent) -> Persist {
        if !form.is_delimited {
            self.reset_on_close();
        }
        // Earlier answers may still be on their way to a client that has sent several requests.
        let by_server = matches!(
            event,
            EndEvent::Closed(Peer::Server) | EndEvent::Malformed(Peer::Server)
        );
        match by_server && form.is_delimited {
            true => Persist::Linger,
            false => Persist::Close,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::Waker;

    use evenkeel_http1::{Limits, Method};

    use super::*;

    /// Takes a few bytes at a time, and nothing more once it is closed.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        is_closed: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let n = if self.is_closed {
                0
            } else {
                bytes.len().min(3)
            };
            self.taken.extend_from_slice(&bytes[..n]);
            Poll::Ready(Ok(n))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_is_pending_goes_before_the_body_however_little_is_taken_at_a_time() {
        let (mut client, mut pending, mut written) = (Narrow::default(), b"head|".to_vec(), 0);
        let mut cx = Context::from_waker(Waker::noop());
        let mut body = &b"body"[..];
        let mut sink = ResponseSink::new(&mut client, &mut pending, &mut written);
        while !(sink.is_flushed() && body.is_empty()) {
            let Poll::Ready(Ok(n)) = sink.poll_write(body, &mut cx) else {
                panic!("it takes something");
            };
            body = &body[n..];
        }
        assert_eq!(sink.stream.taken, b"head|body");
        sink.pending().extend_from_slice(b"|more");
        assert_eq!(
            (sink.pending.as_slice(), sink.is_flushed()),
            (&b"|more"[..], false)
        );
        sink.stream.is_closed = true;
        let gone = Poll::Ready(Err(EndEvent::Closed(Peer::Client)));
        assert_eq!(sink.poll_write(b"", &mut cx), gone);
    }

    /// The form of the response `fields` to a request of this version that wants its connection kept.
    fn form(version: &str, fields: &str) -> ResponseForm {
        let (mut request, mut response) = (RequestHead::default(), ResponseHead::default());
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        let parsed = request.parse(text.as_bytes(), &Limits::default());
        assert!(parsed.is_ok(), "{parsed:?}");
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let parsed = response.parse(text.as_bytes(), Method::Get, &Limits::default());
        assert!(parsed.is_ok(), "{parsed:?}");
        ResponseForm::of(&request, &response, true)
    }

    #[test]
    fn a_connection_stays_where_the_version_can_tell_the_end_of_the_response() {
        let (length, chunked) = ("Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n");
        for (version, fields, keep_alive, decode) in [
            ("1.1", length, true, false),
            ("1.1", chunked, true, false),
            ("1.1", "", false, false),
            ("1.0", length, true, false),
            ("1.0", chunked, false, true),
            ("1.0", "", false, false),
        ] {
            let form = form(version, fields);
            let found = (form.keep_alive, form.decode);
            assert_eq!(found, (keep_alive, decode), "HTTP/{version}, {fields}");
        }
    }
}
