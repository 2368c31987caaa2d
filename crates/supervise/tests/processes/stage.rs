//! A supervisor of one server, and helpers that inspect processes.

use std::path::Path;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_config::resolve::Environment;
use evenkeel_core::{Exit, Observation, ProbeOutcome, ServerId, Signal};
use evenkeel_runtime::{Clock, Tasks};
use evenkeel_supervise::{Supervisor, guardian};
use rustix::process::{Pid, test_kill_process};
use tokio::sync::mpsc;

pub(super) const PROBE: &str = "{ tcp = true, every = \"100ms\", timeout = \"200ms\" }";
pub(super) const LONG: Duration = Duration::from_secs(20);
pub(super) const SERVER: ServerId = ServerId::new(0, 0);

/// A supervisor of one server whose command is a shell script.
pub(super) struct Stage {
    pub(super) tasks: Tasks,
    pub(super) supervisor: Supervisor,
    pub(super) signals: mpsc::Receiver<Signal>,
    pub(super) port: u16,
}

impl Stage {
    pub(super) async fn new(script: &str) -> Self {
        Self::with(&["/bin/sh", "-c", script], PROBE).await
    }

    pub(super) async fn with(command: &[&str], probe: &str) -> Self {
        Self::set_up(command, probe, "").await
    }

    pub(super) async fn in_directory(directory: &str) -> Self {
        let more = format!("directory = {directory:?}\n");
        Self::set_up(&["/bin/sh", "-c", "exec sleep 1000"], PROBE, &more).await
    }

    pub(super) async fn set_up(command: &[&str], probe: &str, more: &str) -> Self {
        let port = evenkeel_lab::ports::hold(1).expect("a port")[0];
        let place = format!("ports = [{port}]");
        let stage = Self::at(&place, command, probe, more).await;
        Self { port, ..stage }
    }

    /// A server at this Unix domain socket.
    pub(super) async fn at_socket(path: &Path, script: &str) -> Self {
        let place = format!("sockets = [\"unix:{}\"]", path.display());
        Self::at(&place, &["/bin/sh", "-c", script], PROBE, "").await
    }

    async fn at(place: &str, command: &[&str], probe: &str, more: &str) -> Self {
        let command: Vec<String> = command.iter().map(|word| format!("{word:?}")).collect();
        let text = format!(
            "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop.run]\ncommand = [{}]\n{place}\nstop = \
             {{ signal = \"TERM\", wait = \"300ms\" }}\n{more}[service.shop.detect]\nprobe = {probe}\n",
            command.join(", ")
        );
        Self::of(&plan(&text), 0).await
    }

    /// The servers of a plan.
    pub(super) async fn of(plan: &Plan, port: u16) -> Self {
        let (sender, signals) = mpsc::channel(1024);
        let tasks = Tasks::default();
        let guardian = guardian::command();
        let supervisor =
            Supervisor::start(plan, Clock::start(), &tasks, guardian, sender).expect("a guardian");
        tokio::task::yield_now().await;
        Self {
            tasks,
            supervisor,
            signals,
            port,
        }
    }

    pub(super) async fn next(&mut self, what: &str) -> Observation {
        let signal = tokio::time::timeout(LONG, self.signals.recv()).await;
        signal
            .unwrap_or_else(|_| panic!("no {what}"))
            .expect("the supervisor lives")
            .observation
    }

    pub(super) async fn started(&mut self) -> u32 {
        loop {
            if let Observation::Started { pid, .. } = self.next("start").await {
                return pid;
            }
        }
    }

    pub(super) async fn probed(&mut self) -> ProbeOutcome {
        loop {
            if let Observation::Probe { outcome, .. } = self.next("probe").await {
                return outcome;
            }
        }
    }

    pub(super) async fn exited(&mut self) -> Exit {
        loop {
            if let Observation::Exited(exit) = self.next("exit").await {
                return *exit;
            }
        }
    }

    /// Starts the script and waits until it has printed `line`.
    pub(super) async fn start_until(&mut self, line: &str) -> u32 {
        self.supervisor.start_children().await;
        let pid = self.started().await;
        let supervisor = self.supervisor.clone();
        until(line, || {
            supervisor
                .last_lines(SERVER)
                .iter()
                .any(|printed| printed == line)
        })
        .await;
        pid
    }
}

pub(super) fn plan(text: &str) -> Plan {
    let around = Environment {
        base_dir: Path::new("/"),
        state_dir: Path::new("/"),
        cores: 1,
        descriptors: 65_536,
        resolver: &|_| Err("no names here".to_owned()),
        socket: &|_, _| Ok(()),
    };
    evenkeel_config::load(text, "test.toml", &around)
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
        .plan
}

pub(super) async fn until(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(LONG, waiting).await.is_ok(),
        "it did not happen: {what}"
    );
}

pub(super) async fn until_for_ever(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).expect("a pid")).expect("a pid")
}

/// Whether a process exists and is not a zombie.
pub(super) fn lives(raw: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{raw}/stat")).unwrap_or_default();
    test_kill_process(pid(raw)).is_ok() && !stat.contains(") Z ")
}

/// A missing file.
pub(super) fn absent(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("keel-{name}-{}", std::process::id()))
}

/// The command of a server that listens until `file` is there.
pub(super) fn listening(file: &Path) -> Vec<String> {
    let exe = std::env::current_exe().expect("this program");
    let words = [
        &exe.to_string_lossy(),
        "listen",
        "{port}",
        &file.to_string_lossy(),
    ];
    words.map(str::to_owned).to_vec()
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    evenkeel_runtime::spawn::runtime().expect("a runtime")
}
