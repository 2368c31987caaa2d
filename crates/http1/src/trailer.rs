//! Forbidden trailer fields, recognised by as much of the name as is needed.

use crate::bytes::is_token;

/// The beginning of a trailer's name, enough to know those that are forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrailerName {
    bytes: [u8; NAME_BYTES],
    length: u8,
}

const NAME_BYTES: usize = 20;

/// Fields for framing, routing, the connection, authentication or content processing are not allowed after the content
/// (RFC 9110 section 6.5.1): a server that merges trailers into the header would receive them unchecked.
const FORBIDDEN: [&[u8]; 29] = [
    b"age",
    b"authorization",
    b"cache-control",
    b"connection",
    b"cookie",
    b"date",
    b"expect",
    b"expires",
    b"forwarded",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"location",
    b"max-forwards",
    b"pragma",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"set-cookie2",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"vary",
    b"via",
    b"warning",
    b"www-authenticate",
    b"x-evenkeel-mirror",
    b"x-request-id",
];
/// The same for all fields whose names begin so, but [`PERMITTED`].
const FORBIDDEN_PREFIXES: [&[u8]; 4] = [b"content-", b"if-", b"proxy-", b"x-forwarded-"];
/// Made to be sent after the content (RFC 9530; RFC 1864).
const PERMITTED: [&[u8]; 2] = [b"content-digest", b"content-md5"];

impl TrailerName {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; NAME_BYTES],
            length: 0,
        }
    }

    /// The name with one more byte, if that may stand in one.
    pub(crate) fn with(mut self, byte: u8) -> Option<Self> {
        if !is_token(byte) {
            return None;
        }
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte.to_ascii_lowercase();
        }
        self.length = self.length.saturating_add(1);
        Some(self)
    }

    pub(crate) fn is_forbidden(&self) -> bool {
        let length = usize::from(self.length);
        let begins = &self.bytes[..length.min(NAME_BYTES)];
        let whole = (length <= NAME_BYTES).then_some(begins);
        let is = |names: &[&[u8]]| whole.is_some_and(|name| names.contains(&name));
        let has_prefix = FORBIDDEN_PREFIXES
            .iter()
            .any(|prefix| begins.starts_with(prefix));
        is(&FORBIDDEN) || (has_prefix && !is(&PERMITTED))
    }
}
