//! Finds the process that listens at an address, for the message that it is in use.

use std::fs;

use evenkeel_core::Endpoint;

/// `; process 1234 (nginx) listens there`, if a visible process does; else nothing.
pub(crate) fn holder_of(address: &Endpoint) -> String {
    let holder = match address {
        Endpoint::Tcp(address) => of_port(address.port()),
        Endpoint::Unix(path) => of_socket(&path.to_string_lossy()),
    };
    holder.map_or_else(String::new, |holder| format!("; {holder} listens there"))
}

/// The same for the socket with this path.
fn of_socket(path: &str) -> Option<String> {
    let table = fs::read("/proc/net/unix").ok()?;
    process_with(&listening_at(&String::from_utf8_lossy(&table), path))
}

/// The inodes of the sockets of the `/proc/net/unix` table that listen at `path`: the inode stands before it, and the fourth field has
/// the flag `__SO_ACCEPTCON`.
fn listening_at(table: &str, path: &str) -> Vec<String> {
    let lines = table.lines().skip(1).filter_map(|line| {
        let mut fields = line
            .strip_suffix(path)?
            .strip_suffix(' ')?
            .split_whitespace();
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        let inode = fields.nth(2).filter(|_| fields.next().is_none())?;
        (flags & 0x10000 != 0).then(|| inode.to_owned())
    });
    lines.collect()
}

/// `process 1234 (nginx)`, if a visible process listens on `port`.
fn of_port(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    process_with(&inodes)
}

/// The process that holds one of these sockets.
fn process_with(inodes: &[String]) -> Option<String> {
    if inodes.is_empty() {
        return None;
    }
    let links: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name
            .to_str()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = descriptors
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| {
                let target = target.to_string_lossy();
                links.iter().any(|link| *link == target)
            });
        if holds {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", command.trim()));
        }
    }
    None
}

/// The inodes of the sockets of a `/proc/net/tcp` table that listen on `port`.
fn listening(table: &str, port: u16) -> Vec<String> {
    let ending = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?;
            (local.ends_with(&ending) && state == "0A").then(|| inode.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 x\n   \
                     1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4343 1 x\n";
        assert_eq!(listening(table, 8080), ["4242"]);
        assert!(listening(table, 8081).is_empty());
    }

    #[test]
    fn the_table_of_sockets_is_read() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01    51 /run/a.sock\n\
                     0000000000000000: 00000003 00000000 00000000 0001 03 52 /run/a.sock\n";
        assert_eq!(listening_at(table, "/run/a.sock"), ["51"]);
        assert!(listening_at(table, "/a.sock").is_empty());
    }

    #[test]
    fn we_hold_what_we_listen_on() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let holder = of_port(port).unwrap();
        assert!(
            holder.starts_with(&format!("process {} (", std::process::id())),
            "{holder}"
        );
    }
}
