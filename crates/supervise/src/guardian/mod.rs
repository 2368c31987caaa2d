//! The guardian: a small process of its own, the parent of all children.
//!
//! It holds the children so that they die with evenkeel, whatever ends it, also SIGKILL: the end of the pipe from evenkeel
//! is its order to kill them all. And they die with the guardian itself: each is started through `launch`, which asks
//! the kernel to kill it when its parent dies. A kernel feature alone would not do, since a child of a child does not
//! inherit it; a process group does reach them.

pub(crate) mod protocol;
mod launch;
mod lines;
pub(crate) mod link;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use lines::Lines;
use protocol::{Event, Order};

use std::ffi::OsString;

/// Events that may wait for evenkeel; output beyond that is dropped, so that a reader that is slow never stops the reaping.
const WAITING: usize = 4096;
/// How long the last output of a process that has ended is waited for. What still holds its pipes is killed after it.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What the guardian keeps of a running process.
#[derive(Debug, Default)]
struct Held {
    groups: BTreeMap<u64, Pid>,
}

/// What the program does when it is started as the guardian: `arguments` are those after the word `guardian`. Gives the
/// exit status to end with.
///
/// # Errors
/// If the guardian's runtime cannot be made.
pub fn main(arguments: &[OsString]) -> io::Result<i32> {
    match arguments {
        [launch, dashes, command @ ..] if launch == "launch" && dashes == "--" => {
            Ok(launch::launch(command))
        }
        _ => run().map(|()| 0),
    }
}

/// Reads orders from standard input until its end, then kills everything and returns.
fn run() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::spawn(ignore_signals()?);
        let orders = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        let stdout = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
        let (events, outbox) = mpsc::channel(WAITING);
        tokio::spawn(write_events(stdout, outbox));
        guard(orders, events).await;
        Ok(())
    })
}

/// Takes the signals that would end the guardian, and says so. Whoever stops evenkeel may stop the whole session: the
/// guardian ends when evenkeel has. Must be called within a tokio runtime.
fn ignore_signals() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut user_1 = signal(SignalKind::user_defined1())?;
    let mut user_2 = signal(SignalKind::user_defined2())?;
    Ok(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hang_up.recv() => "SIGHUP",
                _ = user_1.recv() => "SIGUSR1",
                _ = user_2.recv() => "SIGUSR2",
            };
            // Standard error is a pipe to evenkeel, which always reads it. If evenkeel is gone nobody is to be told.
            writeln!(
                io::stderr(),
                "{name} is ignored: the guardian ends when evenkeel does"
            )
            .ok();
        }
    })
}

async fn write_events(mut stdout: pipe::Sender, mut outbox: mpsc::Receiver<Event>) {
    while let Some(event) = outbox.recv().await {
        let Ok(mut line) = serde_json::to_vec(&event) else {
            continue;
        };
        line.push(b'\n');
        if stdout.write_all(&line).await.is_err() {
            // evenkeel is gone; the end of standard input says so as well and ends the guardian.
            return;
        }
    }
}

async fn guard(orders: pipe::Receiver, events: mpsc::Sender<Event>) {
    let mut held = Held::default();
    let (ended, mut ends) = mpsc::channel(64);
    let mut orders = BufReader::new(orders).lines();
    loop {
        tokio::select! {
            line = orders.next_line() => match line {
                Ok(Some(line)) => {
                    if let Ok(order) = serde_json::from_str(&line) {
                        held.obey(order, &events, &ended).await;
                    }
                }
                Ok(None) | Err(_) => break,
            },
            Some(spawn) = ends.recv() => {
                held.groups.remove(&spawn);
            }
        }
    }
    held.kill_all();
}

impl Held {
    async fn obey(
        &mut self,
        order: Order,
        events: &mpsc::Sender<Event>,
        ended: &mpsc::Sender<u64>,
    ) {
        match order {
            Order::Spawn {
                spawn,
                command,
                directory,
                environment,
            } => match start(&command, directory.as_deref(), &environment) {
                Ok((child, pid)) => {
                    self.groups.insert(spawn, pid);
                    tokio::spawn(watch(spawn, child, pid, events.clone(), ended.clone()));
                }
                Err(error) => {
                    let reason = format!("{}: {error}", command.join(" "));
                    events.send(Event::StartFailed { spawn, reason }).await.ok();
                }
            },
            Order::Signal { spawn, signal } => {
                if let (Some(&group), Some(signal)) =
                    (self.groups.get(&spawn), Signal::from_named_raw(signal))
                {
                    kill_process_group(group, signal).ok();
                }
            }
        }
    }

    fn kill_all(&self) {
        for &group in self.groups.values() {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

fn start(
    command: &[String],
    directory: Option<&str>,
    environment: &[(String, String)],
) -> io::Result<(Child, Pid)> {
    let program = std::env::current_exe()?;
    let mut launcher = Command::new(program);
    launcher.args(["guardian", "launch", "--"]).args(command);
    launcher.envs(environment.iter().map(|(name, value)| (name, value)));
    if let Some(directory) = directory {
        launcher.current_dir(directory);
    }
    launcher
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = launcher.spawn()?;
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    Ok((
        child,
        pid.ok_or_else(|| io::Error::other("the process ended at once"))?,
    ))
}

/// Follows a process from its start to its end, and ends its group.
async fn watch(
    spawn: u64,
    mut child: Child,
    group: Pid,
    events: mpsc::Sender<Event>,
    ended: mpsc::Sender<u64>,
) {
    let pid = group.as_raw_nonzero().get().unsigned_abs();
    events.send(Event::Started { spawn, pid }).await.ok();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let out = tokio::spawn(pass_on(spawn, out, events.clone()));
    let err = tokio::spawn(pass_on(spawn, err, events.clone()));
    let status = child.wait().await;
    // Children of the child would hold its port and its pipes.
    kill_process_group(group, Signal::KILL).ok();
    let last_words = async { (out.await, err.await) };
    let failure = match tokio::time::timeout(LAST_WORDS, last_words).await {
        Ok((_, Ok(failure))) => failure,
        _ => None,
    };
    ended.send(spawn).await.ok();
    let event = match (status, failure) {
        (Ok(status), Some(reason)) if status.code() == Some(launch::FAILED) => {
            Event::StartFailed { spawn, reason }
        }
        (Ok(status), _) => {
            use std::os::unix::process::ExitStatusExt;
            Event::Exited {
                spawn,
                code: status.code(),
                signal: status.signal(),
            }
        }
        (Err(_), _) => Event::Exited {
            spawn,
            code: None,
            signal: None,
        },
    };
    events.send(event).await.ok();
}

/// Passes output on line by line; says why the launcher could not become the program, if that is what it printed.
async fn pass_on(
    spawn: u64,
    pipe: Option<impl tokio::io::AsyncRead + Unpin>,
    events: mpsc::Sender<Event>,
) -> Option<String> {
    let mut lines = Lines::new(pipe?);
    let mut failure = None;
    while let Some(line) = lines.next().await {
        match line.strip_prefix(launch::MARK) {
            Some(reason) => failure = Some(reason.to_owned()),
            // A full channel drops the line: output may be lost, an exit may not.
            None => drop(events.try_send(Event::Output { spawn, line })),
        }
    }
    failure
}
