//! Repairs that a proxy may apply to the head of a response (RFC 9112 sections 5.1 and 5.2, RFC 9110 section 8.6):
//! white space between a field name and its colon, obsolete line folding, and a repeated identical `Content-Length`. In
//! a request each of these is rejected.
//!
//! Repairs are done in place and keep the length, so that nothing behind the head moves; and only after parsing has
//! failed, so that well-formed responses pay nothing. Everyone who sees the head sees the repaired one.

use crate::bytes::{decimal, is_token, trim};

const LENGTH: &[u8] = b"content-length";

/// Tidies the whole head at the front of `head`, which ends with its empty line.
pub(crate) fn tidy(head: &mut [u8]) {
    let Some(first) = line_length(head, 0) else {
        return;
    };
    unfold(head, first);
    let mut at = first;
    while let Some(end) = line_length(head, at).map(|length| at + length) {
        close_name(&mut head[at..end]);
        at = end;
    }
    say_length_once(head, first);
}

/// Bytes of the line at `at` with its CRLF.
fn line_length(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let length = rest.windows(2).position(|pair| pair == b"\r\n")? + 2;
    (rest.len() >= length).then_some(length)
}

/// A line end before a blank is part of a field's value: it becomes blanks. Not after the first line, where there is no field
/// that could go on (RFC 9112 section 2.2), and not before the colon, where no value has begun.
fn unfold(head: &mut [u8], first: usize) {
    let (mut line, mut at) = (first, first);
    while let Some(end) = line_length(head, at).map(|length| at + length) {
        let in_value = !is_blank(head[line]) && head[line..end].contains(&b':');
        if in_value && head.get(end).copied().is_some_and(is_blank) {
            head[end - 2..end].fill(b' ');
        } else {
            line = end;
        }
        at = end;
    }
}

/// `TrailerName : value` becomes `TrailerName:  value`.
fn close_name(line: &mut [u8]) {
    let name = line.iter().take_while(|byte| is_token(**byte)).count();
    let blanks = line[name..]
        .iter()
        .take_while(|byte| is_blank(**byte))
        .count();
    if name > 0 && blanks > 0 && line.get(name + blanks) == Some(&b':') {
        line[name] = b':';
        line[name + 1..=name + blanks].fill(b' ');
    }
}

/// Identical lengths are merged: the first one stays, and the others become white space at the end of the preceding
/// line.
fn say_length_once(head: &mut [u8], first: usize) {
    let Some(same) = one_length(head, first) else {
        return;
    };
    let (mut at, mut seen) = (first, false);
    while let Some(end) = line_length(head, at).map(|length| at + length) {
        if let Some((from, to)) = length_value(head, at, end) {
            if seen {
                // The CRLF of the line before goes, and this line's stays.
                head[at - 2..end - 2].fill(b' ');
            } else {
                let list = head[from..to].iter().position(|byte| *byte == b',');
                let list = list.map_or(to, |comma| from + comma);
                head[list..to].fill(b' ');
                seen = true;
            }
        }
        at = end;
    }
    debug_assert!(seen, "there is a length of {same}");
}

/// The length that all fields and all elements of their lists agree on.
fn one_length(head: &[u8], first: usize) -> Option<u64> {
    let (mut at, mut length) = (first, None);
    while let Some(end) = line_length(head, at).map(|length| at + length) {
        if let Some((from, to)) = length_value(head, at, end) {
            for element in head[from..to].split(|byte| *byte == b',') {
                let number = decimal(element.trim_ascii())?;
                if *length.get_or_insert(number) != number {
                    return None;
                }
            }
        }
        at = end;
    }
    length
}

/// The position of the value, if the line is a `Content-Length`.
fn length_value(head: &[u8], at: usize, end: usize) -> Option<(usize, usize)> {
    let line = &head[at..end];
    let (name, rest) = line.split_at_checked(LENGTH.len())?;
    if !name.eq_ignore_ascii_case(LENGTH) || rest.first() != Some(&b':') {
        return None;
    }
    Some(trim(head, at + LENGTH.len() + 1, end - 2))
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tidied(text: &str) -> String {
        let mut head = text.as_bytes().to_vec();
        tidy(&mut head);
        assert_eq!(head.len(), text.len(), "everything stays where it is");
        String::from_utf8(head).expect("text")
    }

    #[test]
    fn malformed_fields_are_repaired_in_place() {
        for (text, expected) in [
            ("S\r\nA : b\r\n\r\n", "S\r\nA:  b\r\n\r\n"),
            ("S\r\nA \t :b\r\n\r\n", "S\r\nA:   b\r\n\r\n"),
            (
                "S\r\nA: b\r\n c\r\n\td\r\nE: f\r\n\r\n",
                "S\r\nA: b   c  \td\r\nE: f\r\n\r\n",
            ),
            ("S\r\nA: b\r\n \r\n\r\n", "S\r\nA: b   \r\n\r\n"),
            ("S\r\nA:\r\n : b\r\n\r\n", "S\r\nA:   : b\r\n\r\n"),
            (
                "S\r\nContent-Length: 5\r\nB: c\r\ncontent-length:5\r\n\r\n",
                "S\r\nContent-Length: 5\r\nB: c                  \r\n\r\n",
            ),
            (
                "S\r\nContent-Length: 5, 5,05\r\n\r\n",
                "S\r\nContent-Length: 5      \r\n\r\n",
            ),
            (
                "S\r\nContent-Length :\r\n 5\r\n\r\n",
                "S\r\nContent-Length:    5\r\n\r\n",
            ),
        ] {
            assert_eq!(tidied(text), expected, "{text:?}");
        }
    }

    #[test]
    fn valid_and_irreparable_heads_are_not_changed() {
        for text in [
            "S\r\n A: b\r\n\r\n",
            "S\r\nA b: c\r\n\r\n",
            "S\r\n: c\r\n\r\n",
            "S\r\nA\r\n : b\r\n\r\n",
            "S\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "S\r\nContent-Length: 5, 6\r\n\r\n",
            "S\r\nContent-Length: 5,\r\n\r\n",
            "S\r\nContent-Length: 5, +5\r\n\r\n",
            "S\r\nA: b\nc\r\n\r\n",
            "no line end",
            "",
        ] {
            assert_eq!(tidied(text), text);
        }
    }
}
