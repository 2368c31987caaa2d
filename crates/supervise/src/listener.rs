//! Who listens on a server's port: one of the server's own processes, or a foreign process that was there before.
//!
//! A foreign process on the port answers probes and would get the server's traffic, while the server's own process
//! cannot bind it. The kernel's tables show which sockets listen (`/proc/net/tcp`, `tcp6`) and which process holds
//! which socket (`/proc/PID/fd`).
//!
//! A socket belongs to the server if any process of its tree or group holds it: workers of a forking server, a daemon
//! inside the group, a socket that was handed over. A socket held outside the tree is foreign only if it, or its
//! holder, existed before the process was started: a process may also have others listen on its behalf (`docker run -p`
//! has its daemon do that). Whatever cannot be read is assumed to belong to the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A process that is the server, and what was known when it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessSubject {
    /// The process: the leader of its group.
    pub(crate) pid: u32,
    /// The leaders of other groups that have the same parent: other servers.
    pub(crate) others: Vec<u32>,
    /// The sockets that listened on its port before it was started.
    pub(crate) before: Vec<u64>,
}

/// The owner of a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SocketOwner {
    /// The server's own processes, or no known process, or it cannot be determined.
    Accepted,
    /// Somebody else; in words, as far as it can be read.
    Stranger(String),
}

/// The kernel's information on a server's listening sockets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ListeningSockets {
    /// Connections that wait to be accepted at its address; none if nothing listens there.
    pub(crate) accept_queue: Option<u32>,
    /// Where its own processes listen, if nothing listens at its address.
    pub(crate) elsewhere: Vec<SocketAddr>,
}

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ListeningSocket {
    local: SocketAddr,
    queue: u32,
    inode: u64,
}

impl ListeningSocket {
    /// Whether it takes connections to `to`.
    fn takes(&self, to: SocketAddr) -> bool {
        let local = self.local.ip().to_canonical();
        let is_there = local == to.ip().to_canonical() || local.is_unspecified();
        self.local.port() == to.port() && is_there
    }
}

/// The inodes of the sockets that listen where a connection to `address` ends up.
pub(crate) fn sockets(address: SocketAddr) -> Vec<u64> {
    let all = all_sockets().unwrap_or_default().into_iter();
    all.filter(|socket| socket.takes(address))
        .map(|socket| socket.inode)
        .collect()
}

/// Looks at the sockets of a server. Reads much of `/proc`: to be called from a thread that may block.
/// Nothing if the kernel's tables cannot be read.
pub(crate) fn survey(
    address: SocketAddr,
    subject: Option<&ProcessSubject>,
) -> Option<ListeningSockets> {
    /// The maximum number of locations reported.
    const TOLD: usize = 4;
    let all = all_sockets()?;
    let at_address = all.iter().filter(|socket| socket.takes(address));
    let accept_queue = at_address.map(|socket| socket.queue).max();
    let mut elsewhere = Vec::new();
    if let (None, Some(subject)) = (accept_queue, subject) {
        let processes = processes();
        let server = processes.iter().find(|process| process.pid == subject.pid);
        let own = processes.iter().filter(|process| {
            server.is_some_and(|server| is_part(process, server, subject, &processes))
        });
        let own: Vec<u32> = own.map(|process| process.pid).collect();
        let held = all.iter().filter(|socket| {
            own.iter()
                .any(|pid| holds(*pid, &[socket.inode]) == Some(true))
        });
        elsewhere = held.map(|socket| socket.local).take(TOLD).collect();
    }
    Some(ListeningSockets {
        accept_queue,
        elsewhere,
    })
}

/// All of this network namespace; nothing if they cannot be read.
fn all_sockets() -> Option<Vec<ListeningSocket>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let mut read = tables
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .peekable();
    read.peek()?;
    Some(read.flat_map(|table| listening(&table)).collect())
}

/// Finds the process that listens at `address`, the address of `subject`. Reads much of `/proc`: call it on a blocking
/// thread.
pub(crate) fn look(address: SocketAddr, subject: &ProcessSubject) -> SocketOwner {
    let sockets = sockets(address);
    if sockets.is_empty() {
        // Another network namespace, or it has just closed.
        return SocketOwner::Accepted;
    }
    let processes = processes();
    let Some(server) = processes.iter().find(|process| process.pid == subject.pid) else {
        return SocketOwner::Accepted;
    };
    let mut readable = true;
    for process in processes
        .iter()
        .filter(|process| is_part(process, server, subject, &processes))
    {
        match holds(process.pid, &sockets) {
            Some(true) => return SocketOwner::Accepted,
            Some(false) => {}
            None => readable = false,
        }
    }
    if !readable {
        return SocketOwner::Accepted;
    }
    let holder = processes
        .iter()
        .find(|process| holds(process.pid, &sockets) == Some(true));
    let was_there = sockets.iter().any(|socket| subject.before.contains(socket));
    match holder {
        Some(holder) if was_there || holder.started < server.started => {
            SocketOwner::Stranger(format!("process {} ({})", holder.pid, holder.name))
        }
        None if was_there => {
            SocketOwner::Stranger("a process that cannot be looked at from here".to_owned())
        }
        Some(_) | None => SocketOwner::Accepted,
    }
}

/// The process that listens at `address` although no process of the server runs, in words.
pub(crate) fn holder(address: SocketAddr) -> Option<String> {
    let sockets = sockets(address);
    if sockets.is_empty() {
        return None;
    }
    let processes = processes();
    let holder = processes
        .iter()
        .find(|process| holds(process.pid, &sockets) == Some(true));
    Some(holder.map_or_else(
        || "a process that cannot be looked at from here".to_owned(),
        |holder| format!("process {} ({})", holder.pid, holder.name),
    ))
}

/// One line of the list of processes.
#[derive(Debug)]
struct ProcessLine {
    pid: u32,
    name: String,
    parent: u32,
    group: u32,
    /// In clock ticks since the machine started.
    started: u64,
}

/// Whether `process` belongs to the server: it is in its group, or a descendant, or left both and was adopted by the server's
/// own parent.
fn is_part(
    process: &ProcessLine,
    server: &ProcessLine,
    subject: &ProcessSubject,
    all: &[ProcessLine],
) -> bool {
    /// No tree is so deep; a loop cannot be, since the list is not read at one moment.
    const DEEPEST: usize = 64;
    if process.group == server.pid {
        return true;
    }
    let mut at = process;
    for _ in 0..DEEPEST {
        if at.pid == server.pid {
            return true;
        }
        if subject.others.contains(&at.pid) || subject.others.contains(&at.group) {
            return false;
        }
        if at.parent == server.parent {
            return server.parent > 1 && at.started >= server.started;
        }
        match all.iter().find(|other| other.pid == at.parent) {
            Some(parent) => at = parent,
            None => return false,
        }
    }
    false
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
            local: SocketAddr::new(parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?),
            queue: u32::from_str_radix(queue, 16).ok()?,
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

/// Whether a process holds one of these sockets; nothing if that cannot be read.
fn holds(pid: u32, sockets: &[u64]) -> Option<bool> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut links = descriptors
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Some(links.any(|link| {
        let inode = link.to_str().and_then(|link| {
            link.strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse::<u64>()
                .ok()
        });
        inode.is_some_and(|inode| sockets.contains(&inode))
    }))
}

fn processes() -> Vec<ProcessLine> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let of_entry = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        parse_stat(
            pid,
            &std::fs::read_to_string(entry.path().join("stat")).ok()?,
        )
    };
    entries.flatten().filter_map(of_entry).collect()
}

/// The name is in brackets and may hold anything (proc_pid_stat(5): the parent is the fourth field, the group the fifth, the
/// start the 22nd).
fn parse_stat(pid: u32, text: &str) -> Option<ProcessLine> {
    let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(ProcessLine {
        pid,
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:2329 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 1 0 100 0 0 10 0\n   1: \
        0100007F:232A 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0 100 0 0 10 0\n   2: \
        00000000:232B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43 1 0 100 0 0 10 0\n";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn only_sockets_that_listen_where_a_connection_ends_up_count() {
        let at_table = |table: &str, text: &str| -> Vec<u64> {
            let all = listening(table).into_iter();
            all.filter(|socket| socket.takes(at(text)))
                .map(|socket| socket.inode)
                .collect()
        };
        assert_eq!(at_table(TABLE, "127.0.0.1:9001"), [41]);
        assert!(at_table(TABLE, "127.0.0.2:9001").is_empty());
        assert!(at_table(TABLE, "127.0.0.1:9002").is_empty(), "connected");
        assert_eq!(at_table(TABLE, "127.0.0.1:9003"), [43], "any address");
        let six = "head\n 0: 00000000000000000000000001000000:2329 00000000000000000000000000000000:0000 0A 0:0C 0:0 0 0 0 44 1\n";
        assert_eq!(at_table(six, "[::1]:9001"), [44]);
        assert_eq!(listening(six)[0].queue, 12);
        assert!(at_table(six, "127.0.0.1:9001").is_empty());
    }

    /// This process's own listening sockets.
    #[test]
    fn the_accept_queue_is_read_and_where_a_server_listens_instead() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let subject = ProcessSubject {
            pid: std::process::id(),
            others: Vec::new(),
            before: Vec::new(),
        };
        let look = |at| survey(at, Some(&subject)).unwrap();
        assert_eq!(look(address).accept_queue, Some(0));
        let waiting: Vec<_> = (0..3)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        assert_eq!(look(address).accept_queue, Some(3));
        drop(waiting);
        let nowhere = SocketAddr::new(address.ip(), 1);
        let found = look(nowhere);
        assert_eq!(found.accept_queue, None);
        assert!(!found.elsewhere.is_empty());
        assert_eq!(survey(nowhere, None), Some(ListeningSockets::default()));
    }

    fn process(pid: u32, parent: u32, group: u32, started: u64) -> ProcessLine {
        ProcessLine {
            pid,
            name: String::new(),
            parent,
            group,
            started,
        }
    }

    #[test]
    fn the_group_the_tree_and_what_left_them_belong_to_the_server() {
        let all = [
            process(1, 0, 1, 0),
            process(10, 1, 10, 5),
            process(20, 10, 20, 7),
            process(21, 20, 20, 8),
            process(22, 20, 22, 8),
            process(23, 10, 23, 9),
            process(30, 10, 30, 7),
            process(31, 30, 31, 8),
            process(40, 1, 40, 1),
        ];
        let subject = ProcessSubject {
            pid: 20,
            others: vec![30],
            before: Vec::new(),
        };
        let parts: Vec<u32> = all
            .iter()
            .filter(|process| is_part(process, &all[2], &subject, &all))
            .map(|process| process.pid)
            .collect();
        assert_eq!(parts, [20, 21, 22, 23]);
    }

    #[test]
    fn a_name_may_hold_brackets() {
        let stat = "42 (a) b (c) T 1 40 42 0 -1 4194304 100 0 0 0 7 3 0 0 20 0 1 0 777 1000000 250";
        let process = parse_stat(42, stat).unwrap();
        assert_eq!(
            (
                &*process.name,
                process.parent,
                process.group,
                process.started
            ),
            ("a) b (c", 1, 40, 777)
        );
    }
}
