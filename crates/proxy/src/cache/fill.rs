//! Keeping an answer for later while it passes: its body is written down beside the client, and kept when it has come to its proper end.
//!
//! Nothing waits for it, and only an answer that may be kept costs anything.

use evenkeel_core::Instant;
use evenkeel_http1::Body;
use evenkeel_request::cache::Lifetimes;

use crate::cache::store::Answer;

/// An answer that is written down while it passes.
#[derive(Debug)]
pub(crate) struct Tee {
    pub(crate) answer: Answer,
    /// When its head came: its age counts from then, however long its body takes to pass.
    pub(crate) came: Instant,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) body: Body,
    pub(crate) most: usize,
}

impl Tee {
    /// This has come of the body, as the server sends it. Whether it is still worth keeping.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> bool {
        let content = &mut self.answer.body;
        self.body.advance_decoded(bytes, content).is_ok() && content.len() <= self.most
    }
}
