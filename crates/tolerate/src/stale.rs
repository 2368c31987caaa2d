//! Old answers for when there is no new one: which may be kept, for how long, and which have to go when there are too many.
//!
//! Intuition: for much of what is read, what was true a minute ago is better than nothing. That need not be a cache that spares
//! servers work (they are asked first, unless one says otherwise), but it is bound by the same rules, since it shows one client what another one got: what
//! is private, what depends on who asks, and what may not be shown old is not kept (RFC 9111, sections 3 and 4.2.4; `stale-if-error` is
//! RFC 5861, section 4).
//!
//! Who says so gets the other half as well: what is fresh is answered without asking, and while one request fetches what has become stale
//! the others get the old answer (`stale-while-revalidate`, RFC 5861, section 3).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::Instant;
use serde::{Deserialize, Serialize};

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

/// Answers by key, the latest ones, in bounded memory.
#[derive(Debug)]
pub struct StaleCache<T> {
    options: StaleOptions,
    entries: BTreeMap<Arc<[u8]>, Entry<T>>,
    /// When keys were changed last that begin with something of this hash; empty until the first change.
    changed: Vec<Instant>,
    /// Keys by when they were put in or shown last, oldest first.
    order: BTreeMap<u64, Arc<[u8]>>,
    bytes: usize,
    ticks: u64,
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    came: Instant,
    fresh_until: Instant,
    revalidate_until: Instant,
    until: Instant,
    /// Until then another request is expected to bring a new one.
    asked_until: Instant,
    bytes: usize,
    tick: u64,
}

/// An answer that was kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept<T> {
    /// The answer.
    pub value: Arc<T>,
    /// How old it is.
    pub age: Duration,
    /// How long it is still fresh.
    pub fresh_for: Duration,
    /// How long it has been stale.
    pub stale_for: Duration,
}

/// Moments of changes that are remembered.
const CHANGES: usize = 1_024;

/// Where a change of this prefix is remembered.
fn slot(prefix: &[u8]) -> usize {
    // FNV-1a: who makes two prefixes meet only keeps answers from being kept.
    let hash = prefix.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) as usize % CHANGES
}

/// What an entry costs besides its key and its value: two trees' shares, counted generously.
const OVERHEAD: usize = 256;

impl<T> StaleCache<T> {
    /// Empty.
    #[must_use]
    pub fn new(options: StaleOptions) -> Self {
        Self {
            options,
            entries: BTreeMap::new(),
            changed: Vec::new(),
            order: BTreeMap::new(),
            bytes: 0,
            ticks: 0,
        }
    }

    /// Whether what is there for this key came less than `recently` ago: not worth putting in again.
    #[must_use]
    pub fn is_recent(&self, key: &[u8], now: Instant, recently: Duration) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| now.since(entry.came) < recently)
    }

    /// Keeps an answer of `bytes`, which came at `now`. Others go if there are too many; one that is too large is not kept, nor one that
    /// came before the one that is there.
    pub fn put(&mut self, key: &[u8], value: T, bytes: usize, now: Instant, keep_for: KeepFor) {
        if self.entries.get(key).is_some_and(|entry| entry.came > now) {
            return;
        }
        self.remove(key);
        let bytes = bytes.saturating_add(key.len()).saturating_add(OVERHEAD);
        if bytes > self.options.bytes {
            return;
        }
        while self.bytes + bytes > self.options.bytes {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes;
            }
        }
        let key: Arc<[u8]> = key.into();
        self.ticks += 1;
        self.order.insert(self.ticks, Arc::clone(&key));
        self.bytes += bytes;
        let entry = Entry {
            value: Arc::new(value),
            came: now,
            fresh_until: now + keep_for.fresh,
            revalidate_until: now + keep_for.revalidate,
            until: now + keep_for.all,
            asked_until: now,
            bytes,
            tick: self.ticks,
        };
        self.entries.insert(key, entry);
    }

    /// What is there for this key, however old.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<&T> {
        Some(&*self.entries.get(key)?.value)
    }

    /// What may still be shown for this key.
    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<Kept<T>> {
        if self.entries.get(key)?.until <= now {
            self.remove(key);
            return None;
        }
        self.ticks += 1;
        let ticks = self.ticks;
        let entry = self.entries.get_mut(key)?;
        if let Some(name) = self.order.remove(&entry.tick) {
            self.order.insert(ticks, name);
        }
        entry.tick = ticks;
        Some(Kept {
            value: Arc::clone(&entry.value),
            age: now.since(entry.came),
            fresh_for: entry.fresh_until.since(now),
            stale_for: now.since(entry.fresh_until),
        })
    }

    /// What may be shown for this key without asking: it is fresh, or another request is asking. Nothing if the caller is to ask, which may
    /// take it `patience` before another one is to.
    pub fn first(&mut self, key: &[u8], now: Instant, patience: Duration) -> Option<Kept<T>> {
        let (kept, is_turn) = self.first_or_turn(key, now, patience)?;
        (!is_turn).then_some(kept)
    }

    /// What may be shown for this key without asking: it is fresh, or a new one is fetched meanwhile; and whether the caller is the one
    /// that has it fetched, which may take `patience` before another one is to.
    pub fn first_or_turn(
        &mut self,
        key: &[u8],
        now: Instant,
        patience: Duration,
    ) -> Option<(Kept<T>, bool)> {
        let entry = self.entries.get_mut(key)?;
        if now >= entry.fresh_until && now >= entry.revalidate_until {
            return None;
        }
        let is_turn = now >= entry.fresh_until && now >= entry.asked_until;
        if is_turn {
            entry.asked_until = now + patience;
        }
        Some((self.get(key, now)?, is_turn))
    }

    /// Forgets what is there for this key: a newer answer may not be kept.
    pub fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.tick);
            self.bytes -= entry.bytes;
        }
    }

    /// What keys that begin so show has been changed: forgets all of them, and says how many they were. Answers that were asked for
    /// before are [outdated](Self::is_outdated).
    pub fn invalidate(&mut self, prefix: &[u8], now: Instant) -> u64 {
        if self.changed.is_empty() {
            self.changed = vec![Instant::ZERO; CHANGES];
        }
        self.changed[slot(prefix)] = now;
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let keys: Vec<Arc<[u8]>> = (self.entries.range::<[u8], _>(from))
            .map(|(key, _)| Arc::clone(key))
            .take_while(|key| key.starts_with(prefix))
            .collect();
        keys.iter().for_each(|key| self.remove(key));
        keys.len() as u64
    }

    /// Whether what keys with this prefix show has been changed since `asked`, or at that moment: an answer that was asked for then may
    /// be of before. Now and then it says so of others as well, since changes are remembered by a hash.
    #[must_use]
    pub fn is_outdated(&self, prefix: &[u8], asked: Instant) -> bool {
        let changed = self.changed.get(slot(prefix));
        changed.is_some_and(|&changed| changed > Instant::ZERO && changed >= asked)
    }

    /// How many answers there are, and their bytes with what they cost to keep.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second(second: u64) -> Instant {
        Instant::from_millis(second * 1_000)
    }

    fn control(value: &str) -> CacheControl {
        let mut control = CacheControl::default();
        control.read(value.as_bytes());
        control
    }

    fn keep(value: &str) -> Option<u64> {
        let exchanged = Exchanged {
            status: 200,
            control: control(value),
            ..Exchanged::default()
        };
        let kept = exchanged.keep_for(&StaleOptions::default());
        kept.map(|keep| keep.all.as_secs())
    }

    fn for_error_only(seconds: u64) -> KeepFor {
        KeepFor {
            fresh: Duration::ZERO,
            revalidate: Duration::ZERO,
            all: Duration::from_secs(seconds),
        }
    }

    /// RFC 5861, section 3.1: fresh for 600 s, then for another 30 s shown while it is fetched anew.
    #[test]
    fn one_asks_and_the_others_get_what_there_is() {
        let exchanged = Exchanged {
            status: 200,
            control: control("max-age=600, stale-while-revalidate=30"),
            ..Exchanged::default()
        };
        let options = StaleOptions::default();
        let mut cache = StaleCache::new(options);
        let keep_for = exchanged.keep_for(&options).expect("it may be kept");
        cache.put(b"a", 1, 10, second(0), keep_for);
        let patience = Duration::from_secs(5);
        let mut at = |time| {
            cache
                .first(b"a", second(time), patience)
                .map(|kept| kept.fresh_for.as_secs())
        };
        assert_eq!(at(0), Some(600));
        assert_eq!(at(599), Some(1));
        assert_eq!(at(600), None, "this one asks");
        assert_eq!(at(604), Some(0));
        assert_eq!(at(605), None, "who asked did not come back: another one");
        assert_eq!(at(609), Some(0));
        assert_eq!(at(630), None);
        assert_eq!(at(630), None, "too old to be shown while anybody asks");
        assert!(
            cache.get(b"a", second(4_199)).is_some(),
            "but if there is nothing else"
        );
        assert!(cache.get(b"a", second(4_200)).is_none());
        assert!(cache.first(b"b", second(0), patience).is_none());
    }

    #[test]
    fn what_was_old_when_it_came_is_shown_for_less() {
        let with_age = |age| {
            let exchanged = Exchanged {
                status: 200,
                control: control("max-age=60, stale-while-revalidate=30, stale-if-error=100"),
                age: Duration::from_secs(age),
                ..Exchanged::default()
            };
            let keep = exchanged.keep_for(&StaleOptions::default())?;
            Some([keep.fresh, keep.revalidate, keep.all].map(|time| time.as_secs()))
        };
        assert_eq!(with_age(0), Some([60, 90, 160]));
        assert_eq!(with_age(50), Some([10, 40, 110]));
        assert_eq!(with_age(70), Some([0, 20, 90]));
        assert_eq!(with_age(160), None);
    }

    /// One that took long to be read does not take the place of one that was asked for later.
    #[test]
    fn a_newer_answer_stays() {
        let mut cache = StaleCache::new(StaleOptions::default());
        cache.put(b"a", 2, 10, second(5), for_error_only(60));
        cache.put(b"a", 1, 10, second(4), for_error_only(60));
        let kept = cache.get(b"a", second(8)).expect("it is there");
        assert_eq!((*kept.value, kept.age.as_secs()), (2, 3));
        assert_eq!((kept.fresh_for.as_secs(), kept.stale_for.as_secs()), (0, 3));
    }

    #[test]
    fn what_answers_say_of_themselves() {
        assert_eq!(keep(""), Some(3_600));
        assert_eq!(keep("max-age=60"), Some(3_660));
        assert_eq!(keep("Max-Age = \"60\" , stale-if-error=10"), Some(70));
        assert_eq!(keep("max-age=0, stale-if-error=0"), None);
        assert_eq!(
            keep("max-age=99999999999999999999"),
            Some(365 * 86_400 + 3_600)
        );
        for forbidden in [
            "no-store",
            "public, private",
            "private=\"x-field\"",
            "NO-CACHE",
            "max-age=60, must-revalidate",
            "proxy-revalidate",
            "s-maxage=60",
            "max-age=-1",
            "max-age",
            "stale-if-error=soon",
        ] {
            assert_eq!(keep(forbidden), None, "{forbidden}");
        }
    }

    #[test]
    fn what_is_of_one_client_only_is_not_kept() {
        let plain = Exchanged {
            status: 200,
            ..Exchanged::default()
        };
        let options = StaleOptions::default();
        assert!(plain.keep_for(&options).is_some());
        let known = Exchanged {
            knows_client: true,
            ..plain
        };
        assert_eq!(known.keep_for(&options), None);
        let public = Exchanged {
            control: control("public"),
            ..known
        };
        assert!(public.keep_for(&options).is_some());
        for refused in [
            Exchanged {
                status: 404,
                ..plain
            },
            Exchanged {
                status: 206,
                ..plain
            },
            Exchanged {
                is_special: true,
                ..public
            },
            Exchanged {
                sets_cookie: true,
                ..public
            },
            Exchanged {
                varies: true,
                ..public
            },
        ] {
            assert_eq!(refused.keep_for(&options), None, "{refused:?}");
        }
    }

    /// RFC 9111, section 5.2.1.
    #[test]
    fn what_requests_ask_for() {
        let takes = |value: &str, age: u64, fresh_for: u64| {
            let mut control = RequestControl::default();
            control.read(value.as_bytes());
            control.takes(Duration::from_secs(age), Duration::from_secs(fresh_for))
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
            assert_eq!(takes(value, age, fresh_for), expected, "{value}");
        }
    }

    /// RFC 9111, section 4.4.
    #[test]
    fn a_change_forgets_what_begins_so_and_what_was_asked_for_before() {
        let mut cache = StaleCache::new(StaleOptions::default());
        assert!(!cache.is_outdated(b"a\0", second(0)), "nothing has changed");
        for key in [&b"a\0x"[..], b"a\0y", b"a", b"ab\0x", b"A\0x"] {
            cache.put(key, (), 10, second(1), for_error_only(60));
        }
        assert_eq!(cache.invalidate(b"a\0", second(5)), 2);
        assert_eq!(cache.invalidate(b"a\0", second(5)), 0);
        assert_eq!(cache.size().0, 3);
        assert!(cache.peek(b"a\0y").is_none() && cache.peek(b"ab\0x").is_some());
        for (asked, outdated) in [(4, true), (5, true), (6, false)] {
            assert_eq!(
                cache.is_outdated(b"a\0", second(asked)),
                outdated,
                "{asked}"
            );
        }
        assert!(!cache.is_outdated(b"b\0", second(4)));
    }

    #[test]
    fn the_least_wanted_goes_first() {
        let options = StaleOptions {
            bytes: 3 * (OVERHEAD + 101),
            ..StaleOptions::default()
        };
        let mut cache = StaleCache::new(options);
        let hour = for_error_only(3_600);
        for key in [b"a", b"b", b"c"] {
            cache.put(key, key[0], 100, second(1), hour);
        }
        assert_eq!(
            cache
                .get(b"a", second(2))
                .map(|kept| (*kept.value, kept.age.as_secs())),
            Some((b'a', 1))
        );
        cache.put(b"d", b'd', 100, second(3), hour);
        assert!(cache.get(b"b", second(4)).is_none(), "it was not wanted");
        assert!(cache.get(b"a", second(4)).is_some());
        cache.put(b"e", b'e', 10_000, second(5), hour);
        assert_eq!(cache.size().0, 3, "one that is too large drives nobody out");
        assert!(cache.get(b"a", second(3_600)).is_some());
        assert!(cache.get(b"a", second(3_601)).is_none(), "its time is over");
        assert!(cache.is_recent(b"d", second(3), Duration::from_secs(1)));
        assert!(!cache.is_recent(b"d", second(4), Duration::from_secs(1)));
        cache.remove(b"d");
        cache.remove(b"c");
        assert_eq!(cache.size(), (0, 0));
    }

    proptest! {
        /// Whatever is put in and asked for: the bytes are those of what is there, and never too many.
        #[test]
        fn bytes_are_bounded(steps in proptest::collection::vec((0_u8..3, 0_u8..12, 0_usize..900), 1..200)) {
            let options = StaleOptions { bytes: 4_000, ..StaleOptions::default() };
            let mut cache = StaleCache::new(options);
            for (time, (what, key, bytes)) in (1..).zip(steps) {
                match what {
                    0 => drop(cache.get(&[key], second(time))),
                    1 => cache.remove(&[key]),
                    _ => cache.put(&[key], (), bytes, second(time), for_error_only(50)),
                }
                let sum: usize = cache.entries.values().map(|entry| entry.bytes).sum();
                prop_assert_eq!(sum, cache.bytes);
                prop_assert!(cache.bytes <= 4_000);
                prop_assert_eq!(cache.order.len(), cache.entries.len());
            }
        }
    }
}
