//! Responses that are put right: however they come it is the same, nothing moves, and a strict reader takes the outcome. The
//! first byte chooses the request's method, the second how many bytes come at a time.
#![no_main]

#[expect(dead_code, reason = "what it takes is not written again")]
mod common;

use common::LIMITS;
use evenkeel_http1::{HeadError, Method, Parsed, ResponseHead, head_end};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [choice, step, bytes @ ..] = input else {
        return;
    };
    let method = match choice {
        b'h' => Method::Head,
        b'c' => Method::Connect,
        _ => Method::Get,
    };
    let mut tidied = bytes.to_vec();
    let mut whole = ResponseHead::default();
    let result = whole.parse_tidied(&mut tidied, method, &LIMITS);
    assert_eq!(tidied.len(), bytes.len(), "it has another length");
    let mut strict = ResponseHead::default();
    let strictly = strict.parse(bytes, method, &LIMITS);
    match result {
        Ok(Parsed::Complete) => {
            let end = whole.length;
            assert_eq!(head_end(bytes, 0), Some(end), "the head ends elsewhere");
            assert_eq!(tidied[end..], bytes[end..], "what follows was changed");
            common::assert_clean(&tidied[..end]);
            common::assert_fields(&whole.fields, &tidied, end, true);
            assert!(common::framing_matches(
                whole.framing,
                &whole.fields,
                &tidied
            ));
            assert_same_text(&bytes[..end], &tidied[..end]);
            // Who reads it next takes it as it is, and as the same.
            let again = strict.parse(&tidied, method, &LIMITS);
            assert_eq!(again, result);
            assert_eq!(format!("{strict:?}"), format!("{whole:?}"));
            if strictly == result {
                assert_eq!(tidied, bytes, "a tidy head was changed");
            }
        }
        Ok(Parsed::Partial) => assert_eq!(tidied, bytes, "changed before its end has come"),
        Err(error) => {
            assert!(strictly.is_err(), "refused without need");
            let name = whole.refused_field(&tidied, error);
            assert!(name.is_none_or(|name| name.iter().all(|byte| (b' '..=b'~').contains(byte))));
        }
    }
    in_parts(
        bytes,
        usize::from(*step).max(1),
        method,
        (result, whole.length),
        &tidied,
    );
});

/// Whatever is put right moves nothing: only blanks, commas, colons, line ends and what says a length again may change.
fn assert_same_text(bytes: &[u8], tidied: &[u8]) {
    for (before, after) in bytes.iter().zip(tidied) {
        let moved_colon = *after == b':' && matches!(before, b' ' | b'\t');
        assert!(
            before == after || *after == b' ' || moved_colon,
            "another byte"
        );
    }
}

/// Its bytes come `step` at a time into one buffer.
fn in_parts(
    bytes: &[u8],
    step: usize,
    method: Method,
    (result, length): (Result<Parsed, HeadError>, usize),
    tidied: &[u8],
) {
    let complete = result == Ok(Parsed::Complete);
    let mut grown = Vec::new();
    let mut part = ResponseHead::default();
    for piece in bytes.chunks(step) {
        grown.extend_from_slice(piece);
        match part.parse_tidied(&mut grown, method, &LIMITS) {
            Ok(Parsed::Complete) => {
                assert!(complete, "taken only in parts");
                assert_eq!(part.length, length);
                assert_eq!(grown, tidied[..grown.len()], "the cuts matter");
                return;
            }
            Ok(Parsed::Partial) => assert!(!complete || grown.len() < length, "not taken in time"),
            Err(_) => {
                assert!(result.is_err(), "refused only in parts");
                return;
            }
        }
    }
    assert_eq!(result, Ok(Parsed::Partial), "neither taken nor refused");
}
