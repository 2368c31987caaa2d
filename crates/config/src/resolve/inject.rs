//! Faults on purpose: what they are, and what could not be one.

use evenkeel_tolerate::InjectOptions;
use evenkeel_tolerate::inject::{AbortOptions, DelayOptions};

use super::typed::pick_whole;
use crate::defaults;
use crate::file::At;
use crate::file::inject::Inject;
use crate::mistake::{Code, Mistake, Mistakes};

/// What `typed` asks for.
pub(super) fn resolve_inject(
    typed: Option<&At<Inject>>,
    total: std::time::Duration,
    out: &mut Mistakes,
) -> Option<InjectOptions> {
    let typed = typed?;
    if typed.delay.is_none() && typed.abort.is_none() {
        let message = "neither `delay` nor `abort` is given";
        let mistake = Mistake::new(Code::Missing, typed.span.clone(), message, "no fault");
        out.push(mistake.help("delay = { share = 0.01, time = \"200ms\" }"));
    }
    let delay = typed.delay.as_ref().and_then(|delay| {
        Some(DelayOptions {
            share: delay.share.as_ref()?.value,
            time: delay.time.as_ref()?.value,
        })
    });
    let time = typed.delay.as_ref().and_then(|delay| delay.time.as_ref());
    if let Some(time) = time.filter(|time| time.value >= total) {
        let message = "the delay is as long as the whole request may take";
        let mistake = Mistake::new(
            Code::Contradiction,
            time.span.clone(),
            message,
            "leaves no time for an attempt",
        );
        out.push(mistake.help("shorter than `timeout.total`; for an error take `abort`"));
    }
    let abort = typed.abort.as_ref().and_then(|abort| {
        Some(AbortOptions {
            share: abort.share.as_ref()?.value,
            status: u16::try_from(abort.status.as_ref()?.value).ok()?,
        })
    });
    Some(InjectOptions {
        delay,
        abort,
        seed: u64::from(pick_whole(typed.seed.as_ref(), defaults::INJECT_SEED)),
    })
}
