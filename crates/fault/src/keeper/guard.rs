//! The guards of an action: its cost in capacity, the order of repairs, and how long to wait for a server to recover by
//! itself.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::kind::FaultKind;
use crate::outlook::WaitReason;
use crate::recover::serves_nothing;

use super::ServerContext;

/// Peers with the same cause show it within this time.
const ALONE: Duration = Duration::from_secs(1);
/// Between two looks whether it is a server's turn to be changed.
const TURN: Duration = Duration::from_millis(500);
/// A hang is waited for so long at least, once pauses of the server are known, unless less is configured …
const LEAST_HANG_WAIT: Duration = Duration::from_secs(10);
/// … and at most, unless more is.
const LONGEST_HANG_WAIT: Duration = Duration::from_secs(60);

/// A costly action waits.
pub(super) struct Postponed {
    /// For what.
    pub(super) waits: WaitReason,
    /// When it may be asked again.
    pub(super) at: Instant,
    /// In words.
    pub(super) why: String,
}

impl ServerContext<'_> {
    /// The guard of capacity. A server that serves nothing costs none.
    pub(super) fn allowed(&self) -> Result<(), String> {
        let kind = self
            .server
            .case
            .as_ref()
            .map_or(FaultKind::Unknown, |case| case.kind);
        let costs_nothing = !self.server.serves() || serves_nothing(kind) || self.fails_always();
        if costs_nothing {
            Ok(())
        } else {
            self.capacity.allows(self.spec.options.recover.keep_serving)
        }
    }

    /// All of its recent attempts failed, and there were some.
    fn fails_always(&self) -> bool {
        let tally = self.server.facts.attempts.tally(self.now);
        tally.total >= 5
            && self.server.facts.attempts.failed_in_row >= 5
            && tally.hits * 10 >= tally.total * 9
    }

    /// Whether the fault is this server's own, as far as can be told: its peers have had the time to show the same, and not too
    /// many of them are being changed. If not, when it may be asked again, and why not.
    pub(super) fn may_cost(&self) -> Result<(), Postponed> {
        let Some(case) = self.server.case.as_deref() else {
            return Ok(());
        };
        if self.server.facts.process.down.is_some() || case.by_person || case.approved {
            return Ok(());
        }
        if self.server.facts.process.stopped {
            // Nobody shares that.
            return self.may_change();
        }
        let alone_at = case.detected + ALONE;
        if self.now < alone_at {
            let why = "its peers may be about to show the same".to_owned();
            return Err(Postponed {
                waits: WaitReason::Peers,
                at: alone_at,
                why,
            });
        }
        // A process that lives and does not listen has closed its port itself, however many do: what it lacks is a new start.
        let is_own =
            case.kind == FaultKind::NotListening && self.server.facts.process.pid.is_some();
        let shared = case.symptom.and_then(|symptom| self.alike.shared(symptom));
        if let Some((alike, members)) = shared.filter(|_| !is_own) {
            let why = format!("{alike} of {members} servers show the same");
            return Err(Postponed {
                waits: WaitReason::Shared,
                at: self.now + TURN,
                why,
            });
        }
        self.may_change()
    }

    /// Whether it is its turn to be changed.
    fn may_change(&self) -> Result<(), Postponed> {
        let most = self.spec.options.recover.at_once.max(1);
        if self.changing >= most as usize {
            let why = format!(
                "{} of its peers {} being restarted, and `at_once` is {most}",
                self.changing,
                if self.changing == 1 { "is" } else { "are" }
            );
            return Err(Postponed {
                waits: WaitReason::Turn,
                at: self.now + TURN,
                why,
            });
        }
        Ok(())
    }

    /// How long a hang is waited for: by the longest pause that this server came back from, else as configured.
    pub(super) fn hang_wait(&self) -> Option<Duration> {
        let configured = self.spec.options.recover.hang_wait;
        let known = self.server.longest_pause.map(|pause| {
            let most = LONGEST_HANG_WAIT.max(configured);
            (pause * 2).clamp(configured.min(LEAST_HANG_WAIT), most)
        });
        (!self.server.facts.process.stopped).then(|| known.unwrap_or(configured))
    }
}
