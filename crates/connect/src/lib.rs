//! Opening a connection to a server, with its deadline. Requests and probes share it, so that a probe sees what a
//! request would.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_core::Outcome;
use tokio::net::TcpStream;

/// Connects to `address` within `timeout`; small writes are sent at once.
///
/// # Errors
/// The outcome of an attempt that ends here: refused, timed out, unreachable, or reset before anything was sent.
pub async fn connect(address: SocketAddr, timeout: Duration) -> Result<TcpStream, Outcome> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Err(_) => Err(Outcome::ConnectTimeout),
        Ok(Err(error)) => Err(outcome_of(&error)),
        Ok(Ok(stream)) => {
            stream
                .set_nodelay(true)
                .map_err(|error| outcome_of(&error))?;
            Ok(stream)
        }
    }
}

/// What an error of connecting says of the server.
fn outcome_of(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::ConnectRefused,
        io::ErrorKind::TimedOut => Outcome::ConnectTimeout,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => Outcome::Reset { sent: false },
        // No route, no network, no free local port, no descriptor: the request cannot have left this machine.
        _ => Outcome::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listening_server_is_reached_and_a_closed_port_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(connect(address, Duration::from_secs(5)).await.is_ok());
        drop(listener);
        assert_eq!(
            connect(address, Duration::from_secs(5)).await.unwrap_err(),
            Outcome::ConnectRefused
        );
    }
}
