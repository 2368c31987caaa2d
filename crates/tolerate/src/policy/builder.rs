//! Builds a policy: its name, options, clock, gate, listener and seed.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::recovery::{PolicyShared, activate};
use super::{Counters, EventListener, Gate, Lints, Load, Recovery, RecoveryOptions};
use crate::clock::{Clock, SystemClock};
use crate::{Budget, HedgeOptions, LimitOptions};

/// A policy under construction.
#[must_use = "it is a policy only when it is built"]
pub struct RecoveryBuilder<C = SystemClock> {
    name: Box<str>,
    clock: C,
    options: RecoveryOptions,
    load: Option<Load>,
    gate: Option<Arc<dyn Gate>>,
    events: Option<Arc<dyn EventListener>>,
    seed: Option<u64>,
    budget: Option<Arc<Budget>>,
}

impl<C> fmt::Debug for RecoveryBuilder<C> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("RecoveryBuilder")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<C: Clock> RecoveryBuilder<C> {
    /// All options at once.
    pub fn options(mut self, options: RecoveryOptions) -> Self {
        self.options = options;
        self
    }

    /// [`RecoveryOptions::deadline`].
    pub const fn deadline(mut self, total: Duration) -> Self {
        self.options.deadline = Some(total);
        self
    }

    /// [`RecoveryOptions::attempt_timeout`].
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.options.attempt_timeout = Some(timeout);
        self
    }

    /// [`RecoveryOptions::retries`]; those after timeouts are at most as many.
    pub const fn retries(mut self, retries: u32) -> Self {
        self.options.retries = retries;
        if self.options.retries_after_timeout > retries {
            self.options.retries_after_timeout = retries;
        }
        self
    }

    /// [`RecoveryOptions::hedge`].
    pub const fn hedge(mut self, hedge: HedgeOptions) -> Self {
        self.options.hedge = Some(hedge);
        self
    }

    /// [`RecoveryOptions::limit`].
    pub const fn limit(mut self, limit: LimitOptions) -> Self {
        self.options.limit = Some(limit);
        self
    }

    /// Calls a second, and the attempts a second that the service can answer, so that the build can tell whether the policy is
    /// stable.
    pub const fn load(mut self, per_second: f64, capacity: f64) -> Self {
        self.load = Some(Load {
            per_second,
            capacity,
        });
        self
    }

    /// A gate of the program's own, which may reject attempts.
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// A listener for every decision.
    pub fn events(mut self, events: Arc<dyn EventListener>) -> Self {
        self.events = Some(events);
        self
    }

    /// Makes the randomness repeatable. By default it is seeded by the operating system.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Pays from the budget of another policy, for calls that load the same service.
    pub fn budget_of<D: Clock>(mut self, other: &Recovery<D>) -> Self {
        let active = other.shared.active();
        self.options.budget = active.options.budget;
        self.budget = Some(Arc::clone(&active.budget));
        self
    }

    /// Another clock, for tests.
    pub fn clock<D: Clock>(self, clock: D) -> RecoveryBuilder<D> {
        RecoveryBuilder {
            name: self.name,
            clock,
            options: self.options,
            load: self.load,
            gate: self.gate,
            events: self.events,
            seed: self.seed,
            budget: self.budget,
        }
    }

    /// Builds the policy.
    ///
    /// # Errors
    /// All lints of the options, if at least one is an error.
    pub fn build(self) -> Result<Recovery<C>, Lints> {
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let now = self.clock.now();
        let active = activate(self.options, self.load, self.budget, now, seed)?;
        Ok(Recovery {
            shared: Arc::new(PolicyShared {
                name: self.name,
                clock: self.clock,
                active: ArcSwap::from_pointee(active),
                load: self.load,
                gate: self.gate,
                events: self.events,
                counters: Counters::default(),
                seed: AtomicU64::new(seed),
                replacing: Mutex::default(),
            }),
        })
    }
}

impl Default for Recovery {
    /// The default options, under the name "default".
    fn default() -> Self {
        let built = Self::named("default").build();
        built.expect("the default options are without errors")
    }
}

impl Recovery {
    /// Begins a policy of this name with the default options.
    pub fn named(name: impl Into<Box<str>>) -> RecoveryBuilder {
        RecoveryBuilder {
            name: name.into(),
            clock: SystemClock,
            options: RecoveryOptions::default(),
            load: None,
            gate: None,
            events: None,
            seed: None,
            budget: None,
        }
    }
}
