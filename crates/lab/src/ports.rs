//! Reserved ports for tests: no other process gets one of them while this process lives.
//!
//! The kernel may hand out a port that was bound and released to another test of the same process or to an outgoing
//! connection; a server would then get requests that are not its own.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

/// Ports for servers started elsewhere, all different and reserved for this process until it ends: a lock file for each
/// keeps other tests away, and the kernel gives none of them to a connection or to port 0, as they lie below its range
/// for these.
///
/// # Errors
/// If the directory of the lock files cannot be created, or too few ports are free.
pub fn hold(number: usize) -> io::Result<Vec<u16>> {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("evenkeel-test-ports");
    std::fs::create_dir_all(&folder)?;
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let mut ports = Vec::new();
    for port in (first..30_000).chain(20_000..first) {
        let file = File::create(folder.join(port.to_string()))?;
        if file.try_lock().is_err() || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            continue;
        }
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(file);
        ports.push(port);
        if ports.len() == number {
            return Ok(ports);
        }
    }
    Err(io::Error::other(format!(
        "no {number} ports are left for tests"
    )))
}

/// An address that refuses connections for as long as this process lives: it is bound, but not listening.
///
/// # Errors
/// If there is no port left.
pub fn refusing() -> io::Result<SocketAddr> {
    static HELD: Mutex<Vec<Socket>> = Mutex::new(Vec::new());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket();
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.push(socket);
    address.ok_or_else(|| io::Error::other("no address"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn ports_are_different_and_nobody_else_gets_them() {
        let (mut first, second) = (hold(3).unwrap(), hold(2).unwrap());
        first.extend(second);
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 5);
    }

    #[test]
    fn an_address_that_refuses_is_not_given_to_others() {
        let address = refusing().unwrap();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(TcpListener::bind(address).is_err());
    }
}
