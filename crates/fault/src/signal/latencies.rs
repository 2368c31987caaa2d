//! How fast a server answers, by real attempts and by probes, kept apart so that like is compared with like.

use std::time::Duration;

use evenkeel_core::stat::{Histogram, median};
use evenkeel_core::{Instant, Recent};

/// How many probes are remembered.
const PROBES: usize = 64;

/// A typical latency and how many it was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Typical {
    /// The median.
    pub median: Duration,
    /// Of so many.
    pub count: u64,
}

/// Latencies of one server over a window.
///
/// Attempts are counted in two histograms of half a window each; a judgement reads both. Counting does not allocate.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// Something came since the flag was last taken down.
    pub fresh: bool,
    window: Duration,
    now: Histogram,
    before: Histogram,
    half: u64,
    probes: Recent<(Instant, Duration)>,
}

impl Latencies {
    /// Over the last `window`.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            fresh: false,
            window,
            now: Histogram::default(),
            before: Histogram::default(),
            half: 0,
            probes: Recent::new(PROBES),
        }
    }

    /// Counts an answered attempt.
    pub fn attempt(&mut self, at: Instant, latency: Duration) {
        self.turn(at);
        self.fresh = true;
        self.now.add(latency);
    }

    /// Counts a passed probe.
    pub fn probe(&mut self, at: Instant, latency: Duration) {
        self.fresh = true;
        self.probes.push((at, latency));
    }

    /// What is typical of attempts.
    pub fn attempts(&mut self, now: Instant) -> Typical {
        self.turn(now);
        let mut both = self.before.clone();
        both.merge(&self.now);
        Typical {
            median: both.quantile(0.5),
            count: both.count(),
        }
    }

    /// What is typical of probes.
    #[must_use]
    pub fn probes(&self, now: Instant) -> Typical {
        let from = now.before(self.window);
        let seconds: Vec<f64> = self
            .probes
            .iter()
            .filter(|(at, _)| *at >= from)
            .map(|(_, latency)| latency.as_secs_f64())
            .collect();
        Typical {
            median: Duration::from_secs_f64(median(&seconds).unwrap_or(0.0)),
            count: seconds.len() as u64,
        }
    }

    /// Forgets all.
    pub fn forget(&mut self) {
        self.now.clear();
        self.before.clear();
        self.probes.clear();
    }

    fn turn(&mut self, at: Instant) {
        let length = u64::try_from(self.window.as_nanos() / 2)
            .unwrap_or(u64::MAX)
            .max(1);
        let half = at.as_nanos() / length;
        if half <= self.half {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        if half > self.half + 1 {
            self.before.clear();
        }
        self.half = half;
    }
}
