//! The head of a request for a server, in HTTP/1.1.

use evenkeel_http1::RequestHead;
use evenkeel_request::deadline::ROOM;
use evenkeel_request::forward::{ForwardedRequest, HeadWriter, RequestWriter};

use super::lines::{add_line, copy_lines};
use super::view::{H1Field, H1Request};

/// Writes the head for a server to `out`, which is cleared before. Says where the room for what is left of the deadline is, if it has
/// some.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    bytes: &[u8],
    request: &ForwardedRequest<'_>,
) -> Option<usize> {
    out.clear();
    let mut writer = H1RequestWriter {
        out,
        head,
        bytes,
        room: None,
    };
    request.write(&H1Request { head, bytes }, &mut writer);
    writer.room
}

struct H1RequestWriter<'a> {
    out: &'a mut Vec<u8>,
    head: &'a RequestHead,
    bytes: &'a [u8],
    /// Where the value of the deadline's field begins.
    room: Option<usize>,
}

impl<'f> HeadWriter<H1Field<'f>> for H1RequestWriter<'_> {
    fn fields(&mut self, passed: impl Iterator<Item = H1Field<'f>>) {
        copy_lines(self.out, self.bytes, passed);
    }

    fn add(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        add_line(self.out, name, value);
    }
}

impl<'f> RequestWriter<H1Field<'f>> for H1RequestWriter<'_> {
    fn request_line(&mut self, method: &[u8], target: impl FnOnce(&mut Vec<u8>)) {
        self.out.extend_from_slice(method);
        self.out.push(b' ');
        target(self.out);
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    fn authority(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        add_line(self.out, name, value);
    }

    fn end(&mut self, accepts_trailers: bool, deadline: Option<&str>) {
        if let Some(upgrade) = self.head.upgrade {
            self.out
                .extend_from_slice(b"connection: upgrade\r\nupgrade: ");
            self.out.extend_from_slice(upgrade.of(self.bytes));
            self.out.extend_from_slice(b"\r\n");
        }
        if accepts_trailers {
            // RFC 9110 section 10.1.4: a sender of TE names it in Connection.
            self.out
                .extend_from_slice(b"connection: te\r\nte: trailers\r\n");
        }
        if let Some(name) = deadline {
            add_line(self.out, name, |out| {
                self.room = Some(out.len());
                out.extend_from_slice(&[b' '; ROOM]);
            });
        }
        self.out.extend_from_slice(b"\r\n");
    }
}
