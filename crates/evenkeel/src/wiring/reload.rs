//! A reload: the file is read again and compared with what runs, and every owner of running state applies the difference: the whole
//! of it, or nothing.
//!
//! In this order: addresses are opened, because that may fail; the request path; then DNS, the control loop, discovery and the log, which
//! cannot fail.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use evenkeel_config::change::{FreeSlots, difference, lay_out};
use evenkeel_config::{Plan, Settings};
use evenkeel_control::ReloadRequest;
use evenkeel_core::metric::{Sink, Source};
use evenkeel_proxy::Proxy;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::discover::DiscoverLoops;
use super::dns::DnsService;
use super::keys::with_keys;
use crate::output::CommandFailure;
use crate::{configuration, logging};

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
    /// Held while a reload goes on: one at a time.
    running: Mutex<RunningConfiguration>,
    owners: PlanOwners,
    /// The runtime of the control thread, on which discovery runs.
    runtime: Handle,
    results: [AtomicU64; RESULTS.len()],
    is_last_refused: AtomicBool,
}

/// What runs, as far as only the next reload needs it.
#[derive(Debug, Default)]
struct RunningConfiguration {
    /// As it was read; `None` if it does not come from a file.
    settings: Option<Settings>,
    free: FreeSlots,
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
    /// For the plan that runs, which came from `file`. Must be called within the runtime of the control thread.
    pub(super) fn new(plan: Arc<Plan>, file: Option<PathBuf>, owners: PlanOwners) -> Self {
        // The file was valid a moment ago. If it was changed since, the next reload compares with that.
        let settings = file.as_deref().and_then(configuration::quiet_settings);
        Self(Arc::new(ReloadsInner {
            file,
            plan: ArcSwap::new(plan),
            running: Mutex::new(RunningConfiguration {
                settings,
                free: FreeSlots::default(),
            }),
            owners,
            runtime: Handle::current(),
            results: Default::default(),
            is_last_refused: AtomicBool::new(false),
        }))
    }

    /// The file that it reads; `None` if the configuration does not come from one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The plan that runs.
    pub(super) fn plan(&self) -> Arc<Plan> {
        self.0.plan.load_full()
    }

    /// Reads the file again and applies what has changed. Blocks. Says what was done.
    ///
    /// # Errors
    /// Why nothing was changed, in words.
    pub(super) fn reload(&self) -> Result<String, String> {
        let done = self.0.reload();
        let result = match &done {
            Ok(None) => 1,
            Ok(Some(_)) => 0,
            Err(_) => 2,
        };
        self.0.results[result].fetch_add(1, Ordering::Relaxed);
        self.0
            .is_last_refused
            .store(done.is_err(), Ordering::Relaxed);
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

    /// What a reload would change, a line each.
    ///
    /// # Errors
    /// Why the file cannot be used, in words.
    pub(super) fn changes(&self) -> Result<Vec<String>, String> {
        let file = self.0.read()?;
        let running = self.0.running();
        Ok(lines(running.settings.as_ref(), &file.settings))
    }
}

impl ReloadsInner {
    fn running(&self) -> std::sync::MutexGuard<'_, RunningConfiguration> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<configuration::ReadFile, String> {
        let file = self.file.as_deref();
        let file = file.ok_or("this evenkeel was not started with a file")?;
        configuration::read_again(file)
    }

    /// What was changed; `None` if there was nothing to change.
    fn reload(&self) -> Result<Option<String>, String> {
        let mut running = self.running();
        let file = self.read()?;
        let before = self.plan.load_full();
        let planned = with_keys(file.plan).map_err(CommandFailure::into_text)?;
        running.free.release(self.owners.proxy.oldest_generation());
        let planned = lay_out(&before, planned, &running.free);
        let changes = difference(&before, &planned);
        if changes.is_empty() {
            return Ok(None);
        }
        let mut said = lines(running.settings.as_ref(), &file.settings);
        let waiting = changes.needs_restart();
        if !waiting.is_empty() {
            said.push(format!(
                "holds only after a restart: {}",
                waiting.join(", ")
            ));
        }
        let changes = changes.without_restart();
        let plan = Arc::new(changes.apply(&before));
        let dns = self.owners.dns.prepare(&plan)?;
        let generation = self.owners.proxy.generation();
        let applied = self.owners.proxy.apply(&plan, &changes);
        applied.map_err(|error| error.to_string())?;
        // From here on nothing fails.
        running.free.vacate(&before, &plan, generation);
        self.owners.dns.apply(dns);
        let (applied, holds) = oneshot::channel();
        let request = ReloadRequest {
            plan: Arc::clone(&plan),
            applied,
        };
        if self.owners.control.blocking_send(request).is_err() || holds.blocking_recv().is_err() {
            said.push("the control loop has ended: only the request path was changed".to_owned());
        }
        let within = self.runtime.enter();
        self.owners.discovery.apply(&plan);
        drop(within);
        if plan.log.level != before.log.level
            && let Err(error) = logging::set_level(plan.log.level)
        {
            said.push(format!("log.level: {}", error.into_text()));
        }
        if plan.log.format != before.log.format {
            said.push("holds only after a restart: log.format".to_owned());
        }
        self.plan.store(plan);
        running.settings = Some(file.settings);
        Ok(Some(said.join("\n")))
    }
}

fn lines(before: Option<&Settings>, after: &Settings) -> Vec<String> {
    let changes = before.map(|before| before.changes_to(after));
    let changes = changes.iter().flatten();
    changes.map(ToString::to_string).collect()
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
        let refused = self.0.is_last_refused.load(Ordering::Relaxed);
        sink.gauge(
            "evenkeel_reload_ok",
            "Whether the last reload was applied, or there was none: 0 means that the file is not what runs.",
            &[],
            f64::from(u8::from(!refused)),
        );
        let generations = self.0.owners.proxy.state().live_generations();
        sink.gauge(
            "evenkeel_reload_generations",
            "Configurations that a request or a worker still goes by: the one that runs, and those with which requests began that are under way.",
            &[],
            generations as f64,
        );
    }
}
