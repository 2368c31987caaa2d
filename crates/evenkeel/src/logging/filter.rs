//! Parses `EVENKEEL_LOG`, and rejects values that cannot be meant.
//!
//! The filter's own parser accepts any word as a target, so that a misspelt level would silently turn everything off.

use std::env::VarError;

use evenkeel_config::plan::LogLevel;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::output::{CommandFailure, Result};

const VARIABLE: &str = "EVENKEEL_LOG";
const EXPECTED: &str =
    "expected a level (error, warn, info, debug, trace, off), or TARGET=LEVEL, separated by commas";

/// The filter of `EVENKEEL_LOG`, else `level`.
///
/// # Errors
/// If it cannot be understood.
pub(super) fn from_environment(level: LogLevel) -> Result<EnvFilter> {
    match std::env::var(VARIABLE) {
        Ok(text) => parse(&text, level),
        Err(VarError::NotPresent) => parse("", level),
        Err(VarError::NotUnicode(_)) => Err(refused("it is not UTF-8")),
    }
}

/// Levels by target; `level` for what `text` does not name.
fn parse(text: &str, level: LogLevel) -> Result<EnvFilter> {
    let mut directives = Vec::new();
    let mut names_level = false;
    for directive in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let wanted = match directive.rsplit_once('=') {
            Some((target, wanted)) if !target.trim().is_empty() => wanted,
            Some(_) => return Err(refused(&format!("{directive:?} has no target"))),
            None => {
                names_level = true;
                directive
            }
        };
        if wanted.parse::<LevelFilter>().is_err() {
            return Err(refused(&format!("{wanted:?} is not a level")));
        }
        directives.push(directive);
    }
    if !names_level {
        directives.insert(0, word(level));
    }
    directives
        .join(",")
        .parse()
        .map_err(|error| refused(&format!("{error}")))
}

fn refused(why: &str) -> CommandFailure {
    CommandFailure::Call(format!("{VARIABLE}: {why}; {EXPECTED}"))
}

const fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text, LogLevel::Info) {
            Ok(filter) => {
                let filter = filter.to_string();
                let mut parts: Vec<&str> = filter.split(',').collect();
                parts.sort_unstable();
                parts.join(",")
            }
            Err(CommandFailure::Call(why)) => why,
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn levels_and_targets_are_taken_and_the_rest_keeps_its_level() {
        assert_eq!(shown(""), "info");
        assert_eq!(shown("debug"), "debug");
        assert_eq!(shown("OFF"), "off");
        assert_eq!(shown("warn, server=info"), "server=info,warn");
        assert_eq!(shown("evenkeel_proxy=debug"), "evenkeel_proxy=debug,info");
    }

    #[test]
    fn what_would_silence_everything_by_mistake_is_refused() {
        for text in ["garbage", "info,evenkeel", "server=loud", "=info", "inf"] {
            let why = shown(text);
            assert!(
                why.contains("EVENKEEL_LOG") && why.contains("expected"),
                "{why}"
            );
        }
    }
}
