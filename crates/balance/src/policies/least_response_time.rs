//! The better of two random servers by latency × attempts in flight, relative to their weights (Finagle, linkerd).
//!
//! Four pitfalls of this policy, and how they are avoided. A server without a sample counts as the pool's median: with
//! zero it would receive everything until its first answer. An estimate drifts to the median as it ages: otherwise a
//! server that was slow once would never be tried again. A slow server that has received nothing for a while is picked
//! now and then all the same: only an attempt can correct an estimate, and faults are detected sooner. Costs that are
//! nearly equal count as equal: otherwise a tiny difference would send everything to one of two equal servers at low
//! load. With different weights, idle servers of equal latency are equal regardless of their weights, since they were
//! already drawn by weight ([`super::loaded`]).

use std::time::Duration;

use evenkeel_core::Random;

use super::loaded::{Margin, in_flight, weight};
use crate::candidates::Candidates;
use crate::server::DECAY;

/// A slow server is tried again after this long without attempts (one at a time, so that one which hangs holds up one) …
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// … at one in this many draws, so that it gets few of the requests where there are few.
const LOOK_ONE_IN: usize = 16;
/// Below this age an estimate has not drifted enough to matter.
const FRESH: Duration = Duration::from_millis(100);
/// Costs are equal if the lower one is more than this part of the other.
const NEARLY: f64 = 0.9;

pub(crate) fn pick(candidates: &Candidates<'_>, typical: f64, rng: &mut Random) -> u32 {
    let (first, second) = candidates.two(rng);
    let Some(second) = second else { return first };
    if typical > 0.0 {
        for index in [first, second] {
            if is_due(candidates, index, typical) && rng.below(LOOK_ONE_IN) == 0 {
                return index;
            }
        }
    }
    if overflows_to_next(candidates, (first, second), typical, rng) {
        second
    } else {
        first
    }
}

/// Whether it is slow by an estimate that nothing corrects.
fn is_due(candidates: &Candidates<'_>, index: u32, typical: f64) -> bool {
    let state = &candidates.member(index).state;
    let is_old =
        |(estimate, sampled)| estimate > typical && candidates.now.since(sampled) >= LOOK_AGAIN;
    state.estimate().is_some_and(is_old) && state.in_flight() == 0
}

/// Whether the second one is better by latency × attempts in flight, the attempt that is about to begin counted. With different weights it
/// is latency × (1 + attempts in flight for the weight, 1 being the two's mean).
fn overflows_to_next(
    candidates: &Candidates<'_>,
    (first, second): (u32, u32),
    typical: f64,
    rng: &mut Random,
) -> bool {
    let latency = |index| expected(candidates, index, typical);
    let (before, after) = (latency(first), latency(second));
    let (busy, other) = (in_flight(candidates, first), in_flight(candidates, second));
    if !candidates.by_weight() {
        return after * (other + 1.0) < before * (busy + 1.0) * NEARLY;
    }
    let (own, others) = (weight(candidates, first), weight(candidates, second));
    let mean = f64::midpoint(own, others);
    let cost = |latency, attempts: f64, weight| latency * (1.0 + attempts * mean / weight);
    if busy > 0.0 {
        let margin = Margin::draw(rng).attempts();
        return cost(after, other + margin, others) < cost(before, busy, own) * NEARLY;
    }
    // An idle one gives way only to one that is quicker, and not only because the other's weight is greater or its own is: a heavy server
    // may take longer than a light one, since it is meant to do more at once.
    cost(after, other, others) < before * NEARLY
        && after * (other + 1.0) / others < before / own * NEARLY
}

/// The expected duration of an attempt, in seconds.
pub(crate) fn expected(candidates: &Candidates<'_>, index: u32, typical: f64) -> f64 {
    if typical <= 0.0 {
        // Nobody is known to be better than anybody else.
        return 1.0;
    }
    let Some((estimate, sampled)) = candidates.member(index).state.estimate() else {
        return typical;
    };
    let age = candidates.now.since(sampled);
    if age < FRESH {
        return estimate;
    }
    let past = faded(age.as_secs_f64() / DECAY.as_secs_f64());
    (estimate - typical).mul_add(past, typical)
}

/// About e⁻ˣ, to within 0.02: (1 − x/16)¹⁶, which costs a fraction of it.
fn faded(x: f64) -> f64 {
    let root = (1.0 - x / 16.0).max(0.0);
    let fourth = (root * root) * (root * root);
    (fourth * fourth) * (fourth * fourth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fades_is_close_to_the_exponential() {
        for step in 0..=2_000 {
            let x = f64::from(step) / 100.0;
            assert!((faded(x) - (-x).exp()).abs() < 0.02, "{x}");
        }
    }
}
