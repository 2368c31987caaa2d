//! Byte classes of HTTP/1.1.

/// A piece of a message's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Index of its first byte.
    pub start: u32,
    /// Index after its last byte.
    pub end: u32,
}

impl Span {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The piece of `bytes`, which must be those that were parsed.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// How many bytes it is.
    #[must_use]
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// No length may be greater: many peers count in 63 bits, and would see another number.
pub(crate) const LENGTH_MAX: u64 = i64::MAX as u64;

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const HOST: u8 = 8;

/// The classes of each byte.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() || is_one_of(b, b"!#$%&'*+-.^_`|~") {
            class |= TOKEN;
        }
        if b == b'\t' || (b >= b' ' && b != 0x7f) {
            class |= VALUE;
        }
        if b > b' ' && b < 0x7f && b != b'#' {
            class |= TARGET;
        }
        if b.is_ascii_alphanumeric() || is_one_of(b, b"-._~!$&'()*+,;=%") {
            class |= HOST;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

const fn is_one_of(byte: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

const fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

/// Of a method or a field name (RFC 9110 section 5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// Of a field value: visible, space, tab, or above ASCII.
pub(crate) const fn is_value(byte: u8) -> bool {
    is(byte, VALUE)
}

/// Of a request target.
pub(crate) const fn is_target(byte: u8) -> bool {
    is(byte, TARGET)
}

/// How many bytes at the front may be part of a token; nothing if no other byte has come.
pub(crate) fn token_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for word in bytes.as_chunks::<8>().0 {
        let others = uncommon(u64::from_le_bytes(*word));
        if others != 0 {
            at += others.trailing_zeros() as usize / 8;
            break;
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|&byte| !is_token(byte))?;
    Some(at + rest)
}

const ONES: u64 = u64::MAX / 255;
/// The top bit of each of eight bytes: where what is asked of the bytes is answered.
const TOPS: u64 = ONES << 7;

/// Which of eight bytes, which are below 128, are at least `least`; the other bits mean nothing. No byte carries into the next one.
const fn from(low: u64, least: u8) -> u64 {
    low + ONES * (0x80 - least as u64)
}

/// Which of eight bytes are this one.
const fn equal(word: u64, byte: u8) -> u64 {
    let others = word ^ (ONES * byte as u64);
    !(from(others & !TOPS, 1) | others) & TOPS
}

/// Which of eight bytes are neither letters nor digits nor `-`: names of fields hardly ever have others.
const fn uncommon(word: u64) -> u64 {
    let low = word & !TOPS;
    let folded = low | (ONES * 0x20);
    let letter = from(folded, b'a') & !from(folded, b'z' + 1);
    let digit = from(low, b'0') & !from(low, b'9' + 1);
    ((!(letter | digit) | word) & TOPS) & !equal(word, b'-')
}

/// How many bytes at the front may be in a registered name (RFC 3986 section 3.2.2), and whether a `%` is among them.
pub(crate) fn host_length(bytes: &[u8]) -> (usize, bool) {
    let mut at = 0;
    for word in bytes.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        if uncommon(word) & !equal(word, b'.') != 0 {
            break;
        }
        at += 8;
    }
    let mut has_escape = false;
    let end = bytes[at..].iter().position(|&byte| {
        has_escape |= byte == b'%';
        !is(byte, HOST)
    });
    (end.map_or(bytes.len(), |end| at + end), has_escape)
}

/// How many bytes at the front may be in a field value; `None` if all may.
pub(crate) fn value_length(bytes: &[u8]) -> Option<usize> {
    let mut at = next_control(bytes, 0)?;
    while bytes[at] == b'\t' {
        at = next_control(bytes, at + 1)?;
    }
    Some(at)
}

/// The first CR or LF from `at` on.
pub(crate) fn line_break(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = next_control(bytes, at)?;
    while !matches!(bytes[at], b'\r' | b'\n') {
        at = next_control(bytes, at + 1)?;
    }
    Some(at)
}

/// The first control (a tab is one) from `at` on. Eight bytes at a time: most of a head are values.
fn next_control(bytes: &[u8], at: usize) -> Option<usize> {
    let (words, rest) = bytes[at..].as_chunks::<8>();
    let mut start = at;
    for word in words {
        let found = controls(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(start + found.trailing_zeros() as usize / 8);
        }
        start += 8;
    }
    let found = rest.iter().position(|byte| byte.is_ascii_control())?;
    Some(start + found)
}

/// The top bit of each of eight bytes that is a control. Of those that are set the lowest is right: a borrow goes upwards.
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    // A byte below 0x20 borrows from its top bit; one that is 0x7f becomes 0 and borrows likewise.
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    let delete = delete.wrapping_sub(ONES) & !delete;
    (below | delete) & TOPS
}

/// `[from..to]` without spaces and tabs at both ends.
#[inline]
pub(crate) fn trim(bytes: &[u8], from: usize, to: usize) -> (usize, usize) {
    let (mut from, mut to) = (from, to);
    while from < to && matches!(bytes[from], b' ' | b'\t') {
        from += 1;
    }
    while to > from && matches!(bytes[to - 1], b' ' | b'\t') {
        to -= 1;
    }
    (from, to)
}

/// The elements of a comma-separated list, trimmed, empty ones left out.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// A decimal number of digits only, not above [`LENGTH_MAX`].
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        let number = number.checked_mul(10)?.checked_add(digit)?;
        (number <= LENGTH_MAX).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_found_wherever_they_are_and_whatever_is_around_them() {
        for around in [b' ', b'~', 0x80, 0xff] {
            for control in (0..0x20).chain([0x7f]) {
                for at in 0..20 {
                    let mut bytes = vec![around; 20];
                    bytes[at] = control;
                    let break_at = matches!(control, b'\r' | b'\n').then_some(at);
                    let end = (control != b'\t').then_some(at);
                    assert_eq!(next_control(&bytes, 0), Some(at));
                    assert_eq!(next_control(&bytes, at + 1), None);
                    assert_eq!(line_break(&bytes, 0), break_at, "{control:#x} at {at}");
                    assert_eq!(value_length(&bytes), end, "{control:#x} at {at}");
                    bytes.push(b'\r');
                    assert_eq!(line_break(&bytes, 0), break_at.or(Some(20)));
                    assert_eq!(value_length(&bytes), end.or(Some(20)));
                }
            }
        }
    }

    #[test]
    fn names_end_at_the_first_byte_that_is_none_of_a_token() {
        let plain = |bytes: &[u8]| bytes.iter().position(|&byte| !is_token(byte));
        for byte in 0..=u8::MAX {
            let common = byte.is_ascii_alphanumeric() || byte == b'-';
            for at in 0..20 {
                let mut bytes = *b"x-Forwarded-For-9Zaz";
                bytes[at] = byte;
                assert_eq!(token_length(&bytes), plain(&bytes), "{byte:#x} at {at}");
                if at < 8 {
                    let word: [u8; 8] = bytes[..8].try_into().unwrap();
                    let expected = if common { 0 } else { 0x80 << (8 * at) };
                    let found = uncommon(u64::from_le_bytes(word));
                    assert_eq!(found, expected, "{byte:#x} at {at}");
                }
            }
        }
        assert_eq!(token_length(b"a_b!c:"), Some(5));
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut host = *b"www.Example-9.org0zZ";
                host[at] = byte;
                let end = host.iter().position(|&byte| !is(byte, HOST));
                let expected = (end.unwrap_or(20), byte == b'%');
                assert_eq!(host_length(&host), expected, "{byte:#x} at {at}");
            }
        }
        assert_eq!(token_length(b""), None);
    }
}
