//! The text of a client's address: made once for a connection, and written to each of its requests.

use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;

/// The longest: an IPv6 address with an IPv4 address in it.
const LONGEST: usize = 45;

/// An address as text, or none: a client that came over a Unix domain socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressText {
    bytes: [u8; LONGEST],
    length: u8,
}

impl AddressText {
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        let mut bytes = [0; LONGEST];
        let mut left = bytes.as_mut_slice();
        if let Some(address) = address {
            // There is room for each.
            write!(left, "{address}").ok();
        }
        let length = LONGEST - left.len();
        Self {
            bytes,
            length: u8::try_from(length).unwrap_or_default(),
        }
    }

    /// The text of the address, if there is one.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        let text = &self.bytes[..usize::from(self.length)];
        (!text.is_empty()).then_some(text)
    }
}

/// For logs.
impl fmt::Display for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.as_bytes().unwrap_or(b"unix");
        f.write_str(&String::from_utf8_lossy(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_fits_its_buffer() {
        for text in [
            "1.2.3.4",
            "255.255.255.255",
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "::ffff:255.255.255.255",
        ] {
            let address: IpAddr = text.parse().expect("an address");
            let made = AddressText::of(Some(address));
            assert_eq!(made.as_bytes(), Some(text.as_bytes()));
            assert_eq!(made.to_string(), text);
        }
        let none = AddressText::of(None);
        assert_eq!(
            (none.as_bytes(), none.to_string()),
            (None, "unix".to_owned())
        );
    }
}
