//! Which rule of HTTP a message broke, for the answer that says so and for the log.

use std::fmt;

use evenkeel_http1::{BodyError, HeadError};

/// Most bytes of a field's name that are shown.
const NAME_BYTES: usize = 40;

/// A rule that was broken, and by which field. Holds a bounded copy of the name, which a peer has chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Violation {
    rule: &'static str,
    name: [u8; NAME_BYTES],
    length: usize,
}

impl Violation {
    /// Of a head. `field` is a token, or the names that the error is about.
    pub(crate) fn of_head(error: HeadError, field: Option<&[u8]>) -> Self {
        let mut violation = Self {
            rule: error.rule(),
            name: [0; NAME_BYTES],
            length: 0,
        };
        for (slot, byte) in violation.name.iter_mut().zip(field.unwrap_or_default()) {
            *slot = byte.to_ascii_lowercase();
            violation.length += 1;
        }
        violation
    }

    /// Of a body.
    pub(crate) const fn of_body(error: BodyError) -> Self {
        Self {
            rule: error.rule(),
            name: [0; NAME_BYTES],
            length: 0,
        }
    }

    /// Writes it as a part of a quoted string: neither rules nor tokens have quotes or backslashes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if self.length > 0 {
            out.extend_from_slice(&self.name[..self.length]);
            out.extend_from_slice(b": ");
        }
        out.extend_from_slice(self.rule.as_bytes());
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_field_and_the_rule_within_bounds() {
        let of =
            |field: Option<&[u8]>| Violation::of_head(HeadError::ContentLength, field).to_string();
        assert_eq!(
            of(Some(b"Content-Length")),
            "content-length: it is one decimal number"
        );
        assert_eq!(of(None), "it is one decimal number");
        let long = of(Some(&[b'a'; 5_000]));
        assert!(long.len() < 120 && long.starts_with("aaaa"), "{long}");
    }
}
