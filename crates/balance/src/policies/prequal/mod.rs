//! Prequal (Wydrowski and others, "Load is not what you should balance", NSDI 2024), based on what this process
//! observes of its servers.
//!
//! With each pick one random server is sampled, and the samples are remembered for the picks that follow. A server is
//! *hot* if it has more attempts in flight than most. Among cold servers the fastest is picked; if all are hot, the one
//! with the fewest attempts. So latency decides while there is spare capacity, and load when there is not. Sampling is
//! free here, since the counters are local. What the paper's probes add is the load from other clients, which shows up
//! here only as latency. Where load probes are configured, their answers are used instead ([`pools`]).

mod pools;

pub(crate) use pools::ProbePools;

use std::time::Duration;

use evenkeel_core::{Instant, Random};

use super::least_response_time::expected;
use crate::candidates::{Candidates, DrawnMembers};

/// Looks that are remembered (section 4.3 of the paper; so are the other numbers).
const POOL: usize = 16;
/// A look is of no use after this.
const OLDEST: Duration = Duration::from_secs(1);
/// Looks for each pick. The paper's default is 3; its measurements are the same from 1 on (section 5.3).
const LOOKS: f64 = 1.0;
/// Looks forgotten with each pick, the oldest one and the worst one by turns: the number for which the paper measured that.
const REMOVALS: f64 = 0.25;
/// How much the number of remembered looks may drift up before it is bounded by the pool's size.
const DRIFT: f64 = 1.0;
/// A server is hot above this quantile of attempts in flight: 2^-0.25.
const HOT_QUANTILE: f64 = 0.84;
/// Of few servers none would ever be above that quantile, and latency alone would decide: of n the busiest is hot, and the
/// quantile lies in the middle between it and the next.
const BUSIEST: f64 = 1.5;
/// Latest counts of attempts in flight, whose distribution says what is hot.
const SEEN: usize = 32;
/// For how many picks that is used.
const LIMIT_FOR: u32 = 32;
/// Latencies are compared by their highest bits, eight steps to the double: those of the same step are equal, and attempts
/// in flight decide.
const STEP_BITS: u32 = 20;
/// Hot servers sort after all cold ones.
const HOT: u64 = 1 << 63;

/// The samples of one worker for one group of servers, as columns, since each pick scans all of them.
#[derive(Debug)]
pub(crate) struct ProbePool {
    /// The survey that the servers were open in.
    eligible: (u64, u64),
    len: usize,
    index: [u32; POOL],
    at: [Instant; POOL],
    /// Attempts in flight for its weight, those sent on the strength of this look counted.
    load: [f32; POOL],
    /// The step of its latency. The weight has no part in it: servers are drawn by weight.
    latency: [u32; POOL],
    /// The increase of `load` by one more attempt.
    step: [f32; POOL],
    uses: [u32; POOL],
    /// The combined score, lower is better: stored, since each pick compares all.
    rank: [u64; POOL],
    /// Before this none is too old.
    expires: Instant,
    seen: [f32; SEEN],
    seen_count: usize,
    /// Above which load a server is hot, and for how many picks more.
    limit: f32,
    limit_for: u32,
    picks: u32,
    /// How often a sample may be reused, with this number of servers: the minimum, and the probability of one more use.
    reuse: (u32, f64),
}

impl Default for ProbePool {
    fn default() -> Self {
        Self {
            eligible: (0, 0),
            len: 0,
            index: [0; POOL],
            at: [Instant::ZERO; POOL],
            load: [0.0; POOL],
            latency: [0; POOL],
            step: [0.0; POOL],
            uses: [0; POOL],
            rank: [0; POOL],
            expires: Instant::ZERO,
            seen: [0.0; SEEN],
            seen_count: 0,
            limit: f32::INFINITY,
            limit_for: 0,
            picks: 0,
            reuse: (1, 0.0),
        }
    }
}

/// The samples of the group that a pick is from.
pub(crate) fn of_group<'a>(
    groups: &'a mut Vec<ProbePool>,
    candidates: &Candidates<'_>,
) -> &'a mut ProbePool {
    if groups.len() <= candidates.slot {
        groups.resize_with(candidates.slot + 1, ProbePool::default);
    }
    &mut groups[candidates.slot]
}

impl ProbePool {
    /// The best one among the remembered samples and the new one.
    pub(crate) fn pick(
        &mut self,
        candidates: &Candidates<'_>,
        typical: f64,
        rng: &mut Random,
    ) -> u32 {
        self.forget(candidates);
        self.look(candidates, typical, rng);
        let Some(best) = self.best(candidates) else {
            return candidates.by_share(rng);
        };
        self.take(best)
    }

    /// The server at this place gets the attempt.
    fn take(&mut self, best: usize) -> u32 {
        let index = self.index[best];
        self.load[best] += self.step[best];
        self.rank[best] = self.rank_of(best);
        self.uses[best] = self.uses[best].saturating_sub(1);
        if self.uses[best] == 0 {
            self.remove(best);
        }
        self.remove_one();
        index
    }

    /// Drops results that are too old, and servers that may no longer be picked.
    fn forget(&mut self, candidates: &Candidates<'_>) {
        let other = self.eligible != candidates.eligible;
        if !other && candidates.now < self.expires {
            return;
        }
        self.eligible = candidates.eligible;
        let uses = uses(candidates.list.len(), LOOKS, REMOVALS);
        self.reuse = (uses as u32, uses.fract());
        self.expires = candidates.now + OLDEST;
        let mut slot = 0;
        while slot < self.len {
            let end = self.at[slot] + OLDEST;
            let open = !other || candidates.marks.has(self.index[slot]);
            if open && candidates.now < end {
                self.expires = self.expires.min(end);
                slot += 1;
            } else {
                self.remove(slot);
            }
        }
    }

    /// Looks at a random server; what was known of it before is replaced.
    fn look(&mut self, candidates: &Candidates<'_>, typical: f64, rng: &mut Random) {
        let mut drawn = DrawnMembers::default();
        let Some(index) = candidates.draw(&mut drawn, rng) else {
            return;
        };
        let member = candidates.member(index);
        let weight = member.weight() as f32;
        let load = member.state.in_flight() as f32 / weight;
        self.seen[self.seen_count % SEEN] = load;
        self.seen_count = self.seen_count.wrapping_add(1);
        let seen = (candidates.now, load, expected(candidates, index, typical));
        self.put(index, seen, weight, rng);
    }

    /// Puts what is known of a server since a moment, its load and its latency in seconds, into the pool: in the place of what
    /// was known of it before, a new one, or that of the oldest.
    fn put(
        &mut self,
        index: u32,
        (at, load, latency): (Instant, f32, f64),
        weight: f32,
        rng: &mut Random,
    ) {
        let known = self.index[..self.len]
            .iter()
            .position(|&other| other == index);
        let slot = match known {
            Some(slot) => slot,
            None if self.len < POOL => {
                self.len += 1;
                self.len - 1
            }
            None => self.oldest(),
        };
        self.index[slot] = index;
        self.at[slot] = at;
        self.load[slot] = load;
        self.latency[slot] = step_of(latency);
        self.step[slot] = 1.0 / weight;
        let (least, chance) = self.reuse;
        self.uses[slot] = least + u32::from(rng.unit() < chance);
        self.rank[slot] = self.rank_of(slot);
    }

    /// The place of the best look: the quickest cold one, else the least loaded.
    fn best(&mut self, candidates: &Candidates<'_>) -> Option<usize> {
        self.renew_limit(candidates.list.len());
        self.picks = self.picks.wrapping_add(1);
        let best = |may: &dyn Fn(usize) -> bool| {
            let slots = (0..self.len).filter(|&slot| may(slot));
            slots.min_by_key(|&slot| self.rank[slot])
        };
        let may = |slot: usize| {
            let index = self.index[slot];
            !candidates.avoid.contains(&index) && !candidates.is_full(index)
        };
        // The best of all is hardly ever one that may not be picked.
        best(&|_| true)
            .filter(|&slot| may(slot))
            .or_else(|| best(&may))
    }

    /// Less is better: cold before hot, of cold ones the latency and then the load, of hot ones the load. Positive numbers
    /// have the order of their bits.
    const fn rank_of(&self, slot: usize) -> u64 {
        let load = self.load[slot];
        let first = if load > self.limit {
            HOT
        } else {
            (self.latency[slot] as u64) << u32::BITS
        };
        first | load.to_bits() as u64
    }

    /// The quantile of the latest loads, computed again now and then.
    fn renew_limit(&mut self, servers: usize) {
        if self.limit_for > 0 {
            self.limit_for -= 1;
            return;
        }
        let mut sorted = self.seen;
        let seen = &mut sorted[..self.seen_count.min(SEEN)];
        if seen.is_empty() {
            return;
        }
        let quantile = (1.0 - BUSIEST / servers.max(2) as f64).min(HOT_QUANTILE);
        let slot = ((seen.len() - 1) as f64 * quantile).round() as usize;
        self.limit = *seen.select_nth_unstable_by(slot, f32::total_cmp).1;
        self.limit_for = LIMIT_FOR - 1;
        for slot in 0..self.len {
            self.rank[slot] = self.rank_of(slot);
        }
    }

    /// A look less now and then, so that bad ones do not fill the pool: the oldest and the worst by turns.
    fn remove_one(&mut self) {
        const EVERY: u32 = (1.0 / REMOVALS) as u32;
        if self.len <= 2 || !self.picks.is_multiple_of(EVERY) {
            return;
        }
        let slot = if (self.picks / EVERY).is_multiple_of(2) {
            self.oldest()
        } else {
            let worst = (0..self.len).max_by_key(|&slot| self.rank[slot]);
            worst.unwrap_or_default()
        };
        self.remove(slot);
    }

    fn oldest(&self) -> usize {
        let mut oldest = 0;
        for slot in 1..self.len {
            if self.at[slot] < self.at[oldest] {
                oldest = slot;
            }
        }
        oldest
    }

    /// The last one takes its place.
    const fn remove(&mut self, slot: usize) {
        let last = self.len - 1;
        self.index[slot] = self.index[last];
        self.at[slot] = self.at[last];
        self.load[slot] = self.load[last];
        self.latency[slot] = self.latency[last];
        self.step[slot] = self.step[last];
        self.uses[slot] = self.uses[last];
        self.rank[slot] = self.rank[last];
        self.len = last;
    }
}

fn step_of(seconds: f64) -> u32 {
    (seconds as f32).to_bits() >> STEP_BITS
}

/// How often one sample may be reused: `max(1, (1 + delta) / ((1 - m/n) × samples - removals))`, for a pool of m
/// samples of n servers (the paper's equation 1). For small n, where that is undefined, as often as there are samples
/// in a pool.
fn uses(servers: usize, looks: f64, removals: f64) -> f64 {
    let part = 1.0 - POOL as f64 / servers.max(1) as f64;
    let surplus = part.mul_add(looks, -removals);
    if surplus <= 0.0 {
        return POOL as f64;
    }
    ((1.0 + DRIFT) / surplus).clamp(1.0, POOL as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 looks, 100 servers, 3 looks for each pick, 1 removal.
    #[test]
    fn the_published_number_of_uses() {
        assert!((uses(100, 3.0, 1.0) - 2.0 / 1.52).abs() < 1e-12);
        assert!((uses(1_000_000, 3.0, 1.0) - 1.0).abs() < 1e-4);
        assert!((uses(3, LOOKS, REMOVALS) - 16.0).abs() < 1e-12);
    }

    #[test]
    fn of_cold_ones_the_quickest_and_of_hot_ones_the_least_loaded() {
        let better = |one: (f32, f64), other: (f32, f64)| {
            let mut probes = ProbePool {
                limit: 5.0,
                ..ProbePool::default()
            };
            for (slot, (load, latency)) in [one, other].into_iter().enumerate() {
                (probes.load[slot], probes.latency[slot]) = (load, step_of(latency));
            }
            probes.rank_of(0) < probes.rank_of(1)
        };
        assert!(better((5.0, 0.010), (1.0, 0.020)), "both cold: latency");
        assert!(better((1.0, 0.900), (6.0, 0.001)), "cold before hot");
        assert!(better((6.0, 0.900), (7.0, 0.001)), "both hot: load");
        assert!(better((1.0, 0.01001), (2.0, 0.010)), "as quick: load");
    }
}
