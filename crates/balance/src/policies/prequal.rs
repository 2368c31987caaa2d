//! Prequal (Wydrowski and others, "Load is not what you should balance", NSDI 2024), by what this side sees of servers.
//!
//! A few random servers are looked at with each pick, and what was seen is remembered for the picks that follow. A server is
//! *hot* if it has more attempts in flight than most: of cold ones the quickest is picked, and if all are hot the one with
//! the fewest attempts. So latency decides while there is room, and load as soon as there is not. A look is free here, since
//! the counts are those of this program: what the paper's probes add is the load that other clients put on a server, which
//! shows here in its latency only.

use std::time::Duration;

use evenkeel_core::{Instant, Random};

use super::least_response_time::expected;
use crate::turn::{Drawn, Turn};

/// Looks that are remembered (section 4.3 of the paper; so are the other numbers).
const POOL: usize = 16;
/// A look is of no use after this.
const OLDEST: Duration = Duration::from_secs(1);
/// Looks for each pick.
const LOOKS: f64 = 3.0;
/// Looks forgotten with each pick, the oldest one and the worst one by turns.
const REMOVALS: f64 = 1.0;
/// How much the number of remembered looks may drift up before it is bounded by the pool's size.
const DRIFT: f64 = 1.0;
/// A server is hot above this quantile of attempts in flight: 2^-0.25.
const HOT_QUANTILE: f64 = 0.84;
/// Latest counts of attempts in flight, whose distribution says what is hot.
const SEEN: usize = 64;
/// Latencies that differ by less are equal, and attempts in flight decide.
const NEARLY: f64 = 0.9;

/// What is remembered of servers, by one worker for one service.
#[derive(Debug)]
pub(crate) struct Probes {
    pool: u64,
    /// The oldest first.
    probes: [Probe; POOL],
    len: usize,
    seen: [f64; SEEN],
    seen_next: usize,
    seen_len: usize,
    /// Above which load a server is hot, and for how many picks that is used.
    limit: f64,
    limit_for: u32,
    turn: bool,
}

/// What was seen of one server.
#[derive(Debug, Clone, Copy, Default)]
struct Probe {
    index: u32,
    at: Instant,
    /// Attempts in flight for its weight, those sent on the strength of this look counted.
    load: f64,
    /// Seconds. The weight has no part in it: servers are drawn by weight.
    latency: f64,
    /// What one more attempt adds to `load`.
    step: f64,
    uses: u32,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            pool: 0,
            probes: [Probe::default(); POOL],
            len: 0,
            seen: [0.0; SEEN],
            seen_next: 0,
            seen_len: 0,
            limit: f64::INFINITY,
            limit_for: 0,
            turn: false,
        }
    }
}

impl Probes {
    /// The best one of those that are remembered and of some that are looked at now.
    pub(crate) fn pick(&mut self, turn: &Turn<'_>, typical: f64, rng: &mut Random) -> u32 {
        if self.pool != turn.pool.id() {
            (self.pool, self.len, self.seen_len) = (turn.pool.id(), 0, 0);
        }
        self.forget(turn);
        self.look(turn, typical, rng);
        let Some(best) = self.best(rng) else {
            return turn.by_share(rng);
        };
        let probe = &mut self.probes[best];
        let index = probe.index;
        probe.load += probe.step;
        probe.uses = probe.uses.saturating_sub(1);
        if probe.uses == 0 {
            self.remove(best);
        }
        self.remove_one();
        index
    }

    /// Forgets what is too old, and servers that may not be picked now.
    fn forget(&mut self, turn: &Turn<'_>) {
        let mut kept = 0;
        for place in 0..self.len {
            let probe = self.probes[place];
            let fresh = turn.now.since(probe.at) <= OLDEST;
            if fresh && turn.is_open(probe.index) && !turn.is_full(probe.index) {
                self.probes[kept] = probe;
                kept += 1;
            }
        }
        self.len = kept;
    }

    fn look(&mut self, turn: &Turn<'_>, typical: f64, rng: &mut Random) {
        let mut drawn = Drawn::default();
        let uses = uses(turn.list.len());
        for _ in 0..LOOKS as u32 {
            let Some(index) = turn.draw(&mut drawn, rng) else {
                return;
            };
            let member = turn.member(index);
            let weight = f64::from(member.weight());
            let load = f64::from(member.state.in_flight()) / weight;
            self.seen[self.seen_next] = load;
            self.seen_next = (self.seen_next + 1) % SEEN;
            self.seen_len = (self.seen_len + 1).min(SEEN);
            // A newer look at the same server takes the place of the older one.
            if let Some(older) = self.probes[..self.len]
                .iter()
                .position(|p| p.index == index)
            {
                self.remove(older);
            }
            if self.len == POOL {
                self.remove(0);
            }
            self.probes[self.len] = Probe {
                index,
                at: turn.now,
                load,
                latency: expected(turn, index, typical),
                step: 1.0 / weight,
                uses: uses.floor() as u32 + u32::from(rng.unit() < uses.fract()),
            };
            self.len += 1;
        }
    }

    /// The place of the best probe: the quickest cold one, else the least loaded. Equals are told apart by lot.
    fn best(&mut self, rng: &mut Random) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        self.renew_limit();
        let start = rng.below(self.len);
        let mut best = start;
        for step in 1..self.len {
            let place = (start + step) % self.len;
            if self.is_better(&self.probes[place], &self.probes[best]) {
                best = place;
            }
        }
        Some(best)
    }

    fn is_better(&self, one: &Probe, other: &Probe) -> bool {
        match (one.load > self.limit, other.load > self.limit) {
            (false, true) => true,
            (true, false) => false,
            (true, true) => one.load < other.load,
            (false, false) => {
                let (low, high) = (
                    one.latency.min(other.latency),
                    one.latency.max(other.latency),
                );
                if low > high * NEARLY {
                    one.load < other.load
                } else {
                    one.latency < other.latency
                }
            }
        }
    }

    /// The quantile of the latest loads, computed again now and then.
    fn renew_limit(&mut self) {
        if self.limit_for > 0 {
            self.limit_for -= 1;
            return;
        }
        let mut sorted = self.seen;
        let seen = &mut sorted[..self.seen_len];
        if seen.is_empty() {
            return;
        }
        let place = ((seen.len() - 1) as f64 * HOT_QUANTILE).round() as usize;
        self.limit = *seen.select_nth_unstable_by(place, f64::total_cmp).1;
        self.limit_for = 15;
    }

    /// One look less for each pick, so that bad ones do not fill the pool: the oldest and the worst by turns.
    fn remove_one(&mut self) {
        if self.len <= 2 {
            return;
        }
        self.turn = !self.turn;
        if self.turn {
            self.remove(0);
            return;
        }
        let mut worst = 0;
        for place in 1..self.len {
            if self.is_better(&self.probes[worst], &self.probes[place]) {
                worst = place;
            }
        }
        self.remove(worst);
    }

    fn remove(&mut self, place: usize) {
        self.probes.copy_within(place + 1..self.len, place);
        self.len -= 1;
    }
}

/// How often one look may be used: `max(1, (1 + delta) / ((1 - m/n) × looks - removals))`, for a pool of m looks at n
/// servers (the paper's equation 1). For small n, where that has no value, until it is too old.
fn uses(servers: usize) -> f64 {
    let part = 1.0 - POOL as f64 / servers.max(1) as f64;
    let surplus = part.mul_add(LOOKS, -REMOVALS);
    if surplus <= 0.0 {
        return POOL as f64;
    }
    ((1.0 + DRIFT) / surplus).clamp(1.0, POOL as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_number_of_uses() {
        assert!((uses(100) - 2.0 / 1.52).abs() < 1e-12);
        assert!((uses(1_000_000) - 1.0).abs() < 1e-4);
        assert!((uses(3) - 16.0).abs() < 1e-12);
    }

    fn probe(load: f64, latency: f64) -> Probe {
        Probe {
            load,
            latency,
            ..Probe::default()
        }
    }

    #[test]
    fn of_cold_ones_the_quickest_and_of_hot_ones_the_least_loaded() {
        let probes = Probes {
            limit: 5.0,
            ..Probes::default()
        };
        let better = |one, other| probes.is_better(&one, &other);
        assert!(
            better(probe(5.0, 0.010), probe(1.0, 0.020)),
            "both cold: latency"
        );
        assert!(
            better(probe(1.0, 0.900), probe(6.0, 0.001)),
            "cold before hot"
        );
        assert!(
            better(probe(6.0, 0.900), probe(7.0, 0.001)),
            "both hot: load"
        );
        assert!(
            better(probe(1.0, 0.0101), probe(2.0, 0.010)),
            "as quick: load"
        );
    }
}
