//! Body framing: where bodies end, what is rejected, and that what is written can be parsed.

mod corpus;

use evenkeel_http1::{Body, BodyError, BodyProgress, Field, Framing, write};
use proptest::prelude::*;

#[test]
fn bad_chunks_are_refused_whole_and_byte_by_byte() {
    for &(name, bytes, error) in corpus::CHUNKED {
        let mut body = Body::new(Framing::Chunked);
        assert_eq!(body.advance(bytes), Err(error), "{name}");
        assert_eq!(body.advance(b"0\r\n\r\n"), Err(error), "{name}, again");
        assert_eq!(body.end_of_stream(), Err(error), "{name}, at the end");
        assert!(!body.is_done());
        let mut body = Body::new(Framing::Chunked);
        let parts = bytes.chunks(1).map(|byte| body.advance(byte));
        assert_eq!(parts.collect::<Vec<_>>().pop(), Some(Err(error)), "{name}");
    }
}

#[test]
fn good_chunks_are_taken_to_their_end_and_no_further() {
    for &(name, bytes, follows, content) in corpus::GOOD_CHUNKED {
        let length = bytes.len() - follows;
        let mut body = Body::new(Framing::Chunked);
        let mut out = Vec::new();
        let progress = body.advance_decoded(bytes, &mut out).unwrap();
        assert_eq!(
            progress,
            BodyProgress {
                taken: length,
                done: true
            },
            "{name}"
        );
        assert_eq!(out, content, "{name}");
        assert_eq!(body.end_of_stream(), Ok(()));
        assert_eq!(body.advance(b"more").unwrap().taken, 0, "{name}");
        for end in 0..length {
            let mut body = Body::new(Framing::Chunked);
            let progress = body.advance(&bytes[..end]).unwrap();
            assert_eq!(
                progress,
                BodyProgress {
                    taken: end,
                    done: false
                },
                "{name}, {end}"
            );
            assert_eq!(body.end_of_stream(), Err(BodyError::Early), "{name}, {end}");
        }
    }
}

#[test]
fn lengths_are_counted() {
    let mut body = Body::new(Framing::Length(5));
    assert_eq!(
        body.advance(b"hel"),
        Ok(BodyProgress {
            taken: 3,
            done: false
        })
    );
    assert_eq!(body.end_of_stream(), Err(BodyError::Early));
    assert_eq!(body.advance(b"").map(|progress| progress.taken), Ok(0));
    assert_eq!(
        body.advance(b"lo and more"),
        Ok(BodyProgress {
            taken: 2,
            done: true
        })
    );
    assert!(body.is_done());
    assert_eq!(body.end_of_stream(), Ok(()));
    assert!(Body::new(Framing::Length(0)).is_done());
    assert!(Body::new(Framing::None).is_done());
}

#[test]
fn what_has_no_end_ends_with_the_connection() {
    let mut body = Body::new(Framing::UntilClose);
    let mut out = Vec::new();
    let progress = body.advance_decoded(b"all of it", &mut out);
    assert_eq!(
        progress,
        Ok(BodyProgress {
            taken: 9,
            done: false
        })
    );
    assert_eq!(out, b"all of it");
    assert_eq!(body.end_of_stream(), Ok(()));
    assert!(body.is_done());
}

#[test]
fn what_a_peer_can_send_without_content_is_bounded() {
    let extension = |length: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(length));
    let advance = |bytes: String| Body::new(Framing::Chunked).advance(bytes.as_bytes());
    assert!(advance(extension(256)).is_ok());
    assert_eq!(advance(extension(257)), Err(BodyError::ChunkExtension));
    let trailers = |length: usize| format!("0\r\nX: {}\r\n\r\n", "a".repeat(length));
    assert!(advance(trailers(8000)).is_ok());
    assert_eq!(advance(trailers(8200)), Err(BodyError::Trailer));
    let many = |lines: usize| format!("0\r\n{}\r\n", "a:\r\n".repeat(lines));
    assert!(advance(many(64)).is_ok());
    assert_eq!(advance(many(65)), Err(BodyError::Trailer));
}

/// The trailers of a body, read when all of them have come; the body comes in two parts.
fn trailers(bytes: &[u8], cut: usize) -> Result<Option<(usize, Vec<String>)>, BodyError> {
    let (mut body, mut fields) = (Body::new(Framing::Chunked), Vec::new());
    let (mut taken, mut length) = (0, None);
    for end in [cut, bytes.len()] {
        taken += body.advance_to_trailers(&bytes[taken..end])?.taken;
        length = body.read_trailers(&bytes[taken..end], &mut fields)?;
        if length.is_some() {
            break;
        }
    }
    assert_eq!(body.is_done(), length.is_some());
    let field = |field: &Field| {
        let [name, value] = [field.name, field.value].map(|span| span.of(&bytes[taken..]));
        format!("{}={}", name.escape_ascii(), value.escape_ascii())
    };
    Ok(length.map(|length| (taken + length, fields.iter().map(field).collect())))
}

#[test]
fn trailers_are_read_as_fields_when_all_of_them_have_come() {
    let bytes = b"5;a=b\r\nhello\r\n0;c\r\nX-Sum:  1 \r\nHost: a\r\nY:\r\n\r\nGET";
    let expected = ["X-Sum=1", "Host=a", "Y="].map(str::to_owned).to_vec();
    for cut in 0..bytes.len() - 3 {
        let read = trailers(bytes, cut);
        assert_eq!(read, Ok(Some((bytes.len() - 3, expected.clone()))), "{cut}");
    }
    let none = b"1\r\na\r\n0\r\n\r\n";
    assert_eq!(trailers(none, 9), Ok(Some((none.len(), Vec::new()))));
    assert_eq!(trailers(b"1\r\na\r\n0\r\nX: a\r\n", 9), Ok(None));
}

#[test]
fn an_error_in_trailers_stays_the_error_of_their_body() {
    let (mut body, mut fields) = (Body::new(Framing::Chunked), Vec::new());
    assert_eq!(body.read_trailers(b"X: a\r\n\r\n", &mut fields), Ok(None));
    let progress = body.advance_to_trailers(b"0\r\nX : a\r\n");
    assert_eq!(progress.map(|progress| progress.taken), Ok(3));
    let read = body.read_trailers(b"X : a\r\n", &mut fields);
    assert_eq!(read, Err(BodyError::Trailer));
    assert_eq!(body.advance(b"X: a\r\n"), Err(BodyError::Trailer));
    assert_eq!(body.end_of_stream(), Err(BodyError::Trailer));
}

proptest! {
    /// Who reads trailers and who passes over them take the same, and refuse the same.
    #[test]
    fn trailers_that_are_read_are_those_that_are_passed_over(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "X: a\r\n", "Content-Length: x\r\n", "host:\r\n", "\r\n", "\r", "\n", ":", " ", "a", "a:", "\u{e4}", "\0",
        ]), 0..9),
        many in prop::sample::select(vec![0, 0, 62, 63, 64, 65]),
        long in prop::sample::select(vec![0, 0, 8_000, 8_150, 8_180, 8_187, 8_188, 8_200]),
        cut in any::<prop::sample::Index>(),
    ) {
        let long = if long > 0 { format!("X:{}\r\n", "a".repeat(long)) } else { String::new() };
        let bytes = format!("0\r\n{long}{}{}", "a:\r\n".repeat(many), pieces.concat());
        let passed = Body::new(Framing::Chunked).advance(bytes.as_bytes());
        let read = trailers(bytes.as_bytes(), cut.index(bytes.len() + 1));
        let taken = read.map(|read| read.map(|(taken, _)| taken));
        prop_assert_eq!(taken, passed.map(|progress| progress.done.then_some(progress.taken)));
    }
}

#[test]
fn what_is_written_can_be_read() {
    let mut out = Vec::new();
    for length in [1, 9, 10, 15, 16, 255, 256, 4096, 70_000] {
        write::chunk(&mut out, &vec![b'a'; length]);
    }
    write::chunk(&mut out, b"");
    write::last_chunk(&mut out);
    let mut content = Vec::new();
    let progress = Body::new(Framing::Chunked).advance_decoded(&out, &mut content);
    assert_eq!(
        progress,
        Ok(BodyProgress {
            taken: out.len(),
            done: true
        })
    );
    assert_eq!(content.len(), 74_658);
}

#[test]
fn pieces_are_written_as_they_must_be() {
    let mut out = Vec::new();
    write::status_line(&mut out, 503);
    write::header_line(&mut out, "server", b"evenkeel");
    write::number_line(&mut out, "content-length", u64::MAX);
    write::end_line(&mut out);
    assert_eq!(
        out,
        b"HTTP/1.1 503 Service Unavailable\r\nserver: evenkeel\r\ncontent-length: 18446744073709551615\r\n\r\n"
    );
    for (number, decimal, hexadecimal) in [(0, "0", "0"), (10, "10", "a"), (255, "255", "ff")] {
        out.clear();
        write::decimal(&mut out, number);
        assert_eq!(out, decimal.as_bytes());
        out.clear();
        write::hexadecimal(&mut out, number);
        assert_eq!(out, hexadecimal.as_bytes());
    }
    out.clear();
    write::hexadecimal(&mut out, u64::MAX);
    assert_eq!(out, b"ffffffffffffffff");
    assert_eq!(write::reason(299), "");
}
