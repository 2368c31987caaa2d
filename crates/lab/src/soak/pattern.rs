//! The pattern of a body, known to both sides: the exchange's id, a semicolon, repeated, so that each position tells
//! which exchange it belongs to.

use evenkeel_core::Random;

/// A generator for part `part` of the soak with this seed.
pub(super) fn random(seed: u64, part: u64) -> Random {
    Random::seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part))
}

/// `length` bytes that belong to the exchange `id`.
pub(super) fn body(id: &str, length: usize) -> Vec<u8> {
    id.bytes().chain([b';']).cycle().take(length).collect()
}

/// Checks a body as it comes.
#[derive(Debug)]
pub(super) struct PatternCheck<'a> {
    id: &'a [u8],
    at: usize,
    right: bool,
}

impl<'a> PatternCheck<'a> {
    pub(super) const fn new(id: &'a str) -> Self {
        Self {
            id: id.as_bytes(),
            at: 0,
            right: true,
        }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let expected = self.id.get(self.at).copied().unwrap_or(b';');
            self.right &= byte == expected;
            self.at = if self.at >= self.id.len() {
                0
            } else {
                self.at + 1
            };
        }
    }

    /// Whether every byte so far belonged to the exchange.
    pub(super) const fn is_right(&self) -> bool {
        self.right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_another_exchange_is_seen() {
        let mut check = PatternCheck::new("ab1");
        check.add(&body("ab1", 11)[..5]);
        check.add(&body("ab1", 11)[5..]);
        assert!(check.is_right());
        check.add(b"x");
        assert!(!check.is_right());
    }
}
