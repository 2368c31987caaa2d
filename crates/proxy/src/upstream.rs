//! Connections to servers: opened when needed, kept when the server allows, checked before they are used again.
//!
//! Each worker has its own, so that no request waits for another worker's. A kept connection that the server has
//! closed, or on which something came unasked, is found out before a request is sent on it: epoll has told the runtime
//! already, so the look costs no system call.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel_core::{Instant, ServerId};
use tokio::net::TcpStream;

/// Connections that are kept per server and worker.
const KEPT: usize = 1024;
/// A connection that was not used for this long is closed: well below the 60 s and more that most servers wait.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: TcpStream,
    /// Whether it had carried a request before this one.
    pub(crate) reused: bool,
    /// Which of the servers that have been at this place it leads to.
    pub(crate) generation: u64,
}

/// A worker's kept connections, by service and server.
#[derive(Debug)]
pub(crate) struct Upstreams {
    services: Vec<Vec<RefCell<Vec<Kept>>>>,
}

#[derive(Debug)]
struct Kept {
    stream: TcpStream,
    since: Instant,
    generation: u64,
}

impl Upstreams {
    pub(crate) fn new(servers: impl Iterator<Item = usize>) -> Self {
        Self {
            services: servers
                .map(|count| (0..count).map(|_| RefCell::default()).collect())
                .collect(),
        }
    }

    /// The kept connection that was used last, if one is still good. Those to servers that were here before are closed.
    pub(crate) fn take(&self, server: ServerId, generation: u64) -> Option<Upstream> {
        let mut kept = self.of(server).borrow_mut();
        while let Some(one) = kept.pop() {
            if one.generation == generation && is_quiet(&one.stream) {
                return Some(Upstream {
                    stream: one.stream,
                    reused: true,
                    generation,
                });
            }
        }
        None
    }

    pub(crate) fn give(&self, server: ServerId, upstream: Upstream, now: Instant) {
        let mut kept = self.of(server).borrow_mut();
        if kept.len() < KEPT {
            if kept.capacity() == 0 {
                // Of very many servers each is kept one connection to, mostly.
                kept.reserve_exact(1);
            }
            kept.push(Kept {
                stream: upstream.stream,
                since: now,
                generation: upstream.generation,
            });
        }
    }

    /// Closes what the servers have closed, and what was not used for long.
    pub(crate) fn sweep(&self, now: Instant) {
        for kept in self.services.iter().flatten() {
            let mut kept = kept.borrow_mut();
            kept.retain(|kept| now.since(kept.since) < KEPT_FOR && is_quiet(&kept.stream));
            if kept.is_empty() {
                *kept = Vec::new();
            }
        }
    }

    fn of(&self, server: ServerId) -> &RefCell<Vec<Kept>> {
        &self.services[server.service.0 as usize][server.index as usize]
    }
}

/// Whether nothing has come, not even an end.
fn is_quiet(stream: &TcpStream) -> bool {
    match stream.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => true,
        Poll::Ready(Err(_)) => false,
        // Readiness may be a left-over of the last read: only a read tells.
        Poll::Ready(Ok(())) => {
            matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        }
    }
}
