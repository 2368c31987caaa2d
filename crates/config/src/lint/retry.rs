//! Lints for retries.

use super::subject::LintSubject;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::Located;
use crate::file::quantity::type_size;
use crate::file::retry::{RetryCondition, RetryConfig};

/// Request bodies kept for a retry beyond this are worth a word.
const HUGE: usize = 1 << 20;

fn typed<'a>(subject: &'a LintSubject<'_>) -> Option<&'a RetryConfig> {
    subject.typed.retry.as_ref().map(|retry| &retry.value)
}

fn is_unsafe(method: &str) -> bool {
    !matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" | "QUERY"
    )
}

/// "500" with methods that may change something twice.
pub(super) fn retry_of_500(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let retry = &subject.policies.retry;
    let Some(method) = retry.methods.iter().find(|method| is_unsafe(method)) else {
        return;
    };
    if retry.limit == 0 || !retry.on.statuses.contains(&500) {
        return;
    }
    let conditions = typed(subject).and_then(|retry| retry.on.as_ref());
    let place: Option<&Located<RetryCondition>> = conditions.and_then(|on| {
        on.value
            .iter()
            .find(|at| at.value == RetryCondition::Status(500))
    });
    let message = format!("a {method} that ends with 500 is sent again");
    let help = "500 often comes after the work was done: an order may be placed twice";
    out.push(
        Diagnostic::new(
            Code::RetryOf500,
            subject.place(place),
            message,
            "after the work was done?",
        )
        .help(help),
    );
}

/// A method that changes something may be sent twice.
pub(super) fn unsafe_method(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    if subject.policies.retry.limit == 0 {
        return;
    }
    let methods = typed(subject).and_then(|retry| retry.methods.as_ref());
    for method in methods
        .iter()
        .flat_map(|methods| &methods.value)
        .filter(|method| is_unsafe(method))
    {
        let message = format!("{} requests may be sent twice", method.value);
        let help = "a server may have done the work before the attempt failed; keep it only if the servers recognise repeated requests";
        out.push(
            Diagnostic::new(
                Code::UnsafeMethodRetried,
                method.span.clone(),
                message,
                "changes something",
            )
            .help(help),
        );
    }
}

/// A budget without income.
pub(super) fn budget_earns_nothing(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let retry = &subject.policies.retry;
    if retry.limit == 0 || retry.budget.ratio > 0.0 {
        return;
    }
    let budget = typed(subject).and_then(|retry| retry.budget.as_ref());
    let place = subject.place(budget.and_then(|budget| budget.ratio.as_ref()));
    let message = format!(
        "successes earn no retries; {} per second is the whole budget",
        retry.budget.floor_per_second
    );
    let help =
        "with high traffic that is almost nothing: set `ratio`, or `limit = 0` to turn retries off";
    out.push(Diagnostic::new(Code::BudgetEarnsNothing, place, message, "earns nothing").help(help));
}

/// Much memory for bodies.
pub(super) fn body_buffer_huge(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let size = subject.policies.retry.body_buffer;
    if size <= HUGE {
        return;
    }
    let place = subject.place(typed(subject).and_then(|retry| retry.body_buffer.as_ref()));
    let bytes = u64::try_from(size).unwrap_or(u64::MAX);
    let message = format!(
        "each request in flight may keep {} of its body",
        type_size(bytes)
    );
    let help = format!(
        "1,000 uploads at once would take {}; only bodies that must be retried need to fit",
        type_size(bytes.saturating_mul(1_000))
    );
    out.push(Diagnostic::new(Code::BodyBufferHuge, place, message, "much memory").help(help));
}
