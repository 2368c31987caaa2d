//! What is refused before it costs a server anything: requests over a rate limit, a class whose share is used, and a part of the requests to a
//! service that refuses most of what it gets.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_balance::Pool;
use evenkeel_core::metric::{Counter, Sink};
use evenkeel_core::{Instant, Outcome, Random};
use evenkeel_tolerate::throttle::SreOptions;
use evenkeel_tolerate::{
    Class, KeyedRate, KeyedRateOptions, Rate, ShedOptions, Throttle, ThrottleOptions,
};

use super::queue::WaitQueue;
use crate::route::{RateRule, Route};
use crate::{Cause, RequestView};

/// What a service refuses at once.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmissionOptions {
    /// The field of requests that says how much they matter, in lower case.
    pub class_header: Option<String>,
    /// The class of requests that do not say it.
    pub class: Class,
    /// How much of the servers' limits each class may use.
    pub shares: ShedOptions,
    /// How many requests a second may come.
    pub rate: Option<RateRule>,
    /// When a part of the requests is refused because the servers refuse most.
    pub throttle: Option<SreOptions>,
}

/// What a service refuses at once, and counts.
#[derive(Debug)]
pub struct Admission {
    options: AdmissionOptions,
    rate: Option<Arc<RateLimiter>>,
    throttle: Option<Arc<Throttle>>,
    counts: Arc<AdmissionCounts>,
}

/// What was refused, since the service was made.
#[derive(Debug, Default)]
struct AdmissionCounts {
    /// By class.
    shed: [Counter; Class::ALL.len()],
    limited: AtomicU64,
}

/// A rate limit of a service or of a route.
#[derive(Debug)]
pub struct RateLimiter {
    rule: RateRule,
    tokens: Tokens,
}

/// The tokens of a rate limit.
#[derive(Debug)]
enum Tokens {
    /// Of all requests.
    All(Rate),
    /// Of each value of what requests are told apart by.
    Keyed(KeyedRate<u64>),
}

impl RateLimiter {
    /// By this rule; what is random in it is seeded by `random`.
    #[must_use]
    pub fn new(rule: &RateRule, random: &mut Random) -> Self {
        let tokens = match &rule.by {
            None => Tokens::All(Rate::new(rule.rate)),
            Some(_) => {
                let options = KeyedRateOptions {
                    rate: rule.rate,
                    ..KeyedRateOptions::default()
                };
                Tokens::Keyed(KeyedRate::new(options, random.bits()))
            }
        };
        let rule = rule.clone();
        Self { rule, tokens }
    }

    /// What limits by `rule` after `before` has. It stays as it is if its rule does, and keeps tokens and debts under another rate if
    /// requests are told apart as before.
    #[must_use]
    pub fn follow(
        before: Option<&Arc<Self>>,
        rule: Option<&RateRule>,
        now: Instant,
        random: &mut Random,
    ) -> Option<Arc<Self>> {
        let rule = rule?;
        let before = before.filter(|before| before.rule.by == rule.by);
        Some(match before {
            None => Arc::new(Self::new(rule, random)),
            Some(before) if before.rule == *rule => Arc::clone(before),
            Some(before) => Arc::new(Self {
                rule: rule.clone(),
                tokens: match &before.tokens {
                    Tokens::All(rate) => Tokens::All(rate.continued(rule.rate, now)),
                    Tokens::Keyed(rates) => Tokens::Keyed(rates.continued(rule.rate, now)),
                },
            }),
        })
    }

    /// Lets a request of this client pass.
    ///
    /// # Errors
    /// How long until one like it could.
    fn take(
        &self,
        now: Instant,
        head: &impl RequestView,
        peer: Option<IpAddr>,
    ) -> Result<(), Duration> {
        match &self.tokens {
            Tokens::All(rate) => rate.take(now),
            Tokens::Keyed(rates) => {
                let by = self.rule.by.as_ref();
                let key = by.and_then(|by| by.key(head, peer));
                rates.take(&key.unwrap_or(0), now)
            }
        }
    }
}

impl Admission {
    pub(super) fn new(options: AdmissionOptions, random: &mut Random) -> Self {
        let rate = options.rate.as_ref();
        let throttle = options.throttle.map(ThrottleOptions::Sre);
        Self {
            rate: rate.map(|rule| Arc::new(RateLimiter::new(rule, random))),
            throttle: throttle.map(|options| Arc::new(Throttle::new(options))),
            counts: Arc::default(),
            options,
        }
    }

    /// What follows it with these options, and counts on.
    pub(super) fn reconfigured(
        &self,
        options: AdmissionOptions,
        now: Instant,
        random: &mut Random,
    ) -> Self {
        let throttle = match (&self.throttle, options.throttle) {
            (Some(before), sre) if sre == self.options.throttle => Some(Arc::clone(before)),
            (_, None) => None,
            (None, Some(sre)) => Some(Arc::new(Throttle::new(ThrottleOptions::Sre(sre)))),
            (Some(before), Some(sre)) => {
                Some(Arc::new(before.continued(ThrottleOptions::Sre(sre), now)))
            }
        };
        Self {
            rate: RateLimiter::follow(self.rate.as_ref(), options.rate.as_ref(), now, random),
            throttle,
            counts: Arc::clone(&self.counts),
            options,
        }
    }

    /// The class of a request: what its route says, else what it says itself, else what the service says.
    #[must_use]
    pub fn class(&self, route: Option<&Route>, head: &impl RequestView) -> Class {
        if let Some(class) = route.and_then(|route| route.class) {
            return class;
        }
        let Some(header) = &self.options.class_header else {
            return self.options.class;
        };
        let mut said = None;
        head.any_value(header, &mut |value| {
            said = std::str::from_utf8(value)
                .ok()
                .and_then(|word| word.parse().ok());
            true
        });
        said.unwrap_or(self.options.class)
    }

    /// Why a request of this client is over a rate limit, if it is: that of its route, or that of the service.
    #[must_use]
    pub fn rate_limited(
        &self,
        of_route: Option<&RateLimiter>,
        now: Instant,
        head: &impl RequestView,
        peer: Option<IpAddr>,
    ) -> Option<Cause> {
        // What its route refuses takes nothing from the service's other requests.
        let mut limiters = of_route.into_iter().chain(self.rate.as_deref());
        let wait = limiters.find_map(|limiter| limiter.take(now, head, peer).err())?;
        self.counts.limited.fetch_add(1, Ordering::Relaxed);
        Some(Cause::RateLimited {
            seconds: whole_seconds(wait),
        })
    }

    /// Whether another attempt of this class may be made now. While the queue takes up a burst no class is refused: those that matter
    /// less wait behind the others.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn attempt(
        &self,
        room: (&Pool, &WaitQueue),
        class: Class,
        now: Instant,
        random: &mut Random,
    ) -> Result<(), Cause> {
        if self.is_share_used(room, class, now) {
            self.counts.shed[class.index()].add(1);
            return Err(Cause::Shed);
        }
        match self.throttle_allows(now, random) {
            true => Ok(()),
            false => Err(Cause::Throttled),
        }
    }

    /// The same for a hedged attempt, without which the request goes on: no request is counted as refused.
    pub(crate) fn hedge(
        &self,
        room: (&Pool, &WaitQueue),
        class: Class,
        now: Instant,
        random: &mut Random,
    ) -> bool {
        !self.is_share_used(room, class, now) && self.throttle_allows(now, random)
    }

    fn is_share_used(
        &self,
        (pool, queue): (&Pool, &WaitQueue),
        class: Class,
        now: Instant,
    ) -> bool {
        if self.options.shares.share(class) >= 1.0 {
            return false;
        }
        let (used, bounds) = pool.used(now);
        // Where no server is in service there is nothing to have a share of: what becomes of the request is decided behind this.
        let bounds = bounds.filter(|bounds| *bounds > 0);
        let is_over = bounds.is_some_and(|bounds| !self.options.shares.admits(class, used, bounds));
        is_over && !queue.takes_up_burst()
    }

    fn throttle_allows(&self, now: Instant, random: &mut Random) -> bool {
        (self.throttle.as_ref()).is_none_or(|throttle| throttle.allow(now, random))
    }

    /// How many were refused since their class's share was used.
    pub(super) fn shed(&self) -> u64 {
        self.counts.shed.iter().map(Counter::value).sum()
    }

    /// An attempt has ended like this.
    pub(crate) fn ended(&self, now: Instant, outcome: Outcome) {
        // What evenkeel itself lacked, or gave up, is neither a refusal nor an answer, and neither is what the client or a quicker
        // attempt broke off. Nor is a refused stream: it is sent again at once, and what counts is how that ends.
        if matches!(
            outcome,
            Outcome::LocalError
                | Outcome::Rescued
                | Outcome::Cancelled
                | Outcome::Superseded
                | Outcome::StreamRefused
        ) {
            return;
        }
        if let Some(throttle) = &self.throttle {
            let refused = matches!(outcome, Outcome::Answered(429 | 503))
                || (outcome.is_failure() && !matches!(outcome, Outcome::Answered(_)));
            throttle.note(now, !refused);
        }
    }

    /// Whether the service itself has a rate limit.
    pub(super) const fn has_rate(&self) -> bool {
        self.rate.is_some()
    }

    pub(super) fn collect(&self, sink: &mut dyn Sink, service: &str, now: Instant, has_rate: bool) {
        for class in Class::ALL {
            let value = self.counts.shed[class.index()].value();
            if value > 0 || self.options.shares.share(class) < 1.0 {
                let labels = [("service", service), ("class", class.word())];
                let about = "Requests that were refused because their class's share of the servers was used.";
                sink.counter("evenkeel_shed_total", about, &labels, value);
            }
        }
        let labels = [("service", service)];
        if has_rate {
            let value = self.counts.limited.load(Ordering::Relaxed);
            let about = "Requests that were refused because there were too many in a second.";
            sink.counter("evenkeel_rate_limited_total", about, &labels, value);
        }
        if let Some(throttle) = &self.throttle {
            let now = throttle.snapshot(now);
            let about = "Requests that were refused because the servers refuse most.";
            sink.counter("evenkeel_throttled_total", about, &labels, now.refused);
            let about =
                "The share of requests that is refused now because the servers refuse most.";
            sink.gauge("evenkeel_throttle_refusing", about, &labels, now.refusing);
        }
    }
}

/// As Retry-After has it: whole seconds, at least one.
fn whole_seconds(wait: Duration) -> u32 {
    let up = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(up.clamp(1, 3_600)).unwrap_or(3_600)
}

#[cfg(test)]
mod tests {
    use evenkeel_core::{Directive, EjectionReason, ServerId};

    use super::*;
    use crate::service::Service;
    use crate::service::tests::options;

    #[test]
    fn what_was_broken_off_is_neither_accepted_nor_refused() {
        let mut random = Random::seeded(1);
        let mut throttled = options(1);
        throttled.admission.throttle = Some(SreOptions::default());
        let now = Instant::from_millis(1_000);
        let service = Service::new(throttled, now, &mut random);
        let admission = service.admission();
        let refusing = || {
            let throttle = admission.throttle.as_ref().expect("it has one");
            throttle.snapshot(now).refusing
        };
        for _ in 0..50 {
            admission.ended(now, Outcome::Answered(503));
        }
        let before = refusing();
        assert!(before > 0.5, "{before}");
        for _ in 0..500 {
            admission.ended(now, Outcome::Cancelled);
        }
        assert!((refusing() - before).abs() < 1e-9, "{}", refusing());
    }

    #[test]
    fn a_class_is_shed_only_where_servers_have_limits_and_are_in_service() {
        let mut random = Random::seeded(1);
        let mut limited = options(1);
        limited.servers[0].max_requests = 1;
        let now = Instant::ZERO;
        for (options, is_out, is_shed) in [
            (options(1), false, false),
            (options(1), true, false),
            (limited.clone(), false, true),
            (limited, true, false),
        ] {
            let service = Service::new(options, now, &mut random);
            let set = service.servers();
            assert!(set.pool().members()[0].begin());
            if is_out {
                let eject = Directive::Eject {
                    server: ServerId::new(0, 0),
                    verdict: EjectionReason::Known,
                    until: Instant::NEVER,
                };
                service.apply(&eject, now);
            }
            let admission = service.admission();
            let admitted = admission.attempt(
                (set.pool(), &*service.queue),
                Class::Sheddable,
                now,
                &mut random,
            );
            let expected = if is_shed { Err(Cause::Shed) } else { Ok(()) };
            assert_eq!(admitted, expected, "out: {is_out}, shed: {is_shed}");
            let important = admission.attempt(
                (set.pool(), &*service.queue),
                Class::Critical,
                now,
                &mut random,
            );
            assert_eq!(important, Ok(()));
        }
    }
}
