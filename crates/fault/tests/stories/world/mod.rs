//! A small simulation for stories: servers that can be broken, probes and actions that are answered, traffic at a rate.
//! Time jumps from event to event; only latencies of [`Condition::Mixed`] are random, by a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_core::{
    Epoch, Exit, Instant, Observation, ProgramChange, Random, ServerId, ServiceId, ServiceOrders,
    ShapeOrders, Signal, WallTime,
};
use evenkeel_fault::contract::{
    ActionOrder, Managed, OperatorOrder, OrderAnswer, OrderTicket, ProbePace, ServerSpec,
    ServerStatus, ServiceSpec, Totals,
};
use evenkeel_fault::incident::CloseReason;
use evenkeel_fault::policy::FaultOptions;
use evenkeel_fault::{Incident, Input, Keeper, MaintenanceRecord, Output, PersistedState};

#[path = "../../common/options.rs"]
mod options;
mod servers;
mod traffic;
mod closing;
mod orders;
mod reload;

use closing::Closing;
pub(super) use options::options;
pub(super) use servers::Condition;
use servers::Sim;

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) struct World {
    pub(super) keeper: Keeper,
    pub(super) now: Instant,
    pub(super) every: Duration,
    pub(super) outputs: Vec<(Instant, Output)>,
    pub(super) incidents: BTreeMap<String, Incident>,
    pub(super) totals: Totals,
    pub(super) restarts: Vec<(Instant, ServerId, ActionOrder)>,
    pub(super) random: Random,
    /// The requested paths, in turn.
    pub(super) paths: Vec<&'static str>,
    /// What is wrong with a path, on every server.
    pub(super) broken: Option<(&'static str, Condition)>,
    /// On this server only; on all, if absent.
    pub(super) broken_on: Option<usize>,
    /// So many of a thousand answers are an error although nothing is wrong.
    pub(super) background: usize,
    /// How long an attempt may take.
    pub(super) patience: Duration,
    /// Whether a request for this path ends the process that gets it.
    pub(super) kills: fn(&str) -> bool,
    /// Processes that ended by themselves.
    pub(super) deaths: u32,
    /// Requests that were not sent to a server since they are in quarantine.
    pub(super) refused: u64,
    /// How many of the servers, the last, are backups.
    backups: usize,
    /// Whether backups get requests only where the others do not. Else all are asked in turn.
    pub(super) by_tier: bool,
    /// What was ordered about the service last.
    pub(super) ordered: ServiceOrders,
    /// The routes that are closed.
    pub(super) closing: Closing,
    /// What was ordered about requests last.
    pub(super) shapes: Option<ShapeOrders>,
    spec: FaultOptions,
    /// The service as it is configured now.
    service: ServiceSpec,
    sims: Vec<Sim>,
    pending: Vec<(Instant, Input)>,
    next_traffic: Instant,
    next_pid: u32,
    turn: usize,
    start_millis: u64,
    stillborn_millis: u64,
    /// For which part of an examination processes wait for a processor, in thousandths.
    pub(super) cpu_wait: Option<u32>,
    /// So much later than on an idle machine an examination is answered.
    pub(super) examined_late: Duration,
    /// How often the service was rolled back, and what a start makes of a server then.
    pub(super) roll_backs: u32,
    pub(super) rolls_back_to: Condition,
    /// What of the program was changed, as failed starts tell.
    pub(super) changed: Option<ProgramChange>,
    /// Whether requests are sent to servers.
    pub(super) gate: bool,
    maintenance: BTreeMap<Option<u32>, MaintenanceRecord>,
    /// By ticket, what came of each order.
    answers: Vec<Vec<OrderAnswer>>,
}

const NAMES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// What there is.
#[derive(Debug, Clone, Copy, Default)]
struct Shape {
    servers: usize,
    /// Of these, the last.
    backups: usize,
    rolls_back: bool,
}

/// Servers named `one`, `two`, …
fn server_specs(shape: Shape, managed: Managed) -> Vec<ServerSpec> {
    let Shape {
        servers,
        backups,
        rolls_back,
    } = shape;
    let first_backup = 9001 + servers - backups;
    let named = NAMES.iter().take(servers).zip(9001..);
    let spec = |(name, port): (&&str, usize)| ServerSpec {
        name: (*name).to_owned(),
        address: Some(format!("127.0.0.1:{port}")),
        tier: u8::from(port >= first_backup),
        managed,
        rolls_back,
        order_limit: Duration::from_secs(110),
    };
    named.map(spec).collect()
}

impl World {
    /// One service, `shop`, of servers named `one`, `two`, …; a request every 5 ms.
    pub(super) fn new(servers: usize, managed: Managed, spec: FaultOptions) -> Self {
        Self::with_memory(servers, managed, spec, PersistedState::default())
    }

    /// The same, with this many backups at the end.
    pub(super) fn with_backups(
        servers: usize,
        backups: usize,
        managed: Managed,
        spec: FaultOptions,
    ) -> Self {
        let shape = Shape {
            servers,
            backups,
            ..Shape::default()
        };
        Self::made(shape, managed, spec, PersistedState::default())
    }

    /// The same, and the service can go back to the version that ran before.
    pub(super) fn that_rolls_back(servers: usize, spec: FaultOptions) -> Self {
        let shape = Shape {
            servers,
            rolls_back: true,
            ..Shape::default()
        };
        Self::made(shape, Managed::Child, spec, PersistedState::default())
    }

    pub(super) fn with_memory(
        servers: usize,
        managed: Managed,
        spec: FaultOptions,
        memory: PersistedState,
    ) -> Self {
        let shape = Shape {
            servers,
            ..Shape::default()
        };
        Self::made(shape, managed, spec, memory)
    }

    fn made(shape: Shape, managed: Managed, spec: FaultOptions, memory: PersistedState) -> Self {
        let servers = shape.servers;
        let service = ServiceSpec {
            id: ServiceId(0),
            name: "shop".to_owned(),
            options: spec.clone(),
            is_unlimited: true,
            servers: server_specs(shape, managed),
        };
        // 2026-11-22T10:00:00Z.
        let keeper = Keeper::new(
            vec![service.clone()],
            Epoch(WallTime(1_795_341_600_000)),
            7,
            memory,
        );
        let sims = (0..servers).map(|_| Sim::new(managed));
        let mut world = Self {
            keeper,
            now: Instant::ZERO,
            every: ms(5),
            outputs: Vec::new(),
            incidents: BTreeMap::new(),
            totals: Totals::default(),
            restarts: Vec::new(),
            random: Random::seeded(1),
            paths: vec!["/"],
            broken: None,
            broken_on: None,
            background: 0,
            patience: closing::HANG,
            kills: |_| false,
            deaths: 0,
            refused: 0,
            backups: shape.backups,
            by_tier: false,
            ordered: ServiceOrders::none(ServiceId(0)),
            closing: Closing::default(),
            shapes: None,
            spec,
            service,
            sims: sims.collect(),
            pending: Vec::new(),
            next_traffic: Instant::from_millis(100),
            next_pid: 4711,
            turn: 0,
            start_millis: 30,
            stillborn_millis: 20,
            examined_late: Duration::ZERO,
            cpu_wait: None,
            roll_backs: 0,
            rolls_back_to: Condition::Well,
            changed: None,
            gate: true,
            maintenance: BTreeMap::new(),
            answers: Vec::new(),
        };
        if managed == Managed::Child {
            for index in 0..servers {
                world.start(index, Condition::Well, 10);
            }
        }
        world.feed(Vec::new());
        world
    }

    /// Runs on for so long.
    pub(super) fn run(&mut self, millis: u64) {
        let until = self.now + ms(millis);
        let mut rounds = 0;
        loop {
            let next = self.next().min(until);
            assert!(next >= self.now, "time runs back");
            self.now = next;
            self.events();
            if self.now >= until && self.next() > until {
                return;
            }
            rounds += 1;
            assert!(
                rounds < 2_000_000,
                "the keeper never sleeps: {:?}",
                self.keeper.next_wake()
            );
        }
    }

    /// Each incident that ended in another, or was split, names it, and is named there.
    pub(super) fn assert_both_ids_are_told(&self) {
        let tells = |one: &Incident, other: &Incident| {
            one.id != other.id
                && one
                    .timeline
                    .iter()
                    .any(|entry| entry.text.contains(&other.id))
        };
        let all = || self.incidents.values();
        for merged in
            all().filter(|one| matches!(one.end, Some(CloseReason::Merged | CloseReason::Split)))
        {
            let both = all().any(|into| tells(merged, into) && tells(into, merged));
            assert!(both, "{merged:#?} {:#?}", self.incidents);
        }
    }

    /// Runs until `what` holds, at most `millis`; how long it took.
    pub(super) fn until(&mut self, millis: u64, what: impl Fn(&Self) -> bool) -> Duration {
        let began = self.now;
        while !what(self) {
            assert!(
                self.now - began <= ms(millis),
                "not within {millis} ms: {:#?}",
                self.incidents
            );
            self.run(10);
        }
        self.now - began
    }

    /// From now on a request comes each so many milliseconds.
    pub(super) fn ask_every(&mut self, millis: u64) {
        self.every = ms(millis);
        self.next_traffic = self.now + self.every;
    }

    pub(super) fn order(&mut self, order: OperatorOrder) {
        let (at, ticket) = (self.now, OrderTicket(self.answers.len() as u64));
        self.answers.push(Vec::new());
        self.feed(vec![Input::Operator {
            ticket,
            at,
            order: Box::new(order),
        }]);
    }

    /// What came of the latest order so far, the words for it.
    pub(super) fn answers(&self) -> Vec<&'static str> {
        let latest = self.answers.last().expect("an order was given");
        latest.iter().map(OrderAnswer::word).collect()
    }

    /// What is kept for the next run of the program.
    pub(super) fn kept(&self) -> Vec<MaintenanceRecord> {
        self.maintenance.values().cloned().collect()
    }

    pub(super) fn state(&self, index: u32) -> ServerStatus {
        self.keeper.server_state(ServerId::new(0, index))
    }

    /// Whether the balancer would use it, according to the published state.
    pub(super) fn in_service(&self, index: usize) -> bool {
        let sim = &self.sims[index];
        let out_until = sim.known_until.max(sim.hung_until).max(sim.out_until);
        !sim.is_gone && !sim.drained && self.now >= out_until
    }

    /// Whether it was published as out of service and being repaired.
    pub(super) fn is_being_repaired(&self, index: usize) -> bool {
        self.now < self.sims[index].repaired_until
    }

    pub(super) fn sent(&self, index: usize) -> u64 {
        self.sims[index].sent
    }

    pub(super) const fn only_service(&self) -> ServiceId {
        ServiceId(0)
    }

    pub(super) fn only(&self) -> &Incident {
        assert_eq!(self.incidents.len(), 1, "{:#?}", self.incidents);
        self.incidents.values().next().expect("one")
    }

    fn next(&self) -> Instant {
        let mut next = self.next_traffic;
        for sim in &self.sims {
            next = next.min(sim.dies_at);
            if sim.pace != ProbePace::Paused {
                next = next.min(sim.next_probe);
            }
        }
        for (at, _) in &self.pending {
            next = next.min(*at);
        }
        next.min(self.keeper.next_wake().unwrap_or(Instant::NEVER))
            .max(self.now)
    }

    fn events(&mut self) {
        let now = self.now;
        for index in 0..self.sims.len() {
            if now >= self.sims[index].dies_at {
                let is_left = self.sims[index].condition == Condition::InBackground;
                let code = match self.sims[index].condition {
                    Condition::Stillborn => 2,
                    _ if is_left => 0,
                    _ => 1,
                };
                let uptime = now - self.sims[index].since;
                self.die(
                    index,
                    Exit {
                        code: Some(code),
                        signal: None,
                        asked: false,
                        uptime,
                        last_lines: vec!["panic!".to_owned()],
                        guardian: None,
                        port_holder: is_left.then(|| "process 99 (shop)".to_owned()),
                        changed: self.changed.clone(),
                        changed_since: None,
                    },
                );
            }
            if self.sims[index].pace != ProbePace::Paused && now >= self.sims[index].next_probe {
                self.probe(index);
            }
        }
        if now >= self.next_traffic {
            self.next_traffic = now + self.every;
            self.request();
        }
        let (due, later): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(|(at, _)| *at <= now);
        self.pending = later;
        let mut inputs = vec![Input::Traffic {
            service: ServiceId(0),
            totals: self.totals,
        }];
        inputs.extend(due.into_iter().map(|(_, input)| input));
        self.feed(inputs);
    }

    pub(super) fn feed(&mut self, mut inputs: Vec<Input>) {
        let mut out = Vec::new();
        self.keeper.step(self.now, &mut inputs, &mut out);
        assert!(inputs.is_empty());
        for output in out {
            self.carry_out(&output);
            self.outputs.push((self.now, output));
        }
    }

    fn signal(&mut self, after: Duration, index: usize, observation: Observation) {
        let at = self.now + after;
        let server = ServerId::new(0, u32::try_from(index).expect("small"));
        self.pending.push((
            at,
            Input::Signal(Signal {
                at,
                server,
                observation,
            }),
        ));
    }
}
