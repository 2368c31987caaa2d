//! Which answers may be kept, for how long, and how they may be used when they are old.
//!
//! Intuition: to most readers a page of a minute ago is worth more than an error of now. This is no general cache: it is small, and it is there
//! to answer while a server is ill (`stale-if-error`) or slow (`stale-while-revalidate`, both RFC 5861). So whatever RFC 9111 leaves open is
//! decided for not keeping: GET alone, no cookies, nothing that is for one client, nothing that varies by what is not in the key.
//!
//! The decision ([`StaleOptions::judge`]) and the container ([`Store`]) know nothing of each other but the [`Lifetimes`] that the one gives to the other.

mod control;
mod store;

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::Instant;
use serde::{Deserialize, Serialize};

pub use control::Control;
pub use store::{Store, StoreSnapshot};

use crate::pushback::http_date;

/// What is kept, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaleOptions {
    /// All entries together. Default 16 MiB.
    pub bytes: usize,
    /// One entry. Default 256 KiB.
    pub entry_bytes: usize,
    /// How long an answer is used after it was fresh when asking fails, if it does not say so itself. Default 0: those only
    /// that say so.
    pub stale_if_error: Duration,
    /// The same while it is asked for anew. Default 0.
    pub stale_while_revalidate: Duration,
    /// No window is longer than this, whatever an answer says. Default one day.
    pub longest: Duration,
    /// One request asks anew; another is sent only after this long. Default 10 s.
    pub refresh_within: Duration,
    /// Request fields, lower case, that are part of the key: an answer may vary by these. Default `accept-encoding`.
    pub key_fields: Vec<String>,
}

impl Default for StaleOptions {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            entry_bytes: 256 << 10,
            stale_if_error: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            longest: Duration::from_secs(86_400),
            refresh_within: Duration::from_secs(10),
            key_fields: vec!["accept-encoding".into()],
        }
    }
}

/// What there is for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It may be the answer.
    Fresh(Arc<T>),
    /// It may be the answer; if `refresh`, whoever got it asks the server anew in the background.
    StaleWhileRevalidate {
        /// What was kept.
        item: Arc<T>,
        /// Whether this is the request that asks anew.
        refresh: bool,
    },
    /// Ask the server; if that fails, this may be the answer.
    StaleIfError(Arc<T>),
    /// There is nothing.
    Miss,
}

impl<T> Lookup<T> {
    /// The word for metrics and logs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Fresh(_) => "fresh",
            Self::StaleWhileRevalidate { .. } => "stale-while-revalidate",
            Self::StaleIfError(_) => "stale-if-error",
            Self::Miss => "miss",
        }
    }
}

/// Until when an entry may be used, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// As if it had just been asked for.
    pub fresh_until: Instant,
    /// While it is asked for anew.
    pub revalidate_until: Instant,
    /// When asking fails.
    pub error_until: Instant,
}

impl Lifetimes {
    /// When it is of no use any more.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.fresh_until
            .max(self.revalidate_until)
            .max(self.error_until)
    }
}

/// Why an answer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotKept {
    /// It is no answer to a plain GET.
    Method,
    /// Its status is none that is kept.
    Status,
    /// One of the two sides said `no-store`, or the answer `no-cache`.
    Forbidden,
    /// It is for one client: `private`, or asked for with `Authorization` and not said to be for all.
    Private,
    /// It sets a cookie.
    Cookie,
    /// It varies by what is not in the key.
    Varies,
    /// It would never be used.
    Useless,
}

impl NotKept {
    /// The word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::Forbidden => "forbidden",
            Self::Private => "private",
            Self::Cookie => "cookie",
            Self::Varies => "varies",
            Self::Useless => "useless",
        }
    }
}

/// Statuses that are kept: those that RFC 9110 lets caches keep unasked, without 206, which is a part, and errors of the server.
const STATUSES: [u16; 9] = [200, 203, 204, 300, 301, 308, 404, 410, 414];

impl StaleOptions {
    /// Whether an answer that came at `now` may be kept, and until when it may be used. Fields are pairs of a name in any case and a value, as they came.
    ///
    /// # Errors
    /// The first reason not to keep it.
    pub fn judge<'f>(
        &self,
        method: &[u8],
        request: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
        status: u16,
        response: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
        now: Instant,
    ) -> Result<Lifetimes, NotKept> {
        if method != b"GET" {
            return Err(NotKept::Method);
        }
        if !STATUSES.contains(&status) {
            return Err(NotKept::Status);
        }
        let asked = Asked::read(request);
        let told = self.read(response)?;
        let control = told.control;
        if asked.has_range {
            return Err(NotKept::Method);
        }
        if asked.control.no_store || control.no_store || control.no_cache {
            return Err(NotKept::Forbidden);
        }
        let is_for_all = control.public || control.must_revalidate || control.s_maxage.is_some();
        if control.private || (asked.is_authorized && !is_for_all) {
            return Err(NotKept::Private);
        }
        let lifetimes = self.lifetimes(&told, now);
        (lifetimes.end() > now)
            .then_some(lifetimes)
            .ok_or(NotKept::Useless)
    }

    /// The key of a request: host, target, and the fields of [`StaleOptions::key_fields`]. `field` gives a request's field by its name,
    /// all its lines joined by commas.
    #[must_use]
    pub fn key<'f>(
        &self,
        host: &[u8],
        target: &[u8],
        field: impl Fn(&str) -> Option<&'f [u8]>,
    ) -> Vec<u8> {
        let mut key = Vec::with_capacity(host.len() + target.len() + 32);
        // Each part with its length, so that no two requests have the same key.
        let mut add = |part: &[u8]| {
            key.extend_from_slice(&part.len().to_be_bytes());
            key.extend_from_slice(part);
        };
        add(&host.to_ascii_lowercase());
        add(target);
        for name in &self.key_fields {
            let value = field(name);
            add(if value.is_some() { b"+" } else { b"-" });
            add(value.unwrap_or_default().trim_ascii());
        }
        key
    }

    fn read<'f>(
        &self,
        fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<Told, NotKept> {
        let mut told = Told::default();
        for (name, value) in fields {
            if is(name, "cache-control") {
                told.control.read(value);
            } else if is(name, "set-cookie") {
                return Err(NotKept::Cookie);
            } else if is(name, "vary") {
                let mut names = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                let is_in_key = |varied: &[u8]| self.key_fields.iter().any(|name| is(varied, name));
                if !names.all(|varied| varied.is_empty() || is_in_key(varied)) {
                    return Err(NotKept::Varies);
                }
            } else if is(name, "age") {
                let mut age = Control::default();
                age.read(&[b"max-age=", value].concat());
                told.age = told.age.max(age.max_age.unwrap_or_default());
            } else if is(name, "date") {
                told.date = http_date(value);
            } else if is(name, "expires") {
                // What is no date has passed.
                told.expires = Some(http_date(value).unwrap_or_default());
            }
        }
        Ok(told)
    }

    fn lifetimes(&self, told: &Told, now: Instant) -> Lifetimes {
        let control = &told.control;
        let fresh = (control.s_maxage.or(control.max_age))
            .or_else(|| {
                let (expires, date) = (told.expires?, told.date?);
                Some(Duration::from_secs(expires.saturating_sub(date)))
            })
            .unwrap_or_default();
        let window = |said: Option<Duration>, own: Duration| {
            if control.must_revalidate {
                return Duration::ZERO;
            }
            // `s-maxage` forbids staleness that the answer itself does not allow.
            let own = if control.s_maxage.is_some() {
                Duration::ZERO
            } else {
                own
            };
            said.unwrap_or(own).min(self.longest)
        };
        // Counted from when it was made, so one that came old may be stale already.
        let made = |length: Duration| now + length.saturating_sub(told.age);
        let fresh = fresh.min(self.longest);
        Lifetimes {
            fresh_until: made(fresh),
            revalidate_until: made(
                fresh + window(control.stale_while_revalidate, self.stale_while_revalidate),
            ),
            error_until: made(fresh + window(control.stale_if_error, self.stale_if_error)),
        }
    }
}

/// What an answer says about itself.
#[derive(Debug, Default)]
struct Told {
    control: Control,
    age: Duration,
    date: Option<u64>,
    expires: Option<u64>,
}

/// What a request says.
#[derive(Debug, Default)]
struct Asked {
    control: Control,
    is_authorized: bool,
    has_range: bool,
}

impl Asked {
    fn read<'f>(fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>) -> Self {
        let mut asked = Self::default();
        for (name, value) in fields {
            if is(name, "cache-control") {
                asked.control.read(value);
            }
            asked.is_authorized |= is(name, "authorization");
            asked.has_range |= is(name, "range");
        }
        asked
    }
}

fn is(name: &[u8], other: &str) -> bool {
    name.eq_ignore_ascii_case(other.as_bytes())
}

#[cfg(test)]
mod tests;
