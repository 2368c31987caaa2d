//! Malformed responses that a proxy repairs, and those that it rejects, independent of how the bytes are split.

mod corpus;

use corpus::untidy;
use evenkeel_http1::{
    Body, BodyError, Framing, HeadError, Limits, Method, Parsed, ResponseHead, head_end,
};
use proptest::prelude::*;

fn parsed(head: &str) -> (Result<Parsed, HeadError>, ResponseHead, Vec<u8>) {
    let mut bytes = head.as_bytes().to_vec();
    let mut parsed = ResponseHead::default();
    let result = parsed.parse_tidied(&mut bytes, Method::Get, &Limits::default());
    (result, parsed, bytes)
}

#[test]
fn malformed_response_heads_are_repaired() {
    for &(name, head, (field, value), framing) in untidy::HEADS {
        let (result, parsed, bytes) = parsed(head);
        assert_eq!(result, Ok(Parsed::Complete), "{name}");
        assert_eq!(parsed.framing, framing, "{name}");
        assert_eq!(parsed.length, head.len());
        let found = parsed.header(&bytes, field).map(String::from_utf8_lossy);
        assert_eq!(found.as_deref(), Some(value), "{name}");
        let names = parsed.fields.iter().map(|field| field.name.of(&bytes));
        let lengths = names.filter(|name| name.eq_ignore_ascii_case(b"content-length"));
        assert!(lengths.count() <= 1, "{name}");
        // The output is well-formed for the next reader.
        let again = ResponseHead::default().parse(&bytes, Method::Get, &Limits::default());
        assert_eq!(again, Ok(Parsed::Complete), "{name}");
    }
}

#[test]
fn heads_that_stay_refused_name_the_field() {
    for &(head, error, field) in untidy::REFUSED_HEADS {
        let (result, parsed, bytes) = parsed(head);
        assert_eq!(result, Err(error), "{head:?}");
        let found = parsed
            .refused_field(&bytes, error)
            .map(String::from_utf8_lossy);
        assert_eq!(found.as_deref(), field, "{head:?}");
        for byte in error.rule().bytes() {
            assert!((b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\');
        }
    }
}

#[test]
fn requests_are_never_repaired() {
    for &(name, bytes, error) in corpus::PROBE.iter().chain(corpus::REQUESTS) {
        let mut head = evenkeel_http1::RequestHead::default();
        assert_eq!(head.parse(bytes, &Limits::default()), Err(error), "{name}");
        let _: Option<&[u8]> = head.refused_field(bytes, error);
    }
}

/// Reads a body in these parts as a relay does: what is passed on, and whether it has come to its end.
fn relayed(parts: &[&[u8]]) -> Result<(Vec<u8>, bool, usize), BodyError> {
    let mut body = Body::of_response(Framing::Chunked);
    let (mut out, mut waiting, mut taken) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        waiting.extend_from_slice(part);
        let tidied = body.advance_tidied(&mut waiting)?;
        out.extend_from_slice(&waiting[..tidied.kept]);
        waiting.drain(..tidied.taken);
        taken += tidied.taken;
        if let Some(length) = body.read_trailers(&waiting, &mut Vec::new())? {
            out.extend(waiting.drain(..length));
            taken += length;
        }
    }
    Ok((out, body.is_done(), taken))
}

#[test]
fn malformed_response_bodies_are_repaired() {
    for &(body, expected) in untidy::BODIES {
        let bytes = body.as_bytes();
        let whole = Ok((expected.as_bytes().to_vec(), true, body.len()));
        assert_eq!(relayed(&[bytes, b"next"]), whole, "{body:?}");
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(relayed(&each), whole, "{body:?}");
        for cut in 1..body.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(relayed(&[first, second]), whole, "{body:?} at {cut}");
        }
        // In a request each of them is refused, and what is passed on is not.
        let strict = |bytes: &str| Body::new(Framing::Chunked).advance(bytes.as_bytes());
        assert!(strict(body).is_err(), "{body:?}");
        assert!(strict(expected).is_ok(), "{body:?}");
    }
}

#[test]
fn ambiguous_response_bodies_are_rejected() {
    for body in untidy::REFUSED_BODIES {
        assert!(relayed(&[body.as_bytes()]).is_err(), "{body:?}");
    }
    let blanks = format!("5{}\r\nhello\r\n0\r\n\r\n", " ".repeat(33));
    assert_eq!(relayed(&[blanks.as_bytes()]), Err(BodyError::ChunkSize));
}

/// Bytes in which chunks, blanks and trailers are likely.
fn untidy_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "5 \r\nhello\r\n",
        "1\r\na\r\n",
        "0\r\n",
        "0 \r\n",
        "X: a\r\n",
        "Set-Cookie: a\r\n",
        "Content-Length: 1\r\n",
        "\r\n",
        " ",
        ";a=b",
        "5",
        "\t",
        ":",
        "\r",
        "\n",
        "x",
    ]);
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn what_is_passed_on_is_tidy_and_does_not_depend_on_cuts(bytes in untidy_bytes(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let whole = relayed(&[&bytes]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&relayed(&parts), &whole);
        let mut content = Vec::new();
        let decoded = Body::of_response(Framing::Chunked).advance_decoded(&bytes, &mut content);
        prop_assert_eq!(decoded.is_ok(), whole.is_ok());
        if let Ok((out, done, taken)) = whole {
            // A strict reader takes what is passed on, to the same end, with the same content.
            let mut strict = Body::new(Framing::Chunked);
            let mut again = Vec::new();
            let progress = strict.advance_decoded(&out, &mut again);
            prop_assert_eq!(progress.map(|progress| progress.done), Ok(done));
            prop_assert_eq!(again, content);
            prop_assert!(!done || decoded.is_ok_and(|progress| progress.taken == taken));
        }
    }

    #[test]
    fn tidied_heads_are_the_same_however_they_come(pieces in prop::collection::vec(prop::sample::select(vec![
        "A: b\r\n", "A : b\r\n", " c\r\n", "\td\r\n", "Content-Length: 5\r\n", "Content-Length : 5, 5\r\n", "Content-Length: 6\r\n",
        "Transfer-Encoding: chunked\r\n", ":\r\n", "\r\n", "\r", "\n", "A\r\n",
    ]), 0..7)) {
        let bytes = format!("HTTP/1.1 200 OK\r\n{}\r\n", pieces.concat()).into_bytes();
        let limits = Limits::default();
        let mut tidied = bytes.clone();
        let mut whole = ResponseHead::default();
        let result = whole.parse_tidied(&mut tidied, Method::Get, &limits);
        prop_assert_eq!(tidied.len(), bytes.len());
        if result == Ok(Parsed::Complete) {
            prop_assert_eq!(ResponseHead::default().parse(&tidied, Method::Get, &limits), result);
            prop_assert_eq!(head_end(&tidied, 0), Some(whole.length));
            prop_assert_eq!(&tidied[whole.length..], &bytes[whole.length..]);
        }
        // Byte by byte, in the same buffer.
        let mut grown = Vec::new();
        for byte in &bytes {
            grown.push(*byte);
            let mut part = ResponseHead::default();
            match part.parse_tidied(&mut grown, Method::Get, &limits) {
                Ok(Parsed::Partial) => {}
                Ok(Parsed::Complete) => {
                    prop_assert_eq!(result, Ok(Parsed::Complete));
                    prop_assert_eq!(part.length, whole.length);
                    prop_assert_eq!(&grown[..], &tidied[..grown.len()]);
                    break;
                }
                Err(_) => {
                    prop_assert!(result.is_err());
                    break;
                }
            }
        }
    }
}
