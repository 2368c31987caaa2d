//! What becomes of a request: the first route that matches says it.

mod template;

use std::net::Ipv6Addr;

pub use template::Template;

use evenkeel_core::{Random, ServiceId};
use evenkeel_tolerate::{Class, RateOptions};
use regex::bytes::Regex;

use crate::head::{any_cookie, any_parameter};
use crate::{HashOn, HeaderChanges, Mirror, Policies, RequestView};

/// One rule of a listener. Every condition that is present must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// On the host, without port and final dot.
    pub host: Option<HostRule>,
    /// On the path, without query.
    pub path: Option<PathRule>,
    /// The method is one of these; any if there are none.
    pub methods: Vec<String>,
    /// On header fields: all must hold.
    pub headers: Vec<(String, ValueRule)>,
    /// On parameters of the query: all must hold.
    pub query: Vec<(String, ValueRule)>,
    /// On cookies: all must hold.
    pub cookies: Vec<(String, ValueRule)>,
    /// What becomes of the request.
    pub target: Target,
    /// The path that the server gets, with the query if it is to have one; as it came if absent.
    pub rewrite: Option<Template>,
    /// What is changed in the request's header, after what the service changes.
    pub request_headers: HeaderChanges,
    /// What is changed in the response's header, after what the service changes.
    pub response_headers: HeaderChanges,
    /// Which requests are copied to another service, instead of what the service says about that.
    pub mirror: Option<Mirror>,
    /// How much these requests matter, instead of what the service says about that.
    pub class: Option<Class>,
    /// How many of them may come in a second, beside what the service says about all of its own.
    pub rate: Option<RateRule>,
    /// Its slot: a number that no other route has, and that stays the same while the configuration is reloaded.
    pub place: u32,
    /// What its requests go by instead of what their service says, for each service that it leads to; none if it says nothing
    /// about that.
    pub policies: Vec<(ServiceId, Policies)>,
}

impl Route {
    /// A route that matches every request, and changes nothing.
    #[must_use]
    pub fn to(target: Target) -> Self {
        Self {
            host: None,
            path: None,
            methods: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            target,
            rewrite: None,
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            mirror: None,
            class: None,
            rate: None,
            place: 0,
            policies: Vec::new(),
        }
    }
}

/// How many requests a second may come.
#[derive(Debug, Clone, PartialEq)]
pub struct RateRule {
    /// So many.
    pub rate: RateOptions,
    /// What those have in common that share them; nothing: all together.
    pub by: Option<HashOn>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A service takes it.
    Service(ServiceId),
    /// One of several services takes it, by lot.
    Split(Split),
    /// The client is sent elsewhere.
    Redirect(Redirect),
}

/// Services that share requests, each in proportion to its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    parts: Vec<(ServiceId, u32)>,
    total: u32,
}

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308 (RFC 9110, section 15.4).
    pub status: u16,
    /// The `Location`.
    pub location: Template,
}

impl Target {
    /// The services that requests may go to.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> + '_ {
        let (one, parts) = match self {
            Self::Service(service) => (Some(*service), &[][..]),
            Self::Split(split) => (None, split.parts()),
            Self::Redirect(_) => (None, &[][..]),
        };
        one.into_iter()
            .chain(parts.iter().map(|(service, _)| *service))
    }
}

impl Split {
    /// A split, unless no part is above zero or they add up to more than a `u32` holds.
    #[must_use]
    pub fn new(parts: Vec<(ServiceId, u32)>) -> Option<Self> {
        let total = parts
            .iter()
            .try_fold(0_u32, |sum, (_, part)| sum.checked_add(*part))?;
        (total > 0).then_some(Self { parts, total })
    }

    /// The services, with their parts.
    #[must_use]
    pub fn parts(&self) -> &[(ServiceId, u32)] {
        &self.parts
    }

    /// The ids of the services, to be changed; the parts stay.
    pub fn services_mut(&mut self) -> impl Iterator<Item = &mut ServiceId> {
        self.parts.iter_mut().map(|(service, _)| service)
    }

    /// One of the services, drawn by its part.
    #[must_use]
    pub fn draw(&self, random: &mut Random) -> ServiceId {
        let mut drawn = random.below(self.total as usize) as u32;
        let mut chosen = self.parts[0].0;
        for (service, part) in &self.parts {
            chosen = *service;
            if drawn < *part {
                break;
            }
            drawn -= part;
        }
        chosen
    }
}

/// A condition on the host; letter case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    /// This name (lower case).
    Exact(String),
    /// Any name that ends in this, which begins with a dot (lower case): `*.example.com` is `.example.com`.
    Suffix(String),
    /// This IPv6 address, however it is written: `[::1]` is `[0:0:0:0:0:0:0:1]`.
    Ipv6(Ipv6Addr),
}

/// A condition on the path.
#[derive(Debug, Clone)]
pub enum PathRule {
    /// This path.
    Exact(String),
    /// This path and all below it: `/v1/*` is `/v1`, and holds for `/v1` and `/v1/…`, not for `/v10`.
    Prefix(String),
    /// Any path in which the expression is found.
    Pattern(Regex),
}

/// A condition on the value of a header field, of a parameter of the query, or of a cookie. Where there are several of
/// the same name, it holds if it holds for one of them.
#[derive(Debug, Clone)]
pub enum ValueRule {
    /// It is there (`*`).
    Present,
    /// This value.
    Exact(String),
    /// The expression is found in the value.
    Pattern(Regex),
}

impl Route {
    /// What requests for `service` go by, if the route says something about that.
    #[must_use]
    pub fn policies(&self, service: ServiceId) -> Option<&Policies> {
        let mut all = self.policies.iter();
        all.find(|(of, _)| *of == service)
            .map(|(_, policies)| policies)
    }

    /// Whether every condition of this route holds for `head`.
    #[must_use]
    pub fn matches(&self, head: &impl RequestView) -> bool {
        self.host
            .as_ref()
            .is_none_or(|rule| head.host().is_some_and(|host| rule.matches(host)))
            && self
                .path
                .as_ref()
                .is_none_or(|rule| rule.matches(head.path()))
            && (self.methods.is_empty()
                || self
                    .methods
                    .iter()
                    .any(|method| method.as_bytes() == head.method()))
            && self
                .headers
                .iter()
                .all(|(name, rule)| head.any_value(name, &mut |value| rule.matches(value)))
            && self.query.iter().all(|(name, rule)| {
                let query = head.query().unwrap_or_default();
                any_parameter(query, name, |value| rule.matches(value))
            })
            && self.cookies.iter().all(|(name, rule)| {
                head.any_value("cookie", &mut |field| {
                    any_cookie(field, name, |value| rule.matches(value))
                })
            })
    }
}

impl Route {
    /// The services that this route leads to.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.target.services()
    }

    /// What of `path` is below this route's prefix, without a slash before it; all of it if the route has none.
    #[must_use]
    pub fn rest<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        let rest = match &self.path {
            Some(PathRule::Exact(_)) => b"",
            Some(PathRule::Prefix(prefix)) => path.get(prefix.len()..).unwrap_or_default(),
            Some(PathRule::Pattern(_)) | None => path,
        };
        rest.strip_prefix(b"/").unwrap_or(rest)
    }
}

/// The first route that matches.
#[must_use]
pub fn find<'a>(routes: &'a [Route], head: &impl RequestView) -> Option<&'a Route> {
    routes.iter().find(|route| route.matches(head))
}

impl HostRule {
    fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name.as_bytes()),
            Self::Suffix(suffix) => {
                host.len() > suffix.len()
                    && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
            }
            Self::Ipv6(address) => ipv6(host) == Some(*address),
        }
    }
}

/// The address of an IPv6 literal in brackets.
fn ipv6(host: &[u8]) -> Option<Ipv6Addr> {
    let inner = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
    str::from_utf8(inner).ok()?.parse().ok()
}

impl PathRule {
    /// Its kind, and how it is written.
    fn written(&self) -> (u8, &str) {
        match self {
            Self::Exact(path) => (0, path),
            Self::Prefix(path) => (1, path),
            Self::Pattern(pattern) => (2, pattern.as_str()),
        }
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/'),
            Self::Pattern(pattern) => pattern.is_match(path),
        }
    }
}

/// Expressions are equal if they are written the same.
impl PartialEq for PathRule {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

impl Eq for PathRule {}

impl ValueRule {
    /// Its kind, and how it is written.
    fn written(&self) -> (u8, &str) {
        match self {
            Self::Present => (0, ""),
            Self::Exact(value) => (1, value),
            Self::Pattern(pattern) => (2, pattern.as_str()),
        }
    }

    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Pattern(pattern) => pattern.is_match(value),
        }
    }
}

/// Expressions are equal if they are written the same.
impl PartialEq for ValueRule {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

impl Eq for ValueRule {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::FakeHead;

    fn route(
        host: Option<HostRule>,
        path: Option<PathRule>,
        headers: Vec<(String, ValueRule)>,
        to: u32,
    ) -> Route {
        Route {
            host,
            path,
            headers,
            ..Route::to(Target::Service(ServiceId(to)))
        }
    }

    fn service(routes: &[Route], head: &FakeHead) -> Option<ServiceId> {
        find(routes, head)?.services().next()
    }

    fn get(host: &'static str, path: &'static str) -> FakeHead {
        FakeHead {
            host: Some(host),
            path,
            query: Some("beta=1&lang=de"),
            fields: vec![("X-Canary", "always".to_owned())],
        }
    }

    #[test]
    fn the_first_match_wins() {
        let routes = [
            route(None, Some(PathRule::Exact("/a".into())), vec![], 1),
            route(None, Some(PathRule::Prefix(String::new())), vec![], 2),
        ];
        assert_eq!(service(&routes, &get("h", "/a")), Some(ServiceId(1)));
        assert_eq!(service(&routes, &get("h", "/b")), Some(ServiceId(2)));
        assert_eq!(service(&[], &get("h", "/b")), None);
    }

    #[test]
    fn a_split_keeps_to_its_parts() {
        let (stable, canary, off) = (ServiceId(0), ServiceId(1), ServiceId(2));
        let split = Split::new(vec![(stable, 95), (off, 0), (canary, 5)]).unwrap();
        let mut random = Random::seeded(7);
        let mut counts = [0_u32; 3];
        for _ in 0..100_000 {
            counts[split.draw(&mut random).0 as usize] += 1;
        }
        assert_eq!(counts[2], 0);
        assert!((4_700..=5_300).contains(&counts[1]), "{counts:?}");
        assert_eq!(Split::new(vec![(stable, 0)]), None);
        assert_eq!(Split::new(vec![]), None);
        assert_eq!(Split::new(vec![(stable, u32::MAX), (canary, 1)]), None);
    }

    #[test]
    fn the_rest_is_what_is_below_the_prefix() {
        let with = |path| route(None, path, vec![], 0);
        let prefix = with(Some(PathRule::Prefix("/v1".into())));
        assert_eq!(prefix.rest(b"/v1/a/b"), b"a/b");
        assert_eq!(prefix.rest(b"/v1"), b"");
        assert_eq!(with(None).rest(b"/a"), b"a");
        assert_eq!(with(Some(PathRule::Exact("/a".into()))).rest(b"/a"), b"");
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let rule = PathRule::Prefix("/v1".into());
        assert!(rule.matches(b"/v1") && rule.matches(b"/v1/x"));
        assert!(!rule.matches(b"/v10") && !rule.matches(b"/v"));
    }

    #[test]
    fn hosts_match_in_any_case_and_a_suffix_needs_a_label_before_it() {
        assert!(HostRule::Exact("shop.example".into()).matches(b"Shop.EXAMPLE"));
        let literal = HostRule::Ipv6(Ipv6Addr::LOCALHOST);
        assert!(literal.matches(b"[::1]") && literal.matches(b"[0:0:0:0:0:0:0:1]"));
        assert!(!literal.matches(b"[::2]") && !literal.matches(b"::1"));
        let suffix = HostRule::Suffix(".example.com".into());
        assert!(
            suffix.matches(b"a.Example.com")
                && !suffix.matches(b"example.com")
                && !suffix.matches(b".example.com")
        );
    }

    #[test]
    fn methods_parameters_and_cookies() {
        let any = || route(None, None, vec![], 0);
        let mut head = get("h", "/");
        head.fields.push(("Cookie", "a=1; group=b".to_owned()));
        let with_method = |method: &str| Route {
            methods: vec!["POST".to_owned(), method.to_owned()],
            ..any()
        };
        assert!(with_method("GET").matches(&head) && !with_method("get").matches(&head));
        let rule =
            |name: &str, value: &str| vec![(name.to_owned(), ValueRule::Exact(value.to_owned()))];
        let with_query = |query| Route { query, ..any() };
        assert!(with_query(rule("beta", "1")).matches(&head));
        assert!(!with_query(rule("beta", "2")).matches(&head));
        let with_cookie = |cookies| Route { cookies, ..any() };
        assert!(with_cookie(rule("group", "b")).matches(&head));
        assert!(!with_cookie(rule("group", "a")).matches(&head));
        assert!(with_cookie(vec![("a".into(), ValueRule::Present)]).matches(&head));
    }

    #[test]
    fn all_header_conditions_must_hold() {
        let both = |value| {
            vec![
                ("x-canary".to_owned(), ValueRule::Present),
                ("x-canary".to_owned(), ValueRule::Exact(value)),
            ]
        };
        assert!(route(None, None, both("always".into()), 0).matches(&get("h", "/")));
        assert!(!route(None, None, both("never".into()), 0).matches(&get("h", "/")));
        let pattern = ValueRule::Pattern(Regex::new("^al").expect("valid"));
        assert!(route(None, None, vec![("X-CANARY".into(), pattern)], 0).matches(&get("h", "/")));
    }

    #[test]
    fn a_host_rule_never_matches_a_request_without_host() {
        let no_host = FakeHead {
            path: "/",
            ..FakeHead::default()
        };
        assert!(!route(Some(HostRule::Exact("h".into())), None, vec![], 0).matches(&no_host));
    }
}
