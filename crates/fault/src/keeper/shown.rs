//! What is published to the balancer about a server and for how long, and what keeps a server out of rotation without
//! an incident.

use std::time::Duration;

use evenkeel_core::{EjectionReason, Instant};

use crate::contract::OrderId;
use crate::maintenance::{Maintenance, TakenOut};
use crate::verify::Verification;

/// A directive is given for so long …
pub(super) const EXPIRES: Duration = Duration::from_secs(5);
/// … and renewed this often.
pub(super) const RENEWED: Duration = Duration::from_secs(1);

/// The state of a server as published to the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishedState {
    /// It is in service.
    Serving,
    /// It takes nothing.
    Ejected(EjectionReason),
    /// It takes a trickle.
    Trial,
}

impl PublishedState {
    /// It takes nothing since something speaks against it, which may be wrong.
    pub(super) const fn is_suspicion(self) -> bool {
        matches!(
            self,
            Self::Ejected(EjectionReason::Suspected | EjectionReason::Hung)
        )
    }
}

/// A server that an operator has taken out.
#[derive(Debug)]
pub(super) struct OperatorHold {
    pub(super) how: TakenOut,
    /// When it ends by itself.
    pub(super) until: Option<Instant>,
    pub(super) maintenance: Maintenance,
}

/// Why a server is verified without an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlannedKind {
    /// An operator ordered a restart while nothing was wrong.
    Restart,
    /// The configuration of its process was changed.
    Replace,
    /// It comes back from maintenance.
    Return,
}

/// A restart ordered by an operator or a reload while nothing was wrong, or a return from maintenance.
#[derive(Debug)]
pub(super) struct PlannedVerification {
    pub(super) kind: PlannedKind,
    /// The restart, until it has ended.
    pub(super) order: Option<OrderId>,
    /// When the restart is given up, if its end was not reported by then.
    pub(super) until: Instant,
    /// After it.
    pub(super) verification: Verification,
}
