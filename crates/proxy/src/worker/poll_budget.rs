//! How much one poll of a connection may move before the worker's other connections have their turn.
//!
//! A fast peer can keep a socket readable for as long as it likes. Without a bound, one poll would pass on a whole large body
//! while everything else on the worker waits.

use std::future::Future;
use std::pin::pin;
use std::task::Context;

/// Bytes of one poll: two large buffers, so that most bodies need one poll, and a turn takes well below a millisecond.
pub(crate) const POLL_BYTES: usize = 1024 * 1024;

/// What one poll may still move.
#[derive(Debug)]
pub(crate) struct PollBudget {
    left: usize,
}

impl PollBudget {
    pub(crate) const fn new() -> Self {
        Self { left: POLL_BYTES }
    }

    /// `n` bytes were moved.
    pub(crate) const fn spend(&mut self, n: usize) {
        self.left = self.left.saturating_sub(n);
    }

    /// Whether the poll must end. The task is then woken again after the worker has looked at its sockets.
    pub(crate) fn is_spent(&self, cx: &mut Context<'_>) -> bool {
        if self.left > 0 {
            return false;
        }
        // Waking the task at once would put it before events that are not yet read; this waker waits for those.
        let yielded = pin!(tokio::task::yield_now());
        yielded.poll(cx).is_pending()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! Ends of connections that are always ready, so that nothing but the budget ends a poll.

    use std::io;
    use std::pin::Pin;
    use std::task::Poll;

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;

    /// More than any poll may move: whoever takes as much has no bound.
    const FAR_TOO_MUCH: usize = 64 * 1024 * 1024;

    /// As many bytes as there is room for.
    pub(crate) struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let room = into.remaining();
            into.initialize_unfilled();
            into.advance(room);
            Poll::Ready(Ok(()))
        }
    }

    /// Takes all that is written.
    #[derive(Default)]
    pub(crate) struct Sink {
        pub(crate) taken: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.taken += bytes.len();
            assert!(self.taken <= FAR_TOO_MUCH, "a poll that does not end");
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Polls until it is done; the most bytes that one poll has moved. `poll` gives the bytes, and whether it is done.
    pub(crate) fn polls(mut poll: impl FnMut(&mut Context<'_>) -> (usize, bool)) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        // What a poll leaves for later is woken by the runtime.
        runtime.block_on(async {
            let mut most = 0;
            std::future::poll_fn(|cx| {
                let (moved, done) = poll(cx);
                most = most.max(moved);
                if done { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            most
        })
    }
}
