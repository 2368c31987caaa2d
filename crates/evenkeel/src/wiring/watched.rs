//! Reloads as the watch of the file sees them: it knows nothing of plans.

use std::path::{Path, PathBuf};

use evenkeel_config::plan::ReloadMode;
use tokio::sync::watch;

use super::file_watch::{WatchTarget, WatchedBy};
use super::reload::Reloads;
use crate::file_state::FileState;

/// Reloads for the watch of their file.
#[derive(Debug, Clone)]
pub(super) struct WatchedReloads {
    reloads: Reloads,
    plans: watch::Receiver<()>,
}

impl WatchedReloads {
    /// These.
    pub(super) fn new(reloads: Reloads) -> Self {
        let plans = reloads.plans();
        Self { reloads, plans }
    }
}

impl WatchTarget for WatchedReloads {
    fn file(&self) -> Option<PathBuf> {
        self.reloads.file().map(Path::to_owned)
    }

    fn is_wanted(&self) -> bool {
        self.reloads.plan().reload == ReloadMode::Watch
    }

    async fn may_be_wanted(&mut self) {
        // The sender is in `reloads`.
        self.plans.changed().await.ok();
    }

    fn last_read(&self) -> Option<FileState> {
        self.reloads.last_read()
    }

    fn read(&self) {
        // What became of it is in the log and in the metrics.
        self.reloads.reload().ok();
    }

    fn is_watched_by(&self, by: Option<WatchedBy>) {
        self.reloads.set_watched_by(by);
    }
}
