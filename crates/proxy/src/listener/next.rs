//! The next connection of a listener, and how the workers share those of a Unix domain socket.
//!
//! A new connection at a shared socket wakes every idle worker, since the runtime's epoll cannot wake only one, and whoever is first gets
//! it. Of a burst the first one awake would get all: measured with two workers and 64 connections at once, 64 and 0. So a worker with
//! more clients than the others lets them go first.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use evenkeel_connect::Stream;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::listener::acceptor::Acceptor;
use crate::stats::counters::WorkerCounters;
use crate::worker::Worker;

/// How long a worker with more clients than the others leaves a connection at a shared socket to them.
const OTHERS_FIRST: Duration = Duration::from_millis(1);
/// How many more than the mean are not more: so many, or an eighth of the mean.
const SLACK: u64 = 4;

/// The next connection, and its client's address; a Unix domain socket knows none. Can be cancelled without loss.
///
/// # Errors
/// What accept(2) says.
pub(super) async fn next_connection(
    acceptor: &Acceptor,
    worker: &Worker,
) -> io::Result<(Stream, Option<IpAddr>)> {
    match acceptor {
        Acceptor::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            Ok((Stream::Tcp(stream), Some(peer.ip())))
        }
        Acceptor::Unix(listener) => Ok((accept_shared(listener, worker).await?, None)),
    }
}

async fn accept_shared(listener: &AsyncFd<UnixListener>, worker: &Worker) -> io::Result<Stream> {
    loop {
        let mut ready = listener.readable().await?;
        if has_more_than_others(worker) {
            let later = worker.clock.now() + OTHERS_FIRST;
            worker.clock.sleep_until(later).await;
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accepted = ready.try_io(|listener| Ok(accept_with(listener.get_ref().as_fd(), flags)?));
        // Another worker may have been faster.
        if let Ok(accepted) = accepted {
            return Ok(Stream::Unix(UnixStream::from_std(accepted?.into())?));
        }
    }
}

/// Whether this worker has more clients than the others have on average.
fn has_more_than_others(worker: &Worker) -> bool {
    let open = |counters: &WorkerCounters| {
        let closed = counters.connections_closed.value();
        counters.connections_opened.value().saturating_sub(closed)
    };
    let workers = worker.state.workers();
    let all: u64 = workers.iter().map(|counters| open(counters)).sum();
    is_more_than(open(&worker.counters), all / (workers.len() as u64).max(1))
}

/// Whether a worker has more clients than the mean, by more than chance makes of it.
const fn is_more_than(own: u64, mean: u64) -> bool {
    let slack = if mean / 8 > SLACK { mean / 8 } else { SLACK };
    own > mean + slack
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_go_first_where_they_have_less() {
        for (own, mean, expected) in [
            (0, 0, false),
            (4, 0, false),
            (9, 4, true),
            (112, 100, false),
            (113, 100, true),
        ] {
            assert_eq!(is_more_than(own, mean), expected, "{own} of {mean}");
        }
    }
}
