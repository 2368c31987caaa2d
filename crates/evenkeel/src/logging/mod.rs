//! Log lines on standard error: human or JSON, at the level of the configuration, or of `EVENKEEL_LOG`.
//!
//! Nothing here waits for whoever reads them: lines go to a bounded queue and are written by a thread of their own. All
//! that evenkeel says on standard error while it serves goes this way, also panics, so that with JSON each line is JSON.

mod filter;
mod line;
mod panic;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use evenkeel_config::Mistakes;
use evenkeel_config::mistake::Severity;
use evenkeel_config::plan::{LogFormat, LogPlan};
use evenkeel_runtime::{LineLimits, LineQueue};

use self::line::LineWriter;
use crate::output::{self, Failure, Result};

/// What may wait for a slow reader: some seconds of a busy access log. The kernel's pipe holds 64 KiB beside it.
const LIMITS: LineLimits = LineLimits {
    lines: 32_768,
    bytes: 8 * 1024 * 1024,
};
/// How long the last lines may take at the end.
const FLUSH: Duration = Duration::from_millis(500);

/// The log of this process, once it is started.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    queue: LineQueue,
    format: LogFormat,
}

/// Starts logging. The first call wins.
///
/// # Errors
/// If `EVENKEEL_LOG` is not a filter, or there is no thread or descriptor for the log.
pub(crate) fn start(plan: &LogPlan) -> Result<()> {
    let filter = filter::from_environment(plan.level)?;
    if LOG.get().is_some() {
        return Ok(());
    }
    let queue = queue("log", io::stderr().as_fd(), |dropped| {
        tracing::warn!(
            dropped,
            "log lines were dropped because nobody read the log or it could not be written"
        );
    })
    .map_err(|error| Failure::world("cannot start the log", error))?;
    let colours = output::error_colours() && plan.format == LogFormat::Human;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(LineWriter::new(queue.clone(), plan.format, colours));
    let started = match plan.format {
        LogFormat::Human => lines.with_ansi(colours).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // A second start in one process keeps the first.
    if started.is_ok() {
        let format = plan.format;
        LOG.set(Log { queue, format }).ok();
        panic::log_panics();
    }
    Ok(())
}

/// A queue of lines to a standard stream. The stream's own lock is not taken: it would be held while a write waits.
pub(crate) fn queue(
    name: &str,
    stream: impl AsFd,
    report: impl Fn(u64) + Send + 'static,
) -> io::Result<LineQueue> {
    let file = File::from(stream.as_fd().try_clone_to_owned()?);
    LineQueue::start(name, file, LIMITS, report)
}

/// Says something to people that is not the result: by way of the log, if it is started (as it is, or as an error event of a
/// JSON log), else on standard error.
pub(crate) fn say(text: impl Display) {
    match LOG.get() {
        Some(log) if log.format == LogFormat::Human => {
            log.queue.push(format!("{text}\n").as_bytes());
        }
        Some(_) => tracing::error!("{text}"),
        // If nobody listens there is nobody to tell.
        None => {
            writeln!(io::stderr().lock(), "{text}").ok();
        }
    }
}

/// Says each mistake of a configuration as an event of its own, if the log is JSON. Says whether it is.
pub(crate) fn say_mistakes(mistakes: &Mistakes) -> bool {
    if LOG.get().is_none_or(|log| log.format != LogFormat::Json) {
        return false;
    }
    for mistake in mistakes.list() {
        let (line, column) = mistakes.position(mistake.span.start);
        let (file, code) = (mistakes.name(), mistake.code.text());
        let (help, message) = (mistake.help.as_deref(), &mistake.message);
        match mistake.severity() {
            Severity::Error => tracing::error!(file, line, column, code, help, "{message}"),
            Severity::Warning => tracing::warn!(file, line, column, code, help, "{message}"),
        }
    }
    true
}

/// Lines that were dropped since the start.
pub(crate) fn dropped() -> u64 {
    LOG.get().map_or(0, |log| log.queue.dropped())
}

/// Writes what waits, in a bounded time. To be called before the program ends.
pub(crate) fn flush() {
    if let Some(log) = LOG.get() {
        let _written: bool = log.queue.flush(FLUSH);
    }
}
