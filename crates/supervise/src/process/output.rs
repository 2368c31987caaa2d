//! The output of a process, read from a pipe that may stay open longer than the process lives.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// Bytes read at a time.
const CHUNK: usize = 4096;
/// Bytes that are read at most after the process has ended: what a pipe holds, and no more if others write on.
const REST: usize = 1024 * 1024;

/// Reads a pipe in chunks. Nothing is lost when a read is cancelled.
#[derive(Debug)]
pub(crate) struct PipeReader {
    pipe: Option<pipe::Receiver>,
    chunk: Box<[u8; CHUNK]>,
}

impl PipeReader {
    /// A reader of `pipe`; one that has ended if there is none.
    pub(crate) fn new(pipe: Option<pipe::Receiver>) -> Self {
        Self {
            pipe,
            chunk: Box::new([0; CHUNK]),
        }
    }

    /// The next bytes; waits for ever once the pipe has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &[u8] {
        if let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut self.chunk[..]).await {
                Ok(n) if n > 0 => return &self.chunk[..n],
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
        std::future::pending().await
    }

    /// Passes what the pipe holds now to `take`, without waiting. Returns the pipe if its other end is still open.
    pub(crate) fn finish(mut self, mut take: impl FnMut(&[u8])) -> Option<pipe::Receiver> {
        let pipe = self.pipe.take()?;
        let mut left = REST;
        while left > 0 {
            // Not the runtime's read: that would believe an older "not readable".
            match rustix::io::read(&pipe, &mut self.chunk[..]) {
                Ok(0) => return None,
                Ok(n) => {
                    take(&self.chunk[..n]);
                    left = left.saturating_sub(n);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        Some(pipe)
    }
}

/// Reads a pipe to its end and discards everything, so that its writer is neither blocked nor killed.
pub(crate) async fn discard(mut pipe: pipe::Receiver) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    while pipe.read(&mut chunk).await? > 0 {}
    Ok(())
}
