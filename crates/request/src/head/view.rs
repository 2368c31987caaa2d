//! The models: a request's head and a response's head, as routing and the header policy see them.

use super::field::HeaderFields;
use super::text::host_name;

/// A request's head.
pub trait RequestView: HeaderFields {
    /// The method.
    fn method(&self) -> &[u8];
    /// Whom the client asked, and where it said so.
    fn authority(&self) -> Authority<'_>;
    /// The path and the query with its question mark, as they came; `*` for OPTIONS of the whole server. Where an absolute URI has
    /// no path it may be empty or begin with the query.
    fn path_and_query(&self) -> &[u8];
    /// The version of HTTP that the request came by.
    fn version(&self) -> HttpVersion;

    /// The host that the client asked for, as [`host_name`] has it; `None` where HTTP/1.0 left it out.
    fn host(&self) -> Option<&[u8]> {
        self.authority().value().map(host_name)
    }

    /// The path, without query; `/` where there is none.
    fn path(&self) -> &[u8] {
        let target = self.path_and_query();
        let end = target.iter().position(|&byte| byte == b'?');
        match &target[..end.unwrap_or(target.len())] {
            b"" => b"/",
            path => path,
        }
    }

    /// The query, without its question mark.
    fn query(&self) -> Option<&[u8]> {
        let target = self.path_and_query();
        let mark = target.iter().position(|&byte| byte == b'?')?;
        Some(&target[mark + 1..])
    }
}

/// Whom a client asked: a host, perhaps with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority<'a> {
    /// It did not say, as HTTP/1.0 allows.
    Missing,
    /// In the field `Host`, which is among the fields.
    HostField(&'a [u8]),
    /// In an absolute target, or in `:authority`: a `Host` field beside it does not count (RFC 9112 section 3.2.2, RFC 9113 section
    /// 8.3.1).
    Target(&'a [u8]),
}

impl<'a> Authority<'a> {
    /// What it said.
    #[must_use]
    pub const fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Missing => None,
            Self::HostField(value) | Self::Target(value) => Some(value),
        }
    }
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// A response's head.
pub trait ResponseView: HeaderFields {
    /// The status, 100 to 599.
    fn status(&self) -> u16;
    /// The version of HTTP that its server was asked by.
    fn version(&self) -> HttpVersion;
    /// How the end of its body is known.
    fn body_extent(&self) -> BodyExtent;
}

/// How the end of a message's body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyExtent {
    /// There is no body.
    Empty,
    /// It has so many bytes.
    Length(u64),
    /// The protocol marks its end: the last chunk, the end of a stream.
    Marked,
    /// It ends with its connection, so that one that was cut off looks whole.
    ConnectionEnd,
}

impl BodyExtent {
    /// Whether the body is known to be whole when it has ended, and not known to be longer than `most` bytes.
    #[must_use]
    pub const fn is_bounded(self, most: usize) -> bool {
        match self {
            Self::Empty | Self::Marked => true,
            Self::Length(length) => length <= most as u64,
            Self::ConnectionEnd => false,
        }
    }
}
