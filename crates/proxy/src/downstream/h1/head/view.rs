//! Heads that the parser has found, as the models of [`evenkeel_request::head`]. Nothing is copied.

use evenkeel_http1::{Field, FieldKind, Framing, RequestHead, ResponseHead, Version};
use evenkeel_request::head::{
    Authority, BodyExtent, FieldClass, HeaderField, HeaderFields, HttpVersion,
};
use evenkeel_request::{RequestView, ResponseView};

/// A request's head and the bytes that it was parsed from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct H1Request<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
}

/// A response's head and the bytes that it was parsed from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct H1Response<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) bytes: &'a [u8],
}

/// The trailer fields of a message and the bytes that they were parsed from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct H1Trailers<'a> {
    pub(crate) fields: &'a [Field],
    pub(crate) bytes: &'a [u8],
}

/// A line of a header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct H1Field<'a> {
    pub(crate) field: &'a Field,
    bytes: &'a [u8],
}

impl HeaderFields for H1Request<'_> {
    type Field<'a>
        = H1Field<'a>
    where
        Self: 'a;

    fn fields(&self) -> impl Iterator<Item = H1Field<'_>> {
        fields(&self.head.fields, self.bytes)
    }
}

impl HeaderFields for H1Response<'_> {
    type Field<'a>
        = H1Field<'a>
    where
        Self: 'a;

    fn fields(&self) -> impl Iterator<Item = H1Field<'_>> {
        fields(&self.head.fields, self.bytes)
    }
}

impl HeaderFields for H1Trailers<'_> {
    type Field<'a>
        = H1Field<'a>
    where
        Self: 'a;

    fn fields(&self) -> impl Iterator<Item = H1Field<'_>> {
        fields(self.fields, self.bytes)
    }
}

fn fields<'a>(fields: &'a [Field], bytes: &'a [u8]) -> impl Iterator<Item = H1Field<'a>> {
    fields.iter().map(move |field| H1Field { field, bytes })
}

impl RequestView for H1Request<'_> {
    fn method(&self) -> &[u8] {
        self.head.method_text.of(self.bytes)
    }

    fn authority(&self) -> Authority<'_> {
        let host = self.head.host.map(|host| host.of(self.bytes));
        match (host, self.head.target.of(self.bytes).first()) {
            (None, _) => Authority::Missing,
            (Some(host), Some(b'/' | b'*')) => Authority::HostField(host),
            (Some(host), _) => Authority::Target(host),
        }
    }

    fn path_and_query(&self) -> &[u8] {
        path_and_query(self.head.target.of(self.bytes))
    }

    fn version(&self) -> HttpVersion {
        match self.head.version {
            Version::Http11 => HttpVersion::Http11,
            Version::Http10 => HttpVersion::Http10,
        }
    }
}

impl ResponseView for H1Response<'_> {
    fn status(&self) -> u16 {
        self.head.status
    }

    /// Servers are asked in HTTP/1.1, whatever version an old one answers with.
    fn version(&self) -> HttpVersion {
        HttpVersion::Http11
    }

    fn body_extent(&self) -> BodyExtent {
        match self.head.framing {
            Framing::None => BodyExtent::Empty,
            Framing::Length(length) => BodyExtent::Length(length),
            Framing::Chunked => BodyExtent::Marked,
            Framing::UntilClose => BodyExtent::ConnectionEnd,
        }
    }
}

impl HeaderField for H1Field<'_> {
    fn name(&self) -> &[u8] {
        self.field.name.of(self.bytes)
    }

    fn value(&self) -> &[u8] {
        self.field.value.of(self.bytes)
    }

    fn class(&self) -> FieldClass {
        match self.field.kind {
            FieldKind::HopByHop => FieldClass::HopByHop,
            FieldKind::Host => FieldClass::Host,
            FieldKind::TransferEncoding => FieldClass::TransferEncoding,
            FieldKind::XForwardedFor
            | FieldKind::XForwardedProto
            | FieldKind::XForwardedHost
            | FieldKind::Forwarded => FieldClass::Forwarding,
            FieldKind::XEvenkeelMirror => FieldClass::MirrorMark,
            FieldKind::XRequestId => FieldClass::RequestId,
            FieldKind::Date => FieldClass::Date,
            FieldKind::ContentLength
            | FieldKind::Trailer
            | FieldKind::Expect
            | FieldKind::Via
            | FieldKind::Server
            | FieldKind::Other => FieldClass::Other,
        }
    }
}

/// The path and query of a target (RFC 9112 section 3.2): all of it in origin-form; in absolute-form what follows the authority.
fn path_and_query(target: &[u8]) -> &[u8] {
    if target.first() == Some(&b'/') {
        return target;
    }
    let Some(scheme) = target.windows(3).position(|window| window == b"://") else {
        return target;
    };
    let rest = &target[scheme + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    &rest[end.unwrap_or(rest.len())..]
}

#[cfg(test)]
mod tests {
    use evenkeel_http1::{Limits, Parsed};

    use super::*;

    #[test]
    fn paths_and_queries_of_every_form_of_target() {
        for (target, path, query) in [
            ("/a/b?c=/d", "/a/b", Some("c=/d")),
            ("/a", "/a", None),
            ("/a?b=c?d", "/a", Some("b=c?d")),
            ("http://example.com/a?b", "/a", Some("b")),
            ("http://example.com", "/", None),
            ("http://example.com?q", "/", Some("q")),
            ("*", "*", None),
        ] {
            let method = if target == "*" { "OPTIONS" } else { "GET" };
            let text = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut head = RequestHead::default();
            let parsed = head.parse(text.as_bytes(), &Limits::default());
            assert_eq!(parsed, Ok(Parsed::Complete), "{target}");
            let bytes = text.as_bytes();
            let request = H1Request { head: &head, bytes };
            assert_eq!(request.path(), path.as_bytes(), "{target}");
            assert_eq!(request.query(), query.map(str::as_bytes), "{target}");
        }
    }
}
