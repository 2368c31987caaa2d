//! Detection: the decision, from the history of one server, that something is wrong with it. One file per detector.
//!
//! Each is a function of the history, the options and the time, evaluated when a signal arrived that could change its
//! result.

mod exit;
mod probe;
mod consecutive;
mod ratio;
mod thin;
mod slow;
mod load;

pub use consecutive::consecutive;
pub use exit::exit;
pub(crate) use exit::in_words as exit_in_words;
pub use load::{Overload, ServiceLoadWatch};
pub(crate) use probe::{host_check, in_words as probe_in_words};
pub use probe::{late_start, probe};
pub use ratio::ratio;
pub use slow::{Comparison, Peers, RankAmongPeers, RecentTypical, SlowLimits, is_as_fast, slow};
pub use thin::thin_hang;

use std::time::Duration;

use evenkeel_core::Instant;

/// Requests that have failed until so shortly before the first failed probe failed for the same fault.
pub const NEAR: Duration = Duration::from_secs(1);

/// The detectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detector {
    /// The supervisor saw the process end, or could not start it.
    Supervisor,
    /// Probes failed in a row.
    Probe,
    /// Attempts failed in a row.
    ConsecutiveFailures,
    /// Too many of the recent attempts failed.
    FailureRatio,
    /// It is much slower than its peers.
    Slow,
    /// The service is not as it usually is.
    Statistics,
    /// evenkeel found that it lacks something itself.
    SelfCheck,
    /// More comes than the servers can do.
    Load,
}

impl Detector {
    /// Its name in incidents.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Probe => "probe",
            Self::ConsecutiveFailures => "consecutive-failures",
            Self::FailureRatio => "failure-ratio",
            Self::Slow => "slow",
            Self::Statistics => "statistics",
            Self::SelfCheck => "self-check",
            Self::Load => "load",
        }
    }
}

/// Something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// The detector.
    pub by: Detector,
    /// The first signal that proved part of it.
    pub onset: Instant,
    /// Why, in words.
    pub text: String,
}
