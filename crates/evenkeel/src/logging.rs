//! Log lines on standard error: human or JSON, at the level of the configuration, or of `EVENKEEL_LOG`.

use std::io;

use evenkeel_config::plan::{LogFormat, LogLevel, LogPlan};
use tracing_subscriber::EnvFilter;

use crate::output;

/// Starts logging. The first call wins.
pub(crate) fn start(plan: &LogPlan) {
    let filter = match std::env::var("EVENKEEL_LOG") {
        Ok(wish) if !wish.is_empty() => match wish.parse::<EnvFilter>() {
            Ok(filter) => filter,
            Err(error) => {
                output::say(format_args!("evenkeel: EVENKEEL_LOG is ignored: {error}"));
                by_level(plan.level)
            }
        },
        _ => by_level(plan.level),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match plan.format {
        LogFormat::Human => lines
            .with_ansi(output::error_colours())
            .with_target(false)
            .try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // A second start in one process keeps the first.
    started.ok();
}

fn by_level(level: LogLevel) -> EnvFilter {
    EnvFilter::new(match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    })
}
