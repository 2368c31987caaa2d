//! HTTP/1.1 without I/O: strict parsing, framing and serialisation (RFC 9110, RFC 9112).
//!
//! Ambiguous messages are rejected, so that they never reach a server: see [`HeadError`]. Nothing is allocated per
//! message beyond the reused list of fields; a head is described by [`Span`]s of its bytes.

mod bytes;
mod field;
mod error;
mod fields;
mod request;
mod response;
mod tidy;
mod trailer;
mod body;
pub mod write;

pub use body::{Body, BodyError, BodyProgress, Tidied};
pub use bytes::Span;
pub use error::HeadError;
pub use field::{Field, FieldKind};
pub use request::{Method, RequestHead};
pub use response::ResponseHead;

/// Limits on a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The whole head, in bytes.
    pub head_bytes: usize,
    /// Header fields.
    pub headers: usize,
    /// The request target, in bytes.
    pub target_bytes: usize,
}

impl Default for Limits {
    /// 32 KiB and 100 fields, as most servers accept no more; 16 KiB of target.
    fn default() -> Self {
        Self {
            head_bytes: 32 * 1024,
            headers: 100,
            target_bytes: 16 * 1024,
        }
    }
}

/// The protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// How the end of a message's body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, and a last one of size 0.
    Chunked,
    /// Until the connection is closed; responses only.
    UntilClose,
}

/// Whether a head has come as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// It has.
    Complete,
    /// More bytes are needed.
    Partial,
}

/// The end of the head in `bytes`: the index after its empty line, searching from `from` on (which may be three bytes
/// before the end of the last search). `None` if the empty line has not arrived.
#[must_use]
pub fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from.saturating_add(3);
    while let Some(byte) = bytes.get(at) {
        // How far the end can be: as far as this byte stands from it in CR LF CR LF, if it stands there at all.
        at += match byte {
            b'\n' if bytes[at - 3..at] == *b"\r\n\r" => return Some(at + 1),
            b'\n' => 2,
            b'\r' => 1,
            _ => 4,
        };
    }
    None
}
