//! Splits a process's output into lines of bounded length.

/// Longer lines are cut into pieces of this many bytes.
const LONGEST: usize = 4096;

/// Splits chunks of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    /// Takes in a chunk and hands the lines that are complete to `each`, without their ends.
    pub(crate) fn push(&mut self, chunk: &[u8], mut each: impl FnMut(&[u8])) {
        self.bytes.extend_from_slice(chunk);
        let mut begin = 0;
        while begin < self.bytes.len() {
            let rest = &self.bytes[begin..];
            let end = rest.iter().take(LONGEST).position(|&byte| byte == b'\n');
            match end {
                Some(end) => {
                    each(without_return(&rest[..end]));
                    begin += end + 1;
                }
                None if rest.len() >= LONGEST => {
                    each(&rest[..LONGEST]);
                    begin += LONGEST;
                }
                None => break,
            }
        }
        self.bytes.drain(..begin);
    }

    /// The last line, if it has no end.
    pub(crate) fn finish(self, each: impl FnOnce(&[u8])) {
        if !self.bytes.is_empty() {
            each(&self.bytes);
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `bytes` when they come in chunks of this length.
    fn all(bytes: &[u8], chunk: usize) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        for chunk in bytes.chunks(chunk) {
            lines.push(chunk, |line| all.push(text(line)));
        }
        lines.finish(|line| all.push(text(line)));
        all
    }

    #[test]
    fn lines_end_at_their_ends_and_at_the_limit() {
        for chunk in [1, 2, 3, 4096, 100_000] {
            assert_eq!(
                all(b"one\r\ntwo\n\nlast", chunk),
                ["one", "two", "", "last"]
            );
            let long = vec![b'x'; LONGEST + 3];
            assert_eq!(
                all(&long, chunk)
                    .iter()
                    .map(String::len)
                    .collect::<Vec<_>>(),
                [LONGEST, 3]
            );
            assert_eq!(all(b"\xff\n", chunk), ["\u{fffd}"]);
            assert!(all(b"", chunk).is_empty());
        }
    }
}
