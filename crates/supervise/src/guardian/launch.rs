//! The last step before a child's own program: ask the kernel to kill it when the guardian dies, then become it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The exit status of a launcher that could not become the program: the shell's for "not found".
pub(crate) const FAILED: i32 = 127;
/// What its one line on standard error begins with.
pub(crate) const MARK: &str = "\u{1}evenkeel could not start ";

/// Becomes the program `command`; comes back only if it could not, with the exit status to end with.
#[expect(
    clippy::print_stderr,
    reason = "standard error is how the guardian hears of the failure"
)]
pub(crate) fn launch(command: &[OsString]) -> i32 {
    let parent = getppid();
    let armed = set_parent_process_death_signal(Some(Signal::KILL));
    if getppid() != parent {
        // The guardian died in between: the signal would never come.
        return FAILED;
    }
    let Some((program, arguments)) = command.split_first() else {
        eprintln!("{MARK}an empty command");
        return FAILED;
    };
    let error = match armed {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error.into(),
    };
    eprintln!("{MARK}{}: {error}", program.to_string_lossy());
    FAILED
}
