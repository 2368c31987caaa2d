//! The listening sockets of a worker.
//!
//! For an IP address each worker has a socket of its own (`SO_REUSEPORT`), and the kernel spreads connections. A Unix domain socket
//! knows nothing of the kind: all workers accept on the same one, each by a descriptor of its own.

use std::io;
use std::net::{IpAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;

use evenkeel_connect::Stream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A listening socket outside of a runtime.
#[derive(Debug)]
pub(crate) enum WorkerSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// A listening socket within a worker's runtime.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(AsyncFd<StdUnixListener>),
}

impl WorkerSocket {
    /// The same socket once more.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    /// A connection that waits in the queue, and its client's address; within a runtime. Does not wait.
    ///
    /// # Errors
    /// What accept(2) says: also that none waits.
    pub(super) fn accept_waiting(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Tcp(TcpStream::from_std(stream)?), Some(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Unix(UnixStream::from_std(stream)?), None))
            }
        }
    }

    /// The socket within the current runtime; this one stays open.
    ///
    /// # Errors
    /// If there is no descriptor left.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe for types whose descriptor can change, which a listener's cannot"
    )]
    pub(crate) fn acceptor(&self) -> io::Result<Acceptor> {
        Ok(match self {
            Self::Tcp(listener) => Acceptor::Tcp(TcpListener::from_std(listener.try_clone()?)?),
            Self::Unix(listener) => {
                let listener = listener.try_clone()?;
                Acceptor::Unix(AsyncFd::with_interest(listener, Interest::READABLE)?)
            }
        })
    }
}
