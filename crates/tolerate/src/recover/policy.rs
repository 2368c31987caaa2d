//! A policy that runs: what its calls share, and how its options are replaced while they run.
//!
//! Readers take a snapshot and never wait; a call keeps the options that it began with. Replacing keeps what has been learnt, and
//! counted: the same budget, limit, breakers, rate and throttle go on under other options.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_core::{Instant, Random};

use super::guards::Guards;
use super::{Counted, Counters, Event, Events, Gate};
use super::{Lint, Lints, Load, Recovered, RecoveryOptions, lint};
use crate::clock::{Clock, Standard};
use crate::{Budget, Call, HedgeDelay, HedgeOptions, LimitOptions};

/// A named recovery policy. Cheap to clone; all clones share one budget, one limit and one set of counters.
pub struct Recovery<C = Standard> {
    pub(crate) shared: Arc<Shared<C>>,
}

pub(crate) struct Shared<C> {
    pub(crate) name: Box<str>,
    pub(crate) clock: C,
    pub(super) live: ArcSwap<Live>,
    load: Option<Load>,
    pub(crate) gate: Option<Arc<dyn Gate>>,
    events: Option<Arc<dyn Events>>,
    counters: Counters,
    seed: AtomicU64,
    /// Of two who replace the options the second goes on from what the first made.
    replacing: Mutex<()>,
}

/// What follows from the options, replaced as a whole.
pub(crate) struct Live {
    pub(crate) options: RecoveryOptions,
    pub(crate) budget: Arc<Budget>,
    pub(crate) guards: Guards,
    hedge: Option<Arc<Mutex<HedgeDelay>>>,
    lints: Vec<Lint>,
}

impl Live {
    /// Goes on with the latencies that are known.
    fn hedge_as_before(&mut self, before: &Self) {
        if let (Some(known), Some(options)) = (&before.hedge, self.options.hedge) {
            if before.options.hedge != Some(options) {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                known.reconfigure(options);
            }
            self.hedge = Some(Arc::clone(known));
        }
    }

    /// After how long a second attempt is made. Who finds the estimate in use by another thread makes none: a decision does
    /// not wait.
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

    /// Notes how long an attempt took, unless another thread does so just now.
    pub(crate) fn note_latency(&self, now: Instant, took: Duration) {
        if let Some(hedge) = &self.hedge
            && let Ok(mut hedge) = hedge.try_lock()
        {
            hedge.note(now, took);
        }
    }
}

impl<C: Clock> Shared<C> {
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    pub(crate) fn tell(&self, call: &Call, now: Instant, event: &Event) {
        self.counters.count(event);
        if let Some(events) = &self.events {
            events.hear(&self.name, call, now, event);
        }
    }

    /// Puts what there was to fall back to in the place of what the call did not give; not if that failed, too.
    pub(crate) fn fell_back<T, E>(
        &self,
        call: &Call,
        recovered: &mut Recovered<T, E>,
        other: Result<T, E>,
    ) {
        let good = other.is_ok();
        self.tell(call, self.clock.now(), &Event::Fallback { good });
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
            .field("options", &self.shared.live.load().options)
            .finish_non_exhaustive()
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
            clock: Standard,
            options: RecoveryOptions::default(),
            load: None,
            gate: None,
            events: None,
            seed: None,
            budget: None,
        }
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
        self.shared.live.load().options.clone()
    }

    /// Other options for calls that begin from now on. What has a state keeps it: attempts in flight and those who wait for a place or a
    /// token, breakers, the budget's and the rate's tokens, what throttle and hedge have seen. A limit of another kind begins with the number
    /// of now, within its bounds. A budget that is shared stays shared, and its options change for all who pay from it. A part that is left
    /// out is kept aside, and comes back as it was; attempts that begin meanwhile are not counted by it.
    ///
    /// # Errors
    /// What is wrong with them; then nothing is changed.
    pub fn replace(&self, options: RecoveryOptions) -> Result<(), Lints> {
        let _one_at_a_time = self.shared.replacing.lock();
        let before = self.shared.live();
        let now = self.shared.clock.now();
        let seed = self.shared.random().bits();
        let budget = Some(Arc::clone(&before.budget));
        let mut live = go_live(options, self.shared.load, budget, now, seed)?;
        live.guards.keep(&before.guards, &live.options, now, seed);
        if live.options.budget != before.options.budget {
            live.budget.reconfigure(live.options.budget, now);
        }
        live.hedge_as_before(&before);
        self.shared.live.store(Arc::new(live));
        Ok(())
    }

    /// Warnings about its options.
    #[must_use]
    pub fn lints(&self) -> Vec<Lint> {
        self.shared.live.load().lints.clone()
    }

    /// What it has done.
    #[must_use]
    pub fn counters(&self) -> Counted {
        self.shared.counters.snapshot()
    }

    /// Tokens in the budget.
    #[must_use]
    pub fn balance(&self) -> f64 {
        let now = self.shared.clock.now();
        self.shared.live.load().budget.balance(now)
    }
}

/// A policy that is put together.
#[must_use = "it is a policy only when it is built"]
pub struct RecoveryBuilder<C = Standard> {
    name: Box<str>,
    clock: C,
    options: RecoveryOptions,
    load: Option<Load>,
    gate: Option<Arc<dyn Gate>>,
    events: Option<Arc<dyn Events>>,
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

    /// What the service has to do and can do, so that the build can tell whether the policy is stable.
    pub const fn load(mut self, per_second: f64, capacity: f64) -> Self {
        self.load = Some(Load {
            per_second,
            capacity,
        });
        self
    }

    /// What else may refuse an attempt.
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Who hears of every decision.
    pub fn events(mut self, events: Arc<dyn Events>) -> Self {
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
        let live = other.shared.live();
        self.options.budget = live.options.budget;
        self.budget = Some(Arc::clone(&live.budget));
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

    /// The policy.
    ///
    /// # Errors
    /// What is wrong with its options, if any of it can only be a mistake.
    pub fn build(self) -> Result<Recovery<C>, Lints> {
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let now = self.clock.now();
        let live = go_live(self.options, self.load, self.budget, now, seed)?;
        Ok(Recovery {
            shared: Arc::new(Shared {
                name: self.name,
                clock: self.clock,
                live: ArcSwap::from_pointee(live),
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

fn go_live(
    options: RecoveryOptions,
    load: Option<Load>,
    budget: Option<Arc<Budget>>,
    now: Instant,
    seed: u64,
) -> Result<Live, Lints> {
    let lints = lint(&options, load);
    if lints.iter().any(Lint::is_error) {
        return Err(Lints(lints));
    }
    let new_hedge = |hedge: HedgeOptions| Arc::new(Mutex::new(HedgeDelay::new(hedge)));
    Ok(Live {
        budget: budget.unwrap_or_else(|| Arc::new(Budget::new(options.budget, now))),
        guards: Guards::new(&options, now, seed),
        hedge: options.hedge.map(new_hedge),
        lints,
        options,
    })
}
