//! `reload = "watch"`: the file is read when it has changed and has been quiet for a moment.
//!
//! The kernel says when something happens to the file, to the folder in which it is replaced, and to each link on the way to it. What it
//! says is only a reason to look: what the path leads to decides. So it does no harm if it says too little (a network file system does not
//! tell what other machines do) or nothing (a limit was reached): evenkeel looks by itself now and then, and more often without inotify.

mod chain;
mod notify;
mod settle;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_runtime::Clock;

use self::notify::{PathEvents, WatchedNames, open_inotify};
use self::settle::{QUIET, SettlingFile, WatchStep};
use crate::file_state::FileState;

/// Between two looks while inotify works.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two looks while it does not.
const POLL_EVERY: Duration = QUIET;
/// Before inotify is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// Between two times that events are taken: many at once are one reason to look.
const BREATH: Duration = Duration::from_millis(50);

/// How changes of the file are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchedBy {
    /// The kernel tells.
    Inotify,
    /// Its metadata are looked at.
    Polling,
}

/// What has the file read.
pub(super) trait WatchTarget: Clone + Send + 'static {
    /// The file, if there is one.
    fn file(&self) -> Option<PathBuf>;
    /// Whether the file is to be watched now.
    fn is_wanted(&self) -> bool;
    /// Waits until that may be otherwise. Cancel safe.
    fn may_be_wanted(&mut self) -> impl Future<Output = ()> + Send;
    /// What the file was when it was read last.
    fn last_read(&self) -> Option<FileState>;
    /// Reads it. Blocks.
    fn read(&self);
    /// Is told how changes are noticed from now on; `None`: not at all.
    fn is_watched_by(&self, by: Option<WatchedBy>);
}

/// How it is watched; another way in tests.
#[derive(Debug, Clone, Copy)]
struct WatchMeans {
    /// Makes an inotify object.
    open: fn() -> io::Result<OwnedFd>,
    /// Between two looks while that works.
    look_every: Duration,
}

/// Has the file of `target` read whenever it has changed, while that is wanted. For ever.
pub(super) async fn watch_file(target: impl WatchTarget, clock: Clock) {
    let means = WatchMeans {
        open: open_inotify,
        look_every: LOOK_EVERY,
    };
    watch_by(target, clock, means).await;
}

async fn watch_by<T: WatchTarget>(mut target: T, clock: Clock, means: WatchMeans) {
    let Some(file) = target.file() else { return };
    loop {
        if target.is_wanted() {
            let mut watch = FileWatch::new(file.clone(), clock, means);
            watch.run(&mut target).await;
            target.is_watched_by(None);
        } else {
            target.may_be_wanted().await;
        }
    }
}

/// A file that is watched.
#[derive(Debug)]
struct FileWatch {
    file: PathBuf,
    clock: Clock,
    means: WatchMeans,
    /// What the kernel tells; `None` while it tells nothing.
    events: Option<PathEvents>,
    watched: WatchedNames,
    /// When inotify is tried (again).
    open_at: Instant,
    /// Whether it was said that it does not work.
    is_told: bool,
    /// Whether something has happened since the last look.
    touched: bool,
    settling: SettlingFile,
}

impl FileWatch {
    fn new(file: PathBuf, clock: Clock, means: WatchMeans) -> Self {
        Self {
            file,
            clock,
            means,
            events: None,
            watched: WatchedNames::new(),
            open_at: Instant::ZERO,
            is_told: false,
            touched: false,
            settling: SettlingFile::default(),
        }
    }

    /// Until the file is not to be watched any more.
    async fn run<T: WatchTarget>(&mut self, target: &mut T) {
        let clock = self.clock;
        while target.is_wanted() {
            self.open_events();
            self.take_events();
            let touched = std::mem::take(&mut self.touched);
            let state = self.look().await;
            target.is_watched_by(Some(match self.events {
                Some(_) => WatchedBy::Inotify,
                None => WatchedBy::Polling,
            }));
            let (now, read) = (clock.now(), target.last_read());
            let next = match self.settling.look(state, read, touched, now) {
                WatchStep::Read => {
                    let reader = target.clone();
                    // What became of it is in the log.
                    tokio::task::spawn_blocking(move || reader.read())
                        .await
                        .ok();
                    continue;
                }
                WatchStep::LookAt(at) => at,
                WatchStep::Rest if self.events.is_some() => now + self.means.look_every,
                WatchStep::Rest => now + POLL_EVERY,
            };
            tokio::select! {
                () = self.wait() => {}
                () = clock.sleep_until(next) => {}
                () = target.may_be_wanted() => {}
            }
        }
    }

    /// Begins to hear from the kernel, if it does not yet.
    fn open_events(&mut self) {
        let now = self.clock.now();
        if self.events.is_some() || now < self.open_at {
            return;
        }
        self.open_at = now + AGAIN;
        match (self.means.open)().and_then(PathEvents::new) {
            Ok(events) => self.events = Some(events),
            Err(error) => self.polls(&error),
        }
    }

    /// The kernel tells nothing any more.
    fn polls(&mut self, error: &io::Error) {
        self.events = None;
        self.watched.clear();
        if !std::mem::replace(&mut self.is_told, true) {
            let file = self.file.display();
            tracing::warn!(
                "inotify cannot be used for {file}, which is looked at every {POLL_EVERY:?} instead: {error}"
            );
        }
    }

    /// Takes what the kernel has told and nobody has waited for.
    fn take_events(&mut self) {
        let Some(events) = &self.events else { return };
        match events.take(&self.watched) {
            Ok((counts, _)) => self.touched |= counts,
            Err(error) => self.polls(&error),
        }
    }

    /// What the file is now. What the kernel tells of it is what happens after that.
    async fn look(&mut self) -> Option<FileState> {
        let (file, events) = (self.file.clone(), self.events.clone());
        let before = self.watched.clone();
        // The disk may be slow.
        let looked = tokio::task::spawn_blocking(move || {
            let watched = events.map(|events| events.follow(&file, &before));
            (watched, FileState::of(&file))
        });
        let (watched, state) = looked.await.ok()?;
        match watched {
            Some(Ok(watched)) => (self.watched, self.is_told) = (watched, false),
            Some(Err(error)) => self.polls(&error),
            None => {}
        }
        state
    }

    /// Waits until something has happened to what the path goes through. For ever without inotify. Cancel safe.
    async fn wait(&mut self) {
        while !self.touched {
            let Some(events) = &self.events else {
                return std::future::pending().await;
            };
            match events.next(&self.watched).await {
                Ok(counts) => self.touched |= counts,
                Err(error) => return self.polls(&error),
            }
            // What else is done in these folders wakes evenkeel no more often than this.
            self.clock.sleep_until(self.clock.now() + BREATH).await;
        }
    }
}
