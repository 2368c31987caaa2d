//! Much slower than its peers. Attempts are compared with attempts and probes with probes: a server that gets little
//! traffic can be judged by its probes, and one that gets most of it is not slow because its peers were only probed.

use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::stat::median;

use crate::policy::SlowOptions;
use crate::signal::{Latencies, Typical};

use super::{Detection, Detector};

/// A difference below this is noise of the machine, however many times it is.
const NOTICEABLE: Duration = Duration::from_millis(5);
/// A peer with fewer latencies than this is not compared with.
const PEER_MINIMUM: u64 = 3;

/// What is typical of one server now.
#[derive(Debug, Clone, Copy)]
pub struct Latest {
    /// By real attempts.
    pub attempts: Typical,
    /// By probes.
    pub probes: Typical,
}

impl Latest {
    /// Reads a server's latencies.
    #[must_use]
    pub fn read(latencies: &mut Latencies, now: Instant, options: &SlowOptions) -> Self {
        let minimum = u64::from(options.minimum_attempts.max(1));
        Self {
            attempts: latencies.attempts(now, minimum),
            probes: latencies.probes(now),
        }
    }
}

/// One server held against its peers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Its own median.
    pub own: Typical,
    /// The median of its peers' medians.
    pub peers: Duration,
    /// How many times slower.
    pub times: f64,
    /// Above which latency it counts as slow.
    pub limit: Duration,
    /// Whether probes were compared, not attempts.
    pub by_probes: bool,
    /// Whether there were enough latencies to decide. If not, it is only in doubt.
    pub enough: bool,
}

impl Comparison {
    /// What it says, in words.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "median latency of {} {} is {:.1} ms, {:.1} times that of its peers ({:.1} ms)",
            self.own.count,
            if self.by_probes { "probes" } else { "attempts" },
            self.own.median.as_secs_f64() * 1e3,
            self.times,
            self.peers.as_secs_f64() * 1e3
        )
    }

    /// The detection, if there were enough latencies.
    #[must_use]
    pub fn detection(&self, since: Instant) -> Option<Detection> {
        self.enough.then(|| Detection {
            by: Detector::Slow,
            onset: since,
            text: self.text(),
        })
    }
}

/// Above which latency a server counts as slow, by its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For attempts.
    pub attempts: Option<(Duration, Duration)>,
    /// For probes.
    pub probes: Option<(Duration, Duration)>,
}

/// The peers' median of attempts and of probes, each with the limit that follows from it, where they can be told.
#[must_use]
pub fn limits(all: &[Option<Latest>], index: usize, options: &SlowOptions) -> Limits {
    let of = |which: fn(&Latest) -> Typical| {
        let others = all.iter().enumerate().filter(|(place, _)| *place != index);
        let peers: Vec<f64> = others
            .filter_map(|(_, latest)| latest.as_ref().map(which))
            .filter(|typical| typical.count >= PEER_MINIMUM)
            .map(|typical| typical.median.as_secs_f64())
            .collect();
        let peers = Duration::from_secs_f64(median(&peers)?);
        let limit = peers
            .mul_f64(options.times_peers.clamp(1.0, 1e6))
            .max(peers + NOTICEABLE);
        Some((peers, limit))
    };
    Limits {
        attempts: of(|latest| latest.attempts),
        probes: of(|latest| latest.probes),
    }
}

/// Holds a server against its peers; `None` if it is not slow, or nothing can be compared.
#[must_use]
pub fn slow(own: Latest, limits: Limits, options: &SlowOptions) -> Option<Comparison> {
    let minimum = u64::from(options.minimum_attempts.max(1));
    let judge = |own: Typical, limits: Option<(Duration, Duration)>, by_probes: bool| {
        let (peers, limit) = limits?;
        let times = own.median.as_secs_f64() / peers.as_secs_f64().max(1e-6);
        let enough = own.count >= minimum;
        let is_slow = own.count >= PEER_MINIMUM && own.median > limit;
        is_slow.then_some(Comparison {
            own,
            peers,
            times,
            limit,
            by_probes,
            enough,
        })
    };
    let by_attempts = judge(own.attempts, limits.attempts, false);
    // Enough real requests know better than any probe.
    if own.attempts.count >= minimum {
        return by_attempts;
    }
    let by_probes = judge(own.probes, limits.probes, true);
    by_probes
        .filter(|comparison| comparison.enough)
        .or(by_attempts)
        .or(by_probes)
}
