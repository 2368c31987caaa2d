//! A request's body on its way: what of it has come and was checked, what was sent, what is kept to be sent again.

use evenkeel_http1::{Body, BodyError, Framing};

use crate::worker::buffer::Buffer;

/// A request's body.
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
    pub(crate) fn approve(&mut self, buffer: &Buffer) -> Result<usize, BodyError> {
        if !self.body.is_done() && buffer.len() > self.approved {
            self.approved += self.body.advance(&buffer.unread()[self.approved..])?.taken;
        }
        Ok(self.approved)
    }

    /// `n` of the approved bytes were sent.
    pub(crate) fn sent(&mut self, n: usize, buffer: &mut Buffer, replay: &mut Vec<u8>) {
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
        let whole = self.approve(buffer).is_ok() && self.has_come();
        if whole {
            buffer.consume(std::mem::take(&mut self.approved));
        }
        whole
    }

    /// Whether every byte of it has come.
    pub(crate) fn has_come(&self) -> bool {
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
