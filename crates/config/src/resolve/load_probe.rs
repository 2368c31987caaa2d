//! Resolves load probes.

use std::time::Duration;

use evenkeel_balance::Policy;
use evenkeel_fault::policy::ProbeKind;

use super::typed::pick;
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::FileLiteral;
use crate::file::quantity::type_duration;
use crate::file::service::BalanceConfig;
use crate::plan::LoadProbePlan;

/// Later answers say nothing about now: none is used that is older than a second.
const LONGEST: Duration = Duration::from_secs(10);

pub(super) fn resolve_load_probe(
    typed: &BalanceConfig,
    out: &mut Diagnostics,
) -> Option<LoadProbePlan> {
    let given = typed.prequal.as_ref()?;
    let policy = pick(typed.policy.as_ref(), defaults::POLICY);
    if policy != Policy::Prequal {
        let message = format!("the policy {} does not use load probes", policy.typed());
        let at = given.key.clone();
        let diagnostic = Diagnostic::new(Code::Contradiction, at, message, "not with this policy");
        out.push(diagnostic.help("add policy = \"prequal\", or leave it out"));
    }
    let path = given.probe.as_ref()?;
    let visible = path.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if !path.starts_with('/') || !visible {
        let message = format!("\"{}\" is not a path", path.escape_debug());
        let diagnostic = Diagnostic::new(Code::BadRule, path.span.clone(), message, "not a path");
        out.push(diagnostic.help("a path begins with a slash: \"/load\""));
    }
    let timeout = pick(given.timeout.as_ref(), defaults::PREQUAL_TIMEOUT);
    if let Some(given) = given.timeout.as_ref().filter(|_| timeout > LONGEST) {
        let longest = type_duration(LONGEST);
        let message = format!("expected a duration from 1ms to {longest}");
        let at = given.span.clone();
        let diagnostic = Diagnostic::new(Code::OutOfRange, at, message, "outside the limits");
        out.push(diagnostic.help("a load report of that age says nothing about the current load"));
    }
    Some(LoadProbePlan {
        path: path.value.clone(),
        host: ProbeKind::DEFAULT_HOST.to_owned(),
        timeout,
    })
}
