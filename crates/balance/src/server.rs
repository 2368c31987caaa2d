//! What all workers know of one server: its load and its availability.
//!
//! These are atomics, written by all workers and read at each pick, so one file owns every write. Load changes with
//! each attempt and availability rarely, so they are on different cache lines: reading the availability costs nothing
//! while the load is being written.
//!
//! The latency estimate is a peak EWMA: a slower sample takes effect at once, faster ones lower the estimate over ten
//! seconds. A failure counts as ten times the pool's typical latency. Otherwise fast errors would make a server look
//! good and attract more requests; a fixed penalty of seconds would keep a server of a fast pool away for minutes
//! because of one error.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::{Directive, EjectionReason, Instant, Outcome, duration_from_seconds};

use crate::reported::LoadCell;

/// The estimate forgets 63 % of the past in this time.
pub(crate) const DECAY: Duration = Duration::from_secs(10);
/// A failure counts as this many times the pool's latency …
const PENALTY_FACTOR: f64 = 10.0;
/// … but as no more than this (unless it took longer), and as this if the pool's latency is not known.
const PENALTY_MOST: f64 = 5.0;
/// The part of its share that a warming server gets at least.
const WARM_LEAST: f64 = 0.1;

/// The part of its share that a server gets after a `Retry-After`.
const RELIEVED: f64 = 0.1;
/// The longest pause, whatever `Retry-After` says (linkerd's bound).
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A pause is prolonged in steps of at least this, so that not every `Retry-After` causes a change for all workers.
const PAUSE_STEP: Duration = Duration::from_secs(1);

/// The number of directives and new pools so far. A picker re-evaluates its pool only when it has changed.
static CHANGES: AtomicU64 = AtomicU64::new(1);

/// How many changes there have been; never zero.
pub(crate) fn changes() -> u64 {
    CHANGES.load(Ordering::Acquire)
}

/// Announces a change. Returns a unique number.
pub(crate) fn note_change() -> u64 {
    CHANGES.fetch_add(1, Ordering::AcqRel) + 1
}

/// How a server stands, by the directives about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Availability {
    /// Takes its share.
    InService,
    /// Takes a part of its share, to prove itself.
    Trial,
    /// Gets a tenth of its share, because of a `Retry-After`.
    Relieved,
    /// Takes a growing part of its share after it was restored.
    Warming,
    /// Takes nothing until the directive expires.
    Ejected {
        /// Why.
        verdict: EjectionReason,
    },
    /// Takes nothing until its breaker lets something through.
    Broken,
    /// Takes nothing until it is restored.
    Draining,
}

impl Availability {
    /// Whether it takes new attempts, all of its share or a part.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(
            self,
            Self::InService | Self::Trial | Self::Relieved | Self::Warming
        )
    }

    /// The word for it in metrics and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::InService => "in-service",
            Self::Trial => "trial",
            Self::Relieved => "relieved",
            Self::Warming => "warming",
            Self::Ejected { .. } => "ejected",
            Self::Broken => "broken",
            Self::Draining => "draining",
        }
    }
}

/// The shared state of one server. It outlives the pools that it is a member of.
#[derive(Debug, Default)]
pub struct ServerState {
    pub(crate) load: AttemptStats,
    orders: DirectiveState,
}

/// Written with every attempt.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct AttemptStats {
    /// Signed, so that an `end` too many cannot make it look busy for ever.
    in_flight: AtomicI32,
    /// Seconds as the bits of an `f64`; zero: no sample yet.
    latency: AtomicU64,
    /// When the estimate last took a sample in, in nanoseconds.
    sampled: AtomicU64,
    /// Attempts in a row that were given up because they took too long, without an answer in between.
    given_up: AtomicU32,
    /// The most attempts in flight, as found while it runs; 0: not found.
    bound: AtomicU32,
    /// The maximum number of attempts in flight until its breaker has closed; 0 if it is closed.
    trials: AtomicU32,
    /// Written with each answer, as the others are.
    pub(crate) reported: LoadCell,
}

/// Written by directives. A time of zero means none.
#[derive(Debug, Default)]
#[repr(align(128))]
struct DirectiveState {
    drained: AtomicBool,
    known_until: AtomicU64,
    suspected_until: AtomicU64,
    hung_until: AtomicU64,
    broken_until: AtomicU64,
    trial_until: AtomicU64,
    /// The bits of an `f64`.
    trial_share: AtomicU64,
    relieved_until: AtomicU64,
    warm_since: AtomicU64,
    repaired_until: AtomicU64,
    /// The slow start of the newest pool that it is in.
    warm_for: AtomicU64,
    /// The part of its share that the load it reports leaves it: the bits of an `f64`, zero for all of it.
    load_share: AtomicU64,
}

impl ServerState {
    /// In service, nothing in flight, no estimate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An attempt begins.
    pub fn begin(&self) {
        self.load.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt begins if fewer than `most` are in flight; says whether it does.
    pub(crate) fn begin_below(&self, most: u32) -> bool {
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let one_more = |now: i32| (now < most).then_some(now + 1);
        self.load
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// An attempt that had begun has ended. `latency` is from the request fully written to the response's head, or to the
    /// failure; zero for one that was cancelled before the request was written. `pool_default` is what the pool takes at present ([`crate::Picker::typical_latency`]), zero if not known.
    pub fn end(&self, now: Instant, outcome: Outcome, latency: Duration, pool_default: Duration) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        let typical = pool_default.as_secs_f64();
        let sample = latency.as_secs_f64();
        match outcome {
            // They say nothing about the server.
            Outcome::Stale
            | Outcome::StreamRefused
            | Outcome::IdleTimeout
            | Outcome::LocalError
            | Outcome::Rescued => {
                return;
            }
            // It would have taken longer still. That says something if it waited longer than is typical, and not much
            // less than what is expected of this server, which stays expected then.
            Outcome::Cancelled | Outcome::Superseded => {
                let usual = self.estimate().map_or(typical, |(seconds, _)| seconds);
                if usual > 0.0 && sample > typical && sample > usual / 2.0 {
                    // One is chance; more in a row without any answer are not, and nothing says how long it would take.
                    let before = self.load.given_up.fetch_add(1, Ordering::Relaxed).min(16);
                    let doubled = sample.max(usual) * f64::from(1_u32 << before);
                    self.sample(now, doubled.min(PENALTY_MOST.max(sample)), typical);
                }
                return;
            }
            outcome if outcome.is_failure() || outcome == Outcome::Answered(429) => {
                let penalty = if typical > 0.0 {
                    (typical * PENALTY_FACTOR).min(PENALTY_MOST)
                } else {
                    PENALTY_MOST
                };
                self.sample(now, sample.max(penalty), typical);
            }
            _ => self.sample(now, sample, typical),
        }
        self.load.given_up.store(0, Ordering::Relaxed);
    }

    /// Attempts that have begun and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.load.in_flight.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Its current adaptive limit on attempts in flight; nothing without an adaptive limit.
    #[must_use]
    pub fn bound(&self) -> Option<u32> {
        let bound = |bound: &AtomicU32| match bound.load(Ordering::Relaxed) {
            0 => u32::MAX,
            bound => bound,
        };
        let bound = bound(&self.load.bound).min(bound(&self.load.trials));
        (bound < u32::MAX).then_some(bound)
    }

    /// Sets the adaptive limit on attempts in flight. Applies only to members with [`Member::max_requests`], which
    /// remains the upper bound.
    ///
    /// [`Member::max_requests`]: crate::Member::max_requests
    pub fn set_bound(&self, most: u32) {
        self.load.bound.store(most, Ordering::Relaxed);
    }

    /// Its circuit breaker has opened: no attempts until then, and afterwards at most this many concurrent ones, until
    /// [`ServerState::close_breaker`]. Directives do not change that.
    pub fn open_breaker(&self, until: Instant, trials: u32) {
        self.load.trials.store(trials.max(1), Ordering::Relaxed);
        self.orders
            .broken_until
            .store(until.as_nanos(), Ordering::Release);
        note_change();
    }

    /// Its circuit breaker has closed.
    pub fn close_breaker(&self) {
        self.orders.broken_until.store(0, Ordering::Release);
        self.load.trials.store(0, Ordering::Relaxed);
        note_change();
    }

    /// The latency estimate, once there is one.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.estimate()
            .map(|(seconds, _)| duration_from_seconds(seconds))
    }

    /// The latency estimate in seconds and when it last took a sample in.
    pub(crate) fn estimate(&self) -> Option<(f64, Instant)> {
        let bits = self.load.latency.load(Ordering::Relaxed);
        let sampled = Instant::from_nanos(self.load.sampled.load(Ordering::Relaxed));
        (bits != 0).then(|| (f64::from_bits(bits), sampled))
    }

    /// Takes a sample into the estimate. The first one counts half against the pool's latency, so that one lucky answer
    /// does not draw everything to a new server. Racing workers may weigh the past by a stamp that is a sample too old;
    /// a peak is never lost.
    fn sample(&self, now: Instant, sample: f64, typical: f64) {
        let elapsed = now.since(Instant::from_nanos(
            self.load.sampled.load(Ordering::Relaxed),
        ));
        let past = (-elapsed.as_secs_f64() / DECAY.as_secs_f64()).exp();
        let mix = |bits: u64| {
            let (old, past) = match bits {
                0 if typical > 0.0 => (typical, 0.5),
                0 => (sample, 0.0),
                bits => (f64::from_bits(bits), past),
            };
            let mixed = if sample > old {
                sample
            } else {
                old.mul_add(past, sample * (1.0 - past))
            };
            // A day is slow enough, a nanosecond fast enough, and zero stands for no sample.
            Some(mixed.clamp(1e-9, 86_400.0).to_bits())
        };
        // The closure never declines, so this cannot fail.
        let _: Result<u64, u64> =
            self.load
                .latency
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, mix);
        self.load
            .sampled
            .fetch_max(now.as_nanos(), Ordering::Relaxed);
    }

    /// Forgets the estimate: what comes back is not what went away, and starts like a new server.
    fn forget_latency(&self) {
        self.load.latency.store(0, Ordering::Relaxed);
    }

    /// Carries out a directive about this server.
    ///
    /// An ejection ends a trial and a slow start; a trial ends ejections; restoring ends everything, drains too. Of two
    /// ejections the stronger one stands as long as it lasts. Each new order is in place before an older one is taken
    /// away, so that no worker sees a server in service in between.
    pub fn apply(&self, directive: &Directive, now: Instant) {
        let orders = &self.orders;
        match *directive {
            Directive::Eject { verdict, until, .. } => {
                let slot = match verdict {
                    EjectionReason::Known => &orders.known_until,
                    EjectionReason::Suspected => &orders.suspected_until,
                    EjectionReason::Hung => &orders.hung_until,
                };
                slot.store(until.as_nanos(), Ordering::Release);
                orders.trial_until.store(0, Ordering::Release);
                orders.warm_since.store(0, Ordering::Release);
            }
            Directive::Trial { share, until, .. } => {
                if orders.is_out() {
                    self.forget_latency();
                }
                orders
                    .trial_share
                    .store(share.clamp(0.0, 1.0).to_bits(), Ordering::Release);
                orders
                    .trial_until
                    .store(until.as_nanos(), Ordering::Release);
                orders.warm_since.store(0, Ordering::Release);
                orders.end_ejections();
            }
            // Concerns attempts in flight, which are not tracked here.
            Directive::Rescue { .. } => return,
            Directive::Repair { until, .. } => {
                let until = until.as_nanos();
                orders.repaired_until.store(until, Ordering::Release);
                return;
            }
            Directive::Drain { .. } => orders.drained.store(true, Ordering::Release),
            Directive::Restore { slowly, .. } => {
                let was_out = orders.is_out();
                if was_out {
                    self.forget_latency();
                    orders.relieved_until.store(0, Ordering::Release);
                }
                // One that already takes its share, or more of it by the second, has nothing to begin again.
                if was_out || orders.trial_until.load(Ordering::Acquire) != 0 {
                    let since = if slowly { now.as_nanos().max(1) } else { 0 };
                    orders.warm_since.store(since, Ordering::Release);
                } else if !slowly {
                    orders.warm_since.store(0, Ordering::Release);
                }
                orders.trial_until.store(0, Ordering::Release);
                orders.repaired_until.store(0, Ordering::Release);
                orders.end_ejections();
                orders.drained.store(false, Ordering::Release);
            }
        }
        note_change();
    }

    /// It joins a pool that serves already: a slow start, as after being restored.
    pub fn join(&self, now: Instant) {
        self.orders
            .warm_since
            .store(now.as_nanos().max(1), Ordering::Release);
        note_change();
    }

    /// It does not serve yet, since its process is being started: it takes nothing until `until`, and requests that have no other
    /// server may wait for it. Directives from then on replace this.
    pub fn starts(&self, until: Instant) {
        let until = until.as_nanos();
        self.orders.repaired_until.store(until, Ordering::Release);
        self.orders.known_until.store(until, Ordering::Release);
        note_change();
    }

    /// It takes the place of `before` under the same name: if an operator has taken that one out, this one is out as well.
    pub fn stays_out_with(&self, before: &Self) {
        let never = Instant::NEVER.as_nanos();
        if before.orders.known_until.load(Ordering::Acquire) == never {
            self.orders.known_until.store(never, Ordering::Release);
        }
        if before.orders.drained.load(Ordering::Acquire) {
            self.orders.drained.store(true, Ordering::Release);
        }
        note_change();
    }

    /// It answered 429 or 503 with a `Retry-After` of `pause` (RFC 9110, section 10.2.3): for that long, at most 300 s,
    /// it gets a tenth of its share, so that its recovery is noticed.
    pub fn relieve(&self, now: Instant, pause: Duration) {
        let until = (now + pause.min(LONGEST_PAUSE)).as_nanos();
        let known = self.orders.relieved_until.load(Ordering::Acquire);
        let step = PAUSE_STEP.as_nanos() as u64;
        if until <= now.as_nanos() || (known > now.as_nanos() && until < known + step) {
            return;
        }
        self.orders
            .relieved_until
            .fetch_max(until, Ordering::AcqRel);
        note_change();
    }

    /// How it stands at `now`.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Availability {
        let orders = &self.orders;
        let now = now.as_nanos();
        if orders.drained.load(Ordering::Acquire) {
            Availability::Draining
        } else if now < orders.known_until.load(Ordering::Acquire) {
            Availability::Ejected {
                verdict: EjectionReason::Known,
            }
        } else if now < orders.broken_until.load(Ordering::Acquire) {
            Availability::Broken
        } else if now < orders.hung_until.load(Ordering::Acquire) {
            Availability::Ejected {
                verdict: EjectionReason::Hung,
            }
        } else if now < orders.suspected_until.load(Ordering::Acquire) {
            Availability::Ejected {
                verdict: EjectionReason::Suspected,
            }
        } else if now < orders.trial_until.load(Ordering::Acquire) {
            Availability::Trial
        } else if now < orders.relieved_until.load(Ordering::Acquire) {
            Availability::Relieved
        } else if now < orders.warm_until() {
            Availability::Warming
        } else {
            Availability::InService
        }
    }

    /// Whether it is out of service and being repaired.
    #[must_use]
    pub fn is_being_repaired(&self, now: Instant) -> bool {
        now.as_nanos() < self.orders.repaired_until.load(Ordering::Acquire)
    }

    /// When it is not being repaired any longer, if nobody says more about it; never if it is not.
    pub(crate) fn repair_ends(&self, now: Instant) -> Instant {
        let until = Instant::from_nanos(self.orders.repaired_until.load(Ordering::Acquire));
        if until > now { until } else { Instant::NEVER }
    }

    /// The part of its normal share that it takes at `now`: 1 in service, 0 when it takes nothing.
    #[must_use]
    pub fn share(&self, now: Instant) -> f64 {
        let of_standing = match self.standing(now) {
            Availability::InService => 1.0,
            Availability::Trial => f64::from_bits(self.orders.trial_share.load(Ordering::Acquire)),
            Availability::Relieved => RELIEVED,
            Availability::Warming => {
                let since = Instant::from_nanos(self.orders.warm_since.load(Ordering::Acquire));
                let whole = Duration::from_nanos(self.orders.warm_for.load(Ordering::Acquire))
                    .as_secs_f64();
                // Nothing of nothing is no number.
                (now.since(since).as_secs_f64() / whole.max(1e-9)).clamp(WARM_LEAST, 1.0)
            }
            Availability::Ejected { .. } | Availability::Broken | Availability::Draining => 0.0,
        };
        of_standing * self.load_share()
    }

    /// The part of its share that the load it reports leaves it; 1 if it reports none.
    #[must_use]
    pub fn load_share(&self) -> f64 {
        match self.orders.load_share.load(Ordering::Acquire) {
            0 => 1.0,
            bits => f64::from_bits(bits),
        }
    }

    /// From now on it takes this part of its share, because of the load that it reports. A change of less than a twentieth
    /// is none, so that not each report makes all workers look again.
    pub fn set_load_share(&self, share: f64) {
        let share = share.clamp(0.01, 1.0);
        let (old, full) = (self.load_share(), share >= 1.0);
        if (share - old).abs() < old * 0.05 && !(full && old < 1.0) {
            return;
        }
        let bits = if full { 0 } else { share.to_bits() };
        self.orders.load_share.store(bits, Ordering::Release);
        note_change();
    }

    /// When its standing changes next by itself: something expires.
    pub(crate) fn next_change(&self, now: Instant) -> Instant {
        let orders = &self.orders;
        [
            orders.known_until.load(Ordering::Acquire),
            orders.suspected_until.load(Ordering::Acquire),
            orders.hung_until.load(Ordering::Acquire),
            orders.broken_until.load(Ordering::Acquire),
            orders.trial_until.load(Ordering::Acquire),
            orders.relieved_until.load(Ordering::Acquire),
            orders.warm_until(),
        ]
        .into_iter()
        .map(Instant::from_nanos)
        .filter(|&at| at > now)
        .min()
        .unwrap_or(Instant::NEVER)
    }

    /// How long it takes to get back to its full share after being restored slowly.
    pub(crate) fn set_slow_start(&self, slow_start: Duration) {
        let nanos = u64::try_from(slow_start.as_nanos()).unwrap_or(u64::MAX);
        self.orders.warm_for.store(nanos, Ordering::Release);
    }
}

impl DirectiveState {
    /// Whether it was ordered to take nothing and not yet ordered otherwise, even if the order has expired.
    fn is_out(&self) -> bool {
        self.drained.load(Ordering::Acquire)
            || self.known_until.load(Ordering::Acquire) != 0
            || self.suspected_until.load(Ordering::Acquire) != 0
            || self.hung_until.load(Ordering::Acquire) != 0
    }

    fn end_ejections(&self) {
        self.known_until.store(0, Ordering::Release);
        self.suspected_until.store(0, Ordering::Release);
        self.hung_until.store(0, Ordering::Release);
    }

    /// When its slow start is over; zero if there is none.
    fn warm_until(&self) -> u64 {
        match self.warm_since.load(Ordering::Acquire) {
            0 => 0,
            since => since.saturating_add(self.warm_for.load(Ordering::Acquire)),
        }
    }
}
