//! evenkeel's end of the pipes to its guardian.

use std::io;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::protocol::{Event, Order};

/// A running guardian.
#[derive(Debug)]
pub(crate) struct Link {
    guardian: Child,
    orders: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

/// The receiving half of a link.
#[derive(Debug)]
pub(crate) struct Events {
    guardian: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Link {
    /// Starts the guardian: `command` is this program with the word `guardian`.
    pub(crate) fn start(command: &[String]) -> io::Result<Self> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::other("no command for the guardian"))?;
        let mut guardian = Command::new(program)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(false)
            .spawn()?;
        let (Some(orders), Some(events)) = (guardian.stdin.take(), guardian.stdout.take()) else {
            return Err(io::Error::other("the guardian has no pipes"));
        };
        if let Some(complaints) = guardian.stderr.take() {
            tokio::spawn(log(complaints));
        }
        Ok(Self {
            guardian,
            orders,
            events: BufReader::new(events).lines(),
        })
    }

    pub(crate) fn split(self) -> (ChildStdin, Events) {
        (
            self.orders,
            Events {
                guardian: self.guardian,
                lines: self.events,
            },
        )
    }
}

/// Logs what the guardian says on standard error. It goes through the log as everything else does: a log that nobody reads
/// must not hold up the guardian either.
async fn log(complaints: ChildStderr) {
    let mut lines = BufReader::new(complaints).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::warn!("guardian: {line}");
    }
}

impl Events {
    /// The next event; `None` when the guardian has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let line = self.lines.next_line().await.ok()??;
            match serde_json::from_str(&line) {
                Ok(event) => return Some(event),
                Err(error) => {
                    tracing::warn!(%error, "the guardian said something that is not an event");
                }
            }
        }
    }

    /// Waits for the guardian's end.
    pub(crate) async fn ended(mut self) {
        self.guardian.wait().await.ok();
    }
}

/// Sends an order.
pub(crate) async fn send(orders: &mut ChildStdin, order: &Order) -> io::Result<()> {
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    orders.write_all(&line).await?;
    orders.flush().await
}
