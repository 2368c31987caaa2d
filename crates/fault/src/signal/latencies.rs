//! Latencies of a server, from attempts and from probes, kept apart so that like is compared with like.

use std::time::Duration;

use evenkeel_core::stat::{CoarseHistogram, PooledHistograms, median};
use evenkeel_core::{Instant, Recent};

/// How many probes are remembered.
const PROBES: usize = 64;

/// A typical latency and how many it was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypicalLatency {
    /// The median.
    pub median: Duration,
    /// Of so many.
    pub count: u64,
}

/// The latency that counts as slow for a server, given its peers, and the start of its current series of slow answers.
#[derive(Debug, Clone, Copy)]
pub struct SlowRow {
    /// An answer that took longer is slow.
    pub limit: Duration,
    /// The first of the slow answers in a row.
    pub since: Option<Instant>,
    /// How many there are in the row, however long ago it began.
    pub count: u64,
}

/// Latencies of one server over a window.
///
/// Attempts are counted in a histogram of half a window; that of the half before is kept. Counting allocates in the first
/// two halves only.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// Something came since the flag was last taken down.
    pub fresh: bool,
    /// The row of slow attempts.
    pub slow_attempts: SlowRow,
    /// The row of slow probes.
    pub slow_probes: SlowRow,
    /// Attempts that were broken off for a quicker one count if they had waited longer: the smallest limit of all servers of
    /// the service.
    pub superseded_limit: Duration,
    window: Duration,
    now: CoarseHistogram,
    before: CoarseHistogram,
    half: u64,
    /// When the next half window begins, in nanoseconds.
    next: u64,
    probes: Recent<PassedProbe>,
}

/// A probe that passed, in 8 bytes, since there may be ten thousand servers.
#[derive(Debug, Clone, Copy)]
struct PassedProbe {
    /// When, in milliseconds since the clock started: enough for 49 days, after which it begins anew.
    millis: u32,
    seconds: f32,
}

impl PassedProbe {
    fn new(at: Instant, latency: Duration) -> Self {
        Self {
            millis: millis(at),
            seconds: latency.as_secs_f32(),
        }
    }

    /// Whether it is longer ago than `window`.
    fn is_older(&self, now: Instant, window: Duration) -> bool {
        let age = millis(now).wrapping_sub(self.millis).cast_signed();
        i128::from(age) > window.as_millis().cast_signed()
    }
}

const fn millis(at: Instant) -> u32 {
    (at.as_nanos() / 1_000_000) as u32
}

impl SlowRow {
    const EMPTY: Self = Self {
        limit: Duration::MAX,
        since: None,
        count: 0,
    };

    fn take(&mut self, at: Instant, latency: Duration) {
        if latency <= self.limit {
            self.since = None;
            self.count = 0;
        } else {
            self.since.get_or_insert(at);
            self.count += 1;
        }
    }
}

impl Latencies {
    /// Over the last `window`.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            fresh: false,
            slow_attempts: SlowRow::EMPTY,
            slow_probes: SlowRow::EMPTY,
            superseded_limit: Duration::MAX,
            window,
            now: CoarseHistogram::default(),
            before: CoarseHistogram::default(),
            half: 0,
            next: 0,
            probes: Recent::new(PROBES),
        }
    }

    /// How far back it reaches.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// An attempt was broken off since another one of the same request was answered first. It would have taken longer still,
    /// so it counts with the time it had waited if that is slow already: otherwise a server whose attempts are all hedged would
    /// never be seen to hang. What is slow here is the same for all servers of the service, so that the samples which are
    /// compared differ in nothing but the servers.
    pub fn superseded(&mut self, at: Instant, waited: Duration) {
        if waited > self.superseded_limit {
            self.attempt(at, waited);
        }
    }

    /// Counts an answered attempt.
    pub fn attempt(&mut self, at: Instant, latency: Duration) {
        self.turn(at);
        self.fresh = true;
        self.slow_attempts.take(at, latency);
        self.now.add(latency);
    }

    /// Counts a passed probe.
    pub fn probe(&mut self, at: Instant, latency: Duration) {
        self.fresh = true;
        self.slow_probes.take(at, latency);
        let window = self.window;
        self.probes.forget_while(|probe| probe.is_older(at, window));
        self.probes.push(PassedProbe::new(at, latency));
    }

    /// The typical latency of attempts. The current half window suffices if it is a fifth of a window old and holds at
    /// least `minimum`, so that a change shows sooner.
    pub fn attempts(&mut self, now: Instant, minimum: u64) -> TypicalLatency {
        self.turn(now);
        let before = self.before(now, minimum);
        TypicalLatency {
            median: self.now.median_with(before),
            count: self.now.count() + before.count(),
        }
    }

    /// Adds the attempts that [`Self::attempts`] evaluated.
    pub fn pool(&self, now: Instant, minimum: u64, pool: &mut PooledHistograms) {
        pool.add(&self.now);
        pool.add(self.before(now, minimum));
    }

    /// The part of the previous half window that still counts.
    fn before(&self, now: Instant, minimum: u64) -> &CoarseHistogram {
        const NOTHING: &CoarseHistogram = &CoarseHistogram::EMPTY;
        let age = Duration::from_nanos(now.as_nanos() % self.half_nanos());
        if age * 5 >= self.window && self.now.count() >= minimum {
            NOTHING
        } else {
            &self.before
        }
    }

    /// The typical latency of probes.
    #[must_use]
    pub fn probes(&self, now: Instant) -> TypicalLatency {
        let recent = self
            .probes
            .iter()
            .filter(|probe| !probe.is_older(now, self.window));
        let seconds: Vec<f64> = recent.map(|probe| f64::from(probe.seconds)).collect();
        let median = Duration::from_secs_f64(median(&seconds).unwrap_or(0.0));
        TypicalLatency {
            median,
            count: seconds.len() as u64,
        }
    }

    /// Forgets all.
    pub fn forget(&mut self) {
        self.now.clear();
        self.before.clear();
        self.probes.clear();
        self.slow_attempts = SlowRow::EMPTY;
        self.slow_probes = SlowRow::EMPTY;
    }

    fn half_nanos(&self) -> u64 {
        u64::try_from(self.window.as_nanos() / 2)
            .unwrap_or(u64::MAX)
            .max(1)
    }

    fn turn(&mut self, at: Instant) {
        if at.as_nanos() < self.next {
            return;
        }
        let half = at.as_nanos() / self.half_nanos();
        self.next = half.saturating_add(1).saturating_mul(self.half_nanos());
        if half == self.half {
            return;
        }
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.clear();
        if half > self.half + 1 {
            self.before.clear();
        }
        self.half = half;
    }
}
