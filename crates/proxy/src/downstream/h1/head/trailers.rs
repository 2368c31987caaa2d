//! The trailer section of a chunked body, in HTTP/1.1.

use evenkeel_http1::Field;
use evenkeel_request::forward::{ForwardedTrailers, HeadWriter};

use super::lines::{add_line, copy_lines};
use super::view::{H1Field, H1Trailers};

/// Writes the section with those of the trailer fields that pass to `out`, and its empty line. It is no longer than the one that the
/// fields were parsed from, since lines are copied.
pub(crate) fn write_trailers(
    out: &mut Vec<u8>,
    fields: &[Field],
    bytes: &[u8],
    trailers: &ForwardedTrailers<'_>,
) {
    let mut writer = H1TrailersWriter { out, bytes };
    trailers.write(&H1Trailers { fields, bytes }, &mut writer);
    out.extend_from_slice(b"\r\n");
}

struct H1TrailersWriter<'a> {
    out: &'a mut Vec<u8>,
    bytes: &'a [u8],
}

impl<'f> HeadWriter<H1Field<'f>> for H1TrailersWriter<'_> {
    fn fields(&mut self, passed: impl Iterator<Item = H1Field<'f>>) {
        copy_lines(self.out, self.bytes, passed);
    }

    fn add(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        add_line(self.out, name, value);
    }
}
