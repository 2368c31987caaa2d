//! Response heads.

use crate::bytes::is_value;
use crate::fields::{self, FieldSummary, MessageKind};
use crate::tidy::tidy;
use crate::{
    Field, FieldKind, Framing, HeadError, Limits, Method, Parsed, Span, Version, head_end,
};

/// A response's head, as spans of the bytes that were parsed.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// The status, 100 to 599.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// The header, line by line.
    pub fields: Vec<Field>,
    /// How the end of the body is found.
    pub framing: Framing,
    /// Whether the connection to the server may be used again.
    pub keep_alive: bool,
    /// After how many seconds without a request the server closes the connection, if it says so (`Keep-Alive: timeout=N`).
    pub idle_timeout: Option<u64>,
    /// Whether it changes to another protocol (101).
    pub upgrade: bool,
    /// Bytes of the head.
    pub length: usize,
    /// The reason phrase; may be empty.
    pub reason: Span,
}

impl ResponseHead {
    /// Parses the head at the front of `bytes`, the answer to a request of this method; reuses its list of fields.
    ///
    /// # Errors
    /// If it is no response, is ambiguous, or exceeds a limit. The connection is then of no further use.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        request: Method,
        limits: &Limits,
    ) -> Result<Parsed, HeadError> {
        self.fields.clear();
        let Some(line_end) = fields::line_end(bytes, 0)? else {
            return fields::partial(bytes.len(), limits);
        };
        self.status_line(bytes, line_end)?;
        let mut summary = FieldSummary::default();
        let end = fields::read(
            bytes,
            line_end + 2,
            MessageKind::Response,
            limits,
            &mut self.fields,
            &mut summary,
        )?;
        match end {
            None => fields::partial(bytes.len(), limits),
            Some(end) if end > limits.head_bytes => Err(HeadError::TooLarge),
            Some(end) => {
                self.length = end;
                self.conclude(bytes, request, &summary)?;
                Ok(Parsed::Complete)
            }
        }
    }

    /// Parses the head of a response that is to be passed on or acted upon: one that a proxy must or may put right is put right in
    /// `bytes`, which keep their length (blanks before a colon, folded lines, the same length twice).
    ///
    /// # Errors
    /// As [`ResponseHead::parse`], for what cannot be put right.
    pub fn parse_tidied(
        &mut self,
        bytes: &mut [u8],
        request: Method,
        limits: &Limits,
    ) -> Result<Parsed, HeadError> {
        match self.parse(bytes, request, limits) {
            Err(
                HeadError::FieldName
                | HeadError::Folding
                | HeadError::ContentLength
                | HeadError::TransferEncoding,
            ) => {}
            parsed => return parsed,
        }
        let Some(end) = head_end(bytes, 0) else {
            return fields::partial(bytes.len(), limits);
        };
        tidy(&mut bytes[..end]);
        self.parse(bytes, request, limits)
    }

    /// The name of the field for which [`ResponseHead::parse`] has refused `bytes`, as far as it is a name.
    #[must_use]
    pub fn refused_field<'a>(&self, bytes: &'a [u8], error: HeadError) -> Option<&'a [u8]> {
        fields::refused(&self.fields, bytes, error)
    }

    /// The value of the first field of this name, in any letter case.
    #[must_use]
    pub fn header<'a>(&self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let field = self
            .fields
            .iter()
            .find(|field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()))?;
        Some(field.value.of(bytes))
    }

    fn status_line(&mut self, bytes: &[u8], end: usize) -> Result<(), HeadError> {
        let line = &bytes[..end];
        if line.len() < 12 || line[8] != b' ' {
            return Err(HeadError::StartLine);
        }
        self.version = fields::version(&line[..8])?;
        let digits = &line[9..12];
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(HeadError::Status);
        }
        self.status = digits
            .iter()
            .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        if !(100..600).contains(&self.status) {
            return Err(HeadError::Status);
        }
        self.reason = match line.get(12) {
            None => Span::new(12, 12),
            Some(b' ') if line[13..].iter().all(|&byte| is_value(byte)) => Span::new(13, end),
            Some(_) => return Err(HeadError::StartLine),
        };
        Ok(())
    }

    fn conclude(
        &mut self,
        bytes: &[u8],
        request: Method,
        summary: &FieldSummary,
    ) -> Result<(), HeadError> {
        fields::check_framing(summary, self.version)?;
        let bodiless = request == Method::Head || matches!(self.status, 100..=199 | 204 | 304);
        let tunnel = request == Method::Connect && matches!(self.status, 200..=299);
        self.framing = if bodiless || tunnel {
            Framing::None
        } else {
            match (summary.chunked, summary.length) {
                (true, _) => Framing::Chunked,
                (false, Some(0)) => Framing::None,
                (false, Some(length)) => Framing::Length(length),
                (false, None) => Framing::UntilClose,
            }
        };
        self.upgrade = self.status == 101;
        self.idle_timeout = summary.idle_timeout;
        self.keep_alive =
            fields::stays_open(summary, self.version) && self.framing != Framing::UntilClose;
        if summary.has_connection {
            fields::mark_named(bytes, &mut self.fields, MessageKind::Response)?;
        }
        if matches!(self.status, 100..=199 | 204) {
            self.forget_body(summary);
        }
        Ok(())
    }

    /// These responses may not speak of a body (RFC 9112 section 6.1, RFC 9110 section 8.6). What they say is not passed on, and
    /// after a server that means it, the connection is not used again.
    fn forget_body(&mut self, summary: &FieldSummary) {
        for field in &mut self.fields {
            if matches!(
                field.kind,
                FieldKind::ContentLength | FieldKind::TransferEncoding
            ) {
                field.kind = FieldKind::HopByHop;
            }
        }
        self.keep_alive &= !summary.chunked && summary.length.unwrap_or(0) == 0;
    }
}
