//! `reload = "watch"`: the file is looked at again and again, and read when it has changed.
//!
//! By its metadata and not by inotify: that has to follow folders, renames and symbolic links, and does not work on all file systems. What
//! the path leads to says it all, and two looks a second cost nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use evenkeel_config::plan::ReloadMode;
use evenkeel_runtime::Clock;

use super::reload::Reloads;

/// Between two looks. A file that has changed is taken when it is the same at the next look.
const EVERY: Duration = Duration::from_millis(500);

/// What tells one content of a file from another: device, inode, size, and when it was changed.
type FileState = (u64, u64, u64, i64, i64);

/// Reloads whenever the file has changed, for as long as the plan that runs says so. For ever.
pub(super) async fn watch_file(reloads: Reloads, clock: Clock) {
    let Some(file) = reloads.file().map(Path::to_owned) else {
        return;
    };
    let (mut taken, mut last) = (None, None);
    loop {
        let path = file.clone();
        // The disk may be slow. A file that is gone for a moment is being replaced.
        let state = tokio::task::spawn_blocking(move || state_of(&path)).await;
        let state = state.unwrap_or(None);
        let is_wanted = reloads.plan().reload == ReloadMode::Watch;
        match state {
            // What is there when the watch begins is what runs.
            Some(state) if !is_wanted || taken.is_none() => taken = Some(state),
            Some(state) if taken != Some(state) && last == Some(state) => {
                taken = Some(state);
                let reloads = reloads.clone();
                // What became of it is in the log.
                tokio::task::spawn_blocking(move || reloads.reload())
                    .await
                    .ok();
            }
            Some(_) | None => {}
        }
        last = state;
        clock.sleep_until(clock.now() + EVERY).await;
    }
}

fn state_of(path: &Path) -> Option<FileState> {
    let found = fs::metadata(path).ok()?;
    let (seconds, nanos) = (found.mtime(), found.mtime_nsec());
    Some((found.dev(), found.ino(), found.size(), seconds, nanos))
}
