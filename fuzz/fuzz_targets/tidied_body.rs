//! Chunked bodies of responses that are put right: the cuts do not matter, and a strict reader takes what is passed on, to the
//! same end, with the same content. The first bytes choose the cuts.
#![no_main]

mod cuts;

use evenkeel_http1::{Body, BodyError, Framing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (bytes, whole) = cuts::cut_anywhere(input, relayed);

    let mut content = Vec::new();
    let decoded = Body::of_response(Framing::Chunked).advance_decoded(bytes, &mut content);
    let strictly = Body::new(Framing::Chunked).advance(bytes);
    match whole {
        Err(error) => {
            assert_eq!(decoded, Err(error));
            assert!(strictly.is_err(), "refused without need");
        }
        Ok(relayed) => {
            let decoded = decoded.expect("what is passed on can be decoded");
            assert_eq!(decoded.done, relayed.done);
            assert!(!relayed.done || decoded.taken == relayed.taken);
            let (mut strict, mut again) = (Body::new(Framing::Chunked), Vec::new());
            let progress = strict
                .advance_decoded(&relayed.out, &mut again)
                .expect("a strict reader takes what is passed on");
            assert_eq!(
                progress.taken,
                relayed.out.len(),
                "there is something behind it"
            );
            assert_eq!(progress.done, relayed.done);
            assert_eq!(again, content, "another content");
            if strictly.is_ok_and(|strictly| strictly.done) {
                assert_eq!(
                    relayed.out,
                    bytes[..relayed.taken],
                    "a tidy body was changed"
                );
            }
        }
    }
});

#[derive(Debug, PartialEq, Eq)]
struct Relayed {
    out: Vec<u8>,
    done: bool,
    taken: usize,
}

/// As a relay does it: what is not taken waits in the buffer for what comes next.
fn relayed(parts: &[&[u8]]) -> Result<Relayed, BodyError> {
    let mut body = Body::of_response(Framing::Chunked);
    let (mut out, mut waiting, mut taken) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        waiting.extend_from_slice(part);
        let had = waiting.len();
        let tidied = body.advance_tidied(&mut waiting)?;
        assert!(tidied.kept <= tidied.taken && tidied.taken <= had);
        out.extend_from_slice(&waiting[..tidied.kept]);
        waiting.drain(..tidied.taken);
        taken += tidied.taken;
        let name = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
        assert!(
            body.is_done() || waiting.iter().all(name),
            "more than a name waits"
        );
    }
    let done = body.is_done();
    assert_eq!(body.end_of_stream().is_ok(), done);
    Ok(Relayed { out, done, taken })
}
