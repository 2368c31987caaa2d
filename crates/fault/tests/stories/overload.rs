//! Five times the load on servers that handle four requests at once: a model of the servers, their clients and the
//! proxy, with the real keeper, limit algorithm and queue.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::{
    Directive, Epoch, Instant, LimitHint, Observation, Outcome, ProbeOutcome, Random, RequestShape,
    ServerId, ServiceId, Signal, WallTime,
};
use evenkeel_fault::contract::{Managed, ServerLoad, ServerSpec, ServiceSpec, Totals};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::policy::Mode;
use evenkeel_fault::{FaultKind, Incident, Input, Keeper, Output, PersistedState};
use evenkeel_tolerate::limit::{AdaptiveLimit, Gradient2Options, WindowOptions};
use evenkeel_tolerate::queue::{BurstQueue, PushResult, Ticket};
use evenkeel_tolerate::{Class, LimitOptions, QueueOptions, ShedOptions};

use super::kinds::kind;
use super::world::{ms, options};

const SLOTS: usize = 4;
const TAKES: Duration = ms(20);
/// Clients give up after this, unless a story says otherwise.
const PATIENCE: Duration = ms(1_000);
/// What three servers can do in a second.
const CAPACITY: f64 = 600.0;

#[derive(Debug, Clone, Copy)]
struct Request {
    came: Instant,
    class: Class,
    /// When it was sent to a server, and how many requests were in flight there.
    sent: Instant,
    in_flight: u32,
    gone: bool,
}

#[derive(Default)]
struct WatchedServer {
    /// A server does not notice that a client has gone.
    backlog: VecDeque<Request>,
    working: Vec<(Instant, Request)>,
    load: ServerLoad,
    limit: Option<AdaptiveLimit>,
}

/// By class: how many came, and how many were answered in time.
#[derive(Debug, Clone, Copy, Default)]
struct Served {
    came: u64,
    good: u64,
}

struct Shop {
    keeper: Keeper,
    now: Instant,
    random: Random,
    servers: Vec<WatchedServer>,
    queue: BurstQueue<Request>,
    /// Those that wait there: when their clients give up.
    tickets: VecDeque<(Instant, Ticket)>,
    patience: Duration,
    /// What the servers need is away: they answer with errors, at once or never.
    dead: Option<bool>,
    /// All are of one class.
    all_alike: bool,
    credit: f64,
    turn: usize,
    inputs: Vec<Input>,
    totals: Totals,
    served: [Served; 4],
    /// How long those waited that were refused.
    refused: Vec<Duration>,
    incidents: std::collections::BTreeMap<String, Incident>,
    ejected: u32,
    acts: u32,
    limits_until: Instant,
}

impl Shop {
    fn new(seed: u64, mode: Mode) -> Self {
        let mut options = options();
        options.recover.mode = mode;
        let servers = (0..3).map(|index| ServerSpec {
            name: format!("s{index}"),
            address: Some(format!("127.0.0.1:{}", 9001 + index)),
            managed: Managed::Nothing,
            rolls_back: false,
            tier: 0,
            order_limit: Duration::from_secs(110),
        });
        let service = ServiceSpec {
            id: ServiceId(0),
            name: "shop".to_owned(),
            options,
            is_unlimited: true,
            servers: servers.collect(),
        };
        let epoch = Epoch(WallTime(1_795_341_600_000));
        Self {
            keeper: Keeper::new(vec![service], epoch, 7, PersistedState::default()),
            now: Instant::ZERO,
            random: Random::seeded(seed),
            servers: (0..3).map(|_| WatchedServer::default()).collect(),
            queue: BurstQueue::new(QueueOptions::default()),
            tickets: VecDeque::new(),
            patience: PATIENCE,
            dead: None,
            all_alike: false,
            credit: 0.0,
            turn: 0,
            inputs: Vec::new(),
            totals: Totals::default(),
            served: [Served::default(); 4],
            refused: Vec::new(),
            incidents: std::collections::BTreeMap::new(),
            ejected: 0,
            acts: 0,
            limits_until: Instant::ZERO,
        }
    }

    fn run(&mut self, millis: u64, per_second: f64) {
        for _ in 0..millis {
            self.now += ms(1);
            // Not as even as a clock.
            self.credit += per_second / 1e3 * 2.0 * self.random.unit();
            while self.credit >= 1.0 {
                self.credit -= 1.0;
                self.comes();
            }
            (0..3).for_each(|index| self.work(index));
            let step = self.now.as_nanos() / 1_000_000;
            if step.is_multiple_of(10) {
                self.give_up();
                self.keep();
            }
        }
    }

    fn comes(&mut self) {
        let class = match self.random.below(10) {
            _ if self.all_alike => Class::Critical,
            0..2 => Class::CriticalPlus,
            2..8 => Class::Critical,
            _ => Class::Sheddable,
        };
        self.totals.requests += 1;
        self.served[class.index()].came += 1;
        let request = Request {
            came: self.now,
            class,
            sent: self.now,
            in_flight: 0,
            gone: false,
        };
        let used: u32 = self.servers.iter().map(|one| one.load.in_flight).sum();
        let bounds = self.servers.iter().map(|one| one.limit.as_ref());
        let bounds: Option<u32> = bounds.map(|limit| limit.map(AdaptiveLimit::limit)).sum();
        let shares = ShedOptions::default();
        if bounds.is_some_and(|bounds| !shares.admits(class, used, bounds))
            && class < Class::Critical
            && !self.queue.takes_up_burst()
        {
            return self.refuse(request);
        }
        if self.waiting() == 0 && self.place(request) {
            return;
        }
        match self
            .queue
            .push(self.now, class, self.now + ms(60_000), request)
        {
            PushResult::Queued(ticket) => self.waits(ticket),
            PushResult::Displaced(ticket, left) => {
                self.waits(ticket);
                self.refuse(left.item);
            }
            PushResult::Rejected(_) => self.refuse(request),
        }
    }

    fn waits(&mut self, ticket: Ticket) {
        self.totals.queued += 1;
        self.tickets.push_back((self.now + self.patience, ticket));
    }

    fn refuse(&mut self, request: Request) {
        self.totals.shed += 1;
        self.totals.failed += 1;
        self.refused.push(self.now - request.came);
    }

    /// Sends it to the server with the fewest requests in flight that has capacity.
    fn place(&mut self, mut request: Request) -> bool {
        self.turn += 1;
        let turn = self.turn;
        let with_room = (0..3).map(|step| (turn + step) % 3).filter(|&index| {
            let server = &self.servers[index];
            let limit = server.limit.as_ref().map_or(u32::MAX, AdaptiveLimit::limit);
            server.load.in_flight < limit
        });
        let Some(index) = with_room.min_by_key(|&index| self.servers[index].load.in_flight) else {
            return false;
        };
        let server = &mut self.servers[index];
        server.load.in_flight += 1;
        (request.sent, request.in_flight) = (self.now, server.load.in_flight);
        server.backlog.push_back(request);
        true
    }

    fn work(&mut self, index: usize) {
        let now = self.now;
        let server = &mut self.servers[index];
        if self.dead == Some(false) {
            return;
        }
        let errs = self.dead.is_some();
        let done: Vec<_> = server.working.extract_if(.., |one| one.0 <= now).collect();
        while server.working.len() < SLOTS {
            let Some(next) = server.backlog.pop_front() else {
                break;
            };
            server.working.push((now + TAKES, next));
        }
        for (_, request) in done {
            if request.gone {
                // A result without a receiver.
                continue;
            }
            let latency = now - request.sent;
            let server = &mut self.servers[index];
            server.load.in_flight -= 1;
            if errs {
                self.totals.failed += 1;
                self.attempt(index, Outcome::Answered(500), latency);
                self.serve();
                continue;
            }
            server.load.answered += 1;
            server.load.busy += latency;
            if let Some(limit) = &server.limit {
                limit.sample(now, latency, request.in_flight, false);
            }
            self.served[request.class.index()].good += 1;
            self.attempt(index, Outcome::Answered(200), latency);
            self.serve();
        }
    }

    fn has_room(&self) -> bool {
        self.servers.iter().any(|server| {
            let limit = server.limit.as_ref();
            limit.is_none_or(|limit| server.load.in_flight < limit.limit())
        })
    }

    /// The next one goes to a server, if one has room: it waits on where it stands if not.
    fn serve(&mut self) {
        if !self.has_room() {
            return;
        }
        let mut gone = Vec::new();
        let next = self.queue.serve(self.now, |left| gone.push(left.item));
        gone.into_iter().for_each(|request| self.refuse(request));
        if let Some(next) = next
            && !self.place(next.item)
        {
            self.refuse(next.item);
        }
    }

    /// Clients that have waited for too long go.
    fn give_up(&mut self) {
        let now = self.now;
        let queue = &mut self.queue;
        let hangs = self.dead == Some(false);
        let mut timed_out = Vec::new();
        for (index, server) in self.servers.iter_mut().enumerate() {
            let working = server.working.iter_mut().map(|one| &mut one.1);
            for one in server.backlog.iter_mut().chain(working) {
                if !one.gone && now - one.came > self.patience {
                    one.gone = true;
                    server.load.in_flight -= 1;
                    self.totals.failed += 1;
                    timed_out.extend(hangs.then_some((index, now - one.sent)));
                    if one.sent > one.came {
                        queue.gave_up(one.class, now - one.came);
                    }
                }
            }
        }
        for (index, latency) in timed_out {
            self.attempt(index, Outcome::AttemptTimeout, latency);
        }
        while let Some((_, ticket)) = self.tickets.front().filter(|(until, _)| now > *until) {
            let ticket = *ticket;
            self.tickets.pop_front();
            if self.queue.cancel(now, ticket, true).is_some() {
                self.totals.failed += 1;
            }
        }
        while let Some(left) = self.queue.expire(now) {
            self.refuse(left.item);
        }
        // Who waits looks whether there is room.
        for _ in 0..self.waiting() {
            if !self.has_room() {
                break;
            }
            self.serve();
        }
    }

    fn attempt(&mut self, index: usize, outcome: Outcome, latency: Duration) {
        let observation = Observation::Attempt {
            outcome,
            latency,
            shape: RequestShape::of(b"GET", b"/"),
        };
        self.signal(index, observation);
    }

    fn signal(&mut self, index: usize, observation: Observation) {
        self.inputs.push(Input::Signal(Signal {
            at: self.now,
            server: ServerId::new(0, u32::try_from(index).expect("few")),
            observation,
        }));
    }

    fn keep(&mut self) {
        let service = ServiceId(0);
        let step = self.now.as_nanos() / 1_000_000;
        for index in 0..3 {
            let waits =
                TAKES * u32::try_from(self.servers[index].backlog.len() / SLOTS).expect("few");
            if step.is_multiple_of(1_000) {
                let (outcome, latency) = match waits {
                    waits if waits < ms(1_000) => (ProbeOutcome::Passed, TAKES + waits),
                    _ => (ProbeOutcome::NoAnswer, ms(1_000)),
                };
                self.signal(index, Observation::Probe { outcome, latency });
            }
        }
        let totals = self.totals;
        self.inputs.push(Input::Traffic { service, totals });
        if step.is_multiple_of(100) {
            let servers = self.servers.iter().map(|server| server.load).collect();
            self.inputs.push(Input::Load { service, servers });
        }
        let mut out = Vec::new();
        self.keeper.step(self.now, &mut self.inputs, &mut out);
        for output in out {
            match output {
                Output::Record(incident) => {
                    self.incidents.insert(incident.id.clone(), *incident);
                }
                Output::Directive(Directive::Eject { .. }) => self.ejected += 1,
                Output::Act(_) => self.acts += 1,
                Output::Service(orders) => self.limit(&orders.limits, orders.until),
                _ => {}
            }
        }
        assert!(
            self.now <= self.limits_until || self.servers.iter().all(|one| one.limit.is_none()),
            "what is not renewed ends"
        );
    }

    fn limit(&mut self, hints: &[LimitHint], until: Instant) {
        self.limits_until = until;
        self.queue.take_up_bursts(!hints.is_empty());
        let window = WindowOptions {
            min: ms(100),
            ..WindowOptions::default()
        };
        for (index, server) in self.servers.iter_mut().enumerate() {
            server.limit = match (hints.get(index), server.limit.take()) {
                (None, _) => None,
                (Some(_), Some(limit)) => Some(limit),
                (Some(hint), None) => {
                    let options = Gradient2Options::for_overload(hint.initial, hint.usual);
                    let options = LimitOptions::Gradient2(options);
                    Some(AdaptiveLimit::with_window(&options, window, self.now, 7))
                }
            };
        }
    }

    fn waiting(&self) -> usize {
        self.queue.snapshot().waiting.iter().sum()
    }

    fn good(&self) -> f64 {
        self.served.iter().map(|one| one.good).sum::<u64>() as f64
    }
}

#[test]
fn goodput_stays_at_capacity_in_five_times_the_load_and_the_excess_is_told_at_once() {
    for seed in 0..100 {
        let mut shop = Shop::new(seed, Mode::Automatic);
        shop.run(60_000, 300.0);
        assert!(
            shop.incidents.is_empty(),
            "seed {seed}: {:#?}",
            shop.incidents
        );
        shop.run(2_000, 1_500.0);
        assert!(
            shop.servers.iter().all(|one| one.limit.is_some()),
            "seed {seed}: it is noticed"
        );
        let (before, good) = (shop.served, shop.good());
        shop.refused.clear();
        shop.run(28_000, 1_500.0);
        let share = (shop.good() - good) / 28.0 / CAPACITY;
        assert!(share >= 0.85, "seed {seed}: {share}");
        let of = |class: Class| {
            let (now, before) = (shop.served[class.index()], before[class.index()]);
            (now.good - before.good) as f64 / (now.came - before.came) as f64
        };
        assert!(
            of(Class::CriticalPlus) >= 0.95,
            "seed {seed}: {}",
            of(Class::CriticalPlus)
        );
        assert!(of(Class::Critical) > of(Class::Sheddable), "seed {seed}");
        shop.refused.sort_unstable();
        let at = |part: usize| shop.refused[shop.refused.len() * part / 100];
        assert!(
            at(50) <= ms(300) && at(99) <= ms(1_020),
            "seed {seed}: {:?} {:?}",
            at(50),
            at(99)
        );
        for server in &shop.servers {
            let limit = server.limit.as_ref().map_or(0, AdaptiveLimit::limit);
            assert!((2..=24).contains(&limit), "seed {seed}: {limit}");
        }
        assert_eq!((shop.ejected, shop.acts), (0, 0), "seed {seed}");
        assert_eq!(
            shop.incidents.len(),
            1,
            "seed {seed}: {:#?}",
            shop.incidents
        );
        let measures = shop.keeper.measures(ServiceId(0));
        assert!(
            measures[0].contains("requests were shed so far"),
            "{measures:?}"
        );

        assert_over(&mut shop, seed);
    }
}

/// It is over, and nothing of it is left.
fn assert_over(shop: &mut Shop, seed: u64) {
    shop.run(40_000, 300.0);
    let failed = shop.totals.failed;
    shop.run(20_000, 300.0);
    assert_eq!(shop.totals.failed, failed, "seed {seed}");
    assert!(
        shop.servers.iter().all(|one| one.limit.is_none()),
        "seed {seed}: it is taken off"
    );
    let incident = shop.incidents.values().next().expect("one");
    assert_eq!(kind(incident), FaultKind::Overload, "seed {seed}");
    assert_eq!(incident.status, IncidentStatus::Closed, "seed {seed}");
    assert_eq!(incident.detected_by, "load", "seed {seed}");
    let shed = incident
        .actions
        .iter()
        .filter(|action| action.action == "shed");
    assert_eq!(shed.count(), 1, "seed {seed}");
    assert_eq!(shop.incidents.len(), 1, "seed {seed}");
}

/// More than the servers can do for so long, and then the usual load again, from clients that wait for four seconds: which part of each class
/// was served.
fn served_in_an_overload(
    seed: u64,
    (mode, all_alike): (Mode, bool),
    (millis, per_second): (u64, f64),
) -> [f64; 4] {
    let mut shop = Shop::new(seed, mode);
    shop.patience = ms(4_000);
    shop.all_alike = all_alike;
    shop.run(60_000, 180.0);
    shop.served = [Served::default(); 4];
    shop.run(millis, per_second);
    shop.run(20_000, 180.0);
    assert_eq!((shop.ejected, shop.acts), (0, 0), "seed {seed}");
    shop.served
        .map(|one| one.good as f64 / one.came.max(1) as f64)
}

#[test]
fn a_short_overload_costs_nothing_that_would_have_been_served_without_recovery() {
    for seed in 0..100 {
        // From a load that is served in the end to five times what the servers can do. With 900 the last of them wait for exactly as long
        // as their clients do; to measure the limits anew, now and then, takes a thirtieth of the capacity.
        let (per_second, measuring) = [
            (720.0, 0.01),
            (840.0, 0.01),
            (900.0, 0.06),
            (960.0, 0.01),
            (1_200.0, 0.01),
            (3_000.0, 0.01),
        ][seed as usize % 6];
        let [automatic, off] = [Mode::Automatic, Mode::Off].map(|mode| {
            let served = served_in_an_overload(seed, (mode, true), (8_000, per_second));
            served[Class::Critical.index()]
        });
        assert!(
            automatic >= off - measuring,
            "seed {seed}, {per_second} a second: {automatic} {off}"
        );
    }
}

#[test]
fn a_short_overload_costs_only_those_that_matter_least() {
    for seed in 0..100 {
        let served = served_in_an_overload(seed, (Mode::Automatic, false), (8_000, 840.0));
        for class in [Class::CriticalPlus, Class::Critical] {
            assert!(served[class.index()] >= 0.99, "seed {seed}: {served:?}");
        }
        assert!(
            served[Class::Sheddable.index()] >= 0.5,
            "seed {seed}: {served:?}"
        );
    }
}

#[test]
fn a_long_overload_is_better_than_without_recovery() {
    for seed in 0..100 {
        let [automatic, off] = [Mode::Automatic, Mode::Off].map(|mode| {
            let served = served_in_an_overload(seed, (mode, true), (30_000, 900.0));
            served[Class::Critical.index()]
        });
        assert!(automatic >= off + 0.2, "seed {seed}: {automatic} {off}");
        assert!(automatic >= 0.68, "seed {seed}: {automatic}");
    }
}

#[test]
fn where_recovery_is_off_nothing_is_limited_and_servers_work_for_nobody() {
    let mut shop = Shop::new(1, Mode::Off);
    shop.run(60_000, 300.0);
    shop.run(5_000, 1_500.0);
    let good = shop.good();
    shop.run(25_000, 1_500.0);
    let share = (shop.good() - good) / 25.0 / CAPACITY;
    assert!(share < 0.5, "{share}");
    assert!(shop.servers.iter().all(|one| one.limit.is_none()));
}

#[test]
fn what_the_servers_can_do_is_not_limited() {
    for seed in 0..100 {
        let mut shop = Shop::new(seed, Mode::Automatic);
        for per_second in [100.0, 200.0, 400.0, 500.0, 250.0, 500.0] {
            shop.run(20_000, per_second);
        }
        assert!(
            shop.incidents.is_empty(),
            "seed {seed}: {:#?}",
            shop.incidents
        );
        assert_eq!(shop.totals.failed, 0, "seed {seed}");
    }
}

/// In the middle of it the database goes: what is asked is still too much, and none of it is answered well.
#[test]
fn an_overload_in_which_nothing_is_served_any_more_is_a_dead_dependency() {
    for seed in 0..100 {
        for errs in [true, false] {
            let mut shop = Shop::new(seed, Mode::Automatic);
            shop.run(20_000, 300.0);
            shop.run(5_000, 900.0);
            let first = shop.incidents.values().next().expect("one");
            assert_eq!(kind(first), FaultKind::Overload, "seed {seed}");
            shop.dead = Some(errs);
            shop.run(20_000, 900.0);
            let incident = shop.incidents.values().next().expect("one");
            let is = kind(incident);
            assert_eq!(is, FaultKind::DependencyFailure, "seed {seed} {errs}");
            assert_eq!(shop.incidents.len(), 1, "seed {seed} {errs}");
            assert_eq!((shop.ejected, shop.acts), (0, 0), "seed {seed} {errs}");
        }
    }
}
