//! A policy: what its calls share, and how its options are replaced while they run.
//!
//! Readers take a snapshot and never wait; a call keeps the options that it began with. Budget, limit, breakers, rate and throttle
//! keep their state under new options.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_core::{Instant, Random};

use super::mechanisms::Mechanisms;
use super::{CounterSnapshot, Counters, EventListener, Gate, PolicyEvent};
use super::{Lint, Lints, Load, Recovered, RecoveryOptions, lint};
use crate::clock::{Clock, SystemClock};
use crate::{Budget, Call, HedgeDelay, HedgeOptions};

/// A named recovery policy. Cheap to clone; all clones share one budget, one limit and one set of counters.
pub struct Recovery<C = SystemClock> {
    pub(crate) shared: Arc<PolicyShared<C>>,
}

pub(crate) struct PolicyShared<C> {
    pub(crate) name: Box<str>,
    pub(crate) clock: C,
    pub(crate) active: ArcSwap<ActivePolicy>,
    pub(crate) load: Option<Load>,
    pub(crate) gate: Option<Arc<dyn Gate>>,
    pub(crate) events: Option<Arc<dyn EventListener>>,
    pub(crate) counters: Counters,
    pub(crate) seed: AtomicU64,
    /// Of two concurrent replacements, the second one starts from the result of the first.
    pub(crate) replacing: Mutex<()>,
}

/// The options and what is made from them, replaced as a whole.
pub(crate) struct ActivePolicy {
    pub(crate) options: RecoveryOptions,
    pub(crate) budget: Arc<Budget>,
    pub(crate) mechanisms: Mechanisms,
    hedge: Option<Arc<Mutex<HedgeDelay>>>,
    lints: Vec<Lint>,
}

impl ActivePolicy {
    /// Keeps the measured latencies.
    fn carry_over_hedge(&mut self, before: &Self) {
        if let (Some(known), Some(options)) = (&before.hedge, self.options.hedge) {
            if before.options.hedge != Some(options) {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                known.reconfigure(options);
            }
            self.hedge = Some(Arc::clone(known));
        }
    }

    /// After how long a hedge is made. None is made while another thread uses the estimate: a decision does not wait.
    #[cfg(feature = "async")]
    pub(crate) fn hedge_after(&self, now: Instant) -> Option<Duration> {
        self.hedge.as_ref()?.try_lock().ok()?.after(now)
    }

    /// Whether hedges have not used their share.
    #[cfg(feature = "async")]
    pub(crate) fn may_hedge(&self) -> bool {
        let hedge = self.hedge.as_ref();
        hedge.is_some_and(|hedge| hedge.try_lock().is_ok_and(|mut it| it.may_hedge()))
    }

    /// Notes how long an attempt took, unless another thread uses the estimate just now.
    pub(crate) fn note_latency(&self, now: Instant, took: Duration) {
        if let Some(hedge) = &self.hedge
            && let Ok(mut hedge) = hedge.try_lock()
        {
            hedge.note(now, took);
        }
    }
}

impl<C: Clock> PolicyShared<C> {
    pub(crate) fn active(&self) -> Arc<ActivePolicy> {
        self.active.load_full()
    }

    pub(crate) fn emit(&self, call: &Call, now: Instant, event: &PolicyEvent) {
        self.counters.count(event);
        if let Some(events) = &self.events {
            events.on_event(&self.name, call, now, event);
        }
    }

    /// Puts the fallback's result in the place of the call's, unless the fallback failed as well.
    pub(crate) fn fell_back<T, E>(
        &self,
        call: &Call,
        recovered: &mut Recovered<T, E>,
        other: Result<T, E>,
    ) {
        let good = other.is_ok();
        self.emit(call, self.clock.now(), &PolicyEvent::Fallback { good });
        if good {
            recovered.report.fell_back = true;
            recovered.result = Some(other);
        }
    }

    /// A generator for one call.
    pub(crate) fn random(&self) -> Random {
        // An odd step visits every seed before it visits one twice.
        let step = 0x9E37_79B9_7F4A_7C15;
        Random::seeded(self.seed.fetch_add(step, Ordering::Relaxed))
    }
}

impl<C> Clone for Recovery<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C> fmt::Debug for Recovery<C> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Recovery")
            .field("name", &self.shared.name)
            .field("options", &self.shared.active.load().options)
            .finish_non_exhaustive()
    }
}

impl<C: Clock> Recovery<C> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &C {
        &self.shared.clock
    }

    /// The options of calls that begin now.
    #[must_use]
    pub fn options(&self) -> RecoveryOptions {
        self.shared.active.load().options.clone()
    }

    /// Replaces the options for calls that begin from now on. All state is kept: attempts in flight and waiting for a slot or a
    /// token, breakers, the tokens of budget and rate, what throttle and hedging have measured. A limit of another kind begins with
    /// the present limit, within its bounds. A shared budget stays shared, and its options change for all policies that use it. A
    /// mechanism that is disabled keeps its state until it is enabled again; attempts that begin meanwhile are not counted by it.
    ///
    /// # Errors
    /// All lints, if at least one is an error; then nothing is changed.
    pub fn replace(&self, options: RecoveryOptions) -> Result<(), Lints> {
        let _one_at_a_time = self.shared.replacing.lock();
        let before = self.shared.active();
        let now = self.shared.clock.now();
        let seed = self.shared.random().bits();
        let budget = Some(Arc::clone(&before.budget));
        let mut active = activate(options, self.shared.load, budget, now, seed)?;
        active
            .mechanisms
            .carry_over(&before.mechanisms, &active.options, now, seed);
        if active.options.budget != before.options.budget {
            active.budget.reconfigure(active.options.budget, now);
        }
        active.carry_over_hedge(&before);
        self.shared.active.store(Arc::new(active));
        Ok(())
    }

    /// Warnings about its options.
    #[must_use]
    pub fn lints(&self) -> Vec<Lint> {
        self.shared.active.load().lints.clone()
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> CounterSnapshot {
        self.shared.counters.snapshot()
    }

    /// Available tokens of the budget.
    #[must_use]
    pub fn balance(&self) -> f64 {
        let now = self.shared.clock.now();
        self.shared.active.load().budget.balance(now)
    }
}

pub(crate) fn activate(
    options: RecoveryOptions,
    load: Option<Load>,
    budget: Option<Arc<Budget>>,
    now: Instant,
    seed: u64,
) -> Result<ActivePolicy, Lints> {
    let lints = lint(&options, load);
    if lints.iter().any(Lint::is_error) {
        return Err(Lints(lints));
    }
    let new_hedge = |hedge: HedgeOptions| Arc::new(Mutex::new(HedgeDelay::new(hedge)));
    Ok(ActivePolicy {
        budget: budget.unwrap_or_else(|| Arc::new(Budget::new(options.budget, now))),
        mechanisms: Mechanisms::new(&options, now, seed),
        hedge: options.hedge.map(new_hedge),
        lints,
        options,
    })
}
