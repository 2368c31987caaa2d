//! Real processes: started, stopped, killed, and gone when they must be. This program is also its own guardian.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_config::resolve::Surroundings;
use evenkeel_core::{Exit, Observation, ProbeOutcome, ServerId, Signal};
use evenkeel_fault::contract::Pace;
use evenkeel_runtime::Clock;
use evenkeel_supervise::{Supervisor, guardian};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, kill_process, test_kill_process};
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|word| word.to_str()) {
        Some("guardian") => {
            let status = guardian::main(&arguments[1..])
                .map_or(1, |status| u8::try_from(status).unwrap_or(1));
            ExitCode::from(status)
        }
        Some("short-lived") => short_lived(),
        _ => libtest_mimic::run(&Arguments::from_args(), tests()).exit_code(),
    }
}

#[expect(clippy::print_stdout, reason = "the test reads the child's id from it")]
/// Plays an evenkeel that starts a child, says its id, and is then killed by the test.
fn short_lived() -> ExitCode {
    runtime().block_on(async {
        let mut stage = Stage::new("exec sleep 1000").await;
        stage.supervisor.start_children().await;
        println!("{}", stage.started().await);
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

fn tests() -> Vec<Trial> {
    vec![
        trial("an exit is reported with its status and last lines", exits),
        trial("a signal is reported by its number", signals),
        trial("a program that is not there cannot be started", not_there),
        trial("stop asks first and kills when that does not help", stops),
        trial("a stopped process is killed at once", stopped_process),
        trial("children of children go with their group", grandchildren),
        trial("children die when evenkeel is killed", evenkeel_dies),
        trial(
            "children die with the guardian, and the next one works",
            guardian_dies,
        ),
        trial("a restart gives a new process and an asked exit", restarts),
        trial(
            "probes run while the process does, at the pace that was asked for",
            probes,
        ),
        trial("an examination sees a hung process", examination),
        trial("shutdown leaves nothing", shutdown),
    ]
}

fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        runtime().block_on(async {
            tokio::time::timeout(LONG * 2, test())
                .await
                .map_err(|_| Failed::from("it did not end in time"))
        })
    })
}

fn runtime() -> tokio::runtime::Runtime {
    evenkeel_runtime::spawn::runtime().expect("a runtime")
}

/// A supervisor of one server whose command is a shell script.
struct Stage {
    supervisor: Supervisor,
    signals: mpsc::Receiver<Signal>,
    port: u16,
}

const SERVER: ServerId = ServerId::new(0, 0);

impl Stage {
    async fn new(script: &str) -> Self {
        Self::with(
            &["/bin/sh", "-c", script],
            "{ tcp = true, every = \"100ms\", timeout = \"200ms\" }",
        )
        .await
    }

    async fn with(command: &[&str], probe: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port();
        let command: Vec<String> = command.iter().map(|word| format!("{word:?}")).collect();
        let text = format!(
            "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop.run]\ncommand = [{}]\nports = [{port}]\nstop = \
             {{ signal = \"TERM\", wait = \"300ms\" }}\n[service.shop.detect]\nprobe = {probe}\n",
            command.join(", ")
        );
        let plan = plan(&text);
        let (sender, signals) = mpsc::channel(1024);
        let exe = std::env::current_exe()
            .expect("this program")
            .to_string_lossy()
            .into_owned();
        let guardian = vec![exe, "guardian".to_owned()];
        let supervisor =
            Supervisor::start(&plan, Clock::start(), guardian, sender).expect("a guardian");
        tokio::task::yield_now().await;
        Self {
            supervisor,
            signals,
            port,
        }
    }

    async fn next(&mut self, what: &str) -> Observation {
        let signal = tokio::time::timeout(LONG, self.signals.recv()).await;
        signal
            .unwrap_or_else(|_| panic!("no {what}"))
            .expect("the supervisor lives")
            .observation
    }

    async fn started(&mut self) -> u32 {
        loop {
            if let Observation::Started { pid } = self.next("start").await {
                return pid;
            }
        }
    }

    async fn exited(&mut self) -> Exit {
        loop {
            if let Observation::Exited(exit) = self.next("exit").await {
                return *exit;
            }
        }
    }

    /// Starts the script and waits until it has printed `line`.
    async fn start_until(&mut self, line: &str) -> u32 {
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

fn plan(text: &str) -> Plan {
    let around = Surroundings {
        base_dir: Path::new("/"),
        state_dir: Path::new("/"),
        cores: 1,
        resolver: &|_| Err("no names here".to_owned()),
    };
    evenkeel_config::load(text, "test.toml", &around)
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
        .plan
}

async fn until(what: &str, done: impl Fn() -> bool) {
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

fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).expect("a pid")).expect("a pid")
}

/// Whether a process is there and not only waiting to be reaped by whoever adopted it.
fn lives(raw: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{raw}/stat")).unwrap_or_default();
    test_kill_process(pid(raw)).is_ok() && !stat.contains(") Z ")
}

async fn exits() {
    let mut stage = Stage::new("echo one; echo two >&2; exit 7").await;
    stage.supervisor.start_children().await;
    stage.started().await;
    let exit = stage.exited().await;
    assert_eq!((exit.code, exit.signal, exit.asked), (Some(7), None, false));
    assert!(
        exit.last_lines.contains(&"one".to_owned()) && exit.last_lines.contains(&"two".to_owned()),
        "{exit:?}"
    );
    assert_eq!(stage.supervisor.pid(SERVER), None);
}

async fn signals() {
    let mut stage = Stage::new("exec sleep 1000").await;
    stage.supervisor.start_children().await;
    let child = stage.started().await;
    kill_process(pid(child), rustix::process::Signal::KILL).expect("it runs");
    let exit = stage.exited().await;
    assert_eq!((exit.code, exit.signal, exit.asked), (None, Some(9), false));
}

async fn not_there() {
    let mut stage = Stage::with(&["/no/such/program"], "{ tcp = true }").await;
    stage.supervisor.start_children().await;
    loop {
        if let Observation::StartFailed(failure) = stage.next("start failure").await {
            assert!(failure.reason.contains("/no/such/program"), "{failure:?}");
            assert!(failure.reason.contains("No such file"), "{failure:?}");
            break;
        }
    }
    assert_eq!(stage.supervisor.pid(SERVER), None);
}

async fn stops() {
    let mut polite =
        Stage::new("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done").await;
    polite.start_until("ready").await;
    let how = polite
        .supervisor
        .stop(SERVER, false, LONG)
        .await
        .expect("it stops");
    assert!(how.contains("signal 15"), "{how}");
    let exit = polite.exited().await;
    assert!(exit.asked && exit.code == Some(0), "{exit:?}");

    let mut deaf = Stage::new("trap '' TERM; echo ready; while :; do sleep 0.01; done").await;
    deaf.start_until("ready").await;
    assert_eq!(
        deaf.supervisor.stop(SERVER, false, LONG).await.as_deref(),
        Ok("killed")
    );
    assert_eq!(deaf.exited().await.signal, Some(9));
}

async fn stopped_process() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    let child = stage.start_until("ready").await;
    kill_process(pid(child), rustix::process::Signal::STOP).expect("it runs");
    let clock = Clock::start();
    stage
        .supervisor
        .restart(SERVER, true, LONG)
        .await
        .expect("it restarts");
    assert!(
        clock.now().since(evenkeel_core::Instant::ZERO) < Duration::from_secs(5),
        "without waiting for TERM"
    );
    assert!(!lives(child));
    assert!(stage.exited().await.asked);
}

async fn grandchildren() {
    let mut stage = Stage::new("sleep 1000 & echo $!; echo ready; wait").await;
    let child = stage.start_until("ready").await;
    let grandchild: u32 = stage.supervisor.last_lines(SERVER)[0]
        .parse()
        .expect("a pid");
    assert!(lives(grandchild));
    kill_process(pid(child), rustix::process::Signal::KILL).expect("it runs");
    stage.exited().await;
    until("the grandchild is gone", || !lives(grandchild)).await;
}

async fn evenkeel_dies() {
    use tokio::io::AsyncBufReadExt;
    let exe = std::env::current_exe().expect("this program");
    let mut evenkeel = tokio::process::Command::new(exe)
        .arg("short-lived")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = tokio::io::BufReader::new(evenkeel.stdout.take().expect("a pipe")).lines();
    let child: u32 = lines
        .next_line()
        .await
        .expect("a line")
        .expect("a line")
        .parse()
        .expect("a pid");
    assert!(lives(child));
    evenkeel.kill().await.expect("it runs");
    until("the child is gone", || !lives(child)).await;
}

async fn guardian_dies() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    let child = stage.start_until("ready").await;
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).expect("it runs");
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .expect("a parent");
    let guardian: u32 = parent.trim().parse().expect("a pid");
    kill_process(pid(guardian), rustix::process::Signal::KILL).expect("it runs");
    let exit = stage.exited().await;
    assert!(!exit.asked);
    until("the child is gone", || !lives(child)).await;
    stage
        .supervisor
        .restart(SERVER, false, LONG)
        .await
        .expect("the next guardian starts it");
    let next = stage.started().await;
    assert!(lives(next) && next != child);
}

async fn restarts() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    let first = stage.start_until("ready").await;
    stage
        .supervisor
        .restart(SERVER, false, LONG)
        .await
        .expect("it restarts");
    assert!(stage.exited().await.asked);
    let second = stage.started().await;
    assert!(first != second && !lives(first) && lives(second));
    assert_eq!(stage.supervisor.pid(SERVER), Some(second));
}

async fn probes() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    stage.supervisor.begin_probes(1);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", stage.port))
        .await
        .expect("the port is free");
    stage.start_until("ready").await;
    let outcome = loop {
        if let Observation::Probe { outcome, .. } = stage.next("probe").await {
            break outcome;
        }
    };
    assert_eq!(outcome, ProbeOutcome::Passed);
    drop(listener);
    stage
        .supervisor
        .set_pace(SERVER, Pace::Every(Duration::from_millis(5)));
    loop {
        match stage.next("refused probe").await {
            Observation::Probe {
                outcome: ProbeOutcome::Refused,
                ..
            } => break,
            Observation::Probe { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    stage
        .supervisor
        .stop(SERVER, true, LONG)
        .await
        .expect("it stops");
    stage.exited().await;
    while stage.signals.try_recv().is_ok() {}
    let quiet = tokio::time::timeout(Duration::from_millis(100), stage.signals.recv()).await;
    assert!(
        quiet.is_err(),
        "nothing that does not run is probed: {quiet:?}"
    );
}

async fn examination() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    // The port takes connections and nobody answers, as in a process that hangs.
    let _listener = tokio::net::TcpListener::bind(("127.0.0.1", stage.port))
        .await
        .expect("the port is free");
    let child = stage.start_until("ready").await;
    kill_process(pid(child), rustix::process::Signal::STOP).expect("it runs");
    let found = stage
        .supervisor
        .examine(SERVER, Duration::from_millis(300))
        .await;
    assert_eq!(
        found.tcp.map(|(outcome, _)| outcome),
        Some(ProbeOutcome::Passed)
    );
    assert_eq!(
        found.http.map(|(outcome, _)| outcome),
        Some(ProbeOutcome::NoAnswer)
    );
    let process = found.process.expect("it is a child");
    assert_eq!(
        (process.pid, process.state, process.listening),
        (Some(child), Some('T'), Some(true))
    );
}

async fn shutdown() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    let child = stage.start_until("ready").await;
    stage.supervisor.shutdown().await;
    assert!(!lives(child));
    assert!(stage.supervisor.restart(SERVER, false, LONG).await.is_err());
}
