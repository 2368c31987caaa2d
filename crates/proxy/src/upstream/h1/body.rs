//! The body of a response as it arrives from a server: its framing is checked, and it is relayed as received, with the trailers that the
//! header policy lets pass, or decoded.

use std::task::{Context, Poll};

use evenkeel_connect::read_event;
use evenkeel_core::blame::{EndEvent, Peer};
use evenkeel_http1::{Body, Framing, Tidied};
use evenkeel_request::forward::ForwardedTrailers;
use tokio::io::AsyncRead;

use crate::downstream::h1::trailers::take_trailers;
use crate::downstream::io::poll_fill;
use crate::worker::buffer::{Buffer, Buffers};

/// The body of a response, after its head was consumed.
#[derive(Debug)]
pub(crate) struct ResponseBody<'t> {
    body: Body,
    /// Which of its trailers pass.
    trailers: ForwardedTrailers<'t>,
    /// Whether only its content is relayed, without the server's framing.
    decode: bool,
    /// Bytes at the front of the input that are checked and not yet relayed.
    ready: usize,
}

/// Where a body is read from.
#[derive(Debug)]
pub(crate) struct ResponseInput<'a, S> {
    pub(crate) stream: &'a mut S,
    /// What was read and is not yet relayed.
    pub(crate) incoming: &'a mut Buffer,
    pub(crate) buffers: &'a Buffers,
    /// Bytes read so far.
    pub(crate) received: &'a mut u64,
}

impl<S> ResponseInput<'_, S> {
    /// Whether everything that was read is relayed.
    pub(crate) const fn is_empty(&self) -> bool {
        self.incoming.is_empty()
    }
}

impl<'t> ResponseBody<'t> {
    /// `decode`: only its content is relayed, else with those of its `trailers` that pass.
    pub(crate) const fn new(
        framing: Framing,
        decode: bool,
        trailers: ForwardedTrailers<'t>,
    ) -> Self {
        Self {
            body: Body::of_response(framing),
            trailers,
            decode,
            ready: 0,
        }
    }

    /// What can be relayed now.
    pub(crate) fn ready<'i, S>(&self, input: &'i ResponseInput<'_, S>) -> &'i [u8] {
        &input.incoming.unread()[..self.ready]
    }

    /// `n` bytes of what was [`Self::ready`] were relayed.
    pub(crate) fn passed_on<S>(&mut self, n: usize, input: &mut ResponseInput<'_, S>) {
        input.incoming.consume(n);
        self.ready -= n;
    }

    /// Whether its end was read.
    pub(crate) fn is_done(&self) -> bool {
        self.body.is_done()
    }

    /// Checks what was read. Decoded content is appended to `content`; `tee` gets the body as the server sent it.
    ///
    /// # Errors
    /// [`EndEvent::Malformed`] if its framing is invalid.
    pub(crate) fn take_in<S>(
        &mut self,
        input: &mut ResponseInput<'_, S>,
        content: &mut Vec<u8>,
        mut tee: impl FnMut(&[u8]),
    ) -> Result<(), EndEvent> {
        let malformed = |_| EndEvent::Malformed(Peer::Server);
        if self.body.is_done() {
            return Ok(());
        }
        let incoming = &mut *input.incoming;
        if self.decode {
            let progress = self.body.advance_decoded(incoming.unread(), content);
            let taken = progress.map_err(malformed)?.taken;
            tee(&incoming.unread()[..taken]);
            incoming.consume(taken);
        } else {
            let new = &mut incoming.unread_mut()[self.ready..];
            let Tidied { taken, kept } = self.body.advance_tidied(new).map_err(malformed)?;
            tee(&new[..kept]);
            incoming.cut(self.ready + kept, self.ready + taken);
            self.ready += kept;
            if self.body.is_at_trailers() {
                let passed = take_trailers(&mut self.body, incoming, self.ready, &self.trailers)
                    .map_err(malformed)?;
                tee(&incoming.unread()[self.ready..self.ready + passed]);
                self.ready += passed;
            }
        }
        Ok(())
    }

    /// Reads more and checks it as [`Self::take_in`] does. Returns the number of bytes read, or `None` if the end of the connection
    /// is the end of the body.
    ///
    /// # Errors
    /// [`EndEvent::Malformed`] if its framing is invalid; what [`read_event`] says if the connection ended before the body.
    pub(crate) fn poll_more<S: AsyncRead + Unpin>(
        &mut self,
        input: &mut ResponseInput<'_, S>,
        content: &mut Vec<u8>,
        tee: impl FnMut(&[u8]),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, EndEvent>> {
        if input.incoming.size() == 0 {
            *input.incoming = input.buffers.take_large();
        }
        match poll_fill(input.stream, input.incoming, cx) {
            Poll::Ready(Ok(n)) if n > 0 => {
                let taken = self.take_in(input, content, tee);
                if taken.is_ok() {
                    *input.received += n as u64;
                }
                Poll::Ready(taken.map(|()| Some(n)))
            }
            Poll::Ready(Ok(_)) if self.body.end_of_stream().is_ok() => Poll::Ready(Ok(None)),
            Poll::Ready(read) => Poll::Ready(read_event(read).map(Some)),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const CHUNKED: &[u8] = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";

    /// What is passed on of a body that comes in pieces of `size` bytes, and what the tee was shown; then its end.
    fn pass(
        mut bytes: &[u8],
        size: usize,
        framing: Framing,
        decode: bool,
    ) -> (Vec<u8>, Vec<u8>, Result<(), EndEvent>) {
        let (buffers, mut incoming, mut received) = (Buffers::default(), Buffer::default(), 0);
        let mut cx = Context::from_waker(Waker::noop());
        let (mut body, mut passed, mut shown) = (
            ResponseBody::new(framing, decode, ForwardedTrailers::default()),
            Vec::new(),
            Vec::new(),
        );
        loop {
            let piece;
            (piece, bytes) = bytes.split_at(size.min(bytes.len()));
            let mut input = ResponseInput {
                stream: &mut &*piece,
                incoming: &mut incoming,
                buffers: &buffers,
                received: &mut received,
            };
            let mut content = Vec::new();
            let tee = |bytes: &[u8]| shown.extend_from_slice(bytes);
            let Poll::Ready(read) = body.poll_more(&mut input, &mut content, tee, &mut cx) else {
                panic!("a slice is always ready");
            };
            passed.extend_from_slice(&content);
            let ready = body.ready(&input).to_vec();
            body.passed_on(ready.len(), &mut input);
            passed.extend_from_slice(&ready);
            match read {
                Ok(Some(_)) if !body.is_done() => {}
                end => return (passed, shown, end.map(drop)),
            }
        }
    }

    /// A connection that cannot be read.
    struct Unreadable(rustix::io::Errno);

    impl AsyncRead for Unreadable {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Poll::Ready(Err(self.0.into()))
        }
    }

    #[test]
    fn what_evenkeel_lacks_is_not_the_servers_fault() {
        for (errno, event) in [
            (rustix::io::Errno::NOBUFS, EndEvent::Exhausted),
            (rustix::io::Errno::NOMEM, EndEvent::Exhausted),
            (rustix::io::Errno::CONNRESET, EndEvent::Closed(Peer::Server)),
        ] {
            let (buffers, mut incoming, mut received) = (Buffers::default(), Buffer::default(), 0);
            let mut input = ResponseInput {
                stream: &mut Unreadable(errno),
                incoming: &mut incoming,
                buffers: &buffers,
                received: &mut received,
            };
            let mut cx = Context::from_waker(Waker::noop());
            let mut body =
                ResponseBody::new(Framing::Length(4), false, ForwardedTrailers::default());
            let read = body.poll_more(&mut input, &mut Vec::new(), |_| (), &mut cx);
            assert_eq!(read, Poll::Ready(Err(event)), "{errno}");
        }
    }

    #[test]
    fn a_body_is_passed_on_as_it_came_or_as_its_content_alone() {
        for size in 1..=CHUNKED.len() {
            let as_it_came = pass(CHUNKED, size, Framing::Chunked, false);
            assert_eq!(as_it_came, (CHUNKED.to_vec(), CHUNKED.to_vec(), Ok(())));
            let content = pass(CHUNKED, size, Framing::Chunked, true);
            assert_eq!(content, (b"abcde".to_vec(), CHUNKED.to_vec(), Ok(())));
        }
    }

    #[test]
    fn trailers_pass_as_a_whole_and_without_those_that_may_not() {
        const BODY: &[u8] = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: a\r\nX:\r\n\r\n";
        const PASSED: &[u8] = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nX:\r\n\r\n";
        for size in 1..=BODY.len() {
            let passed = pass(BODY, size, Framing::Chunked, false);
            assert_eq!(passed, (PASSED.to_vec(), PASSED.to_vec(), Ok(())), "{size}");
        }
    }

    #[test]
    fn the_end_of_the_connection_is_an_end_only_where_nothing_else_tells_it() {
        let closed = Err(EndEvent::Closed(Peer::Server));
        let malformed = Err(EndEvent::Malformed(Peer::Server));
        for (bytes, framing, end) in [
            (&b"abc"[..], Framing::UntilClose, Ok(())),
            (b"abc", Framing::Length(4), closed),
            (b"3\r\nabc\r\n", Framing::Chunked, closed),
            (b"3\r\nabcd\r\n", Framing::Chunked, malformed),
        ] {
            let (passed, _, found) = pass(bytes, 64, framing, false);
            assert_eq!(found, end, "{framing:?}");
            if end != malformed {
                assert_eq!(passed, bytes, "{framing:?}");
            }
        }
    }
}
