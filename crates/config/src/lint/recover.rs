//! Lints for recovery.

use evenkeel_fault::policy::{Action, Mode};

use super::subject::LintSubject;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::Located;
use crate::file::quantity::type_duration;
use crate::plan::{ManagedPlan, ServerPlan};

/// With few servers, the panic rule matters most.
pub(super) fn no_panic(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let servers = subject.plan.servers.len();
    if subject.plan.balance.panic_below > 0.0 || servers > 4 {
        return;
    }
    let place = subject.place(
        subject
            .typed
            .balance
            .as_ref()
            .and_then(|balance| balance.panic_below.as_ref()),
    );
    let message = format!(
        "with {servers} servers and no panic threshold, a wrong verdict on all of them is an outage"
    );
    let help = "probes that fail everywhere at once are more likely wrong than all servers are: leave `panic_below` at 0.5";
    out.push(Diagnostic::new(Code::NoPanic, place, message, "turned off").help(help));
}

/// `keep_serving` that leaves nothing to act on.
pub(super) fn nothing_may_be_acted_on(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let (recover, servers) = (&subject.plan.fault.recover, subject.plan.servers.len());
    let typed = subject
        .typed
        .recover
        .as_ref()
        .and_then(|recover| recover.keep_serving.as_ref());
    let spare = (1.0 - recover.keep_serving) * servers as f64;
    if typed.is_none() || servers < 2 || recover.mode == Mode::Off || spare >= 1.0 - 1e-9 {
        return;
    }
    let message = format!(
        "{} % of {servers} servers must stay in service, so evenkeel may never act on one that serves",
        (recover.keep_serving * 100.0).round()
    );
    let help = format!(
        "slow and failing servers count as serving; {} would allow acting on one",
        short((servers - 1) as f64 / servers as f64)
    );
    out.push(
        Diagnostic::new(
            Code::NothingMayBeActedOn,
            subject.place(typed),
            message,
            "leaves no server",
        )
        .help(help),
    );
}

/// A share, rounded down to two digits.
fn short(share: f64) -> String {
    format!("{}", (share * 100.0).floor() / 100.0)
}

/// Requests that are held where nothing is ever repaired, or longer than they may take.
pub(super) fn hold_without_effect(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let (Some(typed), Some(hold)) = (&subject.typed.hold_requests, subject.plan.hold_requests)
    else {
        return;
    };
    let total = subject.policies.timeout.total;
    let (span, message, label, help) = if subject.plan.fault.recover.mode == Mode::Off {
        (
            typed.key.clone(),
            "with `recover.mode = \"off\"` nothing is repaired, so requests have nothing to wait for".to_owned(),
            "has no effect",
            "leave it out, or let evenkeel repair",
        )
    } else if hold.up_to >= total {
        (
            subject.place(typed.value.up_to.as_ref()),
            format!(
                "requests wait up to {}, and `timeout.total` ends them after {}",
                type_duration(hold.up_to),
                type_duration(total)
            ),
            "longer than the whole request",
            "leave time for the answer",
        )
    } else {
        return;
    };
    let diagnostic = Diagnostic::new(Code::HoldWithoutEffect, span, message, label);
    out.push(diagnostic.help(help));
}

/// The actions of all playbooks, as typed.
fn actions<'a>(subject: &'a LintSubject<'_>) -> impl Iterator<Item = &'a Located<Action>> {
    let recover = subject.typed.recover.iter();
    recover
        .flat_map(|recover| &recover.playbook)
        .flat_map(|list| &list.value)
        .flat_map(|playbook| &playbook.actions)
        .flat_map(|list| &list.value)
}

/// A playbook that fails over without a later tier, falls back without a fallback, or sheds where limits already do.
pub(super) fn action_without_effect(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    let (name, servers) = (&subject.plan.name, &subject.plan.servers);
    for action in actions(subject) {
        let (why, help) = match action.value {
            Action::FailOver if servers.iter().all(|server| server.tier == 0) => (
                format!("`{name}` has no server in a later tier"),
                "give one tier = \"backup\"",
            ),
            Action::FallBack if subject.typed.fallback.is_none() => (
                format!("`{name}` has no fallback: its requests are answered 503"),
                "configure a response: [service.NAME.fallback]",
            ),
            Action::Shed if has_limits(subject) => (
                format!("every server of `{name}` has a limit already, which sheds requests"),
                "leave \"shed\" out",
            ),
            _ => continue,
        };
        let (code, span) = (Code::ActionWithoutEffect, action.span.clone());
        out.push(Diagnostic::new(code, span, why, "does little").help(help));
    }
}

fn has_limits(subject: &LintSubject<'_>) -> bool {
    subject.plan.limit.adaptive.is_some()
        || subject.plan.servers.iter().all(|one| one.max_requests > 0)
}

/// A playbook that restarts what cannot be restarted.
pub(super) fn cannot_restart(subject: &LintSubject<'_>, out: &mut Diagnostics) {
    for action in actions(subject) {
        let able = |server: &ServerPlan| match (&server.managed, &action.value) {
            (ManagedPlan::Child(child), Action::RollBack) => child.roll_back.is_some(),
            (_, Action::RollBack) | (ManagedPlan::Nothing, Action::Restart | Action::Stop) => false,
            (ManagedPlan::Commands { restart, .. }, Action::Restart) => restart.is_some(),
            (ManagedPlan::Commands { stop, .. }, Action::Stop) => stop.is_some(),
            _ => true,
        };
        if subject.plan.servers.iter().any(able) {
            continue;
        }
        let word = action.word();
        let message = format!(
            "no server of `{}` can be reached by \"{word}\"",
            subject.plan.name
        );
        let help = if action.value == Action::RollBack {
            "let evenkeel run the servers ([service.NAME.run]), and set its roll_back or keep_previous"
        } else {
            "let evenkeel run the servers ([service.NAME.run]), or give them managed_by = { exec = { … } }"
        };
        out.push(
            Diagnostic::new(
                Code::CannotRestart,
                action.span.clone(),
                message,
                "cannot be carried out",
            )
            .help(help),
        );
    }
}
