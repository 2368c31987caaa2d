//! Servers that have become slow together: each is compared with its usual speed, and with a peer that is as fast as
//! ever.
//!
//! Two slow servers of three are hidden from a comparison with the median of their peers, but not from one with their
//! own past. A change of the workload would slow down all of them; therefore a peer must be as fast as ever at the same
//! moment.

use std::time::Duration;

/// A difference below this is noise, however many times it is.
const NOTICEABLE: Duration = Duration::from_millis(10);
/// Fewer attempts in the window tell nothing.
const MINIMUM: u64 = 10;
/// A peer within this multiple of its usual latency is as fast as ever.
const AS_EVER: f64 = 1.5;
/// The weight of one evaluation, of one every ten seconds: a half-life of about ten minutes.
const LEARNT: f64 = 0.01;
/// So many looks must have been taken before anything counts as usual.
const LOOKS: u32 = 6;

/// How fast a server usually is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UsualSpeed {
    seconds: f64,
    looks: u32,
}

impl UsualSpeed {
    /// Records a median of this many attempts. Outliers are not learnt.
    pub fn learn(&mut self, median: Duration, count: u64, times: f64) {
        let median = median.as_secs_f64();
        if count < MINIMUM {
            return;
        }
        if self.looks < LOOKS {
            // The middle of the first looks, roughly: the mean.
            self.seconds += (median - self.seconds) / f64::from(self.looks + 1);
            self.looks += 1;
        } else if median < self.seconds * times {
            self.seconds += (median - self.seconds) * LEARNT;
        }
    }

    /// The usual median, once it is known.
    #[must_use]
    pub fn median(&self) -> Option<Duration> {
        (self.looks >= LOOKS).then(|| Duration::from_secs_f64(self.seconds.max(0.0)))
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

/// The places of the servers that have become slow together: two at least and half of those that can be told, each `times` slower
/// than usual and than a peer that is as fast as ever.
#[must_use]
pub fn slow_together(servers: &[Option<Speed>], times: f64) -> Option<Vec<usize>> {
    let known = servers.iter().enumerate().filter_map(|(slot, speed)| {
        let speed = speed.filter(|speed| speed.count >= MINIMUM)?;
        Some((slot, speed.median, speed.usual.median()?))
    });
    let known: Vec<(usize, Duration, Duration)> = known.collect();
    let as_ever = known
        .iter()
        .filter(|(_, now, usual)| *now <= usual.mul_f64(AS_EVER).max(*usual + NOTICEABLE / 2));
    let peer = as_ever.map(|(_, now, _)| *now).max()?;
    let is_slow = |(_, now, usual): &&(usize, Duration, Duration)| {
        let slowest = usual.max(&peer);
        *now > slowest.mul_f64(times.clamp(1.0, 1e6)) && *now > *slowest + NOTICEABLE
    };
    let slow: Vec<usize> = known
        .iter()
        .filter(is_slow)
        .map(|(slot, _, _)| *slot)
        .collect();
    (slow.len() >= 2 && slow.len() * 2 >= known.len()).then_some(slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(now: u64, usual: u64, count: u64) -> Option<Speed> {
        let mut known = UsualSpeed::default();
        for _ in 0..LOOKS {
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
    fn what_is_usual_is_learnt_slowly_and_not_from_what_is_not() {
        let mut usual = UsualSpeed::default();
        assert_eq!(usual.median(), None);
        for _ in 0..LOOKS {
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
