//! What all targets ask of what was taken.

use evenkeel_http1::{Field, FieldKind, Framing, Limits};

/// Small limits, so that the fuzzer reaches them.
pub const LIMITS: Limits = Limits {
    head_bytes: 512,
    headers: 8,
    target_bytes: 64,
};

/// CR and LF stand only together, and there is no NUL.
pub fn assert_clean(bytes: &[u8]) {
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(bytes.get(at + 1), Some(&b'\n'), "bare CR"),
            b'\n' => assert!(at > 0 && bytes[at - 1] == b'\r', "bare LF"),
            0 => panic!("NUL"),
            _ => {}
        }
    }
}

/// The fields say one thing about the body, and cover the header line by line.
pub fn assert_fields(fields: &[Field], bytes: &[u8], end: usize, is_response: bool) {
    let mut at = fields
        .first()
        .map_or(end - 2, |field| field.line.start as usize);
    let (mut lengths, mut codings, mut hosts) = (0, 0, 0);
    for field in fields {
        assert_eq!(field.line.start as usize, at, "a gap between lines");
        at = field.line.end as usize;
        let name = field.name.of(bytes);
        assert!(!name.is_empty() && bytes[field.name.end as usize] == b':');
        assert_eq!(field.value.of(bytes), field.value.of(bytes).trim_ascii());
        lengths += usize::from(name.eq_ignore_ascii_case(b"content-length"));
        codings += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
        hosts += usize::from(field.kind == FieldKind::Host);
    }
    assert_eq!(at + 2, end, "lines after the last field");
    assert!(lengths + codings <= 1, "two framings");
    assert!(fields.len() <= LIMITS.headers && end <= LIMITS.head_bytes);
    assert!(hosts <= 1 || is_response, "two hosts");
}

/// The framing as a pair of fields would say it.
pub fn framing_matches(framing: Framing, fields: &[Field], bytes: &[u8]) -> bool {
    let field = |name: &[u8]| {
        let mut found = fields
            .iter()
            .filter(|field| field.name.of(bytes).eq_ignore_ascii_case(name));
        found.next().map(|field| field.value.of(bytes))
    };
    match framing {
        Framing::Length(length) => field(b"content-length").is_some_and(|value| {
            std::str::from_utf8(value).unwrap().parse() == Ok(length) && length > 0
        }),
        Framing::Chunked => field(b"transfer-encoding").is_some(),
        Framing::None | Framing::UntilClose => true,
    }
}

/// The message again, from its parts.
pub fn serialise(out: &mut Vec<u8>, first: &[&[u8]], fields: &[Field], bytes: &[u8]) {
    out.extend_from_slice(&first.join(&b' '));
    out.extend_from_slice(b"\r\n");
    for field in fields {
        let name = std::str::from_utf8(field.name.of(bytes)).expect("names are ASCII");
        evenkeel_http1::write::header_line(out, name, field.value.of(bytes));
    }
    evenkeel_http1::write::end_line(out);
}

/// Names, values and kinds are the same.
pub fn assert_same_fields(a: &[Field], a_bytes: &[u8], b: &[Field], b_bytes: &[u8]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.name.of(a_bytes), b.name.of(b_bytes));
        assert_eq!(a.value.of(a_bytes), b.value.of(b_bytes));
        assert_eq!(a.kind, b.kind);
    }
}
