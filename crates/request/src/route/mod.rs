//! Which service takes a request: the first route that matches.

use evenkeel_core::ServiceId;
use regex::bytes::Regex;

use crate::Head;
use crate::head::{any_cookie, any_parameter};

/// One rule of a listener. Every condition that is present must hold.
#[derive(Debug, Clone)]
pub struct Route {
    /// On the host, without port.
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
    /// Where the request goes.
    pub service: ServiceId,
}

/// A condition on the host; letter case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    /// This name (lower case).
    Exact(String),
    /// Any name that ends in this, which begins with a dot (lower case): `*.example.com` is `.example.com`.
    Suffix(String),
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
    /// Whether every condition of this route holds for `head`.
    #[must_use]
    pub fn matches(&self, head: &impl Head) -> bool {
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

/// The service of the first route that matches.
#[must_use]
pub fn find(routes: &[Route], head: &impl Head) -> Option<ServiceId> {
    routes
        .iter()
        .find(|route| route.matches(head))
        .map(|route| route.service)
}

impl HostRule {
    fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name.as_bytes()),
            Self::Suffix(suffix) => {
                host.len() > suffix.len()
                    && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
            }
        }
    }
}

impl PathRule {
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

impl ValueRule {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Pattern(pattern) => pattern.is_match(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        host: Option<&'static str>,
        path: &'static str,
        headers: Vec<(&'static str, &'static str)>,
    }

    impl Head for Fake {
        fn host(&self) -> Option<&[u8]> {
            self.host.map(str::as_bytes)
        }
        fn method(&self) -> &[u8] {
            b"GET"
        }
        fn path(&self) -> &[u8] {
            self.path.as_bytes()
        }
        fn query(&self) -> Option<&[u8]> {
            Some(b"beta=1&lang=de")
        }
        fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.headers
                .iter()
                .any(|(field, value)| field.eq_ignore_ascii_case(name) && test(value.as_bytes()))
        }
    }

    fn route(
        host: Option<HostRule>,
        path: Option<PathRule>,
        headers: Vec<(String, ValueRule)>,
        to: u32,
    ) -> Route {
        Route {
            host,
            path,
            methods: Vec::new(),
            headers,
            query: Vec::new(),
            cookies: Vec::new(),
            service: ServiceId(to),
        }
    }

    fn get(host: &'static str, path: &'static str) -> Fake {
        Fake {
            host: Some(host),
            path,
            headers: vec![("X-Canary", "always")],
        }
    }

    #[test]
    fn the_first_match_wins() {
        let routes = [
            route(None, Some(PathRule::Exact("/a".into())), vec![], 1),
            route(None, Some(PathRule::Prefix(String::new())), vec![], 2),
        ];
        assert_eq!(find(&routes, &get("h", "/a")), Some(ServiceId(1)));
        assert_eq!(find(&routes, &get("h", "/b")), Some(ServiceId(2)));
        assert_eq!(find(&[], &get("h", "/b")), None);
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
        head.headers.push(("Cookie", "a=1; group=b"));
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
        let no_host = Fake {
            host: None,
            path: "/",
            headers: vec![],
        };
        assert!(!route(Some(HostRule::Exact("h".into())), None, vec![], 0).matches(&no_host));
    }
}
