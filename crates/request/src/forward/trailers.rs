//! The trailer fields of a message that pass, in either direction.
//!
//! A recipient may merge trailers into the header (RFC 9110 section 6.5.1), so nothing may come in by a trailer that the
//! policy keeps out of the header, or that the header had to say before the content.

use super::edits::HeaderEdits;
use super::writer::HeadWriter;
use crate::head::{FieldClass, HeaderField, HeaderFields};

/// Fields for framing, routing, authentication, the connection, and for how a message or its content is processed are not allowed
/// after the content (RFC 9110 section 6.5.1). Beside them, those that evenkeel itself writes.
const FORBIDDEN: [&str; 29] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-evenkeel-mirror",
    "x-request-id",
];
/// The same for all fields whose names begin so, but [`PERMITTED`].
const FORBIDDEN_PREFIXES: [&str; 4] = ["content-", "if-", "proxy-", "x-forwarded-"];
/// Made to be sent after the content (RFC 9530; RFC 1864).
const PERMITTED: [&str; 2] = ["content-digest", "content-md5"];

/// What decides which trailer fields of a message pass.
#[derive(Debug, Default)]
pub struct ForwardedTrailers<'a> {
    /// What is changed in the message's header: what is removed or replaced there passes neither here.
    edits: Option<HeaderEdits<'a>>,
    /// The names in the `Connection` fields of the header, separated by commas.
    named: Vec<u8>,
}

impl<'a> ForwardedTrailers<'a> {
    /// Those of the message with this header. `Connection` removes the trailer fields that it names as well (RFC 9110 section 7.6.1).
    #[must_use]
    pub fn of(header: &impl HeaderFields, edits: Option<HeaderEdits<'a>>) -> Self {
        let mut named = Vec::new();
        let connection = header
            .fields()
            .filter(|field| field.name().eq_ignore_ascii_case(b"connection"));
        for field in connection {
            let names = field.value().split(|byte| *byte == b',');
            // What most of them name is no trailer in any case.
            for name in names.map(<[u8]>::trim_ascii) {
                if !name.eq_ignore_ascii_case(b"close") && !is_forbidden(name) {
                    named.extend_from_slice(name);
                    named.push(b',');
                }
            }
        }
        Self { edits, named }
    }

    /// Writes the trailer fields that pass, in the order in which they came.
    pub fn write<'t, T: HeaderFields>(
        &self,
        trailers: &'t T,
        writer: &mut impl HeadWriter<T::Field<'t>>,
    ) {
        writer.fields(trailers.fields().filter(|field| self.passes(field)));
    }

    fn passes(&self, field: &impl HeaderField) -> bool {
        let name = field.name();
        let mut named = self.named.split(|byte| *byte == b',');
        may_be_trailer(field.class())
            && !is_forbidden(name)
            && !self.edits.is_some_and(|edits| edits.drops(name))
            && !named.any(|other| name.eq_ignore_ascii_case(other))
    }
}

/// Whether a field of this class may be a trailer.
const fn may_be_trailer(class: FieldClass) -> bool {
    match class {
        FieldClass::HopByHop
        | FieldClass::Host
        | FieldClass::TransferEncoding
        | FieldClass::Forwarding
        | FieldClass::MirrorMark
        | FieldClass::RequestId
        | FieldClass::Date => false,
        FieldClass::Other => true,
    }
}

/// Whether no field of this name, in any letter case, may be a trailer.
fn is_forbidden(name: &[u8]) -> bool {
    let is = |other: &&str| name.eq_ignore_ascii_case(other.as_bytes());
    let has_prefix = |prefix: &&str| {
        let begin = name.get(..prefix.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    FORBIDDEN.iter().any(is)
        || (FORBIDDEN_PREFIXES.iter().any(has_prefix) && !PERMITTED.iter().any(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_trailers_are_known_by_their_whole_names() {
        for (name, forbidden) in [
            ("host", true),
            ("hos", false),
            ("hosts", false),
            ("Transfer-Encoding", true),
            ("transfer-encoding-and-much-more", false),
            ("PROXY-authorization", true),
            ("proxy-", true),
            ("content-length", true),
            ("Content-Digest", false),
            ("content-digests", true),
            ("x-forwarded-anything", true),
            ("x-checksum", false),
            ("grpc-status", false),
            ("", false),
        ] {
            assert_eq!(is_forbidden(name.as_bytes()), forbidden, "{name}");
        }
    }
}
