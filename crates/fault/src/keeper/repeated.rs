//! When an examination is repeated in the place of probes, which cannot tell whether the fault is over.

use evenkeel_core::Instant;

use crate::contract::OrderId;
use crate::policy::Action;

use super::case::Case;
use super::phase::CasePhase;

impl Case {
    /// When the repeated examination is due, or given up: while something is waited for, or verified.
    pub(super) fn reexamines_at(&self) -> Option<Instant> {
        let is_waiting = match &self.phase {
            CasePhase::Acting {
                step, order: None, ..
            } => matches!(self.steps.get(*step), Some(Action::Wait(_))),
            CasePhase::Verifying { .. } => true,
            CasePhase::Judged | CasePhase::Examining { .. } | CasePhase::Acting { .. } => false,
        };
        (self.by_examination && is_waiting).then_some(self.reexamination.at)
    }

    pub(super) fn awaits_reexamination(&self, id: OrderId) -> bool {
        self.reexamines_at().is_some() && self.reexamination.order == Some(id)
    }
}
