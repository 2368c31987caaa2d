//! Message framing: bytes of a body are checked as they arrive and passed on unchanged.
//!
//! Chunk headers are checked byte by byte, since both peers must agree on where the body ends: digits, extensions and
//! trailers are bounded, and lines end in CRLF only.
//!
//! A request body with malformed framing is rejected, since what one server takes for white space another may take for
//! the end of the size: that is how requests are smuggled. A response has only one reader, the client, which gets it
//! without the malformed parts ([`Body::advance_tidied`]).

use crate::Framing;
use crate::bytes::{LENGTH_MAX, is_value};
use crate::trailer::TrailerName;

/// Hexadecimal digits of a chunk's size.
const SIZE_DIGITS: u8 = 16;
/// Bytes of a chunk's extensions.
const EXTENSION_BYTES: u16 = 256;
/// Bytes of all trailers.
const TRAILER_BYTES: u16 = 8 * 1024;
/// Blanks after a chunk's size in a response.
const BLANKS: u8 = 32;

/// A body that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    state: BodyState,
    /// Whether what is untidy and has one meaning only is taken.
    lenient: bool,
}

/// The part of some bytes that belongs to the body, and the part to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tidied {
    /// So many bytes, from the first, have been dealt with.
    pub taken: usize,
    /// So many bytes, from the first, are to be passed on now. Those between the two are of no further use.
    pub kept: usize,
}

/// The part of some bytes that belongs to the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyProgress {
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

impl BodyError {
    /// The rule that was broken, in words, without quotes or backslashes.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::ChunkSize => "the size of a chunk is hexadecimal and ends in CR LF",
            Self::ChunkExtension => {
                "the extension of a chunk has no control characters and is short"
            }
            Self::ChunkEnd => "a chunk and the line before it end in CR LF",
            Self::Trailer => "trailers are fields, short, and none that decide about the message",
            Self::Early => "the body ends before its connection",
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
enum BodyState {
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
    /// Blanks after the size, in a response.
    Blank {
        value: u64,
        length: u8,
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
        name: TrailerName,
    },
    TrailerValue {
        total: u16,
    },
    TrailerLf {
        total: u16,
    },
    /// In a trailer that is not passed on.
    DroppedValue {
        total: u16,
    },
    DroppedLf {
        total: u16,
    },
    LastLf,
}

impl Body {
    /// The body of a request with this framing.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => BodyState::Done,
            Framing::Length(length) => BodyState::Length(length),
            Framing::Chunked => BodyState::Chunk(Chunk::Size {
                value: 0,
                digits: 0,
            }),
            Framing::UntilClose => BodyState::UntilClose,
        };
        Self {
            state,
            lenient: false,
        }
    }

    /// The body of a response with this framing. Blanks after a chunk's size and forbidden trailers are passed over.
    #[must_use]
    pub const fn of_response(framing: Framing) -> Self {
        Self {
            lenient: true,
            ..Self::new(framing)
        }
    }

    /// Whether every byte of it has come.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, BodyState::Done)
    }

    /// Returns how many of the next bytes belong to the body; they are passed on unchanged.
    ///
    /// # Errors
    /// If they are not a body. The connection is then of no further use, and every further call gives the same error.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<BodyProgress, BodyError> {
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
    ) -> Result<BodyProgress, BodyError> {
        self.walk(bytes, |content| out.extend_from_slice(content))
    }

    /// The same for bytes that are to be passed on: what is to be kept of them is moved to the front. The beginning of a
    /// trailer's name is not taken, since it is not known yet whether it goes on.
    ///
    /// # Errors
    /// As [`Body::advance`].
    pub fn advance_tidied(&mut self, bytes: &mut [u8]) -> Result<Tidied, BodyError> {
        let (mut taken, mut kept) = (0, 0);
        // Bytes from here on are not moved yet: the name of a trailer, until it is known whether it may be passed on.
        let mut held = 0;
        let mut line_start = self.state;
        while taken < bytes.len() && !self.is_done() {
            let before = self.state;
            taken += self.step(&bytes[taken..])?.0;
            match (before, self.state) {
                (
                    BodyState::Chunk(Chunk::TrailerStart { .. }),
                    BodyState::Chunk(Chunk::TrailerName { .. }),
                ) => {
                    line_start = before;
                }
                (_, BodyState::Chunk(Chunk::TrailerName { .. })) => {}
                (BodyState::Chunk(Chunk::DroppedLf { .. }), _)
                | (
                    _,
                    BodyState::Chunk(
                        Chunk::Blank { .. } | Chunk::DroppedValue { .. } | Chunk::DroppedLf { .. },
                    ),
                ) => held = taken,
                _ => {
                    if kept != held {
                        bytes.copy_within(held..taken, kept);
                    }
                    kept += taken - held;
                    held = taken;
                }
            }
        }
        if matches!(self.state, BodyState::Chunk(Chunk::TrailerName { .. })) {
            (taken, self.state) = (held, line_start);
        }
        Ok(Tidied { taken, kept })
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// If the body has not.
    pub fn end_of_stream(&mut self) -> Result<(), BodyError> {
        match self.state {
            BodyState::Done => Ok(()),
            BodyState::UntilClose => {
                self.state = BodyState::Done;
                Ok(())
            }
            BodyState::Length(_) | BodyState::Chunk(_) => Err(BodyError::Early),
            BodyState::Failed(error) => Err(error),
        }
    }

    fn walk(
        &mut self,
        bytes: &[u8],
        mut content: impl FnMut(&[u8]),
    ) -> Result<BodyProgress, BodyError> {
        if let BodyState::Failed(error) = self.state {
            return Err(error);
        }
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            let (length, is_content) = self.step(&bytes[at..])?;
            if is_content {
                content(&bytes[at..at + length]);
            }
            at += length;
        }
        Ok(BodyProgress {
            taken: at,
            done: self.is_done(),
        })
    }

    /// Takes the next piece of `bytes`, which are at least one: its length, and whether it is content.
    fn step(&mut self, bytes: &[u8]) -> Result<(usize, bool), BodyError> {
        let (length, is_content, next) = match self.state {
            BodyState::Done => (0, false, BodyState::Done),
            BodyState::Failed(error) => return Err(error),
            BodyState::UntilClose => (bytes.len(), true, BodyState::UntilClose),
            BodyState::Length(rest) => {
                let n = taken(rest, bytes.len());
                let next = match rest - n as u64 {
                    0 => BodyState::Done,
                    rest => BodyState::Length(rest),
                };
                (n, true, next)
            }
            BodyState::Chunk(Chunk::Data(rest)) => {
                let n = taken(rest, bytes.len());
                let next = match rest - n as u64 {
                    0 => Chunk::DataCr,
                    rest => Chunk::Data(rest),
                };
                (n, true, BodyState::Chunk(next))
            }
            BodyState::Chunk(chunk) => {
                let next = chunk.step(bytes[0], self.lenient);
                (1, false, next.unwrap_or_else(BodyState::Failed))
            }
        };
        self.state = next;
        match next {
            BodyState::Failed(error) => Err(error),
            _ => Ok((length, is_content)),
        }
    }
}

fn taken(rest: u64, there: usize) -> usize {
    usize::try_from(rest).map_or(there, |rest| rest.min(there))
}

impl Chunk {
    /// The state after one byte outside a chunk's data.
    fn step(self, byte: u8, lenient: bool) -> Result<BodyState, BodyError> {
        Ok(BodyState::Chunk(match self {
            Self::Size { value, digits } if lenient && digits > 0 && is_blank(byte) => {
                Self::Blank { value, length: 1 }
            }
            Self::Size { value, digits } => size(value, digits, byte)?,
            Self::Blank { value, length } => match byte {
                b'\r' => Self::SizeLf { value },
                b';' => Self::Extension { value, length: 0 },
                _ if is_blank(byte) && length < BLANKS => Self::Blank {
                    value,
                    length: length + 1,
                },
                _ => return Err(BodyError::ChunkSize),
            },
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
            Self::LastLf if byte == b'\n' => return Ok(BodyState::Done),
            Self::TrailerStart { .. } if byte == b'\r' => Self::LastLf,
            Self::TrailerStart { total } => Self::TrailerName {
                total: count(total)?,
                name: TrailerName::new().with(byte).ok_or(BodyError::Trailer)?,
            },
            Self::TrailerName { total, name } if byte == b':' && !name.is_forbidden() => {
                Self::TrailerValue {
                    total: count(total)?,
                }
            }
            Self::TrailerName { total, .. } if byte == b':' && lenient => Self::DroppedValue {
                total: count(total)?,
            },
            Self::TrailerName { total, name } => Self::TrailerName {
                total: count(total)?,
                name: name.with(byte).ok_or(BodyError::Trailer)?,
            },
            Self::TrailerValue { .. } | Self::DroppedValue { .. } => self.trailer_value(byte)?,
            Self::TrailerLf { total } | Self::DroppedLf { total } if byte == b'\n' => {
                Self::TrailerStart {
                    total: count(total)?,
                }
            }
            Self::TrailerLf { .. } | Self::DroppedLf { .. } | Self::LastLf => {
                return Err(BodyError::Trailer);
            }
        }))
    }
}

impl Chunk {
    /// The state after one byte of a trailer's value.
    fn trailer_value(self, byte: u8) -> Result<Self, BodyError> {
        match (self, byte) {
            (Self::TrailerValue { total }, b'\r') => Ok(Self::TrailerLf {
                total: count(total)?,
            }),
            (Self::TrailerValue { total }, _) if is_value(byte) => Ok(Self::TrailerValue {
                total: count(total)?,
            }),
            (Self::DroppedValue { total }, b'\r') => Ok(Self::DroppedLf {
                total: count(total)?,
            }),
            (Self::DroppedValue { total }, _) if is_value(byte) => Ok(Self::DroppedValue {
                total: count(total)?,
            }),
            _ => Err(BodyError::Trailer),
        }
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
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
