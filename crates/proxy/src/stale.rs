//! Old answers of a service, kept for when it has no new one. Servers are asked first, unless `answer_first` says otherwise.
//!
//! Only what has come as a whole is kept ([`crate::keep`]). Which may be is decided by [`evenkeel_tolerate::stale`]. Shared by all workers, under a lock that is taken when an answer is put in (one of the same key at most
//! once a second) and when one is missing.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::metric::{Counter, Sink};
use evenkeel_http1::{Field, FieldKind, ResponseHead, write};
use evenkeel_request::Policies;
use evenkeel_request::exchange::NoResponse;
use evenkeel_tolerate::StaleOptions;
use evenkeel_tolerate::stale::{CacheControl, Exchanged, KeepFor, Kept, StaleCache};

use crate::cache_request::{CacheKey, CacheRequest};
use crate::context::RequestContext;
use crate::date::{self, DateText};
use crate::edit::{Answerer, Edits};
use crate::fallback::write_why;
use crate::own;
use crate::renew::RENEWALS;
use crate::state::ProxyState;

/// An answer is not put in again so soon after the last one.
const RECENTLY: Duration = Duration::from_secs(1);

/// A service's old answers.
#[derive(Debug)]
pub(crate) struct Stale {
    options: StaleOptions,
    cache: Mutex<StaleCache<Answer>>,
    /// Answers that were shown without asking, by [`FIRST`].
    first: [Counter; FIRST.len()],
    /// Fetches under way.
    pub(crate) renewing: AtomicU32,
    /// Fetches, by [`RENEWALS`].
    pub(crate) renewals: [Counter; RENEWALS.len()],
    /// Answers that requests made out of date.
    invalidated: Counter,
}

/// How old answers were that were shown without asking.
const FIRST: [&str; 2] = ["fresh", "while-revalidating"];

/// An answer as it is kept.
pub(crate) struct Answer {
    status: u16,
    /// It may be shown to whoever is known, too.
    is_public: bool,
    /// How old it was when it came.
    age: Duration,
    /// The lines of its header that can be passed on.
    lines: Vec<u8>,
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
            cache: Mutex::new(StaleCache::new(options)),
            first: Default::default(),
            renewing: AtomicU32::new(0),
            renewals: Default::default(),
            invalidated: Counter::default(),
            options,
        }
    }

    /// The most bytes of body of an answer.
    pub(crate) const fn most(&self) -> usize {
        self.options.object
    }

    /// For how long this answer may be kept, if it may. What there is of before goes if the answer says that it may not.
    pub(crate) fn keep_for(&self, key: CacheKey<'_>, exchanged: &Exchanged) -> Option<KeepFor> {
        let keep_for = exchanged.keep_for(&self.options);
        if keep_for.is_none() && exchanged.status < 400 && exchanged.answer_forbids() {
            self.cache().remove(key.all);
        }
        keep_for
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
        keep_for: KeepFor,
    ) {
        let size = answer.lines.len() + answer.body.len();
        let mut cache = self.cache();
        if !cache.is_outdated(key.address(), asked) {
            cache.put(key.all, answer, size, came, keep_for);
        }
    }

    fn cache(&self) -> MutexGuard<'_, StaleCache<Answer>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn control(fields: &[Field], bytes: &[u8]) -> CacheControl {
    let mut control = CacheControl::default();
    for field in fields {
        if field.name.of(bytes).eq_ignore_ascii_case(b"cache-control") {
            control.read(field.value.of(bytes));
        }
    }
    control
}

/// What there is to know of the answer whose head has come, to a request that says who asks, or that is special.
pub(crate) fn exchanged(
    (knows_client, is_special): (bool, bool),
    head: &ResponseHead,
    bytes: &[u8],
) -> Exchanged {
    // `Accept-Encoding` is part of the key.
    let varies = |field: &Field| {
        field.name.of(bytes).eq_ignore_ascii_case(b"vary")
            && !field
                .value
                .of(bytes)
                .eq_ignore_ascii_case(b"accept-encoding")
    };
    Exchanged {
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
    pub(crate) fn old_answer(&self, wanted: &CacheRequest, now: Instant) -> Option<Kept<Answer>> {
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
    ) -> Option<(Kept<Answer>, bool)> {
        let fallback = policies.fallback.as_ref()?;
        if !fallback.stale.is_some_and(|stale| stale.answer_first) {
            return None;
        }
        let key = wanted.key()?.all;
        let (knows_client, _) = wanted.asked();
        let mut cache = self.cache();
        let kept = cache.get(key, now)?;
        let age = kept.value.age + kept.age;
        if !wanted.takes_first(age, kept.fresh_for) || (knows_client && !kept.value.is_public) {
            return None;
        }
        let patience = policies.timeout.attempt;
        let (kept, is_turn) = cache.first_or_turn(key, now, patience)?;
        self.first[usize::from(kept.fresh_for.is_zero())].add(1);
        Some((kept, is_turn))
    }
}

impl RequestContext<'_> {
    /// Writes a kept answer to `out`, and its status. Without `why` it is a cache's answer (RFC 9211).
    pub(crate) fn compose_old(
        &self,
        out: &mut Vec<u8>,
        kept: &Kept<Answer>,
        why: Option<NoResponse>,
        (peer, keep_alive): (IpAddr, bool),
    ) -> u16 {
        let answer = &kept.value;
        out.clear();
        out.extend_from_slice(b"HTTP/1.1 ");
        write::decimal(out, u64::from(answer.status));
        out.push(b' ');
        out.extend_from_slice(write::reason(answer.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        let entry = self.entry();
        let edits = Edits::of_response(entry, self.route);
        for line in answer.lines.split_inclusive(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if !edits.is_some_and(|edits| edits.drops(name)) {
                out.extend_from_slice(line);
            }
        }
        if let Some(edits) = edits {
            let answerer = Answerer {
                peer,
                id: self.id,
                service: entry.name(),
                server: "",
            };
            edits.write_response(out, answerer);
        }
        out.extend_from_slice(b"content-length: ");
        write::decimal(out, answer.body.len() as u64);
        out.extend_from_slice(b"\r\nage: ");
        write::decimal(out, (answer.age + kept.age).as_secs());
        match why {
            None => {
                // Below nothing when it is stale (RFC 9211, section 2.4).
                out.extend_from_slice(b"\r\ncache-status: evenkeel; hit; ttl=");
                if kept.stale_for.as_secs() > 0 {
                    out.push(b'-');
                }
                write::decimal(out, kept.fresh_for.max(kept.stale_for).as_secs());
            }
            Some(why) => {
                out.extend_from_slice(b"\r\nproxy-status: evenkeel; ");
                write_why(why, out);
            }
        }
        out.extend_from_slice(b"\r\nx-request-id: ");
        self.id.write(out);
        out.extend_from_slice(b"\r\n");
        own::write_connection(out, self.version, keep_alive);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&answer.body);
        answer.status
    }
}

impl ProxyState {
    /// Forgets what is kept for an address, in every service: another one may have been asked for it.
    pub(crate) fn invalidate(&self, address: &[u8], now: Instant) {
        for stale in (self.services().iter()).filter_map(|service| service.stale.as_ref()) {
            let forgotten = stale.cache().invalidate(address, now);
            stale.invalidated.add(forgotten);
        }
    }

    pub(crate) fn collect_stale(&self, sink: &mut dyn Sink) {
        for service in self.services() {
            let Some(stale) = &service.stale else {
                continue;
            };
            let (answers, bytes) = stale.cache().size();
            let labels = [("service", service.name())];
            let about = "Old answers that are kept for when there is no new one.";
            sink.gauge("evenkeel_stale_answers", about, &labels, answers as f64);
            for (result, counter) in FIRST.iter().zip(&stale.first) {
                let labels = [("service", service.name()), ("result", *result)];
                let about =
                    "Requests that were answered from what is kept, without asking a server.";
                sink.counter(
                    "evenkeel_stale_first_total",
                    about,
                    &labels,
                    counter.value(),
                );
            }
            for (result, counter) in RENEWALS.iter().zip(&stale.renewals) {
                let labels = [("service", service.name()), ("result", *result)];
                let about = "Answers that were to be fetched anew while the old ones were shown, by what became of it.";
                sink.counter(
                    "evenkeel_stale_renewals_total",
                    about,
                    &labels,
                    counter.value(),
                );
            }
            let about =
                "Kept answers that were forgotten because a request changed what they show.";
            let forgotten = stale.invalidated.value();
            sink.counter(
                "evenkeel_stale_invalidated_total",
                about,
                &labels,
                forgotten,
            );
            let about = "Bytes of old answers that are kept.";
            sink.gauge("evenkeel_stale_bytes", about, &labels, bytes as f64);
        }
    }
}
