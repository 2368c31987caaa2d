//! Body framing: where bodies end, what is rejected, and that what is written can be parsed.

mod corpus;

use evenkeel_http1::{Body, BodyError, BodyProgress, Framing, write};

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
    assert!(advance(many(2048)).is_ok());
    assert_eq!(advance(many(2049)), Err(BodyError::Trailer));
}

#[test]
fn forbidden_trailers_are_known_by_the_whole_name() {
    for (name, taken) in [
        ("host", false),
        ("hos", true),
        ("hosts", true),
        ("transfer-encoding", false),
        ("proxy-authorization", false),
        ("transfer-encoding-and-much-more", true),
        ("x-checksum", true),
    ] {
        let bytes = format!("0\r\n{name}: a\r\n\r\n");
        let parsed = Body::new(Framing::Chunked).advance(bytes.as_bytes());
        assert_eq!(parsed.is_ok(), taken, "{name}");
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
