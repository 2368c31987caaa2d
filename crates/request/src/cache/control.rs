//! `Cache-Control` in requests and responses (RFC 9111, section 5.2).

use std::time::Duration;

/// The `Cache-Control` fields of a response, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseCacheControl {
    /// Not to be stored, not to be served to others, not to be served without validation, or not to be served stale: `no-store`,
    /// `private`, `no-cache`, `must-revalidate`, `proxy-revalidate` (RFC 9111, sections 5.2.2.2 to 5.2.2.8), and `s-maxage`,
    /// which implies `proxy-revalidate` (section 5.2.2.10).
    pub forbids: bool,
    /// `public` (section 5.2.2.9): may be served to others although the request identified its client.
    pub is_public: bool,
    /// `max-age` (section 5.2.2.1): seconds for which it is fresh.
    pub max_age: Option<u64>,
    /// `stale-if-error` (RFC 5861, section 4): seconds after that for which it may be served if a request fails.
    pub stale_if_error: Option<u64>,
    /// `stale-while-revalidate` (RFC 5861, section 3): seconds after that for which it may be served to others while one request
    /// fetches a new one.
    pub stale_while_revalidate: Option<u64>,
}

impl ResponseCacheControl {
    /// Adds the value of one field. Unknown directives are ignored (section 5.2.3); an invalid number forbids storing.
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

    /// A number of seconds; an invalid one forbids storing.
    fn number(&mut self, value: Option<&[u8]>) -> Option<u64> {
        let number = seconds(value);
        self.forbids |= number.is_none();
        number
    }
}

/// The `Cache-Control` fields of a request (RFC 9111, section 5.2.1), as far as they are respected. `max-stale` (section 5.2.1.2)
/// is not: whether a response may be served stale is for the response to say. Nor is `only-if-cached` (section 5.2.1.7): a
/// client of a proxy wants a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestCacheControl {
    /// `no-store` (section 5.2.1.5): the response is not to be stored; no stored one is served either.
    pub no_store: bool,
    /// `no-cache` (section 5.2.1.4): a server is to be asked.
    pub no_cache: bool,
    /// `max-age` (section 5.2.1.1): the age in seconds that a stored response must be below.
    pub max_age: Option<u64>,
    /// `min-fresh` (section 5.2.1.3): seconds for which it must stay fresh.
    pub min_fresh: Option<u64>,
}

impl RequestCacheControl {
    /// Adds the value of one field. Unknown directives are ignored; an invalid number asks for a new response.
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

    /// Whether a response of this age, which stays fresh for so long, may be served without asking a server.
    #[must_use]
    pub fn accepts(&self, age: Duration, fresh_for: Duration) -> bool {
        let is_young = self
            .max_age
            .is_none_or(|most| age < Duration::from_secs(most));
        let stays_fresh =
            (self.min_fresh).is_none_or(|least| fresh_for >= Duration::from_secs(least));
        !self.no_store && !self.no_cache && is_young && stays_fresh
    }
}

/// Each directive of a `Cache-Control` field, and its argument.
fn directives(value: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    value.split(|byte| *byte == b',').map(|part| {
        let part = part.trim_ascii();
        match part.iter().position(|byte| *byte == b'=') {
            None => (part, None),
            Some(at) => (part[..at].trim_ascii(), Some(part[at + 1..].trim_ascii())),
        }
    })
}

/// Delta-seconds (RFC 9111, section 1.2.2), also quoted (section 5.2 asks recipients to accept both); at most a year.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9111, section 5.2.1.
    #[test]
    fn directives_of_requests() {
        let accepts = |value: &str, age: u64, fresh_for: u64| {
            let mut control = RequestCacheControl::default();
            control.read(value.as_bytes());
            control.accepts(Duration::from_secs(age), Duration::from_secs(fresh_for))
        };
        for (value, age, fresh_for, expected) in [
            ("", 1_000, 0, true),
            ("no-cache", 0, 60, false),
            ("No-Store", 0, 60, false),
            ("max-age=0", 0, 60, false),
            ("max-age=10", 9, 0, true),
            ("max-age=10", 10, 0, false),
            ("Max-Age = \"10\", min-fresh=5", 9, 5, true),
            ("max-age=10, min-fresh=5", 9, 4, false),
            ("max-age=x", 0, 60, false),
            ("min-fresh", 0, 60, false),
            ("max-stale=0, only-if-cached, private, x=y", 1_000, 0, true),
        ] {
            assert_eq!(accepts(value, age, fresh_for), expected, "{value}");
        }
    }
}
