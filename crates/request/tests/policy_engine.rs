//! The exchange and the policy engine of `tolerate` beside each other: for the same options and the same ends of attempts, both make
//! the same attempts on the same servers at the same times, and end at the same time in the same way.
//!
//! They compose the same mechanisms (docs/internals/policy-engine.md); this keeps the two compositions from drifting apart.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use evenkeel_balance::{BalanceOptions, Pick, Picker, Policy};
use evenkeel_core::{
    ExactShape, ExactText, ExposureEvent, Instant, Outcome, Random, RequestShape, ServerId,
    ServiceId,
};
use evenkeel_request::exchange::{
    Arrival, AttemptEnd, AttemptReport, Attempts, Count, Event, FirstEnd, HedgeEnd, Host,
    ResponseEnd, Revalidate, Services, Step,
};
use evenkeel_request::head::{
    Authority, FieldClass, HeaderField, HeaderFields, HttpVersion, RequestView,
};
use evenkeel_request::service::{
    AdmissionOptions, CachedServerSet, ServerOptions, Service, ServiceOptions, WatchOptions,
};
use evenkeel_request::{Exchange, HashOn, Policies};
use evenkeel_tolerate::clock::{AsyncClock, Clock, VirtualClock};
use evenkeel_tolerate::inject::Injected;
use evenkeel_tolerate::{
    BackoffOptions, BudgetOptions, Call, Class, HedgeAfter, HedgeDelay, HedgeOptions, Jitter,
    QueueOptions, Recovery, RecoveryOptions, RetryOn, RetryOptions, ShedOptions, TimeoutOptions,
    Verdict,
};

const STATUSES: [u16; 3] = [502, 503, 504];
const TOTAL: Duration = Duration::from_millis(2_000);
const BACKOFF: BackoffOptions = BackoffOptions::exponential(
    Duration::from_millis(50),
    Duration::from_millis(200),
    Jitter::None,
);
const BUDGET: BudgetOptions = BudgetOptions {
    ratio: 0.2,
    floor_per_second: 0.0,
    burst: 5.0,
};

/// The end of one attempt, as a script has it.
#[derive(Debug, Clone, Copy)]
struct ScriptedEnd {
    outcome: Outcome,
    after: Duration,
    retry_after: Option<Duration>,
}

/// What one request came to.
#[derive(Debug, PartialEq)]
struct Course {
    /// The servers and the times of the attempts.
    attempts: Vec<(u32, Instant)>,
    /// How many of them are hedges.
    hedges: u32,
    is_good: bool,
    ended: Instant,
}

/// What a client of HTTP would say that an outcome means, if everything is retried that may be.
fn verdict(end: &ScriptedEnd) -> Verdict {
    match end.outcome {
        Outcome::Answered(status) if status < 400 => Verdict::Good,
        Outcome::Answered(status) if STATUSES.contains(&status) => Verdict::Transient {
            wait: end.retry_after,
        },
        Outcome::ConnectRefused | Outcome::Stale | Outcome::Reset { sent: false } => {
            Verdict::Unsent
        }
        Outcome::Reset { sent: true } => Verdict::Lost,
        Outcome::AttemptTimeout => Verdict::Timeout,
        Outcome::BadResponse => Verdict::TRANSIENT,
        other => {
            assert_eq!(other, Outcome::Answered(500), "no script has it");
            Verdict::Fatal
        }
    }
}

/// A time below so many milliseconds.
fn millis(random: &mut Random, below: usize) -> Duration {
    Duration::from_millis(random.below(below) as u64)
}

fn script(random: &mut Random, servers: u16) -> Vec<ScriptedEnd> {
    let one = |random: &mut Random| {
        let outcome = match random.below(12) {
            0..=2 => Outcome::Answered(200),
            3 | 4 => Outcome::Answered(503),
            5 => Outcome::ConnectRefused,
            6 => Outcome::Reset { sent: false },
            7 => Outcome::Reset { sent: true },
            8 | 9 => Outcome::AttemptTimeout,
            10 => Outcome::BadResponse,
            _ => Outcome::Answered(500),
        };
        // A server's wish counts only where there is no other server.
        let asks = servers == 1 && outcome == Outcome::Answered(503) && random.below(3) == 0;
        ScriptedEnd {
            outcome,
            after: millis(random, 300) + Duration::from_millis(1),
            retry_after: asks.then(|| millis(random, 600)),
        }
    };
    (0..16).map(|_| one(random)).collect()
}

struct Request(&'static str);

struct NoField;

impl HeaderField for NoField {
    fn name(&self) -> &[u8] {
        b""
    }
    fn value(&self) -> &[u8] {
        b""
    }
    fn class(&self) -> FieldClass {
        FieldClass::Other
    }
}

impl HeaderFields for Request {
    type Field<'a> = NoField;

    fn fields(&self) -> impl Iterator<Item = NoField> {
        std::iter::empty()
    }
}

impl RequestView for Request {
    fn method(&self) -> &[u8] {
        self.0.as_bytes()
    }
    fn authority(&self) -> Authority<'_> {
        Authority::Missing
    }
    fn path_and_query(&self) -> &[u8] {
        b"/"
    }
    fn version(&self) -> HttpVersion {
        HttpVersion::Http11
    }
}

/// A worker with one service, on which nothing is injected or cached.
struct Worker<'a> {
    hedging: RefCell<Option<HedgeDelay>>,
    service: &'a Service,
    servers: Rc<CachedServerSet>,
    picker: RefCell<Picker>,
    random: RefCell<Random>,
}

impl<'a> Services<'a> for Worker<'a> {
    fn service(&self, _: ServiceId) -> &'a Service {
        self.service
    }
    fn servers(&self, _: ServiceId) -> Rc<CachedServerSet> {
        Rc::clone(&self.servers)
    }
    fn count(&self, _: ServiceId, _: Count) {}
}

impl<'a> Host<'a> for Worker<'a> {
    fn random<T>(&self, with: impl FnOnce(&mut Random) -> T) -> T {
        with(&mut self.random.borrow_mut())
    }
    fn picker<T>(&self, _: ServiceId, with: impl FnOnce(&mut Picker) -> T) -> T {
        with(&mut self.picker.borrow_mut())
    }
    fn hedging<T>(&self, _: u32, with: impl FnOnce(&mut HedgeDelay) -> T) -> Option<T> {
        self.hedging.borrow_mut().as_mut().map(with)
    }
    fn inject(&self, _: u32) -> Option<Injected> {
        None
    }
    fn is_replayable(&self) -> bool {
        true
    }
    fn is_sent(&self) -> bool {
        true
    }
    fn held_bytes(&self) -> u64 {
        0
    }
    fn exact_shape(&self) -> ExactShape {
        let keys = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
        ExactShape::of(&keys, b"GET", b"/")
    }
    fn exact_text(&self) -> ExactText {
        ExactText::of_head(b"GET / ")
    }
    fn fresh_response(&mut self, _: ServiceId, _: &Policies, _: Instant) -> Option<Revalidate> {
        None
    }
    fn stale_response(&mut self, _: ServiceId, _: Instant) -> bool {
        false
    }
    fn selected(&self, _: ServerId, _: Pick) {}
    fn attempt_ended(&self, _: &AttemptReport) {}
    fn attempt_counted(&self, _: ServerId, _: Outcome) {}
    fn response_broke(&self, _: &AttemptReport) {}
    fn name_shape(&self, _: RequestShape) {}
    fn expose(&self, _: ServerId, _: Instant, _: ExactShape, _: ExposureEvent) {}
    fn leaves(&mut self, _: ServiceId, _: &Service, _: &Attempts) {}
}

/// An attempt under way.
#[derive(Debug, Clone, Copy)]
struct Running {
    server: u32,
    began: Instant,
    end: ScriptedEnd,
}

impl Running {
    fn ends(&self) -> Instant {
        self.began + self.end.after
    }

    fn report(&self, deadline: Instant) -> (Event, Instant) {
        let (at, outcome) = if self.ends() < deadline {
            (self.ends(), self.end.outcome)
        } else {
            (deadline, Outcome::Cancelled)
        };
        let end = AttemptEnd {
            retry_after: self.end.retry_after,
            ..AttemptEnd::failed(outcome, at.since(self.began))
        };
        (Event::Ended(end), at)
    }
}

/// Carries out what the exchange says, as the proxy does, with ends from a script.
struct Driver<'s> {
    script: std::slice::Iter<'s, ScriptedEnd>,
    deadline: Instant,
    first: Option<Running>,
    hedges: Vec<Running>,
    hedge_due: Option<Instant>,
    /// The first one has ended while hedges were under way.
    first_ended: bool,
    course: Course,
}

impl Driver<'_> {
    fn begin(&mut self, server: u32, now: Instant) -> Running {
        self.course.attempts.push((server, now));
        Running {
            server,
            began: now,
            end: *self.script.next().expect("a longer script"),
        }
    }

    /// What happens next with the attempts under way.
    fn next(&mut self) -> (Event, Instant) {
        let first = self.first.expect("an attempt is under way");
        let hedge = (self.hedges.iter().enumerate()).min_by_key(|(_, hedge)| hedge.ends());
        let hedge = hedge.map(|(index, hedge)| (index, *hedge));
        let first_end = match self.first_ended {
            true => Instant::NEVER,
            false => first.ends().min(self.deadline),
        };
        let hedge_end = hedge.map_or(Instant::NEVER, |(_, hedge)| hedge.ends());
        let due = self.hedge_due.unwrap_or(Instant::NEVER);
        if due < first_end && due < hedge_end {
            self.hedge_due = None;
            return (Event::HedgeDue, due);
        }
        if let Some((index, hedge)) = hedge
            && hedge_end < first_end
        {
            self.hedges.remove(index);
            let end = HedgeEnd {
                server: hedge.server,
                outcome: hedge.end.outcome,
            };
            if matches!(end.outcome, Outcome::Answered(200)) {
                // If it counts, its end is reported as that of the only attempt.
                self.first = Some(hedge);
            }
            return (Event::HedgeEnded(end), hedge_end);
        }
        if self.hedges.is_empty() && self.hedge_due.is_none() {
            return first.report(self.deadline);
        }
        self.first_ended = true;
        let end = match first.end.outcome {
            Outcome::Answered(status) => FirstEnd::Response(status),
            outcome => FirstEnd::Failed(outcome),
        };
        (Event::FirstEnded(end), first_end)
    }
}

/// A good response that was passed on to its end.
const PASSED: ResponseEnd = ResponseEnd {
    outcome: Outcome::Answered(200),
    broke_off: None,
    is_tunnel: false,
};

/// One request through the exchange.
fn through_exchange(
    worker: &mut Worker<'_>,
    method: &'static str,
    script: &[ScriptedEnd],
    start: Instant,
) -> Course {
    let request = Request(method);
    let arrival = Arrival {
        service: ServiceId(0),
        route: None,
        rate: None,
        head: &request,
        shape: RequestShape::of(method.as_bytes(), b"/"),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        is_upgrade: false,
        at: start,
    };
    let mut exchange = Exchange::new(&arrival, worker);
    let mut driver = Driver {
        script: script.iter(),
        deadline: exchange.deadline().end(),
        first: None,
        hedges: Vec::new(),
        hedge_due: None,
        first_ended: false,
        course: Course {
            attempts: Vec::new(),
            hedges: 0,
            is_good: false,
            ended: start,
        },
    };
    let (mut event, mut now) = (Event::Woken, start);
    loop {
        (event, now) = match exchange.next(event, now, worker) {
            Step::Attempt(server) => {
                driver.first = Some(driver.begin(server, now));
                (driver.hedge_due, driver.first_ended) = (None, false);
                if exchange.hedges() {
                    (Event::Connected, now)
                } else {
                    driver.next()
                }
            }
            Step::GoOn(due) => {
                driver.hedge_due = due;
                driver.next()
            }
            Step::Hedge(server, due) => {
                let hedge = driver.begin(server, now);
                driver.hedges.push(hedge);
                driver.course.hedges += 1;
                driver.hedge_due = due;
                driver.next()
            }
            Step::Settle | Step::Switch(_) => {
                driver.hedges.clear();
                driver.hedge_due = None;
                let first = driver.first.expect("one of them counts");
                (first.report(driver.deadline).0, now)
            }
            Step::Wait(until) => (Event::Woken, until),
            Step::PassOn => {
                driver.course.is_good =
                    matches!(event, Event::Ended(end) if end.outcome == PASSED.outcome);
                (Event::Passed(PASSED), now)
            }
            Step::Reply(_) | Step::Abort | Step::Done => break,
            Step::GiveUp => panic!("no server is taken out"),
        };
    }
    driver.course.ended = now;
    driver.course
}

/// The same request through the policy, with the servers that the exchange has selected.
fn through_policy(
    policy: &Recovery<VirtualClock>,
    method: &'static str,
    script: &[ScriptedEnd],
    servers: &[u32],
) -> Course {
    let clock = policy.clock();
    let call = match method {
        "GET" => Call::idempotent("request"),
        _ => Call::once("request"),
    };
    let (made, hedges) = (Cell::new(0), Cell::new(0));
    let attempts = RefCell::new(Vec::new());
    let run = policy
        .call(call)
        .classify_by(|end: &Result<ScriptedEnd, ()>| end.as_ref().map_or(Verdict::Fatal, verdict))
        .pick(|_: &[u32], _: Instant| {
            // Of one attempt more than the exchange made, a retry is seen as a difference; a hedge finds no server.
            servers.get(made.get()).copied()
        })
        .run(|attempt| {
            let began = clock.now();
            let server = attempt.server().unwrap_or(u32::MAX);
            attempts.borrow_mut().push((server, began));
            hedges.set(hedges.get() + u32::from(attempt.is_hedge()));
            let end = script[made.replace(made.get() + 1)];
            async move {
                clock.sleep_until(began + end.after).await;
                Ok(end)
            }
        });
    let recovered = clock.run(run);
    Course {
        is_good: recovered.is_good(),
        attempts: attempts.take(),
        hedges: hedges.get(),
        ended: clock.now(),
    }
}

fn service(servers: u16, hedge: Option<HedgeOptions>) -> Service {
    let server = |index: u16| ServerOptions {
        index: index.into(),
        name: format!("a-{index}"),
        address: Some(([127, 0, 0, 1], index + 1).into()),
        weight: 1,
        tier: 0,
        near: false,
        max_requests: 0,
    };
    let options = ServiceOptions {
        name: "shop".to_owned(),
        servers: (0..servers).map(server).collect(),
        balance: BalanceOptions {
            policy: Policy::RoundRobin,
            panic_below: 0.5,
            slow_start: Duration::ZERO,
            bounded_load: None,
            maglev_table: 251,
            overprovisioning: 1.4,
            subset: None,
        },
        hash_on: HashOn::SourceIp { v4: 32, v6: 64 },
        sticky: None,
        watch: WatchOptions::default(),
        queue: QueueOptions::default(),
        hold: None,
        admission: AdmissionOptions {
            class_header: None,
            class: Class::Critical,
            shares: ShedOptions::default(),
            rate: None,
            throttle: None,
        },
        policies: policies(hedge),
    };
    Service::new(options, Instant::ZERO, &mut Random::seeded(1))
}

fn policies(hedge: Option<HedgeOptions>) -> Policies {
    Policies {
        place: 0,
        timeout: TimeoutOptions {
            connect: TOTAL,
            attempt: TOTAL,
            total: TOTAL,
            idle: TOTAL,
        },
        deadline: None,
        retry: RetryOptions {
            limit: 2,
            timeout_limit: 1,
            on: RetryOn {
                connect: true,
                reset: true,
                timeout: true,
                statuses: STATUSES.to_vec(),
            },
            methods: vec!["GET".to_owned()],
            backoff: BACKOFF,
            budget: BUDGET,
            body_buffer: 65_536,
            response_buffer: 0,
        },
        hedge,
        fallback: None,
        inject: None,
    }
}

fn policy(clock: VirtualClock, hedge: Option<HedgeOptions>) -> Recovery<VirtualClock> {
    let options = RecoveryOptions {
        deadline: Some(TOTAL),
        attempt_timeout: None,
        retries: 2,
        retries_after_timeout: 1,
        backoff: BACKOFF,
        budget: BUDGET,
        hedge,
        ..RecoveryOptions::default()
    };
    let built = Recovery::named("shop")
        .options(options)
        .clock(clock)
        .build();
    built.expect("no lint is an error")
}

/// Twenty requests one after the other for each seed, so that all pay from one budget and earn for it; how many made how many
/// attempts, and how many hedges there were.
fn compare(
    hedge: Option<HedgeOptions>,
    script: impl Fn(&mut Random, u16) -> Vec<ScriptedEnd>,
) -> ([u32; 12], u32) {
    let (mut lengths, mut hedges) = ([0; 12], 0);
    for seed in 0..200 {
        let mut random = Random::seeded(seed);
        let servers = 1 + random.below(4) as u16;
        let clock = VirtualClock::new();
        let policy = policy(clock.clone(), hedge);
        let service = service(servers, hedge);
        let mut worker = Worker {
            hedging: RefCell::new(hedge.map(HedgeDelay::new)),
            service: &service,
            servers: Rc::new(CachedServerSet(service.servers())),
            picker: RefCell::new(Picker::new(service.servers().pool(), seed)),
            random: RefCell::new(Random::seeded(seed)),
        };
        for number in 0..20 {
            let method = if random.below(4) == 0 { "POST" } else { "GET" };
            let script = script(&mut random, servers);
            let exchange = through_exchange(&mut worker, method, &script, clock.now());
            let attempts = exchange.attempts.iter();
            let picked: Vec<u32> = attempts.map(|(server, _)| *server).collect();
            lengths[picked.len()] += 1;
            hedges += exchange.hedges;
            let engine = through_policy(&policy, method, &script, &picked);
            assert_eq!(
                engine, exchange,
                "seed {seed}, request {number}: {method} {script:?}"
            );
            let budget = service.budget().balance(clock.now());
            assert!((policy.balance() - budget).abs() < 1e-6, "seed {seed}");
            clock.pass(millis(&mut random, 500));
        }
    }
    (lengths, hedges)
}

#[test]
fn both_make_the_same_retries_at_the_same_times() {
    let (lengths, hedges) = compare(None, script);
    assert!(lengths[1..5].iter().all(|count| *count > 0), "{lengths:?}");
    assert_eq!(hedges, 0);
}

/// With hedges after 100 ms, of which each request may have one or two. Failures are of one kind: which of two failed attempts
/// decides is not the same in both.
#[test]
fn both_make_the_same_hedges_at_the_same_times() {
    let script = |random: &mut Random, _| {
        let one = |number: u64| ScriptedEnd {
            outcome: match random.below(3) {
                0 => Outcome::Answered(503),
                _ => Outcome::Answered(200),
            },
            // No two things happen at the same time.
            after: millis(random, 400) + Duration::from_micros(1 + number),
            retry_after: None,
        };
        (0..16).map(one).collect()
    };
    for limit in [1, 2] {
        let hedge = HedgeOptions {
            after: HedgeAfter::Delay(Duration::from_millis(100)),
            limit,
            ..HedgeOptions::default()
        };
        let (lengths, hedges) = compare(Some(hedge), script);
        assert!(lengths[1..5].iter().all(|count| *count > 0), "{lengths:?}");
        assert!(hedges > 100, "{hedges}");
    }
}
