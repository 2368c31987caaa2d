//! The state of the loop between turns, and what it shares with others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_core::{Instant, Signal};
use evenkeel_fault::contract::{ServerStatus, Totals};
use evenkeel_fault::keeper::PersistedState;
use evenkeel_fault::{Incident, Input, Keeper, Output};
use evenkeel_runtime::{Clock, TaskEntry};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::counters::ControlCounters;
use crate::heartbeat::Heartbeat;
use crate::keeper_setup::KeeperSetup;
use crate::lateness::LoopLateness;
use crate::pending_orders::{OrderRequest, PendingOrders};
use crate::reload::ReloadRequest;
use crate::specs::{discovered, server_names, specs};
use crate::status::{EventSource, Outlooks, StatusReader};
use crate::world::{ActionExecutor, IncidentStore, RequestPath};

/// The interval between two reads of low-priority signals while there are none.
pub(super) const IDLE: Duration = Duration::from_millis(25);

/// After each evaluation of all servers, a pause of this long per server: thousands of servers are evaluated in
/// batches, not all of them for each signal.
const BREATH: Duration = Duration::from_micros(1);

/// The parts of the loop.
#[derive(Debug)]
pub struct ControlParts<T, H, B> {
    /// The one clock.
    pub clock: Clock,
    /// The random generator.
    pub seed: u64,
    /// The request path.
    pub traffic: T,
    /// Executes actions on servers.
    pub executor: H,
    /// Stores incidents.
    pub incident_store: B,
    /// The state of earlier runs.
    pub memory: PersistedState,
    /// Signals of probes and processes.
    pub signals: mpsc::Receiver<Signal>,
    /// Operators' orders.
    pub orders: mpsc::Receiver<OrderRequest>,
    /// New plans, while it runs.
    pub reloads: mpsc::Receiver<ReloadRequest>,
    /// The task's entry, which counts restarts after panics.
    pub task: TaskEntry,
}

/// The loop that drives the fault path.
#[derive(Debug)]
pub struct Control<T, H, B> {
    pub(super) clock: Clock,
    pub(super) traffic: T,
    pub(super) executor: H,
    pub(super) incident_store: B,
    pub(super) signals: mpsc::Receiver<Signal>,
    pub(super) orders: mpsc::Receiver<OrderRequest>,
    pub(super) reloads: mpsc::Receiver<ReloadRequest>,
    /// It is applied before the next turn.
    pub(super) reload: Option<ReloadRequest>,
    pub(super) pending_orders: PendingOrders,
    pub(super) keeper: Keeper,
    /// Running orders; each ends with its answer.
    pub(super) tasks: JoinSet<Input>,
    /// The names of the services, by slot; a vacant one has none.
    pub(super) services: Vec<String>,
    /// The names of each service's servers, likewise.
    pub(super) servers: Vec<Vec<String>>,
    /// Totals that are in the books already, and when the next are written.
    pub(super) booked: Vec<Totals>,
    pub(super) book_at: Instant,
    /// When server loads are evaluated next.
    pub(super) loads_at: Instant,
    /// The state of each server as last shown.
    pub(super) states: Vec<Vec<ServerStatus>>,
    pub(super) pids: Vec<Vec<Option<u32>>>,
    pub(super) open: BTreeMap<String, Arc<Incident>>,
    /// The outlook, when it is updated next, and whether anything has changed since.
    pub(super) outlooks: Arc<Outlooks>,
    pub(super) outlook_at: Instant,
    pub(super) outlook_is_old: bool,
    pub(super) views: StatusReader,
    pub(super) events: EventSource,
    pub(super) counters: Arc<ControlCounters>,
    pub(super) heartbeat: Heartbeat,
    pub(super) lateness: LoopLateness,
    /// The pause after each turn.
    pub(super) breath: Duration,
    /// For a new keeper, should this one fail.
    pub(super) keeper_setup: KeeperSetup,
    /// Whether a process came or went since it was last shown.
    pub(super) changed: bool,
    // Kept from step to step so that a step allocates nothing.
    pub(super) inputs: Vec<Input>,
    pub(super) answers: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) outcomes: Vec<Signal>,
}

impl<T: RequestPath, H: ActionExecutor, B: IncidentStore> Control<T, H, B> {
    /// A loop for the services of `plan` that has not decided anything yet.
    pub(super) fn assemble(plan: &Plan, parts: ControlParts<T, H, B>) -> Self {
        let specs = specs(plan);
        let counters = Arc::new(ControlCounters::default());
        let states = specs
            .iter()
            .map(|service| vec![ServerStatus::Starting; service.servers.len()]);
        let states: Vec<_> = states.collect();
        Self {
            pids: states
                .iter()
                .map(|service| vec![None; service.len()])
                .collect(),
            states,
            booked: vec![Totals::default(); specs.len()],
            book_at: Instant::ZERO,
            loads_at: Instant::ZERO,
            services: specs.iter().map(|service| service.name.clone()).collect(),
            servers: specs.iter().map(server_names).collect(),
            keeper_setup: KeeperSetup::new(
                (specs.clone(), discovered(plan)),
                parts.seed,
                parts.memory.clone(),
                parts.task.clone(),
                parts.clock.now(),
            ),
            heartbeat: Heartbeat::default(),
            lateness: LoopLateness::new(parts.clock.now(), IDLE),
            breath: Duration::ZERO,
            keeper: Keeper::new(specs, parts.clock.epoch(), parts.seed, parts.memory),
            clock: parts.clock,
            traffic: parts.traffic,
            executor: parts.executor,
            incident_store: parts.incident_store,
            signals: parts.signals,
            orders: parts.orders,
            reloads: parts.reloads,
            reload: None,
            pending_orders: PendingOrders::default(),
            tasks: JoinSet::new(),
            open: BTreeMap::new(),
            outlooks: Arc::default(),
            outlook_at: Instant::ZERO,
            outlook_is_old: true,
            views: StatusReader::default(),
            events: EventSource::default(),
            counters,
            changed: false,
            inputs: Vec::new(),
            answers: Vec::new(),
            outputs: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// How long to pause after each turn, by the number of servers.
    pub(super) fn set_breath(&mut self, now: Instant) {
        let servers: usize = self.states.iter().map(Vec::len).sum();
        self.breath = BREATH.saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX));
        self.lateness = LoopLateness::new(now, IDLE + self.breath);
    }

    /// A reader of the published state.
    #[must_use]
    pub fn views(&self) -> StatusReader {
        self.views.clone()
    }

    /// The source of events.
    #[must_use]
    pub fn events(&self) -> EventSource {
        self.events.clone()
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Arc<ControlCounters> {
        Arc::clone(&self.counters)
    }

    /// Whether the loop turns.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }
}
