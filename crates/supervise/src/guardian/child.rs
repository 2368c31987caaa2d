//! One process under the guardian, from start to exit: its output, within limits, and how it ended.

use std::process::ExitStatus;

use evenkeel_runtime::Clock;
use tokio::sync::mpsc;

use super::launch;
use super::limit::OutputLimit;
use super::lines::Lines;
use super::protocol::GuardianEvent;
use crate::process::{PipeReader, Process};

/// The output of a process on its way to evenkeel.
struct ChildOutput {
    spawn: u64,
    clock: Clock,
    events: mpsc::Sender<GuardianEvent>,
    limit: OutputLimit,
    /// Why the launcher could not become the program.
    failure: Option<String>,
}

/// Follows a process. Its group has been killed by the time its exit is reported: children of the child would hold its
/// port.
pub(super) async fn watch(
    spawn: u64,
    mut process: Process,
    clock: Clock,
    events: mpsc::Sender<GuardianEvent>,
    ended: mpsc::Sender<u64>,
) {
    let pid = process.pid.as_raw_nonzero().get().unsigned_abs();
    events
        .send(GuardianEvent::Started { spawn, pid })
        .await
        .ok();
    let mut output = ChildOutput {
        spawn,
        clock,
        events: events.clone(),
        limit: OutputLimit::new(clock.now()),
        failure: None,
    };
    let mut out = PipeReader::new(process.stdout.take());
    let mut err = PipeReader::new(process.stderr.take());
    let (mut out_lines, mut err_lines) = (Lines::default(), Lines::default());
    let status = loop {
        tokio::select! {
            status = process.exited() => break status.ok(),
            chunk = out.next() => out_lines.push(chunk, |line| output.pass_on(line)),
            chunk = err.next() => err_lines.push(chunk, |line| output.pass_on(line)),
            () = report_due(clock, &output.limit) => output.report().await,
        }
    };
    out.finish(|chunk| out_lines.push(chunk, |line| output.pass_on(line)));
    out_lines.finish(|line| output.pass_on(line));
    err.finish(|chunk| err_lines.push(chunk, |line| output.pass_on(line)));
    err_lines.finish(|line| output.pass_on(line));
    output.finish().await;
    ended.send(spawn).await.ok();
    events.send(end(spawn, status, output.failure)).await.ok();
}

async fn report_due(clock: Clock, limit: &OutputLimit) {
    match limit.report_at() {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn end(spawn: u64, status: Option<ExitStatus>, failure: Option<String>) -> GuardianEvent {
    use std::os::unix::process::ExitStatusExt;
    match (status, failure) {
        (Some(status), Some(reason)) if status.code() == Some(launch::FAILED) => {
            GuardianEvent::StartFailed { spawn, reason }
        }
        (Some(status), _) => GuardianEvent::Exited {
            spawn,
            code: status.code(),
            signal: status.signal(),
        },
        (None, _) => GuardianEvent::Exited {
            spawn,
            code: None,
            signal: None,
        },
    }
}

impl ChildOutput {
    /// Passes a line on, or counts it: output may be lost, an exit may not.
    fn pass_on(&mut self, line: &[u8]) {
        if let Some(reason) = line.strip_prefix(launch::MARK.as_bytes()) {
            self.failure = Some(text(reason));
            return;
        }
        let now = self.clock.now();
        if self.limit.allows(now, line) && self.events.try_send(self.event(line)).is_ok() {
            self.limit.passed_on();
        } else {
            self.limit.drop_line(now, line);
        }
    }

    async fn report(&mut self) {
        if let Some(dropped) = self.limit.report() {
            let event = GuardianEvent::Dropped {
                spawn: self.spawn,
                lines: dropped.lines,
                bytes: dropped.bytes,
            };
            self.events.send(event).await.ok();
        }
    }

    /// Reports what was dropped, and then the last lines nevertheless: they often explain why it ended.
    async fn finish(&mut self) {
        self.report().await;
        let last: Vec<GuardianEvent> = self
            .limit
            .last_lines()
            .map(|line| self.event(line))
            .collect();
        for event in last {
            self.events.send(event).await.ok();
        }
    }

    fn event(&self, line: &[u8]) -> GuardianEvent {
        GuardianEvent::Output {
            spawn: self.spawn,
            line: text(line),
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}
