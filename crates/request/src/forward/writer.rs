//! What the header policy asks of a protocol: to write a head, piece by piece, in the order of these calls.
//!
//! Values are appended by functions, so that those made of several parts need no memory of their own. Generic throughout: each protocol's
//! writer is compiled together with the policy.

use crate::head::HttpVersion;

/// Writes a head whose passed fields come as `F`.
pub trait HeadWriter<F> {
    /// The fields that pass, in the order in which they came. At most once per head.
    fn fields(&mut self, passed: impl Iterator<Item = F>);

    /// A field that is added; `value` appends its value. Spaces at its ends are not part of it (RFC 9110 section 5.5).
    fn add(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>));
}

/// Writes the head of a request for a server.
pub trait RequestWriter<F>: HeadWriter<F> {
    /// Begins the head; `target` appends the path and query, or `*`.
    fn request_line(&mut self, method: &[u8], target: impl FnOnce(&mut Vec<u8>));

    /// The host that the server is asked for, if it is not the passed field `Host`. `name` is the field's name in the letter case that was
    /// configured, for protocols in which it is a field.
    fn authority(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>));

    /// Ends the head. `accepts_trailers`: `TE: trailers` belongs to it, with all that the protocol requires of a sender of `TE`. `deadline`
    /// names a last field whose value is written for each attempt, into [`ROOM`](crate::deadline::ROOM) bytes.
    fn end(&mut self, accepts_trailers: bool, deadline: Option<&str>);
}

/// Writes the head of a response for a client.
pub trait ResponseWriter<F>: HeadWriter<F> {
    /// Begins the head.
    fn status(&mut self, status: u16);

    /// Ends the head.
    fn end(&mut self);
}

/// Appends `text`.
pub(super) fn text(text: &[u8]) -> impl FnOnce(&mut Vec<u8>) {
    move |out| out.extend_from_slice(text)
}

/// The value of `Via` for a message that came by this version of HTTP (RFC 9110 section 7.6.3).
pub(super) const fn via(protocol: HttpVersion) -> &'static [u8] {
    match protocol {
        HttpVersion::Http10 => b"1.0 evenkeel",
        HttpVersion::Http11 => b"1.1 evenkeel",
        HttpVersion::Http2 => b"2 evenkeel",
    }
}
