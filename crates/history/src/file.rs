//! The file of the store: created with its directory, locked against a second writer, moved aside when it is corrupt.
//!
//! Separate from the store because none of this is SQL, and because an error here loses a user's history.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use evenkeel_runtime::Clock;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;

/// Creates the directory and the file, if they do not exist, for the owner only. SQLite gives its own files beside it
/// the same mode.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    Ok(())
}

/// Takes the lock that says "this store has a writer". The kernel frees it when the process ends, by any cause.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    let name = beside(path, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name);
    let file = file.map_err(|source| StoreError::File {
        path: name.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(StoreError::File { path: name, source }),
    }
}

/// The identity of a file independent of its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

impl Identity {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    /// Of the file that has this name now.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&std::fs::metadata(path)?))
    }
}

/// Which files a store uses: its own, and SQLite's log and index beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identities {
    file: Identity,
    beside: [Option<Identity>; 2],
}

const BESIDE: [&str; 2] = ["-wal", "-shm"];

impl Identities {
    /// Of the store that has just been opened at `path`.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Identity::at(path)?,
            beside: BESIDE.map(|suffix| Identity::at(&beside(path, suffix)).ok()),
        })
    }

    /// Whether the store's file still has its name.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        Identity::at(path).is_ok_and(|there| there == self.file)
    }

    /// Takes their names from log and index: SQLite would take them for those of the file that is at `path` next. Whoever
    /// has them open still has them.
    pub(crate) fn leave(&self, path: &Path) -> io::Result<()> {
        for (suffix, ours) in BESIDE.iter().zip(self.beside) {
            let name = beside(path, suffix);
            if ours.is_some() && Identity::at(&name).ok() == ours {
                std::fs::remove_file(&name)?;
            }
        }
        Ok(())
    }
}

/// The lock for the file at `path`: `held`, if it is still the one that others would take, else that one.
pub(crate) fn same_or_new_lock(path: &Path, held: Option<&File>) -> Result<File, StoreError> {
    if let Some(held) = held {
        let ours = held.metadata().map(|metadata| Identity::of(&metadata));
        if let (Ok(ours), Ok(there)) = (ours, Identity::at(&beside(path, ".lock")))
            && ours == there
        {
            return held.try_clone().map_err(|source| StoreError::File {
                path: path.to_owned(),
                source,
            });
        }
    }
    lock(path)
}

/// Moves a broken file and what belongs to it aside. Gives the new name.
pub(crate) fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let date = calendar_now().strftime("%Y-%m-%d").to_string();
    let first = beside(path, &format!(".corrupt-{date}"));
    let free = (2..100).map(|number| beside(path, &format!(".corrupt-{date}.{number}")));
    let aside = std::iter::once(first.clone())
        .chain(free)
        .find(|name| !name.exists());
    // A hundredth on one day replaces the first.
    let aside = aside.unwrap_or(first);
    let rename = |suffix: &str| match std::fs::rename(beside(path, suffix), beside(&aside, suffix))
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    // The log first: a log that is left would be taken for the new file's.
    for suffix in ["-wal", "-shm", ""] {
        rename(suffix).map_err(|source| StoreError::File {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(aside)
}

/// A connection that cannot write. A file on a read-only disk, whose log is empty, is read as it is.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !path.exists() {
        return Err(StoreError::Absent {
            path: path.to_owned(),
        });
    }
    let looked = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(std::time::Duration::from_secs(2))?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    });
    let log = beside(path, "-wal");
    let log_is_empty = std::fs::metadata(log).map_or(true, |about| about.len() == 0);
    match looked {
        Err(error) if is_read_only(&error) && log_is_empty => {
            let uri = format!("file:{}?immutable=1", escaped(path));
            Ok(Connection::open_with_flags(
                uri,
                flags | OpenFlags::SQLITE_OPEN_URI,
            )?)
        }
        other => Ok(other?),
    }
}

/// The time now, on the calendar.
pub(crate) fn calendar_now() -> jiff::Timestamp {
    let millis = i64::try_from(Clock::start().epoch().0.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
}

fn is_read_only(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
    matches!(error.sqlite_error_code(), Some(CannotOpen | ReadOnly))
}

fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut escaped = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
