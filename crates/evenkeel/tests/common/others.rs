//! Sample servers that the test runs, and evenkeel does not.

#![allow(dead_code, reason = "each test file uses another part of it")]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::common::{PROGRAM, Program, ask, free_ports, get, wait_for};

/// Sample servers that are not restarted.
pub(crate) struct Servers {
    children: Vec<Child>,
    addresses: Vec<SocketAddr>,
}

impl Servers {
    pub(crate) fn start(number: usize) -> Self {
        let ports = free_ports(number);
        let start = |port: &u16| {
            let port = port.to_string();
            let words = ["sample-server", "--port", &port];
            let mut command = Command::new(PROGRAM);
            let command = command.args(words).stdin(Stdio::null());
            command.stderr(Stdio::null()).spawn().unwrap()
        };
        Self {
            children: ports.iter().map(start).collect(),
            addresses: ports
                .iter()
                .map(|port| ([127, 0, 0, 1], *port).into())
                .collect(),
        }
    }

    pub(crate) fn tell(&self, servers: std::ops::Range<usize>, mode: &str) {
        for address in &self.addresses[servers] {
            assert_eq!(ask(*address, "POST", "/mode", mode).unwrap().status, 200);
        }
    }

    /// evenkeel in front of them; the last `backups` servers are backups.
    pub(crate) fn program(&self, backups: usize, more: &str) -> Program {
        let first_behind = self.addresses.len() - backups;
        let servers = self.addresses.iter().enumerate().map(|(index, address)| {
            let tier = if index < first_behind {
                "primary"
            } else {
                "backup"
            };
            format!("{{ address = \"{address}\", tier = \"{tier}\" }}")
        });
        let servers: Vec<String> = servers.collect();
        wait_for("servers", || {
            let mut all = self.addresses.iter();
            all.all(|address| get(*address, "/").is_ok()).then_some(())
        });
        Program::up(&format!(
            r#"
[admin]
address = "127.0.0.1:0"

[listen.web]
address = "127.0.0.1:0"
service = "shop"

[service.shop]
servers = [{}]

[service.shop.detect.probe]
http = "/health"

{more}
"#,
            servers.join(", ")
        ))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
