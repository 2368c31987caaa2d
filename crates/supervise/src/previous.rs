//! The program that ran before: a copy of the last one with which a server was verified. It is started in place of one that cannot
//! start, for as long as that one is there.
//!
//! The user's own file is left alone: whoever deploys finds what they have put there, and the next file that they put there is
//! started again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use evenkeel_config::plan::{ChildPlan, RollBackPlan};
use evenkeel_fault::maintenance::calendar;

use crate::program::{ProgramFile, main_file};

/// Larger programs are not copied.
const MOST: u64 = 1 << 30;

/// What is known of the programs of a service.
#[derive(Debug, Default)]
pub(crate) struct Previous {
    /// The file that was copied last.
    kept: Option<ProgramFile>,
    /// The files in whose place the copy is started.
    instead_of: Option<Vec<ProgramFile>>,
}

/// The copy that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Which word of the command it takes the place of.
    word: usize,
    /// What is said of it.
    pub(crate) text: String,
}

impl Previous {
    /// Whether this file is the one that was copied.
    pub(crate) fn kept(&self) -> Option<&ProgramFile> {
        self.kept.as_ref()
    }

    /// A copy was made.
    pub(crate) fn keeps(&mut self, file: ProgramFile) {
        self.kept = Some(file);
    }

    /// From now on the copy is started in place of these files.
    pub(crate) fn rolled_back(&mut self, files: Vec<ProgramFile>) {
        self.instead_of = Some(files);
    }

    /// Whether the copy is to be started in place of these files. Other ones are a new version.
    pub(crate) fn is_instead_of(&mut self, files: &[ProgramFile]) -> bool {
        let is_it = self.instead_of.as_deref() == Some(files);
        if !is_it {
            self.instead_of = None;
        }
        is_it
    }
}

impl Copied {
    /// The command with the copy in it.
    pub(crate) fn command(self, mut command: Vec<String>) -> Vec<String> {
        if let Some(word) = command.get_mut(self.word) {
            *word = self.path.to_string_lossy().into_owned();
        }
        command
    }
}

/// Where copies of the program of this plan are kept, if they are.
pub(crate) fn folder(plan: &ChildPlan) -> Option<&Path> {
    plan.roll_back
        .as_ref()
        .and_then(|roll_back: &RollBackPlan| roll_back.keep_in.as_deref())
}

/// The copy of the program of this plan, if there is one. Blocks.
pub(crate) fn copy(plan: &ChildPlan) -> Option<Copied> {
    let (word, file) = main_file(plan)?;
    let path = folder(plan)?.join(file.file_name()?);
    let modified = path.metadata().ok()?.modified().ok()?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = calendar(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let text = format!(
        "the copy of {} that ran well, changed at {at}",
        file.display()
    );
    Some(Copied { path, word, text })
}

/// Keeps a copy of the program with which a server was verified, if it is still the one that was started and is not kept already.
/// Gives the file that was copied. `name` tells copies apart that are made at the same time. Blocks.
pub(crate) fn keep(
    plan: &ChildPlan,
    started: &[ProgramFile],
    known: Option<&ProgramFile>,
    name: u32,
) -> io::Result<Option<ProgramFile>> {
    let (Some(folder), Some((_, path))) = (folder(plan), main_file(plan)) else {
        return Ok(None);
    };
    let (Some(file), Some(file_name)) = (ProgramFile::read(path.clone()), path.file_name()) else {
        return Ok(None);
    };
    if !started.contains(&file) || known == Some(&file) {
        return Ok(None);
    }
    if file.length() > MOST {
        return Err(io::Error::other("it is larger than 1 GiB"));
    }
    std::fs::create_dir_all(folder)?;
    let copy = folder.join(file_name);
    let new = folder.join(format!(".{name}.new"));
    std::fs::copy(&path, &new)?;
    std::fs::File::open(&new)?.set_modified(file.modified())?;
    if ProgramFile::read(path).as_ref() != Some(&file) {
        // It was replaced meanwhile: nobody knows what was copied.
        std::fs::remove_file(&new)?;
        return Ok(None);
    }
    std::fs::rename(new, copy)?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::program::files;

    fn plan(folder: &Path) -> ChildPlan {
        ChildPlan {
            command: ["sh", "shop.sh", "80"].map(str::to_owned).to_vec(),
            directory: Some(folder.to_owned()),
            environment: Vec::new(),
            stop_signal: 15,
            stop_wait: Duration::from_secs(1),
            roll_back: Some(RollBackPlan {
                command: None,
                keep_in: Some(folder.join("kept")),
            }),
        }
    }

    #[test]
    fn what_ran_well_is_kept_and_started_in_place_of_what_does_not_until_that_changes() {
        let folder = std::env::temp_dir().join(format!("evenkeel-previous-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (plan, program) = (plan(&folder), folder.join("shop.sh"));
        std::fs::write(&program, "good").unwrap();
        let mut previous = Previous::default();
        assert_eq!(copy(&plan), None);
        let started = files(&plan);
        let kept = keep(&plan, &started, previous.kept(), 0).unwrap();
        previous.keeps(kept.unwrap());
        assert_eq!(keep(&plan, &started, previous.kept(), 0).unwrap(), None);

        std::fs::write(&program, "does not start").unwrap();
        // It was verified before it was replaced: that says nothing about what is there now.
        assert_eq!(keep(&plan, &started, previous.kept(), 0).unwrap(), None);
        assert!(!previous.is_instead_of(&files(&plan)));
        previous.rolled_back(files(&plan));
        assert!(previous.is_instead_of(&files(&plan)));
        let copied = copy(&plan).unwrap();
        assert!(copied.text.contains("shop.sh that ran well, changed at 20"));
        assert_eq!(std::fs::read(&copied.path).unwrap(), b"good");
        let command = copied.clone().command(plan.command.clone());
        assert_eq!(command, ["sh", &copied.path.to_string_lossy(), "80"]);

        std::fs::write(&program, "a newer version").unwrap();
        assert!(!previous.is_instead_of(&files(&plan)));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
