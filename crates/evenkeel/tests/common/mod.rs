//! Starts the real program with real sample servers, and observes it from outside, as a user would.

#![expect(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use evenkeel_fault::Incident;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_evenkeel");
/// How long anything may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The time now; tests are the one place that may look.
#[expect(
    clippy::disallowed_methods,
    reason = "a test waits in real time for a real program"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Asks every 20 ms until there is an answer, for at most [`PATIENCE`].
#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a program that runs by itself"
)]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(now() < end, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ports for servers started elsewhere ([`evenkeel_lab::ports`]).
pub(crate) fn free_ports(number: usize) -> Vec<u16> {
    evenkeel_lab::ports::hold(number).unwrap()
}

/// A probe by HTTP, and time for starts that take long on a busy machine: to be added to a service.
pub(crate) const PROBED: &str = r#"
[service.shop.detect.probe]
http = "/health"

[service.shop.recover.verify]
within = "50s"
"#;

/// The words that start a sample server.
pub(crate) fn sample_server() -> String {
    format!(r#""{PROGRAM}", "sample-server", "--port", "{{port}}""#)
}

/// A configuration with this many servers, run by evenkeel with this command; `more` is added to the service.
pub(crate) fn shop(servers: usize, command: &str, more: &str) -> String {
    let ports: Vec<String> = free_ports(servers).iter().map(u16::to_string).collect();
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[listen.web]
address = "127.0.0.1:0"
service = "shop"

[service.shop.run]
command = [{command}]
ports = [{}]

{more}
"#,
        ports.join(", ")
    )
}

/// Restarts are tried quickly, so that a test can see the end of them: to be added to a service.
pub(crate) const QUICK: &str = r#"
[service.shop.recover]
verify.within = "50s"
limit = { actions = 1000, within = "1m" }
backoff = { base = "50ms", cap = "1s" }
"#;

/// A script that starts the given program.
pub(crate) const GOOD: &str = "exec \"$@\"\n";

/// What incidents of evenkeel itself are listed under.
pub(crate) const SELF: &str = "evenkeel";

/// A configuration with two sample servers that evenkeel runs; `more` is added to the service.
pub(crate) fn children(more: &str) -> String {
    shop(2, &sample_server(), more)
}

/// What one call of the program gave.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Calls the program in `folder` and waits for its end.
pub(crate) fn call(folder: &Path, arguments: &[&str]) -> Called {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .current_dir(folder)
        .env("STATE_DIRECTORY", folder)
        .env_remove("EVENKEEL_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Called {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An evenkeel that runs; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    pub(crate) folder: TempDir,
    /// Listeners by name.
    pub(crate) listeners: Vec<(String, SocketAddr)>,
    pub(crate) admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Calls the program with the running evenkeel's address.
    pub(crate) fn order(&self, arguments: &[&str]) -> Called {
        let admin = format!("http://{}", self.admin);
        let mut all = arguments.to_vec();
        all.extend(["--admin", &admin]);
        call(self.folder.path(), &all)
    }

    /// Puts this text in the place of the file.
    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("evenkeel.toml"), text).unwrap();
    }

    /// Ends it and starts it again with the same file and store.
    pub(crate) fn again(mut self) -> Self {
        self.signal("TERM");
        self.wait();
        let folder = std::mem::replace(&mut self.folder, TempDir::new().unwrap());
        Self::start(folder, &["run", "evenkeel.toml"])
    }

    /// `evenkeel run` with this configuration, ready. `{folder}` is replaced by its directory.
    pub(crate) fn run(configuration: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let text = configuration.replace("{folder}", &folder.path().display().to_string());
        std::fs::write(folder.path().join("evenkeel.toml"), text).unwrap();
        Self::start(folder, &["run", "evenkeel.toml"])
    }

    /// A program with two sample servers that are up; `more` is added to the service.
    pub(crate) fn with_children(more: &str) -> Self {
        Self::up(&children(more))
    }

    /// A program with three sample servers that are up and [`PROBED`]; `more` is added to the service.
    pub(crate) fn with_three(more: &str) -> Self {
        Self::up(&shop(3, &sample_server(), &format!("{PROBED}\n{more}")))
    }

    /// `evenkeel run` with this configuration, its servers up.
    pub(crate) fn up(configuration: &str) -> Self {
        let program = Self::run(configuration);
        program.wait_until_up();
        program
    }

    /// A program with three sample servers that are up, started by a script whose path is the other result and which is [`GOOD`]; what
    /// `more` makes of that path is added to the service.
    pub(crate) fn by_script(more: impl FnOnce(&Path) -> String) -> (Self, PathBuf) {
        Self::servers_by_script(3, more)
    }

    /// The same with this many servers.
    pub(crate) fn servers_by_script(
        servers: usize,
        more: impl FnOnce(&Path) -> String,
    ) -> (Self, PathBuf) {
        let folder = TempDir::new().unwrap();
        let script = folder.path().join("start.sh");
        std::fs::write(&script, GOOD).unwrap();
        let command = format!(r#""sh", "{}", {}"#, script.display(), sample_server());
        let text = shop(servers, &command, &more(&script));
        std::fs::write(folder.path().join("evenkeel.toml"), text).unwrap();
        let program = Self::start(folder, &["run", "evenkeel.toml"]);
        program.wait_until_up();
        (program, script)
    }

    /// The same, [`QUICK`].
    pub(crate) fn scripted(more: impl FnOnce(&Path) -> String) -> (Self, PathBuf) {
        Self::by_script(|script| format!("{}\n{QUICK}", more(script)))
    }

    /// The program with these arguments in this folder, once it says that it is ready.
    pub(crate) fn start(folder: TempDir, arguments: &[&str]) -> Self {
        Self::start_with_errors_to(folder, arguments, Stdio::piped())
    }

    /// As [`Program::start`], with its standard error redirected: its log cannot be read then.
    pub(crate) fn start_with_errors_to(
        folder: TempDir,
        arguments: &[&str],
        standard_error: Stdio,
    ) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .current_dir(folder.path())
            .env("STATE_DIRECTORY", folder.path())
            .env_remove("EVENKEEL_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(standard_error)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        if let Some(errors) = child.stderr.take() {
            let kept = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    let mut log = kept.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            });
        }
        let (lines, told) = mpsc::channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // The test may have heard enough.
                lines.send(line).ok();
            }
        });
        let mut program = Self {
            child,
            folder,
            listeners: Vec::new(),
            admin: ([0, 0, 0, 0], 0).into(),
            log,
        };
        loop {
            let line = told.recv_timeout(PATIENCE);
            let Ok(line) = line else {
                panic!("the program did not get ready:\n{}", program.log())
            };
            if line == "ready" {
                return program;
            }
            let mut words = line.split_whitespace();
            let (Some(name), Some(url)) = (words.next(), words.next()) else {
                continue;
            };
            let address = url.strip_prefix("http://").or(url.strip_prefix("dns://"));
            let Some(address) = address.and_then(|address| address.parse().ok()) else {
                continue;
            };
            if name == "admin" {
                program.admin = address;
            } else {
                program.listeners.push((name.to_owned(), address));
            }
        }
    }

    /// The first listener's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listeners[0].1
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the admin API answers, which must be 200 and JSON.
    pub(crate) fn api(&self, path: &str) -> Value {
        let answer = get(self.admin, path)
            .unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()));
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// All incidents, oldest first.
    pub(crate) fn incidents(&self) -> Vec<Incident> {
        let answer = self.api("/api/incidents");
        let list = answer.get("incidents").cloned().unwrap_or(answer);
        let mut incidents: Vec<Incident> = serde_json::from_value(list).unwrap();
        incidents.sort_by(|one, other| one.id.cmp(&other.id));
        incidents
    }

    /// All incidents but those of evenkeel itself, oldest first: a busy machine makes some of these.
    pub(crate) fn incidents_of_services(&self) -> Vec<Incident> {
        let mut incidents = self.incidents();
        incidents.retain(|incident| incident.service != SELF);
        incidents
    }

    /// The sum of all samples whose line in the metrics begins like this.
    pub(crate) fn metric(&self, start: &str) -> f64 {
        let text = get(self.admin, "/metrics").unwrap().body;
        let lines = text.lines().filter(|line| line.starts_with(start));
        let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        let values: Vec<f64> = values.collect();
        assert!(!values.is_empty(), "no {start} in {text}");
        values.iter().sum()
    }

    /// The processes of the first service's servers.
    pub(crate) fn pids(&self) -> Vec<Option<u32>> {
        self.servers().iter().map(|server| server.pid).collect()
    }

    /// The servers of the first service: name, state, process.
    pub(crate) fn servers(&self) -> Vec<ServerNow> {
        let answer = self.api("/api/services");
        let services = answer.get("services").unwrap_or(&answer);
        let servers = services[0]["servers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        servers.iter().map(ServerNow::read).collect()
    }

    /// Waits until all servers are up.
    pub(crate) fn wait_until_up(&self) {
        self.wait_for_servers("all up", |servers| {
            servers.iter().all(|server| server.state == "up")
        });
    }

    /// Waits until this holds of the servers.
    pub(crate) fn wait_for_servers(&self, what: &str, enough: impl Fn(&[ServerNow]) -> bool) {
        let end = now() + PATIENCE;
        let mut servers = self.servers();
        while !enough(&servers) {
            assert!(
                now() < end,
                "waited {PATIENCE:?} in vain for {what}; there are {servers:#?}\n{:#?}\n{}",
                self.incidents(),
                self.log()
            );
            pause();
            servers = self.servers();
        }
    }

    /// Waits for an incident of which `enough` holds.
    pub(crate) fn wait_for_incident(
        &self,
        what: &str,
        enough: impl Fn(&Incident) -> bool,
    ) -> Incident {
        let end = now() + PATIENCE;
        let mut last = Vec::new();
        while now() < end {
            last = self.incidents();
            if let Some(found) = last.iter().find(|incident| enough(incident)) {
                return found.clone();
            }
            pause();
        }
        panic!(
            "waited {PATIENCE:?} in vain for an incident {what}; there are {last:#?}\n{}",
            self.log()
        );
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the program's end", || self.child.try_wait().unwrap())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a program that runs by itself"
)]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A server as status shows it.
#[derive(Debug, Clone)]
pub(crate) struct ServerNow {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) state: String,
    pub(crate) pid: Option<u32>,
}

impl ServerNow {
    fn read(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            address: text("address").parse().unwrap(),
            state: text("state"),
            pid: value["pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok()),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

pub(crate) fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    ask(address, "GET", path, "")
}

/// One request on a connection of its own.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| std::io::Error::other("no answer"))?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("no status"))?;
    Ok(Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// Sends a signal, by its name as `kill` has it.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// This process may open no descriptor more; what it has open stays open.
pub(crate) fn use_up_descriptors(pid: u32) {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count() as u64;
    let limit = Rlimit {
        current: Some(open.min(8)),
        maximum: Some(4096),
    };
    let process = Pid::from_raw(i32::try_from(pid).unwrap());
    prlimit(process, Resource::Nofile, limit).unwrap();
}

/// Stops a process for as long as it lives, even if it is continued: stopping and continuing all processes of a test
/// includes this one.
pub(crate) fn keep_stopped(pid: u32) {
    let started = start_time(pid);
    signal(pid, "STOP");
    std::thread::spawn(move || {
        while lives(pid) && start_time(pid) == started {
            // It may be gone by now.
            Command::new("kill")
                .args(["-STOP", &pid.to_string()])
                .stderr(Stdio::null())
                .status()
                .unwrap();
            pause();
        }
    });
}

/// When a process was started, in ticks since the machine's start: a pid can be another's after it.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Whether a process is alive (a zombie is not).
pub(crate) fn lives(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().next());
    !matches!(state, Some("Z" | "X") | None)
}

/// The folder of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}
