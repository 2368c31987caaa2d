//! The trailer section of a chunked body on its way, in either direction: replaced in its buffer by the fields that pass.

use evenkeel_http1::{Body, BodyError};
use evenkeel_request::forward::ForwardedTrailers;

use super::head::write_trailers;
use crate::worker::buffer::Buffer;

/// Replaces the trailer section at `at` of the unread bytes, if `body` stands there and all of it has come. Returns how many bytes it
/// has now; 0 if there is nothing to pass on yet.
///
/// # Errors
/// It is not a trailer section, or exceeds the bounds of one.
pub(crate) fn take_trailers(
    body: &mut Body,
    buffer: &mut Buffer,
    at: usize,
    trailers: &ForwardedTrailers<'_>,
) -> Result<usize, BodyError> {
    let mut fields = Vec::new();
    let bytes = &buffer.unread()[at..];
    let Some(length) = body.read_trailers(bytes, &mut fields)? else {
        return Ok(0);
    };
    if fields.is_empty() {
        return Ok(length);
    }
    let mut written = Vec::with_capacity(length);
    write_trailers(&mut written, &fields, bytes, trailers);
    let end = at + written.len();
    buffer.unread_mut()[at..end].copy_from_slice(&written);
    buffer.cut(end, at + length);
    Ok(written.len())
}
