//! What a policy's parts know now: limit, queue, breakers, throttle, rate; as values and as gauges.
//!
//! Apart from the policy, for this is looked up only when somebody asks.

use std::fmt::Write;
use std::sync::Arc;

use super::Recovery;
use crate::breaker::{Breaker, BreakerState};
use crate::clock::Clock;
use crate::queue::QueueSnapshot;
use crate::throttle::ThrottleSnapshot;
use crate::{Class, LimitSnapshot};

impl<C: Clock> Recovery<C> {
    /// The limit now and why, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<LimitSnapshot> {
        let live = self.shared.live.load();
        live.guards.room.as_ref().map(|it| it.limit().snapshot())
    }

    /// Who waits for a place, and how many left the queue how, if there is one.
    #[must_use]
    pub fn queue(&self) -> Option<QueueSnapshot> {
        let live = self.shared.live.load();
        live.options.queue?;
        live.guards.room.as_ref().map(|room| room.snapshot())
    }

    /// The breaker of a server, if there are breakers and the server was asked: to see what it does, to force it, to reset it. That
    /// of all attempts for which no server is picked, for `None`.
    #[must_use]
    pub fn breaker(&self, server: Option<u32>) -> Option<Arc<Breaker>> {
        self.shared
            .live
            .load()
            .guards
            .breakers
            .as_ref()?
            .find(server)
    }

    /// What the throttle knows and refuses now, if there is one.
    #[must_use]
    pub fn throttle(&self) -> Option<ThrottleSnapshot> {
        let now = self.shared.clock.now();
        let live = self.shared.live.load();
        live.guards.throttle.as_ref().map(|it| it.snapshot(now))
    }

    /// Tokens of the rate that are there now, if there is one.
    #[must_use]
    pub fn tokens(&self) -> Option<f64> {
        let now = self.shared.clock.now();
        let live = self.shared.live.load();
        live.guards.rate.as_ref().map(|rate| rate.balance(now))
    }

    /// The counters and what the parts know, in the Prometheus format.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        self.counters().prometheus(&self.shared.name, &mut text);
        self.gauges(&mut text);
        text
    }

    /// What the parts know, of those that there are.
    fn gauges(&self, text: &mut String) {
        let policy: String = self.name().chars().flat_map(char::escape_default).collect();
        let mut add = |name: &str, label: &str, value: String| {
            let comma = if label.is_empty() { "" } else { "," };
            // Writing into a string cannot fail.
            let _: std::fmt::Result = writeln!(
                text,
                "evenkeel_recovery_{name}{{policy=\"{policy}\"{comma}{label}}} {value}"
            );
        };
        if let Some(limit) = self.limit() {
            add("limit", "", limit.limit.to_string());
            add("in_flight", "", limit.in_flight.to_string());
        }
        if let Some(queue) = self.queue() {
            for (class, waiting) in Class::ALL.into_iter().zip(queue.waiting) {
                add(
                    "waiting",
                    &format!("class=\"{class}\""),
                    waiting.to_string(),
                );
            }
        }
        if let Some(breakers) = &self.shared.live.load().guards.breakers {
            for (state, count) in BreakerState::ALL.into_iter().zip(breakers.states()) {
                let label = format!("state=\"{}\"", state.word());
                add("breakers", &label, count.to_string());
            }
        }
        if let Some(throttle) = self.throttle() {
            add("throttle_refusing", "", format!("{:.6}", throttle.refusing));
        }
        if let Some(tokens) = self.tokens() {
            add("rate_tokens", "", format!("{tokens:.6}"));
        }
    }
}
