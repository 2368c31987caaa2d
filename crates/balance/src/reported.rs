//! What a server has reported: its load, and its answer to the latest load probe. `load` and `answer` decide how it is
//! used.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A server's answer to a load probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbedLoad {
    /// Its requests in flight, from all senders.
    pub in_flight: f64,
    /// The latency that it expects for one more request.
    pub latency: Option<Duration>,
}

/// A server's latest answer to a load probe, for display; picks use each worker's own pool. A reader may see parts of
/// two answers.
#[derive(Debug, Default)]
pub(crate) struct LastProbedLoad {
    /// The bits of an `f64`.
    pub(crate) in_flight: AtomicU64,
    /// In nanoseconds, and one more; zero: it did not say.
    pub(crate) latency: AtomicU64,
    /// In nanoseconds; zero: it never answered.
    pub(crate) at: AtomicU64,
}

/// A server's latest report, in a cache line that each attempt writes anyway.
#[derive(Debug, Default)]
pub(crate) struct LoadCell {
    /// The bits of an `f64`.
    pub(crate) utilization: AtomicU64,
    /// In nanoseconds; zero: nothing was said yet.
    pub(crate) at: AtomicU64,
    pub(crate) answer: LastProbedLoad,
}
