//! Resolves the targets of routes: a service, a split, a redirect.

use evenkeel_core::ServiceId;
use evenkeel_request::route::{Redirect, Split, Target, Template};

use super::typed::{find_service, pick_whole};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::{ConfigFile, Located, listen};

/// The target of a route: exactly one of three keys.
pub(super) fn resolve_target(
    file: &ConfigFile,
    typed: &Located<listen::RouteConfig>,
    out: &mut Diagnostics,
) -> Option<Target> {
    let (service, split, redirect) = (&typed.service, &typed.split, &typed.redirect);
    match (service, split, redirect) {
        (Some(service), None, None) => find_service(file, service, out).map(Target::Service),
        (None, Some(split), None) => resolve_split(file, split, out).map(Target::Split),
        (None, None, Some(redirect)) => {
            only_redirects(typed, out);
            resolve_redirect(redirect, out).map(Target::Redirect)
        }
        (None, None, None) => {
            let message = "a route needs `service`, `split` or `redirect`";
            let diagnostic =
                Diagnostic::new(Code::Missing, typed.span.clone(), message, "leads nowhere");
            out.push(diagnostic.help("service = \"NAME\""));
            None
        }
        _ => {
            let message = "a route has one of `service`, `split` and `redirect`";
            let diagnostic = Diagnostic::new(
                Code::Contradiction,
                typed.span.clone(),
                message,
                "leads to several places",
            );
            out.push(
                diagnostic
                    .help("a split names all its services: split = { shop = 95, canary = 5 }"),
            );
            None
        }
    }
}

/// A redirect reaches no server, and is evenkeel's own answer.
fn only_redirects(typed: &listen::RouteConfig, out: &mut Diagnostics) {
    let key = |key: Option<&TextRange>| key.cloned();
    let keys = [
        (
            key(typed.rewrite.as_ref().map(|at| &at.key)),
            "a redirect reaches no server, so there is no path to rewrite",
        ),
        (
            key(typed.request_headers.as_ref().map(|at| &at.key)),
            "a redirect reaches no server, so there is no request header to change",
        ),
        (
            key(typed.response_headers.as_ref().map(|at| &at.key)),
            "a redirect has no server's response",
        ),
        (
            key(typed.timeout.as_ref().map(|at| &at.key)),
            "a redirect reaches no server, so there is nothing to hedge",
        ),
        (
            key(typed.retry.as_ref().map(|at| &at.key)),
            "a redirect reaches no server, so there is nothing to retry",
        ),
        (
            key(typed.hedge.as_ref().map(|at| &at.key)),
            "a redirect reaches no server, so there is nothing to hedge",
        ),
        (
            key(typed.fallback.as_ref().map(|at| &at.key)),
            "a redirect is always answered",
        ),
        (
            key(typed.inject.as_ref().map(|at| &at.key)),
            "a redirect is already evenkeel's own response",
        ),
        (
            key(typed.mirror.as_ref().map(|at| &at.key)),
            "a redirect reaches no server, so there is nothing to copy",
        ),
        (
            key(typed.class.as_ref().map(|at| &at.key)),
            "a redirect reaches no server, so there is nothing to time out",
        ),
        (
            key(typed.rate.as_ref().map(|at| &at.key)),
            "a redirect reaches no server",
        ),
    ];
    for (key, message) in keys {
        if let Some(key) = key {
            out.push(Diagnostic::new(
                Code::Contradiction,
                key,
                message,
                "no server gets it",
            ));
        }
    }
}

fn resolve_split(
    file: &ConfigFile,
    typed: &Located<Vec<(Located<String>, Located<u64>)>>,
    out: &mut Diagnostics,
) -> Option<Split> {
    let parts: Vec<(ServiceId, u32)> = typed
        .value
        .iter()
        .filter_map(|(name, part)| {
            let part = u32::try_from(part.value).unwrap_or(u32::MAX);
            Some((find_service(file, name, out)?, part))
        })
        .collect();
    if parts.len() < typed.value.len() {
        return None;
    }
    let split = Split::new(parts);
    if split.is_none() {
        let message = "a split needs a service with a number above zero";
        let diagnostic = Diagnostic::new(
            Code::OutOfRange,
            typed.span.clone(),
            message,
            "no server takes requests",
        );
        out.push(diagnostic.help("split = { shop = 95, canary = 5 }"));
    }
    split
}

fn resolve_redirect(
    typed: &Located<listen::RedirectConfig>,
    out: &mut Diagnostics,
) -> Option<Redirect> {
    let status = pick_whole(typed.status.as_ref(), defaults::REDIRECT_STATUS);
    let status = u16::try_from(status).unwrap_or_default();
    if let Some(given) = &typed.status
        && matches!(status, 304..=306)
    {
        let message = format!("{status} is not a redirect status");
        let diagnostic = Diagnostic::new(
            Code::OutOfRange,
            given.span.clone(),
            message,
            "not a redirect",
        );
        out.push(
            diagnostic.help("308 or 301 for ever, 307 or 302 for now, 303 to GET another page"),
        );
    }
    let to = typed.to.as_ref()?;
    let location = template(to, out)?;
    if !["/", "http://", "https://", "{path}"]
        .iter()
        .any(|start| to.starts_with(start))
    {
        let message = format!("`{}` is not a valid redirect target", to.escape_debug());
        let diagnostic = Diagnostic::new(Code::BadRule, to.span.clone(), message, "not a location");
        out.push(
            diagnostic.help("\"https://new.example.com{path}{query}\", or a path: \"/new/{rest}\""),
        );
    }
    Some(Redirect { status, location })
}

/// A text made of a request.
pub(super) fn template(text: &Located<String>, out: &mut Diagnostics) -> Option<Template> {
    Template::parse(text)
        .map_err(|why| {
            let diagnostic = Diagnostic::new(Code::BadRule, text.span.clone(), why, "this text");
            out.push(diagnostic);
        })
        .ok()
}
