//! What `Cache-Control` says, in a request and in an answer (RFC 9111, section 5.2).

use std::time::Duration;

/// What `Cache-Control` fields say, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheControl {
    /// Not to be kept, not to be shown to others, not to be shown without asking, or not to be shown old: `no-store`, `private`,
    /// `no-cache`, `must-revalidate`, `proxy-revalidate`, `s-maxage` (which means the latter, RFC 9111 section 5.2.2.10).
    pub forbids: bool,
    /// May be shown to others although who asked is known.
    pub is_public: bool,
    /// Seconds for which it is fresh.
    pub max_age: Option<u64>,
    /// Seconds after that for which it may be shown if there is nothing else.
    pub stale_if_error: Option<u64>,
    /// Seconds after that for which it may be shown to others while one request fetches a new one.
    pub stale_while_revalidate: Option<u64>,
}

impl CacheControl {
    /// Takes in the value of one field. What is not understood is passed over; a number that is none forbids.
    pub fn read(&mut self, value: &[u8]) {
        for (name, value) in directives(value) {
            let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
            if [
                "no-store",
                "private",
                "no-cache",
                "must-revalidate",
                "proxy-revalidate",
                "s-maxage",
            ]
            .into_iter()
            .any(is)
            {
                self.forbids = true;
            } else if is("public") {
                self.is_public = true;
            } else if is("max-age") {
                self.max_age = self.number(value);
            } else if is("stale-if-error") {
                self.stale_if_error = self.number(value);
            } else if is("stale-while-revalidate") {
                self.stale_while_revalidate = self.number(value);
            }
        }
    }

    /// A number of seconds; what is none forbids.
    fn number(&mut self, value: Option<&[u8]>) -> Option<u64> {
        let number = seconds(value);
        self.forbids |= number.is_none();
        number
    }
}

/// What a request's `Cache-Control` fields ask for (RFC 9111, section 5.2.1), as far as it is heeded. `max-stale` is not: what may be
/// shown old is for the answer to say. `only-if-cached` is not either: who asks through this cache wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestControl {
    /// The answer is not to be kept, nor is a kept one wanted.
    pub no_store: bool,
    /// A server is to be asked.
    pub no_cache: bool,
    /// Seconds that a kept answer may be old.
    pub max_age: Option<u64>,
    /// Seconds for which it must still be fresh.
    pub min_fresh: Option<u64>,
}

impl RequestControl {
    /// Takes in the value of one field. What is not understood is passed over; a number that is none asks for a new answer.
    pub fn read(&mut self, value: &[u8]) {
        for (name, value) in directives(value) {
            let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
            if is("no-store") {
                self.no_store = true;
            } else if is("no-cache") {
                self.no_cache = true;
            } else if is("max-age") {
                self.max_age = Some(seconds(value).unwrap_or(0));
            } else if is("min-fresh") {
                self.min_fresh = seconds(value);
                self.no_cache |= self.min_fresh.is_none();
            }
        }
    }

    /// Whether an answer that is so old, and fresh for so long, will do.
    #[must_use]
    pub fn takes(&self, age: Duration, fresh_for: Duration) -> bool {
        let is_young = self
            .max_age
            .is_none_or(|most| age < Duration::from_secs(most));
        let stays_fresh =
            (self.min_fresh).is_none_or(|least| fresh_for >= Duration::from_secs(least));
        !self.no_store && !self.no_cache && is_young && stays_fresh
    }
}

/// Each directive of a `Cache-Control` field, and what follows its `=`.
fn directives(value: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    value.split(|byte| *byte == b',').map(|part| {
        let part = part.trim_ascii();
        match part.iter().position(|byte| *byte == b'=') {
            None => (part, None),
            Some(at) => (part[..at].trim_ascii(), Some(part[at + 1..].trim_ascii())),
        }
    })
}

/// A number of seconds, also in quotes; more than a year is a year.
fn seconds(value: Option<&[u8]>) -> Option<u64> {
    const YEAR: u64 = 365 * 86_400;
    let value = value.unwrap_or_default();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let digits = value.strip_suffix(b"\"").unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    Some(number.min(YEAR))
}
