//! What a request is hashed on, for policies that send equal requests to the same server.
//!
//! Apart from routing because it answers another question: not which service, but which requests belong together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::RequestView;
use crate::head::{any_cookie, any_parameter};

/// What makes two requests belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address as its connection has it, the first bits of it: 0 to 32 of IPv4, 0 to 128 of IPv6. An IPv4
    /// address in IPv6 form counts as IPv4. A client that came over a Unix domain socket has none.
    SourceIp {
        /// Bits of an IPv4 address.
        v4: u8,
        /// Bits of an IPv6 address; 64 is what one customer commonly gets.
        v6: u8,
    },
    /// The host, without port, in lower case.
    Host,
    /// The path, without query.
    Path,
    /// The first value of this parameter of the query.
    Query(String),
    /// The first value of this header field.
    Header(String),
    /// The first value of this cookie.
    Cookie(String),
}

impl HashOn {
    /// The request's key; `None` if it has nothing of the kind, so that it may go anywhere. `peer`: the client's address.
    #[must_use]
    pub fn key(&self, head: &impl RequestView, peer: Option<IpAddr>) -> Option<u64> {
        let mut found = None;
        let mut take = |value: &[u8]| {
            found = Some(evenkeel_balance::key(value));
            true
        };
        match self {
            Self::SourceIp { v4, v6 } => return peer.map(|peer| hash_address(peer, *v4, *v6)),
            Self::Host => return Some(host_key(head.host()?)),
            Self::Path => return Some(evenkeel_balance::key(head.path())),
            Self::Query(name) => any_parameter(head.query()?, name, take),
            Self::Header(name) => head.any_value(name, &mut take),
            Self::Cookie(name) => {
                head.any_value("cookie", &mut |field| any_cookie(field, name, &mut take))
            }
        };
        found
    }
}

/// The key of a client by the first bits of its address, as [`HashOn::SourceIp`] has it.
#[must_use]
pub fn hash_address(peer: IpAddr, v4: u8, v6: u8) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(v4.min(32)))
                .unwrap_or(0);
            let prefix = Ipv4Addr::from_bits(ip.to_bits() & mask);
            evenkeel_balance::key(&prefix.octets())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(v6.min(128)))
                .unwrap_or(0);
            let prefix = Ipv6Addr::from_bits(ip.to_bits() & mask);
            evenkeel_balance::key(&prefix.octets())
        }
    }
}

/// A host has at most 253 letters; of a longer one the rest does not count.
fn host_key(host: &[u8]) -> u64 {
    let mut lower = [0; 255];
    let length = host.len().min(lower.len());
    for (to, from) in lower.iter_mut().zip(host) {
        *to = from.to_ascii_lowercase();
    }
    evenkeel_balance::key(&lower[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::FakeHead;

    fn head() -> FakeHead {
        let fields = [
            ("x-user", "7"),
            ("cookie", "a=1"),
            ("cookie", "session=abc"),
        ];
        FakeHead {
            host: Some("Shop.Example"),
            path: "/cart",
            query: Some("user=7&user=8"),
            fields: fields.map(|(name, value)| (name, value.to_owned())).into(),
        }
    }

    fn peer(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn equal_values_have_equal_keys_whatever_carries_them() {
        let key = |on: HashOn| on.key(&head(), peer("192.0.2.1"));
        let seven = Some(evenkeel_balance::key(b"7"));
        assert_eq!(key(HashOn::Query("user".into())), seven);
        assert_eq!(key(HashOn::Header("x-user".into())), seven);
        let abc = Some(evenkeel_balance::key(b"abc"));
        assert_eq!(key(HashOn::Cookie("session".into())), abc);
        assert_eq!(key(HashOn::Path), Some(evenkeel_balance::key(b"/cart")));
        let host = Some(evenkeel_balance::key(b"shop.example"));
        assert_eq!(key(HashOn::Host), host);
        for absent in [
            HashOn::Query("other".into()),
            HashOn::Header("other".into()),
            HashOn::Cookie("other".into()),
        ] {
            assert_eq!(key(absent), None);
        }
        let by_address = HashOn::SourceIp { v4: 32, v6: 64 };
        assert_eq!(by_address.key(&head(), None), None, "a Unix domain socket");
    }

    #[test]
    fn addresses_are_hashed_by_their_prefix() {
        let key = |v4, v6, text: &str| HashOn::SourceIp { v4, v6 }.key(&head(), peer(text));
        assert_eq!(key(24, 64, "192.0.2.1"), key(24, 64, "192.0.2.200"));
        assert_ne!(key(24, 64, "192.0.2.1"), key(24, 64, "192.0.3.1"));
        assert_ne!(key(32, 64, "192.0.2.1"), key(32, 64, "192.0.2.200"));
        assert_eq!(key(0, 0, "192.0.2.1"), key(0, 0, "203.0.113.9"));
        assert_eq!(key(32, 64, "192.0.2.1"), key(32, 64, "::ffff:192.0.2.1"));
        assert_eq!(key(32, 64, "2001:db8::1"), key(32, 64, "2001:db8::ffff:1"));
        assert_ne!(key(32, 64, "2001:db8::1"), key(32, 64, "2001:db8:0:1::1"));
        assert_ne!(key(32, 128, "2001:db8::1"), key(32, 128, "2001:db8::2"));
        assert_eq!(key(32, 0, "2001:db8::1"), key(32, 0, "::1"));
    }
}
