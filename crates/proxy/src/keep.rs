//! Keeping an answer for later while it passes: its body is written down beside the client, and kept when it has come to its proper end.
//!
//! Nothing waits for it, and only an answer that may be kept costs anything.

use evenkeel_core::Instant;
use evenkeel_http1::{Body, Framing};
use evenkeel_tolerate::stale::KeepFor;

use crate::context::RequestContext;
use crate::stale::{Answer, exchanged};
use crate::talk::{Desk, Talk};

/// An answer that is written down while it passes.
#[derive(Debug)]
pub(crate) struct Tee {
    answer: Answer,
    /// When its head came: its age counts from then, however long its body takes to pass.
    came: Instant,
    keep_for: KeepFor,
    body: Body,
    most: usize,
}

impl Tee {
    /// This has come of the body, as the server sends it. Whether it is still worth keeping.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> bool {
        let content = &mut self.answer.body;
        self.body.advance_decoded(bytes, content).is_ok() && content.len() <= self.most
    }
}

impl RequestContext<'_> {
    /// For the answer that is to be passed on, if it may be kept and its end can be told from its being cut off. What the
    /// request has made out of date is forgotten first.
    pub(crate) fn tee(&self, desk: &Desk<'_>, talk: &Talk, now: Instant) -> Option<Box<Tee>> {
        let (head, bytes) = (&desk.work.response, talk.incoming.unread());
        self.invalidate(head, bytes, now);
        let (stale, wanted) = self.entry().stale.as_ref().zip(self.wanted.as_ref())?;
        let key = wanted.key()?;
        let keep_for = stale.keep_for(key, &exchanged(wanted.asked(), head, bytes))?;
        let most = stale.most();
        let may = match head.framing {
            Framing::Length(length) => length <= most as u64,
            Framing::Chunked => true,
            Framing::None | Framing::UntilClose => false,
        };
        if !may || stale.is_recent(key, now) {
            return None;
        }
        Some(Box::new(Tee {
            answer: Answer::of(head, bytes, &self.worker.date(now)),
            came: now,
            keep_for,
            body: Body::of_response(head.framing),
            most,
        }))
    }

    /// The answer has been passed on as a whole.
    pub(crate) fn keep(&self, tee: Tee) {
        if let Some((stale, wanted)) = self.entry().stale.as_ref().zip(self.wanted.as_ref())
            && let Some(key) = wanted.key()
            && tee.body.is_done()
        {
            let times = (self.exchange.started(), tee.came);
            stale.put(key, tee.answer, times, tee.keep_for);
        }
    }
}
