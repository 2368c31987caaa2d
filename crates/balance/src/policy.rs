//! What a user may choose about balancing. Defaults belong to `config`.

use std::time::Duration;

/// Which server takes the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Any, with equal chances.
    Random,
    /// One after the other.
    RoundRobin,
    /// One after the other, each as often as its weight says, spread evenly (smooth weighted round robin, nginx).
    WeightedRoundRobin,
    /// Any, with chances by weight.
    WeightedRandom,
    /// The fewest attempts in flight for its weight, all servers compared.
    LeastRequests,
    /// The better of two random ones by attempts in flight for its weight (Mitzenmacher 1996).
    PowerOfTwo,
    /// The better of two random ones by peak-EWMA latency × attempts in flight, for its weight (Finagle, linkerd).
    LeastResponseTime,
}

/// The balancing options of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct BalanceOptions {
    /// Which server takes the next attempt.
    pub policy: Policy,
    /// Below this share of usable servers in the tier, all of the tier are used, except those known to be down. 0 turns it off.
    pub panic_below: f64,
    /// How long a restored server takes to get back to its full share. Zero turns it off.
    pub slow_start: Duration,
}
