//! Lints for durations that contradict each other.

use super::subject::LintSubject;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::quantity::type_duration;

/// A request that ends before its first attempt may.
pub(super) fn total_shorter_than_attempt(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let timeout = subject.policies.timeout;
    if timeout.total >= timeout.attempt {
        return;
    }
    let typed = subject.typed.timeout.as_ref();
    let span = subject.place(
        typed
            .and_then(|t| t.total.as_ref())
            .or(typed.and_then(|t| t.attempt.as_ref())),
    );
    let (total, attempt) = (type_duration(timeout.total), type_duration(timeout.attempt));
    let message =
        format!("the timeout of the whole request is {total}, that of one attempt {attempt}");
    let help = "the attempt's timeout never fires, so a hung server is not detected by it and the request is not retried";
    out.push(
        Diagnostic::new(
            Code::TotalShorterThanAttempt,
            span,
            message,
            "shorter than one attempt",
        )
        .help(help),
    );
}

/// A request that times out together with its first attempt.
pub(super) fn no_time_for_retry(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let (timeout, retry) = (subject.policies.timeout, &subject.policies.retry);
    let room = timeout.total.saturating_sub(timeout.attempt);
    if retry.limit == 0
        || !retry.on.timeout
        || timeout.total < timeout.attempt
        || room >= timeout.attempt / 2
    {
        return;
    }
    let typed = subject.typed.timeout.as_ref();
    let span = subject.place(
        typed
            .and_then(|t| t.total.as_ref())
            .or(typed.and_then(|t| t.attempt.as_ref())),
    );
    let message = format!(
        "after an attempt that timed out, {} remain for a retry",
        type_duration(room)
    );
    let help = format!(
        "`total` of at least {} gives the retry the same time as the first attempt",
        type_duration(timeout.attempt.saturating_mul(2))
    );
    out.push(
        Diagnostic::new(
            Code::NoTimeForRetry,
            span,
            message,
            "little time for a retry",
        )
        .help(help),
    );
}

/// Connecting may take longer than everything.
pub(super) fn connect_longer_than_total(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let timeout = subject.policies.timeout;
    if timeout.connect < timeout.total {
        return;
    }
    let typed = subject.typed.timeout.as_ref();
    let span = subject.place(
        typed
            .and_then(|t| t.connect.as_ref())
            .or(typed.and_then(|t| t.total.as_ref())),
    );
    let message = format!(
        "connecting may take {}, the whole request {}",
        type_duration(timeout.connect),
        type_duration(timeout.total)
    );
    let help =
        "a server that cannot be reached uses up the request's time; no other server is tried";
    out.push(
        Diagnostic::new(
            Code::ConnectLongerThanTotal,
            span,
            message,
            "as long as the whole request",
        )
        .help(help),
    );
}

/// Probes notice a fault later than retries can hide it.
pub(super) fn probe_slower_than_retries(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let (probe, total) = (
        &subject.plan.fault.detect.probe,
        subject.policies.timeout.total,
    );
    let notices = probe.every.saturating_mul(probe.fall);
    if notices <= total {
        return;
    }
    let typed = subject
        .typed
        .detect
        .as_ref()
        .and_then(|detect| detect.probe.as_ref());
    let timeout = subject
        .typed
        .timeout
        .as_ref()
        .and_then(|timeout| timeout.total.as_ref());
    let span = match typed.and_then(|p| {
        p.every
            .as_ref()
            .map(|e| e.span.clone())
            .or(p.fall.as_ref().map(|f| f.span.clone()))
    }) {
        Some(span) => span,
        None => subject.place(timeout),
    };
    let message = format!(
        "probes need {} to notice a fault ({} × {}), a request lives {}",
        type_duration(notices),
        probe.fall,
        type_duration(probe.every),
        type_duration(total)
    );
    let help = "a fault that only probes detect lasts longer than the retries that could hide it: lower `every` or `fall`";
    out.push(
        Diagnostic::new(
            Code::ProbeSlowerThanRetries,
            span,
            message,
            "slower than a request",
        )
        .help(help),
    );
}

/// A probe may take longer than the time between two.
pub(super) fn probe_timeout_too_long(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let probe = &subject.plan.fault.detect.probe;
    if probe.timeout <= probe.every {
        return;
    }
    let typed = subject
        .typed
        .detect
        .as_ref()
        .and_then(|detect| detect.probe.as_ref());
    let span = typed
        .and_then(|p| p.timeout.as_ref())
        .or(typed.and_then(|p| p.every.as_ref()));
    let span = subject.place(span);
    let message = format!(
        "a probe may take {}, but the next one is due after {}",
        type_duration(probe.timeout),
        type_duration(probe.every)
    );
    let help = "probes of one server never overlap: on a slow server they are sent less often than `every`";
    out.push(
        Diagnostic::new(
            Code::ProbeTimeoutTooLong,
            span,
            message,
            "longer than `every`",
        )
        .help(help),
    );
}

/// Verification ends before its probes can pass.
pub(super) fn verify_too_short(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let verify = subject.plan.fault.recover.verify;
    let needed = verify.every.saturating_mul(verify.probes);
    if verify.within >= needed {
        return;
    }
    let typed = subject
        .typed
        .recover
        .as_ref()
        .and_then(|recover| recover.verify.as_ref());
    let span = subject.place(typed);
    let message = format!(
        "{} probes at intervals of {} take {}; the verification may take {}",
        verify.probes,
        type_duration(verify.every),
        type_duration(needed),
        type_duration(verify.within)
    );
    let help = "no repair can be verified, so every one is escalated: raise `within`";
    out.push(Diagnostic::new(Code::VerifyTooShort, span, message, "cannot be met").help(help));
}
