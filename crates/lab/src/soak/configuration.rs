//! The configuration under soak: services that use every feature a request can meet, with timeouts short enough to be
//! reached.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Longest pause without a byte, in seconds. The origin's streams of events pause for longer.
pub(super) const IDLE_SECONDS: u64 = 3;
/// How long a client's connection may stay idle, in seconds.
const IDLE_TIME_SECONDS: u64 = 10;

/// The addresses of the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Servers that are never at fault.
    pub(super) good: Vec<SocketAddr>,
    /// One that breaks off, resets and stalls.
    pub(super) faulty: SocketAddr,
}

/// The configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) file: PathBuf,
}

impl Layout {
    pub(super) fn write(folder: &Path, addresses: &Addresses) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join("evenkeel.toml");
        std::fs::write(&file, text(addresses))?;
        Ok(Self { file })
    }
}

fn text(addresses: &Addresses) -> String {
    let good = servers(&addresses.good, None);
    let mixed = servers(&addresses.good[..2], Some(addresses.faulty));
    let mut text = format!(
        r#"workers = 2

[admin]
address = "127.0.0.1:0"

[log]
access = true

[listen.web]
address = "127.0.0.1:0"
service = "plain"
limits = {{ connections = 3000, idle_time = "{IDLE_TIME_SECONDS}s", head_time = "5s" }}
routes = [
  {{ path = "/busy/*", service = "busy" }},
  {{ path = "/hedged/*", service = "hedged" }},
  {{ path = "/faulty/*", service = "faulty" }},
]
"#
    );
    for (name, servers, rest) in [
        ("plain", &good, ""),
        (
            "busy",
            &good,
            "[service.busy.limit]\nconcurrency = 2\nqueue = { length = 64, wait = \"2s\" }\n[service.busy.breaker]\nfailure_ratio = 0.9\n",
        ),
        (
            "hedged",
            &good,
            "[service.hedged.hedge]\nafter = \"p95\"\nlimit = 1\n",
        ),
        (
            "faulty",
            &mixed,
            "[service.faulty.fallback]\nstatus = 503\nbody = \"later\"\n",
        ),
    ] {
        write!(
            text,
            "\n[service.{name}]\nservers = [{servers}]\n[service.{name}.timeout]\nidle = \"{IDLE_SECONDS}s\"\nattempt = \"10s\"\ntotal = \"20s\"\n{rest}"
        )
        .expect("a text takes all");
    }
    text
}

fn servers(good: &[SocketAddr], faulty: Option<SocketAddr>) -> String {
    let mut named: Vec<_> = good
        .iter()
        .enumerate()
        .map(|(index, address)| format!("{{ name = \"good-{index}\", address = \"{address}\" }}"))
        .collect();
    named.extend(faulty.map(|address| format!("{{ name = \"faulty\", address = \"{address}\" }}")));
    named.join(", ")
}
