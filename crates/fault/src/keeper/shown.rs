//! What the balancer is told about a server and for how long, and what keeps a server out without an incident.

use std::time::Duration;

use evenkeel_core::{Instant, Verdict};

use crate::contract::OrderId;
use crate::maintenance::{Maintenance, TakenOut};
use crate::verify::Verification;

/// A directive is given for so long …
pub(super) const EXPIRES: Duration = Duration::from_secs(5);
/// … and renewed this often.
pub(super) const RENEWED: Duration = Duration::from_secs(1);

/// What the balancer was told about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is in service.
    Serving,
    /// It takes nothing.
    Ejected(Verdict),
    /// It takes a trickle.
    Trial,
}

impl Shown {
    /// It takes nothing since something speaks against it, which may be wrong.
    pub(super) const fn is_suspicion(self) -> bool {
        matches!(self, Self::Ejected(Verdict::Suspected | Verdict::Hung))
    }
}

/// A server that a person has taken out.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) how: TakenOut,
    /// When it ends by itself.
    pub(super) until: Option<Instant>,
    pub(super) maintenance: Maintenance,
}

/// Why a server is verified without an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoutineKind {
    /// A person ordered a restart while nothing was wrong.
    Restart,
    /// It comes back from maintenance.
    Return,
}

/// A restart that a person ordered while nothing was wrong, or a return from maintenance.
#[derive(Debug)]
pub(super) struct Routine {
    pub(super) kind: RoutineKind,
    /// The restart, until it has ended.
    pub(super) order: Option<OrderId>,
    /// When the restart is given up, if nobody has told of its end by then.
    pub(super) until: Instant,
    /// After it.
    pub(super) verification: Verification,
}
