//! The head of a response for a client, in HTTP/1.1.

use evenkeel_http1::{FieldKind, Framing, ResponseHead, Version, write};
use evenkeel_request::forward::{self, ForwardedResponse, HeadWriter, ResponseWriter};

use super::lines::{add_line, copy_lines};
use super::view::{H1Field, H1Response};

/// How a response goes on to its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) version: Version,
    /// Whether the connection stays open after it.
    pub(crate) keep_alive: bool,
    /// Whether the chunks are taken apart, for a client that does not know them.
    pub(crate) decode: bool,
}

/// Writes the head of a final response for the client to `out`; `date` and `sticky` as in [`ForwardedResponse::write`].
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    bytes: &[u8],
    manner: Manner,
    response: &ForwardedResponse<'_>,
    date: &[u8],
    sticky: Option<(&str, &str)>,
) {
    let manner = Some(manner);
    let mut writer = H1ResponseWriter {
        out,
        head,
        bytes,
        manner,
    };
    response.write(&H1Response { head, bytes }, date, sticky, &mut writer);
}

/// Writes an interim response (1xx but 101) to `out`.
pub(crate) fn write_interim(out: &mut Vec<u8>, head: &ResponseHead, bytes: &[u8]) {
    let mut writer = H1ResponseWriter {
        out,
        head,
        bytes,
        manner: None,
    };
    forward::write_interim(&H1Response { head, bytes }, &mut writer);
}

/// Whether this response's end can be told by a client without closing the connection.
pub(crate) const fn is_delimited(head: &ResponseHead, manner_decode: bool) -> bool {
    match head.framing {
        Framing::None | Framing::Length(_) => true,
        Framing::Chunked => !manner_decode,
        Framing::UntilClose => false,
    }
}

/// Says whether the connection stays, where that is not what the client takes for granted (RFC 9112 section 9.3).
pub(crate) fn write_connection(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    match (keep_alive, version) {
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
}

struct H1ResponseWriter<'a> {
    out: &'a mut Vec<u8>,
    head: &'a ResponseHead,
    bytes: &'a [u8],
    /// None for an interim response, which says nothing of the connection.
    manner: Option<Manner>,
}

impl<'f> HeadWriter<H1Field<'f>> for H1ResponseWriter<'_> {
    fn fields(&mut self, passed: impl Iterator<Item = H1Field<'f>>) {
        let decode = self.manner.is_some_and(|manner| manner.decode);
        let passed = passed.filter(|line| match line.field.kind {
            FieldKind::TransferEncoding | FieldKind::Trailer => !decode,
            _ => true,
        });
        copy_lines(self.out, self.bytes, passed);
    }

    fn add(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        add_line(self.out, name, value);
    }
}

impl<'f> ResponseWriter<H1Field<'f>> for H1ResponseWriter<'_> {
    fn status(&mut self, status: u16) {
        self.out.extend_from_slice(b"HTTP/1.1 ");
        write::status_code(self.out, status);
        self.out.push(b' ');
        self.out.extend_from_slice(self.head.reason.of(self.bytes));
        self.out.extend_from_slice(b"\r\n");
    }

    fn end(&mut self) {
        match self.manner {
            Some(_) if self.head.status == 101 => {
                let upgrade = self.head.header(self.bytes, "upgrade");
                self.out
                    .extend_from_slice(b"connection: upgrade\r\nupgrade: ");
                self.out.extend_from_slice(upgrade.unwrap_or_default());
                self.out.extend_from_slice(b"\r\n");
            }
            Some(manner) => write_connection(self.out, manner.version, manner.keep_alive),
            None => {}
        }
        self.out.extend_from_slice(b"\r\n");
    }
}
