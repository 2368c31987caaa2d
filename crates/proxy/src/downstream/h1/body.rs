//! A request's body on its way: what of it has come and was checked, what was sent, what is kept to be sent again.
//!
//! It is relayed as the client framed it; of its trailers, those that the header policy lets pass. `Expect: 100-continue` is answered by
//! the server: its interim response is relayed, and the body is read when it arrives.

use std::task::{Context, Poll, ready};

use evenkeel_http1::{Body, BodyError, Framing};
use evenkeel_request::forward::ForwardedTrailers;

use super::client::Client;
use super::trailers::take_trailers;
use crate::downstream::io::poll_fill;
use crate::worker::buffer::{Buffer, Buffers, STANDARD};

/// How far a request's body has come.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: Body,
    /// Bytes at the front of the client's buffer that belong to the body, were checked and are not yet sent.
    approved: usize,
    /// Most bytes that are kept to be sent again; 0 if none are.
    keep: usize,
    /// Whether some sent byte was not kept.
    lost: bool,
    /// Whether it is known that all of it can be kept.
    fits: bool,
}

impl RequestBody {
    /// The body of a request with this framing, of which up to `keep` bytes are kept for another attempt.
    pub(crate) fn new(framing: Framing, keep: usize) -> Self {
        Self {
            body: Body::new(framing),
            approved: 0,
            keep,
            lost: false,
            fits: match framing {
                Framing::None => true,
                Framing::Length(length) => length <= keep as u64,
                Framing::Chunked | Framing::UntilClose => false,
            },
        }
    }

    /// Checks what has come; says how many bytes may be sent.
    fn approve(
        &mut self,
        buffer: &mut Buffer,
        trailers: &ForwardedTrailers<'_>,
    ) -> Result<usize, BodyError> {
        if !self.body.is_done() && buffer.len() > self.approved {
            let new = &buffer.unread()[self.approved..];
            self.approved += self.body.advance_to_trailers(new)?.taken;
            if self.body.is_at_trailers() {
                self.approved += take_trailers(&mut self.body, buffer, self.approved, trailers)?;
            }
        }
        Ok(self.approved)
    }

    /// `n` of the approved bytes were sent.
    fn sent(&mut self, n: usize, buffer: &mut Buffer, replay: &mut Vec<u8>) {
        if replay.len() + n <= self.keep {
            replay.extend_from_slice(&buffer.unread()[..n]);
        } else {
            self.lost = true;
            replay.clear();
        }
        self.approved -= n;
        buffer.consume(n);
    }

    /// Takes what there is of it off the client's buffer, if that is all: there is nobody that it is for. Whether nothing of it
    /// is still to come, so that what comes next is another request.
    pub(crate) fn discard(&mut self, buffer: &mut Buffer) -> bool {
        let trailers = ForwardedTrailers::default();
        let whole = self.approve(buffer, &trailers).is_ok() && self.has_come();
        if whole {
            buffer.consume(std::mem::take(&mut self.approved));
        }
        whole
    }

    /// Whether every byte of it has come.
    fn has_come(&self) -> bool {
        self.body.is_done()
    }

    /// Whether every byte of it has come and was sent.
    pub(crate) fn is_through(&self) -> bool {
        self.body.is_done() && self.approved == 0
    }

    /// Whether another attempt can have the whole body.
    pub(crate) const fn is_replayable(&self) -> bool {
        !self.lost
    }

    /// Whether another attempt will still be able to have the whole body, however much of it is sent. One of unknown length
    /// may not.
    pub(crate) const fn stays_replayable(&self) -> bool {
        self.fits && !self.lost
    }
}

/// Where an attempt reads the body of its request: first what earlier attempts sent and was kept, then what the client sends.
#[derive(Debug)]
pub(crate) struct BodySource<'a> {
    body: &'a mut RequestBody,
    client: &'a mut Client,
    replay: &'a mut Vec<u8>,
    trailers: &'a ForwardedTrailers<'a>,
    buffers: &'a Buffers,
}

impl<'a> BodySource<'a> {
    /// `replay` is what is kept of it to be sent again; `trailers` decides which of its trailers pass.
    pub(crate) const fn new(
        body: &'a mut RequestBody,
        client: &'a mut Client,
        replay: &'a mut Vec<u8>,
        trailers: &'a ForwardedTrailers<'a>,
        buffers: &'a Buffers,
    ) -> Self {
        Self {
            body,
            client,
            replay,
            trailers,
            buffers,
        }
    }

    /// What an attempt can send now that has sent `replayed` bytes of what was kept: the rest of that, and what is new.
    ///
    /// # Errors
    /// The client's framing is invalid.
    pub(crate) fn ready(&mut self, replayed: usize) -> Result<[&[u8]; 2], BodyError> {
        let approved = (self.body).approve(&mut self.client.buffer, self.trailers)?;
        let new = &self.client.buffer.unread()[..approved];
        Ok([&self.replay[replayed..], new])
    }

    /// Whether the client has sent all of it: nothing follows what is [`Self::ready`].
    pub(crate) fn has_come(&self) -> bool {
        self.body.has_come()
    }

    /// Reads more from the client; `false` if it has disconnected. `is_flowing`: data keeps arriving, so a large buffer is worth it.
    pub(crate) fn poll_more(&mut self, is_flowing: bool, cx: &mut Context<'_>) -> Poll<bool> {
        let Client { stream, buffer, .. } = &mut *self.client;
        if buffer.is_empty() && buffer.size() <= STANDARD {
            let next = if is_flowing {
                self.buffers.take_large()
            } else {
                self.buffers.take()
            };
            self.buffers.give(std::mem::replace(buffer, next));
        }
        if buffer.spare().is_empty() {
            // Trailers wait in it until all of them have come, and it is no larger than the part of a head that came first.
            *buffer = buffer.for_part_of_head();
        }
        let read = ready!(poll_fill(stream, buffer, cx));
        Poll::Ready(matches!(read, Ok(n) if n > 0))
    }

    /// `n` bytes of what was [`Self::ready`] were sent. Returns how many of the kept bytes the attempt has sent now.
    pub(crate) fn sent(&mut self, n: usize, replayed: usize) -> usize {
        let again = n.min(self.replay.len() - replayed);
        let new = n - again;
        if new == 0 {
            return replayed + again;
        }
        self.body.sent(new, &mut self.client.buffer, self.replay);
        self.replay.len()
    }
}
