//! Chunked bodies of responses that are put right, with the trailers that the header policy lets pass: the cuts do not matter, and a strict
//! reader takes what is passed on, to the same end, with the same content and those trailers. The first bytes choose the cuts.
#![no_main]

mod cuts;

use evenkeel_http1::{Body, BodyError, Field, Framing};
use evenkeel_request::forward::{ForwardedTrailers, HeadWriter};
use evenkeel_request::head::{FieldClass, HeaderField, HeaderFields};
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
            if strictly.is_ok_and(|strictly| strictly.done) && !relayed.has_dropped {
                assert_eq!(
                    relayed.out,
                    bytes[..relayed.taken],
                    "a tidy body was changed"
                );
            }
            if relayed.done {
                assert_eq!(trailers_of(&relayed.out), relayed.trailers);
            }
        }
    }
});

#[derive(Debug, PartialEq, Eq)]
struct Relayed {
    out: Vec<u8>,
    done: bool,
    taken: usize,
    /// The trailer fields that passed, by the policy.
    trailers: Vec<TrailerField>,
    has_dropped: bool,
}

/// A name in lower case and a value.
type TrailerField = (Vec<u8>, Vec<u8>);

/// Some trailers that would be told behind our back.
const FORBIDDEN: [&[u8]; 5] = [
    b"content-length",
    b"transfer-encoding",
    b"set-cookie",
    b"host",
    b"x-forwarded-for",
];

/// As a relay does it: what is not taken waits in the buffer for what comes next.
fn relayed(parts: &[&[u8]]) -> Result<Relayed, BodyError> {
    let mut body = Body::of_response(Framing::Chunked);
    let (mut out, mut waiting, mut taken) = (Vec::new(), Vec::new(), 0);
    let (mut trailers, mut has_dropped) = (Vec::new(), false);
    for part in parts {
        waiting.extend_from_slice(part);
        let had = waiting.len();
        let tidied = body.advance_tidied(&mut waiting)?;
        assert!(tidied.kept <= tidied.taken && tidied.taken <= had);
        out.extend_from_slice(&waiting[..tidied.kept]);
        waiting.drain(..tidied.taken);
        taken += tidied.taken;
        let mut fields = Vec::new();
        if let Some(length) = body.read_trailers(&waiting, &mut fields)? {
            let section = Trailers(&fields, &waiting[..length]);
            let mut passed = Passed::default();
            ForwardedTrailers::default().write(&section, &mut passed);
            has_dropped = passed.fields.len() < fields.len();
            trailers = passed.fields;
            out.extend_from_slice(&passed.lines);
            out.extend_from_slice(b"\r\n");
            waiting.drain(..length);
            taken += length;
        }
        assert!(
            body.is_done() || waiting.is_empty() || body.is_at_trailers(),
            "more than trailers wait"
        );
    }
    let done = body.is_done();
    assert_eq!(body.end_of_stream().is_ok(), done);
    Ok(Relayed {
        out,
        done,
        taken,
        trailers,
        has_dropped,
    })
}

/// The trailer fields of a whole body.
fn trailers_of(bytes: &[u8]) -> Vec<TrailerField> {
    let (mut body, mut fields) = (Body::new(Framing::Chunked), Vec::new());
    let progress = body.advance_to_trailers(bytes).expect("it is tidy");
    let section = &bytes[progress.taken..];
    let length = body.read_trailers(section, &mut fields).expect("it is tidy");
    assert_eq!(length, Some(section.len()));
    let of = |field: &Field| Line(field, section).field();
    let fields: Vec<TrailerField> = fields.iter().map(of).collect();
    let is_forbidden = |(name, _): &TrailerField| FORBIDDEN.contains(&&name[..]);
    assert!(
        !fields.iter().any(is_forbidden),
        "a forbidden trailer is passed on"
    );
    fields
}

/// Trailers as the policy sees them.
struct Trailers<'a>(&'a [Field], &'a [u8]);

/// One of them.
#[derive(Clone, Copy)]
struct Line<'a>(&'a Field, &'a [u8]);

impl Line<'_> {
    fn field(&self) -> TrailerField {
        (self.name().to_ascii_lowercase(), self.value().to_vec())
    }
}

impl HeaderField for Line<'_> {
    fn name(&self) -> &[u8] {
        self.0.name.of(self.1)
    }

    fn value(&self) -> &[u8] {
        self.0.value.of(self.1)
    }

    fn class(&self) -> FieldClass {
        FieldClass::Other
    }
}

impl HeaderFields for Trailers<'_> {
    type Field<'a>
        = Line<'a>
    where
        Self: 'a;

    fn fields(&self) -> impl Iterator<Item = Line<'_>> {
        self.0.iter().map(|field| Line(field, self.1))
    }
}

/// What passes, as fields and as lines.
#[derive(Default)]
struct Passed {
    fields: Vec<TrailerField>,
    lines: Vec<u8>,
}

impl<'f> HeadWriter<Line<'f>> for Passed {
    fn fields(&mut self, passed: impl Iterator<Item = Line<'f>>) {
        for line in passed {
            self.fields.push(line.field());
            self.lines.extend_from_slice(line.0.line.of(line.1));
        }
    }

    fn add(&mut self, name: &str, _: impl FnOnce(&mut Vec<u8>)) {
        panic!("{name} is added to trailers");
    }
}
