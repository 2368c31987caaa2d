//! Access control: the token, and the checks that keep a web page in an operator's browser from sending requests in the
//! operator's name.
//!
//! A page can make a browser send requests to loopback and, with DNS rebinding, read the answers. It cannot choose
//! `Host` (which then is the page's own name) or `Origin`, and it does not know the token. Separate from the routes, so
//! that no route can omit the checks.

use std::fmt;
use std::hint::black_box;
use std::net::IpAddr;

use evenkeel_core::Endpoint;

use crate::exchange::{AdminRequest, AdminResponse};

/// The rules that a request is checked against.
#[derive(Clone)]
pub struct AccessPolicy {
    /// The token that changes need, and reading too unless `address` is loopback or a Unix domain socket. If it is empty, nothing
    /// that needs it is possible.
    pub token: String,
    /// The address that the admin API listens at.
    pub address: Endpoint,
}

impl fmt::Debug for AccessPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token stays out of logs.
        f.debug_struct("Guard")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl AccessPolicy {
    /// Checks where the request came from and whether it may read, before anything else.
    pub(crate) fn admit(&self, request: &AdminRequest) -> Result<(), AdminResponse> {
        let host = request.host.as_deref().unwrap_or_default();
        if request
            .origin
            .as_deref()
            .is_some_and(|origin| !is_same(origin, host))
        {
            return Err(AdminResponse::error(
                403,
                "requests from other origins are not allowed",
            ));
        }
        // Who may connect to a socket is said by its file, and no browser can.
        let Some(address) = self.address.tcp() else {
            return Ok(());
        };
        // If the address is not loopback, the token is required, which no page knows, whatever the host name.
        if !address.ip().to_canonical().is_loopback() {
            return self.authorize(request);
        }
        // At loopback only this machine can ask, but a page in its browser may do so by a name of its own.
        if is_loopback(host) {
            return Ok(());
        }
        Err(AdminResponse::error(
            403,
            "Host must be localhost or a loopback address",
        ))
    }

    /// Checks the token.
    pub(crate) fn authorize(&self, request: &AdminRequest) -> Result<(), AdminResponse> {
        let given = request
            .authorization
            .as_deref()
            .and_then(bearer)
            .unwrap_or_default();
        if !self.token.is_empty() && is_equal(given.as_bytes(), self.token.as_bytes()) {
            return Ok(());
        }
        let why = if given.is_empty() {
            "the token is required: Authorization: Bearer TOKEN, with the content of the file [admin].token"
        } else {
            "the token is wrong"
        };
        Err(AdminResponse::error(401, why))
    }
}

/// Whether this `Host` names a loopback address. Any other name than `localhost` must come from a web page. The port is
/// ignored.
fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    // A final dot says that the name is whole: the same name (RFC 9110, section 4.2.4, RFC 1034, section 3.1).
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    bare.parse::<IpAddr>()
        .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether `Origin` (`http://host:port`) is the site that was asked.
fn is_same(origin: &str, host: &str) -> bool {
    let site = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    site.is_some_and(|site| site.eq_ignore_ascii_case(host))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !is_open(name) => {
            name
        }
        _ => host,
    }
}

/// Whether the name is the front part of an IPv6 address: `[::1` of `[::1]`.
fn is_open(name: &str) -> bool {
    name.starts_with('[') && !name.ends_with(']')
}

/// Compares without stopping at the first difference, so that the time it takes does not tell how far a guess is right.
fn is_equal(given: &[u8], expected: &[u8]) -> bool {
    let mut difference = given.len() ^ expected.len();
    for (place, byte) in expected.iter().enumerate() {
        difference =
            black_box(difference | usize::from(byte ^ given.get(place).copied().unwrap_or(0)));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(address: &str) -> AccessPolicy {
        AccessPolicy {
            token: "0123456789abcdef".to_owned(),
            address: address.parse().unwrap(),
        }
    }

    fn status(guard: &AccessPolicy, host: &str, origin: Option<&str>) -> u16 {
        let request = AdminRequest {
            host: Some(host.to_owned()),
            origin: origin.map(str::to_owned),
            ..AdminRequest::default()
        };
        guard
            .admit(&request)
            .err()
            .map_or(200, |response| response.status)
    }

    #[test]
    fn only_hosts_of_the_loopback_are_admitted() {
        let guard = guard("127.0.0.1:7070");
        for ours in [
            "localhost",
            "LOCALHOST:7070",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]",
            "[::1]:7070",
            "[::ffff:127.0.0.1]:80",
            "localhost:",
            "localhost.",
            "LocalHost.:7070",
        ] {
            assert_eq!(status(&guard, ours, None), 200, "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:7070",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "192.0.2.8",
            "0.0.0.0",
            "[2001:db8::1]",
            "[::1",
            "0x7f.1",
            "2130706433",
            "localhost@evil.example",
            "localhost..",
            ".",
            ":7070",
        ] {
            assert_eq!(status(&guard, other, None), 403, "{other}");
        }
        assert_eq!(
            guard.admit(&AdminRequest::default()).unwrap_err().status,
            403,
            "no Host at all"
        );
    }

    #[test]
    fn elsewhere_than_at_loopback_the_token_is_asked_for_by_any_name() {
        for address in ["0.0.0.0:7070", "192.0.2.7:7070", "[2001:db8::7]:7070"] {
            let guard = guard(address);
            for host in ["127.0.0.1:7070", "192.0.2.7:7070", "evenkeel.example"] {
                assert_eq!(status(&guard, host, None), 401, "{address} {host}");
                let known = AdminRequest {
                    host: Some(host.to_owned()),
                    authorization: Some(format!("Bearer {}", guard.token)),
                    ..AdminRequest::default()
                };
                assert!(guard.admit(&known).is_ok(), "{address} {host}");
            }
        }
    }

    #[test]
    fn whoever_may_connect_to_a_socket_may_read_by_any_name() {
        let guard = guard("unix:/run/evenkeel.sock");
        for host in ["", "localhost", "evenkeel.example"] {
            assert_eq!(status(&guard, host, None), 200, "{host}");
        }
        assert_eq!(
            status(&guard, "localhost", Some("http://evil.example")),
            403
        );
    }

    #[test]
    fn requests_of_other_origins_are_rejected() {
        let guard = guard("127.0.0.1:7070");
        let host = "127.0.0.1:7070";
        assert_eq!(status(&guard, host, Some("http://127.0.0.1:7070")), 200);
        for other in [
            "null",
            "http://evil.example",
            "http://127.0.0.1:7071",
            "http://127.0.0.1",
            "file://",
            "",
        ] {
            assert_eq!(status(&guard, host, Some(other)), 403, "{other}");
        }
    }

    #[test]
    fn only_the_exact_token_is_authorized() {
        let guard = guard("127.0.0.1:7070");
        let with = |value: &str| {
            let request = AdminRequest {
                authorization: Some(value.to_owned()),
                ..AdminRequest::default()
            };
            guard
                .authorize(&request)
                .err()
                .map_or(200, |response| response.status)
        };
        assert_eq!(with("Bearer 0123456789abcdef"), 200);
        assert_eq!(with("bearer  0123456789abcdef "), 200);
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdee",
        ] {
            assert_eq!(with(wrong), 401, "{wrong}");
        }
        let open = AccessPolicy {
            token: String::new(),
            ..guard.clone()
        };
        let request = AdminRequest {
            authorization: Some("Bearer ".to_owned()),
            ..AdminRequest::default()
        };
        assert_eq!(
            open.authorize(&request).unwrap_err().status,
            401,
            "an empty token opens nothing"
        );
        assert!(
            !format!("{guard:?}").contains("0123"),
            "the token is not shown"
        );
    }
}
