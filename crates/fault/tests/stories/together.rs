//! Several services with the same symptom at the same time: one incident covers them all, and nothing costly is done.

use std::time::Duration;

use evenkeel_core::{
    Epoch, Instant, Observation, Outcome, ProbeOutcome, Random, RequestShape, ServerId, ServiceId,
    Signal, WallTime,
};
use evenkeel_fault::contract::{
    Examination, Managed, OperatorOrder, OrderTicket, ProcessState, ServerSpec, ServiceSpec, Totals,
};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::policy::Action;
use evenkeel_fault::{FaultKind, Incident, Input, Keeper, Output, PersistedState};

use super::kinds::{evidence, kind};
use super::world::{ms, options};

const NAMES: [&str; 4] = ["shop", "blog", "mail", "pay"];

/// Several services, each with this many servers, whose requests all end as given.
struct Town {
    keeper: Keeper,
    now: Instant,
    servers: Vec<usize>,
    /// By service, how its requests end.
    ends: Vec<Outcome>,
    totals: Vec<Totals>,
    incidents: std::collections::BTreeMap<String, Incident>,
    restarts: usize,
    pending: Vec<(Instant, Input)>,
    random: Random,
}

impl Town {
    fn new(servers: &[usize], seed: u64) -> Self {
        let specs = servers
            .iter()
            .enumerate()
            .map(|(place, count)| ServiceSpec {
                is_unlimited: true,
                id: ServiceId(u32::try_from(place).expect("small")),
                name: NAMES[place].to_owned(),
                options: options(),
                servers: (0..*count)
                    .map(|index| ServerSpec {
                        tier: 0,
                        rolls_back: false,
                        name: format!("s{index}"),
                        address: Some(format!("10.0.0.{}:80", place * 10 + index)),
                        managed: Managed::Child,
                        order_limit: Duration::from_secs(100),
                    })
                    .collect(),
            });
        let epoch = Epoch(WallTime(1_795_341_600_000));
        let mut town = Self {
            keeper: Keeper::new(specs.collect(), epoch, seed, PersistedState::default()),
            now: Instant::ZERO,
            servers: servers.to_vec(),
            ends: vec![Outcome::Answered(200); servers.len()],
            totals: vec![Totals::default(); servers.len()],
            incidents: std::collections::BTreeMap::new(),
            restarts: 0,
            pending: Vec::new(),
            random: Random::seeded(seed),
        };
        let mut inputs = Vec::new();
        for id in town.ids() {
            for observation in [
                Observation::Started {
                    pid: 7,
                    changed: None,
                },
                Observation::Probe {
                    outcome: ProbeOutcome::Passed,
                    latency: ms(1),
                },
            ] {
                inputs.push(signal(Instant::ZERO, id, observation));
            }
        }
        town.step(inputs);
        town
    }

    fn ids(&self) -> Vec<ServerId> {
        let services = self.servers.iter().zip(0..);
        services
            .flat_map(|(count, service)| {
                (0..*count)
                    .map(move |index| ServerId::new(service, u32::try_from(index).expect("small")))
            })
            .collect()
    }

    /// So long, with a request to each server every 20 ms or so and a probe every second.
    fn run(&mut self, millis: u64) {
        let until = self.now + ms(millis);
        while self.now < until {
            self.now += ms(10 + self.random.below(20) as u64);
            let mut inputs = Vec::new();
            for service in 0..self.servers.len() {
                inputs.push(Input::Traffic {
                    service: ServiceId(u32::try_from(service).expect("small")),
                    totals: self.totals[service],
                });
            }
            for id in self.ids() {
                let service = id.service.0 as usize;
                let outcome = self.ends[service];
                self.totals[service].requests += 1;
                self.totals[service].failed += u64::from(outcome.is_failure());
                inputs.push(signal(
                    self.now,
                    id,
                    Observation::Attempt {
                        outcome,
                        latency: ms(5),
                        shape: RequestShape::of(b"GET", b"/"),
                    },
                ));
                if self.random.below(50) == 0 {
                    let outcome = if outcome == Outcome::Unreachable {
                        ProbeOutcome::Unreachable
                    } else {
                        ProbeOutcome::Passed
                    };
                    let latency = ms(1);
                    inputs.push(signal(
                        self.now,
                        id,
                        Observation::Probe { outcome, latency },
                    ));
                }
            }
            let now = self.now;
            let (due, later): (Vec<_>, Vec<_>) =
                self.pending.drain(..).partition(|(at, _)| *at <= now);
            self.pending = later;
            inputs.extend(due.into_iter().map(|(_, input)| input));
            self.step(inputs);
        }
    }

    fn step(&mut self, mut inputs: Vec<Input>) {
        let mut out = Vec::new();
        self.keeper.step(self.now, &mut inputs, &mut out);
        for output in out {
            match output {
                Output::Record(incident) => {
                    self.incidents.insert(incident.id.clone(), *incident);
                }
                Output::Act(order) => self.restarts += usize::from(order.action == Action::Restart),
                Output::Examine { id, .. } => {
                    let at = self.now + ms(50);
                    let process = ProcessState {
                        pid: Some(7),
                        state: Some('S'),
                        listening: Some(true),
                        ..ProcessState::default()
                    };
                    let examination = Examination {
                        tcp: Some((ProbeOutcome::Passed, ms(1))),
                        http: Some((ProbeOutcome::Passed, ms(1))),
                        process: Some(process),
                    };
                    self.pending.push((
                        at,
                        Input::Examined {
                            id,
                            at,
                            examination: Box::new(examination),
                        },
                    ));
                }
                _ => {}
            }
        }
    }

    /// The only incident that did not end in another one.
    fn one(&self) -> &Incident {
        let mut all = self.incidents.values();
        let one = all
            .find(|one| one.end != Some(CloseReason::Merged))
            .expect("one");
        let mut own = self
            .incidents
            .values()
            .filter(|one| one.end != Some(CloseReason::Merged));
        assert_eq!(own.clone().count(), 1, "{:#?}", own.collect::<Vec<_>>());
        assert!(own.next().is_some());
        let tells = |from: &Incident, to: &Incident| {
            from.timeline
                .iter()
                .any(|entry| entry.text.contains(&to.id))
        };
        let all = self.incidents.values();
        for merged in all.filter(|merged| merged.end == Some(CloseReason::Merged)) {
            let mut others = self.incidents.values().filter(|into| into.id != merged.id);
            assert!(
                others.any(|into| tells(merged, into) && tells(into, merged)),
                "{:#?}",
                self.incidents
            );
        }
        one
    }
}

fn signal(at: Instant, server: ServerId, observation: Observation) -> Input {
    Input::Signal(Signal {
        at,
        server,
        observation,
    })
}

#[test]
fn a_dependency_that_all_services_need_is_one_incident_and_nobody_is_restarted() {
    for seed in 0..100 {
        let servers: &[usize] = [&[3, 1, 2, 1][..], &[1, 1, 1], &[2, 1], &[3, 3, 3, 3]][seed % 4];
        let mut town = Town::new(servers, seed as u64);
        town.run(5_000 + seed as u64 * 17);
        let all = servers.len();
        for service in 0..all {
            town.ends[service] = Outcome::Answered(500);
            town.run(100 * (seed as u64 % 3));
        }
        town.run(60_000);
        assert_eq!(town.restarts, 0, "seed {seed}");
        let incident = town.one();
        assert_eq!(kind(incident), FaultKind::DependencyFailure, "seed {seed}");
        let words = evidence(incident);
        for name in NAMES.iter().take(all) {
            assert!(words.contains(name), "seed {seed}: {words}");
        }
        assert_eq!(incident.servers.len(), servers.iter().sum::<usize>());
        assert_ne!(incident.status, IncidentStatus::Closed);
        let keeper = town.keeper.incidents();
        assert_eq!(keeper.count(), 1, "seed {seed}");
        // One recovers before the others: the incident continues.
        town.ends[0] = Outcome::Answered(200);
        town.run(10_000);
        assert_ne!(town.one().status, IncidentStatus::Closed, "seed {seed}");
        town.ends.fill(Outcome::Answered(200));
        town.run(10_000);
        let incident = town.one();
        assert_eq!(incident.end, Some(CloseReason::Recovered), "seed {seed}");
        assert_eq!(town.restarts, 0, "seed {seed}");
    }
}

#[test]
fn where_no_service_can_be_reached_it_is_rather_evenkeel_that_cannot_reach_them() {
    for seed in 0..100 {
        let mut town = Town::new(&[2, 1, 1], seed);
        town.run(5_000);
        town.ends.fill(Outcome::Unreachable);
        town.run(20_000);
        assert_eq!(
            kind(town.one()),
            FaultKind::PartitionedBalancer,
            "seed {seed}"
        );
        assert_eq!(town.restarts, 0);
        town.ends.fill(Outcome::Answered(200));
        town.run(20_000);
        assert_eq!(town.one().end, Some(CloseReason::Recovered), "seed {seed}");
    }
}

/// One service alone is judged as ever.
#[test]
fn a_service_that_fails_alone_is_judged_alone() {
    let mut town = Town::new(&[1, 1, 1, 1], 1);
    town.run(5_000);
    town.ends[2] = Outcome::Answered(500);
    town.run(40_000);
    assert!(town.restarts > 0, "its only server is restarted");
    assert_eq!(town.one().service, "mail");
}

#[test]
fn a_person_who_closes_it_closes_it_for_all() {
    let mut town = Town::new(&[2, 2], 1);
    town.run(5_000);
    town.ends.fill(Outcome::Answered(500));
    town.run(10_000);
    let id = town.one().id.clone();
    town.step(vec![Input::Operator {
        ticket: OrderTicket(1),
        at: town.now,
        order: Box::new(OperatorOrder::Close(id.clone())),
    }]);
    assert_eq!(town.incidents[&id].end, Some(CloseReason::ClosedByPerson));
    town.ends.fill(Outcome::Answered(200));
    town.run(5_000);
    assert_eq!(town.keeper.incidents().count(), 0);
}
