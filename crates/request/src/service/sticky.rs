//! Which server a client belongs to, by the value that it was told.
//!
//! A server's value is made with a secret key from the service and the server's address (HMAC-SHA-256, RFC 2104, the first 128
//! bits): nobody can make one for a server, or learn an address from it, and it stays valid when evenkeel is started anew. Since
//! it says nothing about the client, each server has one, made at the start: a request costs a look into a table.

use std::collections::HashMap;
use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::RequestView;
use crate::head::any_cookie;

/// Hexadecimal digits of a value.
const LENGTH: usize = 32;

/// How clients stay with their servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyOptions {
    /// The cookie or header field with the client's server.
    pub by: StickyBy,
    /// The key that the values are made with.
    pub key: StickyKey,
}

/// Where a client says to which server it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StickyBy {
    /// In a cookie.
    Cookie {
        /// Its name.
        name: String,
        /// What follows its value in `Set-Cookie`, beginning with a semicolon.
        attributes: String,
    },
    /// In a header field.
    Header {
        /// Its name in lower case.
        name: String,
    },
}

/// A secret; never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StickyKey(pub Vec<u8>);

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StickyKey({} bytes)", self.0.len())
    }
}

/// The values of a service's servers.
#[derive(Debug)]
pub struct Sticky {
    by: StickyBy,
    servers: HashMap<[u8; LENGTH], u32>,
    /// The value of the field that tells a client, for each server.
    fields: Vec<String>,
}

impl Sticky {
    /// `identities` are the servers' addresses.
    pub(super) fn new<'a>(
        options: &StickyOptions,
        service: &str,
        identities: impl Iterator<Item = &'a str>,
    ) -> Self {
        let values: Vec<[u8; LENGTH]> = identities
            .map(|identity| value(&options.key.0, service, identity))
            .collect();
        let field = |value: &[u8; LENGTH]| {
            let value = String::from_utf8_lossy(value);
            match &options.by {
                StickyBy::Cookie { name, attributes } => format!("{name}={value}{attributes}"),
                StickyBy::Header { .. } => value.into_owned(),
            }
        };
        Self {
            by: options.by.clone(),
            fields: values.iter().map(field).collect(),
            servers: values.into_iter().zip(0..).collect(),
        }
    }

    /// The server that the client says it belongs to. What is no server's value says nothing.
    #[must_use]
    pub fn server(&self, head: &impl RequestView) -> Option<u32> {
        let mut found = None;
        let mut take = |value: &[u8]| {
            found = <&[u8; LENGTH]>::try_from(value)
                .ok()
                .and_then(|value| self.servers.get(value).copied());
            found.is_some()
        };
        match &self.by {
            StickyBy::Cookie { name, .. } => {
                head.any_value("cookie", &mut |field| any_cookie(field, name, &mut take));
            }
            StickyBy::Header { name } => {
                head.any_value(name, &mut take);
            }
        }
        found
    }

    /// The header field that tells a client that it belongs to this server: name and value.
    #[must_use]
    pub fn field(&self, server: u32) -> Option<(&str, &str)> {
        let value = self.fields.get(server as usize)?;
        let name = match &self.by {
            StickyBy::Cookie { .. } => "set-cookie",
            StickyBy::Header { name } => name,
        };
        Some((name, value))
    }
}

fn value(key: &[u8], service: &str, identity: &str) -> [u8; LENGTH] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    for part in ["evenkeel sticky 1", service, identity] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    let sum = mac.finalize().into_bytes();
    let mut value = [0; LENGTH];
    for (digits, byte) in value.chunks_exact_mut(2).zip(sum) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::FakeHead;

    fn head(fields: Vec<(&'static str, String)>) -> FakeHead {
        FakeHead {
            fields,
            ..FakeHead::default()
        }
    }

    fn sticky(key: &str, by: StickyBy) -> Sticky {
        let options = StickyOptions {
            by,
            key: StickyKey(key.into()),
        };
        Sticky::new(&options, "shop", ["10.0.0.1:80", "10.0.0.2:80"].into_iter())
    }

    fn cookie() -> StickyBy {
        StickyBy::Cookie {
            name: "server".to_owned(),
            attributes: "; Path=/; HttpOnly".to_owned(),
        }
    }

    fn text(sticky: &Sticky, server: u32) -> String {
        let (name, value) = sticky.field(server).unwrap();
        format!("{name}: {value}")
    }

    #[test]
    fn a_sticky_value_leads_to_its_server() {
        let sticky = sticky("a key", cookie());
        let line = text(&sticky, 1);
        let value = line
            .strip_prefix("set-cookie: server=")
            .and_then(|rest| rest.strip_suffix("; Path=/; HttpOnly"))
            .unwrap();
        assert_eq!(value.len(), 32);
        let asks = |cookies: &str| sticky.server(&head(vec![("cookie", cookies.to_owned())]));
        assert_eq!(asks(&format!("a=b; server={value}")), Some(1));
        assert_eq!(asks(&format!("server=0{value}")), None);
        assert_eq!(asks(&format!("other={value}")), None);
        assert_eq!(asks("server="), None);
        // A cookie of the same name for another path may stand beside it.
        assert_eq!(asks(&format!("server=x; server={value}")), Some(1));
    }

    #[test]
    fn nobody_makes_a_value_without_the_key() {
        let (one, other) = (sticky("a key", cookie()), sticky("another", cookie()));
        assert_ne!(text(&one, 0), text(&other, 0));
        assert_ne!(text(&one, 0), text(&one, 1));
        assert_eq!(text(&one, 0), text(&sticky("a key", cookie()), 0));
    }

    /// HMAC-SHA-256 as Python's standard library computes it.
    #[test]
    fn the_sticky_value_is_a_keyed_hash_of_the_address() {
        let made = value(b"key", "shop", "10.0.0.1:80");
        assert_eq!(made, *b"f1004a77c80915781134e46ab77e79b1");
    }

    #[test]
    fn a_sticky_header_names_its_server() {
        let name = "x-server".to_owned();
        let sticky = sticky("a key", StickyBy::Header { name });
        let line = text(&sticky, 0);
        let value = line.strip_prefix("x-server: ").unwrap().to_owned();
        assert_eq!(sticky.server(&head(vec![("x-server", value)])), Some(0));
        assert_eq!(sticky.server(&head(vec![])), None);
    }
}
