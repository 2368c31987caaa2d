//! Log lines on standard error: plain text or JSON, at the level of the configuration or of `EVENKEEL_LOG`.
//!
//! Logging never waits for its reader: lines go to a bounded queue and are written by a dedicated thread. Everything
//! that evenkeel prints to standard error while it serves goes through this queue, panics included, so that in JSON
//! format every line is JSON.

mod filter;
mod line;
mod panic;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use evenkeel_config::Diagnostics;
use evenkeel_config::diagnostic::Severity;
use evenkeel_config::plan::{LogFormat, LogLevel, LogPlan};
use evenkeel_runtime::{LineLimits, LineQueue};
use tracing_subscriber::EnvFilter;

use self::line::LineWriter;
use crate::output::{self, CommandFailure, Result};

/// The queue for a slow reader: some seconds of a busy access log, in addition to the 64 KiB of the kernel's pipe.
const LIMITS: LineLimits = LineLimits {
    lines: 32_768,
    bytes: 8 * 1024 * 1024,
};
/// How long the last lines may take at the end.
const FLUSH: Duration = Duration::from_millis(500);

/// The log of this process, once it is started.
static LOG: OnceLock<LogOutput> = OnceLock::new();

/// Takes a filter in place of the one before; says whether that worked.
type SetFilter = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

struct LogOutput {
    queue: LineQueue,
    format: LogFormat,
    set_filter: SetFilter,
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
            "log lines were dropped because the log was not read or could not be written"
        );
    })
    .map_err(|error| CommandFailure::world("cannot start the log", error))?;
    let colours = output::error_colours() && plan.format == LogFormat::Human;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(LineWriter::new(queue.clone(), plan.format, colours));
    let (started, set_filter): (_, SetFilter) = match plan.format {
        LogFormat::Human => {
            let lines = lines.with_ansi(colours).with_target(false);
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            let set = move |filter: EnvFilter| handle.reload(filter).is_ok();
            (lines.try_init(), Box::new(set))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            let set = move |filter: EnvFilter| handle.reload(filter).is_ok();
            (lines.try_init(), Box::new(set))
        }
    };
    // A second start in one process keeps the first.
    if started.is_ok() {
        let format = plan.format;
        let output = LogOutput {
            queue,
            format,
            set_filter,
        };
        LOG.set(output).ok();
        panic::log_panics();
    }
    Ok(())
}

/// Logs at this level from now on, unless `EVENKEEL_LOG` says otherwise.
///
/// # Errors
/// If `EVENKEEL_LOG` is not a filter.
pub(crate) fn set_level(level: LogLevel) -> Result<()> {
    let filter = filter::from_environment(level)?;
    if let Some(log) = LOG.get() {
        let _set: bool = (log.set_filter)(filter);
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

/// Prints a message that is not a result: through the log if it is running (as it is, or as an error event of a JSON
/// log), else to standard error.
pub(crate) fn print_message(text: impl Display) {
    match LOG.get() {
        Some(log) if log.format == LogFormat::Human => {
            log.queue.push(format!("{text}\n").as_bytes());
        }
        Some(_) => tracing::error!("{text}"),
        // Without receivers there is nothing to send.
        None => {
            writeln!(io::stderr().lock(), "{text}").ok();
        }
    }
}

/// Logs each diagnostic of a configuration as an event, if the log is JSON. Returns whether it is.
pub(crate) fn log_diagnostics(mistakes: &Diagnostics) -> bool {
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
