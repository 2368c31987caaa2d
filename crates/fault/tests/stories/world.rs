//! A small world for stories: servers that can be broken, probes and orders that are answered, traffic at a rate.
//! Time jumps from event to event; only latencies of [`Condition::Mixed`] are random, by a seed.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use evenkeel_core::{
    Directive, Epoch, ExactShape, ExactText, Exit, Exposed, Exposure, Instant, Observation,
    Outcome, ProbeOutcome, ProgramChange, Random, RequestShape, ServerId, ServiceId, ShapeOrders,
    ShapeText, Signal, StartFailure, Verdict, Wall,
};
use evenkeel_fault::contract::{
    ActionOrder, Examination, Managed, OperatorOrder, OrderAnswer, OrderId, Pace, ProcessState,
    ServerSpec, ServerState, ServiceSpec, Ticket, Totals,
};
use evenkeel_fault::incident::ActionOutcome;
use evenkeel_fault::policy::{
    Action, ActionLimit, DetectOptions, FaultOptions, Mode, Objective, ProbeKind, ProbeOptions,
    RatioOptions, RecoverOptions, RestartBackoff, SlowOptions, VerifyOptions,
};
use evenkeel_fault::{Incident, Input, Keeper, MaintenanceRecord, Memory, Output};

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The defaults of the product, with an HTTP probe.
pub(super) fn options() -> FaultOptions {
    FaultOptions {
        detect: DetectOptions {
            probe: ProbeOptions {
                kind: ProbeKind::Http {
                    path: "/health".to_owned(),
                    host: None,
                    expect: (200, 399),
                },
                every: ms(2_000),
                timeout: ms(1_000),
                fall: 3,
                rise: 2,
                fast: ms(250),
            },
            consecutive_failures: 5,
            failure_ratio: Some(RatioOptions {
                above: 0.1,
                window: ms(10_000),
                minimum_attempts: 20,
            }),
            slow: Some(SlowOptions {
                times_peers: 3.0,
                window: ms(10_000),
                minimum_attempts: 20,
            }),
        },
        diagnose_timeout: ms(2_000),
        recover: RecoverOptions {
            mode: Mode::Automatic,
            keep_serving: 0.5,
            at_once: 1,
            hang_wait: ms(10_000),
            limit: ActionLimit {
                actions: 5,
                within: ms(600_000),
            },
            backoff: RestartBackoff {
                base: ms(100),
                cap: ms(60_000),
                reset_after: ms(600_000),
            },
            verify: VerifyOptions {
                probes: 3,
                every: ms(100),
                within: ms(10_000),
            },
            playbooks: Vec::new(),
        },
        objective: Some(Objective {
            availability: 0.999,
            latency: None,
            window: ms(2_592_000_000),
        }),
    }
}

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Well,
    Dead,
    /// Stopped by somebody.
    Hung,
    /// It hangs by itself.
    Blocked,
    Deaf,
    /// So many of a hundred attempts are answered 500.
    Errors(u32),
    /// Half of the requests take so many milliseconds, the others up to 800 times as long.
    Mixed(u32),
    /// So many of a hundred attempts are answered 503.
    Sheds(u32),
    /// Its probe is answered 503, and all else is well.
    Unhealthy,
    /// So many times slower.
    Slow(u32),
    Unreachable,
    /// Traffic succeeds, probes get 400.
    BadProbe,
    /// Ready, then dead by itself after so many milliseconds.
    Doomed(u64),
    /// Dead after 20 ms, before it is ready.
    Stillborn,
    /// Cannot be started at all.
    Unstartable,
    /// It lives, and somebody else answers at its port.
    PortTaken,
}

#[derive(Debug)]
struct Sim {
    condition: Condition,
    /// What a restart makes of it.
    reborn: Condition,
    managed: Managed,
    pid: u32,
    since: Instant,
    dies_at: Instant,
    ready_at: Instant,
    pace: Pace,
    next_probe: Instant,
    out_until: Instant,
    known_until: Instant,
    trial_until: Instant,
    repaired_until: Instant,
    drained: bool,
    credit: u32,
    sent: u64,
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
    /// The paths that are asked for, in turn.
    pub(super) paths: Vec<&'static str>,
    /// What is wrong with a path, on every server.
    pub(super) broken: Option<(&'static str, Condition)>,
    /// Whether a request for this path ends the process that gets it.
    pub(super) kills: fn(&str) -> bool,
    /// Processes that ended by themselves.
    pub(super) deaths: u32,
    /// Requests that were not sent to a server since they are in quarantine.
    pub(super) refused: u64,
    /// What was ordered about requests last.
    pub(super) shapes: Option<ShapeOrders>,
    spec: FaultOptions,
    sims: Vec<Sim>,
    pending: Vec<(Instant, Input)>,
    next_traffic: Instant,
    next_pid: u32,
    turn: usize,
    start_millis: u64,
    /// What of the program was changed, as failed starts tell.
    pub(super) changed: Option<ProgramChange>,
    /// Whether requests are sent to servers.
    pub(super) gate: bool,
    maintenance: BTreeMap<Option<u32>, MaintenanceRecord>,
    /// By ticket, what came of each order.
    answers: Vec<Vec<OrderAnswer>>,
}

fn split(path: &'static str) -> ((&'static str, &'static str), RequestShape) {
    let (method, target) = path.split_once(' ').unwrap_or(("GET", path));
    let shape = RequestShape::of(method.as_bytes(), target.as_bytes());
    ((method, target), shape)
}

type Keys = BuildHasherDefault<DefaultHasher>;

fn head(path: &str) -> String {
    let (method, target) = path.split_once(' ').unwrap_or(("GET", path));
    format!("{method} {target} HTTP/1.1")
}

fn exact(path: &str) -> ExactShape {
    ExactShape::of_head(&Keys::default(), head(path).as_bytes())
}

fn broke(path: &'static str, age: Duration) -> Exposed {
    Exposed::Broke {
        age,
        route: split(path).1,
        text: ExactText::of_head(head(path).as_bytes()),
    }
}

const NAMES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

impl World {
    /// One service, `shop`, of servers named `one`, `two`, …; a request every 5 ms.
    pub(super) fn new(servers: usize, managed: Managed, spec: FaultOptions) -> Self {
        Self::with_memory(servers, managed, spec, Memory::default())
    }

    pub(super) fn with_memory(
        servers: usize,
        managed: Managed,
        spec: FaultOptions,
        memory: Memory,
    ) -> Self {
        let list = NAMES
            .iter()
            .take(servers)
            .zip(9001..)
            .map(|(name, port)| ServerSpec {
                name: (*name).to_owned(),
                address: Some(format!("127.0.0.1:{port}")),
                managed,
                order_limit: Duration::from_secs(110),
            });
        let service = ServiceSpec {
            id: ServiceId(0),
            name: "shop".to_owned(),
            options: spec.clone(),
            servers: list.collect(),
        };
        // 2026-11-22T10:00:00Z.
        let keeper = Keeper::new(vec![service], Epoch(Wall(1_795_341_600_000)), 7, memory);
        let sims = (0..servers).map(|_| Sim {
            condition: Condition::Well,
            reborn: Condition::Well,
            managed,
            pid: 0,
            since: Instant::ZERO,
            dies_at: Instant::NEVER,
            ready_at: Instant::ZERO,
            pace: Pace::Normal,
            next_probe: Instant::from_millis(7),
            out_until: Instant::ZERO,
            known_until: Instant::ZERO,
            trial_until: Instant::ZERO,
            repaired_until: Instant::ZERO,
            drained: false,
            credit: 0,
            sent: 0,
        });
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
            kills: |_| false,
            deaths: 0,
            refused: 0,
            shapes: None,
            spec,
            sims: sims.collect(),
            pending: Vec::new(),
            next_traffic: Instant::from_millis(100),
            next_pid: 4711,
            turn: 0,
            start_millis: 30,
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

    pub(super) fn break_server(&mut self, index: usize, condition: Condition) {
        if condition == Condition::Dead {
            let uptime = self.now - self.sims[index].since;
            self.die(
                index,
                Exit {
                    code: None,
                    signal: Some(9),
                    asked: false,
                    uptime,
                    last_lines: vec!["bye".to_owned()],
                    guardian: None,
                    port_holder: None,
                    changed: None,
                },
            );
        } else {
            self.sims[index].condition = condition;
            if let Condition::Doomed(millis) = condition {
                self.sims[index].dies_at = self.now + ms(millis);
            }
        }
    }

    /// From now on a server is ready so many milliseconds after its process was started.
    pub(super) fn starts_in(&mut self, millis: u64) {
        self.start_millis = millis;
    }

    /// The guardian is killed, and all processes with it.
    pub(super) fn guardian_dies(&mut self) {
        for index in 0..self.sims.len() {
            let uptime = self.now - self.sims[index].since;
            self.die(
                index,
                Exit {
                    code: None,
                    signal: Some(9),
                    asked: false,
                    uptime,
                    last_lines: vec![],
                    guardian: Some("the guardian (process 7) ended: signal: 9".to_owned()),
                    port_holder: None,
                    changed: None,
                },
            );
        }
    }

    pub(super) fn reborn(&mut self, index: usize, condition: Condition) {
        self.sims[index].reborn = condition;
    }

    pub(super) fn heal(&mut self, index: usize) {
        self.sims[index].condition = Condition::Well;
        self.sims[index].reborn = Condition::Well;
        self.sims[index].ready_at = self.now;
    }

    pub(super) fn order(&mut self, order: OperatorOrder) {
        let (at, ticket) = (self.now, Ticket(self.answers.len() as u64));
        self.answers.push(Vec::new());
        self.feed(vec![Input::Operator { ticket, at, order }]);
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

    pub(super) fn state(&self, index: u32) -> ServerState {
        self.keeper.server_state(ServerId::new(0, index))
    }

    /// Whether the balancer would use it, as far as it was told.
    pub(super) fn in_service(&self, index: usize) -> bool {
        let sim = &self.sims[index];
        !sim.drained && self.now >= sim.out_until && self.now >= sim.known_until
    }

    /// Whether the balancer was told that it is out of service and being repaired.
    pub(super) fn is_being_repaired(&self, index: usize) -> bool {
        self.now < self.sims[index].repaired_until
    }

    pub(super) fn sent(&self, index: usize) -> u64 {
        self.sims[index].sent
    }

    pub(super) fn only(&self) -> &Incident {
        assert_eq!(self.incidents.len(), 1, "{:#?}", self.incidents);
        self.incidents.values().next().expect("one")
    }

    fn next(&self) -> Instant {
        let mut next = self.next_traffic;
        for sim in &self.sims {
            next = next.min(sim.dies_at);
            if sim.pace != Pace::Paused {
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
                let code = if self.sims[index].condition == Condition::Stillborn {
                    2
                } else {
                    1
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
                        port_holder: None,
                        changed: self.changed.clone(),
                    },
                );
            }
            if self.sims[index].pace != Pace::Paused && now >= self.sims[index].next_probe {
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

    fn die(&mut self, index: usize, exit: Exit) {
        self.deaths += u32::from(!exit.asked);
        self.break_off(index);
        let sim = &mut self.sims[index];
        sim.condition = Condition::Dead;
        sim.dies_at = Instant::NEVER;
        self.signal(ms(1), index, Observation::Exited(Box::new(exit)));
    }

    /// What is under way on a server that ends breaks off.
    fn break_off(&mut self, index: usize) {
        let (now, paths) = (self.now, self.paths.clone());
        let mut broken = Vec::new();
        for (at, input) in &mut self.pending {
            if let Input::Signal(Signal {
                at: ends,
                server,
                observation:
                    Observation::Attempt {
                        outcome: outcome @ Outcome::Answered(_),
                        latency,
                        shape,
                    },
            }) = input
                && server.index as usize == index
            {
                *latency = now - ends.before(*latency);
                *outcome = Outcome::Reset { sent: true };
                (*at, *ends) = (now, now);
                let is_it = |path: &&&'static str| split(path).1 == *shape;
                if let Some(path) = paths.iter().find(is_it) {
                    broken.push((*path, *latency));
                }
            }
        }
        for (path, age) in broken {
            self.expose(Duration::ZERO, index, path, broke(path, age));
        }
    }

    /// Something is observed of a request.
    fn expose(&mut self, after: Duration, index: usize, path: &str, what: Exposed) {
        let at = self.now + after;
        let exposure = Exposure {
            at,
            server: ServerId::new(0, u32::try_from(index).expect("small")),
            shape: exact(path),
            what,
        };
        self.pending.push((at, Input::Exposed(Box::new(exposure))));
    }

    /// What was ordered about this request: refused, watched.
    fn treatment(&self, path: &str) -> (bool, bool) {
        let Some(orders) = self.shapes.as_ref().filter(|one| self.now < one.until) else {
            return (false, false);
        };
        let ExactShape { path, target } = exact(path);
        let is_it = |hash: u64| hash == path || hash == target;
        let is_refused = |one: &(u64, Instant)| is_it(one.0) && self.now < one.1;
        (
            orders.refused.iter().any(is_refused),
            orders.watched.iter().any(|hash| is_it(*hash)),
        )
    }

    fn start(&mut self, index: usize, condition: Condition, after: u64) {
        let now = self.now;
        let pid = self.next_pid;
        self.next_pid += 1;
        let sim = &mut self.sims[index];
        sim.pid = pid;
        sim.condition = condition;
        sim.since = now + ms(after);
        sim.ready_at = now + ms(after + self.start_millis);
        sim.dies_at = match condition {
            Condition::Doomed(millis) => now + ms(after + 30 + millis),
            Condition::Stillborn => {
                sim.ready_at = Instant::NEVER;
                now + ms(after + 20)
            }
            _ => Instant::NEVER,
        };
        self.signal(ms(after), index, Observation::Started { pid });
    }

    fn probe_result(&self, index: usize) -> (ProbeOutcome, Duration) {
        let connects = self.spec.detect.probe.kind == ProbeKind::Tcp;
        match self.http_result(index) {
            // The kernel takes connections for a process that hangs.
            (ProbeOutcome::NoAnswer, _) if connects => (ProbeOutcome::Passed, ms(0)),
            result => result,
        }
    }

    fn http_result(&self, index: usize) -> (ProbeOutcome, Duration) {
        let sim = &self.sims[index];
        if self.now < sim.ready_at {
            return (ProbeOutcome::Refused, ms(0));
        }
        match sim.condition {
            Condition::Well
            | Condition::Doomed(_)
            | Condition::Errors(_)
            | Condition::Sheds(_)
            | Condition::Mixed(_) => (ProbeOutcome::Passed, ms(2)),
            Condition::Slow(times) => (ProbeOutcome::Passed, ms(5) * times),
            Condition::Dead | Condition::Deaf | Condition::Stillborn | Condition::Unstartable => {
                (ProbeOutcome::Refused, ms(0))
            }
            Condition::Hung | Condition::Blocked => (ProbeOutcome::NoAnswer, ms(1_000)),
            Condition::Unreachable => (ProbeOutcome::ConnectTimeout, ms(1_000)),
            Condition::PortTaken => (ProbeOutcome::PortTaken, ms(2)),
            Condition::BadProbe => (ProbeOutcome::WrongStatus(400), ms(2)),
            Condition::Unhealthy => (ProbeOutcome::WrongStatus(503), ms(2)),
        }
    }

    fn probe(&mut self, index: usize) {
        let (outcome, latency) = self.probe_result(index);
        let every = match self.sims[index].pace {
            Pace::Normal => self.spec.detect.probe.every,
            Pace::Fast => self.spec.detect.probe.fast,
            Pace::Every(every) => every,
            Pace::Paused => return,
        };
        self.sims[index].next_probe = self.now + every.max(latency);
        self.signal(latency, index, Observation::Probe { outcome, latency });
    }

    /// One request: up to three attempts, each on another server.
    fn request(&mut self) {
        let nth = usize::try_from(self.totals.requests + 1).expect("small");
        self.send(self.paths[nth % self.paths.len()]);
    }

    /// One request for this path. One that ends a process is tried once more.
    pub(super) fn send(&mut self, path: &'static str) {
        let count = self.sims.len();
        self.totals.requests += 1;
        let ((method, target), shape) = split(path);
        let (is_refused, is_watched) = self.treatment(path);
        if is_refused {
            self.refused += 1;
            self.totals.failed += 1;
            return;
        }
        let mut killed = 0;
        let of_path = self.broken.filter(|(broken, _)| *broken == path);
        if !self.gate {
            self.totals.failed += 1;
            return;
        }
        let mut failed = 0;
        for step in 0..count.min(3) {
            let index = (self.turn + step) % count;
            let Some((outcome, latency)) = self.ask(index, of_path.map(|(_, condition)| condition))
            else {
                continue;
            };
            if is_watched {
                self.expose(Duration::ZERO, index, path, Exposed::Began);
            }
            if outcome.is_success() && (self.kills)(path) {
                killed += 1;
                self.kill(index, path, shape);
                if killed == 2 {
                    break;
                }
                continue;
            }
            if is_watched && outcome.is_success() {
                self.expose(latency, index, path, Exposed::Survived);
            } else if is_watched {
                self.expose(latency, index, path, Exposed::Unsent);
            }
            if outcome.is_failure() {
                let text = ShapeText::of(method.as_bytes(), target.as_bytes());
                self.pending
                    .push((self.now + latency, Input::Named { shape, text }));
            }
            self.signal(
                latency,
                index,
                Observation::Attempt {
                    outcome,
                    latency,
                    shape,
                },
            );
            if outcome.is_success() {
                self.turn = index + 1;
                if failed > 0 {
                    self.totals.saved_by_retry += 1;
                }
                return;
            }
            failed += 1;
        }
        self.turn += 1;
        self.totals.failed += 1;
    }

    /// A request ends the process that has got it, 2 ms later.
    fn kill(&mut self, index: usize, path: &'static str, shape: RequestShape) {
        let age = ms(2);
        self.expose(age, index, path, broke(path, age));
        let outcome = Outcome::Reset { sent: true };
        self.signal(
            age,
            index,
            Observation::Attempt {
                outcome,
                latency: age,
                shape,
            },
        );
        let uptime = self.now - self.sims[index].since;
        self.die(
            index,
            Exit {
                code: None,
                signal: Some(11),
                asked: false,
                uptime,
                last_lines: vec!["segmentation fault".to_owned()],
                guardian: None,
                port_holder: None,
                changed: None,
            },
        );
    }

    /// How an attempt on this server ends; nothing if it gets none.
    fn ask(&mut self, index: usize, of_path: Option<Condition>) -> Option<(Outcome, Duration)> {
        let sim = &mut self.sims[index];
        let usable = !sim.drained && self.now >= sim.out_until && self.now >= sim.known_until;
        if !usable {
            return None;
        }
        if self.now < sim.trial_until {
            sim.credit += 1;
            if !sim.credit.is_multiple_of(10) {
                return None;
            }
        }
        sim.sent += 1;
        let nth = u32::try_from(sim.sent % 100).expect("small");
        let not_ready = self.now < sim.ready_at;
        let condition = match (sim.condition, of_path) {
            (Condition::Well, Some(of_path)) => of_path,
            (condition, _) => condition,
        };
        Some(match condition {
            Condition::Dead | Condition::Deaf | Condition::Stillborn | Condition::Unstartable => {
                (Outcome::ConnectRefused, ms(0))
            }
            _ if not_ready => (Outcome::ConnectRefused, ms(0)),
            Condition::Hung | Condition::Blocked => (Outcome::AttemptTimeout, ms(500)),
            Condition::Sheds(share) if (nth * 37) % 100 < share => (Outcome::Answered(503), ms(1)),
            Condition::Errors(share) if (nth * 37) % 100 < share => (Outcome::Answered(500), ms(5)),
            Condition::Slow(times) => (Outcome::Answered(200), ms(5) * times),
            Condition::Mixed(millis) if self.random.below(2) == 0 => {
                (Outcome::Answered(200), ms(1) * millis)
            }
            Condition::Mixed(millis) => {
                let longest = ms(800) * millis;
                (Outcome::Answered(200), self.random.duration_up_to(longest))
            }
            Condition::Unreachable => (Outcome::ConnectTimeout, ms(1_000)),
            _ => (Outcome::Answered(200), ms(5)),
        })
    }

    fn carry_out(&mut self, output: &Output) {
        match output {
            Output::Directive(directive) => self.direct(*directive),
            Output::Act(order) => self.act(order),
            Output::Examine {
                id,
                server,
                timeout,
            } => self.examine(*id, server.index as usize, *timeout),
            Output::Pace { server, pace } => {
                let sim = &mut self.sims[server.index as usize];
                sim.pace = *pace;
                sim.next_probe = match pace {
                    Pace::Every(_) => self.now,
                    Pace::Fast => self.now + self.spec.detect.probe.fast,
                    Pace::Normal | Pace::Paused => self.now + self.spec.detect.probe.every,
                };
            }
            Output::Record(incident) => {
                self.incidents
                    .insert(incident.id.clone(), (**incident).clone());
            }
            Output::Maintenance {
                service: _,
                server,
                maintenance: None,
            } => {
                self.maintenance.remove(server);
            }
            Output::Maintenance {
                service: _,
                server,
                maintenance: Some(maintenance),
            } => {
                let name = |index: u32| NAMES[index as usize].to_owned();
                let record = MaintenanceRecord {
                    service: "shop".to_owned(),
                    server: server.map(name),
                    maintenance: (**maintenance).clone(),
                };
                self.maintenance.insert(*server, record);
            }
            Output::Shapes(orders) => {
                assert!(orders.until > self.now, "they do not expire at once");
                assert!(orders.refused.len() + orders.watched.len() <= 64);
                self.shapes = Some((**orders).clone());
            }
            Output::Gate { service: _, open } => self.gate = *open,
            Output::Answer { ticket, answer } => {
                let answers = &mut self.answers[usize::try_from(ticket.0).expect("small")];
                assert!(
                    answers.last().is_none_or(|last| !last.is_last()),
                    "one last answer"
                );
                answers.push(answer.clone());
            }
        }
    }

    fn direct(&mut self, directive: Directive) {
        let now = self.now;
        let sim = &mut self.sims[directive.server().index as usize];
        match directive {
            Directive::Eject { verdict, until, .. } => {
                assert!(until > now);
                match verdict {
                    Verdict::Suspected => sim.out_until = until,
                    Verdict::Known => sim.known_until = until,
                }
                sim.trial_until = Instant::ZERO;
            }
            Directive::Trial { until, .. } => {
                sim.out_until = Instant::ZERO;
                sim.known_until = Instant::ZERO;
                sim.trial_until = until;
            }
            Directive::Rescue { .. } => {
                assert!(sim.known_until.max(sim.out_until) > now, "it is out");
            }
            Directive::Repair { until, .. } => sim.repaired_until = until,
            Directive::Drain { .. } => sim.drained = true,
            Directive::Restore { .. } => {
                sim.out_until = Instant::ZERO;
                sim.known_until = Instant::ZERO;
                sim.trial_until = Instant::ZERO;
                sim.repaired_until = Instant::ZERO;
                sim.drained = false;
            }
        }
    }

    fn act(&mut self, order: &ActionOrder) {
        let index = order.server.index as usize;
        let (now, id) = (self.now, order.id);
        let mut answer = |after: u64, outcome: ActionOutcome, detail: Option<&str>| {
            let at = now + ms(after);
            let detail = detail.map(str::to_owned);
            self.pending.push((
                at,
                Input::ActionEnded {
                    id,
                    at,
                    outcome,
                    detail,
                },
            ));
        };
        match order.action {
            Action::Restart => {
                let reborn = self.sims[index].reborn;
                if reborn == Condition::Unstartable {
                    answer(5, ActionOutcome::Failed, Some("no such file: ./shop"));
                    let failure = StartFailure {
                        reason: "./shop: no such file".to_owned(),
                        changed: self.changed.clone(),
                    };
                    self.signal(ms(4), index, Observation::StartFailed(Box::new(failure)));
                } else {
                    answer(12, ActionOutcome::Done, None);
                    let living = !matches!(
                        self.sims[index].condition,
                        Condition::Dead | Condition::Unstartable
                    );
                    if living && self.sims[index].managed == Managed::Child {
                        let uptime = now - self.sims[index].since;
                        self.die(
                            index,
                            Exit {
                                code: None,
                                signal: Some(9),
                                asked: true,
                                uptime,
                                last_lines: vec![],
                                guardian: None,
                                port_holder: None,
                                changed: None,
                            },
                        );
                    }
                    self.start(index, reborn, 10);
                }
                self.restarts.push((now, order.server, order.clone()));
            }
            Action::Stop => {
                answer(5, ActionOutcome::Done, None);
                let uptime = now - self.sims[index].since;
                self.die(
                    index,
                    Exit {
                        code: Some(0),
                        signal: None,
                        asked: true,
                        uptime,
                        last_lines: vec![],
                        guardian: None,
                        port_holder: None,
                        changed: None,
                    },
                );
            }
            _ => answer(20, ActionOutcome::Done, Some("printed this")),
        }
    }

    fn examine(&mut self, id: OrderId, index: usize, timeout: Duration) {
        let (http, took) = self.http_result(index);
        let sim = &self.sims[index];
        let tcp = match http {
            ProbeOutcome::Refused | ProbeOutcome::ConnectTimeout | ProbeOutcome::PortTaken => {
                (http, took)
            }
            _ => (ProbeOutcome::Passed, Duration::from_micros(400)),
        };
        let dead = matches!(sim.condition, Condition::Dead | Condition::Unstartable);
        let process = (sim.managed == Managed::Child).then(|| ProcessState {
            pid: (!dead).then_some(sim.pid),
            state: Some(if sim.condition == Condition::Hung {
                'T'
            } else {
                'S'
            }),
            listening: Some(tcp.0.passed()),
            accept_queue: match sim.condition {
                Condition::Unreachable => Some(0),
                Condition::Hung | Condition::Blocked => Some(3),
                _ => None,
            },
            ..ProcessState::default()
        });
        let after = took.min(timeout) + ms(1);
        let at = self.now + after;
        let examination = Examination {
            tcp: Some(tcp),
            http: tcp.0.passed().then_some((http, took)),
            process,
        };
        self.pending.push((
            at,
            Input::Examined {
                id,
                at,
                examination,
            },
        ));
    }
}
