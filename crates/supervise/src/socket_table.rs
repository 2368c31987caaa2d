//! The kernel's tables of listening sockets: [`socket_diag`], and `/proc/net/tcp` and `tcp6` where that is not there; and
//! `/proc/net/unix`.
//!
//! Those of evenkeel's own network namespace. A Unix domain socket is listed by the path that its program gave it, which may be relative
//! or of another mount namespace, and stays listed after its file was removed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use evenkeel_core::Endpoint;

use crate::socket_diag::{self, ListeningSocket};

/// The inodes of the sockets that listen where a connection to `address` ends up.
pub(crate) fn sockets(address: &Endpoint) -> Vec<u64> {
    let all = match address {
        Endpoint::Tcp(_) => all_sockets(),
        Endpoint::Unix(_) => unix_sockets(),
    };
    let all = all.unwrap_or_default().into_iter();
    all.filter(|socket| socket.takes(address))
        .map(|socket| socket.inode)
        .collect()
}

/// All of TCP; nothing if they cannot be read.
pub(crate) fn all_sockets() -> Option<Vec<ListeningSocket>> {
    socket_diag::listening().ok().or_else(from_tables)
}

fn from_tables() -> Option<Vec<ListeningSocket>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let mut read = tables
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .peekable();
    read.peek()?;
    Some(read.flat_map(|table| listening(&table)).collect())
}

/// All Unix domain sockets with a path; nothing if they cannot be read.
pub(crate) fn unix_sockets() -> Option<Vec<ListeningSocket>> {
    let table = std::fs::read("/proc/net/unix").ok()?;
    Some(listening_unix(&String::from_utf8_lossy(&table)))
}

/// The listening ones in the table of Unix domain sockets (proc_pid_net(5)): flags are the fourth field, where that of a listening
/// socket is `__SO_ACCEPTCON`, the inode is the seventh, and the path the rest.
fn listening_unix(table: &str) -> Vec<ListeningSocket> {
    const ACCEPTS: u32 = 0x10000;
    let of_line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        let inode = fields.nth(2)?;
        let (_, path) = line.split_once(&format!(" {inode} "))?;
        let is_path = path.starts_with('/') && flags & ACCEPTS != 0;
        is_path.then_some(ListeningSocket {
            local: Endpoint::Unix(Path::new(path).into()),
            queue: None,
            inode: inode.parse().ok()?,
        })
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// The listening sockets in one table (proc_pid_net(5): the local address is the second field, the state the fourth, the queues
/// the fifth, where that of a listening socket is of connections to be accepted, the inode the tenth).
fn listening(table: &str) -> Vec<ListeningSocket> {
    const LISTEN: &str = "0A";
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if *fields.get(3)? != LISTEN {
            return None;
        }
        let (ip, port) = fields.get(1)?.rsplit_once(':')?;
        let (_, queue) = fields.get(4)?.rsplit_once(':')?;
        Some(ListeningSocket {
            local: SocketAddr::new(parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?).into(),
            queue: Some(u32::from_str_radix(queue, 16).ok()?),
            inode: fields.get(9)?.parse().ok()?,
        })
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// An address of the kernel's tables: words of four bytes, each in the machine's order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |slot: usize| -> Option<[u8; 4]> {
        let text = hex.get(slot * 8..slot * 8 + 8)?;
        Some(u32::from_str_radix(text, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (slot, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(slot)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:2329 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 1 0 100 0 0 10 0\n   1: \
        0100007F:232A 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0 100 0 0 10 0\n   2: \
        00000000:232B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43 1 0 100 0 0 10 0\n";

    fn at(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    /// Whoever may not ask the one finds the same in the other.
    #[test]
    fn the_tables_have_what_the_kernel_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Endpoint::from(listener.local_addr().unwrap());
        let of = |all: Vec<ListeningSocket>| all.into_iter().find(|one| one.takes(&address));
        let asked = of(socket_diag::listening().unwrap());
        assert!(asked.is_some());
        assert_eq!(of(from_tables().unwrap()), asked);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn only_sockets_that_listen_where_a_connection_ends_up_count() {
        let at_table = |table: &str, text: &str| -> Vec<u64> {
            let all = listening(table).into_iter();
            all.filter(|socket| socket.takes(&at(text)))
                .map(|socket| socket.inode)
                .collect()
        };
        assert_eq!(at_table(TABLE, "127.0.0.1:9001"), [41]);
        assert!(at_table(TABLE, "127.0.0.2:9001").is_empty());
        assert!(at_table(TABLE, "127.0.0.1:9002").is_empty(), "connected");
        assert_eq!(at_table(TABLE, "127.0.0.1:9003"), [43], "any address");
        let six = "head\n 0: 00000000000000000000000001000000:2329 00000000000000000000000000000000:0000 0A 0:0C 0:0 0 0 0 44 1\n";
        assert_eq!(at_table(six, "[::1]:9001"), [44]);
        assert_eq!(listening(six)[0].queue, Some(12));
        assert!(at_table(six, "127.0.0.1:9001").is_empty());
    }

    #[test]
    fn unix_domain_sockets_that_listen_are_found_by_their_path() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 51 /run/a b.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 52 /run/a b.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 53 @abstract\n\
            0000000000000000: 00000002 00000000 00010000 0001 01    54 /run/c.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 55\n";
        let found = listening_unix(table);
        let inodes: Vec<u64> = found.iter().map(|socket| socket.inode).collect();
        assert_eq!(inodes, [51, 54]);
        assert!(found[0].takes(&at("unix:/run/a b.sock")));
        assert!(!found[0].takes(&at("unix:/run/c.sock")));
    }
}
