//! The evenkeel under test: started as a process, disturbed, observed from outside.

use std::fs;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_runtime::Clock;
use rustix::process::{Pid, Signal, kill_process};

use crate::pause;

use super::configuration::Layout;

/// Descriptors that evenkeel may have: enough for the load, and few enough to be exhausted from outside.
const DESCRIPTORS: usize = 1400;
/// How long evenkeel may take to start, to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// A running evenkeel; dropping it ends it.
#[derive(Debug)]
pub(super) struct Instance {
    child: Child,
    pub(super) address: SocketAddr,
    admin: SocketAddr,
    log: Option<LogReader>,
}

/// Reads the log so that the pipe stays empty, until it is stopped.
#[derive(Debug)]
struct LogReader {
    stop: std::sync::mpsc::SyncSender<()>,
    thread: JoinHandle<()>,
}

/// The fields of an incident that the verdict uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SoakIncident {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) servers: Vec<String>,
    pub(super) fault: String,
    pub(super) detected: String,
    pub(super) evidence: Vec<String>,
}

impl SoakIncident {
    pub(super) fn text(&self) -> String {
        format!(
            "{} {}/{} {} detected {}: {}",
            self.id,
            self.service,
            self.servers.join("+"),
            self.fault,
            self.detected,
            self.evidence.join("; ")
        )
    }
}

impl Instance {
    /// Starts it and waits until it is ready.
    pub(super) fn start(program: &Path, layout: &Layout, folder: &Path) -> io::Result<Self> {
        let mut child = Command::new("sh")
            .args([
                "-c",
                &format!("ulimit -n {DESCRIPTORS}; exec \"$0\" run \"$1\""),
            ])
            .arg(program)
            .arg(&layout.file)
            .env("STATE_DIRECTORY", folder)
            .env_remove("EVENKEEL_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let errors = child.stderr.take().ok_or(ErrorKind::BrokenPipe)?;
        let lines = BufReader::new(child.stdout.take().ok_or(ErrorKind::BrokenPipe)?).lines();
        let mut instance = Self {
            child,
            address: ([0, 0, 0, 0], 0).into(),
            admin: ([0, 0, 0, 0], 0).into(),
            log: Some(read_log(errors)),
        };
        for line in lines {
            let line = line?;
            if line == "ready" {
                return Ok(instance);
            }
            let mut words = line.split_whitespace();
            let name = words.next().unwrap_or("");
            let address = words
                .next()
                .and_then(|url| url.strip_prefix("http://"))
                .and_then(|address| address.parse().ok());
            if let Some(address) = address {
                if name == "admin" {
                    instance.admin = address;
                } else {
                    instance.address = address;
                }
            }
        }
        Err(io::Error::other("evenkeel ended before it was ready"))
    }

    fn pid(&self) -> io::Result<Pid> {
        i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("no process"))
    }

    /// Closes the reading end of its log.
    pub(super) fn drop_log_reader(&mut self) {
        if let Some(log) = self.log.take() {
            drop(log.stop);
            // It has closed the pipe when it has ended, whatever it ended with.
            log.thread.join().ok();
        }
    }

    /// Opens connections until evenkeel takes no more; they are held by what is returned.
    pub(super) fn exhaust_descriptors(&self) -> io::Result<Vec<TcpStream>> {
        (0..DESCRIPTORS)
            .map(|_| TcpStream::connect_timeout(&self.address, PATIENCE))
            .collect()
    }

    pub(super) fn signal_stop(&self) -> io::Result<()> {
        Ok(kill_process(self.pid()?, Signal::STOP)?)
    }

    pub(super) fn signal_continue(&self) -> io::Result<()> {
        Ok(kill_process(self.pid()?, Signal::CONT)?)
    }

    /// Resident memory, in bytes.
    pub(super) fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.unwrap_or(0) * 1024)
    }

    /// Open descriptors.
    pub(super) fn descriptors(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Its metrics, as text.
    pub(super) fn metrics(&self) -> io::Result<String> {
        self.admin("/metrics")
    }

    /// All incidents so far.
    pub(super) fn incidents(&self) -> io::Result<Vec<SoakIncident>> {
        let text = self.admin("/api/incidents")?;
        let value: serde_json::Value = serde_json::from_str(&text).map_err(io::Error::other)?;
        let list = value.get("incidents").unwrap_or(&value);
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let of = |incident: &serde_json::Value| SoakIncident {
            id: word(&incident["id"]),
            service: word(&incident["service"]),
            servers: incident["servers"]
                .as_array()
                .map(|servers| servers.iter().map(word).collect())
                .unwrap_or_default(),
            fault: word(&incident["diagnosis"][0]["fault"]),
            detected: word(&incident["detected"]),
            evidence: incident["diagnosis"][0]["evidence"]
                .as_array()
                .map(|lines| lines.iter().map(word).collect())
                .unwrap_or_default(),
        };
        Ok(list
            .as_array()
            .map(|list| list.iter().map(of).collect())
            .unwrap_or_default())
    }

    fn admin(&self, path: &str) -> io::Result<String> {
        let stream = TcpStream::connect_timeout(&self.admin, PATIENCE)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        );
        stream.set_read_timeout(Some(PATIENCE))?;
        (&stream).write_all(request.as_bytes())?;
        let mut text = String::new();
        (&stream).read_to_string(&mut text)?;
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or(ErrorKind::UnexpectedEof)?;
        if head.starts_with("HTTP/1.1 200") {
            return Ok(body.to_owned());
        }
        Err(io::Error::other(format!("GET {path}: {head}")))
    }

    /// Ends it; says whether it ended with status 0 in its time.
    pub(super) fn stop(mut self) -> io::Result<bool> {
        kill_process(self.pid()?, Signal::TERM)?;
        let clock = Clock::start();
        let end = clock.now() + PATIENCE;
        while clock.now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.success());
            }
            pause(Duration::from_millis(20))?;
        }
        Ok(false)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read_log(mut errors: ChildStderr) -> LogReader {
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(0);
    let thread = std::thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while matches!(errors.read(&mut bytes), Ok(n) if n > 0) {
            if matches!(
                stopped.try_recv(),
                Err(std::sync::mpsc::TryRecvError::Disconnected)
            ) {
                return;
            }
        }
    });
    LogReader { stop, thread }
}

/// Sends a request on a connection and reads the head of a 200 and what came with it.
pub(super) fn ask(mut stream: &TcpStream, request: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = [0; 4096];
    let n = stream.read(&mut bytes)?;
    if bytes[..n].starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "an answer other than 200: {}",
        String::from_utf8_lossy(&bytes[..n.min(40)])
    )))
}
