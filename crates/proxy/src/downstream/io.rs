//! Reading into buffers and writing from them, for whoever polls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::worker::buffer::{Buffer, Buffers};

/// One side of a tunnel: its connection, and what was read from it and not yet relayed.
#[derive(Debug)]
pub(crate) struct TunnelEnd<'a, S> {
    pub(crate) stream: &'a mut S,
    pub(crate) incoming: &'a mut Buffer,
}

impl<S> TunnelEnd<'_, S> {
    /// Takes a buffer to read into, if it has none.
    pub(crate) fn open(&mut self, buffers: &Buffers) {
        if self.incoming.size() == 0 {
            *self.incoming = buffers.take();
        }
    }
}

/// Reads into the buffer's spare room; 0 is the end of the stream.
pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Buffer,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut room = ReadBuf::new(buffer.spare());
    ready!(Pin::new(stream).poll_read(cx, &mut room))?;
    let n = room.filled().len();
    buffer.filled(n);
    Poll::Ready(Ok(n))
}

/// Writes two pieces, as much as the socket takes; the number of bytes is over both.
pub(crate) fn poll_write_two<S: AsyncWrite + Unpin>(
    stream: &mut S,
    first: &[u8],
    second: &[u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    match (first.is_empty(), second.is_empty()) {
        (_, true) => Pin::new(stream).poll_write(cx, first),
        (true, false) => Pin::new(stream).poll_write(cx, second),
        (false, false) => {
            let pieces = [io::IoSlice::new(first), io::IoSlice::new(second)];
            Pin::new(stream).poll_write_vectored(cx, &pieces)
        }
    }
}
