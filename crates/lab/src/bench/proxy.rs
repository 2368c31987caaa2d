//! The proxies under test and the origin behind them: how each is started, pinned to its core, and ended.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_runtime::Clock;

use crate::pause;

use super::usage::Tree;

/// The origin's ports; the configurations in `bench/` name them, too.
pub const ORIGIN_PORTS: [u16; 2] = [18_091, 18_092];
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: bench\r\n\r\n";

/// One of the programs that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BenchProxy {
    /// evenkeel.
    Evenkeel,
    /// Another build of it: what a change costs is the ratio of the two.
    Baseline,
    /// Debian's HAProxy.
    Haproxy,
    /// Debian's nginx.
    Nginx,
    /// The bare forwarder.
    Floor,
}

/// The addresses, and the cores of each process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchLayout {
    /// The folder `bench/` with the configurations.
    pub bench: PathBuf,
    /// The folder with the released programs.
    pub programs: PathBuf,
    /// The core of the proxy under test.
    pub proxy_core: usize,
    /// The core of the load and the origin.
    pub load_core: usize,
    /// A folder for what the proxies write.
    pub scratch: PathBuf,
    /// The other build of evenkeel, if there is one to compare with.
    pub baseline: Option<PathBuf>,
}

/// A process that ends with this value.
#[derive(Debug)]
pub struct RunningProxy {
    child: Child,
    /// Its address.
    pub address: SocketAddr,
}

impl BenchLayout {
    fn baseline(&self) -> PathBuf {
        self.baseline.clone().unwrap_or_default()
    }
}

/// The baseline's configuration, in the scratch folder: evenkeel's own but for the ports.
const BASELINE_CONFIG: &str = "baseline.toml";
const EVENKEEL_ADMIN_PORT: u16 = 18_079;
const BASELINE_ADMIN_PORT: u16 = 18_078;

fn write_baseline_config(place: &BenchLayout) -> io::Result<()> {
    let mut text = std::fs::read_to_string(place.bench.join("evenkeel.toml"))?;
    for (own, other) in [
        (BenchProxy::Evenkeel.port(), BenchProxy::Baseline.port()),
        (EVENKEEL_ADMIN_PORT, BASELINE_ADMIN_PORT),
    ] {
        text = text.replace(&format!(":{own}\""), &format!(":{other}\""));
    }
    std::fs::write(place.scratch.join(BASELINE_CONFIG), text)
}

impl BenchProxy {
    /// All of them, the one that the others are compared with first.
    pub const ALL: [Self; 5] = [
        Self::Evenkeel,
        Self::Baseline,
        Self::Haproxy,
        Self::Nginx,
        Self::Floor,
    ];

    /// Its name on the command line and in the tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evenkeel => "evenkeel",
            Self::Baseline => "baseline",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Floor => "floor",
        }
    }

    /// The proxy with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proxy| proxy.name() == name)
    }

    const fn port(self) -> u16 {
        match self {
            Self::Evenkeel => 18_080,
            Self::Baseline => 18_084,
            Self::Haproxy => 18_081,
            Self::Nginx => 18_082,
            Self::Floor => 18_083,
        }
    }

    /// The line in which it says its version.
    #[must_use]
    pub fn version(self, place: &BenchLayout) -> String {
        let (program, word) = match self {
            Self::Evenkeel => (place.programs.join("evenkeel"), "--version"),
            Self::Baseline => (place.baseline(), "--version"),
            Self::Haproxy => (PathBuf::from("haproxy"), "-v"),
            Self::Nginx => (PathBuf::from("nginx"), "-v"),
            Self::Floor => return "bare forwarder".to_owned(),
        };
        let Ok(output) = Command::new(program).arg(word).output() else {
            return "unknown".to_owned();
        };
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text)
            .lines()
            .next()
            .unwrap_or("unknown")
            .to_owned()
    }

    fn command(self, place: &BenchLayout) -> Command {
        let config = |name: &str| place.bench.join(name).display().to_string();
        let program = |name: &str| place.programs.join(name).display().to_string();
        let mut words = vec!["-c".to_owned(), place.proxy_core.to_string()];
        match self {
            Self::Evenkeel => words.extend([
                program("evenkeel"),
                "run".to_owned(),
                config("evenkeel.toml"),
            ]),
            Self::Baseline => words.extend([
                place.baseline().display().to_string(),
                "run".to_owned(),
                place.scratch.join(BASELINE_CONFIG).display().to_string(),
            ]),
            Self::Haproxy => {
                words.extend(["haproxy", "-db", "-f"].map(str::to_owned));
                words.push(config("haproxy.cfg"));
            }
            Self::Nginx => {
                words.extend(["nginx", "-p"].map(str::to_owned));
                words.extend([
                    place.scratch.display().to_string(),
                    "-c".to_owned(),
                    config("nginx.conf"),
                ]);
            }
            Self::Floor => {
                words.extend([
                    program("evenkeel-lab"),
                    "floor".to_owned(),
                    "--listen".to_owned(),
                ]);
                words.push(local(self.port()).to_string());
                words.extend(
                    ORIGIN_PORTS
                        .into_iter()
                        .flat_map(|port| ["--to".to_owned(), local(port).to_string()]),
                );
            }
        }
        let mut command = Command::new("taskset");
        command
            .args(words)
            .env("STATE_DIRECTORY", place.scratch.join(self.name()))
            .env("PATH", path());
        command
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// If its port is taken or it cannot be started.
    pub fn spawn(self, place: &BenchLayout) -> io::Result<RunningProxy> {
        if self == Self::Baseline {
            write_baseline_config(place)?;
        }
        spawn(self.name(), self.command(place), local(self.port()), place)
    }

    /// Starts it, waits for its first answer, and says how long both took together.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not answer within 10 s.
    pub fn start(self, place: &BenchLayout) -> io::Result<(RunningProxy, Duration)> {
        let clock = Clock::start();
        let mut running = self.spawn(place)?;
        running.wait_for_answer(self.name(), place)?;
        Ok((running, clock.now() - Instant::ZERO))
    }
}

/// Starts the origin on the load's core.
///
/// # Errors
/// If it cannot be started or does not answer.
pub fn start_origin(place: &BenchLayout) -> io::Result<RunningProxy> {
    let mut command = Command::new("taskset");
    command
        .args(["-c", &place.load_core.to_string()])
        .arg(place.programs.join("evenkeel-lab"))
        .arg("origin");
    for port in ORIGIN_PORTS {
        command.args(["--listen", &local(port).to_string()]);
    }
    let mut running = spawn("origin", command, local(ORIGIN_PORTS[0]), place)?;
    running.wait_for_answer("origin", place)?;
    Ok(running)
}

fn spawn(
    name: &str,
    mut command: Command,
    address: SocketAddr,
    place: &BenchLayout,
) -> io::Result<RunningProxy> {
    if TcpStream::connect(address).is_ok() {
        return Err(io::Error::new(
            ErrorKind::AddrInUse,
            format!("something listens on {address} already"),
        ));
    }
    let log = std::fs::File::create(log_path(place, name))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let child = command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start {name}: {error}")))?;
    Ok(RunningProxy { child, address })
}

impl RunningProxy {
    /// Its processes as they are now.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn tree(&self) -> io::Result<Tree> {
        Tree::of(self.child.id())
    }

    fn wait_for_answer(&mut self, name: &str, place: &BenchLayout) -> io::Result<()> {
        let clock = Clock::start();
        loop {
            if first_answer(self.address).is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || clock.now() - Instant::ZERO > PATIENCE {
                let what = ended.map_or_else(
                    || "gave no answer".to_owned(),
                    |status| format!("ended with {status}"),
                );
                let said = std::fs::read_to_string(log_path(place, name)).unwrap_or_default();
                return Err(io::Error::other(format!("{name} {what}; it said:\n{said}")));
            }
            pause(Duration::from_millis(1))?;
        }
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // TERM first: nginx's and evenkeel's children end with them.
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        let clock = Clock::start();
        while asked.is_ok() && clock.now() - Instant::ZERO < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            if pause(Duration::from_millis(5)).is_err() {
                break;
            }
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn first_answer(address: SocketAddr) -> io::Result<()> {
    ask(&mut TcpStream::connect(address)?)
}

/// Sends one request for the small page and reads its answer, which leaves the connection idle.
///
/// # Errors
/// If the answer does not come, or is not a 200.
pub(super) fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let mut text = Vec::new();
    let mut bytes = [0; 1024];
    while !text.ends_with(&[b'o'; 13]) {
        let n = stream.read(&mut bytes)?;
        if n == 0 || text.len() > 4096 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&bytes[..n]);
    }
    if text.starts_with(b"HTTP/1.1 200") {
        Ok(())
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}

fn log_path(place: &BenchLayout, name: &str) -> PathBuf {
    Path::join(&place.scratch, format!("{name}.log"))
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Debian puts the peers where a plain user's path does not look.
fn path() -> String {
    format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    )
}
