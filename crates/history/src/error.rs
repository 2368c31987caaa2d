//! Errors of the store, in words that an operator can act on.
//!
//! Separate from the store because opening, writing and reading share them.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why something could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be made, locked or moved.
    #[error("the incident store {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file was there, and is gone or another one.
    #[error("the incident store {} was removed or replaced while in use", path.display())]
    Gone {
        /// Which file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("there is no incident store at {}", path.display())]
    Absent {
        /// Which file.
        path: PathBuf,
    },
    /// Another evenkeel writes it.
    #[error("the incident store {} is in use by another evenkeel; give each its own [store]", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// A later version of evenkeel has written it.
    #[error(
        "the incident store has version {found}, newer than {known}, the newest version that this evenkeel supports"
    )]
    Newer {
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A time is not RFC 3339.
    #[error("\"{text}\" is not a time such as 2026-11-22T10:00:00Z")]
    Time {
        /// The given text.
        text: String,
    },
    /// An incident could not be read or written as JSON.
    #[error("incident {id}: {source}")]
    Body {
        /// Which.
        id: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A panic while the store was used; the log has it.
    #[error("evenkeel made a mistake while it used the incident store; its log says more")]
    Panicked,
    /// SQLite says no.
    #[error("the incident store: {0}")]
    Sql(#[from] rusqlite::Error),
}

impl StoreError {
    /// Whether the file is broken, as opposed to full, locked or not allowed.
    pub(crate) fn is_corruption(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    }
}
