//! The listening sockets of a worker.
//!
//! For an IP address each worker has a socket of its own (`SO_REUSEPORT`), and the kernel spreads connections. A Unix domain socket
//! knows nothing of the kind: all workers accept on the same one, each by a descriptor of its own.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;

use evenkeel_config::plan::ListenerPlan;
use evenkeel_core::Endpoint;
use evenkeel_runtime::listen::{listen, listen_beside};
use evenkeel_runtime::socket_file::{SocketAccess, SocketFile, listen_unix};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;

/// Connections that may wait to be accepted, per worker and listener, or per Unix domain socket; the kernel's `somaxconn` bounds it
/// as well.
const BACKLOG: i32 = 4096;

/// A listening socket outside of a runtime.
#[derive(Debug)]
pub(crate) enum WorkerSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// The sockets of one listener.
#[derive(Debug)]
pub(crate) struct BoundListener {
    /// Its address, with the port that was taken for port 0.
    pub(crate) address: Endpoint,
    /// For each worker.
    pub(crate) sockets: Vec<WorkerSocket>,
    /// The file of a Unix domain socket.
    pub(crate) file: Option<SocketFile>,
}

/// A listening socket within a worker's runtime.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(AsyncFd<StdUnixListener>),
}

impl BoundListener {
    /// Listens for so many workers.
    ///
    /// # Errors
    /// If the address is taken or not allowed.
    pub(crate) fn bind(plan: &ListenerPlan, workers: usize) -> io::Result<Self> {
        match &plan.address {
            Endpoint::Tcp(address) => {
                let first = with_no_delay(listen(*address, workers > 1, BACKLOG)?)?;
                let address = first.local_addr()?;
                let mut sockets = vec![WorkerSocket::Tcp(first)];
                for _ in 1..workers {
                    let beside = with_no_delay(listen_beside(address, BACKLOG)?)?;
                    sockets.push(WorkerSocket::Tcp(beside));
                }
                Ok(Self {
                    address: address.into(),
                    sockets,
                    file: None,
                })
            }
            Endpoint::Unix(path) => {
                let access = SocketAccess {
                    mode: plan.socket.mode,
                    group: plan.socket.group.as_deref(),
                };
                let (first, file) = listen_unix(path, access, BACKLOG)?;
                let sockets = (1..workers).map(|_| first.try_clone().map(WorkerSocket::Unix));
                let mut sockets = sockets.collect::<io::Result<Vec<_>>>()?;
                sockets.push(WorkerSocket::Unix(first));
                Ok(Self {
                    address: plan.address.clone(),
                    sockets,
                    file: Some(file),
                })
            }
        }
    }
}

/// Accepted sockets inherit it.
fn with_no_delay(listener: StdTcpListener) -> io::Result<StdTcpListener> {
    socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
    Ok(listener)
}

impl WorkerSocket {
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
