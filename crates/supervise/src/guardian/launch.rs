//! The last step before a child's own program: ask the kernel to kill it when the guardian dies, then exec.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The exit status of a launcher that could not become the program: the shell's for "not found".
pub(crate) const FAILED: i32 = 127;
/// The prefix of its line on standard error.
pub(crate) const MARK: &str = "\u{1}evenkeel could not start ";

/// Becomes the program `command` in `directory`, if that is not empty; comes back only if it could not, with the exit
/// status to end with.
#[expect(
    clippy::print_stderr,
    reason = "standard error is how the guardian hears of the failure"
)]
pub(crate) fn launch(directory: &OsStr, command: &[OsString]) -> i32 {
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
    if let Err(error) = armed {
        eprintln!("{MARK}a process that ends with its guardian: {error}");
        return FAILED;
    }
    if !directory.is_empty()
        && let Err(error) = std::env::set_current_dir(directory)
    {
        let directory = directory.to_string_lossy();
        eprintln!(
            "{MARK}{} in directory {directory}: {error}",
            program.to_string_lossy()
        );
        return FAILED;
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("{MARK}{}: {error}", program.to_string_lossy());
    FAILED
}
