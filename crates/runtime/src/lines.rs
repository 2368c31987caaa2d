//! Line output to a pipe, a terminal or a file, written by a dedicated thread.
//!
//! Producers push lines and never block. A reader that is slow, stopped or gone, or a full disk, delays that thread
//! only: the queue is bounded, and lines that do not fit are dropped and counted. Separate from the producers, so that
//! it can be tested with misbehaving outputs.

use std::io::{self, ErrorKind, Write};
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use evenkeel_core::metric::Counter;

/// Between two tries to write after an error, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How much may wait to be written, including what is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineLimits {
    /// Lines.
    pub lines: usize,
    /// Bytes of all lines together.
    pub bytes: usize,
}

/// A queue of lines. Clones push to the same output.
#[derive(Debug, Clone)]
pub struct LineQueue(Arc<LineQueueShared>);

#[derive(Debug)]
struct LineQueueShared {
    limits: LineLimits,
    state: Mutex<LineQueueState>,
    /// There is something to write.
    work: Condvar,
    /// A batch is written, or cannot be written now.
    progress: Condvar,
    dropped: Counter,
    /// The last write failed.
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct LineQueueState {
    waiting: Vec<u8>,
    waiting_lines: usize,
    /// The bytes that the thread is writing.
    writing_bytes: usize,
    writing_lines: usize,
    /// The thread waits for work.
    idle: bool,
    /// Lines that were accepted, and how many of them are written.
    accepted: u64,
    written: u64,
    /// Lines that were dropped since the last report.
    unreported: u64,
}

impl LineQueue {
    /// Starts the thread, called `name`, that writes to `out`. `report` is called on it with the number of lines that
    /// were dropped, once those that waited are written; it may push.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(
        name: &str,
        out: impl Write + Send + 'static,
        limits: LineLimits,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(LineQueueShared {
            limits,
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            dropped: Counter::default(),
            failing: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        Builder::new()
            .name(name.to_owned())
            .spawn(move || of_thread.write_all(out, report))?;
        Ok(Self(shared))
    }

    /// Puts `line`, which ends with its line end, at the end of the queue. Never waits for the output. `false` if there
    /// was no room: the line is dropped and counted.
    #[expect(
        clippy::must_use_candidate,
        reason = "a dropped line is counted here; few have more to do about it"
    )]
    pub fn push(&self, line: &[u8]) -> bool {
        let shared = &self.0;
        let mut state = shared.lock();
        let lines = state.waiting_lines + state.writing_lines;
        let bytes = state.waiting.len() + state.writing_bytes;
        if lines >= shared.limits.lines || bytes + line.len() > shared.limits.bytes {
            state.unreported += 1;
            drop(state);
            shared.dropped.add_one();
            return false;
        }
        state.waiting.extend_from_slice(line);
        state.waiting_lines += 1;
        state.accepted += 1;
        let idle = take(&mut state.idle);
        drop(state);
        if idle {
            shared.work.notify_one();
        }
        true
    }

    /// Waits until all that was accepted before is written, for at most `timeout`; not at all while the output takes
    /// nothing. Says whether it was written.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        let state = self.0.lock();
        let target = state.accepted;
        let missing =
            |state: &mut LineQueueState| state.written < target && !self.0.failing.load(Relaxed);
        let waited = self.0.progress.wait_timeout_while(state, timeout, missing);
        waited.unwrap_or_else(PoisonError::into_inner).0.written >= target
    }

    /// Lines that were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.value()
    }
}

impl LineQueueShared {
    fn lock(&self) -> MutexGuard<'_, LineQueueState> {
        // The state is whole at every point where its holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: takes all that waits, writes it, and again, for as long as the program runs.
    fn write_all(&self, mut out: impl Write, report: impl Fn(u64)) {
        let mut batch = Vec::new();
        loop {
            let lines = self.next(&mut batch);
            self.write(&mut out, &batch);
            batch.clear();
            let mut state = self.lock();
            state.written += lines as u64;
            (state.writing_bytes, state.writing_lines) = (0, 0);
            let dropped = take(&mut state.unreported);
            drop(state);
            self.progress.notify_all();
            if dropped > 0 {
                report(dropped);
            }
        }
    }

    /// Waits for lines and takes them all into `batch`, which is empty. Gives their number.
    fn next(&self, batch: &mut Vec<u8>) -> usize {
        let mut state = self.lock();
        state.idle = state.waiting.is_empty();
        let waited = self
            .work
            .wait_while(state, |state| state.waiting.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle = false;
        // The buffers are exchanged, so that neither is allocated again.
        std::mem::swap(&mut state.waiting, batch);
        state.writing_bytes = batch.len();
        state.writing_lines = take(&mut state.waiting_lines);
        state.writing_lines
    }

    /// Writes all of `bytes`, however long the output takes nothing. A line is never torn: what was written in part goes
    /// on where it stopped.
    fn write(&self, out: &mut impl Write, bytes: &[u8]) {
        let mut rest = bytes;
        let mut pause = RETRY.0;
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(written) if written > 0 => {
                    rest = rest.get(written..).unwrap_or_default();
                    pause = RETRY.0;
                    self.failing.store(false, Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                failed => {
                    // A full pipe that was made non-blocking accepts more in a moment.
                    let is_full = failed.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                    if !is_full {
                        self.failing.store(true, Relaxed);
                        self.progress.notify_all();
                    }
                    std::thread::park_timeout(pause);
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }
}
