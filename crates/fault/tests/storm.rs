//! Random signals and answers: the keeper never panics, never falls asleep over something due, and its guards hold.

use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use evenkeel_core::{
    Directive, Epoch, ExactShape, ExactText, Exit, Exposed, Exposure, Instant, Observation,
    Outcome, ProbeOutcome, Random, ServerId, ServiceId, Signal, StartFailure, Verdict, Wall,
};
use evenkeel_fault::contract::{
    ActionOrder, Examination, Managed, OperatorOrder, OrderId, ProcessState, ServerSpec,
    ServiceSpec, Ticket, Totals,
};
use evenkeel_fault::incident::ActionOutcome;
use evenkeel_fault::incident::invariants::violations;
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::{
    Action, ActionLimit, DetectOptions, FaultOptions, Mode, ProbeKind, ProbeOptions, RatioOptions,
    RecoverOptions, RestartBackoff, SlowOptions, VerifyOptions,
};
use evenkeel_fault::{FaultKind, Input, Keeper, Memory, Output};
use proptest::prelude::*;

const EPOCH: Epoch = Epoch(Wall(1_795_341_600_000));
const SERVERS: u32 = 4;
const LIMIT: ActionLimit = ActionLimit {
    actions: 3,
    within: Duration::from_secs(60),
};
const CAP: Duration = Duration::from_secs(10);

fn spec(managed: Managed, mode: Mode, keep_serving: f64) -> ServiceSpec {
    let ms = Duration::from_millis;
    let servers = (0..SERVERS).map(|n| ServerSpec {
        name: format!("s{n}"),
        address: Some(format!("127.0.0.1:{}", 9001 + n)),
        managed,
        order_limit: Duration::from_secs(110),
    });
    ServiceSpec {
        id: ServiceId(0),
        name: "shop".to_owned(),
        servers: servers.collect(),
        options: FaultOptions {
            detect: DetectOptions {
                probe: ProbeOptions {
                    kind: ProbeKind::Tcp,
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
                mode,
                keep_serving,
                at_once: 1,
                hang_wait: Duration::from_secs(10),
                limit: LIMIT,
                backoff: RestartBackoff {
                    base: ms(100),
                    cap: CAP,
                    reset_after: ms(600_000),
                },
                verify: VerifyOptions {
                    probes: 3,
                    every: ms(100),
                    within: ms(5_000),
                },
                playbooks: Vec::new(),
            },
            objective: None,
        },
    }
}

fn outcome(random: &mut Random) -> Outcome {
    match random.below(9) {
        0 => Outcome::Answered(500),
        1 => Outcome::ConnectRefused,
        2 => Outcome::AttemptTimeout,
        3 => Outcome::Unreachable,
        4 => Outcome::Cancelled,
        5 => Outcome::Reset { sent: true },
        6 => Outcome::LocalError,
        _ => Outcome::Answered(200),
    }
}

fn probe_outcome(random: &mut Random) -> ProbeOutcome {
    match random.below(9) {
        0 => ProbeOutcome::Refused,
        1 => ProbeOutcome::NoAnswer,
        2 => ProbeOutcome::WrongStatus(503),
        3 => ProbeOutcome::Unreachable,
        4 => ProbeOutcome::LocalError,
        _ => ProbeOutcome::Passed,
    }
}

fn exit(random: &mut Random) -> Exit {
    let signal = (random.below(2) == 0).then_some(9);
    Exit {
        code: signal.is_none().then_some(1),
        signal,
        asked: random.below(4) == 0,
        uptime: random.duration_up_to(Duration::from_secs(20)),
        last_lines: Vec::new(),
        guardian: None,
        port_holder: None,
        changed: None,
    }
}

fn observation(random: &mut Random, mood: usize) -> Observation {
    let latency = random.duration_up_to(Duration::from_millis(100));
    match random.below(40) {
        0 => Observation::Exited(Box::new(exit(random))),
        1 => Observation::StartFailed(Box::new(StartFailure {
            reason: "no".to_owned(),
            changed: None,
        })),
        2..4 => Observation::Started { pid: 1 },
        4..14 if mood == 0 => Observation::Probe {
            outcome: ProbeOutcome::Passed,
            latency,
        },
        4..14 => Observation::Probe {
            outcome: probe_outcome(random),
            latency,
        },
        _ if mood == 0 => Observation::Attempt {
            outcome: Outcome::Answered(200),
            latency,
            shape: evenkeel_core::RequestShape::UNKNOWN,
        },
        _ => Observation::Attempt {
            outcome: outcome(random),
            latency,
            shape: evenkeel_core::RequestShape::UNKNOWN,
        },
    }
}

type Keys = BuildHasherDefault<DefaultHasher>;

fn exposure(random: &mut Random, at: Instant, server: ServerId) -> Exposure {
    let target = format!("/{}", random.below(5));
    let head = format!("GET {target} HTTP/1.1");
    Exposure {
        at,
        server,
        shape: ExactShape::of_head(&Keys::default(), head.as_bytes()),
        what: match random.below(4) {
            0 => Exposed::Began,
            1 => Exposed::Survived,
            2 => Exposed::Unsent,
            _ => Exposed::Broke {
                age: random.duration_up_to(Duration::from_secs(2)),
                route: evenkeel_core::RequestShape::of(b"GET", target.as_bytes()),
                text: ExactText::of_head(head.as_bytes()),
            },
        },
    }
}

fn order(random: &mut Random) -> OperatorOrder {
    let server = ServerId::new(0, u32::try_from(random.below(5)).expect("small"));
    let id = format!("2026-11-22-{:04}", random.below(20));
    let lasts = random.duration_up_to(Duration::from_secs(60));
    let terms = OrderTerms {
        lasts: (random.below(2) == 0).then_some(lasts),
        force: random.below(2) == 0,
        ..OrderTerms::default()
    };
    match random.below(10) {
        8 => OperatorOrder::LiftQuarantine(ServiceId(0)),
        0 => OperatorOrder::Approve(id),
        1 => OperatorOrder::Reject(id),
        2 => OperatorOrder::Close(id),
        3 => OperatorOrder::Drain(server, terms),
        4 => OperatorOrder::Eject(server, terms),
        5 => OperatorOrder::Restart(server, terms),
        6 => OperatorOrder::MaintenanceOn(ServiceId(0), terms),
        7 => OperatorOrder::MaintenanceOff(ServiceId(0), terms),
        _ => OperatorOrder::Restore(server),
    }
}

fn answer(random: &mut Random, at: Instant, id: OrderId, is_action: bool) -> Input {
    if is_action {
        let outcome = match random.below(5) {
            0 => ActionOutcome::Failed,
            1 => ActionOutcome::TimedOut,
            2 => ActionOutcome::Refused,
            _ => ActionOutcome::Done,
        };
        return Input::ActionEnded {
            id,
            at,
            outcome,
            detail: None,
        };
    }
    let tcp = probe_outcome(random);
    let process = ProcessState {
        pid: (random.below(3) > 0).then_some(1),
        ..ProcessState::default()
    };
    let examination = Examination {
        tcp: Some((tcp, Duration::from_millis(1))),
        http: tcp
            .passed()
            .then(|| (probe_outcome(random), Duration::from_millis(1))),
        process: (random.below(2) == 0).then_some(process),
    };
    Input::Examined {
        id,
        at,
        examination,
    }
}

/// What is checked of every step.
#[derive(Default)]
struct Checker {
    with_operators: bool,
    acted: Vec<(Instant, u32)>,
    out: [bool; SERVERS as usize],
    dead: [bool; SERVERS as usize],
    kinds: [Option<FaultKind>; SERVERS as usize],
    failed_in_row: [u32; SERVERS as usize],
    /// Orders without their last answer.
    open_tickets: BTreeSet<Ticket>,
}

impl Checker {
    fn hear(&mut self, signal: &Signal) {
        let dead = &mut self.dead[signal.server.index as usize];
        let failed = &mut self.failed_in_row[signal.server.index as usize];
        match &signal.observation {
            Observation::Exited(_) | Observation::StartFailed(_) => *dead = true,
            Observation::Started { .. } => *dead = false,
            Observation::Attempt { outcome, .. } if outcome.is_failure() => *failed += 1,
            Observation::Attempt { outcome, .. } if outcome.is_success() => *failed = 0,
            Observation::Attempt { .. } | Observation::Probe { .. } | Observation::Moved(_) => {}
        }
    }

    fn see(&mut self, now: Instant, outputs: &[Output]) {
        let mut taken_out = Vec::new();
        for output in outputs {
            match output {
                Output::Act(order) => self.acts(now, order),
                Output::Directive(directive) => {
                    if let Some(server) = self.direct(now, *directive) {
                        taken_out.push(server);
                    }
                }
                Output::Record(incident) => {
                    assert!(incident.timeline.len() <= 400 && incident.actions.len() <= 110);
                    assert_eq!(violations(incident), Vec::<String>::new(), "{incident:#?}");
                    let text = serde_json::to_string(incident).expect("serialises");
                    let back: evenkeel_fault::Incident =
                        serde_json::from_str(&text).expect("parses");
                    assert_eq!(back.id, incident.id);
                    let index: usize = incident.servers[0]
                        .trim_start_matches('s')
                        .parse()
                        .expect("a number");
                    // What brought it down says nothing of whether it serves; how it ended does.
                    let mut kinds = incident.diagnosis.iter().map(|finding| finding.fault);
                    let own = kinds.find(|kind| *kind != FaultKind::PoisonRequest);
                    if own.is_some() || incident.diagnosis.is_empty() {
                        self.kinds[index] = own;
                    }
                }
                Output::Answer { ticket, answer } => {
                    let known = if answer.is_last() {
                        self.open_tickets.remove(ticket)
                    } else {
                        self.open_tickets.contains(ticket)
                    };
                    assert!(known, "an order is answered once: {answer:?}");
                }
                Output::Examine { .. }
                | Output::Pace { .. }
                | Output::Shapes(_)
                | Output::Maintenance { .. }
                | Output::Gate { .. } => {}
            }
        }
        for index in taken_out {
            self.kept_serving(index);
        }
    }

    fn acts(&mut self, now: Instant, order: &ActionOrder) {
        let server = order.server.index;
        assert!(matches!(
            order.action,
            Action::Restart | Action::Stop | Action::Exec(_)
        ));
        self.acted.push((now, server));
        let recent = self
            .acted
            .iter()
            .filter(|(at, index)| *index == server && now - *at < LIMIT.within);
        // Where servers are wanting, and for starts that are verified, only the back-off counts: eight steps up to its cap, then one
        // start per cap.
        let most = 8 + LIMIT.within.as_millis() / CAP.as_millis() + 1;
        assert!(
            self.with_operators || (recent.count() as u128) <= most,
            "more than {most} actions"
        );
    }

    /// The server, if it is one that served until now and was only suspected.
    fn direct(&mut self, now: Instant, directive: Directive) -> Option<usize> {
        let index = directive.server().index as usize;
        let was_out = self.out[index] || self.dead[index];
        match directive {
            Directive::Eject { until, verdict, .. } => {
                let by_hand = self.with_operators && until == Instant::NEVER;
                assert!(by_hand || until > now && until <= now + Duration::from_secs(6));
                self.out[index] = true;
                (verdict == Verdict::Suspected && !was_out).then_some(index)
            }
            Directive::Trial { until, .. } => {
                assert!(until > now && until <= now + Duration::from_secs(6));
                // It takes a trickle: that is no service.
                self.out[index] = true;
                None
            }
            Directive::Rescue { .. } => {
                assert!(
                    self.out[index],
                    "only what is out of rotation is rescued from"
                );
                None
            }
            Directive::Repair { .. } => None,
            Directive::Drain { .. } => {
                self.out[index] = true;
                None
            }
            Directive::Restore { .. } => {
                self.out[index] = false;
                // It was verified. Who started the process of a server that evenkeel does not run is not told to it.
                self.dead[index] = false;
                None
            }
        }
    }

    fn kept_serving(&self, index: usize) {
        let dead_or_deaf = self.kinds[index].is_some_and(evenkeel_fault::recover::serves_nothing);
        let costs_nothing = dead_or_deaf || self.failed_in_row[index] >= 5;
        let serving = (0..self.out.len())
            .filter(|other| !self.out[*other] && !self.dead[*other])
            .count();
        assert!(
            costs_nothing || serving >= 2,
            "{serving} left after {:?} of {index}",
            self.kinds[index]
        );
    }
}

struct Storm {
    keeper: Keeper,
    checker: Checker,
    random: Random,
    now: Instant,
    inputs: Vec<Input>,
    out: Vec<Output>,
    pending: Vec<(Instant, OrderId, bool)>,
    moods: [usize; SERVERS as usize],
    tickets: u64,
    epoch: Epoch,
}

impl Storm {
    fn new(seed: u64, managed: Managed, mode: Mode, with_operators: bool) -> Self {
        let services = vec![spec(managed, mode, 0.5)];
        Self {
            keeper: Keeper::new(services, EPOCH, seed, Memory::default()),
            checker: Checker {
                with_operators,
                ..Checker::default()
            },
            random: Random::seeded(seed),
            now: Instant::ZERO,
            inputs: Vec::new(),
            out: Vec::new(),
            pending: Vec::new(),
            moods: [0; SERVERS as usize],
            tickets: 0,
            epoch: EPOCH,
        }
    }

    fn step(&mut self) {
        let length = self.random.duration_up_to(Duration::from_millis(200));
        let wake = self.keeper.next_wake().unwrap_or(Instant::NEVER);
        assert!(wake > self.now, "something due was left at {:?}", self.now);
        self.now = (self.now + length).min(wake);
        let now = self.now;
        for _ in 0..self.random.below(12) {
            self.signal();
        }
        if self.checker.with_operators && self.random.below(50) == 0 {
            let order = order(&mut self.random);
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.checker.open_tickets.insert(ticket);
            self.inputs.push(Input::Operator {
                ticket,
                at: now,
                order,
            });
        }
        if self.random.below(200) == 0 {
            let by_millis = if self.random.below(2) == 0 {
                3_600_000
            } else {
                -1_800_000
            };
            self.epoch = Epoch(Wall(self.epoch.0.0.saturating_add_signed(by_millis)));
            let epoch = self.epoch;
            self.inputs.push(Input::ClockSet { epoch, by_millis });
        }
        self.inputs.push(Input::Traffic {
            service: ServiceId(0),
            totals: Totals {
                requests: now.as_nanos() / 10_000_000,
                failed: now.as_nanos() / 40_000_000,
                saved_by_retry: now.as_nanos() / 90_000_000,
            },
        });
        for (at, id, is_action) in std::mem::take(&mut self.pending) {
            if at <= now {
                self.inputs
                    .push(answer(&mut self.random, now, id, is_action));
            } else {
                self.pending.push((at, id, is_action));
            }
        }
        self.keeper.step(now, &mut self.inputs, &mut self.out);
        self.checker.see(now, &self.out);
        for output in self.out.drain(..) {
            let at = now + self.random.duration_up_to(Duration::from_secs(1));
            match &output {
                // Some answers never come.
                _ if self.random.below(50) == 0 => {}
                Output::Act(order) => self.pending.push((at, order.id, true)),
                Output::Examine { id, .. } => self.pending.push((at, *id, false)),
                Output::Directive(_)
                | Output::Pace { .. }
                | Output::Shapes(_)
                | Output::Record(_)
                | Output::Maintenance { .. }
                | Output::Gate { .. }
                | Output::Answer { .. } => {}
            }
        }
    }

    fn signal(&mut self) {
        let index = self.random.below(SERVERS as usize);
        if self.random.below(60) == 0 {
            self.moods[index] = self.random.below(2);
        }
        let server = ServerId::new(0, u32::try_from(index).expect("small"));
        let at = self
            .now
            .before(self.random.duration_up_to(Duration::from_millis(5)));
        let observation = observation(&mut self.random, self.moods[index]);
        let signal = Signal {
            at,
            server,
            observation,
        };
        self.checker.hear(&signal);
        self.inputs.push(Input::Signal(signal));
        if self.random.below(20) == 0 {
            let exposure = exposure(&mut self.random, at, server);
            self.inputs.push(Input::Exposed(Box::new(exposure)));
        }
    }

    /// All answers come, all probes pass, traffic succeeds.
    fn calm(&mut self) {
        let terms = OrderTerms::default();
        let mut orders = vec![OperatorOrder::MaintenanceOff(ServiceId(0), terms)];
        for index in 0..SERVERS {
            orders.push(OperatorOrder::Restore(ServerId::new(0, index)));
            self.inputs.push(started(self.now, index));
        }
        for order in orders {
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.checker.open_tickets.insert(ticket);
            self.inputs.push(Input::Operator {
                ticket,
                at: self.now,
                order,
            });
        }
        for _ in 0..12_000 {
            if self.keeper.incidents().next().is_none() && self.checker.open_tickets.is_empty() {
                return;
            }
            self.now += Duration::from_millis(100);
            self.calm_step();
        }
    }

    fn calm_step(&mut self) {
        let (at, latency) = (self.now, Duration::from_millis(2));
        for index in 0..SERVERS {
            let server = ServerId::new(0, index);
            let probe = Observation::Probe {
                outcome: ProbeOutcome::Passed,
                latency,
            };
            let attempt = Observation::Attempt {
                outcome: Outcome::Answered(200),
                latency,
                shape: evenkeel_core::RequestShape::UNKNOWN,
            };
            self.inputs.push(Input::Signal(Signal {
                at,
                server,
                observation: probe,
            }));
            self.inputs.push(Input::Signal(Signal {
                at,
                server,
                observation: attempt,
            }));
        }
        self.keeper.step(at, &mut self.inputs, &mut self.out);
        self.checker.see(at, &self.out);
        for output in self.out.drain(..) {
            match output {
                Output::Act(order) => {
                    let outcome = ActionOutcome::Done;
                    self.inputs.push(started(at, order.server.index));
                    self.inputs.push(Input::ActionEnded {
                        id: order.id,
                        at,
                        outcome,
                        detail: None,
                    });
                }
                Output::Examine { id, .. } => {
                    let passed = Some((ProbeOutcome::Passed, latency));
                    let examination = Examination {
                        tcp: passed,
                        http: passed,
                        process: None,
                    };
                    self.inputs.push(Input::Examined {
                        id,
                        at,
                        examination,
                    });
                }
                Output::Directive(_)
                | Output::Pace { .. }
                | Output::Shapes(_)
                | Output::Record(_)
                | Output::Maintenance { .. }
                | Output::Gate { .. }
                | Output::Answer { .. } => {}
            }
        }
    }
}

fn started(at: Instant, index: u32) -> Input {
    Input::Signal(Signal {
        at,
        server: ServerId::new(0, index),
        observation: Observation::Started { pid: 7 },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_breaks_it(seed in any::<u64>(), managed in 0..3, mode in 0..4, with_operators in any::<bool>()) {
        let managed = [Managed::Child, Managed::Commands { restart: true, stop: false }, Managed::Nothing][managed as usize];
        let mode = [Mode::Automatic, Mode::Ask, Mode::DryRun, Mode::Off][mode as usize];
        let mut storm = Storm::new(seed, managed, mode, with_operators);
        for _ in 0..1_500 {
            storm.step();
        }
        storm.calm();
        let open: Vec<_> = storm.keeper.incidents().collect();
        prop_assert!(open.is_empty(), "never closed: {open:#?}");
        let unanswered = &storm.checker.open_tickets;
        prop_assert!(unanswered.is_empty(), "orders without an answer: {unanswered:?}");
        prop_assert_eq!(storm.keeper.inconsistencies(), 0);
    }
}

/// A server whose process had ended, started by somebody else and verified, serves like others.
#[test]
fn a_verified_server_counts_as_serving_whoever_started_it() {
    let seed = 4_258_185_722_972_903_582;
    let mut storm = Storm::new(seed, Managed::Nothing, Mode::Automatic, false);
    for _ in 0..1_500 {
        storm.step();
    }
    storm.calm();
    assert_eq!(storm.keeper.incidents().count(), 0);
}
