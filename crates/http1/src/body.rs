//! Where a body ends: bytes are looked at as they come and passed on as they are.
//!
//! Chunks are checked byte by byte outside their content, since both neighbours must see the same end: digits, extensions and
//! trailers have a bound, lines end in CRLF only.

use crate::Framing;
use crate::bytes::{LENGTH_MAX, is_token, is_value};

/// Hexadecimal digits of a chunk's size.
const SIZE_DIGITS: u8 = 16;
/// Bytes of a chunk's extensions.
const EXTENSION_BYTES: u16 = 256;
/// Bytes of all trailers.
const TRAILER_BYTES: u16 = 8 * 1024;

/// A body under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body(State);

/// What part of some bytes belongs to the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// So many bytes, from the first.
    pub taken: usize,
    /// Whether that was the end.
    pub done: bool,
}

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyError {
    /// A chunk's size is not one, or too large.
    ChunkSize,
    /// A chunk's extension has a byte that it may not have, or is too long.
    ChunkExtension,
    /// A chunk, or the line before it, does not end as it must.
    ChunkEnd,
    /// A trailer is not a field, may not be one, or they are too long.
    Trailer,
    /// The connection ended before the body.
    Early,
}

impl BodyError {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ChunkSize => "bad-chunk-size",
            Self::ChunkExtension => "bad-chunk-extension",
            Self::ChunkEnd => "bad-chunk-end",
            Self::Trailer => "bad-trailer",
            Self::Early => "body-ended-early",
        }
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::error::Error for BodyError {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Failed(BodyError),
    Length(u64),
    UntilClose,
    Chunk(Chunk),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
        length: u16,
    },
    SizeLf {
        value: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends all.
    TrailerStart {
        total: u16,
    },
    TrailerName {
        total: u16,
        name: Name,
    },
    TrailerValue {
        total: u16,
    },
    TrailerLf {
        total: u16,
    },
    LastLf,
}

/// The beginning of a trailer's name, enough to know those that are forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    bytes: [u8; NAME_BYTES],
    length: u8,
}

const NAME_BYTES: usize = 20;

/// Fields that decide about framing, routing, the connection, who asks or how the content is read may not come after it (RFC
/// 9110 section 6.5.1): a server that adds trailers to the header would be told them behind our back.
const FORBIDDEN: [&[u8]; 32] = [
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"range",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"vary",
    b"via",
    b"www-authenticate",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-request-id",
];

impl Body {
    /// The body of a message with this framing.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunk(Chunk::Size {
                value: 0,
                digits: 0,
            }),
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Whether every byte of it has come.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// Says how many of the next bytes belong to the body, which are to be passed on as they are.
    ///
    /// # Errors
    /// If they are not a body. The connection is then of no further use, and every further call gives the same error.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Progress, BodyError> {
        self.walk(bytes, |_| {})
    }

    /// The same; appends the content without chunk heads and trailers to `out`.
    ///
    /// # Errors
    /// As [`Body::advance`].
    pub fn advance_decoded(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, BodyError> {
        self.walk(bytes, |content| out.extend_from_slice(content))
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// If the body has not.
    pub fn end_of_stream(&mut self) -> Result<(), BodyError> {
        match self.0 {
            State::Done => Ok(()),
            State::UntilClose => {
                self.0 = State::Done;
                Ok(())
            }
            State::Length(_) | State::Chunk(_) => Err(BodyError::Early),
            State::Failed(error) => Err(error),
        }
    }

    fn walk(
        &mut self,
        bytes: &[u8],
        mut content: impl FnMut(&[u8]),
    ) -> Result<Progress, BodyError> {
        let mut at = 0;
        while at < bytes.len() {
            match self.0 {
                State::Done => break,
                State::Failed(error) => return Err(error),
                State::UntilClose => {
                    content(&bytes[at..]);
                    at = bytes.len();
                }
                State::Length(rest) => {
                    let n = taken(rest, bytes.len() - at);
                    content(&bytes[at..at + n]);
                    at += n;
                    self.0 = if rest == n as u64 {
                        State::Done
                    } else {
                        State::Length(rest - n as u64)
                    };
                }
                State::Chunk(Chunk::Data(rest)) => {
                    let n = taken(rest, bytes.len() - at);
                    content(&bytes[at..at + n]);
                    at += n;
                    let next = if rest == n as u64 {
                        Chunk::DataCr
                    } else {
                        Chunk::Data(rest - n as u64)
                    };
                    self.0 = State::Chunk(next);
                }
                State::Chunk(chunk) => {
                    self.0 = chunk.step(bytes[at]).unwrap_or_else(State::Failed);
                    at += 1;
                }
            }
        }
        if let State::Failed(error) = self.0 {
            return Err(error);
        }
        Ok(Progress {
            taken: at,
            done: self.is_done(),
        })
    }
}

fn taken(rest: u64, there: usize) -> usize {
    usize::try_from(rest).map_or(there, |rest| rest.min(there))
}

impl Chunk {
    /// The state after one byte outside a chunk's data.
    fn step(self, byte: u8) -> Result<State, BodyError> {
        Ok(State::Chunk(match self {
            Self::Size { value, digits } => size(value, digits, byte)?,
            Self::Extension { value, length } => match byte {
                b'\r' => Self::SizeLf { value },
                b'\t' | b' '..=b'~' if length < EXTENSION_BYTES => Self::Extension {
                    value,
                    length: length + 1,
                },
                _ => return Err(BodyError::ChunkExtension),
            },
            Self::SizeLf { value } => match (byte, value) {
                (b'\n', 0) => Self::TrailerStart { total: 0 },
                (b'\n', _) => Self::Data(value),
                _ => return Err(BodyError::ChunkEnd),
            },
            Self::DataCr if byte == b'\r' => Self::DataLf,
            Self::DataLf if byte == b'\n' => Self::Size {
                value: 0,
                digits: 0,
            },
            Self::DataCr | Self::DataLf | Self::Data(_) => return Err(BodyError::ChunkEnd),
            Self::LastLf if byte == b'\n' => return Ok(State::Done),
            Self::TrailerStart { .. } if byte == b'\r' => Self::LastLf,
            Self::TrailerStart { total } => Name::new().with(byte, count(total)?)?,
            Self::TrailerName { total, name } if byte == b':' && !name.is_forbidden() => {
                Self::TrailerValue {
                    total: count(total)?,
                }
            }
            Self::TrailerName { total, name } => name.with(byte, count(total)?)?,
            Self::TrailerValue { total } => match byte {
                b'\r' => Self::TrailerLf {
                    total: count(total)?,
                },
                _ if is_value(byte) => Self::TrailerValue {
                    total: count(total)?,
                },
                _ => return Err(BodyError::Trailer),
            },
            Self::TrailerLf { total } if byte == b'\n' => Self::TrailerStart {
                total: count(total)?,
            },
            Self::TrailerLf { .. } | Self::LastLf => return Err(BodyError::Trailer),
        }))
    }
}

fn size(value: u64, digits: u8, byte: u8) -> Result<Chunk, BodyError> {
    match (char::from(byte).to_digit(16), byte) {
        (Some(digit), _) if digits < SIZE_DIGITS => {
            let value = value
                .checked_mul(16)
                .and_then(|value| value.checked_add(u64::from(digit)));
            Ok(Chunk::Size {
                value: value
                    .filter(|&value| value <= LENGTH_MAX)
                    .ok_or(BodyError::ChunkSize)?,
                digits: digits + 1,
            })
        }
        (None, b'\r') if digits > 0 => Ok(Chunk::SizeLf { value }),
        (None, b';') if digits > 0 => Ok(Chunk::Extension { value, length: 0 }),
        _ => Err(BodyError::ChunkSize),
    }
}

fn count(total: u16) -> Result<u16, BodyError> {
    if total < TRAILER_BYTES {
        Ok(total + 1)
    } else {
        Err(BodyError::Trailer)
    }
}

impl Name {
    const fn new() -> Self {
        Self {
            bytes: [0; NAME_BYTES],
            length: 0,
        }
    }

    fn with(mut self, byte: u8, total: u16) -> Result<Chunk, BodyError> {
        if !is_token(byte) {
            return Err(BodyError::Trailer);
        }
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte.to_ascii_lowercase();
        }
        self.length = self.length.saturating_add(1);
        Ok(Chunk::TrailerName { total, name: self })
    }

    fn is_forbidden(&self) -> bool {
        let length = usize::from(self.length);
        self.bytes
            .get(..length)
            .is_some_and(|name| FORBIDDEN.contains(&name))
    }
}
