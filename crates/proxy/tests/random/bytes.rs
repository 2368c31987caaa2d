//! Bytes that tell whose they are: each exchange has a number, and all that is sent for it repeats that number.

use evenkeel_core::Random;

/// What a client sends.
pub(crate) const REQUEST: u8 = b'q';
/// What a server sends.
pub(crate) const ANSWER: u8 = b'a';
/// Bytes of a token.
pub(crate) const TOKEN: usize = 10;

/// One of `bound` numbers.
pub(crate) fn pick(random: &mut Random, bound: usize) -> usize {
    random.below(bound)
}

/// True once in `n` times.
pub(crate) fn one_in(random: &mut Random, n: usize) -> bool {
    random.below(n) == 0
}

/// The token of a side and an exchange.
pub(crate) fn token(side: u8, id: u32) -> String {
    format!("{}{id:08x};", char::from(side))
}

/// Content of this length, whole tokens and a part of one.
pub(crate) fn content(side: u8, id: u32, length: usize) -> Vec<u8> {
    let token = token(side, id).into_bytes();
    token.into_iter().cycle().take(length).collect()
}

/// Whether it is the content of this exchange from this byte on.
pub(crate) fn is_content(side: u8, id: u32, from: usize, bytes: &[u8]) -> bool {
    let token = token(side, id);
    let mut pattern = token.as_bytes().iter().cycle().skip(from % TOKEN);
    bytes.iter().all(|byte| pattern.next() == Some(byte))
}

/// The numbers of all whole tokens of one side.
pub(crate) fn ids(side: u8, bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.windows(TOKEN).filter_map(move |window| {
        let (first, rest) = window.split_first()?;
        let (last, digits) = rest.split_last()?;
        let text = std::str::from_utf8(digits).ok()?;
        let is = *first == side && *last == b';' && digits.iter().all(u8::is_ascii_hexdigit);
        is.then(|| u32::from_str_radix(text, 16).ok()).flatten()
    })
}

/// Mostly short, seldom long.
pub(crate) fn length(random: &mut Random) -> usize {
    let most = [1, 40, 40, 400, 400, 3_000, 3_000, 20_000, 150_000][pick(random, 9)];
    pick(random, most)
}

/// `content` in chunks, with extensions and trailers of the same exchange. `untidy`: with what only a response may have.
pub(crate) fn chunked(
    random: &mut Random,
    (side, id): (u8, u32),
    content: &[u8],
    untidy: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let blanks = |random: &mut Random| " ".repeat(if untidy { pick(random, 3) } else { 0 });
    let mut rest = content;
    while !rest.is_empty() {
        let most = [3, 200, 70_000][pick(random, 3)];
        let (chunk, next) = rest.split_at((1 + pick(random, most)).min(rest.len()));
        let blanks = blanks(random);
        let extension = match pick(random, 6) {
            0 => format!(";x={}", token(side, id).trim_end_matches(';')),
            _ => String::new(),
        };
        out.extend_from_slice(format!("{:x}{blanks}{extension}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = next;
    }
    out.extend_from_slice(format!("0{}\r\n", blanks(random)).as_bytes());
    if untidy && one_in(random, 2) {
        out.extend_from_slice(b"Set-Cookie: not=passed-on\r\n");
    }
    if one_in(random, 3) {
        out.extend_from_slice(format!("X-Trail: {}\r\n", token(side, id)).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}
