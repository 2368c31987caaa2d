//! Malformed responses with a single possible meaning and their repaired form, and those that remain rejected.

use evenkeel_http1::{Framing, HeadError};

/// A repaired head: its name, the head, a field of the result with its value, and the framing.
pub(crate) type PutRight = (
    &'static str,
    &'static str,
    (&'static str, &'static str),
    Framing,
);

/// Heads of responses to a GET that are put right.
#[rustfmt::skip]
pub(crate) const HEADS: &[PutRight] = &[
    ("space before colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", ("content-length", "5"), Framing::Length(5)),
    ("tab before colon", "HTTP/1.1 200 OK\r\nX\t: a\r\nContent-Length: 5\r\n\r\n", ("x", "a"), Framing::Length(5)),
    ("fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\n", ("x", "a   b"), Framing::Length(5)),
    ("fold after the colon", "HTTP/1.1 200 OK\r\nX:\r\n\tb\r\nContent-Length: 5\r\n\r\n", ("x", "b"), Framing::Length(5)),
    ("folded coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", ("transfer-encoding", "chunked"), Framing::Chunked),
    ("CL twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: a\r\nContent-Length: 5\r\n\r\n", ("x", "a"), Framing::Length(5)),
    ("CL: 5, 5", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", ("content-length", "5"), Framing::Length(5)),
];

/// Heads that stay refused, with the field that is named.
#[rustfmt::skip]
pub(crate) const REFUSED_HEADS: &[(&str, HeadError, Option<&str>)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", HeadError::ContentLength, Some("Content-Length")),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", HeadError::ContentLength, Some("Content-Length")),
    ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", HeadError::ContentLength, Some("Content-Length")),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::BothLengths, Some("content-length, transfer-encoding")),
    ("HTTP/1.1 200 OK\r\nContent-Length : 5\r\nTransfer-Encoding : chunked\r\n\r\n", HeadError::BothLengths, Some("content-length, transfer-encoding")),
    ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::TransferEncoding, Some("transfer-encoding")),
    ("HTTP/1.1 200 OK\r\nA: b\r\nX-Foo: a\x01b\r\n\r\n", HeadError::FieldValue, Some("X-Foo")),
    ("HTTP/1.1 200 OK\r\nX-Foo: a\0b\r\n\r\n", HeadError::FieldValue, Some("X-Foo")),
    ("HTTP/1.1 200 OK\r\nX-Foo: a\rb\r\n\r\n", HeadError::LineEnd, Some("X-Foo")),
    ("HTTP/1.1 200 OK\r\n X-Foo: a\r\n\r\n", HeadError::Folding, None),
    // A line that is folded before its colon is no field, also where something else is put right.
    ("HTTP/1.1 200 OK\r\nX : a\r\nContent-Length\r\n : 5\r\n\r\n", HeadError::LineEnd, Some("Content-Length")),
    ("HTTP/1.1 200 OK\r\nX Foo: a\r\n\r\n", HeadError::FieldName, Some("X")),
    ("HTTP/1.1 20 OK\r\n\r\n", HeadError::Status, None),
];

/// Chunked bodies that are put right, and what is passed on. Each is refused in a request.
#[rustfmt::skip]
pub(crate) const BODIES: &[(&str, &str)] = &[
    ("5   \r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("5\t\r\nhello\r\n0 \r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("5 ;a=b\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n"),
    ("1 \r\na\r\n1 \r\nb\r\n0\r\nX: a\r\nX: b\r\n\r\n", "1\r\na\r\n1\r\nb\r\n0\r\nX: a\r\nX: b\r\n\r\n"),
    // Trailers stay as they are: the header policy decides which of them pass.
    ("0 \r\nSet-Cookie: a=b\r\n\r\n", "0\r\nSet-Cookie: a=b\r\n\r\n"),
    ("0  \r\nX-Digest: c\r\n\r\n", "0\r\nX-Digest: c\r\n\r\n"),
];

/// Chunked bodies that stay refused.
pub(crate) const REFUSED_BODIES: &[&str] = &[
    " 5\r\nhello\r\n0\r\n\r\n",
    "5 5\r\nhello\r\n0\r\n\r\n",
    "5 x\r\nhello\r\n0\r\n\r\n",
    "5 \nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "0\r\nSet-Cookie: a\0\r\n\r\n",
    "0\r\nSet-Cookie : a\r\n\r\n",
    "0\r\nSet-Cookie: a\r\n b\r\n\r\n",
];
