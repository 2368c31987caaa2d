//! Random signals and results: the keeper never panics, never misses a deadline, and its guards hold.

use std::time::Duration;

use evenkeel_core::{
    Epoch, Instant, Observation, Outcome, ProbeOutcome, Random, ServerId, ServiceId, Signal,
    WallTime,
};
use evenkeel_fault::contract::{
    Examination, Managed, OperatorOrder, OrderId, OrderTicket, ServerSpec, ServiceSpec, Totals,
};
use evenkeel_fault::incident::ActionOutcome;
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::{ActionLimit, Mode, ProbeKind};
use evenkeel_fault::{Input, Keeper, Output, PersistedState};
use proptest::prelude::*;

mod checker;
mod draws;
mod reload;
#[path = "../common/options.rs"]
mod options;

use checker::Checker;
use draws::{answer, exposure, observation, order};
use options::options;

const EPOCH: Epoch = Epoch(WallTime(1_795_341_600_000));
const SERVERS: u32 = 4;
const LIMIT: ActionLimit = ActionLimit {
    actions: 3,
    within: Duration::from_secs(60),
};
const CAP: Duration = Duration::from_secs(10);

fn spec(managed: Managed, mode: Mode) -> ServiceSpec {
    let mut options = options();
    options.detect.probe.kind = ProbeKind::Tcp;
    options.recover.mode = mode;
    options.recover.limit = LIMIT;
    options.recover.backoff.cap = CAP;
    options.recover.verify.within = Duration::from_secs(5);
    options.objective = None;
    let servers = (0..SERVERS).map(|n| ServerSpec {
        name: format!("s{n}"),
        address: Some(format!("127.0.0.1:{}", 9001 + n)),
        tier: 0,
        rolls_back: false,
        managed,
        order_limit: Duration::from_secs(110),
    });
    ServiceSpec {
        id: ServiceId(0),
        name: "shop".to_owned(),
        is_unlimited: true,
        servers: servers.collect(),
        options,
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
    /// The service as it is configured now, if that changes.
    reloads: Option<ServiceSpec>,
}

impl Storm {
    fn new(seed: u64, managed: Managed, mode: Mode, with_operators: bool) -> Self {
        let services = vec![spec(managed, mode)];
        Self {
            keeper: Keeper::new(services, EPOCH, seed, PersistedState::default()),
            checker: Checker {
                with_operators,
                mode: Some(mode),
                perhaps_dead: [true; SERVERS as usize],
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
            reloads: None,
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
            let ticket = OrderTicket(self.tickets);
            self.checker.open_tickets.insert(ticket);
            self.inputs.push(Input::Operator {
                ticket,
                at: now,
                order: Box::new(order),
            });
        }
        if self.random.below(40) == 0 {
            self.reload();
        }
        if self.random.below(200) == 0 {
            let by_millis = if self.random.below(2) == 0 {
                3_600_000
            } else {
                -1_800_000
            };
            self.epoch = Epoch(WallTime(self.epoch.0.0.saturating_add_signed(by_millis)));
            let epoch = self.epoch;
            self.inputs.push(Input::ClockSet { epoch, by_millis });
        }
        self.inputs.push(Input::Traffic {
            service: ServiceId(0),
            totals: Totals {
                requests: now.as_nanos() / 10_000_000,
                failed: now.as_nanos() / 40_000_000,
                saved_by_retry: now.as_nanos() / 90_000_000,
                shed: 0,
                queued: 0,
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
            // Some answers never come.
            let is_answered = self.random.below(50) > 0;
            match asked(&output).filter(|_| is_answered) {
                Some(Asked::Action(id, _)) => self.pending.push((at, id, true)),
                Some(Asked::Examination(id)) => self.pending.push((at, id, false)),
                None => {}
            }
        }
    }

    fn reload(&mut self) {
        if let Some(service) = &mut self.reloads {
            let change = reload::plan_change(&mut self.random, service);
            for (gone, server) in self.checker.gone.iter_mut().zip(&service.servers) {
                *gone = server.is_vacant();
            }
            // Between two steps: what is taken out in one is judged by one configuration.
            self.inputs.insert(0, Input::Plan(Box::new(change)));
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
            let started = started(self.now, index);
            if let Input::Signal(signal) = &started {
                self.checker.hear(signal);
            }
            self.inputs.push(started);
        }
        for order in orders {
            self.tickets += 1;
            let ticket = OrderTicket(self.tickets);
            self.checker.open_tickets.insert(ticket);
            self.inputs.push(Input::Operator {
                ticket,
                at: self.now,
                order: Box::new(order),
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
            match asked(&output) {
                Some(Asked::Action(id, server)) => {
                    let outcome = ActionOutcome::Done;
                    self.inputs.push(started(at, server.index));
                    self.inputs.push(Input::ActionEnded {
                        id,
                        at,
                        outcome,
                        detail: None,
                    });
                }
                Some(Asked::Examination(id)) => {
                    let passed = Some((ProbeOutcome::Passed, latency));
                    let examination = Examination {
                        tcp: passed,
                        http: passed,
                        process: None,
                    };
                    self.inputs.push(Input::Examined {
                        id,
                        at,
                        examination: Box::new(examination),
                    });
                }
                None => {}
            }
        }
    }
}

/// What is to be answered.
enum Asked {
    Action(OrderId, ServerId),
    Examination(OrderId),
}

fn asked(output: &Output) -> Option<Asked> {
    match output {
        Output::Act(order) => Some(Asked::Action(order.id, order.server)),
        Output::Examine { id, .. } => Some(Asked::Examination(*id)),
        Output::Directive(_)
        | Output::Pace { .. }
        | Output::Shapes(_)
        | Output::Service(_)
        | Output::Record(_)
        | Output::Maintenance { .. }
        | Output::Gate { .. }
        | Output::Answer { .. } => None,
    }
}

fn started(at: Instant, index: u32) -> Input {
    Input::Signal(Signal {
        at,
        server: ServerId::new(0, index),
        observation: Observation::Started {
            pid: 7,
            changed: None,
        },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_keeper_keeps_its_invariants_under_random_signals(seed in any::<u64>(), managed in 0..3, mode in 0..4, with_operators in any::<bool>()) {
        let managed = [Managed::Child, Managed::Commands { restart: true, stop: false }, Managed::Nothing][managed as usize];
        let mode = [Mode::Automatic, Mode::Ask, Mode::DryRun, Mode::Off][mode as usize];
        let storm = storm(seed, managed, mode, with_operators);
        let open: Vec<_> = storm.keeper.incidents().collect();
        prop_assert!(open.is_empty(), "never closed: {open:#?}");
        let unanswered = &storm.checker.open_tickets;
        prop_assert!(unanswered.is_empty(), "orders without an answer: {unanswered:?}");
        prop_assert_eq!(storm.keeper.inconsistencies(), 0);
    }

    /// The same while the configuration changes. Whoever changes it is an operator.
    #[test]
    fn no_reload_breaks_it(seed in any::<u64>(), managed in 0..3) {
        let managed = [Managed::Child, COMMANDS, Managed::Nothing][managed as usize];
        let mut storm = Storm::new(seed, managed, Mode::Automatic, true);
        storm.reloads = Some(spec(managed, Mode::Automatic));
        let storm = over(storm);
        let open: Vec<_> = storm.keeper.incidents().collect();
        prop_assert!(open.is_empty(), "never closed: {open:#?}");
        let unanswered = &storm.checker.open_tickets;
        prop_assert!(unanswered.is_empty(), "orders without an answer: {unanswered:?}");
        prop_assert_eq!(storm.keeper.inconsistencies(), 0);
    }
}

/// The storm of this seed, over, and all calm again.
fn storm(seed: u64, managed: Managed, mode: Mode, with_operators: bool) -> Storm {
    over(Storm::new(seed, managed, mode, with_operators))
}

fn over(mut storm: Storm) -> Storm {
    for _ in 0..1_500 {
        storm.step();
    }
    storm.calm();
    storm
}

fn assert_all_answered(storm: &Storm) {
    let unanswered = &storm.checker.open_tickets;
    assert!(
        unanswered.is_empty(),
        "orders without an answer: {unanswered:?}"
    );
}

const COMMANDS: Managed = Managed::Commands {
    restart: true,
    stop: false,
};

/// A restart ordered by an operator is given up if its end was not reported.
#[test]
fn a_restart_whose_end_is_not_told_ends_all_the_same() {
    let seed = 16_924_077_347_397_523_705;
    assert_all_answered(&storm(seed, COMMANDS, Mode::Automatic, true));
}

/// A server whose process had exited and was restarted by others serves like any other once verified.
#[test]
fn a_verified_server_counts_as_serving_whoever_started_it() {
    let seed = 4_258_185_722_972_903_582;
    let storm = storm(seed, Managed::Nothing, Mode::Automatic, false);
    assert_eq!(storm.keeper.incidents().count(), 0);
}

/// Five failures in a row count, whatever began before its process was started and succeeds between them.
#[test]
fn a_late_success_of_the_process_before_does_not_count() {
    let seed = 5_500_457_076_747_736_759;
    let storm = storm(seed, COMMANDS, Mode::Automatic, false);
    assert_eq!(storm.keeper.incidents().count(), 0);
}

/// A server whose process was stopped by an order, and which evenkeel may not start by itself: the order that ends its
/// maintenance is answered, and the server is handled.
#[test]
fn the_end_of_maintenance_is_seen_to_also_where_nothing_may_be_started() {
    let seed = 17_170_814_906_208_027_290;
    assert_all_answered(&storm(seed, Managed::Child, Mode::Ask, true));
}
