//! Chunked bodies: cut anywhere they are the same; what is taken ends where a plain, separate reader says it ends, with the
//! same content. The first bytes choose the cuts.
#![no_main]

mod cuts;

use evenkeel_http1::{Body, BodyError, Framing, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (bytes, whole) = cuts::cut_anywhere(input, read);

    let plain = Body::new(Framing::Chunked).advance(bytes);
    match whole {
        Ok((taken, done, content)) => {
            assert_eq!(
                plain.map(|progress| (progress.taken, progress.done)),
                Ok((taken, done))
            );
            assert!(done || taken == bytes.len());
            assert_eq!(by_sections(bytes), Ok(done.then_some(taken)));
            if done {
                assert_eq!(
                    separate(&bytes[..taken]),
                    Some(content.clone()),
                    "another reading"
                );
                rewritten(&content);
            }
        }
        Err(error) => {
            assert_eq!(plain, Err(error));
            assert_eq!(by_sections(bytes), Err(error));
            // Of trailers the separate reader does not know the bounds.
            if error != BodyError::Trailer {
                assert_eq!(separate(bytes), None, "refused without need");
            }
        }
    }
});

fn read(parts: &[&[u8]]) -> Result<(usize, bool, Vec<u8>), BodyError> {
    let mut body = Body::new(Framing::Chunked);
    let (mut taken, mut content) = (0, Vec::new());
    for part in parts {
        taken += body.advance_decoded(part, &mut content)?.taken;
    }
    assert_eq!(body.end_of_stream().is_ok(), body.is_done());
    Ok((taken, body.is_done(), content))
}

/// Who reads the trailers takes what those take who pass over them: its length, if it is whole.
fn by_sections(bytes: &[u8]) -> Result<Option<usize>, BodyError> {
    let mut body = Body::new(Framing::Chunked);
    let taken = body.advance_to_trailers(bytes)?.taken;
    let length = body.read_trailers(&bytes[taken..], &mut Vec::new())?;
    assert_eq!(body.is_done(), length.is_some());
    Ok(length.map(|length| taken + length))
}

/// Its content as one chunk is read back.
fn rewritten(content: &[u8]) {
    let mut out = Vec::new();
    write::chunk(&mut out, content);
    write::last_chunk(&mut out);
    assert_eq!(read(&[&out, b"x"]), Ok((out.len(), true, content.to_vec())));
}

/// A reader of whole bodies written line by line from the RFC's grammar (9112 section 7.1) and our limits. `None` if `bytes`
/// is not exactly one body.
fn separate(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let line = take_line(&mut bytes)?;
        let (size, extension) = match line.iter().position(|&byte| byte == b';') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let text = std::str::from_utf8(size).ok()?;
        let digits = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        let bad = |&byte: &u8| !(byte == b'\t' || (b' '..=b'~').contains(&byte));
        if !digits || extension.len() > 256 || extension.iter().any(bad) {
            return None;
        }
        let size = usize::try_from(i64::from_str_radix(text, 16).ok()?).ok()?;
        if size == 0 {
            break;
        }
        content.extend_from_slice(bytes.get(..size)?);
        bytes = bytes[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let line = take_line(&mut bytes)?;
        if line.is_empty() {
            return bytes.is_empty().then_some(content);
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        let name = &line[..colon];
        let bad = |&byte: &u8| byte == 0x7f || (byte < b' ' && byte != b'\t');
        if colon == 0 || !name.iter().all(token) || line[colon + 1..].iter().any(bad) {
            return None;
        }
    }
}

/// The next line without its CRLF, if it ends in one.
fn take_line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let lf = bytes.iter().position(|&byte| byte == b'\n')?;
    let line = bytes[..lf].strip_suffix(b"\r")?;
    *bytes = &bytes[lf + 1..];
    (!line.contains(&b'\r')).then_some(line)
}
