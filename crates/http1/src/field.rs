//! Header fields, and the few kinds of fields that a proxy must recognise.

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
    /// Its kind.
    pub kind: FieldKind,
}

/// The kind of a field, as far as a proxy distinguishes it.
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
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Evenkeel-Mirror`, which marks copies of requests.
    XEvenkeelMirror,
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
pub(crate) enum ControlField {
    Connection,
    Upgrade,
    Host,
    ContentLength,
    TransferEncoding,
    Expect,
    KeepAlive,
    None,
}

impl FieldKind {
    /// Whether `Connection` may name such a field: it is not what the next server relies on.
    pub(crate) const fn may_be_named(self) -> bool {
        matches!(
            self,
            Self::HopByHop | Self::Other | Self::Trailer | Self::Date | Self::Server
        )
    }
}

/// The kind of a field of this name, before `Connection` is evaluated.
pub(crate) fn classify(name: &[u8]) -> (FieldKind, ControlField) {
    use ControlField::None;
    use FieldKind as Kind;
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    // The length tells most names apart at once.
    match name.len() {
        2 if is(b"te") => (Kind::HopByHop, None),
        3 if is(b"via") => (Kind::Via, None),
        4 if is(b"host") => (Kind::Host, ControlField::Host),
        4 if is(b"date") => (Kind::Date, None),
        6 if is(b"expect") => (Kind::Expect, ControlField::Expect),
        6 if is(b"server") => (Kind::Server, None),
        7 if is(b"upgrade") => (Kind::HopByHop, ControlField::Upgrade),
        7 if is(b"trailer") => (Kind::Trailer, None),
        10 if is(b"connection") => (Kind::HopByHop, ControlField::Connection),
        10 if is(b"keep-alive") => (Kind::HopByHop, ControlField::KeepAlive),
        12 if is(b"x-request-id") => (Kind::XRequestId, None),
        14 if is(b"content-length") => (Kind::ContentLength, ControlField::ContentLength),
        9 if is(b"forwarded") => (Kind::Forwarded, None),
        14 if is(b"http2-settings") => (Kind::HopByHop, None),
        15 if is(b"x-forwarded-for") => (Kind::XForwardedFor, None),
        16 if is(b"x-forwarded-host") => (Kind::XForwardedHost, None),
        16 if is(b"proxy-connection") => (Kind::HopByHop, None),
        17 if is(b"transfer-encoding") => (Kind::TransferEncoding, ControlField::TransferEncoding),
        17 if is(b"x-forwarded-proto") => (Kind::XForwardedProto, None),
        17 if is(b"x-evenkeel-mirror") => (Kind::XEvenkeelMirror, None),
        _ => (Kind::Other, None),
    }
}
