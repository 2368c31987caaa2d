//! Resolves listeners: service names to ids, rule texts to rules.

use evenkeel_request::headers::Side;
use evenkeel_request::route::{HostRule, PathRule, Route, ValueRule};
use regex::bytes::Regex;

use super::dns::is_dns;
use super::environment::Environment;
use super::headers::resolve_headers;
use super::limit::resolve_rate;
use super::mirror::resolve_mirror;
use super::policies::route_policies;
use super::socket::resolve_socket;
use super::target::{resolve_target, template};
use super::typed::{find_service, is_token, methods, pick, pick_whole, section};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::{ConfigFile, Located, listen};
use crate::plan::{ListenerLimits, ListenerPlan};

/// The listeners of `file`.
pub(crate) fn resolve_listeners(
    file: &ConfigFile,
    around: &Environment<'_>,
    out: &mut Diagnostics,
) -> Vec<ListenerPlan> {
    let mut listeners = Vec::new();
    let all = file.listen.iter().flat_map(|map| &map.value);
    for (name, typed) in all.filter(|(_, typed)| !is_dns(typed)) {
        let default_service = typed
            .service
            .as_ref()
            .and_then(|service| find_service(file, service, out));
        let routes: Vec<&Located<listen::RouteConfig>> =
            typed.routes.iter().flat_map(|list| &list.value).collect();
        let routes = routes
            .into_iter()
            .filter_map(|route| resolve_route(file, route, out))
            .collect();
        let Some(address) = &typed.address else {
            continue;
        };
        listeners.push(ListenerPlan {
            name: name.value.clone(),
            address: address.value.clone(),
            socket: resolve_socket(Some(address), typed.socket.as_ref(), around, out),
            default_service,
            routes,
            limits: resolve_limits(&section(typed.limits.as_ref())),
        });
    }
    listeners
}

fn resolve_limits(typed: &listen::LimitsConfig) -> ListenerLimits {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    ListenerLimits {
        head_bytes: typed
            .head_bytes
            .as_ref()
            .map_or(defaults::HEAD_BYTES.value.0, |size| size.value),
        headers: count(pick_whole(typed.headers.as_ref(), defaults::HEADERS)),
        head_time: pick(typed.head_time.as_ref(), defaults::HEAD_TIME),
        idle_time: pick(typed.idle_time.as_ref(), defaults::IDLE_TIME),
        connections: count(pick_whole(
            typed.connections.as_ref(),
            defaults::CONNECTIONS,
        )),
    }
}

fn resolve_route(
    file: &ConfigFile,
    typed: &Located<listen::RouteConfig>,
    out: &mut Diagnostics,
) -> Option<Route> {
    let host = typed
        .host
        .as_ref()
        .and_then(|host| ask(host_rule(host), host, out));
    let path = typed
        .path
        .as_ref()
        .and_then(|path| ask(path_rule(path), path, out))
        .flatten();
    let headers = value_rules(typed.header.as_ref(), "header", out)
        .into_iter()
        .map(|(name, rule)| (name.to_lowercase(), rule))
        .collect();
    let query = value_rules(typed.query.as_ref(), "parameter", out);
    let cookies = value_rules(typed.cookie.as_ref(), "cookie", out);
    let methods = methods(typed.method.as_ref(), out);
    let rewrite = typed.rewrite.as_ref().and_then(|text| template(text, out));
    let target = resolve_target(file, typed, out)?;
    Some(Route {
        host,
        path,
        methods,
        headers,
        query,
        cookies,
        rewrite,
        request_headers: resolve_headers(typed.request_headers.as_ref(), Side::Request, out),
        response_headers: resolve_headers(typed.response_headers.as_ref(), Side::Response, out),
        mirror: resolve_mirror(file, typed.mirror.as_ref(), out),
        class: typed.class.as_ref().map(|class| class.value),
        rate: typed
            .rate
            .as_ref()
            .and_then(|rate| resolve_rate(&rate.value)),
        place: 0,
        policies: route_policies(file, typed, &target, out),
        target,
    })
}

type TextMap = Vec<(Located<String>, Located<String>)>;

/// Rules by name, as the route of `what` has them.
fn value_rules(
    typed: Option<&Located<TextMap>>,
    what: &str,
    out: &mut Diagnostics,
) -> Vec<(String, ValueRule)> {
    let mut rules = Vec::new();
    for (name, value) in typed.iter().flat_map(|map| &map.value) {
        if what != "parameter" && !is_token(name) {
            let message = format!("`{}` cannot be the name of a {what}", name.escape_debug());
            let label = format!("not a {what} name");
            out.push(Diagnostic::new(
                Code::BadRule,
                name.span.clone(),
                message,
                label,
            ));
        }
        if let Some(rule) = ask(value_rule(value), value, out) {
            rules.push((name.value.clone(), rule));
        }
    }
    rules
}

type Ruled<T> = Result<T, (String, String)>;

fn ask<T>(result: Ruled<T>, text: &Located<String>, out: &mut Diagnostics) -> Option<T> {
    match result {
        Ok(rule) => Some(rule),
        Err((message, help)) => {
            let help = (!help.is_empty()).then_some(help);
            out.push(
                Diagnostic::new(Code::BadRule, text.span.clone(), message, "this rule")
                    .maybe_help(help),
            );
            None
        }
    }
}

fn host_rule(text: &str) -> Ruled<HostRule> {
    let is_host = |text: &str| {
        text.len() <= 253
            && text.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            })
    };
    if text == "*" {
        return Err((
            "`*` alone is not a host rule".to_owned(),
            "leave `host` out to match every host".to_owned(),
        ));
    }
    let lower = text.to_lowercase();
    // With a final dot it is the same name.
    let lower = lower.strip_suffix('.').unwrap_or(&lower).to_owned();
    let rule = lower.strip_prefix('*').map_or_else(
        || is_host(&lower).then(|| HostRule::Exact(lower.clone())),
        |suffix| {
            suffix
                .strip_prefix('.')
                .is_some_and(is_host)
                .then(|| HostRule::Suffix(suffix.to_owned()))
        },
    );
    let literal = || lower.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let rule = rule.or_else(|| literal().map(HostRule::Ipv6));
    rule.ok_or_else(|| {
        let message = format!("`{}` is not a host rule", text.escape_debug());
        let help = match text.rsplit_once(':') {
            Some((host, _)) if is_host(host) => format!("without the port: \"{host}\""),
            _ => "\"shop.example.com\", or \"*.example.com\" for all names below it".to_owned(),
        };
        (message, help)
    })
}

fn path_rule(text: &str) -> Ruled<Option<PathRule>> {
    if let Some(pattern) = text.strip_prefix('~') {
        return regex(pattern).map(|regex| Some(PathRule::Pattern(regex)));
    }
    let message = format!("`{}` is not a path rule", text.escape_debug());
    if !text.starts_with('/') {
        let help = format!(
            "a path begins with a slash: \"/{text}\"; an expression begins with ~: \"~{text}\""
        );
        return Err((message, help));
    }
    if text.contains('?') || text.contains('#') {
        return Err((message, "the query is ignored: remove it".to_owned()));
    }
    if text == "/*" {
        return Ok(None); // every path
    }
    let (path, below) = text
        .strip_suffix("/*")
        .map_or((text, false), |path| (path, true));
    if path.contains('*') {
        let help = "a star is allowed at the end only, after a slash: \"/v1/*\"; anything else is an expression: \"~^/v[0-9]+/\"";
        return Err((message, help.to_owned()));
    }
    let path = path.to_owned();
    Ok(Some(if below {
        PathRule::Prefix(path)
    } else {
        PathRule::Exact(path)
    }))
}

fn value_rule(text: &str) -> Ruled<ValueRule> {
    if text == "*" {
        return Ok(ValueRule::Present);
    }
    match text.strip_prefix('~') {
        Some(pattern) => regex(pattern).map(ValueRule::Pattern),
        None => Ok(ValueRule::Exact(text.to_owned())),
    }
}

fn regex(pattern: &str) -> Ruled<Regex> {
    Regex::new(pattern).map_err(|error| {
        let text = error.to_string();
        let reason = text
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        (
            format!("this is not a regular expression: {reason}"),
            String::new(),
        )
    })
}
