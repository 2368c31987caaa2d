//! Helpers shared by the resolvers: a typed value or its default, service names, methods.

use std::time::Duration;

use evenkeel_core::ServiceId;

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::{ConfigFile, DefaultValue, Located};
use crate::nearest::nearest;

/// The table, or an empty one.
pub(super) fn section<T: Clone + Default>(at: Option<&Located<T>>) -> T {
    at.map(|at| at.value.clone()).unwrap_or_default()
}

/// The typed value, or the default.
pub(super) fn pick<T: Clone>(at: Option<&Located<T>>, given: DefaultValue<T>) -> T {
    at.map_or(given.value, |at| at.value.clone())
}

/// The number that was typed, or the default.
pub(super) fn pick_whole(at: Option<&Located<u64>>, given: DefaultValue<u32>) -> u32 {
    at.map_or(given.value, |at| {
        u32::try_from(at.value).unwrap_or(u32::MAX)
    })
}

/// A back-off's first wait may not be longer than its longest. `at` is the one of the two that was typed.
pub(super) fn check_cap(
    (base, cap): (Duration, Duration),
    at: Option<Located<Duration>>,
    out: &mut Diagnostics,
) {
    if base <= cap {
        return;
    }
    let diagnostic = Diagnostic::new(
        Code::Contradiction,
        at.map_or(0..0, |at| at.span),
        "`base` is longer than `cap`",
        "the first wait is the longest",
    );
    out.push(diagnostic.help("`base` grows up to `cap`"));
}

/// The service that a name means.
pub(super) fn find_service(
    file: &ConfigFile,
    wanted: &Located<String>,
    out: &mut Diagnostics,
) -> Option<ServiceId> {
    let services = || {
        file.service
            .iter()
            .flat_map(|map| &map.value)
            .map(|(name, _)| name.as_str())
    };
    if let Some(index) = services().position(|name| name == wanted.value) {
        return u32::try_from(index).ok().map(ServiceId);
    }
    let help = nearest(wanted, services()).map(|near| format!("did you mean `{near}`?"));
    let all: Vec<&str> = services().take(8).collect();
    let help = help.or_else(|| {
        (!all.is_empty()).then(|| format!("services of this file: {}", all.join(", ")))
    });
    let message = format!("there is no service `{}`", wanted.escape_debug());
    out.push(
        Diagnostic::new(
            Code::UnknownService,
            wanted.span.clone(),
            message,
            "unknown service",
        )
        .maybe_help(help),
    );
    None
}

pub(super) fn methods(
    typed: Option<&Located<Vec<Located<String>>>>,
    out: &mut Diagnostics,
) -> Vec<String> {
    let mut methods = Vec::new();
    for method in typed.iter().flat_map(|list| &list.value) {
        if !is_token(method) || method.value != method.to_uppercase() {
            let message = format!("`{}` is not a method", method.escape_debug());
            let diagnostic =
                Diagnostic::new(Code::BadRule, method.span.clone(), message, "this method");
            out.push(diagnostic.help(format!("\"{}\"", method.to_uppercase())));
        }
        methods.push(method.value.clone());
    }
    methods
}

pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
