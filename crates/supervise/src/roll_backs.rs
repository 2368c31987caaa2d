//! Active roll-backs: files that could not start and are replaced by their copies for as long as the same file is
//! present.
//!
//! Each is recorded next to the copy. Otherwise, after a restart of evenkeel, a program that cannot start would be
//! started again, and since no change of it has been seen, nothing would be rolled back.
//!
//! Only the main file of a command is checked. Other files among its arguments may be written by the servers
//! themselves.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use evenkeel_config::plan::ChildPlan;
use serde::{Deserialize, Serialize};

use crate::previous::{KeptCopy, ProgramPath};
use crate::program::ProgramFile;

/// Why there is nothing to go back to.
pub(crate) const NO_COPY: &str =
    "no version has been verified since copies are kept, so there is none to roll back to";
const SAME: &str =
    "the program is already the last verified version, so there is none to roll back to";

/// The active roll-backs, by the path of their record. Those not looked up yet are on disk only; `None` means that
/// there is none.
#[derive(Debug, Default)]
pub(crate) struct RollBacks(BTreeMap<PathBuf, Option<ProgramState>>);

/// The file at the path of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ProgramState {
    Missing,
    File(ProgramFile),
}

impl RollBacks {
    /// From now on the copy is started in place of the program that is there now. Says what it went back to. Blocks.
    ///
    /// # Errors
    /// Why there is nothing to go back to, in words.
    pub(crate) fn roll_back(&mut self, plan: &ChildPlan) -> Result<String, String> {
        let slot = ProgramPath::of(plan).ok_or(NO_COPY)?;
        let copied = slot.copied().ok_or(NO_COPY)?;
        let found = ProgramState::read(&slot);
        if matches!(&found, ProgramState::File(file) if copied.is_of(file)) {
            return Err(SAME.to_owned());
        }
        let written = found.write(&slot.record);
        self.0.insert(slot.record, Some(found));
        let text = copied.text;
        // It takes effect nevertheless: a full disk must not prolong an outage.
        Ok(written.map_or_else(
            |error| {
                format!("rolled back to {text}, until evenkeel is restarted: the roll-back cannot be recorded ({error})")
            },
            |()| format!("rolled back to {text}"),
        ))
    }

    /// The copy that is to be started in place of the program that is there now. Any other file at its path is a new version, which
    /// ends that. Blocks.
    pub(crate) fn copy_to_start(&mut self, plan: &ChildPlan) -> Option<KeptCopy> {
        let by_command = plan.roll_back.as_ref()?.command.is_some();
        let slot = ProgramPath::of(plan).filter(|_| !by_command)?;
        let look_up = || ProgramState::look_up(&slot.record);
        let instead_of = self.0.entry(slot.record.clone()).or_insert_with(look_up);
        let found = ProgramState::read(&slot);
        // While there is none, nothing new was put there either.
        let is_it = found == ProgramState::Missing || instead_of.as_ref() == Some(&found);
        if instead_of.is_some() && !is_it {
            *instead_of = None;
            // If it stays, it refers to a file that no longer exists.
            std::fs::remove_file(&slot.record).ok();
        }
        instead_of.as_ref().and_then(|_| slot.copied())
    }
}

impl ProgramState {
    fn read(slot: &ProgramPath) -> Self {
        ProgramFile::read(slot.file.clone()).map_or(Self::Missing, Self::File)
    }

    /// The record, if it can be read.
    fn look_up(record: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(record).ok()?).ok()
    }

    /// Writes it down, all of it or nothing.
    fn write(&self, record: &Path) -> io::Result<()> {
        let new = record.with_extension("new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(new, record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::previous::keep;
    use crate::previous::tests::{folder_of, plan};
    use crate::program::files;

    /// A program of which a good version was kept, and a bad one is there now.
    fn deploy(folder: &Path, directory: &Path, command: &[&str]) -> ChildPlan {
        std::fs::create_dir_all(directory).unwrap();
        let plan = plan(folder, directory, command);
        std::fs::write(directory.join("shop.sh"), "good").unwrap();
        assert!(keep(&plan, &files(&plan), 0).unwrap());
        std::fs::write(directory.join("shop.sh"), "does not start").unwrap();
        plan
    }

    /// As after a restart of evenkeel.
    fn anew(plan: &ChildPlan) -> Option<KeptCopy> {
        RollBacks::default().copy_to_start(plan)
    }

    #[test]
    fn a_copy_stands_in_until_the_file_is_changed_also_after_a_restart() {
        let folder = folder_of("stands-in");
        let plan = deploy(&folder, &folder, &["sh", "shop.sh"]);
        let mut roll_backs = RollBacks::default();
        assert_eq!(
            roll_backs.copy_to_start(&plan),
            None,
            "nobody rolled it back"
        );
        let text = roll_backs.roll_back(&plan).unwrap();
        assert!(text.contains("that ran well, changed at 20"), "{text}");
        assert!(text.starts_with("rolled back to the copy of"), "{text}");
        for copied in [roll_backs.copy_to_start(&plan), anew(&plan)] {
            assert_eq!(std::fs::read(copied.unwrap().path).unwrap(), b"good");
        }

        let bad = ProgramFile::read(folder.join("shop.sh")).unwrap();
        std::fs::write(folder.join("shop.sh"), "a newer version").unwrap();
        assert_eq!(anew(&plan), None);
        assert_eq!(roll_backs.copy_to_start(&plan), None);
        // Whoever puts the same file there again wants it to be started.
        std::fs::write(folder.join("shop.sh"), "does not start").unwrap();
        let mut options = std::fs::File::options();
        let again = options.append(true).open(folder.join("shop.sh")).unwrap();
        again.set_modified(bad.modified()).unwrap();
        assert_eq!(ProgramFile::read(folder.join("shop.sh")), Some(bad));
        assert_eq!(roll_backs.copy_to_start(&plan), None);
        assert_eq!(anew(&plan), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn files_that_servers_write_end_nothing() {
        let folder = folder_of("other-files");
        std::fs::write(folder.join("shop.log"), "").unwrap();
        let plan = deploy(&folder, &folder, &["sh", "shop.sh", "shop.log"]);
        let mut roll_backs = RollBacks::default();
        roll_backs.roll_back(&plan).unwrap();
        std::fs::write(folder.join("shop.log"), "a line").unwrap();
        assert!(roll_backs.copy_to_start(&plan).is_some());
        std::fs::remove_file(folder.join("shop.log")).unwrap();
        assert!(roll_backs.copy_to_start(&plan).is_some());
        assert!(anew(&plan).is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn another_program_of_the_service_ends_nothing() {
        let folder = folder_of("other-programs");
        let one = deploy(&folder, &folder.join("one"), &["sh", "shop.sh"]);
        let other = deploy(&folder, &folder.join("other"), &["sh", "shop.sh"]);
        let mut roll_backs = RollBacks::default();
        roll_backs.roll_back(&one).unwrap();
        assert_eq!(
            roll_backs.copy_to_start(&other),
            None,
            "it was not rolled back"
        );
        assert!(roll_backs.copy_to_start(&one).is_some());
        roll_backs.roll_back(&other).unwrap();
        std::fs::write(folder.join("other").join("shop.sh"), "a newer version").unwrap();
        assert_eq!(roll_backs.copy_to_start(&other), None);
        assert!(roll_backs.copy_to_start(&one).is_some());
        assert!(anew(&one).is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_is_missing_is_not_a_new_version() {
        let folder = folder_of("missing");
        let plan = deploy(&folder, &folder, &["./shop.sh"]);
        let mut roll_backs = RollBacks::default();
        roll_backs.roll_back(&plan).unwrap();
        std::fs::remove_file(folder.join("shop.sh")).unwrap();
        assert!(roll_backs.copy_to_start(&plan).is_some());
        // It can be what is rolled back, too.
        roll_backs.roll_back(&plan).unwrap();
        assert!(anew(&plan).is_some());
        std::fs::write(folder.join("shop.sh"), "a newer version").unwrap();
        assert_eq!(anew(&plan), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_ran_well_is_not_rolled_back_to_itself() {
        let folder = folder_of("same");
        let plan = plan(&folder, &folder, &["sh", "shop.sh"]);
        let mut roll_backs = RollBacks::default();
        std::fs::write(folder.join("shop.sh"), "good").unwrap();
        assert_eq!(roll_backs.roll_back(&plan), Err(NO_COPY.to_owned()));
        assert!(keep(&plan, &files(&plan), 0).unwrap());
        assert_eq!(roll_backs.roll_back(&plan), Err(SAME.to_owned()));
        assert_eq!(roll_backs.copy_to_start(&plan), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_record_that_cannot_be_read_or_written_does_no_harm() {
        let folder = folder_of("records");
        let plan = deploy(&folder, &folder, &["sh", "shop.sh"]);
        let record = ProgramPath::of(&plan).unwrap().record;
        for damaged in ["", "{\"file\":{\"path\"", "\"other\"", "null"] {
            std::fs::write(&record, damaged).unwrap();
            assert_eq!(anew(&plan), None, "{damaged:?}");
        }
        std::fs::remove_file(&record).unwrap();
        // Nothing can be put in the place of a folder.
        std::fs::create_dir_all(record.join("in the way")).unwrap();
        let mut roll_backs = RollBacks::default();
        let text = roll_backs.roll_back(&plan).unwrap();
        assert!(text.contains("until evenkeel is restarted"), "{text}");
        assert!(roll_backs.copy_to_start(&plan).is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn where_a_command_rolls_back_no_copy_is_started() {
        let folder = folder_of("by-command");
        let mut plan = deploy(&folder, &folder, &["sh", "shop.sh"]);
        RollBacks::default().roll_back(&plan).unwrap();
        assert!(anew(&plan).is_some());
        let roll_back = plan.roll_back.as_mut().unwrap();
        roll_back.command = Some(vec!["./use-version".to_owned()]);
        assert_eq!(anew(&plan), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
