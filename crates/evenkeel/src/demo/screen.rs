//! The output of the running demo: a live view on a terminal, plain lines elsewhere.
//!
//! [`Frame::lines`] is pure; only [`Screen`] writes.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write as _};
use std::time::Duration;

use evenkeel_fault::contract::ServerStatus;

use super::verdict::short;
use crate::output::{CommandFailure, Result};

/// Lines of the timeline that are remembered for drawing.
const REMEMBERED: usize = 12;
/// Between two status lines where nothing is drawn.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// One server as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct ServerLine {
    pub(crate) name: String,
    pub(crate) pid: Option<u32>,
    pub(crate) state: ServerStatus,
    pub(crate) in_flight: u32,
    pub(crate) attempts: u64,
}

/// One frame of the output.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    /// The time since the demo began.
    pub(crate) at: Duration,
    pub(crate) servers: Vec<ServerLine>,
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) saved_by_retry: u64,
    /// Of the last second.
    pub(crate) rate: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Frame {
    /// In one line.
    pub(crate) fn line(&self) -> String {
        let serving = self
            .servers
            .iter()
            .filter(|server| serves(server.state))
            .count();
        format!(
            "{serving} of {} servers in service, {} requests/s, {} requests, {} failed, {} saved by retry, p50 {}, p99 {}",
            self.servers.len(),
            self.rate,
            self.sent,
            self.failed,
            self.saved_by_retry,
            latency(self.p50),
            latency(self.p99),
        )
    }

    /// As a block of lines.
    pub(crate) fn lines(&self, colours: bool) -> Vec<String> {
        let paint = |colour: &str, text: &str| {
            if colours {
                format!("\x1b[{colour}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        };
        let mut lines = vec![String::new()];
        for server in &self.servers {
            let (mark, colour) = look(server.state);
            let state = paint(colour, &format!("{mark} {:<10}", server.state.word()));
            let pid = server
                .pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            lines.push(format!(
                "  {:<17} {state}  process {pid:<8} in flight {:<4} attempts {}",
                server.name, server.in_flight, server.attempts
            ));
        }
        let failed = format!("failed {}", self.failed);
        let failed = if self.failed > 0 {
            paint("31;1", &failed)
        } else {
            failed
        };
        lines.push(String::new());
        lines.push(format!(
            "  {} requests/s   requests {}   {failed}   saved by retry {}   p50 {}   p99 {}",
            self.rate,
            self.sent,
            self.saved_by_retry,
            latency(self.p50),
            latency(self.p99)
        ));
        lines.push(String::new());
        lines
    }
}

/// The output of the demo.
#[derive(Debug)]
pub(crate) struct Screen {
    live: bool,
    colours: bool,
    latest: VecDeque<String>,
    /// Lines of the block that is on the terminal now.
    drawn: usize,
    next_plain: Duration,
}

impl Screen {
    /// A screen that is drawn again and again if `live`, else plain lines.
    pub(crate) fn new(live: bool, colours: bool) -> Self {
        Self {
            live,
            colours,
            latest: VecDeque::new(),
            drawn: 0,
            next_plain: Duration::ZERO,
        }
    }

    /// Something happened: a line of the timeline.
    pub(crate) fn tell(&mut self, at: Duration, text: &str, loud: bool) -> Result<()> {
        let stamp = format!("{:>6.2} s", at.as_secs_f64());
        let line = if self.colours && loud {
            format!("{stamp}  \x1b[1m{text}\x1b[0m")
        } else {
            format!("{stamp}  {text}")
        };
        if !self.live {
            return write(&format!("{line}\n"));
        }
        if self.latest.len() == REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back(line);
        Ok(())
    }

    /// Shows what is now.
    pub(crate) fn show(&mut self, frame: &Frame) -> Result<()> {
        if !self.live {
            if frame.at < self.next_plain {
                return Ok(());
            }
            self.next_plain = frame.at + PLAIN_EVERY;
            return self.tell(frame.at, &frame.line(), false);
        }
        let mut lines = frame.lines(self.colours);
        lines.extend(self.latest.iter().map(|line| format!("  {line}")));
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        for line in &lines {
            // No wrapping, or the block could not be drawn over: longer lines are cut by the terminal.
            text.push_str(&format!("\x1b[2K\x1b[?7l{line}\x1b[?7h\n"));
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        write(&text)
    }

    /// From now on everything is written below what is drawn.
    pub(crate) fn leave(&mut self) {
        self.live = false;
        self.drawn = 0;
    }
}

/// A quantile, or a dash while there is none.
fn latency(quantile: Duration) -> String {
    if quantile.is_zero() {
        "-".to_owned()
    } else {
        short(quantile)
    }
}

const fn serves(state: ServerStatus) -> bool {
    matches!(
        state,
        ServerStatus::Up | ServerStatus::Doubtful | ServerStatus::Verifying
    )
}

const fn look(state: ServerStatus) -> (&'static str, &'static str) {
    match state {
        ServerStatus::Up => ("●", "32"),
        ServerStatus::Doubtful | ServerStatus::Starting => ("◐", "33"),
        ServerStatus::Verifying | ServerStatus::Recovering => ("◑", "36"),
        ServerStatus::Ejected
        | ServerStatus::Maintenance
        | ServerStatus::Down
        | ServerStatus::Unresolved
        | ServerStatus::Absent => ("○", "31"),
    }
}

fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => CommandFailure::ReaderGone,
            _ => CommandFailure::world("cannot write", error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let server = |name: &str, state| ServerLine {
            name: name.to_owned(),
            pid: Some(7),
            state,
            in_flight: 1,
            attempts: 10,
        };
        Frame {
            servers: vec![
                server("one", ServerStatus::Up),
                server("two", ServerStatus::Down),
            ],
            sent: 100,
            rate: 50,
            ..Frame::default()
        }
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert!(!frame().lines(false).concat().contains('\x1b'));
        assert!(frame().lines(true).concat().contains("\x1b[32m● up"));
    }

    #[test]
    fn a_server_that_is_down_is_not_in_service() {
        assert!(
            frame()
                .line()
                .starts_with("1 of 2 servers in service, 50 requests/s, 100 requests, 0 failed")
        );
    }
}
