//! Responses: cut anywhere they are the same; what is taken has one reading. The first byte chooses the request's method.
#![no_main]

mod common;

use common::LIMITS;
use evenkeel_http1::{Framing, Method, Parsed, ResponseHead, Version, head_end};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    let method = match choice {
        b'h' => Method::Head,
        b'c' => Method::Connect,
        _ => Method::Get,
    };
    let mut whole = ResponseHead::default();
    let result = whole.parse(bytes, method, &LIMITS);
    let complete = result == Ok(Parsed::Complete);
    let mut part = ResponseHead::default();
    for end in (0..bytes.len()).take(2 * LIMITS.head_bytes) {
        match part.parse(&bytes[..end], method, &LIMITS) {
            Ok(Parsed::Complete) => {
                assert!(complete && end >= whole.length, "taken only in part");
                assert_eq!(format!("{part:?}"), format!("{whole:?}"));
                break;
            }
            Ok(Parsed::Partial) => assert!(!complete || end < whole.length, "not taken in time"),
            Err(_) => {
                assert!(result.is_err(), "refused only in part");
                break;
            }
        }
    }
    if !complete {
        return;
    }
    common::assert_clean(&bytes[..whole.length]);
    common::assert_fields(&whole.fields, bytes, whole.length, true);
    assert!(common::framing_matches(whole.framing, &whole.fields, bytes));
    assert_eq!(head_end(bytes, 0), Some(whole.length));
    assert!((100..600).contains(&whole.status));
    if method == Method::Head || matches!(whole.status, 100..=199 | 204 | 304) {
        assert_eq!(whole.framing, Framing::None);
    }
    assert!(!(whole.keep_alive && whole.framing == Framing::UntilClose));

    let version: &[u8] = match whole.version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    };
    let status = whole.status.to_string();
    let first = [version, status.as_bytes(), whole.reason.of(bytes)];
    let mut written = Vec::new();
    common::serialise(&mut written, &first, &whole.fields, bytes);
    let mut again = ResponseHead::default();
    let limits = evenkeel_http1::Limits::default();
    assert_eq!(again.parse(&written, method, &limits), Ok(Parsed::Complete));
    assert_eq!(again.length, written.len());
    common::assert_same_fields(&whole.fields, bytes, &again.fields, &written);
    assert_eq!(again.status, whole.status);
    assert_eq!(again.framing, whole.framing);
    assert_eq!(again.keep_alive, whole.keep_alive);
    assert_eq!(again.upgrade, whole.upgrade);
});
