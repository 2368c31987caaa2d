//! The limit on open file descriptors of this process.
//!
//! The kernel has a soft and a hard limit: the soft one applies, and a process may raise it up to the hard one. Service
//! managers set the soft limit to 1,024 for programs that still use select(2); for a proxy that means 500 clients.
//! evenkeel therefore raises its own limit, and starts child processes with the original one.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// The limit with which this process was started.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit to the hard limit; returns the old and the new one. [`u64::MAX`] is no limit.
///
/// # Errors
/// If the kernel refuses.
pub fn raise_limit() -> io::Result<(u64, u64)> {
    let given = getrlimit(Resource::Nofile);
    let given = INHERITED.get_or_init(|| given);
    let raised = Rlimit {
        current: given.maximum,
        ..*given
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok((number(given.current), number(given.maximum)))
}

/// The most descriptors that may be open now; [`u64::MAX`] without a limit.
#[must_use]
pub fn limit() -> u64 {
    number(getrlimit(Resource::Nofile).current)
}

/// How far the limit can be raised; [`u64::MAX`] without a limit.
#[must_use]
pub fn hard_limit() -> u64 {
    number(getrlimit(Resource::Nofile).maximum)
}

/// Gives a process that was started just now the limit that this one had before it was raised. Nothing happens if it was
/// not, or if the process has ended.
pub fn restore_limit_of(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let (Some(given), Some(pid)) = (INHERITED.get(), pid) {
        prlimit(Some(pid), Resource::Nofile, *given).ok();
    }
}

/// How many descriptors are open now; nothing if that cannot be read.
#[must_use]
pub fn used() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    // Linux 6.2 and later tell it as the size of the folder.
    match std::fs::metadata(FOLDER).ok()?.len() {
        0 => Some(std::fs::read_dir(FOLDER).ok()?.count() as u64),
        count => Some(count),
    }
}

fn number(limit: Option<u64>) -> u64 {
    limit.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// The limits of this process are shared by all of its tests, so a single test checks them.
    #[test]
    fn it_is_raised_and_a_child_has_what_was_inherited() {
        assert!(used().is_none_or(|used| used >= 3 && used <= limit()));
        let before = limit();
        assert!(before <= hard_limit());
        let given = Rlimit {
            current: Some(before.min(100)),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        setrlimit(Resource::Nofile, given).unwrap();
        let (from, to) = raise_limit().unwrap();
        assert_eq!((from, to), (before.min(100), hard_limit()));
        assert_eq!(limit(), hard_limit());
        // It waits for a line before it looks.
        let mut child = Command::new("sh")
            .args(["-c", "read line; ulimit -n"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        restore_limit_of(child.id());
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.trim(), before.min(100).to_string());
    }
}
