//! The control thread: supervisor, control loop and admin API on a runtime of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use evenkeel_admin::{AccessPolicy, AdminBackend, AdminCounters, AdminListener};
use evenkeel_balance::{AttemptTotals, WeightUpdater};
use evenkeel_config::Plan;
use evenkeel_config::plan::ServicePlan;
use evenkeel_control::{Control, ControlParts, EventSource, StatusReader, SupervisorExecutor};
use evenkeel_core::{Endpoint, ServerId, ServiceId};
use evenkeel_history::{Store, Writer, WriterHandle};
use evenkeel_proxy::{Proxy, ProxyState};
use evenkeel_runtime::{Clock, Tasks};
use evenkeel_supervise::Supervisor;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::discover::DiscoverLoops;
use super::dns::DnsService;
use super::file_watch::watch_file;
use super::kept_changes::StartConfiguration;
use super::measure::CounterHistory;
use super::now::LiveBackend;
use super::reload::{PlanOwners, Reloads};
use super::secrets::Secrets;
use super::traffic::DataPlane;
use super::watched::WatchedReloads;
use crate::period;

/// Signals of probes and processes that may wait for the loop.
const SIGNALS: usize = 4096;
/// The number of operators' orders that may wait for the loop.
const ORDERS: usize = 64;
/// How long the last incidents may take to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The parts of the thread.
#[derive(Debug)]
pub(super) struct ControlThreadParts {
    pub(super) plan: Arc<Plan>,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    pub(super) traffic: DataPlane,
    pub(super) admin: (AdminListener, Endpoint),
    pub(super) proxy: Arc<Proxy>,
    pub(super) dns: Arc<DnsService>,
    /// What the plan was made of.
    pub(super) configuration: StartConfiguration,
    /// Asks for a reload.
    pub(super) reload: mpsc::Receiver<()>,
    /// True once no more requests arrive: everything is to end.
    pub(super) stopped: watch::Receiver<bool>,
    /// True once no new requests are taken.
    pub(super) draining: watch::Receiver<bool>,
    /// Reports that everything has started, or why not.
    pub(super) report: oneshot::Sender<Result<ControlHandles, String>>,
}

/// The thread's handles for others.
#[derive(Debug)]
pub(super) struct ControlHandles {
    pub(super) views: StatusReader,
    pub(super) events: EventSource,
}

/// The parts that may fail before anything serves.
struct PreparedControl {
    memory: evenkeel_fault::PersistedState,
    incident_store: WriterHandle,
    supervisor: Supervisor,
    signals: mpsc::Receiver<evenkeel_core::Signal>,
}

fn prepare(plan: &Plan, clock: Clock, tasks: &Tasks) -> Result<PreparedControl, String> {
    let (sender, signals) = mpsc::channel(SIGNALS);
    let store = open_store(plan, clock)?;
    let memory = evenkeel_control::memory(&store).map_err(|error| error.to_string())?;
    let incident_store = Writer::start(store)
        .map_err(|error| format!("cannot start the history thread: {error}"))?;
    let guardian = evenkeel_supervise::guardian::command();
    let supervisor = Supervisor::start(plan, clock, tasks, guardian, sender)
        .map_err(|error| format!("cannot start the guardian of the servers: {error}"))?;
    Ok(PreparedControl {
        memory,
        incident_store,
        supervisor,
        signals,
    })
}

/// Runs until everything is to end; children are stopped and incidents written when it returns.
pub(super) async fn run(parts: ControlThreadParts) {
    match prepare(&parts.plan, parts.clock, parts.traffic.state.tasks()) {
        Ok(prepared) => serve(parts, prepared).await,
        Err(why) => {
            // Whoever waits for the report is in the same program.
            parts.report.send(Err(why)).ok();
        }
    }
}

async fn serve(parts: ControlThreadParts, prepared: PreparedControl) {
    let (plan, clock, seed) = (&*parts.plan, parts.clock, parts.seed);
    let (order_sender, orders) = mpsc::channel(ORDERS);
    let (plan_sender, plans) = mpsc::channel(1);
    let PreparedControl {
        memory,
        incident_store,
        supervisor,
        signals,
    } = prepared;
    let state = Arc::clone(&parts.traffic.state);
    let discovery = parts.traffic.discovery.clone();
    let tasks = state.tasks().clone();
    let loop_parts = ControlParts {
        clock,
        seed,
        traffic: parts.traffic,
        executor: SupervisorExecutor::new(supervisor.clone()),
        incident_store: incident_store.clone(),
        memory,
        signals,
        orders,
        reloads: plans,
        task: tasks.entry("control"),
    };
    let control = Control::new(plan, loop_parts);
    let (views, events) = (control.views(), control.events());
    let (counter_history, sampling) = sample_counters(&tasks, &state, clock);
    let to = (&state, &views, &supervisor);
    let discovering = DiscoverLoops::new((clock, seed), &tasks, to, &discovery);
    discovering.apply(plan);
    let owners = PlanOwners::new(parts.proxy, parts.dns, plan_sender, discovering);
    let reloads = Reloads::new(parts.configuration, owners, (incident_store.clone(), clock));
    let admin_counters = Arc::new(AdminCounters::default());
    let live = Arc::new(LiveBackend {
        clock,
        counter_history,
        discovery,
        reloads: reloads.clone(),
        state: Arc::clone(&state),
        views: views.clone(),
        counters: control.counters(),
        heartbeat: control.heartbeat(),
        supervisor: supervisor.clone(),
        incident_store: incident_store.clone(),
        orders: order_sender,
        waiting: AtomicUsize::new(0),
        draining: parts.draining,
        admin: Arc::clone(&admin_counters),
        tasks: tasks.clone(),
    });
    let token = token(plan);
    let following = follow_plan(&tasks, &state, (reloads, parts.reload), &token, clock);
    let until = parts.stopped.clone();
    let admin = start_admin(
        &tasks,
        clock,
        (parts.admin, live, token, admin_counters, until),
    );
    let loop_ended = tokio::spawn(control.run(told(parts.stopped)));
    supervisor.begin_probes(seed);
    let children = start_children(&tasks, clock, supervisor.clone());
    parts.report.send(Ok(ControlHandles { views, events })).ok();

    report_panic(loop_ended).await;
    // The admin API answers until the end.
    admin.await.ok();
    for task in [sampling, children].into_iter().chain(following) {
        task.abort();
    }
    end(supervisor, &incident_store).await;
}

/// Waits for the end of the loop, which goes on after a panic; one at its very end, or where it is caught, ends it.
async fn report_panic(control: JoinHandle<()>) {
    if control.await.is_err() {
        // Fail static: without its loop evenkeel is a plain balancer, and says so.
        tracing::error!(
            "the control loop ended with a panic: faults are no longer repaired; traffic continues"
        );
    }
}

/// Starts what reloads, and what goes by the plan that runs and is not told of another one.
fn follow_plan(
    tasks: &Tasks,
    state: &Arc<ProxyState>,
    (reloads, asked): (Reloads, mpsc::Receiver<()>),
    token: &str,
    clock: Clock,
) -> [JoinHandle<()>; 4] {
    let watched = reloads.clone();
    let watching = tasks.spawn("watch", clock, move || {
        watch_file(WatchedReloads::new(watched.clone()), clock)
    });
    [
        keep_secrets(tasks, &reloads, token, clock),
        start_weighing(tasks, state, &reloads, clock),
        tokio::spawn(reload_when_asked(asked, reloads)),
        watching,
    ]
}

/// Reloads when it is asked for, one after the other.
async fn reload_when_asked(mut asked: mpsc::Receiver<()>, reloads: Reloads) {
    while asked.recv().await.is_some() {
        let reloads = reloads.clone();
        // What became of it is in the log.
        tokio::task::spawn_blocking(move || reloads.reload())
            .await
            .ok();
    }
}

fn keep_secrets(tasks: &Tasks, reloads: &Reloads, token: &str, clock: Clock) -> JoinHandle<()> {
    let secrets = Secrets::new(reloads.clone(), token);
    tasks.spawn("secrets", clock, move || secrets.clone().keep(clock))
}

fn start_weighing(
    tasks: &Tasks,
    state: &Arc<ProxyState>,
    reloads: &Reloads,
    clock: Clock,
) -> JoinHandle<()> {
    let (state, reloads) = (Arc::clone(state), reloads.clone());
    tasks.spawn("weigh", clock, move || {
        weigh(Arc::clone(&state), clock, reloads.clone())
    })
}

/// The parts of the admin API's server.
type AdminServices = (
    (AdminListener, Endpoint),
    Arc<LiveBackend>,
    String,
    Arc<AdminCounters>,
    watch::Receiver<bool>,
);

fn start_admin(tasks: &Tasks, clock: Clock, served: AdminServices) -> JoinHandle<()> {
    let ((listener, address), live, token, counters, stopped) = served;
    tasks.spawn("admin", clock, move || {
        let (live, counters) = (Arc::clone(&live), Arc::clone(&counters));
        let (token, stopped) = (token.clone(), stopped.clone());
        let guard = AccessPolicy {
            token,
            address: address.clone(),
        };
        serve_admin(listener.try_clone(), live, guard, counters, stopped)
    })
}

/// Started again after a panic, it passes over those that run already.
fn start_children(tasks: &Tasks, clock: Clock, supervisor: Supervisor) -> JoinHandle<()> {
    tasks.spawn("start", clock, move || {
        let supervisor = supervisor.clone();
        async move { supervisor.start_children().await }
    })
}

/// Looks at the counters now and then, from now on.
fn sample_counters(
    tasks: &Tasks,
    state: &Arc<ProxyState>,
    clock: Clock,
) -> (CounterHistory, JoinHandle<()>) {
    let counter_history = CounterHistory::default();
    let (kept, state) = (counter_history.clone(), Arc::clone(state));
    let sampling = tasks.spawn("measure", clock, move || {
        kept.clone().keep(Arc::clone(&state), clock)
    });
    (counter_history, sampling)
}

/// The last steps: the servers that evenkeel runs, and what is not yet written.
async fn end(supervisor: Supervisor, incident_store: &WriterHandle) {
    supervisor.shutdown().await;
    if !incident_store.stop(LAST_WORDS) {
        tracing::error!("some data could not be written to the incident store");
    }
}

/// Once a second, lets the loads that servers report change their shares, for services that read them.
async fn weigh(state: Arc<ProxyState>, clock: Clock, reloads: Reloads) {
    let mut weighers: BTreeMap<ServiceId, WeightUpdater> = BTreeMap::new();
    loop {
        let (now, plan) = (clock.now(), reloads.plan());
        let reads = |service: &&ServicePlan| service.load_header.is_some();
        let read: BTreeSet<ServiceId> = plan
            .services
            .iter()
            .filter(reads)
            .map(|service| service.id)
            .collect();
        weighers.retain(|service, _| read.contains(service));
        for service in read {
            let Some(entry) = state.service(service) else {
                continue;
            };
            let server_set = entry.servers();
            let weigher = weighers.entry(service).or_default();
            weigher.step(server_set.pool(), now, |index| {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                let totals = state.server_totals(ServerId { service, index });
                AttemptTotals {
                    attempts: totals.attempts,
                    failures: totals.failures,
                }
            });
        }
        clock.sleep_until(now + Duration::from_secs(1)).await;
    }
}

fn open_store(plan: &Plan, clock: Clock) -> Result<Store, String> {
    let opened =
        Store::open_or_memory(plan.store.file.as_deref()).map_err(|error| error.to_string())?;
    for note in opened.notes {
        tracing::warn!("{note}");
    }
    let now = period::rfc3339(clock.epoch().wall(clock.now()));
    match opened.store.close_left_over(&now) {
        Ok(0) => {}
        Ok(number) => {
            tracing::warn!("{number} incidents that an earlier run left open were closed");
        }
        Err(error) => tracing::warn!("{error}"),
    }
    Ok(opened.store)
}

/// The token for changes; without one nothing can be changed, which is no reason not to serve.
fn token(plan: &Plan) -> String {
    let file = &plan.admin.token_file;
    evenkeel_admin::load_or_create_token(file).unwrap_or_else(|error| {
        tracing::warn!(
            "orders are not possible: the admin token {}: {error}",
            file.display()
        );
        String::new()
    })
}

async fn serve_admin(
    listener: io::Result<AdminListener>,
    live: Arc<LiveBackend>,
    guard: AccessPolicy,
    counters: Arc<AdminCounters>,
    stopped: watch::Receiver<bool>,
) {
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the admin API cannot listen: {error}"),
    };
    let live: Arc<dyn AdminBackend> = live;
    let address = guard.address.clone();
    if let Err(error) = evenkeel_admin::serve(listener, live, guard, counters, told(stopped)).await
    {
        tracing::error!("the admin API at {address} ended: {error}");
    }
}

/// Ends when the channel holds true, or its sender is gone.
async fn told(mut stopped: watch::Receiver<bool>) {
    stopped.wait_for(|stopped| *stopped).await.ok();
}
