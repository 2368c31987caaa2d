//! Message framing: bytes of a body are checked as they arrive and passed on unchanged.
//!
//! Chunk headers are checked byte by byte, since both peers must agree on where the body ends: digits, extensions and
//! trailers are bounded, and lines end in CRLF only.
//!
//! A request body with malformed framing is rejected, since what one server takes for white space another may take for
//! the end of the size: that is how requests are smuggled. A response has only one reader, the client, which gets it
//! without the malformed parts ([`Body::advance_tidied`]).
//!
//! Trailer fields are for whoever decides which fields pass: a relay stops at the trailer section
//! ([`Body::advance_to_trailers`]) and reads it whole ([`Body::read_trailers`]). Who has no use for them passes over them with
//! [`Body::advance`] or [`Body::advance_decoded`], by the same rules.

use crate::bytes::{LENGTH_MAX, is_token, is_value};
use crate::trailer::{self, InvalidTrailers, TrailerSize};
use crate::{Field, Framing};

/// Hexadecimal digits of a chunk's size.
const SIZE_DIGITS: u8 = 16;
/// Bytes of a chunk's extensions.
const EXTENSION_BYTES: u16 = 256;
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
    /// A trailer is not a field, or there are too many or too long ones.
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
            Self::Trailer => "trailers are at most 64 fields, with 8 KiB in all",
            Self::Early => "the body ends before its connection",
        }
    }
}

impl From<InvalidTrailers> for BodyError {
    fn from(_: InvalidTrailers) -> Self {
        Self::Trailer
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
        size: TrailerSize,
    },
    TrailerName {
        size: TrailerSize,
    },
    TrailerValue {
        size: TrailerSize,
    },
    TrailerLf {
        size: TrailerSize,
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

    /// The body of a response with this framing. Blanks after a chunk's size are passed over.
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
        self.walk(bytes, false, |_| {})
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
        self.walk(bytes, false, |content| out.extend_from_slice(content))
    }

    /// The same as [`Body::advance`], but stops before the trailer section.
    ///
    /// # Errors
    /// As [`Body::advance`].
    pub fn advance_to_trailers(&mut self, bytes: &[u8]) -> Result<BodyProgress, BodyError> {
        self.walk(bytes, true, |_| {})
    }

    /// Whether the trailer section is next, with or without a field in it.
    #[must_use]
    pub const fn is_at_trailers(&self) -> bool {
        matches!(
            self.state,
            BodyState::Chunk(Chunk::TrailerStart {
                size: TrailerSize::NONE
            })
        )
    }

    /// Reads the trailer section, which begins at the front of `bytes`, and with it the end of the body. The fields replace those in
    /// `fields`, as spans of `bytes`. Returns the length of the section with its empty line; `None` if the body does not stand at its
    /// trailers, or if not all of them have come: nothing is taken then, and the same bytes come again with more.
    ///
    /// # Errors
    /// [`BodyError::Trailer`]; after that as [`Body::advance`].
    pub fn read_trailers(
        &mut self,
        bytes: &[u8],
        fields: &mut Vec<Field>,
    ) -> Result<Option<usize>, BodyError> {
        if !self.is_at_trailers() {
            return Ok(None);
        }
        let read = trailer::read(bytes, fields).map_err(BodyError::from);
        match read {
            Ok(None) => {}
            Ok(Some(_)) => self.state = BodyState::Done,
            Err(error) => self.state = BodyState::Failed(error),
        }
        read
    }

    /// The same as [`Body::advance_to_trailers`] for bytes that are to be passed on: what is to be kept of them is moved to the front.
    ///
    /// # Errors
    /// As [`Body::advance`].
    pub fn advance_tidied(&mut self, bytes: &mut [u8]) -> Result<Tidied, BodyError> {
        let (mut taken, mut kept) = (0, 0);
        while taken < bytes.len() && !self.is_done() && !self.is_at_trailers() {
            let length = self.step(&bytes[taken..])?.0;
            if !matches!(self.state, BodyState::Chunk(Chunk::Blank { .. })) {
                if kept != taken {
                    bytes.copy_within(taken..taken + length, kept);
                }
                kept += length;
            }
            taken += length;
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
        to_trailers: bool,
        mut content: impl FnMut(&[u8]),
    ) -> Result<BodyProgress, BodyError> {
        if let BodyState::Failed(error) = self.state {
            return Err(error);
        }
        let mut at = 0;
        while at < bytes.len() && !self.is_done() && !(to_trailers && self.is_at_trailers()) {
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
                (b'\n', 0) => Self::TrailerStart {
                    size: TrailerSize::NONE,
                },
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
            Self::TrailerStart { size } if is_token(byte) => Self::TrailerName {
                size: size.field()?.byte()?,
            },
            Self::TrailerName { size } if byte == b':' => Self::TrailerValue { size: size.byte()? },
            Self::TrailerName { size } if is_token(byte) => {
                Self::TrailerName { size: size.byte()? }
            }
            Self::TrailerValue { size } if byte == b'\r' => Self::TrailerLf { size: size.byte()? },
            Self::TrailerValue { size } if is_value(byte) => {
                Self::TrailerValue { size: size.byte()? }
            }
            Self::TrailerLf { size } if byte == b'\n' => Self::TrailerStart { size: size.byte()? },
            Self::TrailerStart { .. }
            | Self::TrailerName { .. }
            | Self::TrailerValue { .. }
            | Self::TrailerLf { .. }
            | Self::LastLf => return Err(BodyError::Trailer),
        }))
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
