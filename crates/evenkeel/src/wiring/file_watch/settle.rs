//! When a file that has changed is read: once nothing has happened to it for a moment.
//!
//! A file is written in pieces, and deployments replace several at once. Whoever reads the first piece gets a file that is not meant. Time
//! is an argument.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::file_state::FileState;

/// For so long nothing may have happened to a file that is read: longer than programs pause between two pieces, shorter than people wait.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// What is to be done about the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchStep {
    /// Nothing: it is the one that was read last, or there is none.
    Rest,
    /// To look again at this moment.
    LookAt(Instant),
    /// To read it.
    Read,
}

/// What was seen of a file that is not the one that was read last.
#[derive(Debug, Default)]
pub(super) struct SettlingFile {
    /// What it was at the last look, and since when nothing has happened to it.
    seen: Option<(FileState, Instant)>,
}

impl SettlingFile {
    /// A look at `now` has shown this, while `read` is the file that was read last. `touched`: something has happened to it since the
    /// last look. A file that is gone is being replaced.
    pub(super) fn look(
        &mut self,
        state: Option<FileState>,
        read: Option<FileState>,
        touched: bool,
        now: Instant,
    ) -> WatchStep {
        let Some(state) = state.filter(|state| Some(*state) != read) else {
            self.seen = None;
            return WatchStep::Rest;
        };
        let known = self.seen.filter(|(seen, _)| *seen == state && !touched);
        let (_, since) = *self.seen.insert(known.unwrap_or((state, now)));
        let due = since + QUIET;
        if now < due {
            return WatchStep::LookAt(due);
        }
        self.seen = None;
        WatchStep::Read
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn written(path: &PathBuf, text: &str) -> Option<FileState> {
        fs::write(path, text).unwrap();
        FileState::of(path)
    }

    #[test]
    fn a_file_is_read_when_it_has_been_quiet() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.toml");
        let mut file = SettlingFile::default();
        let first = written(&path, "1");
        assert_eq!(file.look(first, first, true, at(0)), WatchStep::Rest);
        let second = written(&path, "12");
        let step = file.look(second, first, true, at(1000));
        assert_eq!(step, WatchStep::LookAt(at(1500)));
        // The next piece, and one that leaves the metadata as they are.
        let third = written(&path, "123");
        let step = file.look(third, first, false, at(1400));
        assert_eq!(step, WatchStep::LookAt(at(1900)));
        let step = file.look(third, first, true, at(1800));
        assert_eq!(step, WatchStep::LookAt(at(2300)));
        let step = file.look(third, first, false, at(2299));
        assert_eq!(step, WatchStep::LookAt(at(2300)));
        assert_eq!(file.look(third, first, false, at(2300)), WatchStep::Read);
        assert_eq!(file.look(third, third, false, at(2400)), WatchStep::Rest);
    }

    #[test]
    fn a_file_that_is_gone_is_no_change_and_what_comes_begins_anew() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.toml");
        let mut file = SettlingFile::default();
        let first = written(&path, "1");
        let second = written(&path, "12");
        file.look(second, first, false, at(0));
        assert_eq!(file.look(None, first, true, at(400)), WatchStep::Rest);
        let step = file.look(second, first, true, at(500));
        assert_eq!(step, WatchStep::LookAt(at(1000)));
        // Put back as it was.
        assert_eq!(file.look(first, first, true, at(600)), WatchStep::Rest);
    }
}
