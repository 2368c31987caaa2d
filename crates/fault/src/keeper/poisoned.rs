//! A case whose server was brought down by a certain request: the finding takes precedence over the exit of the process, for as long as
//! it is certain.

use evenkeel_core::Instant;

use crate::incident::Finding;
use crate::kind::FaultKind;

use super::case::Case;

impl Case {
    /// A certain request brought the server down: the incident of the service, `into`, tells more.
    pub(super) fn poisoned(&mut self, now: Instant, finding: Finding, into: &str) {
        let what = &finding.evidence[0];
        self.note(now, "diagnosis", format!("{what}: see {into}"));
        self.poisoned = Some(finding);
        self.name_poison();
    }

    /// That is no longer certain.
    pub(super) fn not_poisoned(&mut self) {
        if self.poisoned.take().is_some() {
            let findings = &mut self.incident.diagnosis;
            findings.retain(|one| one.fault != FaultKind::PoisonRequest);
            self.changed = true;
        }
    }

    /// The request that crashed the server takes precedence over its exit.
    pub(super) fn name_poison(&mut self) {
        if let Some(finding) = &self.poisoned {
            let findings = &mut self.incident.diagnosis;
            findings.retain(|one| one.fault != FaultKind::PoisonRequest);
            findings.insert(0, finding.clone());
        }
    }
}
