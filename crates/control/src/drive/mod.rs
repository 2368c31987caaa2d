//! The loop: gather, step, carry out, show, wait. The only control flow of this crate.
//!
//! It never blocks: orders are tasks with a time limit whose answers come back as inputs, and incidents are handed to a
//! thread that writes them.

mod carry_out;
mod show;
mod start_again;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_core::{Instant, Observation, ServiceId, Signal};
use evenkeel_fault::contract::{ServerState, Totals};
use evenkeel_fault::keeper::Memory;
use evenkeel_fault::{Incident, Input, Keeper, Output};
use evenkeel_runtime::{Clock, Panicked, TaskEntry};
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

/// Between two looks at the signals of good news while there are some.
const BUSY: Duration = Duration::from_millis(10);
/// The same while there are none.
const IDLE: Duration = Duration::from_millis(25);

/// After each look at all servers, a pause of so long for each of them: thousands of servers are looked at together, not all
/// of them for each signal …
const BREATH: Duration = Duration::from_micros(1);
/// … and with fewer there is none.
const BREATH_LEAST: Duration = Duration::from_millis(1);

/// Between two looks at what recovery would do next, while anything is not well.
const OUTLOOK_EVERY: Duration = Duration::from_millis(250);

/// Between two looks at how much servers have to do …
const LOADS_EVERY: Duration = Duration::from_millis(100);
/// … and at least so long for each of them.
const LOAD_BREATH: Duration = Duration::from_micros(20);

/// Between two entries of requests in the books.
const BOOK_EVERY: Duration = Duration::from_secs(10);

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
    clock: Clock,
    traffic: T,
    hands: H,
    books: B,
    signals: mpsc::Receiver<Signal>,
    orders: mpsc::Receiver<OrderRequest>,
    asked: Asked,
    keeper: Keeper,
    /// Orders under way; each ends with its answer.
    tasks: JoinSet<Input>,
    services: Vec<String>,
    /// The names of each service's servers.
    servers: Vec<Vec<String>>,
    /// Totals that are in the books already, and when the next are written.
    booked: Vec<Totals>,
    book_at: Instant,
    /// When it is looked at how much servers have to do.
    loads_at: Instant,
    /// The state of each server as last shown.
    states: Vec<Vec<ServerState>>,
    pids: Vec<Vec<Option<u32>>>,
    open: BTreeMap<String, Arc<Incident>>,
    /// What recovery would do next, when that is looked at again, and whether anything has changed since.
    outlooks: Arc<Outlooks>,
    outlook_at: Instant,
    outlook_is_old: bool,
    views: Views,
    events: Events,
    counters: Arc<Counters>,
    heartbeat: Heartbeat,
    lateness: Lateness,
    /// For a new keeper, should this one fail.
    again: Again,
    /// Whether a process came or went since it was last shown.
    changed: bool,
    // Kept from step to step so that a step allocates nothing.
    inputs: Vec<Input>,
    answers: Vec<Input>,
    outputs: Vec<Output>,
    outcomes: Vec<Signal>,
}

impl<T: Traffic, H: Hands, B: Books> Control<T, H, B> {
    /// A loop for the services of `plan`.
    #[must_use]
    pub fn new(plan: &Plan, parts: Parts<T, H, B>) -> Self {
        let specs = specs(plan);
        let counters = Arc::new(Counters::default());
        let states = specs
            .iter()
            .map(|service| vec![ServerState::Starting; service.servers.len()]);
        let states: Vec<_> = states.collect();
        let mut control = Self {
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
        };
        // What was in maintenance when the program ended is so again before anything else happens.
        control.decide(control.clock.now());
        control
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

    /// Runs until `shutdown` ends. Orders under way are given up then: their incidents stay open in the store.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let task = self.again.task.clone();
        let until_panic = async {
            let mut panicked = None;
            loop {
                // Whatever a panic leaves half done is not used again: `start_again` replaces it.
                let ended = task.run(self.turns(panicked.take())).await;
                panicked = ended.err();
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = until_panic => {}
        }
        self.book(self.clock.now());
    }

    /// Turns for ever; after a panic, with a new keeper.
    async fn turns(&mut self, after: Option<Panicked>) {
        match after {
            Some(panicked) => self.start_again(&panicked).await,
            None => {
                self.compare(self.clock.now());
                self.show();
            }
        }
        let servers: usize = self.states.iter().map(Vec::len).sum();
        let breath = BREATH.saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX));
        self.lateness = Lateness::new(self.clock.now(), IDLE + breath);
        loop {
            let busy = self.step();
            self.heartbeat.beat(self.clock.now());
            if breath >= BREATH_LEAST {
                self.clock.sleep_until(self.clock.now() + breath).await;
            }
            self.wait(if busy { BUSY } else { IDLE }).await;
        }
    }

    /// Waits for whatever comes first: a signal, an answer, an order, or the time that the keeper or good news ask for.
    async fn wait(&mut self, pause: Duration) {
        let pause = self.clock.now() + pause;
        let wake = self
            .keeper
            .next_wake()
            .map_or(pause, |wake| wake.min(pause));
        tokio::select! {
            () = self.traffic.wait() => {}
            Some(signal) = self.signals.recv() => self.inputs.push(Input::Signal(signal)),
            Some(Ok(answer)) = self.tasks.join_next() => self.answers.push(answer),
            Some(request) = self.orders.recv() => {
                let (ticket, order) = self.asked.take(request);
                self.inputs.push(Input::Operator { ticket, at: self.clock.now(), order: Box::new(order) });
            }
            () = self.clock.sleep_until(wake) => {}
        }
    }

    /// One step. Says whether the request's way had signals.
    fn step(&mut self) -> bool {
        let busy = self.gather();
        let now = self.clock.now();
        self.decide(now);
        let has_changed = self.compare(now) || std::mem::take(&mut self.changed);
        self.outlook_is_old |= has_changed;
        let has_new_outlook = self.look_ahead(now);
        if has_changed || has_new_outlook {
            self.show();
        }
        if now >= self.book_at {
            self.book(now);
        }
        busy
    }

    /// Has the keeper take the inputs in, and carries out what it says.
    fn decide(&mut self, now: Instant) {
        self.keeper.step(now, &mut self.inputs, &mut self.outputs);
        self.inputs.clear();
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.changed |= matches!(
                output,
                Output::Record(_)
                    | Output::Maintenance { .. }
                    | Output::Gate { .. }
                    | Output::Shapes(_)
                    | Output::Service(_)
            );
            self.carry_out(now, output);
        }
        self.outputs = outputs;
        self.counters.inconsistencies(self.keeper.inconsistencies());
        for (service, veto, count) in self.keeper.vetoes() {
            let name = self.services.get(service.0 as usize);
            let name = name.map_or("", String::as_str);
            self.counters.vetoes(name, veto.word(), count);
        }
    }

    /// Now and then, how much the servers have to do.
    fn gather_loads(&mut self) {
        let now = self.clock.now();
        if now < self.loads_at {
            return;
        }
        let servers: usize = self.servers.iter().map(Vec::len).sum();
        let pause = LOAD_BREATH * u32::try_from(servers).unwrap_or(u32::MAX);
        self.loads_at = now + LOADS_EVERY.max(pause);
        for service in (0_u32..).zip(&self.services).map(|(id, _)| ServiceId(id)) {
            let servers = self.traffic.loads(service);
            self.inputs.push(Input::Load { service, servers });
        }
    }

    fn gather(&mut self) -> bool {
        self.look_at_self();
        if let Some(by_millis) = self.clock.notice_step() {
            let epoch = self.clock.epoch();
            tracing::warn!(
                by_millis,
                "the machine's clock was set: stamps follow it from now on"
            );
            self.inputs.push(Input::ClockSet { epoch, by_millis });
        }
        for service in (0..self.services.len())
            .filter_map(|index| u32::try_from(index).ok())
            .map(ServiceId)
        {
            self.inputs.push(Input::Traffic {
                service,
                totals: self.traffic.totals(service),
            });
        }
        self.gather_loads();
        let taken = self.traffic.drain_signals(&mut self.outcomes);
        let names = self.traffic.drain_names().into_iter();
        self.inputs
            .extend(names.map(|(shape, text)| Input::Named { shape, text }));
        self.inputs
            .extend(self.outcomes.drain(..).map(Input::Signal));
        let exposures = self.traffic.drain_exposures().into_iter();
        self.inputs
            .extend(exposures.map(|exposure| Input::Exposed(Box::new(exposure))));
        // Answers are taken before signals and handed on after them: that a process was started must be known before
        // the restart is said to be done.
        while let Some(Ok(answer)) = self.tasks.try_join_next() {
            self.answers.push(answer);
        }
        for _ in 0..self.signals.len() {
            let Ok(signal) = self.signals.try_recv() else {
                break;
            };
            self.inputs.push(Input::Signal(signal));
        }
        self.inputs.append(&mut self.answers);
        for input in &self.inputs {
            let Input::Signal(Signal {
                server,
                observation,
                ..
            }) = input
            else {
                continue;
            };
            self.again.hear(*server, observation);
            let pid = match observation {
                Observation::Started { pid } => Some(*pid),
                Observation::Exited(_) => None,
                Observation::Attempt { .. }
                | Observation::Probe { .. }
                | Observation::StartFailed(_)
                | Observation::Moved(_) => continue,
            };
            let service = self.pids.get_mut(server.service.0 as usize);
            if let Some(shown) = service.and_then(|servers| servers.get_mut(server.index as usize))
            {
                *shown = pid;
                self.changed = true;
            }
        }
        taken > 0
    }

    /// What evenkeel itself lacks is known before what it saw of its servers.
    fn look_at_self(&mut self) {
        let now = self.clock.now();
        let of_workers = self.traffic.take_lateness();
        let mut first = Vec::new();
        if let Some(lasted) = self.lateness.turn(now, of_workers) {
            tracing::warn!(
                milliseconds = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
                "evenkeel itself stood still: its timers were late; no server is to blame for what it missed"
            );
            self.counters.stalled(lasted);
            first.push(Input::Stalled { until: now, lasted });
        }
        let reading = self.traffic.self_reading(now);
        first.extend(reading.map(|reading| Input::SelfReading(Box::new(reading))));
        // What woke the loop is there already.
        self.inputs.splice(0..0, first);
    }

    /// Writes down the requests since the last time.
    fn book(&mut self, now: Instant) {
        self.book_at = now + BOOK_EVERY;
        let minute = i64::try_from(self.clock.epoch().wall(now).0 / 60_000).unwrap_or(i64::MAX);
        for ((id, name), booked) in (0_u32..).zip(&self.services).zip(&mut self.booked) {
            let totals = self.traffic.totals(ServiceId(id));
            let requests = totals.requests.saturating_sub(booked.requests);
            let failed = totals.failed.saturating_sub(booked.failed);
            if requests > 0 || failed > 0 {
                self.books.traffic(name, minute, requests, failed);
            }
            *booked = totals;
        }
    }
}
