//! Detects changes of a program since its last run: the executable, and files among its arguments, such as scripts.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_config::plan::ChildPlan;
use evenkeel_core::ProgramChange;
use serde::{Deserialize, Serialize};

/// A process that has lived for so long shows that its program is good.
const TRUSTED: Duration = Duration::from_secs(60);

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramFile {
    path: PathBuf,
    modified: SystemTime,
    length: u64,
}

impl ProgramFile {
    pub(crate) fn read(path: PathBuf) -> Option<Self> {
        let metadata = std::fs::metadata(&path).ok()?;
        Some(Self {
            modified: metadata.modified().ok().filter(|_| metadata.is_file())?,
            length: metadata.len(),
            path,
        })
    }

    /// Whether that is a copy of this one: as long, and with the same time of change, which a copy gets.
    pub(crate) fn is_same_version(&self, other: &Self) -> bool {
        (self.modified, self.length) == (other.modified, other.length)
    }

    pub(crate) const fn modified(&self) -> SystemTime {
        self.modified
    }

    /// In bytes.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }
}

/// The program of one server, from start to start.
#[derive(Debug, Default)]
pub(crate) struct Program {
    files: Vec<ProgramFile>,
    change: Option<ProgramChange>,
    /// When the configuration by which it is started next was changed, in milliseconds since 1970-01-01 UTC.
    reconfigured: Option<i64>,
}

impl Program {
    /// A process is started from these files.
    pub(crate) fn starts(&mut self, files: Vec<ProgramFile>) {
        if let Some(change) = self.difference(&files) {
            self.change = Some(change);
        }
        if let Some(modified_millis) = self.reconfigured.take() {
            self.change = Some(ProgramChange {
                path: "its configuration (`run`)".to_owned(),
                modified_millis,
            });
        }
        self.files = files;
    }

    /// The next start is by another configuration, since this time in milliseconds since 1970-01-01 UTC.
    pub(crate) fn reconfigured(&mut self, millis: i64) {
        self.reconfigured = Some(millis);
    }

    /// The latest change among these files since a process was last started, if one was.
    pub(crate) fn difference(&self, files: &[ProgramFile]) -> Option<ProgramChange> {
        let changed = files.iter().filter(|file| !self.files.contains(file));
        let latest = changed.max_by_key(|file| file.modified);
        let latest = latest.filter(|_| !self.files.is_empty())?;
        let since = latest.modified.duration_since(UNIX_EPOCH);
        let millis = since.unwrap_or_default().as_millis();
        Some(ProgramChange {
            path: latest.path.to_string_lossy().into_owned(),
            modified_millis: i64::try_from(millis).unwrap_or(i64::MAX),
        })
    }

    /// The files that it was started from.
    pub(crate) fn files(&self) -> &[ProgramFile] {
        &self.files
    }

    /// What was changed before the last start, if no process has lived long enough since to be trusted.
    pub(crate) fn changed(&self) -> Option<ProgramChange> {
        self.change.clone()
    }

    /// A process of it has ended, or could not be started: what was changed before.
    pub(crate) fn ended(&mut self, uptime: Duration) -> Option<ProgramChange> {
        if uptime >= TRUSTED {
            self.change = None;
        }
        self.changed()
    }
}

/// The files of a command as they are now. Blocks.
pub(crate) fn files(plan: &ChildPlan) -> Vec<ProgramFile> {
    let directory = plan.directory.as_deref().unwrap_or(Path::new("."));
    let mut words = plan.command.iter();
    let program = words.next().and_then(|word| program(word, directory));
    let arguments = words.filter(|word| !word.is_empty());
    program
        .into_iter()
        .chain(arguments.map(|word| directory.join(word)))
        .filter_map(ProgramFile::read)
        .collect()
}

/// The file of a command that is the program, and which word of it names that: the first word, or of a script that is given to a
/// program of the search path the first argument that is a file. Blocks.
pub(crate) fn main_file(plan: &ChildPlan) -> Option<(usize, PathBuf)> {
    let directory = plan.directory.as_deref().unwrap_or(Path::new("."));
    let first = plan.command.first()?;
    if first.contains('/') {
        return Some((0, directory.join(first)));
    }
    let arguments = plan.command.iter().enumerate().skip(1);
    let mut files = arguments.filter(|(_, word)| !word.is_empty());
    let script = files.find_map(|(slot, word)| {
        let path = directory.join(word);
        path.is_file().then_some((slot, path))
    });
    script.or_else(|| Some((0, program(first, directory)?)))
}

/// The path of a program: as written if it contains a slash, else the first match in the search path.
fn program(word: &str, directory: &Path) -> Option<PathBuf> {
    if word.contains('/') {
        return Some(directory.join(word));
    }
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(word));
    places.find(|slot| slot.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, second: u64) -> ProgramFile {
        ProgramFile {
            path: path.into(),
            modified: UNIX_EPOCH + Duration::from_secs(second),
            length: 1,
        }
    }

    #[test]
    fn a_change_is_told_until_a_process_of_it_has_lived_long_enough() {
        let second = Duration::from_secs(1);
        let mut program = Program::default();
        let old = vec![file("/bin/python3", 1), file("shop.py", 2)];
        program.starts(old.clone());
        assert_eq!(program.ended(second), None, "nothing is known before");
        program.starts(old);
        assert_eq!(program.ended(second), None);
        let new = vec![file("/bin/python3", 1), file("shop.py", 7)];
        let change = Some(ProgramChange {
            path: "shop.py".to_owned(),
            modified_millis: 7_000,
        });
        assert_eq!(program.difference(&new), change);
        for _ in 0..3 {
            program.starts(new.clone());
            assert_eq!(program.changed(), change);
            assert_eq!(program.difference(&new), None);
            assert_eq!(program.ended(second), change);
        }
        assert_eq!(program.ended(TRUSTED), None);
        program.starts(new);
        assert_eq!(program.ended(second), None);
    }

    #[test]
    fn the_program_and_files_among_its_arguments_are_looked_at() {
        let folder = std::env::temp_dir().join(format!("evenkeel-program-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("shop.py"), "1").unwrap();
        let plan = ChildPlan {
            command: ["sh", "shop.py", "--port", "80", "missing.py", ""]
                .map(str::to_owned)
                .to_vec(),
            directory: Some(folder.clone()),
            environment: Vec::new(),
            stop_signal: 15,
            stop_wait: Duration::from_secs(1),
            roll_back: None,
        };
        let names: Vec<String> = files(&plan)
            .iter()
            .filter_map(|file| Some(file.path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["sh", "shop.py"]);
    }
}
