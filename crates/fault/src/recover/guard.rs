//! The capacity guard: never take more servers out of service than `keep_serving` allows.
//!
//! Acting on a server that serves nothing costs no capacity, so the only server of a service may be restarted when it
//! is dead.

use crate::kind::FaultKind;

/// How a refusal by the guard of capacity begins.
pub(crate) const KEEP_SERVING: &str = "keep_serving:";
/// Why an action is refused that evenkeel has no way to do.
pub(crate) const UNMANAGED: &str = "evenkeel does not run this server and has no command for it";

/// A service's servers, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// How many there are.
    pub servers: usize,
    /// How many are in service beside the one that is to be acted on.
    pub others_serving: usize,
}

impl Capacity {
    /// Whether a server that still serves may be taken out; if not, why.
    ///
    /// # Errors
    /// In words, with the numbers.
    pub fn allows(self, keep_serving: f64) -> Result<(), String> {
        let needed = self.needed(keep_serving);
        if self.others_serving >= needed {
            return Ok(());
        }
        Err(format!(
            "{KEEP_SERVING} {} of {} servers would be left in service, at least {needed} must be",
            self.others_serving, self.servers
        ))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small count"
    )]
    fn needed(self, keep_serving: f64) -> usize {
        // Less a hair, so that 0.7 of 10 is 7 although the product is a hair above it.
        (keep_serving
            .clamp(0.0, 1.0)
            .mul_add(self.servers as f64, -1e-9))
        .ceil()
        .max(0.0) as usize
    }
}

/// Whether a server with this fault serves nothing, whatever else is known.
#[must_use]
pub const fn serves_nothing(fault: FaultKind) -> bool {
    match fault {
        FaultKind::ProcessCrashed
        | FaultKind::CrashLoop
        | FaultKind::OutOfMemory
        | FaultKind::ProcessHung
        | FaultKind::PortTaken
        | FaultKind::NotListening
        | FaultKind::CannotStart
        | FaultKind::BadDeploy
        | FaultKind::Unreachable
        | FaultKind::DnsFailure
        | FaultKind::TlsFailure => true,
        FaultKind::ErrorBurst
        | FaultKind::PoisonRequest
        | FaultKind::DependencyFailure
        | FaultKind::Overload
        | FaultKind::SlowServer
        | FaultKind::MemoryLeak
        | FaultKind::DescriptorExhaustion
        | FaultKind::DiskFull
        | FaultKind::PartitionedBalancer
        | FaultKind::Flapping
        | FaultKind::BadProbe
        | FaultKind::BrokenRoute
        | FaultKind::ClockSkew
        | FaultKind::Unknown => false,
    }
}
