//! The keeper: the only control flow of a fault's way. Signals and answers go in, directives and orders come out.
//!
//! Every server has at most one open incident, its case. A detection opens it; later ones join it. Servers of one
//! service that fail together get an incident each, unless `common` or `failed_starts` finds one cause. The files here follow a case: `case` (the record), `phase` (where the work stands, and what each event means there), `hear` (signals
//! and time), `open` (from detection to diagnosis), `act` (the playbook), `propose` (where a person decides), `repair` (orders that change a server), `plan` (their second check), `watch` (verification, closing), `order` (a person's orders),
//! `routine` (a restart without a fault), `maintenance` (what a person has taken out).
//!
//! What the modes do:
//!
//! - `automatic`: everything.
//! - `ask`: what is free is done (out of rotation, and back once verified); what is costly is written down as `would-do` until a
//!   person approves. A rejected incident is only watched.
//! - `dry-run`: the same, and nobody is asked.
//! - `off`: no directive and no order; incidents are detected, diagnosed and recorded.
//!
//! In every mode an incident closes by itself once its server is verified to be well.
//!
//! Totals ([`Input::Traffic`]) are best handed in before the signals of the same step, at least every 100 ms while
//! requests come: impacts are differences of totals.

mod names;
mod phase;
mod case;
mod start;
mod server;
mod common;
mod poison_watch;
mod measures;
mod service;
mod self_watch;
mod shared;
mod work;
mod transition;
mod hear;
mod take_in;
mod open;
mod act;
mod propose;
mod plan;
mod repair;
mod roll_back;
mod routine;
mod watch;
mod another;
mod mitigation;
mod order;
mod maintenance;
mod member;
mod slow_start;
mod warm_up;
mod failed_starts;
mod guardian;
mod poison;
mod tell_measures;
mod judge_self;
mod outlook;
mod read;

use std::collections::BTreeMap;

use evenkeel_core::{Epoch, Instant, Random, Recent, ServerId};

use crate::analyze::Similar;
use crate::contract::{Examination, Input, OrderId, Output, ServiceSpec};
use crate::detect;
use crate::incident::ActionOutcome;
use crate::maintenance::MaintenanceRecord;
use crate::recover::SuccessRates;
use crate::signal::Latencies;

use self_watch::SelfWatch;
use server::Server;
use service::Service;
use shared::Shared;
use work::Work;

/// Between two looks at who is slow.
const SLOW_EVERY: std::time::Duration = std::time::Duration::from_millis(500);
/// What is due for one server is looked at so many times in one step, at most.
const ROUNDS: usize = 8;
/// So many incidents are remembered to find similar ones.
const REMEMBERED: usize = 1000;

/// What earlier runs of the program left: so that ids stay unique and similar incidents are found.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Per date (`2026-11-22`) the highest number in use.
    pub numbers: Vec<(String, u32)>,
    /// The latest incidents, oldest first.
    pub recent: Vec<Similar>,
    /// What a person has taken out of service.
    pub maintenance: Vec<MaintenanceRecord>,
    /// Which actions have helped.
    pub rates: SuccessRates,
}

/// The keeper of all services.
#[derive(Debug)]
pub struct Keeper {
    services: Vec<Service>,
    shared: Shared,
    begun: bool,
    /// When it is looked at again whether several services have one cause.
    across_at: Instant,
    /// evenkeel itself.
    self_watch: SelfWatch,
    /// What was in maintenance when the program ended, until the first step.
    resumed: Vec<MaintenanceRecord>,
}

impl Keeper {
    /// A keeper of these services. The place of a service in the list is its id.
    #[must_use]
    pub fn new(services: Vec<ServiceSpec>, epoch: Epoch, seed: u64, memory: Memory) -> Self {
        let mut recent = Recent::new(REMEMBERED);
        memory
            .recent
            .into_iter()
            .for_each(|similar| recent.push(similar));
        let mut numbers = BTreeMap::new();
        for (date, number) in memory.numbers {
            let highest = numbers.entry(date).or_insert(0);
            *highest = number.max(*highest);
        }
        let shared = Shared {
            epoch,
            random: Random::seeded(seed),
            orders: 0,
            numbers,
            names: names::Names::default(),
            recent,
            rates: memory.rates,
            inconsistencies: 0,
            vetoes: BTreeMap::new(),
        };
        Self {
            services: services.into_iter().map(Service::new).collect(),
            shared,
            begun: false,
            across_at: Instant::ZERO,
            self_watch: SelfWatch::default(),
            resumed: memory.maintenance,
        }
    }

    /// Takes in all `inputs`, looks at what time brought, and adds what is to be done to `outputs`.
    pub fn step(&mut self, now: Instant, inputs: &mut Vec<Input>, outputs: &mut Vec<Output>) {
        if !self.begun {
            self.begun = true;
            self.resume(now, outputs);
            self.each(now, outputs, Server::awaits_start, |work| work.begin());
        }
        for input in inputs.drain(..) {
            match input {
                Input::Signal(signal) => self.signal(now, signal, outputs),
                Input::ActionEnded {
                    id,
                    at,
                    outcome,
                    detail,
                } => {
                    self.action_ended(now, id, at.min(now), outcome, detail, outputs);
                }
                Input::Examined {
                    id,
                    at: _,
                    examination,
                } => {
                    self.examined(now, id, &examination, outputs);
                }
                Input::Traffic { service, totals } => {
                    if let Some(service) = self.services.get_mut(service.0 as usize) {
                        service.traffic.note(now, totals);
                    }
                }
                Input::Load { service, servers } => {
                    if let Some(service) = self.services.get_mut(service.0 as usize) {
                        service.take_load(now, &servers);
                    }
                }
                Input::Operator {
                    ticket,
                    at: _,
                    order,
                } => self.operator(now, ticket, *order, outputs),
                Input::ClockSet { epoch, by_millis } => self.clock_set(now, epoch, by_millis),
                Input::SelfReading(reading) => self.self_reading(now, *reading),
                Input::Stalled { until, lasted } => self.stalled(until.min(now), lasted),
                Input::Named { shape, text } => self.shared.names.take(shape, text),
                Input::Exposed(exposure) => self.exposed(now, *exposure),
            }
        }
        self.judge_self(now, outputs);
        self.judge_services(now, outputs);
        self.judge_across(now, outputs);
        self.judge_burns(now, outputs);
        self.tick_maintenance(now, outputs);
        self.compare(now, outputs);
        // What one judgement does may be due for another at once; never for long.
        for _ in 0..ROUNDS {
            self.tick_due(now, outputs);
            self.judge_services(now, outputs);
            let has_gathered = self.gather_failed_starts(now, outputs);
            self.judge_poison(now, outputs);
            let is_due = self.next_wake().is_some_and(|at| at <= now);
            if !has_gathered && !is_due {
                break;
            }
        }
        self.tell_measures(now, outputs);
    }

    /// When [`Self::step`] should be called at the latest, if no input comes before.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        let mut next = self.self_watch.wake();
        for service in &self.services {
            if service.is_fresh() {
                next = next.min(service.slow_at);
            }
            next = next
                .min(service.poison.wake())
                .min(service.measures.renew_at);
            let maintenance = service.maintenance.as_ref();
            if let Some(common) = &service.common {
                next = next.min(common.look_at);
            }
            if let Some(until) = maintenance.and_then(|maintenance| maintenance.until) {
                next = next.min(until);
            }
            for server in &service.servers {
                next = next.min(server.wake());
            }
        }
        (next != Instant::NEVER).then_some(next)
    }

    fn examined(
        &mut self,
        now: Instant,
        id: OrderId,
        examination: &Examination,
        out: &mut Vec<Output>,
    ) {
        let is_it = |server: &Server| {
            server
                .case
                .as_ref()
                .is_some_and(|case| case.awaits_examination(id))
        };
        if let Some(server) = self.find(is_it) {
            self.with(now, server, out, |work| work.diagnose(Some(examination)));
        } else {
            self.examined_for_common(now, id, examination, out);
        }
    }

    fn action_ended(
        &mut self,
        now: Instant,
        id: OrderId,
        at: Instant,
        outcome: ActionOutcome,
        detail: Option<String>,
        out: &mut Vec<Output>,
    ) {
        let is_it = |server: &Server| server.awaits_action(id);
        if let Some(server) = self.find(is_it) {
            self.with(now, server, out, |work| {
                work.action_ended(id, at, outcome, detail);
            });
        }
    }

    fn tick_due(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.each(now, out, |server| server.is_due(now), |work| work.tick());
    }

    fn find(&self, is_it: impl Fn(&Server) -> bool) -> Option<ServerId> {
        let mut servers = self.services.iter().flat_map(|service| &service.servers);
        servers.find(|server| is_it(server)).map(|server| server.id)
    }

    fn each(
        &mut self,
        now: Instant,
        out: &mut Vec<Output>,
        which: impl Fn(&Server) -> bool,
        what: impl Fn(&mut Work<'_>),
    ) {
        for service in 0..self.services.len() {
            for index in 0..self.services[service].servers.len() {
                // What is due may make something else due at once; never for long.
                for _ in 0..ROUNDS {
                    let server = &self.services[service].servers[index];
                    if !which(server) {
                        break;
                    }
                    self.with(now, server.id, out, &what);
                }
            }
        }
    }

    fn with(
        &mut self,
        now: Instant,
        id: ServerId,
        out: &mut Vec<Output>,
        what: impl FnOnce(&mut Work<'_>),
    ) {
        let Some(service) = self.services.get_mut(id.service.0 as usize) else {
            return;
        };
        let capacity = service.capacity(id.index as usize);
        let suspended = service.is_suspended();
        let Service {
            spec,
            servers,
            traffic,
            detections,
            serving,
            present,
            changing,
            failed_starts,
            alike,
            ..
        } = service;
        let from = out.len();
        let index = (id.index as usize).min(servers.len());
        let (before, rest) = servers.split_at_mut(index);
        let Some((server, after)) = rest.split_first_mut() else {
            return;
        };
        *changing -= usize::from(server.is_being_changed());
        *failed_starts -= usize::from(server.cannot_start());
        *serving -= usize::from(server.serves());
        *present -= usize::from(server.vacant.is_none());
        what(&mut Work {
            now,
            spec,
            traffic,
            shared: &mut self.shared,
            capacity,
            alike: *alike,
            changing: *changing,
            failed_starts: *failed_starts,
            suspended,
            detections,
            server,
            peers: (before, after),
            out,
        });
        server.tell_repair(now, from, out);
        *changing += usize::from(server.is_being_changed());
        *failed_starts += usize::from(server.cannot_start());
        *serving += usize::from(server.serves());
        *present += usize::from(server.vacant.is_none());
    }

    /// Looks, now and then, at who is slow compared with its peers.
    fn compare(&mut self, now: Instant, out: &mut Vec<Output>) {
        for place in 0..self.services.len() {
            let service = &mut self.services[place];
            let Some(options) = service.spec.options.detect.slow else {
                continue;
            };
            if now < service.slow_at || !service.is_fresh() {
                continue;
            }
            service.slow_at = now + SLOW_EVERY;
            if now < service.catches_up_until {
                for server in &mut service.servers {
                    server
                        .facts
                        .latencies
                        .iter_mut()
                        .for_each(Latencies::forget);
                }
                continue;
            }
            let latest = service.latest(now, &options);
            self.judge_speed(now, place, (&latest, &options), out);
            let peers = detect::Peers::new(&latest);
            for (index, own) in latest.iter().enumerate() {
                let limits = peers.limits(*own, &options);
                let service = &self.services[place];
                let standing = |limit| service.standing((index, limit), &latest, now, &options);
                let comparison = own.and_then(|own| detect::slow(own, limits, &options, standing));
                let id = self.services[place].servers[index].id;
                self.with(now, id, out, |work| work.compared(limits, comparison));
            }
        }
    }
}
