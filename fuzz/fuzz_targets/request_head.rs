//! Requests: cut anywhere they are the same; what is taken has one reading.
#![no_main]

mod common;

use common::LIMITS;
use evenkeel_http1::{Framing, Method, Parsed, RequestHead, Version, head_end};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut whole = RequestHead::default();
    let result = whole.parse(bytes, &LIMITS);
    let complete = result == Ok(Parsed::Complete);
    let mut part = RequestHead::default();
    for end in (0..bytes.len()).take(2 * LIMITS.head_bytes) {
        match part.parse(&bytes[..end], &LIMITS) {
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
    let head = &bytes[..whole.length];
    common::assert_clean(head);
    common::assert_fields(&whole.fields, bytes, whole.length, false);
    assert!(common::framing_matches(whole.framing, &whole.fields, bytes));
    let lead = whole.method_text.start as usize;
    assert_eq!(head_end(bytes, lead), Some(whole.length));
    assert_ne!(whole.framing, Framing::UntilClose);
    assert!(whole.target.len() <= LIMITS.target_bytes);
    assert!(
        whole
            .target
            .of(bytes)
            .iter()
            .all(|byte| (0x21..0x7f).contains(byte))
    );
    assert_eq!(Method::of(whole.method_text.of(bytes)), whole.method);
    assert!(whole.host.is_some() || whole.version == Version::Http10);

    // What is written from its parts is read as the same, alone and with anything behind it.
    let version: &[u8] = match whole.version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    };
    let first = [whole.method_text.of(bytes), whole.target.of(bytes), version];
    let mut written = Vec::new();
    common::serialise(&mut written, &first, &whole.fields, bytes);
    let limits = evenkeel_http1::Limits::default();
    let mut again = RequestHead::default();
    assert_eq!(again.parse(&written, &limits), Ok(Parsed::Complete));
    assert_eq!(again.length, written.len());
    common::assert_same_fields(&whole.fields, bytes, &again.fields, &written);
    assert_eq!(again.framing, whole.framing);
    assert_eq!(again.keep_alive, whole.keep_alive);
    assert_eq!(again.expect_continue, whole.expect_continue);
    let host = again.host.map(|host| host.of(&written));
    assert_eq!(host, whole.host.map(|host| host.of(bytes)));
    let upgrade = again.upgrade.map(|upgrade| upgrade.of(&written));
    assert_eq!(upgrade, whole.upgrade.map(|upgrade| upgrade.of(bytes)));
});
