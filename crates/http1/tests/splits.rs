//! Properties: the way the bytes are split does not matter, nothing panics, and whatever is accepted has no second
//! interpretation.

mod corpus;

use evenkeel_http1::{
    Body, BodyError, Framing, Limits, Method, Parsed, RequestHead, ResponseHead, head_end,
};
use proptest::prelude::*;

/// Bytes that are often something: pieces of the corpus' messages, and some of any kind.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST http://b/ HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 204 \r\n", "Host: a\r\n",
            "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close, x\r\n", "X: a\r\n", "Expect: 100-continue\r\n",
            "\r\n", "\r", "\n", " ", "\t", ":", ";", "0\r\n", "5\r\nhello\r\n", "a;b=c\r\n0123456789\r\n", "f", "0",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// One message of the corpus with one byte changed, or not.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let requests = corpus::PROBE.iter().chain(corpus::REQUESTS);
    let mut all: Vec<&[u8]> = requests.map(|case| case.1).collect();
    all.extend(corpus::GOOD_REQUESTS.iter().map(|case| case.1));
    all.extend(corpus::RESPONSES.iter().map(|case| case.1));
    all.extend(corpus::GOOD_RESPONSES.iter().map(|case| case.2));
    all.extend(corpus::CHUNKED.iter().map(|case| case.1));
    all.extend(corpus::GOOD_CHUNKED.iter().map(|case| case.1));
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\r\n \t:;,0\0".to_vec())];
    (
        prop::sample::select(all),
        any::<prop::sample::Index>(),
        prop::option::of(byte),
    )
        .prop_map(|(bytes, at, byte)| {
            let mut bytes = bytes.to_vec();
            if let Some(byte) = byte {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![pieces(), message()]
}

/// CR and LF stand only together.
fn has_whole_line_ends(bytes: &[u8]) -> bool {
    let crs = bytes.iter().filter(|&&byte| byte == b'\r').count();
    let lfs = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let pairs = bytes.windows(2).filter(|pair| *pair == b"\r\n").count();
    crs == pairs && lfs == pairs
}

/// What chunks come to when they arrive in these parts.
fn read_chunks(parts: &[&[u8]]) -> Result<(usize, bool, Vec<u8>), BodyError> {
    let mut body = Body::new(Framing::Chunked);
    let (mut taken, mut content) = (0, Vec::new());
    for part in parts {
        taken += body.advance_decoded(part, &mut content)?.taken;
    }
    Ok((taken, body.is_done(), content))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_the_same_however_they_come(bytes in bytes()) {
        let limits = Limits::default();
        let mut whole = RequestHead::default();
        let result = whole.parse(&bytes, &limits);
        let mut part = RequestHead::default();
        for end in 0..bytes.len() {
            match (part.parse(&bytes[..end], &limits), result) {
                (Ok(Parsed::Complete), Ok(Parsed::Complete)) => {
                    prop_assert!(end >= whole.length);
                    prop_assert_eq!(format!("{part:?}"), format!("{whole:?}"));
                }
                (Ok(Parsed::Complete), _) => prop_assert!(false, "complete with {} bytes", end),
                (Ok(Parsed::Partial), Ok(Parsed::Complete)) => prop_assert!(end < whole.length),
                (Ok(Parsed::Partial), _) => {}
                (Err(_), Err(_)) => {}
                (Err(_), _) => prop_assert!(false, "refused with {} bytes", end),
            }
        }
        if result == Ok(Parsed::Complete) {
            prop_assert!(has_whole_line_ends(&bytes[..whole.length]));
            let lead = whole.method_text.start as usize;
            prop_assert_eq!(head_end(&bytes, lead), Some(whole.length));
        }
    }

    #[test]
    fn responses_are_the_same_however_they_come(bytes in bytes(), head in any::<bool>()) {
        let limits = Limits::default();
        let method = if head { Method::Head } else { Method::Get };
        let mut whole = ResponseHead::default();
        let result = whole.parse(&bytes, method, &limits);
        let mut part = ResponseHead::default();
        for end in 0..bytes.len() {
            match (part.parse(&bytes[..end], method, &limits), result) {
                (Ok(Parsed::Complete), Ok(Parsed::Complete)) => {
                    prop_assert!(end >= whole.length);
                    prop_assert_eq!(format!("{part:?}"), format!("{whole:?}"));
                }
                (Ok(Parsed::Complete), _) => prop_assert!(false, "complete with {} bytes", end),
                (Ok(Parsed::Partial), Ok(Parsed::Complete)) => prop_assert!(end < whole.length),
                (Ok(Parsed::Partial), _) => {}
                (Err(_), Err(_)) => {}
                (Err(_), _) => prop_assert!(false, "refused with {} bytes", end),
            }
        }
        if result == Ok(Parsed::Complete) {
            prop_assert!(has_whole_line_ends(&bytes[..whole.length]));
            prop_assert_eq!(head_end(&bytes, 0), Some(whole.length));
        }
    }

    #[test]
    fn chunks_are_the_same_however_they_come(bytes in bytes(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let whole = read_chunks(&[&bytes]);
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read_chunks(&each), &whole);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read_chunks(&parts), whole);
    }

    #[test]
    fn content_survives_chunks(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 0..5)) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            evenkeel_http1::write::chunk(&mut bytes, chunk);
        }
        evenkeel_http1::write::last_chunk(&mut bytes);
        prop_assert_eq!(read_chunks(&[&bytes, b"more"]), Ok((bytes.len(), true, chunks.concat())));
    }

    #[test]
    fn values_are_scanned_the_same_by_words_and_by_bytes(value in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = b"GET / HTTP/1.0\r\nX:".to_vec();
        bytes.extend_from_slice(&value);
        bytes.extend_from_slice(b"\r\n\r\n");
        let mut head = RequestHead::default();
        let bad = value.iter().position(|&byte| byte == 0x7f || (byte < b' ' && byte != b'\t'));
        let parsed = head.parse(&bytes, &Limits::default());
        match bad {
            None => {
                prop_assert_eq!(parsed, Ok(Parsed::Complete));
                prop_assert_eq!(head.fields[0].line.of(&bytes).len(), value.len() + 4);
            }
            Some(at) => prop_assert!(parsed.is_err() || value[at..].starts_with(b"\r\n")),
        }
    }

    #[test]
    fn the_end_of_a_head_is_the_first(bytes in prop::collection::vec(prop::sample::select(b"\r\n\r\na".to_vec()), 0..40), from in 0..42_usize) {
        let simple = bytes.get(from..).and_then(|tail| {
            tail.windows(4).position(|window| window == b"\r\n\r\n").map(|at| from + at + 4)
        });
        prop_assert_eq!(head_end(&bytes, from), simple);
    }
}
