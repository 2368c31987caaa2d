//! Servers that have become slow together: each is compared with its usual speed, and with a peer that is as fast as
//! ever.
//!
//! Two slow servers of three are hidden from a comparison with the median of their peers, but not from one with their
//! own past. A change of the workload, or a busy machine, would slow down all of them; therefore what counts is how many times
//! more a server has become slower than the peer that has the least.
//!
//! The past is sampled every ten seconds. Six samples settle what is usual. Before that the median of the few that there are
//! may be far from it, so a server must be twice as many times slower: with the defaults six times instead of three.

use std::time::Duration;

/// A difference below this is noise, however many times it is.
const NOTICEABLE: Duration = Duration::from_millis(10);
/// Fewer attempts in the window tell nothing.
const MINIMUM: u64 = 10;
/// A peer within this multiple of its usual latency is as fast as ever.
const AS_EVER: f64 = 1.5;
/// The weight of one sample, of one every ten seconds: a half-life of about ten minutes.
const LEARNT: f64 = 0.01;
/// So many samples settle what is usual.
const SAMPLES: usize = 6;
/// With fewer, a server must be so many times as many times slower as with enough.
const UNSETTLED: f64 = 2.0;

/// How fast a server usually is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UsualSpeed {
    /// Once it is settled; until then the middle one of the samples.
    seconds: f64,
    samples: [f32; SAMPLES],
    count: usize,
}

impl UsualSpeed {
    /// Records a median of this many attempts. Outliers of what is settled are not learnt.
    pub fn learn(&mut self, median: Duration, count: u64, times: f64) {
        let seconds = median.as_secs_f64();
        if count < MINIMUM {
            return;
        }
        if self.count < SAMPLES {
            self.samples[self.count] = median.as_secs_f32();
            self.count += 1;
            let mut sorted = self.samples;
            let sorted = &mut sorted[..self.count];
            sorted.sort_unstable_by(f32::total_cmp);
            // The lower one of two in the middle: the first requests may be slow, as caches are empty.
            self.seconds = f64::from(sorted[(self.count - 1) / 2]);
        } else if seconds < self.seconds * times {
            self.seconds += (seconds - self.seconds) * LEARNT;
        }
    }

    /// Whether it is settled.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.count == SAMPLES
    }

    /// The usual median, as far as it is known.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_secs_f64(self.seconds.max(0.0)))
    }

    /// How many times slower a server must be, where `times` are enough once it is settled.
    fn times(&self, times: f64) -> f64 {
        let unsettled = if self.is_settled() { 1.0 } else { UNSETTLED };
        (times * unsettled).clamp(1.0, 1e6)
    }
}

/// How fast a server is now, and usually.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// The median now.
    pub median: Duration,
    /// Of so many attempts.
    pub count: u64,
    /// How fast it usually is.
    pub usual: UsualSpeed,
}

impl Speed {
    /// Whether it is still so many times slower than usual, whatever others are.
    #[must_use]
    pub fn is_slow(&self, times: f64) -> bool {
        let usual = self.usual.median();
        let is_slow = |usual: Duration| self.median > usual.mul_f64(times.clamp(1.0, 1e6));
        self.count >= MINIMUM && usual.is_some_and(is_slow)
    }
}

/// A server whose speed is known now and usually, in seconds.
struct KnownSpeed {
    slot: usize,
    now: f64,
    usual: f64,
    /// How many times slower it must be.
    times: f64,
}

impl KnownSpeed {
    fn of((slot, speed): (usize, &Option<Speed>), times: f64) -> Option<Self> {
        let speed = speed.filter(|speed| speed.count >= MINIMUM)?;
        Some(Self {
            slot,
            now: speed.median.as_secs_f64(),
            usual: speed.usual.median()?.as_secs_f64(),
            times: speed.usual.times(times),
        })
    }

    /// How many times slower than usual it is; 1 if it is as fast as ever.
    fn slowdown(&self) -> f64 {
        let as_ever = (self.usual * AS_EVER).max(self.usual + NOTICEABLE.as_secs_f64() / 2.0);
        if self.now <= as_ever {
            1.0
        } else {
            self.now / self.usual.max(1e-6)
        }
    }

    /// Whether it is slow beside a peer that is so many times slower than usual.
    fn is_slow(&self, peer: &Self, slowdown: f64) -> bool {
        let slowest = (self.usual * slowdown).max(peer.now);
        self.now > slowest * self.times && self.now > slowest + NOTICEABLE.as_secs_f64()
    }
}

/// The places of the servers that have become slow together: two at least and half of those that can be told, each so many times more
/// than the peer that has become least slow, and so many times slower than that peer is. These are `times`, or twice that where what is
/// usual is not settled.
#[must_use]
pub fn slow_together(servers: &[Option<Speed>], times: f64) -> Option<Vec<usize>> {
    let known = servers.iter().enumerate();
    let known = known.filter_map(|server| KnownSpeed::of(server, times));
    let known: Vec<KnownSpeed> = known.collect();
    let slowdowns = known.iter().map(|one| (one.slowdown(), one));
    // Of several that are as fast as ever, the slowest.
    let (slowdown, peer) = slowdowns
        .min_by(|(one, of), (other, to)| one.total_cmp(other).then(to.now.total_cmp(&of.now)))?;
    let slow = known.iter().filter(|one| one.is_slow(peer, slowdown));
    let slow: Vec<usize> = slow.map(|one| one.slot).collect();
    (slow.len() >= 2 && slow.len() * 2 >= known.len()).then_some(slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(now: u64, usual: u64, count: u64) -> Option<Speed> {
        server_with(SAMPLES, now, usual, count)
    }

    fn server_with(samples: usize, now: u64, usual: u64, count: u64) -> Option<Speed> {
        let mut known = UsualSpeed::default();
        for _ in 0..samples {
            known.learn(Duration::from_millis(usual), 100, 3.0);
        }
        Some(Speed {
            median: Duration::from_millis(now),
            count,
            usual: known,
        })
    }

    #[test]
    fn two_of_three_that_are_slower_than_ever_beside_one_that_is_not() {
        for (servers, expected) in [
            (
                vec![server(100, 5, 50), server(90, 5, 50), server(5, 5, 50)],
                Some(vec![0, 1]),
            ),
            // No peer to compare with: the workload may have changed.
            (
                vec![server(100, 5, 50), server(90, 5, 50), server(80, 5, 50)],
                None,
            ),
            // All are slower, and two of them many times more.
            (
                vec![server(400, 5, 50), server(390, 5, 50), server(20, 5, 50)],
                Some(vec![0, 1]),
            ),
            (
                vec![server(59, 5, 50), server(59, 5, 50), server(20, 5, 50)],
                None,
            ),
            // They always were.
            (
                vec![server(100, 95, 50), server(90, 90, 50), server(5, 5, 50)],
                None,
            ),
            // One is judged by its peers.
            (
                vec![server(100, 5, 50), server(5, 5, 50), server(5, 5, 50)],
                None,
            ),
            (
                vec![server(100, 5, 9), server(90, 5, 50), server(5, 5, 50)],
                None,
            ),
            (
                vec![server(12, 3, 50), server(12, 3, 50), server(3, 3, 50)],
                None,
            ),
            (
                vec![
                    server(100, 5, 50),
                    None,
                    server(90, 5, 50),
                    server(6, 5, 50),
                ],
                Some(vec![0, 2]),
            ),
            (vec![], None),
        ] {
            assert_eq!(slow_together(&servers, 3.0), expected, "{servers:?}");
        }
    }

    #[test]
    fn a_short_past_is_enough_where_the_difference_is_large() {
        for (samples, slow, expected) in [
            (SAMPLES, 16, Some(vec![0, 1])),
            (SAMPLES - 1, 29, None),
            (SAMPLES - 1, 31, Some(vec![0, 1])),
            (1, 29, None),
            (1, 31, Some(vec![0, 1])),
            (0, 800, None),
        ] {
            let servers = [slow, slow, 5].map(|now| server_with(samples, now, 5, 50));
            assert_eq!(slow_together(&servers, 3.0), expected, "{samples} {slow}");
        }
    }

    #[test]
    fn a_first_sample_that_is_slow_does_not_count_for_long() {
        let mut usual = UsualSpeed::default();
        for (millis, expected) in [(150, 150), (5, 5), (6, 6), (5, 5), (200, 6), (7, 6)] {
            usual.learn(Duration::from_millis(millis), 100, 1.5);
            let found = usual
                .median()
                .map(|median| (median.as_secs_f64() * 1e3).round());
            assert_eq!(found, Some(f64::from(expected)), "{millis}");
        }
        assert!(usual.is_settled());
    }

    #[test]
    fn what_is_usual_is_learnt_slowly_and_not_from_what_is_not() {
        let mut usual = UsualSpeed::default();
        assert_eq!(usual.median(), None);
        for _ in 0..SAMPLES {
            usual.learn(Duration::from_millis(10), 100, 3.0);
        }
        for _ in 0..1_000 {
            usual.learn(Duration::from_millis(500), 100, 3.0);
            usual.learn(Duration::from_millis(10), 3, 3.0);
        }
        assert_eq!(usual.median(), Some(Duration::from_millis(10)));
        for _ in 0..1_000 {
            usual.learn(Duration::from_millis(20), 100, 3.0);
        }
        assert!(usual.median() > Some(Duration::from_millis(19)));
    }
}
