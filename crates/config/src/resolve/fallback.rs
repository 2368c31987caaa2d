//! Resolves fallbacks: another service, or a fixed response.

use evenkeel_request::{Fallback, FallbackResponse, FallbackTo};
use evenkeel_tolerate::StaleOptions;

use super::typed::{find_service, pick, pick_whole, section};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::{ConfigFile, Located, fallback};

/// The longest body.
const BODY: usize = 64 * 1024;

/// The settings described by `typed`.
pub(super) fn resolve_fallback(
    file: &ConfigFile,
    typed: Option<&Located<fallback::FallbackConfig>>,
    out: &mut Diagnostics,
) -> Option<Fallback> {
    let place = typed?;
    let typed = section(Some(place));
    let on = typed.on.iter().flat_map(|list| &list.value);
    let mut on: Vec<u16> = on.map(|status| status.value).collect();
    on.sort_unstable();
    on.dedup();
    let to = if let Some(service) = &typed.service {
        refuse_response(&typed, out);
        FallbackTo::Service(find_service(file, service, out)?)
    } else {
        if typed.body.is_none() && typed.stale.is_none() {
            let message = "none of `service`, `body` and `stale` is given";
            let diagnostic = Diagnostic::new(
                Code::Missing,
                place.span.clone(),
                message,
                "one of the three",
            );
            out.push(diagnostic.help("body = \"We are repairing this. Try again in a minute.\""));
        }
        let response = response(&typed, out);
        match typed.body {
            None => FallbackTo::Own,
            Some(_) => FallbackTo::Response(response),
        }
    };
    let stale = (typed.stale.as_ref()).map(|stale| resolve_stale(&stale.value));
    Some(Fallback { on, stale, to })
}

fn resolve_stale(typed: &fallback::StaleConfig) -> StaleOptions {
    let size = |at: Option<&Located<usize>>, given: usize| at.map_or(given, |at| at.value);
    StaleOptions {
        bytes: size(typed.size.as_ref(), defaults::STALE_SIZE.value.0),
        object: size(typed.object.as_ref(), defaults::STALE_OBJECT.value.0),
        if_error: pick(typed.if_error.as_ref(), defaults::STALE_IF_ERROR),
        answer_first: pick(typed.answer_first.as_ref(), defaults::STALE_ANSWER_FIRST),
    }
}

fn response(typed: &fallback::FallbackConfig, out: &mut Diagnostics) -> FallbackResponse {
    let content_type = typed.content_type.as_ref();
    if let Some(given) = content_type {
        check_content_type(given, out);
    }
    let body = typed.body.as_ref();
    if let Some(long) = body.filter(|body| body.value.len() > BODY) {
        let message = format!("this body has {} bytes", long.value.len());
        let diagnostic = Diagnostic::new(Code::OutOfRange, long.span.clone(), message, "too long");
        out.push(diagnostic.help("at most 65536 bytes; a service can answer with more"));
    }
    let status = pick_whole(typed.status.as_ref(), defaults::FALLBACK_STATUS);
    FallbackResponse {
        status: u16::try_from(status).unwrap_or(503),
        content_type: content_type.map_or_else(
            || defaults::FALLBACK_CONTENT_TYPE.value.to_owned(),
            |given| given.value.clone(),
        ),
        body: body.map(|body| body.value.clone()).unwrap_or_default(),
        retry_after: typed.retry_after.as_ref().map(|after| after.value),
    }
}

fn check_content_type(given: &Located<String>, out: &mut Diagnostics) {
    let is_field = |byte: u8| (0x20..0x7f).contains(&byte);
    let text = given.value.trim();
    if text.len() != given.value.len() || !text.contains('/') || !text.bytes().all(is_field) {
        let message = format!("`{}` is not a media type", given.value.escape_debug());
        let diagnostic = Diagnostic::new(
            Code::BadRule,
            given.span.clone(),
            message,
            "not fitting here",
        );
        out.push(diagnostic.help("for example \"text/html; charset=utf-8\""));
    }
}

/// Another service's answer is as it is.
fn refuse_response(typed: &fallback::FallbackConfig, out: &mut Diagnostics) {
    let keys: [(&str, Option<&TextRange>); 4] = [
        ("status", typed.status.as_ref().map(|at| &at.key)),
        ("body", typed.body.as_ref().map(|at| &at.key)),
        (
            "content_type",
            typed.content_type.as_ref().map(|at| &at.key),
        ),
        ("retry_after", typed.retry_after.as_ref().map(|at| &at.key)),
    ];
    for (name, span) in keys {
        let Some(span) = span else { continue };
        let message = format!("`{name}` and `service` cannot both hold");
        let diagnostic = Diagnostic::new(
            Code::Contradiction,
            span.clone(),
            message,
            "not with a service",
        );
        out.push(
            diagnostic.help("leave one of the two out: the service's answer is passed on as it is"),
        );
    }
}
