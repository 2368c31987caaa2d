//! evenkeel's end of the pipes to the guardian.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;

use super::protocol::{GuardianCommand, GuardianEvent};
use crate::process::{GroupAtExit, OWN_IMAGE, Process, Reaper};

/// A running guardian.
#[derive(Debug)]
pub(crate) struct GuardianLink {
    orders: pipe::Sender,
    events: GuardianEvents,
}

/// The receiving half of a link.
#[derive(Debug)]
pub(crate) struct GuardianEvents {
    guardian: Process,
    lines: Lines<BufReader<pipe::Receiver>>,
}

impl GuardianLink {
    /// Starts the guardian: `command` is this program with the word `guardian`.
    pub(crate) fn start(reaper: &Reaper, command: &[String]) -> io::Result<Self> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::other("no command for the guardian"))?;
        let mut start = Command::new(program);
        start
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if program == OWN_IMAGE {
            // For readers of a list of processes.
            start.arg0("evenkeel");
        }
        // The guardian is alone in its group.
        let mut guardian = reaper.spawn(&mut start, GroupAtExit::Leave)?;
        let (Some(orders), Some(events)) = (guardian.stdin.take(), guardian.stdout.take()) else {
            return Err(io::Error::other("the guardian has no pipes"));
        };
        if let Some(complaints) = guardian.stderr.take() {
            tokio::spawn(log(complaints));
        }
        Ok(Self {
            orders,
            events: GuardianEvents {
                guardian,
                lines: BufReader::new(events).lines(),
            },
        })
    }

    pub(crate) fn split(self) -> (pipe::Sender, GuardianEvents) {
        (self.orders, self.events)
    }
}

/// Logs the guardian's standard error. It goes through the log like everything else: a log that is not read must not
/// block the guardian either.
async fn log(complaints: pipe::Receiver) {
    let mut lines = BufReader::new(complaints).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::warn!("guardian: {line}");
    }
}

impl GuardianEvents {
    /// The next event; `None` when the guardian has ended.
    pub(crate) async fn next(&mut self) -> Option<GuardianEvent> {
        loop {
            let line = self.lines.next_line().await.ok()??;
            match serde_json::from_str(&line) {
                Ok(event) => return Some(event),
                Err(error) => {
                    tracing::warn!(%error, "the guardian sent an invalid event");
                }
            }
        }
    }

    /// The guardian's process id.
    pub(crate) const fn pid(&self) -> i32 {
        self.guardian.pid.as_raw_nonzero().get()
    }

    /// Waits for the guardian's end; how it ended, if that is known.
    pub(crate) async fn ended(mut self) -> Option<ExitStatus> {
        self.guardian.exited().await.ok()
    }
}

/// Sends an order.
pub(crate) async fn send(orders: &mut pipe::Sender, order: &GuardianCommand) -> io::Result<()> {
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    orders.write_all(&line).await?;
    orders.flush().await
}
