//! The field lines of a head, and what they say together about framing and the connection.

use std::net::Ipv6Addr;

use crate::bytes::{
    decimal, host_length, is_token, line_break, list, token_length, trim, value_length,
};
use crate::field::{ControlField, classify};
use crate::{Field, FieldKind, HeadError, Limits, Span, Version};

/// Options that all `Connection` fields together may name; each is looked for among all fields.
const CONNECTION_OPTIONS: usize = 32;

/// The kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Request,
    Response,
    /// The trailer section of either, whose fields decide nothing about the message.
    Trailers,
}

/// The combined meaning of the fields.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FieldSummary {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) host: Option<Span>,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade_named: bool,
    pub(crate) upgrade: Option<Span>,
    pub(crate) expect_continue: bool,
    pub(crate) has_connection: bool,
    /// Seconds after which the sender closes a connection that carries nothing.
    pub(crate) idle_timeout: Option<u64>,
}

/// Reads the lines from `at` on, up to and including the empty one. `Ok(None)`: more bytes are needed. Otherwise the index
/// after the empty line.
pub(crate) fn read(
    bytes: &[u8],
    mut at: usize,
    side: MessageKind,
    limits: &Limits,
    fields: &mut Vec<Field>,
    summary: &mut FieldSummary,
) -> Result<Option<usize>, HeadError> {
    loop {
        match bytes.get(at) {
            None => return Ok(None),
            Some(b'\r') => {
                return match bytes.get(at + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some(at + 2)),
                    Some(_) => Err(HeadError::LineEnd),
                };
            }
            Some(b'\n') => return Err(HeadError::LineEnd),
            Some(b' ' | b'\t') => return Err(HeadError::Folding),
            Some(_) => {}
        }
        if fields.len() == limits.headers {
            return Err(HeadError::TooLarge);
        }
        let Some(field) = line(bytes, at, side, summary)? else {
            return Ok(None);
        };
        at = field.line.end as usize;
        fields.push(field);
    }
}

/// The field line at `start`; `None` if more bytes are needed.
pub(crate) fn line(
    bytes: &[u8],
    start: usize,
    side: MessageKind,
    summary: &mut FieldSummary,
) -> Result<Option<Field>, HeadError> {
    let Some(name_length) = token_length(&bytes[start..]) else {
        return Ok(None);
    };
    let colon = start + name_length;
    if name_length == 0 || bytes[colon] != b':' {
        return Err(if matches!(bytes[colon], b'\r' | b'\n') {
            HeadError::LineEnd
        } else {
            HeadError::FieldName
        });
    }
    let Some(length) = value_length(&bytes[colon + 1..]) else {
        return Ok(None);
    };
    let end = colon + 1 + length;
    match (bytes[end], bytes.get(end + 1)) {
        (b'\r', None) => return Ok(None),
        (b'\r', Some(b'\n')) => {}
        (b'\r' | b'\n', _) => return Err(HeadError::LineEnd),
        _ => return Err(HeadError::FieldValue),
    }
    let (from, to) = trim(bytes, colon + 1, end);
    let name = Span::new(start, colon);
    let value = Span::new(from, to);
    let (kind, special) = classify(name.of(bytes));
    let asks = matches!(special, ControlField::Host | ControlField::Expect);
    let counts = match side {
        MessageKind::Request => true,
        MessageKind::Response => !asks,
        MessageKind::Trailers => false,
    };
    if special != ControlField::None && counts {
        note(bytes, special, value, summary)?;
    }
    Ok(Some(Field {
        line: Span::new(start, end + 2),
        name,
        value,
        kind,
    }))
}

fn note(
    bytes: &[u8],
    special: ControlField,
    value: Span,
    summary: &mut FieldSummary,
) -> Result<(), HeadError> {
    let text = value.of(bytes);
    match special {
        ControlField::None => {}
        ControlField::Connection => {
            summary.has_connection = true;
            for option in list(text) {
                summary.close |= option.eq_ignore_ascii_case(b"close");
                summary.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                summary.upgrade_named |= option.eq_ignore_ascii_case(b"upgrade");
            }
        }
        ControlField::KeepAlive => {
            summary.idle_timeout = idle_timeout(text).or(summary.idle_timeout);
        }
        ControlField::Upgrade if summary.upgrade.is_some() => {}
        ControlField::Upgrade => summary.upgrade = (!text.is_empty()).then_some(value),
        ControlField::Host => {
            if summary.host.is_some() {
                return Err(HeadError::ManyHosts);
            }
            check_host(text)?;
            summary.host = Some(value);
        }
        ControlField::ContentLength => {
            if summary.length.is_some() {
                return Err(HeadError::ContentLength);
            }
            summary.length = Some(decimal(text).ok_or(HeadError::ContentLength)?);
        }
        ControlField::TransferEncoding => {
            if summary.chunked || !text.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferEncoding);
            }
            summary.chunked = true;
        }
        ControlField::Expect => {
            if !text.eq_ignore_ascii_case(b"100-continue") {
                return Err(HeadError::Expectation);
            }
            summary.expect_continue = true;
        }
    }
    Ok(())
}

/// The `timeout` of a `Keep-Alive` field (RFC 2068, section 19.7.1.1: `timeout=5, max=100`). What is no number says nothing.
fn idle_timeout(text: &[u8]) -> Option<u64> {
    list(text).find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(8)?;
        let is_timeout = name.eq_ignore_ascii_case(b"timeout=");
        is_timeout.then(|| decimal(value)).flatten()
    })
}

/// The name of the field that a head was refused for: the one behind those that were read, or the one that the error is about.
pub(crate) fn refused<'a>(fields: &[Field], bytes: &'a [u8], error: HeadError) -> Option<&'a [u8]> {
    let start = match error {
        HeadError::StartLine
        | HeadError::Version
        | HeadError::Target
        | HeadError::TargetTooLong
        | HeadError::TooLarge
        | HeadError::Status => return None,
        HeadError::MissingHost => return Some(b"host"),
        HeadError::BothLengths => return Some(b"content-length, transfer-encoding"),
        HeadError::ConnectionNames => return Some(b"connection"),
        HeadError::LineEnd
        | HeadError::FieldName
        | HeadError::FieldValue
        | HeadError::Folding
        | HeadError::ManyHosts
        | HeadError::Host
        | HeadError::ContentLength
        | HeadError::TransferEncoding
        | HeadError::Expectation => match fields.last() {
            // A fold goes on with the field before it, and of a whole head the error is in no line of its own.
            Some(last) if error == HeadError::Folding => last.line.start as usize,
            Some(last) => last.line.end as usize,
            None => bytes.windows(2).position(|pair| pair == b"\r\n")? + 2,
        },
    };
    let line = bytes.get(start..).unwrap_or_default();
    let length = line.iter().take_while(|byte| is_token(**byte)).count();
    match (&line[..length], error) {
        (b"", HeadError::TransferEncoding) => Some(b"transfer-encoding"),
        (b"", _) => None,
        (name, _) => Some(name),
    }
}

/// `name`, `name:port` or `[v6]:port` as in RFC 3986, without user information; all of it may be missing.
pub(crate) fn check_host(host: &[u8]) -> Result<(), HeadError> {
    let after_name = match host {
        [] => return Ok(()),
        [b'[', inner @ ..] => {
            let close = inner.iter().position(|&byte| byte == b']');
            let (address, after) = inner.split_at(close.ok_or(HeadError::Host)?);
            let address = str::from_utf8(address).map_err(|_| HeadError::Host)?;
            address.parse::<Ipv6Addr>().map_err(|_| HeadError::Host)?;
            &after[1..]
        }
        _ => {
            let (length, has_escape) = host_length(host);
            let (name, after) = host.split_at(length);
            if name.is_empty() || has_escape && !escapes_are_whole(name) {
                return Err(HeadError::Host);
            }
            after
        }
    };
    match after_name {
        [] | [b':'] => Ok(()),
        [b':', port @ ..] if port.len() <= 5 && decimal(port).is_some_and(|port| port < 65536) => {
            Ok(())
        }
        _ => Err(HeadError::Host),
    }
}

/// Whether two hexadecimal digits are behind each `%`.
fn escapes_are_whole(name: &[u8]) -> bool {
    name.split(|&byte| byte == b'%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit))
}

/// Rules for the combination of fields, in requests and responses.
pub(crate) fn check_framing(summary: &FieldSummary, version: Version) -> Result<(), HeadError> {
    if summary.chunked && summary.length.is_some() {
        return Err(HeadError::BothLengths);
    }
    if summary.chunked && version == Version::Http10 {
        return Err(HeadError::TransferEncoding);
    }
    Ok(())
}

/// Marks every field that `Connection` names as hop-by-hop. In a request, naming one that is not between two neighbours is an
/// error: it would make us take away what the next server relies on. In a response such a name is passed over.
pub(crate) fn mark_named(
    bytes: &[u8],
    fields: &mut [Field],
    side: MessageKind,
) -> Result<(), HeadError> {
    let mut options = 0;
    for at in 0..fields.len() {
        let named_by = fields[at].name.of(bytes);
        if !named_by.eq_ignore_ascii_case(b"connection") {
            continue;
        }
        for option in list(fields[at].value.of(bytes)) {
            options += 1;
            if options > CONNECTION_OPTIONS {
                return Err(HeadError::ConnectionNames);
            }
            if !classify(option).0.may_be_named() {
                match side {
                    MessageKind::Request => return Err(HeadError::ConnectionNames),
                    MessageKind::Response | MessageKind::Trailers => continue,
                }
            }
            for field in &mut *fields {
                if field.name.of(bytes).eq_ignore_ascii_case(option) {
                    field.kind = FieldKind::HopByHop;
                }
            }
        }
    }
    Ok(())
}

/// Whether the connection stays open after this message.
pub(crate) const fn stays_open(summary: &FieldSummary, version: Version) -> bool {
    match version {
        Version::Http11 => !summary.close,
        Version::Http10 => summary.keep_alive && !summary.close,
    }
}

/// The version at the end (or the start) of a first line.
pub(crate) fn version(text: &[u8]) -> Result<Version, HeadError> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HeadError::Version)
        }
        _ => Err(HeadError::StartLine),
    }
}

/// The end of the line that starts at `at`: the index of its CR, if its LF has come as well.
pub(crate) fn line_end(bytes: &[u8], at: usize) -> Result<Option<usize>, HeadError> {
    let Some(end) = line_break(bytes, at) else {
        return Ok(None);
    };
    match (bytes[end], bytes.get(end + 1)) {
        (b'\r', None) => Ok(None),
        (b'\r', Some(b'\n')) => Ok(Some(end)),
        _ => Err(HeadError::LineEnd),
    }
}

/// The result for an incomplete head: an error if it can only become too long.
pub(crate) const fn partial(length: usize, limits: &Limits) -> Result<crate::Parsed, HeadError> {
    if length >= limits.head_bytes {
        Err(HeadError::TooLarge)
    } else {
        Ok(crate::Parsed::Partial)
    }
}
