//! Hears from the kernel (inotify, `inotify(7)`) when something happens to what a path goes through.
//!
//! Folders are watched for the names that count, and not the links themselves, which would be followed; the file is watched for writing.
//! So neither what else is written in the folder nor whoever reads wakes evenkeel.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::chain::PathChain;

/// The path may be changed while its watches are set: they are set again, so often at most.
const MOST_TIMES: usize = 8;
/// So many reads of events at a time; more are as good as one that counts.
const MOST_READS: usize = 64;

/// The names that count in each folder that is watched, by the kernel's number of the watch. What has no name always counts.
pub(super) type WatchedNames = BTreeMap<i32, BTreeSet<OsString>>;

/// The events of one inotify object. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct PathEvents(Arc<AsyncFd<OwnedFd>>);

/// Makes an inotify object; another one in tests of what happens without it.
pub(super) fn open_inotify() -> io::Result<OwnedFd> {
    Ok(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?)
}

impl PathEvents {
    /// Those of this inotify object. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the runtime cannot wait for it.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe for types whose descriptor can change, which an OwnedFd's cannot"
    )]
    pub(super) fn new(inotify: OwnedFd) -> io::Result<Self> {
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        Ok(Self(Arc::new(inotify)))
    }

    /// Watches what `path` goes through now, in place of `before`. Blocks as the disk does.
    ///
    /// # Errors
    /// If there are as many watches as the system allows (`fs.inotify.max_user_watches`), or the file system has none.
    pub(super) fn follow(&self, path: &Path, before: &WatchedNames) -> io::Result<WatchedNames> {
        let mut chain = PathChain::of(path);
        for _ in 0..MOST_TIMES {
            let watched = self.watch(&chain, path)?;
            let now = PathChain::of(path);
            if now == chain {
                let gone = before.keys().filter(|watch| !watched.contains_key(watch));
                for watch in gone {
                    // It ends by itself with its folder.
                    inotify::remove_watch(self.0.get_ref(), *watch).ok();
                }
                return Ok(watched);
            }
            chain = now;
        }
        Err(io::Error::other("the path changes all the time"))
    }

    fn watch(&self, chain: &PathChain, path: &Path) -> io::Result<WatchedNames> {
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let names = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        let content = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        let mut of_folders: BTreeMap<&PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        for folder in &chain.folders {
            of_folders.entry(folder).or_default();
        }
        for (folder, name) in &chain.names {
            let of_folder = of_folders.entry(folder).or_default();
            of_folder.insert(name.clone());
        }
        let mut watched = WatchedNames::new();
        for (folder, of_folder) in of_folders {
            let (flags, is_needed) = if of_folder.is_empty() {
                (itself | WatchFlags::ONLYDIR, false)
            } else {
                (itself | names, true)
            };
            let watch = self.add(folder, flags, is_needed)?;
            watched.extend(watch.map(|watch| (watch, of_folder)));
        }
        let file = self.add(path, itself | content, false)?;
        watched.extend(file.map(|watch| (watch, BTreeSet::new())));
        Ok(watched)
    }

    /// `None` if it is gone by now: then a look shows what becomes of it. What may not be read cannot be watched, which is no error for
    /// what is not needed.
    fn add(&self, path: &Path, flags: WatchFlags, is_needed: bool) -> io::Result<Option<i32>> {
        match inotify::add_watch(self.0.get_ref(), path, flags) {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(Errno::ACCESS) if !is_needed => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until there are events; says whether one of them counts. Cancel safe.
    ///
    /// # Errors
    /// If they cannot be read any more.
    pub(super) async fn next(&self, watched: &WatchedNames) -> io::Result<bool> {
        let mut ready = self.0.readable().await?;
        let (counts, is_empty) = self.take(watched)?;
        if is_empty {
            ready.clear_ready();
        }
        Ok(counts)
    }

    /// Takes the events that are there: whether one counts, and whether none are left.
    ///
    /// # Errors
    /// As for [`Self::next`].
    pub(super) fn take(&self, watched: &WatchedNames) -> io::Result<(bool, bool)> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        let (mut counts, mut reads) = (false, 0);
        loop {
            if reader.is_buffer_empty() {
                reads += 1;
                if reads > MOST_READS {
                    return Ok((true, false));
                }
            }
            match reader.next() {
                Ok(event) => counts |= concerns(&event, watched),
                Err(Errno::AGAIN) => return Ok((counts, true)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether it may have changed what the path leads to. Events that were lost may.
fn concerns(event: &inotify::Event<'_>, watched: &WatchedNames) -> bool {
    let (flags, name) = (event.events(), event.file_name());
    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        return true;
    }
    // The end of a watch was told by what ended it.
    if flags.contains(ReadFlags::IGNORED) {
        return false;
    }
    let Some(names) = watched.get(&event.wd()) else {
        return false;
    };
    let is_named = |name: &std::ffi::CStr| {
        let mut names = names.iter();
        names.any(|one| one.as_bytes() == name.to_bytes())
    };
    name.is_none_or(is_named)
}
