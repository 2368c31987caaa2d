//! Appends parts of a message to a byte buffer.
//!
//! Texts are written as they are: the caller is responsible for their content. Tests and debug builds check it.

use crate::bytes::{is_token, is_value};

/// Writes `HTTP/1.1 200 OK` and its line end.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    status_code(out, status);
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    end_line(out);
}

/// Writes a status, which has three digits (RFC 9110 section 15).
///
/// # Panics
/// In debug builds if it has another number of digits.
pub fn status_code(out: &mut Vec<u8>, status: u16) {
    debug_assert!(matches!(status, 100..=999), "a status has three digits");
    let digit = |number: u16| b'0' + (number % 10) as u8;
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status)]);
}

/// Writes `name: value` and its line end.
pub fn header_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(
        !name.is_empty() && name.bytes().all(is_token),
        "the name of a field is a token"
    );
    debug_assert!(
        value.iter().copied().all(is_value),
        "the value of a field has no control characters"
    );
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    end_line(out);
}

/// Writes `name: 123` and its line end.
pub fn number_line(out: &mut Vec<u8>, name: &str, value: u64) {
    debug_assert!(
        !name.is_empty() && name.bytes().all(is_token),
        "the name of a field is a token"
    );
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    decimal(out, value);
    end_line(out);
}

/// Writes a line end; after the last line of a head, a second one ends it.
pub fn end_line(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Writes what comes before a chunk's content of `length` bytes, which [`end_line`] must follow.
///
/// # Panics
/// In debug builds if `length` is 0: that would end the body.
pub fn chunk_head(out: &mut Vec<u8>, length: usize) {
    debug_assert!(length > 0, "a chunk of length 0 is the last one");
    hexadecimal(out, length as u64);
    end_line(out);
}

/// Writes `content` as one chunk; nothing if it is empty, since that would end the body.
pub fn chunk(out: &mut Vec<u8>, content: &[u8]) {
    if !content.is_empty() {
        chunk_head(out, content.len());
        out.extend_from_slice(content);
        end_line(out);
    }
}

/// Writes the last chunk, and that there are no trailers.
pub fn last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

/// Writes a number in decimal.
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    digits::<10>(out, number);
}

/// Writes a number in hexadecimal.
pub fn hexadecimal(out: &mut Vec<u8>, number: u64) {
    digits::<16>(out, number);
}

fn digits<const BASE: u64>(out: &mut Vec<u8>, number: u64) {
    if number < 10 {
        out.push(b'0' + number as u8);
        return;
    }
    let mut digits = [0; 20]; // u64::MAX in decimal
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(rest % BASE) as usize];
        rest /= BASE;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The reason phrase of a status (RFC 9110 section 15 and the registry); empty where there is none.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}
