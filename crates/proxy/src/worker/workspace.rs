//! What one request needs besides buffers.

use evenkeel_http1::{RequestHead, ResponseHead};

use crate::downstream::violation::Violation;

/// What one request needs besides buffers; reused by the next.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    /// The request's head as servers get it.
    pub(crate) to_server: Vec<u8>,
    /// The part of the request's body that was sent already and may have to be sent again.
    pub(crate) replay: Vec<u8>,
    /// The response's head (and small bodies) as the client gets it.
    pub(crate) to_client: Vec<u8>,
    /// Bytes of `to_client` that were written, where a body follows.
    pub(crate) written: usize,
    /// The last rule of HTTP that was broken by one of the two sides.
    pub(crate) violation: Option<Violation>,
}

impl Workspace {
    /// Clears what was written for the client, for a new response.
    pub(crate) fn begin_response(&mut self) {
        self.to_client.clear();
        self.written = 0;
    }
}
