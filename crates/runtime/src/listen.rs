//! Opens listening sockets, and reports addresses that are in use.
//!
//! A module of its own because of one pitfall: with `SO_REUSEPORT` a second program of the same user can silently
//! listen on a port that is in use, and take half of its connections. A plain bind comes first, so that a port in use
//! is an error.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// A non-blocking listening socket at `address`. With `reuse_port` more of them can be opened at the same address with
/// [`listen_beside`], one per worker.
///
/// # Errors
/// If the address is taken (also by a socket that shares its port), not local, or not allowed.
pub fn listen(address: SocketAddr, reuse_port: bool, backlog: i32) -> io::Result<TcpListener> {
    if !reuse_port || address.port() == 0 {
        // Port 0 is a free port by definition, so there is nothing to check.
        return open(address, reuse_port, backlog);
    }
    let check = open(address, false, 0)?;
    drop(check);
    open(address, true, backlog)
}

/// One more non-blocking listening socket at an address that this program already listens on with `reuse_port`.
///
/// # Errors
/// If the address is taken by a socket that does not share its port, not local, or not allowed.
pub fn listen_beside(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    open(address, true, backlog)
}

fn open(address: SocketAddr, reuse_port: bool, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_taken_port_is_an_error_even_when_both_share_it() {
        let first = listen(ANY, true, 16).unwrap();
        let address = first.local_addr().unwrap();
        assert_eq!(
            listen(address, true, 16).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        assert_eq!(
            listen(address, false, 16).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        let beside = listen_beside(address, 16).unwrap();
        assert_eq!(beside.local_addr().unwrap(), address);
    }

    #[test]
    fn a_port_is_free_again_when_its_socket_is_closed() {
        // At an address of this process alone, so that no other test can take the port in between.
        let [.., high, low] = std::process::id().to_be_bytes();
        let own = SocketAddr::from(([127, 83, high, low | 1], 0));
        let first = listen(own, false, 16).unwrap();
        let address = first.local_addr().unwrap();
        drop(first);
        assert!(listen(address, true, 16).is_ok());
    }
}
