//! What recovery would do next about a server or a service, when, and what it waits for, for operators.
//!
//! Words and times only. The keeper derives it from its state on request; it decides nothing.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::policy::Action;

/// The next step of recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryOutlook {
    /// The next step.
    pub next: NextStep,
    /// The reason for the wait.
    pub waits: WaitReason,
    /// When it would do that, if that is known.
    pub at: Option<Instant>,
    /// More about it, in words; may be empty.
    pub detail: String,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Nothing.
    Nothing,
    /// An action of the playbook, by its word.
    Action(&'static str),
    /// The diagnosis is made.
    Diagnose,
    /// The latest action is verified.
    Verify,
    /// The server is tried with a few requests.
    Try,
    /// The server returns to the rotation, and its incident closes.
    Restore,
    /// The incident closes.
    Close,
}

impl NextStep {
    /// Its word in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Action(word) => word,
            Self::Diagnose => "diagnose",
            Self::Verify => "verify",
            Self::Try => "try",
            Self::Restore => "restore",
            Self::Close => "close",
        }
    }
}

impl From<Option<&Action>> for NextStep {
    /// The next action of a playbook; what was done is verified where there is none.
    fn from(action: Option<&Action>) -> Self {
        action.map_or(Self::Verify, |action| Self::Action(action.word()))
    }
}

/// The reason why recovery waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// Nothing is wrong.
    Well,
    /// The first start of a process.
    Start,
    /// The answers of an examination.
    Examination,
    /// The end of an action that was ordered.
    Action,
    /// A hang may end by itself: `hang_wait`, or a moment for a process that is stopped.
    HangWait,
    /// A `wait` of the playbook, or the end of a drain.
    Wait,
    /// Peers with the same cause are about to show it.
    Peers,
    /// Half of the servers or more show the same.
    Shared,
    /// The machine is short of processor time, so what is slow may be slow for that.
    Processor,
    /// A shared cause is over at the peers, or slowness may have passed: a few requests decide.
    Trial,
    /// Another server is being changed.
    Turn,
    /// `keep_serving` allows no action now.
    Capacity,
    /// The second check refuses it.
    Veto,
    /// The time between restarts.
    BackOff,
    /// The limit of actions.
    Limit,
    /// A start that lives and takes long.
    SlowStart,
    /// Another server is started first, since a start has failed or the program was changed.
    Canary,
    /// An operator's approval.
    Approval,
    /// In this mode it is only written down.
    DryRun,
    /// Recovery is off.
    Off,
    /// Probes and requests that show whether it is healthy.
    Verification,
    /// The time for which it stays out before it is tried with requests.
    Hold,
    /// Requests that prove that it is over.
    Proof,
    /// Escalation: nothing is left to try.
    Person,
    /// An operator has taken it out.
    Maintenance,
}

impl WaitReason {
    /// Its word in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Well => "nothing",
            Self::Start => "start",
            Self::Examination => "examination",
            Self::Action => "action",
            Self::HangWait => "hang-wait",
            Self::Wait => "wait",
            Self::Peers => "peers",
            Self::Shared => "shared-cause",
            Self::Processor => "processor",
            Self::Trial => "trial",
            Self::Turn => "turn",
            Self::Capacity => "capacity",
            Self::Veto => "veto",
            Self::BackOff => "back-off",
            Self::Limit => "limit",
            Self::SlowStart => "slow-start",
            Self::Canary => "canary",
            Self::Approval => "approval",
            Self::DryRun => "dry-run",
            Self::Off => "off",
            Self::Verification => "verification",
            Self::Hold => "hold",
            Self::Proof => "proof",
            Self::Person => "person",
            Self::Maintenance => "maintenance",
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Start => "its first start has to pass a probe",
            Self::Examination => "it is being examined",
            Self::Action => "an action is in progress",
            Self::HangWait => "a hang may end by itself (`recover.hang_wait`)",
            Self::Wait => "the playbook waits",
            Self::Peers => "its peers may be about to show the same",
            Self::Shared => {
                "at least half of the servers show the same symptom: nothing costly is done for a shared cause"
            }
            Self::Processor => {
                "the machine is short of processor time, for which a restart is no cure; it is asked again"
            }
            Self::Trial => "it may have recovered, so it is tried first",
            Self::Turn => "its turn: `recover.at_once` of its peers are already being changed",
            Self::Capacity => {
                "too few servers would be left in service (`recover.keep_serving`); it is tried again"
            }
            Self::Veto => "the second check refuses it; it is tried again",
            Self::BackOff => "the time between restarts (`recover.backoff`)",
            Self::Limit => "the limit of actions is reached (`recover.limit`)",
            Self::SlowStart => {
                "its process is alive, and gets more time to become ready (`recover.verify.within`)"
            }
            Self::Canary => {
                "another server is started first: a start has failed, or the program was changed"
            }
            Self::Approval => {
                "an operator decides: `evenkeel approve INCIDENT` or `evenkeel reject INCIDENT`"
            }
            Self::DryRun => "it is only recorded (`recover.mode`)",
            Self::Off => "recovery is off (`recover.mode`)",
            Self::Verification => "probes, then requests, have to show that it is healthy",
            Self::Hold => "it stays out of rotation before it gets requests again",
            Self::Proof => "not proven yet: requests of the kind that failed have to succeed",
            Self::Person => "an operator is needed; it is watched, and returns once it is healthy",
            Self::Maintenance => "it is in maintenance",
        }
    }
}

impl RecoveryOutlook {
    /// Nothing is wrong.
    pub const WELL: Self = Self {
        next: NextStep::Nothing,
        waits: WaitReason::Well,
        at: None,
        detail: String::new(),
    };

    /// Without a moment or more words.
    #[must_use]
    pub const fn new(next: NextStep, waits: WaitReason) -> Self {
        Self {
            next,
            waits,
            at: None,
            detail: String::new(),
        }
    }

    /// At this moment.
    #[must_use]
    pub fn at(self, at: Option<Instant>) -> Self {
        let at = at.filter(|at| *at != Instant::NEVER);
        Self { at, ..self }
    }

    /// With more words.
    #[must_use]
    pub fn because(self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { detail, ..self }
    }

    /// How long it is until then; none if that is not known.
    #[must_use]
    pub fn in_time(&self, now: Instant) -> Option<Duration> {
        self.at.map(|at| at.since(now))
    }

    /// In a line: `restart in 8.2 s: a hang may end by itself (...)`.
    #[must_use]
    pub fn text(&self, now: Instant) -> String {
        let time = self.in_time(now).map_or_else(String::new, |time| {
            format!(" in {:.1} s", time.as_secs_f64())
        });
        let more = if self.detail.is_empty() {
            String::new()
        } else {
            format!("; {}", self.detail)
        };
        format!("{}{time}: {}{more}", self.next.word(), self.waits.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_when_and_why() {
        let now = Instant::from_millis(10_000);
        let waits = RecoveryOutlook::new(NextStep::Action("restart"), WaitReason::BackOff)
            .at(Some(Instant::from_millis(11_250)))
            .because("3 restarts so far");
        assert_eq!(
            waits.text(now),
            "restart in 1.2 s: the time between restarts (`recover.backoff`); 3 restarts so far"
        );
        assert_eq!(RecoveryOutlook::WELL.text(now), "nothing: well");
        let never =
            RecoveryOutlook::new(NextStep::Close, WaitReason::Proof).at(Some(Instant::NEVER));
        assert_eq!(never.in_time(now), None);
        let past = RecoveryOutlook::new(NextStep::Verify, WaitReason::Wait).at(Some(Instant::ZERO));
        assert_eq!(past.in_time(now), Some(Duration::ZERO));
    }
}
