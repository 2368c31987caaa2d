//! The phases of the work on an incident.

use evenkeel_core::Instant;

use crate::contract::OrderId;
use crate::outlook::WaitReason;
use crate::verify::Verification;

/// The phase of the work.
#[derive(Debug)]
pub(super) enum CasePhase {
    /// No step of it is in progress: the incident of a service, of a request, or of evenkeel itself, each with a judge of its own.
    Judged,
    /// An examination is in progress; at `until` the diagnosis is made without it.
    Examining { order: OrderId, until: Instant },
    /// Action `step` of the playbook is in progress: ordered, or a wait. At `until` it is given up, or over.
    Acting {
        step: usize,
        order: Option<OrderId>,
        until: Instant,
    },
    /// Watched for the return of service; `then` is the next action should the verification fail.
    Verifying {
        verification: Verification,
        then: usize,
        retry: Option<Retry>,
    },
}

/// The examination that is repeated where probes cannot tell whether the fault is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reexamination {
    /// The one in progress.
    pub(super) order: Option<OrderId>,
    /// When the next one begins, or the one in progress is given up.
    pub(super) at: Instant,
    /// Its request was answered the last time.
    pub(super) passed: bool,
}

impl Reexamination {
    /// Nothing is in progress, nothing was answered, and it begins then.
    pub(super) const fn from(at: Instant) -> Self {
        Self {
            order: None,
            at,
            passed: false,
        }
    }
}

/// An action that waits for its time, while the server is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retry {
    pub(super) at: Instant,
    pub(super) step: usize,
    /// Back-off and limit have been asked.
    pub(super) allowed: bool,
    /// For what.
    pub(super) waits: WaitReason,
}
