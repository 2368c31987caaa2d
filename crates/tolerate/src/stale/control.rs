//! The directives of `Cache-Control` that decide about storing (RFC 9111, section 5.2; RFC 5861). What is said twice or cannot be
//! read counts in the way that stores less.

use std::time::Duration;

/// What a message's `Cache-Control` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Control {
    /// Not to be stored at all.
    pub no_store: bool,
    /// Not to be used without asking.
    pub no_cache: bool,
    /// For one client only.
    pub private: bool,
    /// For all, even if it was asked for with `Authorization`.
    pub public: bool,
    /// Never to be used stale (also `proxy-revalidate`, which means shared caches).
    pub must_revalidate: bool,
    /// Fresh for so long.
    pub max_age: Option<Duration>,
    /// Fresh for so long in shared caches.
    pub s_maxage: Option<Duration>,
    /// To be used stale for so long while it is asked for anew.
    pub stale_while_revalidate: Option<Duration>,
    /// To be used stale for so long when asking fails.
    pub stale_if_error: Option<Duration>,
}

/// A longer value is not read; it counts as `no-store`.
const MOST_BYTES: usize = 4_096;
/// RFC 9111, section 1.2.2: what is more counts as this.
const MOST_SECONDS: u64 = 1 << 31;

impl Control {
    /// Reads one field's value into it; a message may have several.
    pub fn read(&mut self, value: &[u8]) {
        if value.len() > MOST_BYTES {
            self.no_store = true;
            return;
        }
        let mut rest = value;
        while !rest.is_empty() {
            let (directive, after) = cut(rest);
            rest = after;
            self.directive(directive.trim_ascii());
        }
    }

    fn directive(&mut self, directive: &[u8]) {
        let equals = directive.iter().position(|&byte| byte == b'=');
        let (name, value) = directive.split_at(equals.unwrap_or(directive.len()));
        let seconds = || seconds(value.get(1..).unwrap_or_default());
        let name = name.trim_ascii().to_ascii_lowercase();
        match name.as_slice() {
            b"no-store" => self.no_store = true,
            // With names of fields, too: they would have to be left out.
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" | b"proxy-revalidate" => self.must_revalidate = true,
            b"max-age" => less(&mut self.max_age, seconds()),
            b"s-maxage" => less(&mut self.s_maxage, seconds()),
            b"stale-while-revalidate" => less(&mut self.stale_while_revalidate, seconds()),
            b"stale-if-error" => less(&mut self.stale_if_error, seconds()),
            _ => {}
        }
    }
}

fn less(place: &mut Option<Duration>, seconds: Duration) {
    *place = Some(place.map_or(seconds, |before| before.min(seconds)));
}

/// Digits, in quotes or not; anything else is no time at all.
fn seconds(value: &[u8]) -> Duration {
    let value = value.trim_ascii();
    let bare = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    let value = bare.unwrap_or(value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Duration::ZERO;
    }
    let add = |sum: u64, digit: &u8| (sum * 10 + u64::from(digit - b'0')).min(MOST_SECONDS);
    Duration::from_secs(value.iter().fold(0, add))
}

/// Up to a comma that is in no quotes, and what follows it.
fn cut(value: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (&value[..at], &value[at + 1..]),
            _ => {}
        }
    }
    (value, b"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Control {
        let mut control = Control::default();
        control.read(value.as_bytes());
        control
    }

    const fn seconds(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn directives_are_read() {
        let control =
            of("public, Max-Age=\"60\",s-maxage=5 , stale-if-error=600,stale-while-revalidate=30");
        assert!(control.public && !control.private);
        assert_eq!(
            (control.max_age, control.s_maxage),
            (seconds(60), seconds(5))
        );
        assert_eq!(
            (control.stale_if_error, control.stale_while_revalidate),
            (seconds(600), seconds(30))
        );
        assert_eq!(of("max-age=99999999999999999999").max_age, seconds(1 << 31));
        assert_eq!(of(""), Control::default());
        assert_eq!(of("x=\"a, no-store\", foo"), Control::default());
    }

    #[test]
    fn what_is_doubtful_stores_less() {
        assert_eq!(of("max-age=60, max-age=10").max_age, seconds(10));
        for text in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.5",
            "max-age=x",
        ] {
            assert_eq!(of(text).max_age, seconds(0), "{text}");
        }
        assert!(of("private=\"x-one, x-two\"").private && of("no-cache=\"x\"").no_cache);
        assert!(of("proxy-revalidate").must_revalidate);
        assert!(of(&"a".repeat(5_000)).no_store);
        assert!(of("max-age=1, NO-STORE").no_store);
    }
}
