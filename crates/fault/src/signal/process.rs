//! The supervised process: whether it runs, whether it was ever ready, how it ended.

use std::time::Duration;

use evenkeel_core::{Exit, Instant, ProgramChange, Recent, StartFailure};

/// A process that ends well so soon after its start has started another one in its place.
const HANDED_OVER: Duration = Duration::from_secs(2);

/// How many ends are remembered.
const REMEMBERED: usize = 16;

/// One end of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEnd {
    /// When.
    pub at: Instant,
    /// How.
    pub exit: Exit,
    /// How long it had been ready; `None` if it never was.
    pub ready_for: Option<Duration>,
}

impl ProcessEnd {
    /// Whether its command seems to have put the server into the background, and has ended well: what answered was not its process.
    #[must_use]
    pub fn handed_over(&self) -> bool {
        handed_over(&self.exit)
    }
}

fn handed_over(exit: &Exit) -> bool {
    !exit.asked && exit.code == Some(0) && exit.uptime < HANDED_OVER
}

/// Why no process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// It ended by itself.
    Ended(ProcessEnd),
    /// It could not be started.
    NotStarted {
        /// When that was tried.
        at: Instant,
        /// In words.
        reason: String,
        /// The change of its program before this start.
        changed: Option<ProgramChange>,
    },
    /// It was stopped on purpose.
    Stopped,
}

/// One server's process.
#[derive(Debug, Clone)]
pub struct ProcessHistory {
    /// Its process id while it runs, if it was ever reported.
    pub pid: Option<u32>,
    /// When it was started, if that was reported.
    pub started: Option<Instant>,
    /// What of its program was changed before it was started, if something was.
    pub changed: Option<Box<ProgramChange>>,
    /// What of its program has been changed since its last process was started, while none runs.
    pub pending_change: Option<Box<ProgramChange>>,
    /// It was as fast as its peers since it was started.
    pub was_fast: bool,
    /// The successes on the server before it was started.
    pub served_before: u64,
    /// When it became ready: it passed a probe or answered an attempt after its start.
    pub ready: Option<Instant>,
    /// Why none runs.
    pub down: Option<DownReason>,
    /// It was stopped (state T) at the latest examination.
    pub stopped: bool,
    /// Some process of it was ready once.
    pub was_ready: bool,
    ended: Recent<ProcessEnd>,
}

impl Default for ProcessHistory {
    fn default() -> Self {
        Self {
            pid: None,
            started: None,
            changed: None,
            pending_change: None,
            was_fast: false,
            served_before: 0,
            ready: None,
            down: None,
            stopped: false,
            was_ready: false,
            ended: Recent::new(REMEMBERED),
        }
    }
}

/// A process that was started so lately is warming up …
const WARM_UP: Duration = Duration::from_secs(60);
/// … and so is one that has served fewer requests than this since …
const WARM_UP_REQUESTS: u64 = 500;
/// … unless it was started longer ago.
const LONGEST_WARM_UP: Duration = Duration::from_secs(600);
/// It is expected to be slow while it has answered fewer than this.
const COLD_REQUESTS: u64 = 100;

impl ProcessHistory {
    /// How long it has been warming up, if it is: it has been slow since its start. What it has cached, compiled or connected is
    /// lost with every start.
    #[must_use]
    pub fn warms_up(&self, now: Instant, succeeded: u64) -> Option<Duration> {
        let age = now.since(self.started.filter(|_| !self.was_fast)?);
        let served = succeeded.saturating_sub(self.served_before);
        let is_cold = age < WARM_UP || served < WARM_UP_REQUESTS && age < LONGEST_WARM_UP;
        is_cold.then_some(age)
    }

    /// Whether it is still to be expected that it is slow: it has been since its start, which is a moment ago, and few requests were.
    #[must_use]
    pub fn is_cold(&self, now: Instant, succeeded: u64) -> bool {
        let served = succeeded.saturating_sub(self.served_before);
        let age = self.warms_up(now, succeeded);
        served < COLD_REQUESTS && age.is_some_and(|age| age < WARM_UP)
    }

    /// It was started.
    pub fn started(&mut self, at: Instant, pid: u32, changed: Option<Box<ProgramChange>>) {
        self.started = Some(at);
        self.changed = changed;
        self.pending_change = None;
        self.pid = Some(pid);
        self.ready = None;
        self.down = None;
        self.stopped = false;
        self.was_fast = false;
    }

    /// It ended with the guardian, which is no fault of its own.
    pub fn lost(&mut self) {
        self.pid = None;
        self.ready = None;
        self.down = Some(DownReason::Stopped);
    }

    /// It is about to be replaced: how it ended before is no longer why it does not run.
    pub fn replaced(&mut self) {
        self.down = Some(DownReason::Stopped);
    }

    /// Whether it ended by itself or could not be started.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        matches!(
            self.down,
            Some(DownReason::Ended(_) | DownReason::NotStarted { .. })
        )
    }

    /// It serves; it has answered, if `answers`, and not only taken a connection.
    pub fn is_ready(&mut self, at: Instant, answers: bool) {
        self.stopped &= !answers;
        if self.pid.is_some() && self.ready.is_none() {
            self.was_ready = true;
            self.ready = Some(at);
        }
    }

    /// It ended.
    pub fn exited(&mut self, at: Instant, exit: Exit) {
        let asked = exit.asked;
        self.pending_change = exit.changed_since.clone().map(Box::new);
        let ready = self.ready.filter(|_| !handed_over(&exit));
        let ended = ProcessEnd {
            at,
            exit,
            ready_for: ready.map(|ready| at.since(ready)),
        };
        self.pid = None;
        self.ready = None;
        if asked {
            self.down = Some(DownReason::Stopped);
        } else {
            self.ended.push(ended.clone());
            self.down = Some(DownReason::Ended(ended));
        }
    }

    /// It could not be started.
    pub fn start_failed(&mut self, at: Instant, failure: StartFailure) {
        let StartFailure { reason, changed } = failure;
        self.pid = None;
        self.ready = None;
        self.down = Some(DownReason::NotStarted {
            at,
            reason,
            changed,
        });
    }

    /// The unexpected exits since `from`, oldest first.
    pub fn ended_since(&self, from: Instant) -> impl Iterator<Item = &ProcessEnd> {
        self.ended.iter().filter(move |ended| ended.at >= from)
    }
}
