//! The text of a client's address: made once for a connection, and written to each of its requests.

use std::io::Write as _;
use std::net::IpAddr;

/// The longest: an IPv6 address with an IPv4 address in it.
const LONGEST: usize = 45;

/// An address as text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressText {
    bytes: [u8; LONGEST],
    length: u8,
}

impl AddressText {
    pub(crate) fn of(address: IpAddr) -> Self {
        let mut bytes = [0; LONGEST];
        let mut left = bytes.as_mut_slice();
        // There is room for each.
        write!(left, "{address}").ok();
        let length = LONGEST - left.len();
        Self {
            bytes,
            length: u8::try_from(length).unwrap_or_default(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_room() {
        for text in [
            "1.2.3.4",
            "255.255.255.255",
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "::ffff:255.255.255.255",
        ] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(AddressText::of(address).as_bytes(), text.as_bytes());
        }
    }
}
