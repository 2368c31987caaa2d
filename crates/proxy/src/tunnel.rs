//! After `101 Switching Protocols`: bytes in both directions until one side ends or both are silent for too long.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::buffer::Buffer;
use crate::client::poll_fill;
use crate::own;
use crate::talk::{Desk, Talk};

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    /// No more will come.
    ended: bool,
    /// The other side was told so.
    told: bool,
}

/// Sends the head in `work.to_client` and carries bytes until the end; `false` if it ended by silence or an error.
pub(crate) async fn run(desk: &mut Desk<'_>, talk: &mut Talk, idle: Duration) -> bool {
    if !own::send(desk.worker, desk.client, desk.work).await {
        return false;
    }
    for buffer in [&mut desk.client.buffer, &mut talk.incoming] {
        if buffer.size() == 0 {
            *buffer = desk.worker.buffers.take();
        }
    }
    desk.client.timer.set(desk.worker.clock.now() + idle);
    let (mut up, mut down) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let (client, server) = (&mut desk.client.stream, &mut talk.upstream.stream);
        let moved_up = up.poll(client, server, &mut desk.client.buffer, cx);
        let moved_down = down.poll(server, client, &mut talk.incoming, cx);
        match (moved_up, moved_down) {
            (Err(()), _) | (_, Err(())) => return Poll::Ready(false),
            (Ok(false), Ok(false)) => {}
            _ => desk.client.timer.set(desk.worker.clock.now() + idle),
        }
        if up.told && down.told {
            return Poll::Ready(true);
        }
        if desk.client.timer.poll_expired(cx) {
            return Poll::Ready(false);
        }
        Poll::Pending
    })
    .await
}

impl Direction {
    /// Carries what can be carried; says whether anything moved.
    fn poll(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        buffer: &mut Buffer,
        cx: &mut Context<'_>,
    ) -> Result<bool, ()> {
        let mut moved = false;
        loop {
            if !buffer.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, buffer.unread()) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        buffer.consume(n);
                        moved = true;
                        continue;
                    }
                    Poll::Ready(_) => return Err(()),
                    Poll::Pending => return Ok(moved),
                }
            }
            if self.ended {
                if !self.told && Pin::new(&mut *to).poll_shutdown(cx).is_ready() {
                    self.told = true;
                }
                return Ok(moved);
            }
            match poll_fill(from, buffer, cx) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Pending => return Ok(moved),
            }
        }
    }
}
