//! What the loop holds from turn to turn, and what others see of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_core::{Instant, Signal};
use evenkeel_fault::contract::{ServerState, Totals};
use evenkeel_fault::keeper::Memory;
use evenkeel_fault::{Incident, Input, Keeper, Output};
use evenkeel_runtime::{Clock, TaskEntry};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::again::Again;
use crate::asked::{Asked, OrderRequest};
use crate::counters::Counters;
use crate::heartbeat::Heartbeat;
use crate::lateness::Lateness;
use crate::specs::{server_names, specs};
use crate::view::{Events, Outlooks, Views};
use crate::world::{Books, Hands, Traffic};

/// Between two looks at the signals of good news while there are none.
pub(super) const IDLE: Duration = Duration::from_millis(25);

/// What the loop is made of.
#[derive(Debug)]
pub struct Parts<T, H, B> {
    /// The one clock.
    pub clock: Clock,
    /// For everything drawn by lot.
    pub seed: u64,
    /// The request's way.
    pub traffic: T,
    /// What acts on servers.
    pub hands: H,
    /// Where incidents are kept.
    pub books: B,
    /// What is remembered of earlier incidents.
    pub memory: Memory,
    /// Signals of probes and processes.
    pub signals: mpsc::Receiver<Signal>,
    /// Orders of people.
    pub orders: mpsc::Receiver<OrderRequest>,
    /// Where it is counted how often the loop was started again after a panic.
    pub task: TaskEntry,
}

/// The loop that drives the fault's way.
#[derive(Debug)]
pub struct Control<T, H, B> {
    pub(super) clock: Clock,
    pub(super) traffic: T,
    pub(super) hands: H,
    pub(super) books: B,
    pub(super) signals: mpsc::Receiver<Signal>,
    pub(super) orders: mpsc::Receiver<OrderRequest>,
    pub(super) asked: Asked,
    pub(super) keeper: Keeper,
    /// Orders under way; each ends with its answer.
    pub(super) tasks: JoinSet<Input>,
    pub(super) services: Vec<String>,
    /// The names of each service's servers.
    pub(super) servers: Vec<Vec<String>>,
    /// Totals that are in the books already, and when the next are written.
    pub(super) booked: Vec<Totals>,
    pub(super) book_at: Instant,
    /// When it is looked at how much servers have to do.
    pub(super) loads_at: Instant,
    /// The state of each server as last shown.
    pub(super) states: Vec<Vec<ServerState>>,
    pub(super) pids: Vec<Vec<Option<u32>>>,
    pub(super) open: BTreeMap<String, Arc<Incident>>,
    /// What recovery would do next, when that is looked at again, and whether anything has changed since.
    pub(super) outlooks: Arc<Outlooks>,
    pub(super) outlook_at: Instant,
    pub(super) outlook_is_old: bool,
    pub(super) views: Views,
    pub(super) events: Events,
    pub(super) counters: Arc<Counters>,
    pub(super) heartbeat: Heartbeat,
    pub(super) lateness: Lateness,
    /// For a new keeper, should this one fail.
    pub(super) again: Again,
    /// Whether a process came or went since it was last shown.
    pub(super) changed: bool,
    // Kept from step to step so that a step allocates nothing.
    pub(super) inputs: Vec<Input>,
    pub(super) answers: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) outcomes: Vec<Signal>,
}

impl<T: Traffic, H: Hands, B: Books> Control<T, H, B> {
    /// A loop for the services of `plan` that has not decided anything yet.
    pub(super) fn assemble(plan: &Plan, parts: Parts<T, H, B>) -> Self {
        let specs = specs(plan);
        let counters = Arc::new(Counters::default());
        let states = specs
            .iter()
            .map(|service| vec![ServerState::Starting; service.servers.len()]);
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
            again: Again::new(
                specs.clone(),
                parts.seed,
                parts.memory.clone(),
                parts.task.clone(),
                parts.clock.now(),
            ),
            heartbeat: Heartbeat::default(),
            lateness: Lateness::new(parts.clock.now(), IDLE),
            keeper: Keeper::new(specs, parts.clock.epoch(), parts.seed, parts.memory),
            clock: parts.clock,
            traffic: parts.traffic,
            hands: parts.hands,
            books: parts.books,
            signals: parts.signals,
            orders: parts.orders,
            asked: Asked::default(),
            tasks: JoinSet::new(),
            open: BTreeMap::new(),
            outlooks: Arc::default(),
            outlook_at: Instant::ZERO,
            outlook_is_old: true,
            views: Views::default(),
            events: Events::default(),
            counters,
            changed: false,
            inputs: Vec::new(),
            answers: Vec::new(),
            outputs: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// What is known now, for readers.
    #[must_use]
    pub fn views(&self) -> Views {
        self.views.clone()
    }

    /// Where events are listened to.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// What is counted here.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Whether the loop turns.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }
}
