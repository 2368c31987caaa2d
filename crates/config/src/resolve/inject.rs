//! Resolves fault injection, and rejects impossible values.

use evenkeel_tolerate::InjectOptions;
use evenkeel_tolerate::inject::{AbortOptions, DelayOptions};

use super::typed::pick_whole;
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::Located;
use crate::file::inject::InjectConfig;

/// The settings described by `typed`.
pub(super) fn resolve_inject(
    typed: Option<&Located<InjectConfig>>,
    total: std::time::Duration,
    out: &mut Diagnostics,
) -> Option<InjectOptions> {
    let typed = typed?;
    if typed.delay.is_none() && typed.abort.is_none() {
        let message = "neither `delay` nor `abort` is given";
        let diagnostic = Diagnostic::new(Code::Missing, typed.span.clone(), message, "no fault");
        out.push(diagnostic.help("delay = { share = 0.01, time = \"200ms\" }"));
    }
    let delay = typed.delay.as_ref().and_then(|delay| {
        Some(DelayOptions {
            share: delay.share.as_ref()?.value,
            time: delay.time.as_ref()?.value,
        })
    });
    let time = typed.delay.as_ref().and_then(|delay| delay.time.as_ref());
    if let Some(time) = time.filter(|time| time.value >= total) {
        let message = "the delay is not shorter than the timeout of the whole request";
        let diagnostic = Diagnostic::new(
            Code::Contradiction,
            time.span.clone(),
            message,
            "leaves no time for an attempt",
        );
        out.push(diagnostic.help("shorter than `timeout.total`; for an error take `abort`"));
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
