//! Whether an answer may be kept, and for how long it may be shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::control::CacheControl;

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaleOptions {
    /// Bytes of all answers together, at most. Default 16 MiB.
    pub bytes: usize,
    /// Bytes of one answer, at most. Default 64 KiB.
    pub object: usize,
    /// How long after it has become stale an answer may be shown that does not say it itself (`stale-if-error`). Default 1 h.
    pub if_error: Duration,
    /// Whether what is fresh, or may be shown while it is fetched anew, is answered without asking. Default no.
    pub answer_first: bool,
}

impl Default for StaleOptions {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            object: 64 << 10,
            if_error: Duration::from_secs(3_600),
            answer_first: false,
        }
    }
}

/// What is to be known of a request and its answer, besides its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exchanged {
    /// The answer's status.
    pub status: u16,
    /// The request says who asks: `Authorization` or `Cookie`.
    pub knows_client: bool,
    /// The request wants nothing kept, or only a part: `Cache-Control: no-store`, `Range`.
    pub is_special: bool,
    /// The answer sets a cookie.
    pub sets_cookie: bool,
    /// The answer depends on parts of the request that its key does not have (`Vary`).
    pub varies: bool,
    /// What the answer's `Cache-Control` says.
    pub control: CacheControl,
    /// How old it was already when it came, as it says itself (`Age`): a cache of the server's side had it.
    pub age: Duration,
}

/// For how long an answer may be shown, each from when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepFor {
    /// Without asking.
    pub fresh: Duration,
    /// While another request asks.
    pub revalidate: Duration,
    /// If there is no other.
    pub all: Duration,
}

impl Exchanged {
    /// Whether the answer itself says that it is not for others, whoever asked: what was kept of before is not either, then. That a
    /// request was special says nothing about older answers, or any client could have them forgotten.
    #[must_use]
    pub const fn answer_forbids(&self) -> bool {
        self.control.forbids || self.sets_cookie || self.varies
    }

    /// For how long the answer to a GET may be shown; nothing if it may not be kept.
    #[must_use]
    pub fn keep_for(&self, options: &StaleOptions) -> Option<KeepFor> {
        let control = &self.control;
        let may = matches!(self.status, 200 | 203 | 301 | 308)
            && !self.answer_forbids()
            && !self.is_special
            && (control.is_public || !self.knows_client);
        let window = control
            .stale_if_error
            .map_or(options.if_error, Duration::from_secs);
        let fresh = Duration::from_secs(control.max_age.unwrap_or(0));
        let while_asking = Duration::from_secs(control.stale_while_revalidate.unwrap_or(0));
        let revalidate = fresh.saturating_add(while_asking);
        let all = fresh.saturating_add(window).max(revalidate);
        // Its time began where it was made (RFC 9111, section 4.2.3).
        let from_now = |time: Duration| time.saturating_sub(self.age);
        (may && !from_now(all).is_zero()).then_some(KeepFor {
            fresh: from_now(fresh),
            revalidate: from_now(revalidate),
            all: from_now(all),
        })
    }
}
