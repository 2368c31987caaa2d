//! Header fields and the few kinds of them that a proxy must know.

use crate::Span;

/// One line of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The whole line with its CRLF.
    pub line: Span,
    /// The name.
    pub name: Span,
    /// The value, without spaces around it.
    pub value: Span,
    /// What it is to a proxy.
    pub kind: FieldKind,
}

/// What a field is to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// Meant for this connection only (RFC 9110 section 7.6.1), or named by `Connection`.
    HopByHop,
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Trailer`.
    Trailer,
    /// `Expect`.
    Expect,
    /// `Via`.
    Via,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `X-Forwarded-Proto`.
    XForwardedProto,
    /// `X-Forwarded-Host`.
    XForwardedHost,
    /// `X-Request-Id`.
    XRequestId,
    /// `Date`.
    Date,
    /// `Server`.
    Server,
    /// Any other.
    Other,
}

/// Fields whose value decides about the message or the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Connection,
    Upgrade,
    Host,
    ContentLength,
    TransferEncoding,
    Expect,
    None,
}

/// The kind of a field of this name, before `Connection` is looked at.
pub(crate) fn classify(name: &[u8]) -> (FieldKind, Special) {
    const KNOWN: [(&[u8], FieldKind, Special); 18] = [
        (b"connection", FieldKind::HopByHop, Special::Connection),
        (b"upgrade", FieldKind::HopByHop, Special::Upgrade),
        (b"keep-alive", FieldKind::HopByHop, Special::None),
        (b"proxy-connection", FieldKind::HopByHop, Special::None),
        (b"te", FieldKind::HopByHop, Special::None),
        (b"host", FieldKind::Host, Special::Host),
        (
            b"content-length",
            FieldKind::ContentLength,
            Special::ContentLength,
        ),
        (
            b"transfer-encoding",
            FieldKind::TransferEncoding,
            Special::TransferEncoding,
        ),
        (b"expect", FieldKind::Expect, Special::Expect),
        (b"trailer", FieldKind::Trailer, Special::None),
        (b"via", FieldKind::Via, Special::None),
        (b"x-forwarded-for", FieldKind::XForwardedFor, Special::None),
        (
            b"x-forwarded-proto",
            FieldKind::XForwardedProto,
            Special::None,
        ),
        (
            b"x-forwarded-host",
            FieldKind::XForwardedHost,
            Special::None,
        ),
        (b"x-request-id", FieldKind::XRequestId, Special::None),
        (b"date", FieldKind::Date, Special::None),
        (b"server", FieldKind::Server, Special::None),
        (b"http2-settings", FieldKind::HopByHop, Special::None),
    ];
    // Few names are known, and their lengths and first letters tell most others apart at once.
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'c' | b'u' | b'k' | b'p' | b't' | b'h' | b'e' | b'v' | b'x' | b'd' | b's') => KNOWN
            .iter()
            .find(|(known, ..)| known.len() == name.len() && known.eq_ignore_ascii_case(name))
            .map_or((FieldKind::Other, Special::None), |&(_, kind, special)| {
                (kind, special)
            }),
        _ => (FieldKind::Other, Special::None),
    }
}
