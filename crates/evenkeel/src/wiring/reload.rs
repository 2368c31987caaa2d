//! A reload: the file is read again and compared with what runs, and every owner of running state applies the difference: the whole
//! of it, or nothing.
//!
//! In this order: addresses are opened, because that may fail; the request path; then DNS, the control loop, discovery and the log, which
//! cannot fail.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_admin::RefusedReload;
use evenkeel_config::change::{FreeSlots, Overlay, apply_overlay, difference, drift, lay_out};
use evenkeel_config::{Plan, Settings};
use evenkeel_control::ReloadRequest;
use evenkeel_core::metric::{Sink, Source};
use evenkeel_history::WriterHandle;
use evenkeel_proxy::Proxy;
use evenkeel_runtime::Clock;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::discover::DiscoverLoops;
use super::dns::DnsService;
use super::file_watch::WatchedBy;
use super::kept_changes::StartConfiguration;
use super::keys::with_keys;
use crate::file_state::FileState;
use crate::output::CommandFailure;
use crate::{configuration, logging, period};

/// Why nothing is reloaded.
const NO_FILE: &str = "this evenkeel was not started with a file";

/// What becomes of reloads, by the index in [`ReloadsInner::results`].
const RESULTS: [&str; 3] = ["applied", "unchanged", "refused"];

/// What reloads a running evenkeel. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Reloads(Arc<ReloadsInner>);

#[derive(Debug)]
struct ReloadsInner {
    /// The file; `None` if the configuration does not come from one.
    file: Option<PathBuf>,
    /// What runs, for whoever reads it.
    plan: ArcSwap<Plan>,
    /// What says what runs, for whoever reads it.
    in_force: ArcSwap<ConfigurationInForce>,
    /// Held while a reload or a change goes on: one at a time.
    running: Mutex<RunningConfiguration>,
    owners: PlanOwners,
    /// Keeps changes made at run time for the next start.
    store: WriterHandle,
    clock: Clock,
    /// The runtime of the control thread, on which discovery runs.
    runtime: Handle,
    results: [AtomicU64; RESULTS.len()],
    last_refused: Mutex<Option<RefusedReload>>,
    /// What the file was when it was read last, whatever became of that.
    read: Mutex<Option<FileState>>,
    /// Tells those who wait that another plan runs.
    applied: watch::Sender<()>,
    /// How changes of the file are noticed, if they are.
    watched_by: ArcSwap<Option<WatchedBy>>,
}

/// What says what runs.
#[derive(Debug, Clone)]
pub(super) struct ConfigurationInForce {
    /// Those of the file as it was read last, or of the command line.
    pub(super) settings: Settings,
    /// What was changed at run time.
    pub(super) overlay: Overlay,
    /// What of it, or instead of it, holds after a restart.
    pub(super) kept: Overlay,
}

/// What runs, as far as only the next change needs it.
#[derive(Debug)]
pub(super) struct RunningConfiguration {
    /// The plan of the file as it was read last, without changes made at run time.
    pub(super) file_plan: Plan,
    free: FreeSlots,
}

impl ConfigurationInForce {
    /// The settings that hold, with the changes made at run time.
    pub(super) fn effective(&self) -> Cow<'_, Settings> {
        if self.overlay.is_empty() {
            Cow::Borrowed(&self.settings)
        } else {
            Cow::Owned(self.settings.clone().with_overlay(&self.overlay))
        }
    }

    /// What is different in `after`, a line each.
    pub(super) fn lines_to(&self, after: &Self) -> Vec<String> {
        let changes = self.effective().changes_to(&after.effective());
        changes.iter().map(ToString::to_string).collect()
    }
}

/// Who applies a new plan.
#[derive(Debug)]
pub(super) struct PlanOwners {
    proxy: Arc<Proxy>,
    dns: Arc<DnsService>,
    control: mpsc::Sender<ReloadRequest>,
    discovery: DiscoverLoops,
}

impl PlanOwners {
    /// These.
    pub(super) const fn new(
        proxy: Arc<Proxy>,
        dns: Arc<DnsService>,
        control: mpsc::Sender<ReloadRequest>,
        discovery: DiscoverLoops,
    ) -> Self {
        Self {
            proxy,
            dns,
            control,
            discovery,
        }
    }
}

impl Reloads {
    /// For what evenkeel was started with. Must be called within the runtime of the control thread.
    pub(super) fn new(
        start: StartConfiguration,
        owners: PlanOwners,
        (store, clock): (WriterHandle, Clock),
    ) -> Self {
        let StartConfiguration {
            plan,
            file,
            settings,
            file_plan,
            kept,
            has_dropped,
        } = start;
        let (file, read) = file.map_or((None, None), |file| (Some(file.path), file.read));
        let in_force = ConfigurationInForce {
            settings,
            overlay: kept.clone(),
            kept,
        };
        let reloads = Self(Arc::new(ReloadsInner {
            file,
            plan: ArcSwap::new(plan),
            in_force: ArcSwap::from_pointee(in_force),
            running: Mutex::new(RunningConfiguration {
                file_plan,
                free: FreeSlots::default(),
            }),
            owners,
            store,
            clock,
            runtime: Handle::current(),
            results: Default::default(),
            last_refused: Mutex::new(None),
            read: Mutex::new(read),
            applied: watch::Sender::new(()),
            watched_by: ArcSwap::default(),
        }));
        if has_dropped {
            reloads.hand_over_kept();
        }
        reloads
    }

    /// The file that it reads; `None` if the configuration does not come from one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The plan that runs.
    pub(super) fn plan(&self) -> Arc<Plan> {
        self.0.plan.load_full()
    }

    /// What says what runs.
    pub(super) fn in_force(&self) -> Arc<ConfigurationInForce> {
        self.0.in_force.load_full()
    }

    /// The last reload, if it was refused.
    pub(super) fn last_refused(&self) -> Option<RefusedReload> {
        let refused = self.0.last_refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps others from changing what runs.
    pub(super) fn running(&self) -> MutexGuard<'_, RunningConfiguration> {
        let running = self.0.running.lock();
        running.unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of each plan that runs from now on.
    pub(super) fn plans(&self) -> watch::Receiver<()> {
        self.0.applied.subscribe()
    }

    /// What the file was when it was read last, whether or not it was applied.
    pub(super) fn last_read(&self) -> Option<FileState> {
        *self.read_state()
    }

    /// Takes down how changes of the file are noticed from now on, if they are.
    pub(super) fn set_watched_by(&self, by: Option<WatchedBy>) {
        if **self.0.watched_by.load() != by {
            self.0.watched_by.store(Arc::new(by));
        }
    }

    /// Reads the file again and applies what has changed. Blocks. Says what was done.
    ///
    /// # Errors
    /// Why nothing was changed, in words.
    pub(super) fn reload(&self) -> Result<String, String> {
        if self.0.file.is_none() {
            return Err(NO_FILE.to_owned());
        }
        let done = self.read_and_apply();
        let result = match &done {
            Ok(None) => 1,
            Ok(Some(_)) => 0,
            Err(_) => 2,
        };
        self.0.results[result].fetch_add(1, Ordering::Relaxed);
        self.note_refusal(done.as_ref().err());
        match done {
            Ok(Some(text)) => {
                tracing::info!(
                    "the configuration was reloaded: {}",
                    text.replace('\n', "; ")
                );
                Ok(text)
            }
            Ok(None) => {
                let text = "the file says what runs already: nothing was changed".to_owned();
                tracing::info!("reload: {text}");
                Ok(text)
            }
            Err(why) => {
                tracing::error!("the configuration was not reloaded, nothing was changed: {why}");
                Err(why)
            }
        }
    }

    /// What a reload would change, a line each; nothing without a file.
    ///
    /// # Errors
    /// Why the file cannot be used, in words.
    pub(super) fn changes(&self) -> Result<Vec<String>, String> {
        if self.0.file.is_none() {
            return Ok(Vec::new());
        }
        let file = self.read()?;
        let running = self.in_force();
        let settings = running.effective();
        let differs = drift(&settings, &running.overlay, (file.plan, file.settings));
        let changes = differs.changes.iter().map(ToString::to_string);
        let ended = differs.ended.iter().map(ToString::to_string);
        Ok(changes.chain(ended).collect())
    }

    fn note_refusal(&self, why: Option<&String>) {
        let refused = why.map(|why| RefusedReload {
            at: period::rfc3339(self.0.clock.wall()),
            reason: why.lines().next().unwrap_or_default().to_owned(),
            advice: match self.file() {
                Some(file) => format!(
                    "what runs is unchanged; `evenkeel check {}` shows the mistakes of the file, `evenkeel reload` tries again",
                    file.display()
                ),
                None => String::new(),
            },
        });
        let last = self.0.last_refused.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = refused;
    }

    fn read_state(&self) -> MutexGuard<'_, Option<FileState>> {
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<configuration::ReadFile, String> {
        let file = self.file().ok_or(NO_FILE)?;
        configuration::read_again(file)
    }

    /// What was changed; `None` if there was nothing to change.
    fn read_and_apply(&self) -> Result<Option<String>, String> {
        let mut running = self.running();
        // Before it is read: what comes later is another change.
        *self.read_state() = self.0.file.as_deref().and_then(FileState::of);
        let file = self.read()?;
        let file_plan = with_keys(file.plan).map_err(CommandFailure::into_text)?;
        let before = self.in_force();
        let after = apply_overlay(file_plan.clone(), &before.overlay);
        let kept = apply_overlay(file_plan.clone(), &before.kept).overlay;
        let applied = self.apply(&mut running, after.plan)?;
        running.file_plan = file_plan;
        let is_kept_otherwise = kept != before.kept;
        let is_same = applied.is_none() && after.dropped.is_empty();
        let now = ConfigurationInForce {
            settings: file.settings,
            overlay: after.overlay,
            kept,
        };
        let mut said = if is_same {
            Vec::new()
        } else {
            before.lines_to(&now)
        };
        said.extend(after.dropped.iter().map(ToString::to_string));
        said.extend(applied.into_iter().flatten());
        self.publish(now);
        if is_kept_otherwise {
            self.hand_over_kept();
        }
        Ok((!is_same).then(|| said.join("\n")))
    }

    /// This says what runs from now on.
    pub(super) fn publish(&self, in_force: ConfigurationInForce) {
        self.0.in_force.store(Arc::new(in_force));
    }

    /// Has `planned` run, as far as it can without a restart: the whole of it, or nothing. Notes for the operator; `None` if there was
    /// nothing to change.
    pub(super) fn apply(
        &self,
        running: &mut RunningConfiguration,
        planned: Plan,
    ) -> Result<Option<Vec<String>>, String> {
        let (before, owners) = (self.plan(), &self.0.owners);
        running.free.release(&owners.proxy.live_generations());
        let planned = lay_out(&before, planned, &running.free);
        let changes = difference(&before, &planned);
        if changes.is_empty() {
            return Ok(None);
        }
        let mut notes = Vec::new();
        let waiting = changes.needs_restart();
        if !waiting.is_empty() {
            let waiting = waiting.join(", ");
            notes.push(format!("holds only after a restart: {waiting}"));
        }
        let changes = changes.without_restart();
        let plan = Arc::new(changes.apply(&before));
        let dns = owners.dns.prepare(&plan)?;
        let generation = owners.proxy.generation();
        let applied = owners.proxy.apply(&plan, &changes);
        applied.map_err(|error| error.to_string())?;
        // From here on nothing fails.
        running.free.vacate(&before, &plan, generation);
        owners.dns.apply(dns);
        let (applied, holds) = oneshot::channel();
        let request = ReloadRequest {
            plan: Arc::clone(&plan),
            applied,
        };
        if owners.control.blocking_send(request).is_err() || holds.blocking_recv().is_err() {
            notes.push("the control loop has ended: only the request path was changed".to_owned());
        }
        let within = self.0.runtime.enter();
        owners.discovery.apply(&plan);
        drop(within);
        notes.extend(follow_log(&before, &plan));
        self.0.plan.store(plan);
        self.0.applied.send_replace(());
        Ok(Some(notes))
    }

    /// Hands over what is to hold after a restart to the store, which does not keep anybody waiting.
    fn hand_over_kept(&self) {
        match serde_json::to_string(&self.in_force().kept) {
            Ok(body) => self.0.store.set_runtime_changes(body),
            Err(error) => tracing::error!(%error, "changes made at run time cannot be kept"),
        }
    }

    /// The same, and waits until it is written. `false` if it was not within this time.
    pub(super) fn write_kept(&self, within: Duration) -> bool {
        self.hand_over_kept();
        self.0.store.flush(within) && self.store_fault().is_none()
    }

    /// Why the store does not keep anything, if it does not.
    pub(super) fn store_fault(&self) -> Option<String> {
        let health = self.0.store.health();
        (!health.ok).then(|| health.last_error.unwrap_or_default())
    }
}

/// The log follows the plan. Notes for the operator.
fn follow_log(before: &Plan, plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    if plan.log.level != before.log.level
        && let Err(error) = logging::set_level(plan.log.level)
    {
        notes.push(format!("log.level: {}", error.into_text()));
    }
    if plan.log.format != before.log.format {
        notes.push("holds only after a restart: log.format".to_owned());
    }
    notes
}

impl Source for Reloads {
    fn collect(&self, sink: &mut dyn Sink) {
        let dns = self.0.owners.dns.counters();
        dns.iter().for_each(|counters| counters.collect(sink));
        let help = "Reloads of the configuration, by what became of them.";
        for (result, number) in RESULTS.iter().zip(&self.0.results) {
            let number = number.load(Ordering::Relaxed);
            sink.counter(
                "evenkeel_reloads_total",
                help,
                &[("result", result)],
                number,
            );
        }
        let refused = self.last_refused().is_some();
        sink.gauge(
            "evenkeel_reload_ok",
            "Whether the last reload was applied, or there was none: 0 means that the file is not what runs.",
            &[],
            f64::from(u8::from(!refused)),
        );
        let watched_by = **self.0.watched_by.load();
        for (by, word) in [
            (WatchedBy::Inotify, "inotify"),
            (WatchedBy::Polling, "polling"),
        ] {
            sink.gauge(
                "evenkeel_reload_watch",
                "How changes of a watched file are noticed: 1 for the way in use.",
                &[("by", word)],
                f64::from(u8::from(watched_by == Some(by))),
            );
        }
        let generations = self.0.owners.proxy.live_generations().len();
        sink.gauge(
            "evenkeel_reload_generations",
            "Configurations that a request or a worker still goes by: the one that runs, and those with which requests began that are under way.",
            &[],
            generations as f64,
        );
    }
}
