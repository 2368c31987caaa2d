//! Prequal with load probes, as in the paper: a pool of probe results for each group of servers.
//!
//! Two things are not in the paper, which assumes hundreds of servers that all answer. A server that reports low load
//! but fails its requests is not trusted. And if some servers do not answer probes, one pick per unanswered probe falls
//! back to local observations; otherwise those servers would get nothing, and the others everything.

use evenkeel_core::Random;

use super::{POOL, ProbePool, SEEN, of_group};
use crate::ProbedLoad;
use crate::candidates::Candidates;
use crate::policies::least_response_time::expected;

/// With fewer answers there is no choice (section 4.3 of the paper).
const LEAST: usize = 2;
/// A server's word about itself is not enough if what is seen of it is above this many times what is typical. A failure
/// counts as ten times.
const DOUBTFUL: f64 = 3.0;
/// Picks by what this side sees that may be owed.
const OWED: usize = POOL;

/// The probe results of one worker for the servers of one service.
#[derive(Debug, Default)]
pub(crate) struct ProbePools {
    /// By the place of their group; none until the first answer.
    groups: Vec<ProbePool>,
    /// Picks that must use local observations, because a probe was not answered.
    owed: usize,
}

impl ProbePools {
    /// The best one of those that answered lately, if there are enough.
    pub(crate) fn pick(&mut self, candidates: &Candidates<'_>, rng: &mut Random) -> Option<u32> {
        let probes = self.groups.get_mut(candidates.slot)?;
        if self.owed > 0 {
            self.owed -= 1;
            return None;
        }
        probes.pick_by_load(candidates, rng)
    }

    /// A server has answered.
    pub(crate) fn record(
        &mut self,
        candidates: &Candidates<'_>,
        said: (u32, ProbedLoad),
        typical: f64,
        rng: &mut Random,
    ) {
        let probes = of_group(&mut self.groups, candidates);
        probes.forget(candidates);
        probes.remember(candidates, said, typical, rng);
    }

    /// A server has not answered.
    pub(crate) const fn miss(&mut self) {
        if self.owed < OWED {
            self.owed += 1;
        }
    }
}

impl ProbePool {
    fn pick_by_load(&mut self, candidates: &Candidates<'_>, rng: &mut Random) -> Option<u32> {
        self.forget(candidates);
        while self.len >= LEAST {
            let best = self.best(candidates)?;
            // Asked were all with equal chances: who takes only a part of its share is passed over here.
            if !candidates.uneven || candidates.takes_part(self.index[best], rng) {
                return Some(self.take(best));
            }
            self.remove(best);
        }
        None
    }

    /// Puts an answer into the pool; what was known of that server before is replaced.
    fn remember(
        &mut self,
        candidates: &Candidates<'_>,
        (index, answer): (u32, ProbedLoad),
        typical: f64,
        rng: &mut Random,
    ) {
        let member = candidates.member(index);
        let weight = member.weight() as f32;
        // The locally known number in flight is a lower bound.
        let in_flight = answer.in_flight.max(f64::from(member.state.in_flight()));
        let mut load = in_flight.abs() as f32 / weight;
        let seen = expected(candidates, index, typical);
        let mut latency = answer.latency.map_or(seen, |said| said.as_secs_f64());
        if typical > 0.0 && seen > typical * DOUBTFUL {
            latency = latency.max(seen);
            load = load.max(self.busiest());
        } else {
            self.seen[self.seen_count % SEEN] = load;
            self.seen_count = self.seen_count.wrapping_add(1);
        }
        self.put(index, (candidates.now, load, latency), weight, rng);
    }

    /// The highest one of the latest loads.
    fn busiest(&self) -> f32 {
        let seen = &self.seen[..self.seen_count.min(SEEN)];
        seen.iter().copied().fold(0.0, f32::max)
    }
}
