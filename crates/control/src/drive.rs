//! The loop: gather, step, carry out, show, wait. The only control flow of this crate.
//!
//! It never blocks: orders are tasks with a time limit whose answers come back as inputs, and incidents are handed to a
//! thread that writes them.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_core::metric::Counter;
use evenkeel_core::{Instant, Observation, ServerId, ServiceId, Signal};
use evenkeel_fault::contract::{ActionOrder, ServerState, Totals};
use evenkeel_fault::incident::{ActionOutcome, Status};
use evenkeel_fault::keeper::Memory;
use evenkeel_fault::{Incident, Input, Keeper, Maintenance, Output};
use evenkeel_runtime::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::again::Again;
use crate::asked::{Asked, OrderRequest};
use crate::counters::Counters;
use crate::heartbeat::Heartbeat;
use crate::specs::{server_names, specs};
use crate::timeline::{fresh, log};
use crate::view::{Event, Events, View, Views};
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
    /// How often the loop was started again after a panic.
    pub restarts: Arc<Counter>,
}

/// The loop that drives the fault's way.
#[derive(Debug)]
pub struct Control<T, H, B> {
    pub(crate) clock: Clock,
    traffic: T,
    pub(crate) hands: H,
    books: B,
    pub(crate) signals: mpsc::Receiver<Signal>,
    orders: mpsc::Receiver<OrderRequest>,
    pub(crate) asked: Asked,
    pub(crate) keeper: Keeper,
    /// Orders under way; each ends with its answer.
    pub(crate) tasks: JoinSet<Input>,
    services: Vec<String>,
    /// The names of each service's servers.
    servers: Vec<Vec<String>>,
    /// Totals that are in the books already, and when the next are written.
    booked: Vec<Totals>,
    book_at: Instant,
    /// The state of each server as last shown.
    states: Vec<Vec<ServerState>>,
    pids: Vec<Vec<Option<u32>>>,
    pub(crate) open: BTreeMap<String, Arc<Incident>>,
    views: Views,
    events: Events,
    counters: Arc<Counters>,
    heartbeat: Heartbeat,
    /// For a new keeper, should this one fail.
    pub(crate) again: Again,
    /// Whether a process came or went since it was last shown.
    pub(crate) changed: bool,
    // Kept from step to step so that a step allocates nothing.
    pub(crate) inputs: Vec<Input>,
    pub(crate) answers: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) outcomes: Vec<Signal>,
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
            services: specs.iter().map(|service| service.name.clone()).collect(),
            servers: specs.iter().map(server_names).collect(),
            again: Again::new(
                specs.clone(),
                parts.seed,
                parts.memory.clone(),
                parts.restarts,
                parts.clock.now(),
            ),
            heartbeat: Heartbeat::default(),
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
        let mut shutdown = std::pin::pin!(shutdown);
        self.compare(self.clock.now());
        self.show();
        let servers: usize = self.states.iter().map(Vec::len).sum();
        let breath = BREATH.saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX));
        loop {
            let Some(busy) = self.turn() else {
                tokio::select! {
                    () = &mut shutdown => break,
                    () = self.start_again() => continue,
                }
            };
            if breath >= BREATH_LEAST {
                self.clock.sleep_until(self.clock.now() + breath).await;
            }
            let pause = if busy { BUSY } else { IDLE };
            tokio::select! {
                () = &mut shutdown => break,
                () = self.wait(pause) => {}
            }
        }
        self.book(self.clock.now());
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
                self.inputs.push(Input::Operator { ticket, at: self.clock.now(), order });
            }
            () = self.clock.sleep_until(wake) => {}
        }
    }

    /// One turn, and a sign of life after it. Nothing if it has panicked.
    fn turn(&mut self) -> Option<bool> {
        // Whatever a panic leaves half done is not used again: `start_again` replaces it.
        let busy = catch_unwind(AssertUnwindSafe(|| self.step())).ok()?;
        self.heartbeat.beat(self.clock.now());
        Some(busy)
    }

    /// One step. Says whether the request's way had signals.
    fn step(&mut self) -> bool {
        let busy = self.gather();
        let now = self.clock.now();
        self.decide(now);
        if self.compare(now) || std::mem::take(&mut self.changed) {
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
                Output::Record(_) | Output::Maintenance { .. } | Output::Gate { .. }
            );
            self.carry_out(now, output);
        }
        self.outputs = outputs;
        self.counters.inconsistencies(self.keeper.inconsistencies());
    }

    fn gather(&mut self) -> bool {
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
        let taken = self.traffic.drain_signals(&mut self.outcomes);
        self.inputs
            .extend(self.outcomes.drain(..).map(Input::Signal));
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

    fn carry_out(&mut self, now: Instant, output: Output) {
        match output {
            Output::Directive(directive) => {
                tracing::debug!(?directive, "directive");
                self.traffic.apply(&directive, now);
            }
            Output::Act(order) => self.act(*order),
            Output::Examine {
                id,
                server,
                timeout,
            } => {
                let (clock, examination) = (self.clock, self.hands.examine(server, timeout));
                self.tasks.spawn(async move {
                    // A little more than the limit, so that what was found until then still counts.
                    let limit = timeout + Duration::from_millis(500);
                    let examination = tokio::time::timeout(limit, contained(examination)).await;
                    let examination = examination.ok().flatten().unwrap_or_default();
                    Input::Examined {
                        id,
                        at: clock.now(),
                        examination,
                    }
                });
            }
            Output::Pace { server, pace } => self.hands.pace(server, pace),
            Output::Record(incident) => self.record(now, Arc::from(incident)),
            Output::Maintenance {
                service,
                server,
                maintenance,
            } => self.keep_maintenance(service, server, maintenance.map(|kept| *kept)),
            Output::Gate { service, open } => self.traffic.gate(service, open),
            Output::Answer { ticket, answer } => {
                if let Some(order) = self.asked.answer(ticket, &answer) {
                    self.counters.order(order, answer.word());
                }
            }
        }
    }

    /// The names of a server's service and of the server itself.
    fn names(&self, server: ServerId) -> (&str, &str) {
        let service = server.service.0 as usize;
        let servers = self.servers.get(service);
        (
            self.services.get(service).map_or("", String::as_str),
            servers
                .and_then(|servers| servers.get(server.index as usize))
                .map_or("", String::as_str),
        )
    }

    fn act(&mut self, order: ActionOrder) {
        let (clock, id, limit) = (self.clock, order.id, self.hands.limit(&order));
        let (service, server) = self.names(order.server);
        tracing::info!(
            incident = order.incident, service, server, fault = %order.fault, action = order.action.word(), "action"
        );
        let work = self.hands.act(order);
        self.tasks.spawn(async move {
            let (outcome, detail) = match tokio::time::timeout(limit, contained(work)).await {
                Ok(Some(ended)) => ended,
                Ok(None) => {
                    let why = "evenkeel made a mistake while it carried this out: see its log";
                    (ActionOutcome::Failed, Some(why.to_owned()))
                }
                Err(_) => {
                    let why = format!("not done within {limit:?}");
                    (ActionOutcome::TimedOut, Some(why))
                }
            };
            Input::ActionEnded {
                id,
                at: clock.now(),
                outcome,
                detail,
            }
        });
    }

    fn keep_maintenance(
        &mut self,
        service: ServiceId,
        server: Option<u32>,
        maintenance: Option<Maintenance>,
    ) {
        let (place, servers) = (service.0 as usize, &self.servers);
        let names = servers.get(place);
        let server = server
            .and_then(|index| names?.get(index as usize))
            .map(String::as_str);
        let Some(service) = self.services.get(place) else {
            return;
        };
        match &maintenance {
            Some(begun) => tracing::info!(
                service,
                server,
                by = begun.by,
                reason = begun.reason,
                until = begun.until,
                "maintenance began"
            ),
            None => tracing::info!(service, server, "maintenance is over"),
        }
        self.again
            .maintenance(service, server, maintenance.as_ref());
        self.books.maintenance(service, server, maintenance);
    }

    pub(crate) fn record(&mut self, now: Instant, incident: Arc<Incident>) {
        self.again.number(&incident.id);
        let known = self.open.get(&incident.id);
        for entry in fresh(known.map(|known| &**known), &incident) {
            log(&incident, entry);
        }
        self.books.save(&incident);
        self.counters.incident(&incident);
        if incident.status == Status::Closed {
            // Whoever reads the report now finds the requests in it.
            self.book(now);
            self.open.remove(&incident.id);
        } else {
            self.open.insert(incident.id.clone(), Arc::clone(&incident));
        }
        self.events.emit(Event::Incident { at: now, incident });
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

    /// Whether a state has changed since it was last shown; emits the changes.
    fn compare(&mut self, at: Instant) -> bool {
        let mut changed = false;
        for (service, states) in (0_u32..).zip(&mut self.states) {
            for (index, state) in (0_u32..).zip(states) {
                let server = ServerId::new(service, index);
                let to = self.keeper.server_state(server);
                if to != *state {
                    self.events.emit(Event::State {
                        at,
                        server,
                        from: *state,
                        to,
                    });
                    *state = to;
                    changed = true;
                }
            }
        }
        changed
    }

    fn show(&self) {
        let mut held = BTreeMap::new();
        let mut closed_services = BTreeMap::new();
        for (service, states) in (0_u32..).zip(&self.states) {
            if let Some((maintenance, ending)) = self.keeper.service_maintenance(ServiceId(service))
            {
                closed_services.insert(service, (maintenance.clone(), ending));
            }
            for (index, state) in (0_u32..).zip(states) {
                let server = ServerId::new(service, index);
                if *state == ServerState::Maintenance
                    && let Some(maintenance) = self.keeper.server_maintenance(server)
                {
                    held.insert((service, index), maintenance.clone());
                }
            }
        }
        self.views.publish(View {
            held,
            closed_services,
            states: self.states.clone(),
            pids: self.pids.clone(),
            open: self.open.values().cloned().collect(),
        });
    }
}

/// What `work` gives; nothing if it panics, so that whoever waits for it hears of that. It ends with this future.
async fn contained<O: Send + 'static>(work: impl Future<Output = O> + Send + 'static) -> Option<O> {
    let mut one = JoinSet::new();
    one.spawn(work);
    one.join_next().await?.ok()
}
