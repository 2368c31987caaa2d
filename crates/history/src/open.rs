//! Opening a store: creating it, migrating it to this version, or starting over when its file is corrupt.
//!
//! Separate from the queries because everything that can go wrong with a file goes wrong here.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::file::Identities;
use crate::store::Store;
use crate::{file, schema};

/// How long a write waits for another connection's.
const BUSY: Duration = Duration::from_secs(5);
/// An opened store, with notes about it for the operator.
#[derive(Debug)]
pub struct OpenedStore {
    /// The store.
    pub store: Store,
    /// Notes for the operator, if something was unusual.
    pub notes: Vec<String>,
}

impl Store {
    /// Opens the file, or makes it (mode 0600) and its folder; `None` is a store in memory. A file that is broken is
    /// moved aside and a new one begun; the notes say so.
    ///
    /// # Errors
    /// If the file cannot be made or written, is in use by another evenkeel, or was written by a later version.
    pub fn open(path: Option<&Path>) -> Result<OpenedStore, StoreError> {
        let Some(path) = path else {
            let store = Self::start(Connection::open_in_memory()?, None, None)?.0;
            return Ok(OpenedStore {
                store,
                notes: Vec::new(),
            });
        };
        file::make(path).map_err(|source| StoreError::File {
            path: path.to_owned(),
            source,
        })?;
        let lock = file::lock(path)?;
        Self::open_locked(path, lock)
    }

    /// As [`Store::open`]; if the file cannot be used, a store in memory and a note that says why.
    ///
    /// # Errors
    /// If there is not even memory.
    pub fn open_or_memory(path: Option<&Path>) -> Result<OpenedStore, StoreError> {
        Self::open(path).or_else(|error| {
            let mut opened = Self::open(None)?;
            opened.notes.push(format!(
                "{error}. Incidents are kept in memory only, until evenkeel ends"
            ));
            opened.store.only_memory = Some(error.to_string());
            Ok(opened)
        })
    }

    /// Opens the file to read it, also while an evenkeel writes it. Nothing is made or changed.
    ///
    /// # Errors
    /// If there is no such file, it cannot be read, or it was written by a later version.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let connection = file::open_read_only(path)?;
        let version = schema::version(&connection)?;
        Ok(Self {
            connection,
            path: Some(path.to_owned()),
            version,
            lock: None,
            identity: None,
            only_memory: None,
        })
    }

    /// Whether the file that was opened still has its name.
    ///
    /// # Errors
    /// If it has not: what is written to it now is lost when this is closed.
    pub(crate) fn check_file(&self) -> Result<(), StoreError> {
        let (Some(path), Some(identity)) = (&self.path, self.identity) else {
            return Ok(());
        };
        if identity.is_at(path) {
            Ok(())
        } else {
            Err(StoreError::Gone { path: path.clone() })
        }
    }

    /// A store in the place of this one, whose file has lost its name, with all that this one holds. Both are whole
    /// afterwards, also after an error.
    ///
    /// # Errors
    /// If the file cannot be made, is in use by another evenkeel, or what this one holds cannot be copied.
    pub(crate) fn recreated(&self) -> Result<OpenedStore, StoreError> {
        let (Some(path), Some(identity)) = (&self.path, self.identity) else {
            return Self::open(None);
        };
        let failed = |source| StoreError::File {
            path: path.clone(),
            source,
        };
        file::make(path).map_err(failed)?;
        identity.leave(path).map_err(failed)?;
        let lock = file::same_or_new_lock(path, self.lock.as_ref())?;
        let opened = Self::open_locked(path, lock)?;
        self.copy_to(path)?;
        // A connection that closes tidies up its log by name, which is the new file's now.
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(opened)
    }

    /// Copies all rows to the store at `path`, which has the same tables. Where both have a row, this one's is newer.
    fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let path = path.to_string_lossy();
        self.connection
            .execute("ATTACH DATABASE ?1 AS copy", [&*path])?;
        let copied = self.together(|store| {
            let mut tables = store.connection.prepare(
                "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            )?;
            let names = tables.query_map([], |row| row.get::<_, String>(0))?;
            for name in names {
                let name = name?;
                store.connection.execute(
                    &format!("INSERT OR REPLACE INTO copy.\"{name}\" SELECT * FROM main.\"{name}\""),
                    [],
                )?;
            }
            Ok(())
        });
        self.connection.execute("DETACH DATABASE copy", [])?;
        copied
    }

    /// Moves the broken file aside and begins a new one in its place. In memory there is nothing to move.
    pub(crate) fn start_over(self) -> Result<OpenedStore, StoreError> {
        let Self {
            connection,
            path,
            lock,
            ..
        } = self;
        // Before the file is moved: a connection that closes removes its log by name, which would be the new file's.
        drop(connection);
        match (path, lock) {
            (Some(path), Some(lock)) => replace(&path, lock, "found while writing"),
            _ => Self::open(None),
        }
    }

    fn open_locked(path: &Path, lock: File) -> Result<OpenedStore, StoreError> {
        let again = lock.try_clone().map_err(|source| StoreError::File {
            path: path.to_owned(),
            source,
        })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let started = Connection::open_with_flags(path, flags)
            .map_err(StoreError::Sql)
            .and_then(|connection| Self::start(connection, Some(path), Some(lock)));
        match started {
            Ok((store, migrated)) => {
                let note = |from| {
                    format!(
                        "the incident store was migrated from version {from} to {}",
                        schema::CURRENT
                    )
                };
                // Version 0 is a file that was just made.
                let notes = migrated
                    .filter(|&from| from > 0)
                    .map(note)
                    .into_iter()
                    .collect();
                Ok(OpenedStore { store, notes })
            }
            Err(error) if error.is_corruption() => replace(path, again, &why_broken(path, &error)),
            Err(error) => Err(error),
        }
    }

    /// Prepares the connection, and reads a little so that a broken file is found now.
    fn start(
        mut connection: Connection,
        path: Option<&Path>,
        lock: Option<File>,
    ) -> Result<(Self, Option<u32>), StoreError> {
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let migrated = schema::migrate(&mut connection)?;
        let mut store = Self {
            connection,
            path: path.map(Path::to_owned),
            version: schema::CURRENT,
            lock,
            identity: None,
            only_memory: None,
        };
        store.recent_closed(20)?;
        store.last_numbers()?;
        // Now that log and index are there as well.
        store.identity = path.and_then(|path| Identities::at(path).ok());
        Ok((store, migrated))
    }
}

/// Moves the file aside and opens a new one.
fn replace(path: &Path, lock: File, why: &str) -> Result<OpenedStore, StoreError> {
    let aside = file::move_aside(path)?;
    file::make(path).map_err(|source| StoreError::File {
        path: path.to_owned(),
        source,
    })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let (store, _) = Store::start(connection, Some(path), Some(lock))?;
    let note = format!(
        "the incident store {} is corrupt ({why}). It was moved to {}, and a new one was created",
        path.display(),
        aside.display()
    );
    Ok(OpenedStore {
        store,
        notes: vec![note],
    })
}

/// The error in the file, in SQLite's words.
fn why_broken(path: &Path, error: &StoreError) -> String {
    let found = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(
        |connection| {
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        },
    );
    match (found, error) {
        (Ok(found), _) if found != "ok" => found
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("*** ")
            .to_owned(),
        (_, StoreError::Sql(error)) => error.to_string(),
        (_, error) => error.to_string(),
    }
}
