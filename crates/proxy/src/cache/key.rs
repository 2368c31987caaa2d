//! What a request means to the answers that are kept: the key of its own, what its `Cache-Control` asks for, and which are out
//! of date once it has succeeded (RFC 9111).
//!
//! Read off the head while it is there. A key begins with the address that the client asked for, so that all answers for one
//! address are found together; what else chose the answer follows: the route, whose edits the server saw, and `Accept-Encoding`.
//! Answers to QUERY are not kept: their key would need the request's content.

use std::time::Duration;

use evenkeel_http1::{Framing, Method, RequestHead, ResponseHead};
use evenkeel_request::cache::RequestCacheControl;
use evenkeel_request::route::Route;

/// Longer keys are not kept.
const LONGEST_KEY: usize = 4_096;
/// Ends each part of a key. No part can have it in it.
const END: u8 = 0;

/// A request that may be answered from what is kept, or that makes some of it out of date.
#[derive(Debug)]
pub(crate) struct CacheRequest {
    key: Vec<u8>,
    /// How much of the key is the address, with its end.
    address: usize,
    purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Its answer may be kept, or another one shown to it.
    Read {
        /// Whether it says who asks.
        knows_client: bool,
        /// Whether it wants a part.
        is_partial: bool,
        control: RequestCacheControl,
    },
    /// It may change what is kept for its address.
    Change,
}

impl CacheRequest {
    /// For the request with this head, of which `bytes` are the beginning, if it matters to what is kept. `keeps`: whether its service keeps
    /// answers; some service does.
    pub(crate) fn of(
        head: &RequestHead,
        bytes: &[u8],
        route: Option<&Route>,
        keeps: bool,
    ) -> Option<Box<Self>> {
        if !head.method.is_safe() {
            let key = address(authority(head, bytes), head.target.of(bytes));
            return Some(Box::new(Self {
                address: key.len(),
                key,
                purpose: Purpose::Change,
            }));
        }
        if !keeps {
            return None;
        }
        if head.method != Method::Get || head.framing != Framing::None || head.upgrade.is_some() {
            return None;
        }
        let encoding = head.header(bytes, "accept-encoding").unwrap_or_default();
        let mut key = address(authority(head, bytes), head.target.of(bytes));
        let address = key.len();
        let place = route.map_or(u32::MAX, |route| route.place);
        key.extend_from_slice(&place.to_be_bytes());
        key.extend_from_slice(encoding);
        if key.len() > LONGEST_KEY {
            return None;
        }
        let has = |name: &str| head.header(bytes, name).is_some();
        let mut control = RequestCacheControl::default();
        for field in &head.fields {
            if field.name.of(bytes).eq_ignore_ascii_case(b"cache-control") {
                control.read(field.value.of(bytes));
            }
        }
        Some(Box::new(Self {
            key,
            address,
            purpose: Purpose::Read {
                knows_client: has("authorization") || has("cookie"),
                is_partial: has("range"),
                control,
            },
        }))
    }

    /// What its answer is kept by, if it may be.
    pub(crate) fn key(&self) -> Option<CacheKey<'_>> {
        matches!(self.purpose, Purpose::Read { .. }).then_some(CacheKey {
            all: &self.key,
            address: self.address,
        })
    }

    /// Whether it says who asks, and whether its answer is not to be kept.
    pub(crate) const fn asked(&self) -> (bool, bool) {
        match self.purpose {
            Purpose::Read {
                knows_client,
                is_partial,
                control,
            } => (knows_client, is_partial || control.no_store),
            Purpose::Change => (true, true),
        }
    }

    /// Whether it may be shown an old answer when there is no new one. Ages that it asks for count for less than having one.
    pub(crate) const fn takes_old(&self) -> bool {
        match self.purpose {
            Purpose::Read {
                is_partial,
                control,
                ..
            } => !(is_partial || control.no_store || control.no_cache),
            Purpose::Change => false,
        }
    }

    /// Whether it may be shown an answer of this age, which stays fresh for so long, before a server is asked.
    pub(crate) fn takes_first(&self, age: Duration, fresh_for: Duration) -> bool {
        match self.purpose {
            Purpose::Read { control, .. } => self.takes_old() && control.accepts(age, fresh_for),
            Purpose::Change => false,
        }
    }
}

/// The key of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheKey<'a> {
    pub(crate) all: &'a [u8],
    address: usize,
}

impl<'a> CacheKey<'a> {
    /// The part that all answers for the same address share.
    pub(crate) fn address(self) -> &'a [u8] {
        &self.all[..self.address]
    }

    pub(crate) fn to_owned(self) -> OwnedCacheKey {
        OwnedCacheKey {
            all: self.all.to_vec(),
            address: self.address,
        }
    }
}

/// The same, for what outlives its request.
#[derive(Debug)]
pub(crate) struct OwnedCacheKey {
    all: Vec<u8>,
    address: usize,
}

impl OwnedCacheKey {
    pub(crate) fn borrow(&self) -> CacheKey<'_> {
        CacheKey {
            all: &self.all,
            address: self.address,
        }
    }
}

impl CacheRequest {
    /// The addresses that are out of date once a server has answered this request with this head: its own, and those that the answer names
    /// (RFC 9111, section 4.4). None if the request changes nothing.
    pub(crate) fn outdated(&self, head: &ResponseHead, bytes: &[u8]) -> Vec<Vec<u8>> {
        if self.purpose != Purpose::Change || !(200..400).contains(&head.status) {
            return Vec::new();
        }
        let own = &self.key;
        let named = ["location", "content-location"].into_iter();
        let others = named.filter_map(|name| same_origin(own, head.header(bytes, name)?));
        std::iter::once(own.clone()).chain(others).collect()
    }
}

fn authority<'a>(head: &RequestHead, bytes: &'a [u8]) -> &'a [u8] {
    head.host.map_or(&b""[..], |host| host.of(bytes))
}

/// An address as it begins keys: host in small letters, without a final dot or the default port; path and query.
fn address(authority: &[u8], target: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(authority.len() + target.len() + 8);
    let (host, port) = match authority.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !authority[colon..].contains(&b']') => authority.split_at(colon),
        _ => (authority, &b""[..]),
    };
    out.extend_from_slice(host.strip_suffix(b".").unwrap_or(host));
    out.make_ascii_lowercase();
    if !matches!(port, b"" | b":" | b":80") {
        out.extend_from_slice(port);
    }
    out.push(END);
    let path = after_authority(target).map_or(target, |(_, path)| path);
    if path.first() != Some(&b'/') {
        out.push(b'/');
    }
    out.extend_from_slice(path);
    out.push(END);
    out
}

/// Of an absolute URI (`http://host/path`): the authority, and what follows.
fn after_authority(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = match uri.iter().position(|&byte| byte == b':') {
        Some(colon) => uri[colon + 1..].strip_prefix(b"//")?,
        None => return None,
    };
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// The address that a reference in an answer names, if it is on the host of `own`. References relative to the path are passed
/// over: one need not follow any.
fn same_origin(own: &[u8], reference: &[u8]) -> Option<Vec<u8>> {
    let host_end = own.iter().position(|&byte| byte == END)?;
    let end = reference.iter().position(|&byte| byte == b'#');
    let reference = &reference[..end.unwrap_or(reference.len())];
    let named = match reference {
        [b'/', b'/', ..] => return None,
        [b'/', ..] => {
            let mut named = own[..=host_end].to_vec();
            named.extend_from_slice(reference);
            named.push(END);
            named
        }
        _ => {
            let (authority, _) = after_authority(reference)?;
            address(authority, reference)
        }
    };
    (named.len() <= LONGEST_KEY && named[..=host_end.min(named.len() - 1)] == own[..=host_end])
        .then_some(named)
}

#[cfg(test)]
mod tests {
    use evenkeel_http1::{Limits, Parsed};

    use super::*;

    #[test]
    fn a_query_is_neither_kept_nor_a_change() {
        let read = |text: &str| {
            let mut head = RequestHead::default();
            let parsed = head.parse(text.as_bytes(), &Limits::default());
            assert_eq!(parsed, Ok(Parsed::Complete), "{text}");
            CacheRequest::of(&head, text.as_bytes(), None, true).map(|request| request.purpose)
        };
        let is_read = |purpose: &Purpose| matches!(purpose, Purpose::Read { .. });
        assert!(read("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").is_some_and(|it| is_read(&it)));
        assert_eq!(read("QUERY /a HTTP/1.1\r\nHost: a\r\n\r\n"), None);
        let with_content = "QUERY /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(read(with_content), None);
        assert_eq!(
            read("PUT /a HTTP/1.1\r\nHost: a\r\n\r\n"),
            Some(Purpose::Change)
        );
    }

    #[test]
    fn one_address_has_one_form() {
        let plain = address(b"example.com", b"/a?b=c");
        assert_eq!(plain, b"example.com\0/a?b=c\0");
        for (authority, target) in [
            ("EXAMPLE.com", "/a?b=c"),
            ("example.com.", "/a?b=c"),
            ("example.com:80", "/a?b=c"),
            ("example.com.:", "/a?b=c"),
            ("example.com", "http://example.com/a?b=c"),
        ] {
            assert_eq!(address(authority.as_bytes(), target.as_bytes()), plain);
        }
        for (authority, target) in [
            ("example.com:81", "/a?b=c"),
            ("example.com", "/A?b=c"),
            ("example.com", "/a?b=c&"),
            ("example.org", "/a?b=c"),
        ] {
            assert_ne!(address(authority.as_bytes(), target.as_bytes()), plain);
        }
        assert_eq!(address(b"[::1]", b"http://[::1]?q"), b"[::1]\0/?q\0");
        assert_eq!(address(b"[::1]:8080", b"/"), b"[::1]:8080\0/\0");
    }

    #[test]
    fn only_addresses_of_the_same_host_are_followed() {
        let own = address(b"example.com", b"/orders");
        let named = |reference: &str| {
            same_origin(&own, reference.as_bytes())
                .map(|named| String::from_utf8_lossy(&named).replace('\0', " "))
        };
        let there = Some("example.com /orders/7 ".to_owned());
        for reference in [
            "/orders/7",
            "/orders/7#top",
            "http://example.com/orders/7",
            "https://Example.com.:80/orders/7",
        ] {
            assert_eq!(named(reference), there, "{reference}");
        }
        for reference in [
            "",
            "7",
            "../7",
            "//example.com/orders/7",
            "http://example.org/orders/7",
            "http://example.com.evil.org/orders/7",
            "http://example.com:81/orders/7",
            "http://",
            "mailto:a@example.com",
        ] {
            assert_eq!(named(reference), None, "{reference}");
        }
    }
}
