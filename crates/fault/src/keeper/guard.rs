//! The guards of an action: its cost in capacity, the order of repairs, and how long to wait for a server to recover by
//! itself.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::common_cause::JudgedServer;
use crate::contract::Managed;
use crate::kind::FaultKind;
use crate::outlook::WaitReason;
use crate::recover::serves_nothing;

use super::ServerContext;

/// Peers with the same cause show it within this time, or within that between two requests to a server if those are fewer …
const ALONE: Duration = Duration::from_secs(1);
/// … for which so long is waited at most.
const LONGEST_ALONE: Duration = Duration::from_secs(60);
/// A process that waits for a processor in a smaller part of the time (thousandths) is not three times as slow as its peers for that.
const WAITS: u32 = 333;
/// Between two looks whether it is a server's turn to be changed.
const TURN: Duration = Duration::from_millis(500);
/// A hang is waited for so long at least, once pauses of the server are known, unless less is configured …
const LEAST_HANG_WAIT: Duration = Duration::from_secs(10);
/// … and at most, unless more is.
const LONGEST_HANG_WAIT: Duration = Duration::from_secs(60);

/// A process that is stopped (state T) is restarted if that has lasted for so long.
const STOPPED: Duration = Duration::from_millis(1_750);

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
            // Nobody shares that, but it may be a short one.
            let until = case.onset + STOPPED;
            if self.now < until {
                let why = "it may run again in a moment".to_owned();
                return Err(Postponed {
                    waits: WaitReason::HangWait,
                    at: until,
                    why,
                });
            }
            return self.may_change();
        }
        let gap = self.server.facts.attempts.row_gap().unwrap_or_default();
        let alone_at = case.detected + gap.clamp(ALONE, LONGEST_ALONE);
        if self.now < alone_at {
            let why = "its peers may be about to show the same".to_owned();
            return Err(Postponed {
                waits: WaitReason::Peers,
                at: alone_at,
                why,
            });
        }
        if let Some(why) = self.lacks_processor() {
            return Err(Postponed {
                waits: WaitReason::Processor,
                at: self.now + TURN,
                why,
            });
        }
        // A process that lives and does not listen has closed its port itself, however many do: what it lacks is a new start.
        let is_own =
            case.kind == FaultKind::NotListening && self.server.facts.process.pid.is_some();
        // Fewer failures open a case than show a symptom: by now there may be one.
        let (facts, detect) = (&self.server.facts, &self.spec.options.detect);
        let shown = || JudgedServer::read(facts, detect, self.now).symptom;
        let symptom = case.symptom.or_else(shown);
        let shared = symptom.and_then(|symptom| self.alike.shared(symptom));
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

    /// Whether it is slow on a machine that is short of processor time, for which a restart is no cure: what says so. A process that
    /// hardly waited for a processor while it was examined is slow for something else.
    pub(super) fn lacks_processor(&self) -> Option<String> {
        let case = self.server.case.as_deref()?;
        let is_here = self.server.managed == Managed::Child;
        let waits = case.cpu_wait_permille.is_none_or(|part| part >= WAITS);
        let may_lack = is_here && case.kind == FaultKind::SlowServer && waits;
        self.shared.lacks_processor.clone().filter(|_| may_lack)
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

    /// How much longer a hang is waited for: it counts from when the server was taken out of rotation.
    pub(super) fn hang_wait(&self) -> Option<Duration> {
        let probes = &self.server.facts.probes;
        // One that is out for another reason may have begun to hang later.
        let hangs_since = if probes.failed_in_row > 0 {
            probes.row_since
        } else {
            Instant::ZERO
        };
        let out_since = self.server.out_since.map(|since| since.max(hangs_since));
        let waited = out_since.map_or(Duration::ZERO, |since| self.now - since);
        let rest = self.longest_hang().saturating_sub(waited);
        (!self.server.facts.process.stopped).then_some(rest)
    }

    /// How long a hang may last: by the longest pause that this server came back from, else as configured.
    fn longest_hang(&self) -> Duration {
        let configured = self.spec.options.recover.hang_wait;
        let known = self.server.longest_pause.map(|pause| {
            let most = LONGEST_HANG_WAIT.max(configured);
            (pause * 2).clamp(configured.min(LEAST_HANG_WAIT), most)
        });
        known.unwrap_or(configured)
    }
}
