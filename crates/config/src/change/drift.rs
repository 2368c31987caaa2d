//! What differs between a file and what runs: what a reload of the file would change, and what was changed at run time.

use super::listed::RuntimeChange;
use super::overlay::{DroppedChange, Overlay, apply_overlay};
use crate::plan::Plan;
use crate::settings::{ChangeLine, Settings};

/// What differs between a file and what runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// What a reload of the file would change.
    pub changes: Vec<ChangeLine>,
    /// The changes made at run time that would go on to hold: the file says otherwise than what runs.
    pub runtime: Vec<RuntimeChange>,
    /// Those that a reload would end, because the file has changed what they are about.
    pub ended: Vec<DroppedChange>,
}

impl Drift {
    /// Whether the file says what runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.runtime.is_empty() && self.ended.is_empty()
    }
}

/// The difference between what runs, `running`, with the changes at run time of `overlay` in it, and a file with this plan and these
/// settings.
#[must_use]
pub fn drift(running: &Settings, overlay: &Overlay, (plan, settings): (Plan, Settings)) -> Drift {
    let after = apply_overlay(plan, overlay);
    let settings = settings.with_overlay(&after.overlay);
    Drift {
        changes: running.changes_to(&settings),
        runtime: after.overlay.changes(),
        ended: after.dropped,
    }
}
