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
    pub fn read(latencies: &mut Latencies, now: Instant) -> Self {
        Self {
            attempts: latencies.attempts(now),
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

/// Holds server `index` against the others; `None` if it is not slow, or nothing can be compared.
#[must_use]
pub fn slow(all: &[Option<Latest>], index: usize, options: &SlowOptions) -> Option<Comparison> {
    let own = all.get(index).copied().flatten()?;
    let minimum = u64::from(options.minimum_attempts.max(1));
    let judge = |own: Typical, of: fn(&Latest) -> Typical, by_probes: bool| {
        if own.count < PEER_MINIMUM {
            return None;
        }
        let peers: Vec<f64> = all
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != index)
            .filter_map(|(_, latest)| latest.as_ref().map(of))
            .filter(|typical| typical.count >= PEER_MINIMUM)
            .map(|typical| typical.median.as_secs_f64())
            .collect();
        let peers = Duration::from_secs_f64(median(&peers)?);
        let limit = peers
            .mul_f64(options.times_peers.max(1.0))
            .max(peers + NOTICEABLE);
        Some((own.median > limit).then(|| Comparison {
            own,
            peers,
            times: own.median.as_secs_f64() / peers.as_secs_f64().max(1e-6),
            limit,
            by_probes,
            enough: own.count >= minimum,
        }))
    };
    let by_attempts = judge(own.attempts, |latest| latest.attempts, false).flatten();
    if own.attempts.count >= minimum || by_attempts.is_some_and(|comparison| comparison.enough) {
        return by_attempts;
    }
    let by_probes = judge(own.probes, |latest| latest.probes, true).flatten();
    by_probes
        .filter(|comparison| comparison.enough)
        .or(by_attempts)
        .or(by_probes)
}
