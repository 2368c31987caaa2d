//! Request heads.

use crate::bytes::{is_target, is_token};
use crate::fields::{self, FieldSummary, MessageKind};
use crate::{Field, Framing, HeadError, Limits, Parsed, Span, Version};

/// Bytes of a method; the longest that is registered has 17.
const METHOD_BYTES: usize = 32;

/// A request method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// GET.
    #[default]
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// OPTIONS.
    Options,
    /// TRACE.
    Trace,
    /// CONNECT.
    Connect,
    /// PATCH.
    Patch,
    /// QUERY: safe and idempotent, with content that describes the query (RFC 10008).
    Query,
    /// Any other; see [`RequestHead::method_text`].
    Other,
}

impl Method {
    /// The method of this text; letter case matters.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        match text {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            b"PATCH" => Self::Patch,
            b"QUERY" => Self::Query,
            _ => Self::Other,
        }
    }

    /// Whether it only reads (RFC 9110 section 9.2.1, RFC 10008 section 2).
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Options | Self::Trace | Self::Query
        )
    }

    /// Whether doing it twice is as good as once (RFC 9110 section 9.2.2).
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

/// A request's head, as spans of the bytes that were parsed.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Its text.
    pub method_text: Span,
    /// The target, in any of its forms.
    pub target: Span,
    /// The version.
    pub version: Version,
    /// The header, line by line.
    pub fields: Vec<Field>,
    /// The requested host: the target's authority in absolute-form, else the value of the `Host` field.
    pub host: Option<Span>,
    /// How the end of the body is found.
    pub framing: Framing,
    /// Whether the client would let the connection stay open.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue`.
    pub expect_continue: bool,
    /// The protocols that the client would change to.
    pub upgrade: Option<Span>,
    /// Bytes of the head, with empty lines before it.
    pub length: usize,
}

impl RequestHead {
    /// Parses the head at the front of `bytes`; reuses its list of fields.
    ///
    /// # Errors
    /// If it is no request, is ambiguous, or exceeds a limit. The connection is then of no further use.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Parsed, HeadError> {
        self.fields.clear();
        let start = skip_empty_lines(bytes)?;
        let Some(line_end) = fields::line_end(bytes, start)? else {
            return partial_line(bytes, start, limits);
        };
        self.start_line(bytes, start, line_end, limits)?;
        let mut summary = FieldSummary::default();
        let end = fields::read(
            bytes,
            line_end + 2,
            MessageKind::Request,
            limits,
            &mut self.fields,
            &mut summary,
        )?;
        match end {
            None => fields::partial(bytes.len(), limits),
            Some(end) if end > limits.head_bytes => Err(HeadError::TooLarge),
            Some(end) => {
                self.length = end;
                self.conclude(bytes, &summary)?;
                Ok(Parsed::Complete)
            }
        }
    }

    /// The name of the field for which [`RequestHead::parse`] has refused `bytes`, as far as it is a name.
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

    fn start_line(
        &mut self,
        bytes: &[u8],
        start: usize,
        end: usize,
        limits: &Limits,
    ) -> Result<(), HeadError> {
        let line = &bytes[start..end];
        let method_end = method_length(line)?.ok_or(HeadError::StartLine)?;
        let target_start = method_end + 1;
        let target_end = line
            .iter()
            .rposition(|&byte| byte == b' ')
            .ok_or(HeadError::StartLine)?;
        if target_end <= target_start {
            return Err(HeadError::StartLine);
        }
        self.version = fields::version(&line[target_end + 1..])?;
        let target = &line[target_start..target_end];
        if target.len() > limits.target_bytes {
            return Err(HeadError::TargetTooLong);
        }
        if !target.iter().all(|&byte| is_target(byte)) {
            return Err(HeadError::Target);
        }
        self.method_text = Span::new(start, start + method_end);
        self.method = Method::of(&line[..method_end]);
        self.target = Span::new(start + target_start, start + target_end);
        Ok(())
    }

    fn conclude(&mut self, bytes: &[u8], summary: &FieldSummary) -> Result<(), HeadError> {
        fields::check_framing(summary, self.version)?;
        if summary.host.is_none() && self.version == Version::Http11 {
            return Err(HeadError::MissingHost);
        }
        self.host = match authority(self.method, self.target, bytes)? {
            Some(authority) => Some(authority),
            None => summary.host,
        };
        self.framing = match (summary.chunked, summary.length) {
            (true, _) => Framing::Chunked,
            (false, Some(0) | None) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        };
        self.keep_alive = fields::stays_open(summary, self.version);
        self.expect_continue = summary.expect_continue && self.version == Version::Http11;
        let upgrades = summary.upgrade_named && self.version == Version::Http11;
        self.upgrade = summary
            .upgrade
            .filter(|protocols| upgrades && !names_h2c(protocols.of(bytes)));
        if summary.has_connection {
            fields::mark_named(bytes, &mut self.fields, MessageKind::Request)?;
        }
        Ok(())
    }
}

/// The length of the method at the front of a first line, `None` if its end has not come.
fn method_length(line: &[u8]) -> Result<Option<usize>, HeadError> {
    match line.iter().position(|&byte| !is_token(byte)) {
        None if line.len() <= METHOD_BYTES => Ok(None),
        Some(length) if (1..=METHOD_BYTES).contains(&length) && line[length] == b' ' => {
            Ok(Some(length))
        }
        _ => Err(HeadError::StartLine),
    }
}

/// The result for an incomplete first line: one that cannot become a request is rejected without waiting for the rest.
fn partial_line(bytes: &[u8], start: usize, limits: &Limits) -> Result<Parsed, HeadError> {
    let line = &bytes[start..];
    let Some(method) = method_length(line.strip_suffix(b"\r").unwrap_or(line))? else {
        return fields::partial(bytes.len(), limits);
    };
    let target = line[method + 1..].iter().take_while(|&&byte| byte != b' ');
    if target.count() > limits.target_bytes {
        return Err(HeadError::TargetTooLong);
    }
    fields::partial(bytes.len(), limits)
}

/// The authority in the target, if its form has one; also checks that the form fits the method (RFC 9112 section 3.2).
fn authority(method: Method, target: Span, bytes: &[u8]) -> Result<Option<Span>, HeadError> {
    let text = target.of(bytes);
    if method == Method::Connect {
        fields::check_host(text).map_err(|_| HeadError::Target)?;
        let has_port = matches!(text, [.., last] if last.is_ascii_digit())
            && text.iter().rposition(|&byte| byte == b':') > text.iter().rposition(|&b| b == b']');
        return if has_port {
            Ok(Some(target))
        } else {
            Err(HeadError::Target)
        };
    }
    if text[0] == b'/' {
        return Ok(None);
    }
    if text == b"*" {
        return if method == Method::Options {
            Ok(None)
        } else {
            Err(HeadError::Target)
        };
    }
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        text.len() > scheme.len() && text[..scheme.len()].eq_ignore_ascii_case(scheme)
    });
    let start = scheme.ok_or(HeadError::Target)?.len();
    let rest = &text[start..];
    let length = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    if length == 0 {
        return Err(HeadError::Target);
    }
    fields::check_host(&rest[..length]).map_err(|_| HeadError::Target)?;
    let start = target.start as usize + start;
    Ok(Some(Span::new(start, start + length)))
}

/// At most two empty lines may come before a request (RFC 9112 section 2.2).
fn skip_empty_lines(bytes: &[u8]) -> Result<usize, HeadError> {
    let mut start = 0;
    while start < 4 && bytes[start..].starts_with(b"\r\n") {
        start += 2;
    }
    match bytes.get(start) {
        Some(b'\n') => Err(HeadError::LineEnd),
        Some(b'\r') if bytes.get(start + 1).is_some() => Err(HeadError::LineEnd),
        _ => Ok(start),
    }
}

/// Whether HTTP/2 is among the protocols: a tunnel of it would carry unchecked requests, so the upgrade is not passed
/// on (RFC 9110 section 7.8 lets a server ignore it).
fn names_h2c(protocols: &[u8]) -> bool {
    protocols
        .split(|&byte| byte == b',')
        .any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}
