//! Who listens on a server's port or socket: one of the server's own processes, or a foreign process that was there before.
//!
//! A foreign process on the port answers probes and would get the server's traffic, while the server's own process
//! cannot bind it. The kernel's tables show which sockets listen ([`crate::socket_table`]) and which process holds
//! which socket (`/proc/PID/fd`).
//!
//! A socket belongs to the server if any process of its tree or group holds it: workers of a forking server, a daemon
//! inside the group, a socket that was handed over. A socket held outside the tree is foreign only if it, or its
//! holder, existed before the process was started: a process may also have others listen on its behalf (`docker run -p`
//! has its daemon do that). Whatever cannot be read is assumed to belong to the server.

use evenkeel_core::Endpoint;
use evenkeel_runtime::socket_file::is_listened_on;

use crate::socket_table::{all_sockets, sockets, unix_sockets};

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
    /// Whether something listens at its address.
    pub(crate) is_listened_on: bool,
    /// Connections that wait to be accepted at its address; unknown of a Unix domain socket.
    pub(crate) accept_queue: Option<u32>,
    /// Where its own processes listen, if nothing listens at its address.
    pub(crate) elsewhere: Vec<Endpoint>,
}

/// Looks at the sockets of a server. Reads much of `/proc`: to be called from a thread that may block.
/// Nothing if the kernel's tables cannot be read.
pub(crate) fn survey(
    address: &Endpoint,
    subject: Option<&ProcessSubject>,
) -> Option<ListeningSockets> {
    /// The maximum number of locations reported.
    const TOLD: usize = 4;
    let mut all = all_sockets()?;
    let (is_listened_on, accept_queue) = match address {
        Endpoint::Tcp(_) => {
            let at_address = all.iter().filter(|socket| socket.takes(address));
            let queue = at_address.map(|socket| socket.queue.unwrap_or(0)).max();
            (queue.is_some(), queue)
        }
        // Asked of the socket itself: in the table it has the path that its own program gave it.
        Endpoint::Unix(path) => {
            all.extend(unix_sockets().unwrap_or_default());
            (is_listened_on(path)?, None)
        }
    };
    let mut elsewhere = Vec::new();
    if let (false, Some(subject)) = (is_listened_on, subject) {
        let processes = processes();
        let server = processes.iter().find(|process| process.pid == subject.pid);
        let own = processes.iter().filter(|process| {
            server.is_some_and(|server| is_part(process, server, subject, &processes))
        });
        let own: Vec<u32> = own.map(|process| process.pid).collect();
        let held = all.into_iter().filter(|socket| {
            own.iter()
                .any(|pid| holds(*pid, &[socket.inode]) == Some(true))
        });
        elsewhere = held.map(|socket| socket.local).take(TOLD).collect();
    }
    Some(ListeningSockets {
        is_listened_on,
        accept_queue,
        elsewhere,
    })
}

/// Finds the process that listens at `address`, the address of `subject`. Reads much of `/proc`: call it on a blocking
/// thread.
pub(crate) fn look(address: &Endpoint, subject: &ProcessSubject) -> SocketOwner {
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
pub(crate) fn holder(address: &Endpoint) -> Option<String> {
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
    use std::net::SocketAddr;

    use super::*;

    fn this_process() -> ProcessSubject {
        ProcessSubject {
            pid: std::process::id(),
            others: Vec::new(),
            before: Vec::new(),
        }
    }

    /// This process's own listening sockets.
    #[test]
    fn the_accept_queue_is_read_and_where_a_server_listens_instead() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let look = |at: SocketAddr| survey(&at.into(), Some(&this_process())).unwrap();
        assert_eq!(look(address).accept_queue, Some(0));
        let waiting: Vec<_> = (0..3)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        assert_eq!(look(address).accept_queue, Some(3));
        drop(waiting);
        let nowhere = SocketAddr::new(address.ip(), 1);
        let found = look(nowhere);
        assert!(!found.is_listened_on);
        assert!(!found.elsewhere.is_empty());
        assert_eq!(
            survey(&nowhere.into(), None),
            Some(ListeningSockets::default())
        );
    }

    #[test]
    fn the_holder_of_a_unix_domain_socket_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.sock");
        let address = Endpoint::Unix(path.as_path().into());
        let missing = survey(&address, Some(&this_process())).unwrap();
        assert!(!missing.is_listened_on);
        assert_eq!(holder(&address), None);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(survey(&address, None).unwrap().is_listened_on);
        assert_eq!(look(&address, &this_process()), SocketOwner::Accepted);
        let found = holder(&address).unwrap();
        assert!(found.starts_with(&format!("process {} (", std::process::id())));
        // It listens, and not where it should.
        std::fs::rename(&path, folder.path().join("other.sock")).unwrap();
        let found = survey(&address, Some(&this_process())).unwrap();
        assert!(!found.is_listened_on);
        assert!(
            found.elsewhere.contains(&address),
            "as its program called it"
        );
        drop(listener);
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
