//! The executable of this process, to be started again as the guardian or as a launcher.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// The kernel's link to the image of the process that reads it. The child reads it before it executes anything else,
/// and finds its parent's image, even if the file was replaced, renamed or removed. Its path would not work then.
pub(crate) const OWN_IMAGE: &str = "/proc/self/exe";

/// A command that starts this program's own image again.
pub(crate) fn own_image() -> Command {
    let mut command = Command::new(OWN_IMAGE);
    command.arg0("evenkeel");
    command
}
