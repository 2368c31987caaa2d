//! How a command ends, and the only place that prints results. Everything that is not a result is logged.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;

/// How a command that did what it was asked ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandEnding {
    /// Success: exit status 0.
    Good,
    /// The thing asked about is wrong: exit status 1.
    Wrong,
}

impl CommandEnding {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Good => 0,
            Self::Wrong => 1,
        })
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub(crate) enum CommandFailure {
    /// The call is wrong: exit status 2.
    Call(String),
    /// The world is in the way: exit status 1.
    World(String),
    /// The reader of the output is gone, which is not an error: exit status 0.
    ReaderGone,
}

impl CommandFailure {
    /// What went wrong, in words.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Call(text) | Self::World(text) => text,
            Self::ReaderGone => "the reader of the output is gone".to_owned(),
        }
    }

    /// The world is in the way: `what` could not be done because of `why`.
    pub(crate) fn world(what: impl Display, why: impl Display) -> Self {
        Self::World(format!("{what}: {why}"))
    }

    /// The message for the user.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Call(why) | Self::World(why) => Some(why),
            Self::ReaderGone => None,
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Call(_) => 2,
            Self::World(_) => 1,
            Self::ReaderGone => 0,
        })
    }
}

/// The result of a command.
pub(crate) type Result<T = CommandEnding> = std::result::Result<T, CommandFailure>;

/// Prints a result; it ends with a line end.
pub(crate) fn print(text: impl Display) -> Result<()> {
    let text = text.to_string();
    let end = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    let mut out = io::stdout().lock();
    written(
        out.write_all(format!("{text}{end}").as_bytes())
            .and_then(|()| out.flush()),
    )
}

/// Whether results may be coloured: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn colours() -> bool {
    io::stdout().is_terminal() && no_color_unset()
}

/// Whether messages on standard error may be coloured.
pub(crate) fn error_colours() -> bool {
    io::stderr().is_terminal() && no_color_unset()
}

fn no_color_unset() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn written(result: io::Result<()>) -> Result<()> {
    result.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => CommandFailure::ReaderGone,
        _ => CommandFailure::world("cannot write the result", error),
    })
}

/// `1 mistake`, `2 mistakes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}
