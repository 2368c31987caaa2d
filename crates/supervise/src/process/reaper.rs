//! The single owner of child processes: starts, signals and reaps them.
//!
//! A process has ended when the kernel says so, whatever happens to its pipes. A process id is signalled only while its
//! process has not been reaped, under the same lock, so that a signal never reaches a process that got the id later.
//! For the same reason a process group is killed before its leader is reaped: the leader's entry keeps the id reserved.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_runtime::{Clock, Tasks, descriptors};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, waitid,
    waitpid,
};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// The interval between two checks for remaining processes while everything is killed.
const KILL_AGAIN: Duration = Duration::from_millis(2);

/// What happens to the rest of a process group when its leader has exited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupAtExit {
    /// It is killed.
    Kill,
    /// It goes on: what a command has started in the background outlives the command.
    Leave,
}

/// Owns child processes. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Reaper(Arc<ReaperInner>);

#[derive(Debug)]
struct ReaperInner {
    /// By process id: those that have not been reaped.
    children: Mutex<BTreeMap<i32, ReaperEntry>>,
    /// Whether orphans become children of this process, which then must reap them.
    adopts: bool,
}

#[derive(Debug)]
struct ReaperEntry {
    group: GroupAtExit,
    exit: oneshot::Sender<ExitStatus>,
}

/// A process that was started, the leader of a process group of its own.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) stdin: Option<pipe::Sender>,
    pub(crate) stdout: Option<pipe::Receiver>,
    pub(crate) stderr: Option<pipe::Receiver>,
    exit: oneshot::Receiver<ExitStatus>,
}

impl Reaper {
    /// Must be called within a tokio runtime, on which ends are noticed from then on. `adopts`: this process is PID 1 or a
    /// sub-reaper, and children that were not started here are reaped, too.
    ///
    /// # Errors
    /// If the handler of SIGCHLD cannot be registered.
    pub(crate) fn start(adopts: bool, tasks: &Tasks, clock: Clock) -> io::Result<Self> {
        let ends = Arc::new(tokio::sync::Mutex::new(signal(SignalKind::child())?));
        let this = Self(Arc::new(ReaperInner {
            children: Mutex::default(),
            adopts,
        }));
        let reaper = this.clone();
        tasks.spawn("reaper", clock, move || {
            let (reaper, ends) = (reaper.clone(), Arc::clone(&ends));
            async move {
                let mut ends = ends.lock().await;
                // Processes adopted before the handler was installed have already sent their signal.
                reaper.reap();
                while ends.recv().await.is_some() {
                    reaper.reap();
                }
            }
        });
        Ok(this)
    }

    /// Starts `command` as the leader of a new process group. Pipes that it asks for are non-blocking here.
    ///
    /// # Errors
    /// If the process cannot be made or the program not be executed.
    pub(crate) fn spawn(&self, command: &mut Command, group: GroupAtExit) -> io::Result<Process> {
        let (sender, exit) = oneshot::channel();
        // Held over the spawn: the entry is there before anybody could reap the process.
        let mut children = self.children();
        let mut child = command.process_group(0).spawn()?;
        descriptors::restore_limit_of(child.id());
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the kernel gave no process id"))?;
        children.insert(
            pid.as_raw_nonzero().get(),
            ReaperEntry {
                group,
                exit: sender,
            },
        );
        drop(children);
        Process::new(pid, &mut child, exit).inspect_err(|_| self.kill_group(pid))
    }

    /// Sends a signal to a process group that was started here; nothing happens once its leader has been reaped.
    pub(crate) fn signal_group(&self, leader: Pid, signal: Signal) {
        let children = self.children();
        if children.contains_key(&leader.as_raw_nonzero().get()) {
            // It may have ended in this moment.
            kill_process_group(leader, signal).ok();
        }
    }

    /// Kills a process group that was started here.
    pub(crate) fn kill_group(&self, leader: Pid) {
        self.signal_group(leader, Signal::KILL);
    }

    /// Kills everything that was started here or adopted, until nothing is left. May wait for ever for a process that the
    /// kernel cannot end.
    pub(crate) async fn kill_all(&self) {
        loop {
            self.reap();
            let own: Vec<i32> = self.children().keys().copied().collect();
            for leader in own.iter().copied().filter_map(Pid::from_raw) {
                self.kill_group(leader);
            }
            let adopted = if self.0.adopts {
                children_of_self()
            } else {
                None
            };
            let adopted = adopted.unwrap_or_default();
            if own.is_empty() && adopted.is_empty() {
                return;
            }
            for pid in adopted.into_iter().filter_map(Pid::from_raw) {
                // Still a child of this process, which reaps nothing meanwhile: the id cannot be another's.
                kill_process(pid, Signal::KILL).ok();
            }
            // Those that lose their parent now are adopted next.
            tokio::time::sleep(KILL_AGAIN).await;
        }
    }

    /// Collects whatever has ended.
    fn reap(&self) {
        let mut children = self.children();
        let ended: Vec<Pid> = children
            .keys()
            .copied()
            .filter_map(Pid::from_raw)
            .filter(|pid| has_ended(*pid))
            .collect();
        for pid in ended {
            let Some(entry) = children.remove(&pid.as_raw_nonzero().get()) else {
                continue;
            };
            if entry.group == GroupAtExit::Kill {
                kill_process_group(pid, Signal::KILL).ok();
            }
            let status = match waitpid(Some(pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => ExitStatus::from_raw(status.as_raw()),
                // Somebody else has taken the status; that it ended is known.
                Ok(None) | Err(_) => ExitStatus::from_raw(0),
            };
            // The receiver may be gone.
            entry.exit.send(status).ok();
        }
        if self.0.adopts {
            let orphans = children_of_self().unwrap_or_default();
            for pid in orphans
                .into_iter()
                .filter(|pid| !children.contains_key(pid))
            {
                if let Some(pid) = Pid::from_raw(pid) {
                    waitpid(Some(pid), WaitOptions::NOHANG).ok();
                }
            }
        }
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<i32, ReaperEntry>> {
        self.0
            .children
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    fn new(pid: Pid, child: &mut Child, exit: oneshot::Receiver<ExitStatus>) -> io::Result<Self> {
        let stdin = child.stdin.take().map(OwnedFd::from);
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        Ok(Self {
            pid,
            stdin: stdin.map(pipe::Sender::from_owned_fd).transpose()?,
            stdout: stdout.map(pipe::Receiver::from_owned_fd).transpose()?,
            stderr: stderr.map(pipe::Receiver::from_owned_fd).transpose()?,
            exit,
        })
    }

    /// Waits for its end. Cancel-safe.
    pub(crate) async fn exited(&mut self) -> io::Result<ExitStatus> {
        (&mut self.exit)
            .await
            .map_err(|_| io::Error::other("nobody waits for its end any more"))
    }
}

/// Whether a child has ended; it is not reaped by the question.
fn has_ended(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid), options) {
        Ok(status) => status.is_some(),
        // No such child: it was reaped elsewhere.
        Err(error) => error == rustix::io::Errno::CHILD,
    }
}

/// The children of all threads of this process, also those that it adopted.
fn children_of_self() -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may have ended since.
        if let Ok(text) = std::fs::read_to_string(thread.path().join("children")) {
            children.extend(
                text.split_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            );
        }
    }
    Some(children)
}

/// Output as pipes, and nothing to be read.
pub(crate) fn with_output_pipes(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}
