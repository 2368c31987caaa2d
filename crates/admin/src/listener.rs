//! The socket on which the admin API is served: TCP, or a Unix domain socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;

use tokio::io::{AsyncRead, AsyncWrite};

/// A listening socket for the admin API.
#[derive(Debug)]
pub enum AdminListener {
    /// At an IP address.
    Tcp(TcpListener),
    /// A Unix domain socket.
    Unix(UnixListener),
}

/// A client's connection, of either kind.
pub(crate) trait AdminStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> AdminStream for S {}

/// The listening socket within a runtime.
pub(crate) enum AdminAcceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl AdminListener {
    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    pub(crate) fn acceptor(self) -> io::Result<AdminAcceptor> {
        Ok(match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                AdminAcceptor::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                AdminAcceptor::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }
}

impl From<TcpListener> for AdminListener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl AdminAcceptor {
    /// The next connection and where it comes from: over a Unix domain socket, from this machine. Can be cancelled without loss.
    pub(crate) async fn accept(&self) -> io::Result<(Box<dyn AdminStream>, IpAddr)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (Box::new(stream), peer.ip())
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                (Box::new(stream), Ipv4Addr::LOCALHOST.into())
            }
        })
    }
}
