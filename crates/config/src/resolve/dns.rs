//! Resolves DNS listeners: checks names, finds services, and rejects keys that apply to HTTP only.

use super::typed::{find_service, pick, pick_whole};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::listen::ListenConfig;
use crate::file::{ConfigFile, Located, choice::Protocol, dns};
use crate::plan::{DnsNamePlan, DnsPlan};

/// The DNS listeners of `file`.
pub(crate) fn resolve_dns(file: &ConfigFile, out: &mut Diagnostics) -> Vec<DnsPlan> {
    let mut plans = Vec::new();
    for (name, typed) in file.listen.iter().flat_map(|map| &map.value) {
        if !is_dns(typed) {
            refuse(
                &[
                    ("names", key(typed.names.as_ref())),
                    ("rate", key(typed.rate.as_ref())),
                ],
                "only a listener with `protocol = \"dns\"` has it",
                out,
            );
            continue;
        }
        refuse(
            &[
                ("service", key(typed.service.as_ref())),
                ("routes", key(typed.routes.as_ref())),
                ("limits", key(typed.limits.as_ref())),
                ("socket", key(typed.socket.as_ref())),
            ],
            "a DNS listener has `names`, each with its `service`",
            out,
        );
        if typed.names.is_none() {
            let message = "a DNS listener needs `names`";
            let diagnostic = Diagnostic::new(Code::Missing, name.span.clone(), message, "no names");
            out.push(
                diagnostic.help("names = [{ name = \"shop.example.com\", service = \"shop\" }]"),
            );
        }
        let mut names: Vec<DnsNamePlan> = Vec::new();
        for one in typed.names.iter().flat_map(|names| &names.value) {
            if let Some(plan) = resolve_name(file, one, &names, out) {
                names.push(plan);
            }
        }
        if let Some(address) = &typed.address {
            let Some(address) = address.value.tcp() else {
                let message = "a DNS listener needs an IP address";
                let (code, span) = (Code::Contradiction, address.span.clone());
                out.push(Diagnostic::new(
                    code,
                    span,
                    message,
                    "no resolver asks there",
                ));
                continue;
            };
            plans.push(DnsPlan {
                name: name.value.clone(),
                address,
                names,
                rate: pick_whole(typed.rate.as_ref(), defaults::DNS_RATE),
            });
        }
    }
    plans
}

/// Whether a listener answers DNS.
pub(crate) fn is_dns(typed: &ListenConfig) -> bool {
    pick(typed.protocol.as_ref(), defaults::LISTEN_PROTOCOL) == Protocol::Dns
}

fn key<T>(at: Option<&Located<T>>) -> Option<&TextRange> {
    at.map(|at| &at.key)
}

fn refuse(keys: &[(&str, Option<&TextRange>)], help: &str, out: &mut Diagnostics) {
    for (name, span) in keys {
        if let Some(span) = span {
            let message = format!("`{name}` is not for a listener of this protocol");
            let diagnostic =
                Diagnostic::new(Code::Contradiction, (*span).clone(), message, "not here");
            out.push(diagnostic.help(help));
        }
    }
}

fn resolve_name(
    file: &ConfigFile,
    typed: &Located<dns::ServedNameConfig>,
    before: &[DnsNamePlan],
    out: &mut Diagnostics,
) -> Option<DnsNamePlan> {
    let written = typed.name.as_ref()?;
    let service = find_service(file, typed.service.as_ref()?, out)?;
    let name = written.trim_end_matches('.').to_lowercase();
    if let Some(why) = wrong_with(&name) {
        let message = format!(
            "`{}` is not a valid DNS name: {why}",
            written.escape_debug()
        );
        let diagnostic = Diagnostic::new(
            Code::BadName,
            written.span.clone(),
            message,
            "not such a name",
        );
        out.push(
            diagnostic.help("for example \"shop.example.com\" or \"_http._tcp.shop.example.com\""),
        );
        return None;
    }
    if before.iter().any(|other| other.name == name) {
        let message = format!("`{name}` is defined twice");
        out.push(Diagnostic::new(
            Code::Duplicate,
            written.span.clone(),
            message,
            "the second one",
        ));
        return None;
    }
    let ttl = pick(typed.ttl.as_ref(), defaults::DNS_TTL);
    if ttl.subsec_nanos() != 0 || ttl.as_secs() > 86_400 {
        let span = typed.ttl.as_ref().map_or(0..0, |at| at.span.clone());
        let message = "a TTL is a whole number of seconds, at most a day";
        out.push(Diagnostic::new(
            Code::OutOfRange,
            span,
            message,
            "not a TTL",
        ));
    }
    let answers = pick_whole(typed.answers.as_ref(), defaults::DNS_ANSWERS);
    Some(DnsNamePlan {
        name,
        service,
        ttl,
        answers: usize::try_from(answers).unwrap_or(usize::MAX),
    })
}

/// The error in a name (RFC 1035, section 2.3), if any.
fn wrong_with(name: &str) -> Option<&'static str> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let mut labels = name.split('.');
    if name.len() > 200 {
        // The names of servers are put before it.
        Some("it is longer than 200 characters")
    } else if labels
        .clone()
        .any(|label| label.is_empty() || label.len() > 63)
    {
        Some("each label has 1 to 63 characters")
    } else if !labels.clone().all(|label| label.bytes().all(is_letter)) {
        Some("allowed are letters, digits, dashes and underscores")
    } else if labels.all(|label| label.starts_with('_')) {
        Some("nothing comes after the parts with underscores")
    } else {
        None
    }
}
