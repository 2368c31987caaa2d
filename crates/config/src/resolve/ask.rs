//! How servers are asked how busy they are.

use std::time::Duration;

use evenkeel_balance::Policy;
use evenkeel_fault::policy::ProbeKind;

use super::typed::pick;
use crate::defaults;
use crate::file::Typed;
use crate::file::quantity::type_duration;
use crate::file::service::Balance;
use crate::mistake::{Code, Mistake, Mistakes};
use crate::plan::AskPlan;

/// Later answers say nothing about now: none is used that is older than a second.
const LONGEST: Duration = Duration::from_secs(10);

pub(super) fn resolve_ask(typed: &Balance, out: &mut Mistakes) -> Option<AskPlan> {
    let given = typed.prequal.as_ref()?;
    let policy = pick(typed.policy.as_ref(), defaults::POLICY);
    if policy != Policy::Prequal {
        let message = format!("the policy {} does not ask servers", policy.typed());
        let at = given.key.clone();
        let mistake = Mistake::new(Code::Contradiction, at, message, "not with this policy");
        out.push(mistake.help("add policy = \"prequal\", or leave it out"));
    }
    let path = given.probe.as_ref()?;
    let visible = path.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if !path.starts_with('/') || !visible {
        let message = format!("\"{}\" is not a path", path.escape_debug());
        let mistake = Mistake::new(Code::BadRule, path.span.clone(), message, "not a path");
        out.push(mistake.help("a path begins with a slash: \"/load\""));
    }
    let timeout = pick(given.timeout.as_ref(), defaults::PREQUAL_TIMEOUT);
    if let Some(given) = given.timeout.as_ref().filter(|_| timeout > LONGEST) {
        let longest = type_duration(LONGEST);
        let message = format!("expected a duration from 1ms to {longest}");
        let at = given.span.clone();
        let mistake = Mistake::new(Code::OutOfRange, at, message, "outside the limits");
        out.push(mistake.help("what a server said so long ago says nothing about now"));
    }
    Some(AskPlan {
        path: path.value.clone(),
        host: ProbeKind::DEFAULT_HOST.to_owned(),
        timeout,
    })
}
