//! Results of an action that is not executed: already done, not allowed now, impossible, or left to an operator.

use std::time::Duration;

use crate::contract::OrderAnswer;
use crate::incident::ActionOutcome;
use crate::outlook::WaitReason;
use crate::policy::{Action, Mode};
use crate::recover::{UNMANAGED, Veto};

use super::ServerContext;
use super::phase::Retry;

/// After the guard of capacity refused, the next look.
const REFUSED: Duration = Duration::from_secs(5);
/// After a veto, the next look.
const VETOED: Duration = Duration::from_secs(5);

/// The result of one action.
pub(super) enum AfterAction {
    /// The next action.
    On,
    /// The keeper waits; the phase says for what.
    Parked,
}

impl ServerContext<'_> {
    pub(super) fn refuse(&mut self, step: usize, action: &Action, why: &str) -> AfterAction {
        let now = self.now;
        if let Some(case) = self.server.case.as_deref_mut().filter(|case| !case.refused) {
            case.refused = true;
            case.action(now, action, ActionOutcome::Refused, Some(why.to_owned()));
        }
        self.escalate(why);
        self.watch(Some(Retry {
            at: now + REFUSED,
            step,
            allowed: false,
            waits: WaitReason::Capacity,
        }));
        AfterAction::Parked
    }

    /// The second check refuses a costly action: told once, and asked again after a while.
    pub(super) fn vetoed(&mut self, step: usize, action: &Action, veto: Veto) -> AfterAction {
        self.record_veto(action, veto);
        let why = format!(
            "the second check refuses {}: {}",
            action.word(),
            veto.words()
        );
        self.escalate(&why);
        self.watch(Some(Retry {
            at: self.now + VETOED,
            step,
            allowed: false,
            waits: WaitReason::Veto,
        }));
        AfterAction::Parked
    }

    pub(super) fn unmanaged(&mut self, action: &Action) -> AfterAction {
        self.impossible(action, UNMANAGED)
    }

    /// There is no way to do it: told once, and the next action is tried.
    pub(super) fn impossible(&mut self, action: &Action, why: &str) -> AfterAction {
        let (now, why) = (self.now, why.to_owned());
        if let Some(case) = self.server.case.as_deref_mut().filter(|case| !case.refused) {
            case.refused = true;
            case.action(now, action, ActionOutcome::Refused, Some(why));
        }
        AfterAction::On
    }

    /// Escalates to an operator, once.
    pub(super) fn escalate(&mut self, why: &str) {
        let now = self.now;
        if self.mode() == Mode::DryRun {
            self.would_escalate(why);
            return;
        }
        if self.case().is_some_and(|case| case.escalate(now, why)) {
            let text = format!("an operator is needed: {why}");
            self.server.answer(OrderAnswer::Failed(text), self.out);
        }
    }

    /// Escalates to an operator. In `dry-run` nobody is notified: it is recorded, once.
    pub(super) fn would_escalate(&mut self, why: &str) {
        let now = self.now;
        let action = Action::Escalate;
        if self.has_done(action.word()) {
            return;
        }
        if let Some(case) = self.case() {
            case.action(now, &action, ActionOutcome::WouldDo, Some(why.to_owned()));
        }
    }

    pub(super) fn done(&mut self, action: &Action) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.action(now, action, ActionOutcome::Done, None);
        }
    }

    pub(super) fn has_done(&self, word: &str) -> bool {
        let actions = self
            .server
            .case
            .as_ref()
            .map(|case| case.incident.actions.iter());
        actions.is_some_and(|mut actions| actions.any(|action| action.action == word))
    }
}
