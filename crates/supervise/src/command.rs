//! Runs users' commands, each in a process group of its own, with limits on time and output.
//!
//! A command has ended when its process has. Background processes that it started, even if they hold its output open (a
//! server, for example), keep running; only the time limit kills the whole group, since then the command itself hangs.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;

use crate::process::{GroupAtExit, PipeReader, Process, Reaper, discard, with_output_pipes};

/// Bytes of output that are kept; the rest is read and thrown away.
const OUTPUT: usize = 4096;
/// Pipes that are read on after their commands have ended. What is started with a pipe beyond these gets SIGPIPE when it
/// prints.
const LEFT_OPEN: usize = 256;

/// Runs commands.
#[derive(Debug)]
pub(crate) struct Commands {
    reaper: Reaper,
    left_open: Arc<Semaphore>,
}

/// Kills the group when the command is given up.
struct KillOnDrop<'a> {
    reaper: &'a Reaper,
    leader: Pid,
}

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        // Nothing happens if the command has ended.
        self.reaper.kill_group(self.leader);
    }
}

impl Commands {
    pub(crate) fn new(reaper: Reaper) -> Self {
        Self {
            reaper,
            left_open: Arc::new(Semaphore::new(LEFT_OPEN)),
        }
    }

    /// Runs a command, in whose arguments each `{name}` is replaced; what it printed, or why it failed. If it is dropped
    /// before its end, the command and its group are killed.
    pub(crate) async fn run(
        &self,
        command: &[String],
        replace: &[(&str, &str)],
        limit: Duration,
    ) -> Result<String, String> {
        let command: Vec<String> = command
            .iter()
            .map(|argument| filled(argument, replace))
            .collect();
        let (program, arguments) = command.split_first().ok_or("the command is empty")?;
        let mut start = std::process::Command::new(program);
        with_output_pipes(start.args(arguments));
        let mut process = self
            .reaper
            .spawn(&mut start, GroupAtExit::Leave)
            .map_err(|error| format!("{program}: {error}"))?;
        let guard = KillOnDrop {
            reaper: &self.reaper,
            leader: process.pid,
        };
        let mut out = Capture::new(process.stdout.take());
        let mut err = Capture::new(process.stderr.take());
        let ended = tokio::time::timeout(limit, wait(&mut process, &mut out, &mut err)).await;
        drop(guard);
        let mut printed = out.finish(self, program);
        printed.extend_from_slice(&err.finish(self, program));
        printed.truncate(OUTPUT);
        let printed = String::from_utf8_lossy(&printed).trim().to_owned();
        match ended {
            Ok(Ok(status)) => outcome(program, status, printed),
            Ok(Err(error)) => Err(format!("{program}: {error}")),
            Err(_) => Err(with_output(
                format!("{program} did not end within {limit:?} and was killed"),
                &printed,
            )),
        }
    }

    /// Reads on what others still write to.
    fn read_on(&self, pipe: pipe::Receiver, program: &str) {
        let Ok(permit) = Arc::clone(&self.left_open).try_acquire_owned() else {
            tracing::warn!(
                "{program} exited and left a process running that holds its output; the limit of such outputs is reached, so it is closed"
            );
            return;
        };
        tracing::debug!(
            "{program} exited and left a process running that holds its output; the output is discarded"
        );
        tokio::spawn(async move {
            let _permit = permit;
            discard(pipe).await.ok();
        });
    }
}

/// Waits for the process alone; its output is read meanwhile.
async fn wait(
    process: &mut Process,
    out: &mut Capture,
    err: &mut Capture,
) -> std::io::Result<ExitStatus> {
    tokio::select! {
        status = process.exited() => status,
        never = out.fill() => match never {},
        never = err.fill() => match never {},
    }
}

/// The beginning of what a command prints to one stream.
struct Capture {
    reader: PipeReader,
    kept: Vec<u8>,
}

impl Capture {
    fn new(pipe: Option<pipe::Receiver>) -> Self {
        Self {
            reader: PipeReader::new(pipe),
            kept: Vec::new(),
        }
    }

    async fn fill(&mut self) -> std::convert::Infallible {
        loop {
            let chunk = self.reader.next().await;
            keep(&mut self.kept, chunk);
        }
    }

    fn finish(self, commands: &Commands, program: &str) -> Vec<u8> {
        let mut kept = self.kept;
        if let Some(pipe) = self.reader.finish(|chunk| keep(&mut kept, chunk)) {
            commands.read_on(pipe, program);
        }
        kept
    }
}

fn keep(kept: &mut Vec<u8>, chunk: &[u8]) {
    let room = OUTPUT.saturating_sub(kept.len());
    kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
}

fn outcome(program: &str, status: ExitStatus, printed: String) -> Result<String, String> {
    if status.success() {
        return Ok(printed);
    }
    Err(with_output(format!("{program}: {status}"), &printed))
}

fn with_output(what: String, printed: &str) -> String {
    if printed.is_empty() {
        what
    } else {
        format!("{what}: {printed}")
    }
}

fn filled(argument: &str, replace: &[(&str, &str)]) -> String {
    replace
        .iter()
        .fold(argument.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
}

#[cfg(test)]
mod tests {
    use evenkeel_runtime::{Clock, Tasks};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn commands() -> Commands {
        Commands::new(Reaper::start(false, &Tasks::default(), Clock::start()).unwrap())
    }

    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    fn kill(pid: &str) {
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }

    #[tokio::test]
    async fn a_command_says_what_it_printed_or_why_it_failed() {
        let commands = commands();
        let said = commands
            .run(
                &shell("echo {server} is {fault}"),
                &[("server", "two"), ("fault", "hung")],
                LONG,
            )
            .await;
        assert_eq!(said.as_deref(), Ok("two is hung"));
        let failed = commands
            .run(&shell("echo no >&2; exit 3"), &[], LONG)
            .await
            .unwrap_err();
        assert!(
            failed.contains("exit status: 3") && failed.contains("no"),
            "{failed}"
        );
        let none = ["/no/such/program".to_owned()];
        assert!(commands.run(&none, &[], LONG).await.is_err());
        assert!(commands.run(&[], &[], LONG).await.is_err());
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_killed_with_its_group() {
        let late = commands()
            .run(
                &shell("sleep 600 & echo $!; wait"),
                &[],
                Duration::from_millis(500),
            )
            .await
            .unwrap_err();
        assert!(late.contains("killed"), "{late}");
        let pid = late.rsplit(' ').next().unwrap().to_owned();
        while lives(&pid) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// It waited for the pipe until its limit, and then killed the server that it had just started.
    #[tokio::test]
    async fn a_command_has_ended_when_its_process_has_and_what_it_started_lives_on() {
        let commands = commands();
        // It prints on and on: neither a closed nor a full pipe may end or stop it.
        let server = "i=0; while [ $i -lt 400 ]; do head -c 1000 /dev/zero | tr '\\0' x; i=$((i+1)); done; echo; : > \"$0\"; exec sleep 600";
        let directory = std::env::temp_dir().join(format!("keel-command-{}", std::process::id()));
        let script = format!(
            "sh -c '{}' {} & echo $!",
            server.replace('\'', "'\\''"),
            directory.display()
        );
        let pid = commands.run(&shell(&script), &[], LONG).await.unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        while !directory.exists() {
            assert!(lives(&pid), "the server died of its output");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(lives(&pid));
        kill(&pid);
        std::fs::remove_file(directory).ok();
    }

    #[tokio::test]
    async fn a_command_that_is_given_up_is_killed() {
        let commands = commands();
        let file = std::env::temp_dir().join(format!("keel-given-up-{}", std::process::id()));
        let script = format!("echo $$ > {}; exec sleep 600", file.display());
        let command = shell(&script);
        let pid = tokio::select! {
            ended = commands.run(&command, &[], LONG) => panic!("{ended:?}"),
            pid = async {
                loop {
                    let text = std::fs::read_to_string(&file).unwrap_or_default();
                    if text.ends_with('\n') {
                        break text.trim().to_owned();
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            } => pid,
        };
        while lives(&pid) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        std::fs::remove_file(file).ok();
    }
}
