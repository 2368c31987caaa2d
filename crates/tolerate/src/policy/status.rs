//! The present state of a policy's mechanisms: limit, queue, breakers, throttle, rate; as values and as gauges.

use std::fmt::Write;
use std::sync::Arc;

use super::Recovery;
use crate::breaker::{Breaker, BreakerState};
use crate::clock::Clock;
use crate::queue::QueueSnapshot;
use crate::throttle::ThrottleSnapshot;
use crate::{Class, LimitSnapshot};

impl<C: Clock> Recovery<C> {
    /// The limit and the reason for it, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<LimitSnapshot> {
        let active = self.shared.active.load();
        active
            .mechanisms
            .limit
            .as_ref()
            .map(|it| it.limit().snapshot())
    }

    /// The queue: how many wait, and how entries have left it, if there is one.
    #[must_use]
    pub fn queue(&self) -> Option<QueueSnapshot> {
        let active = self.shared.active.load();
        active.options.queue?;
        active
            .mechanisms
            .limit
            .as_ref()
            .map(|limit| limit.snapshot())
    }

    /// The breaker of a server, if there are breakers and the server was asked before: to inspect, force or reset it. For `None`,
    /// the one for attempts without a picked server.
    #[must_use]
    pub fn breaker(&self, server: Option<u32>) -> Option<Arc<Breaker>> {
        self.shared
            .active
            .load()
            .mechanisms
            .breakers
            .as_ref()?
            .find(server)
    }

    /// What the throttle has counted and rejects now, if there is one.
    #[must_use]
    pub fn throttle(&self) -> Option<ThrottleSnapshot> {
        let now = self.shared.clock.now();
        let active = self.shared.active.load();
        active
            .mechanisms
            .throttle
            .as_ref()
            .map(|it| it.snapshot(now))
    }

    /// The available tokens of the rate, if there is one.
    #[must_use]
    pub fn tokens(&self) -> Option<f64> {
        let now = self.shared.clock.now();
        let active = self.shared.active.load();
        active
            .mechanisms
            .rate
            .as_ref()
            .map(|rate| rate.balance(now))
    }

    /// The counters and gauges, in the Prometheus text format.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        self.counters().prometheus(&self.shared.name, &mut text);
        self.gauges(&mut text);
        text
    }

    /// The gauges of the mechanisms that the policy has.
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
        if let Some(breakers) = &self.shared.active.load().mechanisms.breakers {
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
