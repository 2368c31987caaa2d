//! The better of two random servers by latency × attempts in flight, for their weight (Finagle, linkerd).
//!
//! Three traps of this idea, and the way around each. A server without a sample counts as the pool's median: at zero it
//! would take everything until its first answer. An estimate drifts to the median as it ages: a server that was slow once
//! would never be tried again. And one that has had nothing for half a second is looked at again as if it were like the
//! others: the estimate can only be corrected by an attempt, and faults are found sooner.

use std::time::Duration;

use evenkeel_core::Random;

use crate::server::DECAY;
use crate::turn::Turn;

/// A slow server without attempts for this long is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Below this age an estimate has not drifted enough to matter.
const FRESH: Duration = Duration::from_millis(100);

pub(crate) fn pick(turn: &Turn<'_>, typical: f64, rng: &mut Random) -> u32 {
    match turn.two(rng) {
        (first, Some(second)) if cost(turn, second, typical) < cost(turn, first, typical) => second,
        (first, _) => first,
    }
}

fn cost(turn: &Turn<'_>, index: u32, typical: f64) -> f64 {
    let member = turn.member(index);
    let in_flight = member.state.in_flight();
    let latency = expected(turn, index, typical, in_flight);
    latency * (f64::from(in_flight) + 1.0) / f64::from(member.weight())
}

/// What an attempt is expected to take, in seconds.
fn expected(turn: &Turn<'_>, index: u32, typical: f64, in_flight: u32) -> f64 {
    if typical <= 0.0 {
        // Nobody is known to be better than anybody else.
        return 1.0;
    }
    let Some((estimate, sampled)) = turn.member(index).state.estimate() else {
        return typical;
    };
    let age = turn.now.since(sampled);
    if age < FRESH {
        estimate
    } else if age >= LOOK_AGAIN && in_flight == 0 && estimate > typical {
        typical
    } else {
        let past = (-age.as_secs_f64() / DECAY.as_secs_f64()).exp();
        (estimate - typical).mul_add(past, typical)
    }
}
