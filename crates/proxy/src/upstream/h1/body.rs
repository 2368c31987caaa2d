//! The body of a response as it comes from a server: its framing is checked on the way, and it is passed on as it came, or as its
//! content alone.

use std::task::{Context, Poll};

use evenkeel_core::blame::{Event, Peer};
use evenkeel_http1::{Body, Framing, Tidied};
use tokio::io::AsyncRead;

use crate::downstream::io::poll_fill;
use crate::worker::buffer::{Buffer, Buffers};

/// The body of a response whose head is taken off.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    body: Body,
    /// Whether its content alone is passed on, without the server's framing.
    decode: bool,
    /// Bytes at the front of what has come that belong to it, were checked and are not yet passed on.
    ready: usize,
}

/// What a body is read from.
#[derive(Debug)]
pub(crate) struct ResponseInput<'a, S> {
    pub(crate) stream: &'a mut S,
    /// What has come and is not yet passed on.
    pub(crate) incoming: &'a mut Buffer,
    pub(crate) buffers: &'a Buffers,
    /// Bytes read so far.
    pub(crate) received: &'a mut u64,
}

impl<S> ResponseInput<'_, S> {
    /// Whether nothing has come that is not passed on.
    pub(crate) const fn is_empty(&self) -> bool {
        self.incoming.is_empty()
    }
}

impl ResponseBody {
    /// `decode`: its content alone is to be passed on.
    pub(crate) fn new(framing: Framing, decode: bool) -> Self {
        Self {
            body: Body::of_response(framing),
            decode,
            ready: 0,
        }
    }

    /// What can be passed on.
    pub(crate) fn ready<'i, S>(&self, input: &'i ResponseInput<'_, S>) -> &'i [u8] {
        &input.incoming.unread()[..self.ready]
    }

    /// `n` bytes of what was [`Self::ready`] were passed on.
    pub(crate) fn passed_on<S>(&mut self, n: usize, input: &mut ResponseInput<'_, S>) {
        input.incoming.consume(n);
        self.ready -= n;
    }

    /// Whether all of it has come.
    pub(crate) fn is_done(&self) -> bool {
        self.body.is_done()
    }

    /// Checks what has come. Where its content alone is passed on, that is appended to `content`. `tee` is shown the bytes of the
    /// body as the server sent them.
    ///
    /// # Errors
    /// It is not a body.
    pub(crate) fn take_in<S>(
        &mut self,
        input: &mut ResponseInput<'_, S>,
        content: &mut Vec<u8>,
        mut tee: impl FnMut(&[u8]),
    ) -> Result<(), Event> {
        let malformed = |_| Event::Malformed(Peer::Server);
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
        }
        Ok(())
    }

    /// Reads more of it, and checks it as [`Self::take_in`] does; the bytes read, or `None` if the end of the connection was its
    /// end.
    ///
    /// # Errors
    /// It has broken off, or is not a body.
    pub(crate) fn poll_more<S: AsyncRead + Unpin>(
        &mut self,
        input: &mut ResponseInput<'_, S>,
        content: &mut Vec<u8>,
        tee: impl FnMut(&[u8]),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Event>> {
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
            Poll::Ready(_) => Poll::Ready(Err(Event::Closed(Peer::Server))),
            Poll::Pending => Poll::Pending,
        }
    }
}
