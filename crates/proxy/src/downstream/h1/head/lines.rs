//! Lines of a header: those that pass are copied, those that are added are written.

use super::view::H1Field;

/// Writes a line; `value` appends its value.
pub(super) fn add_line(out: &mut Vec<u8>, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    value(out);
    out.extend_from_slice(b"\r\n");
}

/// Copies lines of a head with these `bytes`; neighbours in one piece.
pub(super) fn copy_lines<'a>(
    out: &mut Vec<u8>,
    bytes: &[u8],
    lines: impl Iterator<Item = H1Field<'a>>,
) {
    let (mut start, mut end) = (0, 0);
    for H1Field { field, .. } in lines {
        if field.line.start != end {
            out.extend_from_slice(&bytes[start as usize..end as usize]);
            start = field.line.start;
        }
        end = field.line.end;
    }
    out.extend_from_slice(&bytes[start as usize..end as usize]);
}
