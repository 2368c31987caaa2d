//! What is refused before it costs a server anything: too many a second, a class whose share is used, a service that refuses
//! most of what it gets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_balance::Pool;
use evenkeel_config::plan::LimitPlan;
use evenkeel_core::metric::{Counter, Sink};
use evenkeel_core::{Instant, Outcome, Random, ServiceId};
use evenkeel_request::route::{RateRule, Route};
use evenkeel_request::{Cause, HashOn, Head as _};
use evenkeel_tolerate::{
    Class, KeyedRate, KeyedRateOptions, Rate, ShedOptions, Throttle, ThrottleOptions,
};

use crate::client::Client;
use crate::state::ProxyState;
use crate::view::View;
use crate::worker::Workspace;

/// What a service refuses at once, and why.
#[derive(Debug)]
pub(crate) struct Admission {
    class_header: Option<String>,
    class: Class,
    shares: ShedOptions,
    rate: Option<RateGate>,
    throttle: Option<Throttle>,
    /// By class.
    shed: [Counter; Class::ALL.len()],
    limited: AtomicU64,
}

/// How many a second, of a service or of a route.
#[derive(Debug)]
pub(crate) enum RateGate {
    All(Rate),
    By(HashOn, KeyedRate<u64>),
}

impl RateGate {
    pub(crate) fn new(rule: &RateRule, random: &mut Random) -> Self {
        match &rule.by {
            None => Self::All(Rate::new(rule.rate)),
            Some(by) => {
                let options = KeyedRateOptions {
                    rate: rule.rate,
                    ..KeyedRateOptions::default()
                };
                Self::By(by.clone(), KeyedRate::new(options, random.bits()))
            }
        }
    }

    /// Lets the request whose head is in `work` pass.
    ///
    /// # Errors
    /// How long until one like it could.
    fn take(&self, now: Instant, client: &Client, work: &Workspace) -> Result<(), Duration> {
        match self {
            Self::All(rate) => rate.take(now),
            Self::By(by, rates) => {
                let view = View {
                    head: &work.request,
                    bytes: client.buffer.unread(),
                };
                rates.take(&by.key(&view, client.peer).unwrap_or(0), now)
            }
        }
    }
}

impl Admission {
    pub(crate) fn new(plan: &LimitPlan, random: &mut Random) -> Self {
        Self {
            class_header: plan.class_header.clone(),
            class: plan.class,
            shares: plan.shares,
            rate: plan.rate.as_ref().map(|rate| RateGate::new(rate, random)),
            throttle: (plan.throttle).map(|sre| Throttle::new(ThrottleOptions::Sre(sre))),
            shed: Default::default(),
            limited: AtomicU64::new(0),
        }
    }

    /// How much the request whose head is in `work` matters: what its route says, else what it says itself, else what the service says.
    pub(crate) fn class(&self, route: Option<&Route>, client: &Client, work: &Workspace) -> Class {
        if let Some(class) = route.and_then(|route| route.class) {
            return class;
        }
        let Some(header) = &self.class_header else {
            return self.class;
        };
        let view = View {
            head: &work.request,
            bytes: client.buffer.unread(),
        };
        let mut said = None;
        view.any_value(header, &mut |value| {
            said = std::str::from_utf8(value)
                .ok()
                .and_then(|word| word.parse().ok());
            true
        });
        said.unwrap_or(self.class)
    }

    /// Why the request whose head is in `work` is one too many a second, if it is: for its route, or for the service.
    pub(crate) fn one_too_many(
        &self,
        of_route: Option<&RateGate>,
        now: Instant,
        client: &Client,
        work: &Workspace,
    ) -> Option<Cause> {
        // What its route refuses takes nothing from the service's other requests.
        let mut gates = of_route.into_iter().chain(&self.rate);
        let wait = gates.find_map(|gate| gate.take(now, client, work).err())?;
        self.limited.fetch_add(1, Ordering::Relaxed);
        Some(Cause::RateLimited {
            seconds: whole_seconds(wait),
        })
    }

    /// Whether another attempt of this class may be made now.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn attempt(
        &self,
        pool: &Pool,
        class: Class,
        now: Instant,
        random: &mut Random,
    ) -> Result<(), Cause> {
        if self.shares.share(class) < 1.0 {
            let (used, bounds) = pool.used(now);
            if bounds.is_some_and(|bounds| !self.shares.admits(class, used, bounds)) {
                self.shed[class.index()].add(1);
                return Err(Cause::Shed);
            }
        }
        match &self.throttle {
            Some(throttle) if !throttle.allow(now, random) => Err(Cause::Throttled),
            _ => Ok(()),
        }
    }

    /// How many were refused since their class's share was used.
    pub(crate) fn shed(&self) -> u64 {
        self.shed.iter().map(Counter::value).sum()
    }

    /// An attempt has ended like this.
    pub(crate) fn ended(&self, now: Instant, outcome: Outcome) {
        // What evenkeel itself lacked, or gave up, is neither a refusal nor an answer.
        if matches!(outcome, Outcome::LocalError | Outcome::Rescued) {
            return;
        }
        if let Some(throttle) = &self.throttle {
            let refused = matches!(outcome, Outcome::Answered(429 | 503))
                || (outcome.is_failure() && !matches!(outcome, Outcome::Answered(_)));
            throttle.note(now, !refused);
        }
    }

    fn collect(&self, sink: &mut dyn Sink, service: &str, now: Instant, has_rate: bool) {
        for class in Class::ALL {
            let value = self.shed[class.index()].value();
            if value > 0 || self.shares.share(class) < 1.0 {
                let labels = [("service", service), ("class", class.word())];
                let about = "Requests that were refused because their class's share of the servers was used.";
                sink.counter("evenkeel_shed_total", about, &labels, value);
            }
        }
        let labels = [("service", service)];
        if has_rate {
            let value = self.limited.load(Ordering::Relaxed);
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

impl ProxyState {
    pub(crate) fn collect_admission(&self, sink: &mut dyn Sink) {
        let now = self.now();
        for (place, service) in (0..).map(ServiceId).zip(self.services()) {
            let is_limited =
                |route: &Route| route.rate.is_some() && route.services().any(|it| it == place);
            let has_rate = service.admission.rate.is_some() || self.routes().any(is_limited);
            let name = service.name();
            service.admission.collect(sink, name, now, has_rate);
        }
        self.collect_quarantine(sink);
    }
}
