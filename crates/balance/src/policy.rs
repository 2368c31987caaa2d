//! The balancing options of a service. Defaults belong to `config`.

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
    /// The best of a pool of remembered probes: of servers with few attempts in flight the quickest, else the one with
    /// the fewest (Prequal, NSDI 2024).
    Prequal,
    /// The next server on a ring of hashes (Karger 1997; points by XXH64, as in Envoy): equal requests go to the same
    /// server, and a server that comes or goes moves few of them.
    RingHash,
    /// The server in a table that is filled by turns (Maglev, NSDI 2016): as a ring, with evener shares and a quicker
    /// pick, and about twice as many requests that move when a server goes.
    Maglev,
}

impl Policy {
    /// Whether it sends requests with equal keys to the same server.
    #[must_use]
    pub const fn hashes(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
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
    /// `RingHash`: a server that would have more attempts in flight than this many times its fair part of all is passed
    /// over for the next one on the ring (consistent hashing with bounded loads, arXiv 1608.01350); at least 1.
    pub bounded_load: Option<f64>,
    /// `Maglev`: the size of the table; at least a hundred times the number of servers keeps shares within 1 %. A
    /// number that is not prime, or less than the number of servers, is rounded up to the next one
    /// ([`crate::next_prime`]); 5,000,011 at most.
    pub maglev_table: u32,
    /// A tier carries all of its traffic until less than 1 / this of it is usable; what it cannot carry spills over to the
    /// next tier, and from near servers to far ones of the same tier, in proportion (Envoy: 1.4). At least 1.
    pub overprovisioning: f64,
    /// The number of servers used per tier (near and far ones separately), so that with many servers not every evenkeel
    /// keeps connections to every one.
    pub subset: Option<Subset>,
}

/// Which part of very many servers is used: those with the highest scores, by a hash of `key` and of the server (highest
/// random weight, Thaler and Ravishankar 1998). A server that goes is replaced by the next one, and only it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subset {
    /// How many servers, at least 1.
    pub size: u32,
    /// Another one for each evenkeel, so that each uses another part.
    pub key: u64,
}
