//! The trailer section of a chunked body (RFC 9112 section 7.1.2): its bounds, and its fields.
//!
//! Which trailer fields go on to the other side is not decided here: the header policy does, which sees them as it sees
//! the fields of a head.

use crate::Field;
use crate::fields::{FieldSummary, MessageKind, line};

/// Bytes of all trailer fields.
const TRAILER_BYTES: usize = 8 * 1024;
/// Trailer fields of one body.
const TRAILER_FIELDS: usize = 64;

/// It is not a trailer section, or it exceeds the bounds of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidTrailers;

/// How much of a trailer section has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TrailerSize {
    bytes: u16,
    fields: u8,
}

impl TrailerSize {
    pub(crate) const NONE: Self = Self {
        bytes: 0,
        fields: 0,
    };

    /// With one more byte.
    pub(crate) fn byte(self) -> Result<Self, InvalidTrailers> {
        match usize::from(self.bytes) < TRAILER_BYTES {
            true => Ok(Self {
                bytes: self.bytes + 1,
                ..self
            }),
            false => Err(InvalidTrailers),
        }
    }

    /// With one more field.
    pub(crate) fn field(self) -> Result<Self, InvalidTrailers> {
        match usize::from(self.fields) < TRAILER_FIELDS {
            true => Ok(Self {
                fields: self.fields + 1,
                ..self
            }),
            false => Err(InvalidTrailers),
        }
    }
}

/// Reads the section at the front of `bytes` into `fields`. The index after its empty line; `None` if that has not come.
pub(crate) fn read(
    bytes: &[u8],
    fields: &mut Vec<Field>,
) -> Result<Option<usize>, InvalidTrailers> {
    fields.clear();
    let mut at = 0;
    loop {
        match bytes[at..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => return Ok(Some(at + 2)),
            _ if fields.len() == TRAILER_FIELDS => return Err(InvalidTrailers),
            _ => {}
        }
        let mut ignored = FieldSummary::default();
        let Ok(read) = line(bytes, at, MessageKind::Trailers, &mut ignored) else {
            return Err(InvalidTrailers);
        };
        at = read.map_or(bytes.len(), |field| field.line.end as usize);
        if at > TRAILER_BYTES {
            return Err(InvalidTrailers);
        }
        match read {
            Some(field) => fields.push(field),
            None => return Ok(None),
        }
    }
}
