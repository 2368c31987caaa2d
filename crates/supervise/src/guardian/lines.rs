//! A process's output as lines of bounded length.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longer lines are cut into pieces of this many bytes.
const LONGEST: usize = 4096;

/// Reads lines from a pipe.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    pipe: R,
    bytes: Vec<u8>,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(pipe: R) -> Self {
        Self {
            pipe,
            bytes: Vec::new(),
            ended: false,
        }
    }

    /// The next line without its end; `None` at the end of the output.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self
                .bytes
                .iter()
                .take(LONGEST)
                .position(|&byte| byte == b'\n')
            {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Some(text(&line[..end]));
            }
            if self.bytes.len() >= LONGEST || (self.ended && !self.bytes.is_empty()) {
                let end = self.bytes.len().min(LONGEST);
                let line: Vec<u8> = self.bytes.drain(..end).collect();
                return Some(text(&line));
            }
            if self.ended {
                return None;
            }
            let mut chunk = [0; 4096];
            match self.pipe.read(&mut chunk).await {
                Ok(n) if n > 0 => self.bytes.extend_from_slice(&chunk[..n]),
                _ => self.ended = true,
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(bytes);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_end_at_their_ends_and_at_the_limit() {
        assert_eq!(all(b"one\r\ntwo\n\nlast").await, ["one", "two", "", "last"]);
        let long = vec![b'x'; LONGEST + 3];
        assert_eq!(
            all(&long).await.iter().map(String::len).collect::<Vec<_>>(),
            [LONGEST, 3]
        );
        assert_eq!(all(b"\xff\n").await, ["\u{fffd}"]);
        assert!(all(b"").await.is_empty());
    }
}
