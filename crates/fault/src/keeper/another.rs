//! Reopens the diagnosis when the evidence points to a fault other than that of the open case.

use std::time::Duration;

use crate::common_cause::{JudgedServer, Symptom};
use crate::kind::FaultKind;
use crate::policy::Action;

use super::ServerContext;
use super::case::Case;
use super::phase::CasePhase;

/// So often it is asked whether a server that is only watched shows something else by now.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl ServerContext<'_> {
    /// Whether a server that is only watched shows something else than what it was taken out for.
    pub(super) fn shows_another(&mut self) -> bool {
        let (now, shown) = (self.now, self.symptom());
        let is_down = self.server.facts.process.down.is_some();
        let Some(case) = self.server.case.as_deref_mut().filter(|_| !is_down) else {
            return false;
        };
        let only_watched = matches!(&case.phase, CasePhase::Verifying { verification, retry: None, .. }
            if !verification.rules.ends);
        if !only_watched || now < case.recheck_at {
            return false;
        }
        case.recheck_at = now + LOOK_AGAIN;
        // Out of rotation its answers are observed differently than in it, but not its reachability.
        let tells = [Symptom::Refuses, Symptom::Unreachable, Symptom::Hangs];
        shown.is_some_and(|shown| tells.contains(&shown)) && shown != case.symptom
    }

    fn symptom(&self) -> Option<Symptom> {
        JudgedServer::read(&self.server.facts, &self.spec.options.detect, self.now).symptom
    }

    /// The earlier findings are outdated: it is examined again.
    pub(super) fn recheck(&mut self) {
        let shown = self.symptom();
        if let Some(case) = self.case() {
            case.symptom = shown;
            case.again = Some(case.kind);
        }
        self.examine();
    }

    /// Whether the new diagnosis requires steps that the current playbook, of another fault, does not have: a restart, or a person
    /// where another program has the port.
    pub(super) fn plays_another(&self, before: Option<FaultKind>) -> bool {
        let needs = |case: &Case| {
            case.kind == FaultKind::PortTaken || !case.steps.contains(&Action::Restart)
        };
        let case = self.server.case.as_deref();
        case.is_some_and(|case| before != Some(case.kind) && needs(case))
    }
}
