//! What a server has said of itself: how loaded it is, and what it answered when it was asked how busy it is. `load` and
//! `answer` decide what that is worth.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// What a server answered when it was asked how busy it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Its requests in flight, whoever sent them.
    pub in_flight: f64,
    /// What it expects one more request to take.
    pub latency: Option<Duration>,
}

/// A server's last answer, for people who look; picks go by what each worker heard. A reader may see parts of two.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// The bits of an `f64`.
    pub(crate) in_flight: AtomicU64,
    /// In nanoseconds, and one more; zero: it did not say.
    pub(crate) latency: AtomicU64,
    /// In nanoseconds; zero: it never answered.
    pub(crate) at: AtomicU64,
}

/// What a server said last. It lies beside what is written with each attempt anyway.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    /// The bits of an `f64`.
    pub(crate) utilization: AtomicU64,
    /// In nanoseconds; zero: nothing was said yet.
    pub(crate) at: AtomicU64,
    pub(crate) answer: Answered,
}
