//! Changes of the configuration that were made at run time and kept for the next start: read from the store before anything is
//! built, since they say which servers there are.

use std::path::Path;
use std::sync::Arc;

use evenkeel_config::change::{FreeSlots, Overlay, apply_overlay, lay_out};
use evenkeel_config::{Plan, Settings};
use evenkeel_history::Store;

use super::keys::with_keys;
use crate::configuration::{ConfigurationFile, ReadFile};
use crate::output::Result;

/// What evenkeel was started with.
#[derive(Debug)]
pub(super) struct StartConfiguration {
    /// The plan that runs.
    pub(super) plan: Arc<Plan>,
    /// Where it comes from, if it is a file.
    pub(super) file: Option<ConfigurationFile>,
    /// As it was read.
    pub(super) settings: Settings,
    /// Its plan, without the changes that were made at run time.
    pub(super) file_plan: Plan,
    /// The changes of an earlier run that hold.
    pub(super) kept: Overlay,
    /// Whether there were others, which the file has overruled.
    pub(super) has_dropped: bool,
}

/// What to start with: the plan of the file with the changes that were kept, as far as the file does not say otherwise.
pub(super) fn with_kept_changes(
    read: ReadFile,
    file: Option<ConfigurationFile>,
) -> Result<StartConfiguration> {
    let ReadFile { plan, settings } = read;
    let file_plan = with_keys(plan)?;
    let kept = file_plan.store.file.as_deref().map(kept_in);
    let after = apply_overlay(file_plan.clone(), &kept.unwrap_or_default());
    for dropped in &after.dropped {
        tracing::warn!("{dropped}");
    }
    for line in after.overlay.lines() {
        tracing::info!("kept from an earlier run: {line}");
    }
    let plan = if after.overlay.is_empty() {
        file_plan.clone()
    } else {
        // What was removed has left gaps between the servers.
        let nothing = Plan {
            services: Vec::new(),
            listeners: Vec::new(),
            ..file_plan.clone()
        };
        lay_out(&nothing, after.plan, &FreeSlots::default())
    };
    Ok(StartConfiguration {
        plan: Arc::new(plan),
        file,
        settings,
        file_plan,
        kept: after.overlay,
        has_dropped: !after.dropped.is_empty(),
    })
}

/// The changes in the store. A store that cannot be read is reported when it is opened.
fn kept_in(file: &Path) -> Overlay {
    if !file.exists() {
        return Overlay::default();
    }
    let store = Store::open_read_only(file).ok();
    let body = store.and_then(|store| store.runtime_changes().ok().flatten());
    let overlay = body.map(|body| serde_json::from_str(&body));
    overlay.unwrap_or_else(|| Ok(Overlay::default())).unwrap_or_else(|error| {
        tracing::error!(%error, "the changes made at run time that the store keeps cannot be read: only the file holds");
        Overlay::default()
    })
}
