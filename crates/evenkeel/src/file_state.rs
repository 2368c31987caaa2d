//! What tells one content of a file from another without reading it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The metadata of a file: which one it is, how long, and when it was changed. Equal for the same content; another one as soon as the file
/// is written, replaced, or reached by another link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    /// When its content was changed, in seconds and nanoseconds since 1970 …
    modified: (i64, i64),
    /// … and when it or its metadata were, which no program can set.
    changed: (i64, i64),
}

impl FileState {
    /// The state of the file to which `path` leads; `None` if it leads to none now. Blocks as the disk does.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}
