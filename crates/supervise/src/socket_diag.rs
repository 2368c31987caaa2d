//! The listening TCP sockets, asked of the kernel by `sock_diag(7)`.
//!
//! `/proc/net/tcp` lists every connection, also those in `TIME-WAIT`: with tens of thousands of them it takes the kernel 100 ms and
//! more to write it. What follows from the exit of a process waits for that. The kernel answers this question from its table of
//! listening sockets alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use evenkeel_core::Endpoint;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// A socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListeningSocket {
    pub(crate) local: Endpoint,
    /// Connections that wait to be accepted, if it is known.
    pub(crate) queue: Option<u32>,
    pub(crate) inode: u64,
}

impl ListeningSocket {
    /// Whether it takes connections to `to`.
    pub(crate) fn takes(&self, to: &Endpoint) -> bool {
        let (Endpoint::Tcp(local), Endpoint::Tcp(to)) = (&self.local, to) else {
            return self.local == *to;
        };
        let ip = local.ip().to_canonical();
        let is_there = ip == to.ip().to_canonical() || ip.is_unspecified();
        local.port() == to.port() && is_there
    }
}

/// The kernel answers within microseconds; no examination waits longer than this.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The kernel sends at most 32 KiB at a time (`netlink(7)`).
const BUFFER: usize = 32 * 1024;

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP` of `linux/netlink.h`.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR` and `NLMSG_DONE` of `linux/netlink.h`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `IPPROTO_TCP`, and `TCP_LISTEN` as a bit of a set of states.
const TCP: u8 = 6;
const LISTEN: u32 = 1 << 10;
/// The lengths of `struct nlmsghdr`, `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;

const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// All listening TCP sockets of this network namespace.
///
/// # Errors
/// If the kernel does not answer such questions: it was built without them, or a sandbox forbids them.
pub(crate) fn listening() -> io::Result<Vec<ListeningSocket>> {
    let flags = SocketFlags::CLOEXEC;
    let protocol = Some(netlink::SOCK_DIAG);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
    let mut all = Vec::new();
    for family in [IPV4, IPV6] {
        let asked = ask(&socket, family, &mut all);
        // A kernel without IPv6 knows of no sockets of it.
        if family == IPV4 {
            asked?;
        }
    }
    Ok(all)
}

fn ask(socket: &OwnedFd, family: u8, all: &mut Vec<ListeningSocket>) -> io::Result<()> {
    send(socket, &request(family), SendFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let (length, _) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        if read(buffer.get(..length).unwrap_or_default(), family, all)? {
            return Ok(());
        }
    }
}

/// A `struct nlmsghdr` and a `struct inet_diag_req_v2`, whose socket is any.
fn request(family: u8) -> [u8; HEADER + REQUEST] {
    let mut bytes = [0; HEADER + REQUEST];
    bytes[..4].copy_from_slice(&(72_u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    // So that answers to one question are not taken for those to the other.
    bytes[8..12].copy_from_slice(&u32::from(family).to_ne_bytes());
    bytes[HEADER] = family;
    bytes[HEADER + 1] = TCP;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&LISTEN.to_ne_bytes());
    bytes
}

/// Reads the messages of one datagram. Whether the last one was among them.
fn read(mut datagram: &[u8], family: u8, all: &mut Vec<ListeningSocket>) -> io::Result<bool> {
    let cut_off = || io::Error::new(io::ErrorKind::InvalidData, "a message was cut off");
    while !datagram.is_empty() {
        let length = word(datagram, 0).ok_or_else(cut_off)? as usize;
        let message = datagram.get(..length).ok_or_else(cut_off)?;
        let kind = half(message, 4).ok_or_else(cut_off)?;
        let sequence = word(message, 8).ok_or_else(cut_off)?;
        let body = message.get(HEADER..).ok_or_else(cut_off)?;
        let is_answer = sequence == u32::from(family);
        match kind {
            DONE if is_answer => return Ok(true),
            ERROR if is_answer => {
                let code = word(body, 0).ok_or_else(cut_off)?;
                return Err(io::Error::from_raw_os_error(
                    code.cast_signed().wrapping_neg(),
                ));
            }
            BY_FAMILY if is_answer => all.push(socket(body).ok_or_else(cut_off)?),
            _ => {}
        }
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(false)
}

/// Reads a `struct inet_diag_msg`: the family is its first byte, then come in `struct inet_diag_sockid` the port at 4 and the address
/// at 8, both in the order of the network; the queue, of a listening socket that of connections to be accepted, is at 56, and the
/// inode at 68.
fn socket(body: &[u8]) -> Option<ListeningSocket> {
    let body: &[u8; MESSAGE] = body.get(..MESSAGE)?.try_into().ok()?;
    let address: [u8; 16] = body[8..24].try_into().ok()?;
    let ip = match body[0] {
        IPV4 => IpAddr::V4(Ipv4Addr::new(
            address[0], address[1], address[2], address[3],
        )),
        IPV6 => IpAddr::V6(Ipv6Addr::from(address)),
        _ => return None,
    };
    let port = u16::from_be_bytes([body[4], body[5]]);
    Some(ListeningSocket {
        local: SocketAddr::new(ip, port).into(),
        queue: Some(word(body, 56)?),
        inode: u64::from(word(body, 68)?),
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(two.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_socket_is_found_with_its_accept_queue_and_a_connection_is_none() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // The machine of the test may be without IPv6.
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let address = listener.local_addr().unwrap();
            let find = || {
                let mut all = listening().unwrap();
                all.retain(|socket| socket.local == address.into());
                all
            };
            let found = find();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].queue, Some(0));
            assert_ne!(found[0].inode, 0);
            let _waiting = [0; 2].map(|_| TcpStream::connect(address).unwrap());
            assert_eq!(find()[0].queue, Some(2));
            assert_eq!(find()[0].inode, found[0].inode);
            drop(listener);
            assert_eq!(find(), []);
        }
    }

    #[test]
    fn answers_to_another_question_are_passed_over_and_errors_are_told() {
        let mut all = Vec::new();
        let mut body = [0; MESSAGE];
        body[0] = IPV4;
        (body[4], body[5]) = (0x23, 0x29);
        body[8..12].copy_from_slice(&[127, 0, 0, 1]);
        body[56] = 7;
        body[68] = 41;
        let other = message(DONE, u32::from(IPV6), &[0; 4]);
        let datagram = [other, message(BY_FAMILY, u32::from(IPV4), &body)].concat();
        assert!(!read(&datagram, IPV4, &mut all).unwrap());
        let done = message(DONE, u32::from(IPV4), &[0; 4]);
        assert!(read(&done, IPV4, &mut all).unwrap());
        let expected = ListeningSocket {
            local: "127.0.0.1:9001".parse().unwrap(),
            queue: Some(7),
            inode: 41,
        };
        if cfg!(target_endian = "little") {
            assert_eq!(all, [expected]);
        }
        let refused = message(ERROR, u32::from(IPV4), &(-1_i32).to_ne_bytes());
        let error = read(&refused, IPV4, &mut all).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(1));
    }

    #[test]
    fn whatever_is_cut_off_is_an_error() {
        let whole = message(BY_FAMILY, u32::from(IPV4), &[IPV4; MESSAGE]);
        for length in 1..whole.len() {
            let found = read(&whole[..length], IPV4, &mut Vec::new());
            assert!(found.is_err(), "{length}");
        }
        // A length of less than a header leads nowhere.
        assert!(read(&[0; 32], IPV4, &mut Vec::new()).is_err());
    }
}
