//! Heads that are made of the head that a server gets: of a mirrored copy, and of a request that fetches a stored response again.

use evenkeel_request::forward::MIRROR_MARK;

use super::lines::add_line;

/// Appends the head of a mirrored copy to `out`.
pub(crate) fn write_mirrored(out: &mut Vec<u8>, head: &[u8]) {
    out.extend_from_slice(head.strip_suffix(b"\r\n").unwrap_or(head));
    let (name, value) = MIRROR_MARK;
    add_line(out, name, |out| out.extend_from_slice(value.as_bytes()));
    out.extend_from_slice(b"\r\n");
}

/// The head without the lines whose names are left out.
pub(crate) fn without_fields(head: &[u8], is_left_out: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len());
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if !is_left_out(name) {
            out.extend_from_slice(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_left_out_by_their_names() {
        let head =
            b"GET /a HTTP/1.1\r\nHost: x\r\ncookie: a=b\r\nAccept: cookie\r\nX-Cookie: 1\r\n\r\n";
        let left = without_fields(head, |name| name == b"cookie");
        let expected = "GET /a HTTP/1.1\r\nHost: x\r\nAccept: cookie\r\nX-Cookie: 1\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&left), expected);
        let left = without_fields(b"GET /if-match: HTTP/1.1\r\nHost: x\r\n\r\n", |name| {
            name == b"if-match"
        });
        assert!(left.starts_with(b"GET /if-match: HTTP"));
    }

    #[test]
    fn a_copy_is_marked() {
        let mut out = Vec::new();
        write_mirrored(&mut out, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let expected = "GET / HTTP/1.1\r\nHost: x\r\nx-evenkeel-mirror: 1\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
