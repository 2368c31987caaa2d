//! Old answers of a service, kept for when it has no new one. Servers are asked first, unless `answer_first` says otherwise.
//!
//! Only what has come as a whole is kept ([`crate::cache::fill`]). Which may be is decided by [`evenkeel_request::cache`]. Shared by all workers, under a lock that is taken when an answer is put in (one of the same key at most
//! once a second) and when one is missing.

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::metric::Counter;
use evenkeel_http1::{Field, FieldKind, ResponseHead};
use evenkeel_request::Policies;
use evenkeel_request::cache::{
    Lifetimes, ResponseCache, ResponseCacheControl, ResponseFacts, Servable, StoredValue,
};
use evenkeel_tolerate::StaleOptions;

use crate::cache::key::{CacheKey, CacheRequest};
use crate::worker::date::{self, DateText};

/// What became of fetches, by the index in [`Stale::renewals`].
pub(crate) const RENEWALS: [&str; 4] = ["kept", "not-kept", "failed", "left-out-busy"];

/// An answer is not put in again so soon after the last one.
const RECENTLY: Duration = Duration::from_secs(1);

/// A service's old answers.
#[derive(Debug)]
pub(crate) struct Stale {
    options: StaleOptions,
    cache: Mutex<ResponseCache<Answer>>,
    /// Answers that were shown without asking, by [`FIRST`].
    pub(crate) first: [Counter; FIRST.len()],
    /// Fetches under way.
    pub(crate) renewing: AtomicU32,
    /// Fetches, by [`RENEWALS`].
    pub(crate) renewals: [Counter; RENEWALS.len()],
    /// Answers that requests made out of date.
    pub(crate) invalidated: Counter,
}

/// How old answers were that were shown without asking.
pub(crate) const FIRST: [&str; 2] = ["fresh", "while-revalidating"];

/// An answer as it is kept.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// It may be shown to whoever is known, too.
    pub(crate) is_public: bool,
    /// How old it was when it came.
    pub(crate) age: Duration,
    /// The lines of its header that can be passed on.
    pub(crate) lines: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// One with this head, whose body is still to come.
    ///
    /// `date`: when it came, for one that does not say when it was made (RFC 9110 section 6.6.1).
    pub(crate) fn of(head: &ResponseHead, bytes: &[u8], date: &DateText) -> Self {
        let mut lines = Vec::new();
        let passes = |field: &&Field| {
            matches!(
                field.kind,
                FieldKind::Other | FieldKind::Date | FieldKind::Server
            ) && !field.name.of(bytes).eq_ignore_ascii_case(b"age")
        };
        for field in head.fields.iter().filter(passes) {
            lines.extend_from_slice(field.line.of(bytes));
        }
        if !head
            .fields
            .iter()
            .any(|field| field.kind == FieldKind::Date)
        {
            date::write(&mut lines, date);
        }
        Self {
            status: head.status,
            is_public: control(&head.fields, bytes).is_public,
            age: age(head, bytes),
            lines,
            body: Vec::new(),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What clients read is nobody else's business.
        write!(to, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

impl Stale {
    pub(crate) fn new(options: StaleOptions) -> Self {
        Self {
            cache: Mutex::new(ResponseCache::new(&options)),
            first: Default::default(),
            renewing: AtomicU32::new(0),
            renewals: Default::default(),
            invalidated: Counter::default(),
            options,
        }
    }

    /// How old answers are kept.
    pub(crate) const fn options(&self) -> StaleOptions {
        self.options
    }

    /// The most bytes of body of an answer.
    pub(crate) const fn most(&self) -> usize {
        self.options.object
    }

    /// For how long this answer may be kept, if it may. What there is of before goes if the answer says that it may not.
    pub(crate) fn lifetimes(&self, key: CacheKey<'_>, facts: &ResponseFacts) -> Option<Lifetimes> {
        let lifetimes = facts.lifetimes(&self.options);
        if lifetimes.is_none() && facts.status < 400 && facts.response_forbids_storing() {
            self.cache().remove(key.all);
        }
        lifetimes
    }

    /// Whether the answer that is there came a moment ago.
    pub(crate) fn is_recent(&self, key: CacheKey<'_>, now: Instant) -> bool {
        self.cache().is_recent(key.all, now, RECENTLY)
    }

    /// Keeps an answer whose head came at `came`, to a request that came at `asked`: not if its address has been changed since.
    pub(crate) fn put(
        &self,
        key: CacheKey<'_>,
        answer: Answer,
        (asked, came): (Instant, Instant),
        lifetimes: Lifetimes,
    ) {
        let size = answer.lines.len() + answer.body.len();
        let mut cache = self.cache();
        if !cache.is_outdated(key.address(), asked) {
            cache.put(key.all, answer, size, came, lifetimes);
        }
    }

    fn cache(&self) -> MutexGuard<'_, ResponseCache<Answer>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn control(fields: &[Field], bytes: &[u8]) -> ResponseCacheControl {
    let mut control = ResponseCacheControl::default();
    for field in fields {
        if field.name.of(bytes).eq_ignore_ascii_case(b"cache-control") {
            control.read(field.value.of(bytes));
        }
    }
    control
}

/// What there is to know of the answer whose head has come, to a request that says who asks, or that is special.
pub(crate) fn response_facts(
    (knows_client, is_special): (bool, bool),
    head: &ResponseHead,
    bytes: &[u8],
) -> ResponseFacts {
    // `Accept-Encoding` is part of the key.
    let varies = |field: &Field| {
        field.name.of(bytes).eq_ignore_ascii_case(b"vary")
            && !field
                .value
                .of(bytes)
                .eq_ignore_ascii_case(b"accept-encoding")
    };
    ResponseFacts {
        status: head.status,
        knows_client,
        is_special,
        sets_cookie: head.header(bytes, "set-cookie").is_some(),
        varies: head.fields.iter().any(varies),
        control: control(&head.fields, bytes),
        age: age(head, bytes),
    }
}

/// How old the answer says it is. What is no number says nothing; more than a year is a year.
fn age(head: &ResponseHead, bytes: &[u8]) -> Duration {
    const YEAR: u64 = 365 * 86_400;
    let digits = head.header(bytes, "age").unwrap_or_default();
    if !digits.iter().all(u8::is_ascii_digit) {
        return Duration::ZERO;
    }
    let seconds = digits.iter().fold(0_u64, |number, digit| {
        (number * 10 + u64::from(digit - b'0')).min(YEAR)
    });
    Duration::from_secs(seconds)
}

impl Stale {
    /// The old answer for this request, if there is one that may be shown.
    pub(crate) fn old_answer(
        &self,
        wanted: &CacheRequest,
        now: Instant,
    ) -> Option<StoredValue<Answer>> {
        if !wanted.takes_old() {
            return None;
        }
        self.cache().get(wanted.key()?.all, now)
    }

    /// The answer that may be shown without asking a server, if there is one: a fresh one, or an old one while a new one is fetched; and
    /// whether this request is the one that has it fetched.
    pub(crate) fn first_answer(
        &self,
        wanted: &CacheRequest,
        policies: &Policies,
        now: Instant,
    ) -> Option<Servable<Answer>> {
        let fallback = policies.fallback.as_ref()?;
        if !fallback.stale.is_some_and(|stale| stale.answer_first) {
            return None;
        }
        let key = wanted.key()?.all;
        let (knows_client, _) = wanted.asked();
        let mut cache = self.cache();
        let stored = cache.get(key, now)?;
        let age = stored.value.age + stored.age;
        if !wanted.takes_first(age, stored.fresh_for) || (knows_client && !stored.value.is_public) {
            return None;
        }
        let deadlines = policies.timeout.attempt;
        let servable = cache.get_servable(key, now, deadlines)?;
        self.first[usize::from(servable.stored.fresh_for.is_zero())].add(1);
        Some(servable)
    }
}

impl Stale {
    /// Forgets what is kept for an address.
    pub(crate) fn invalidate(&self, address: &[u8], now: Instant) {
        let forgotten = self.cache().invalidate(address, now);
        self.invalidated.add(forgotten);
    }

    /// How many answers are kept, and how many bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.cache().size()
    }
}
