//! Finds the process that listens on a port, for the message that a port is in use.

use std::fs;
use std::net::SocketAddr;

/// `; process 1234 (nginx) listens there`, if a visible process does; else nothing.
pub(crate) fn holder_of(address: SocketAddr) -> String {
    of_port(address.port()).map_or_else(String::new, |holder| format!("; {holder} listens there"))
}

/// `process 1234 (nginx)`, if a visible process listens on `port`.
fn of_port(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|table| listening(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
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
                inodes.iter().any(|inode| *inode == target)
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
