//! Detects a server that is much slower than its peers. Attempts are compared with attempts and probes with probes: a
//! server with little traffic can be judged by its probes, and one with most of the traffic is not slow because its
//! peers were only probed. If both agree, their numbers add up: a policy that avoids a slow server leaves too few
//! attempts to judge it by. The same holds for an uninterrupted series of slow attempts, even one longer than the
//! window.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::policy::SlowServerOptions;
use crate::signal::{Latencies, TypicalLatency};

use super::{Detection, Detector};

/// A difference below this is noise of the machine, however many times it is.
const NOTICEABLE: Duration = Duration::from_millis(5);
/// A peer with fewer latencies than this is not compared with.
const PEER_MINIMUM: u64 = 3;

/// The typical latencies of one server.
#[derive(Debug, Clone, Copy)]
pub struct RecentTypical {
    /// By real attempts.
    pub attempts: TypicalLatency,
    /// By probes.
    pub probes: TypicalLatency,
    /// How many attempts in a row were slow, in the window or before it.
    pub slow_row: u64,
}

impl RecentTypical {
    /// Reads a server's latencies.
    #[must_use]
    pub fn read(latencies: &mut Latencies, now: Instant, options: &SlowServerOptions) -> Self {
        let minimum = u64::from(options.minimum_attempts.max(1));
        Self {
            attempts: latencies.attempts(now, minimum),
            probes: latencies.probes(now),
            slow_row: latencies.slow_attempts.count,
        }
    }
}

impl RecentTypical {
    /// Only its probes.
    const fn without_attempts(self) -> Self {
        Self {
            attempts: TypicalLatency {
                count: 0,
                ..self.attempts
            },
            slow_row: 0,
            ..self
        }
    }
}

/// The weight of a probe in attempts: it is the same small request each time, so its latency scatters less, and a
/// window at the fast pace holds few of them.
const PROBE_WEIGHT: u64 = 2;

/// Within so many times the median of its peers a server is as fast as they are.
const AS_FAST: f64 = 1.5;

/// Whether a server with this median is as fast as peers with that one, or nearly so: it is not enough not to be slow, since on a
/// machine that is busy for a moment the peers of a slow server are slow, too.
#[must_use]
pub fn is_as_fast(own: Duration, peers: Duration) -> bool {
    own <= peers.mul_f64(AS_FAST).max(peers + NOTICEABLE / 2)
}

/// One server held against its peers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Its own median.
    pub own: TypicalLatency,
    /// The median of its peers' medians.
    pub peers: Duration,
    /// How many times slower.
    pub times: f64,
    /// Above which latency it counts as slow.
    pub limit: Duration,
    /// Whether probes were compared, not attempts.
    pub by_probes: bool,
    /// How many probes say the same as the attempts, which `own` does not count.
    pub agreeing_probes: u64,
    /// How many attempts in a row were slow: more than `own` counts where there is so little traffic that the row is
    /// longer than the window.
    pub slow_row: u64,
    /// Whether there were enough latencies to decide. If not, it is only in doubt.
    pub enough: bool,
}

impl Comparison {
    /// The comparison in words.
    #[must_use]
    pub fn text(&self) -> String {
        let agreeing = match self.agreeing_probes {
            0 => String::new(),
            1 => " (and 1 probe says the same)".to_owned(),
            more => format!(" (and {more} probes say the same)"),
        };
        let row = if self.slow_row > self.own.count {
            format!("; the last {} were all slow", self.slow_row)
        } else {
            String::new()
        };
        format!(
            "median latency of {} {}{agreeing} is {:.1} ms, {:.1} times that of its peers ({:.1} ms){row}",
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
pub struct SlowLimits {
    /// For attempts.
    pub attempts: Option<(Duration, Duration)>,
    /// For probes.
    pub probes: Option<(Duration, Duration)>,
}

/// The typical latencies of all servers of a service, sorted, so that the median of any server's peers is a lookup.
#[derive(Debug)]
pub struct Peers {
    attempts: Vec<f64>,
    probes: Vec<f64>,
}

impl Peers {
    /// Of these servers, those that can be compared with.
    #[must_use]
    pub fn new(all: &[Option<RecentTypical>]) -> Self {
        let of = |which: fn(&RecentTypical) -> TypicalLatency| {
            let all = all.iter().flatten().map(which);
            let counted = all.filter(|typical| typical.count >= PEER_MINIMUM);
            let mut sorted: Vec<f64> = counted
                .map(|typical| typical.median.as_secs_f64())
                .collect();
            sorted.sort_unstable_by(f64::total_cmp);
            sorted
        };
        Self {
            attempts: of(|latest| latest.attempts),
            probes: of(|latest| latest.probes),
        }
    }

    /// The median of the peers' attempts and of their probes, each with the limit that follows from it, where they can be
    /// told. `own` is what is typical of the server itself, one of these or none.
    #[must_use]
    pub fn limits(&self, own: Option<RecentTypical>, options: &SlowServerOptions) -> SlowLimits {
        let of = |sorted: &[f64], own: Option<TypicalLatency>| {
            let own = own.filter(|own| own.count >= PEER_MINIMUM);
            let peers = median_without(sorted, own.map(|own| own.median.as_secs_f64()))?;
            let peers = Duration::from_secs_f64(peers);
            let limit = peers
                .mul_f64(options.times_peers.clamp(1.0, 1e6))
                .max(peers + NOTICEABLE);
            Some((peers, limit))
        };
        SlowLimits {
            attempts: of(&self.attempts, own.map(|own| own.attempts)),
            probes: of(&self.probes, own.map(|own| own.probes)),
        }
    }
}

/// The median of sorted values without one of those that equal `own`.
fn median_without(sorted: &[f64], own: Option<f64>) -> Option<f64> {
    let skipped = own.and_then(|own| sorted.binary_search_by(|value| value.total_cmp(&own)).ok());
    let at = |slot: usize| {
        let passed = skipped.is_some_and(|skipped| slot >= skipped);
        sorted[slot + usize::from(passed)]
    };
    let last = (sorted.len() - usize::from(skipped.is_some())).checked_sub(1)?;
    Some(f64::midpoint(at(last / 2), at(last.div_ceil(2))))
}

/// By how many standard deviations the attempts of a server must rank above those of its peers: chance does it once in a
/// million looks.
const BEYOND_CHANCE: f64 = 4.75;

/// A row of slow attempts proves something if at most this share of the peers' attempts is slow: with the default minimum of 20,
/// chance does it once in 10¹² attempts.
const RARELY_SLOW: f64 = 0.25;

/// How a server's attempts lie among those of its peers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankAmongPeers {
    /// By how many standard deviations they rank above.
    pub excess: f64,
    /// The share of the peers' attempts that are slow.
    pub peers_slow: f64,
}

/// Holds a server against its peers; `None` if it is not slow, or nothing can be compared. `standing` is asked with the limit, and
/// only where a median is slow. Where requests differ much by nature, a few slow ones more than usual move a median, and prove
/// nothing.
#[must_use]
pub fn slow(
    own: RecentTypical,
    limits: SlowLimits,
    options: &SlowServerOptions,
    standing: impl FnOnce(Duration) -> RankAmongPeers,
) -> Option<Comparison> {
    let minimum = u64::from(options.minimum_attempts.max(1));
    let own = if options.mixes_differ {
        own.without_attempts()
    } else {
        own
    };
    let judge = |typical: TypicalLatency, limits: Option<(Duration, Duration)>, by_probes: bool| {
        let (peers, limit) = limits?;
        let slow_row = if by_probes { 0 } else { own.slow_row };
        let times = typical.median.as_secs_f64() / peers.as_secs_f64().max(1e-6);
        let weight = if by_probes { PROBE_WEIGHT } else { 1 };
        let is_slow = typical.count >= PEER_MINIMUM && typical.median > limit;
        is_slow.then_some(Comparison {
            own: typical,
            peers,
            times,
            limit,
            by_probes,
            agreeing_probes: 0,
            slow_row,
            enough: typical.count * weight >= minimum || slow_row >= minimum,
        })
    };
    let mut by_attempts = judge(own.attempts, limits.attempts, false);
    if let Some(attempts) = &mut by_attempts {
        let standing = standing(attempts.limit);
        let is_row = attempts.slow_row >= minimum && standing.peers_slow <= RARELY_SLOW;
        attempts.enough &= is_row || standing.excess >= BEYOND_CHANCE;
    }
    // Enough real requests know better than any probe.
    if own.attempts.count >= minimum {
        return by_attempts;
    }
    let by_probes = judge(own.probes, limits.probes, true);
    if let (Some(attempts), Some(probes)) = (by_attempts, by_probes) {
        let both = attempts.own.count + probes.own.count * PROBE_WEIGHT;
        return Some(Comparison {
            agreeing_probes: probes.own.count,
            enough: attempts.enough || both >= minimum,
            ..attempts
        });
    }
    by_probes
        .filter(|comparison| comparison.enough)
        .or(by_attempts)
        .or(by_probes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: SlowServerOptions = SlowServerOptions {
        times_peers: 3.0,
        window: Duration::from_secs(10),
        minimum_attempts: 20,
        mixes_differ: false,
    };

    fn typical(millis: u64, count: u64) -> TypicalLatency {
        TypicalLatency {
            median: Duration::from_millis(millis),
            count,
        }
    }

    #[test]
    fn as_fast_is_more_than_not_slow() {
        let millis = Duration::from_millis;
        for (own, peers, expected) in [
            (1, 1, true),
            (3, 1, true),
            (4, 1, false),
            (20, 7, false),
            (20, 14, true),
        ] {
            assert_eq!(
                is_as_fast(millis(own), millis(peers)),
                expected,
                "{own} {peers}"
            );
        }
    }

    #[test]
    fn slow_requests_by_chance_do_not_make_a_slow_server() {
        let judged = |slow_row, excess, peers_slow| {
            let standing = RankAmongPeers { excess, peers_slow };
            judged_by(typical(400, 20), typical(2, 5), slow_row, standing)
                .unwrap()
                .enough
        };
        assert!(!judged(0, 3.0, 0.1));
        assert!(judged(0, 5.0, 0.1));
        // A row proves something only where few of the peers' attempts are slow.
        assert!(judged(20, 0.0, 0.1));
        assert!(!judged(20, 0.0, 0.5));
    }

    #[test]
    fn where_each_server_gets_requests_of_its_own_only_probes_are_compared() {
        let options = SlowServerOptions {
            mixes_differ: true,
            ..OPTIONS
        };
        let peer = RecentTypical {
            attempts: typical(5, 100),
            probes: typical(2, 20),
            slow_row: 0,
        };
        for (attempts, probes, expected) in
            [(500, 2, None), (500, 200, Some(true)), (5, 200, Some(true))]
        {
            let own = RecentTypical {
                attempts: typical(attempts, 100),
                probes: typical(probes, 20),
                slow_row: 100,
            };
            let limits =
                Peers::new(&[Some(own), Some(peer), Some(peer)]).limits(Some(own), &options);
            let standing = |_| RankAmongPeers {
                excess: 9.0,
                peers_slow: 0.0,
            };
            let found = slow(own, limits, &options, standing);
            let found = found.map(|found| found.enough && found.by_probes);
            assert_eq!(found, expected, "{attempts} {probes}");
        }
    }

    fn judged(attempts: TypicalLatency, probes: TypicalLatency) -> Option<Comparison> {
        judged_with_row(attempts, probes, 0)
    }

    fn judged_with_row(
        attempts: TypicalLatency,
        probes: TypicalLatency,
        slow_row: u64,
    ) -> Option<Comparison> {
        let beyond_doubt = RankAmongPeers {
            excess: f64::INFINITY,
            peers_slow: 0.1,
        };
        judged_by(attempts, probes, slow_row, beyond_doubt)
    }

    fn judged_by(
        attempts: TypicalLatency,
        probes: TypicalLatency,
        slow_row: u64,
        standing: RankAmongPeers,
    ) -> Option<Comparison> {
        let peer = RecentTypical {
            attempts: typical(4, 500),
            probes: typical(2, 5),
            slow_row: 0,
        };
        let own = RecentTypical {
            attempts,
            probes,
            slow_row,
        };
        let all = [Some(own), Some(peer), Some(peer)];
        let limits = Peers::new(&all).limits(Some(own), &OPTIONS);
        slow(own, limits, &OPTIONS, |_| standing)
    }

    #[test]
    fn a_row_of_slow_attempts_is_enough_though_the_window_holds_few_of_them() {
        let few = judged_with_row(typical(22, 8), typical(1, 5), 19).unwrap();
        assert!(!few.enough, "{few:?}");
        let enough = judged_with_row(typical(22, 8), typical(1, 5), 20).unwrap();
        assert!(enough.enough, "{enough:?}");
        assert!(
            enough.text().ends_with("the last 20 were all slow"),
            "{}",
            enough.text()
        );
    }

    #[test]
    fn attempts_and_probes_that_agree_add_up() {
        let few = judged(typical(22, 11), typical(21, 4)).unwrap();
        assert!(!few.enough && !few.by_probes, "{few:?}");
        let enough = judged(typical(22, 12), typical(21, 4)).unwrap();
        assert!(enough.enough, "{enough:?}");
    }

    #[test]
    fn the_median_of_the_others_is_that_of_a_list_without_it() {
        for values in [
            &[1.0, 2.0, 3.0, 4.0, 5.0][..],
            &[1.0, 1.0, 7.0, 9.0],
            &[3.0],
            &[],
        ] {
            for own in [None, Some(1.0), Some(3.0), Some(5.0), Some(9.0)] {
                let mut others = values.to_vec();
                if let Some(slot) = own.and_then(|own| {
                    others
                        .iter()
                        .position(|one: &f64| one.total_cmp(&own).is_eq())
                }) {
                    others.remove(slot);
                }
                let expected = evenkeel_core::stat::median(&others);
                assert_eq!(median_without(values, own), expected, "{values:?} {own:?}");
            }
        }
    }

    #[test]
    fn probes_alone_are_enough_at_the_fast_pace() {
        let found = judged(typical(0, 0), typical(21, 10)).unwrap();
        assert!(found.enough && found.by_probes, "{found:?}");
        assert!(!judged(typical(0, 0), typical(21, 9)).unwrap().enough);
    }

    #[test]
    fn enough_attempts_know_better_than_probes() {
        assert_eq!(judged(typical(4, 20), typical(50, 60)), None);
        assert!(judged(typical(22, 20), typical(2, 60)).unwrap().enough);
    }

    #[test]
    fn a_small_difference_is_noise() {
        // The peers' 4 ms leave room up to 12 ms; 2 ms probes up to 7 ms, which is 5 ms more than theirs.
        assert_eq!(judged(typical(12, 20), typical(7, 60)), None);
    }
}
