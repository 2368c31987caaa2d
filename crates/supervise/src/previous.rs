//! The previous version of a program: a copy of the last one with which a server was verified.
//!
//! The user's own file is never modified: a deployment finds exactly what it installed. Copies are stored by the full
//! path of the file, since servers of a service may run different programs whose files have the same name.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use evenkeel_config::plan::{ChildPlan, RollBackPlan};
use evenkeel_fault::maintenance::calendar;

use crate::program::{ProgramFile, main_file};

/// Larger programs are not copied.
const MOST: u64 = 1 << 30;

/// The main file of a command, and where what is kept of it is.
#[derive(Debug)]
pub(crate) struct ProgramPath {
    /// Which word of the command names the file.
    word: usize,
    /// The user's own file.
    pub(crate) file: PathBuf,
    /// The copy of it.
    copy: PathBuf,
    /// The record of the file in whose place the copy is started.
    pub(crate) record: PathBuf,
}

/// The copy that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptCopy {
    /// As it is on disk.
    file: ProgramFile,
    /// Its location.
    pub(crate) path: PathBuf,
    /// Which word of the command it takes the place of.
    word: usize,
    /// Its description.
    pub(crate) text: String,
}

impl ProgramPath {
    /// The place of the main file of this plan, if copies are kept. Blocks.
    pub(crate) fn of(plan: &ChildPlan) -> Option<Self> {
        let folder = folder(plan)?;
        let (word, file) = main_file(plan)?;
        let absolute = std::path::absolute(&file).ok()?;
        // The path itself may be longer than a name can be.
        let name = format!("{:016x}", checksum(absolute.as_os_str().as_bytes()));
        Some(Self {
            word,
            copy: folder.join(&name).join(file.file_name()?),
            record: folder.join(name).with_extension("json"),
            file,
        })
    }

    /// The copy, if there is one. Blocks.
    pub(crate) fn copied(&self) -> Option<KeptCopy> {
        let file = ProgramFile::read(self.copy.clone())?;
        let since = file.modified().duration_since(UNIX_EPOCH);
        let since = since.unwrap_or_default().as_millis();
        let at = calendar(i64::try_from(since).unwrap_or(i64::MAX));
        let text = format!(
            "the copy of {} that ran well, changed at {at}",
            self.file.display()
        );
        Some(KeptCopy {
            file,
            path: self.copy.clone(),
            word: self.word,
            text,
        })
    }
}

impl KeptCopy {
    /// Whether it is a copy of this very file.
    pub(crate) fn is_of(&self, file: &ProgramFile) -> bool {
        self.file.is_same_version(file)
    }

    /// The command with the copy in it.
    pub(crate) fn command(self, mut command: Vec<String>) -> Vec<String> {
        if let Some(word) = command.get_mut(self.word) {
            *word = self.path.to_string_lossy().into_owned();
        }
        command
    }
}

/// The directory for copies of this plan's program, if copies are kept.
pub(crate) fn folder(plan: &ChildPlan) -> Option<&Path> {
    plan.roll_back
        .as_ref()
        .and_then(|roll_back: &RollBackPlan| roll_back.keep_in.as_deref())
}

/// Keeps a copy of the program with which a server was verified, if it is still the one that was started and is not kept already.
/// Says whether a copy was made. `name` tells copies apart that are made at the same time. Blocks.
pub(crate) fn keep(plan: &ChildPlan, started: &[ProgramFile], name: u32) -> io::Result<bool> {
    let (Some(folder), Some(slot)) = (folder(plan), ProgramPath::of(plan)) else {
        return Ok(false);
    };
    let (Some(file), Some(beside)) = (ProgramFile::read(slot.file.clone()), slot.copy.parent())
    else {
        return Ok(false);
    };
    let is_kept = slot.copied().is_some_and(|copied| copied.is_of(&file));
    if !started.contains(&file) || is_kept {
        return Ok(false);
    }
    if file.length() > MOST {
        return Err(io::Error::other("it is larger than 1 GiB"));
    }
    std::fs::create_dir_all(beside)?;
    let new = folder.join(format!(".{name}.new"));
    std::fs::copy(&slot.file, &new)?;
    let written = std::fs::File::open(&new)?;
    written.set_modified(file.modified())?;
    // It takes the place of one that is whole, and is needed when all else is broken.
    written.sync_all()?;
    if ProgramFile::read(slot.file).as_ref() != Some(&file) {
        // It was replaced meanwhile: it is unknown what was copied.
        std::fs::remove_file(&new)?;
        return Ok(false);
    }
    std::fs::rename(new, slot.copy)?;
    Ok(true)
}

/// FNV-1a, which stays the same from version to version. Nobody gains by two paths that have the same.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::program::files;

    /// A folder of its own for a test.
    pub(crate) fn folder_of(test: &str) -> PathBuf {
        let name = format!("evenkeel-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A server in `directory`, whose copies are kept in `folder`.
    pub(crate) fn plan(folder: &Path, directory: &Path, command: &[&str]) -> ChildPlan {
        ChildPlan {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            directory: Some(directory.to_owned()),
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
    fn what_ran_well_is_kept_and_takes_its_place_in_the_command() {
        let folder = folder_of("keeps");
        let plan = plan(&folder, &folder, &["sh", "shop.sh", "80"]);
        let program = folder.join("shop.sh");
        std::fs::write(&program, "good").unwrap();
        assert_eq!(ProgramPath::of(&plan).unwrap().copied(), None);
        let started = files(&plan);
        assert!(keep(&plan, &started, 0).unwrap());
        assert!(!keep(&plan, &started, 0).unwrap(), "it is kept already");

        std::fs::write(&program, "does not start").unwrap();
        // It was verified before it was replaced: that says nothing about what is there now.
        assert!(!keep(&plan, &started, 0).unwrap());
        let copied = ProgramPath::of(&plan).unwrap().copied().unwrap();
        assert!(copied.text.contains("shop.sh that ran well, changed at 20"));
        assert_eq!(std::fs::read(&copied.path).unwrap(), b"good");
        let command = copied.clone().command(plan.command);
        assert_eq!(command, ["sh", &copied.path.to_string_lossy(), "80"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn programs_of_one_name_in_different_folders_have_copies_of_their_own() {
        let folder = folder_of("of-one-name");
        for name in ["one", "other"] {
            let directory = folder.join(name);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("shop.sh"), name).unwrap();
            let plan = plan(&folder, &directory, &["sh", "shop.sh"]);
            assert!(keep(&plan, &files(&plan), 0).unwrap());
        }
        for name in ["one", "other"] {
            let plan = plan(&folder, &folder.join(name), &["sh", "shop.sh"]);
            let copied = ProgramPath::of(&plan).unwrap().copied().unwrap();
            assert_eq!(std::fs::read_to_string(copied.path).unwrap(), name);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_place_of_a_file_is_the_same_in_every_version() {
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
