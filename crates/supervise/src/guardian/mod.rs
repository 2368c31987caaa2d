//! The guardian: a small separate process, the parent of all children.
//!
//! It ensures that the children die with evenkeel, however that ends, even by SIGKILL: when the pipe from evenkeel
//! closes, the guardian kills them all. They also die with the guardian itself: each is started through `launch`, which
//! asks the kernel to kill it when its parent dies. That kernel feature alone would not suffice, since grandchildren do
//! not inherit it; a process group does reach them. Processes that leave their group are adopted by the guardian, which
//! is a subreaper, and killed with the rest at the end.

pub(crate) mod protocol;
mod launch;
mod lines;
mod limit;
mod child;
pub(crate) mod link;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::time::Duration;

use evenkeel_runtime::{Clock, Tasks};
use rustix::process::{Pid, Signal, getpid, set_child_subreaper};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::process::{GroupAtExit, Reaper, own_image, with_output_pipes};
use protocol::{GuardianCommand, GuardianEvent};

/// Events that may wait for evenkeel; output beyond that is dropped, so that a reader that is slow never stops the reaping.
const WAITING: usize = 4096;
/// How long everything that is left may take to be killed at the end: a process that waits for a disk does not end.
const KILL_TIME: Duration = Duration::from_secs(10);

/// The guardian's state of the running processes.
#[derive(Debug)]
struct GuardedProcesses {
    reaper: Reaper,
    clock: Clock,
    groups: BTreeMap<u64, Pid>,
}

/// The command that makes this program the guardian. It names the image that runs and not its file, which may be replaced
/// or removed meanwhile.
#[must_use]
pub fn command() -> Vec<String> {
    [crate::process::OWN_IMAGE, "guardian"]
        .map(str::to_owned)
        .to_vec()
}

/// The main function of the guardian: `arguments` are those after the word `guardian`. Returns the exit status.
///
/// # Errors
/// If the guardian's runtime cannot be made.
pub fn main(arguments: &[OsString]) -> io::Result<i32> {
    match arguments {
        [launch, directory, dashes, command @ ..] if launch == "launch" && dashes == "--" => {
            Ok(launch::launch(directory, command))
        }
        _ => run().map(|()| 0),
    }
}

/// Reads orders from standard input until its end, then kills everything and returns.
fn run() -> io::Result<()> {
    // Without it orphans go to PID 1: they cannot be killed at the end, and a PID 1 that does not reap keeps them.
    let adopts = set_child_subreaper(Some(getpid())).is_ok();
    let runtime = evenkeel_runtime::spawn::runtime()?;
    runtime.block_on(async {
        tokio::spawn(ignore_signals()?);
        let orders = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        let stdout = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
        let (events, outbox) = mpsc::channel(WAITING);
        tokio::spawn(write_events(stdout, outbox));
        let clock = Clock::start();
        let held = GuardedProcesses {
            reaper: Reaper::start(adopts, &Tasks::default(), clock)?,
            clock,
            groups: BTreeMap::new(),
        };
        guard(held, orders, events).await;
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
            // Standard error is a pipe to evenkeel, which always reads it. If evenkeel is gone, nobody needs the
            // message.
            writeln!(
                io::stderr(),
                "{name} is ignored: the guardian ends when evenkeel does"
            )
            .ok();
        }
    })
}

async fn write_events(mut stdout: pipe::Sender, mut outbox: mpsc::Receiver<GuardianEvent>) {
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

async fn guard(
    mut held: GuardedProcesses,
    orders: pipe::Receiver,
    events: mpsc::Sender<GuardianEvent>,
) {
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
    // Processes that are left after this time wait for a disk, and cannot be killed.
    tokio::time::timeout(KILL_TIME, held.reaper.kill_all())
        .await
        .ok();
}

impl GuardedProcesses {
    async fn obey(
        &mut self,
        order: GuardianCommand,
        events: &mpsc::Sender<GuardianEvent>,
        ended: &mpsc::Sender<u64>,
    ) {
        match order {
            GuardianCommand::Spawn {
                spawn,
                command,
                directory,
                environment,
            } => {
                let mut launcher = own_image();
                let directory = directory.unwrap_or_default();
                launcher.args(["guardian", "launch", &directory, "--"]);
                launcher.args(&command);
                launcher.envs(environment);
                with_output_pipes(&mut launcher);
                match self.reaper.spawn(&mut launcher, GroupAtExit::Kill) {
                    Ok(process) => {
                        self.groups.insert(spawn, process.pid);
                        let watch =
                            child::watch(spawn, process, self.clock, events.clone(), ended.clone());
                        tokio::spawn(watch);
                    }
                    Err(error) => {
                        // Not the user's program: the launcher, which is evenkeel itself.
                        let reason = format!(
                            "evenkeel could not start a process of its own for it: {error}"
                        );
                        events
                            .send(GuardianEvent::StartFailed { spawn, reason })
                            .await
                            .ok();
                    }
                }
            }
            GuardianCommand::Signal { spawn, signal } => {
                if let (Some(&group), Some(signal)) =
                    (self.groups.get(&spawn), Signal::from_named_raw(signal))
                {
                    self.reaper.signal_group(group, signal);
                }
            }
        }
    }
}
