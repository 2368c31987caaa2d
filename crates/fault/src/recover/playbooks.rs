//! The actions for a fault: the user's playbooks first, then the built-in ones.
//!
//! A playbook is executed in rungs. A rung ends before the next restart, stop or escalation, and its repair is verified
//! before the next rung begins; if it holds, the rest is skipped. When all rungs have failed, the playbook repeats from
//! its restart, if it has one, within the limit and with back-off.

use std::time::Duration;

use crate::contract::Managed;
use crate::kind::FaultKind;
use crate::policy::{Action, Playbook};

/// How long the port of a server that evenkeel does not run may be closed while another supervisor restarts it.
const OUTSIDE_RESTART: Duration = Duration::from_secs(5);

/// What a built-in playbook depends on besides the kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// How restart reaches the server.
    pub managed: Managed,
    /// The fault was gone when it was examined, or examined again.
    pub passed: bool,
    /// How long it may hang before it is restarted; none if its process is stopped (state T): that is no pause of its own.
    pub hang_wait: Option<Duration>,
    /// Whether the service can go back to the version that ran before.
    pub rolls_back: bool,
    /// Its process listens, but at another address: another start would not change that.
    pub listens_elsewhere: bool,
}

impl Managed {
    /// Whether restart reaches the server.
    #[must_use]
    pub const fn restarts(self) -> bool {
        matches!(self, Self::Child | Self::Commands { restart: true, .. })
    }

    /// Whether stop reaches the server.
    #[must_use]
    pub const fn stops(self) -> bool {
        matches!(self, Self::Child | Self::Commands { stop: true, .. })
    }
}

/// The actions for `fault`, in order.
#[must_use]
pub fn playbook(fault: FaultKind, of_user: &[Playbook], situation: Situation) -> Vec<Action> {
    // What is over needs nothing, whatever it was.
    if situation.passed && fault != FaultKind::Unknown {
        return Vec::new();
    }
    if let Some(playbook) = of_user
        .iter()
        .find(|playbook| playbook.when.contains(&fault))
    {
        return playbook.actions.clone();
    }
    built_in(fault, situation)
}

fn built_in(fault: FaultKind, situation: Situation) -> Vec<Action> {
    let second = Duration::from_secs(1);
    let restart = situation.managed.restarts();
    match fault {
        FaultKind::NotListening if situation.listens_elsewhere => {
            vec![Action::Eject, Action::Escalate]
        }
        FaultKind::ProcessCrashed
        | FaultKind::CrashLoop
        | FaultKind::OutOfMemory
        | FaultKind::CannotStart => vec![Action::Eject, Action::Restart],
        // A pause for garbage collection, or a loop that is blocked for a while, ends by itself, and a restart would cost more.
        FaultKind::ProcessHung => match situation.hang_wait {
            Some(wait) if restart => vec![Action::Eject, Action::Wait(wait), Action::Restart],
            Some(_) | None => vec![Action::Eject, Action::Restart],
        },
        // It may be about to listen: checking again after a while costs little. Only evenkeel starts a child; other
        // servers may be restarted by an operator or another supervisor at this very moment, and two copies would be
        // worse.
        FaultKind::NotListening if restart => {
            let grace = match situation.managed {
                Managed::Child => second,
                Managed::Commands { .. } | Managed::Nothing => OUTSIDE_RESTART,
            };
            vec![Action::Eject, Action::Wait(grace), Action::Restart]
        }
        // Only an operator can stop the foreign process; evenkeel retries now and then.
        FaultKind::PortTaken if restart => vec![Action::Eject, Action::Escalate, Action::Restart],
        FaultKind::PortTaken => vec![Action::Eject, Action::Escalate],
        // The new version is tried first: what it lacked may have come meanwhile.
        FaultKind::BadDeploy if restart && situation.rolls_back => vec![
            Action::Eject,
            Action::Restart,
            Action::RollBack,
            Action::Restart,
        ],
        FaultKind::ErrorBurst | FaultKind::BadDeploy | FaultKind::DescriptorExhaustion
            if restart =>
        {
            vec![Action::Eject, Action::Restart]
        }
        FaultKind::SlowServer | FaultKind::MemoryLeak if restart => {
            vec![Action::Drain, Action::Restart]
        }
        FaultKind::NotListening
        | FaultKind::ErrorBurst
        | FaultKind::BadDeploy
        | FaultKind::DescriptorExhaustion
        | FaultKind::SlowServer
        | FaultKind::MemoryLeak
        | FaultKind::Flapping => vec![Action::Eject],
        FaultKind::Unreachable | FaultKind::DnsFailure | FaultKind::TlsFailure => {
            vec![Action::Eject, Action::Wait(second), Action::Escalate]
        }
        FaultKind::Unknown if situation.passed => vec![],
        FaultKind::Unknown | FaultKind::DiskFull => vec![Action::Eject, Action::Escalate],
        // Taking servers away makes these worse.
        FaultKind::PoisonRequest
        | FaultKind::DependencyFailure
        | FaultKind::Overload
        | FaultKind::BadProbe
        | FaultKind::BrokenRoute
        | FaultKind::ClockSkew
        | FaultKind::PartitionedBalancer => vec![Action::Escalate],
    }
}
