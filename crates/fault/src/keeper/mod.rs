//! The keeper: the only control flow of the fault path. Signals and results go in, directives and actions come out.
//!
//! Every server has at most one open incident, its case. A detection opens it; later ones join it. Servers of one
//! service that fail together get an incident each, unless `common` or `failed_starts` finds one cause.
//!
//! The files are ordered so that each calls only earlier ones:
//!
//! 1. What is held: `case` (the record), `phase` (where the work on it stands), `proof` (which requests prove that it is over), `repeated`,
//!    `unproven` (one that none have proven yet), `server`, `common` (the incident of a service), `service`,
//!    `self_watch`, `shared`; `work` is one server in one step, `state` the keeper and the way to a server.
//! 2. The table: `transition` says what an event means in each phase, and does nothing.
//! 3. What a stage is made of: `close`, `plan` (the second check, and orders), `watch` (verification begins), `guard`, `canary`
//!    (who is started first with a changed program), `refuse`.
//! 4. The actions: `take_out`, `mitigation`, `propose` (where a person decides), `repair`, `roll_back`; `act` plays the playbook,
//!    and `next_rung` says how it goes on where that did not help.
//! 5. `examine` (the diagnosis, and with it the playbook), `follow_up` (what follows when a step has ended), `happened`, which takes
//!    an event to them by the table, and `reexamine`, which asks again where probes cannot tell.
//! 6. Where events come from: `open` (detections), `routine` (a restart without a fault), `maintenance` (what a person has taken out),
//!    `dispatch` (signals, answers and time), `take_in`, `order` (a person's orders), `reload` (a changed configuration) with `rollout`
//!    (processes that are replaced for it), and the judges of services.
//!
//! The modes:
//!
//! - `automatic`: everything.
//! - `ask`: free actions are taken (out of rotation, and back once verified); costly ones are recorded as `would-do`
//!   until an operator approves. A rejected incident is only watched.
//! - `dry-run`: the same, without approval.
//! - `off`: no directive and no action; incidents are detected, diagnosed and recorded.
//!
//! In every mode an incident closes by itself once its server is verified to be healthy.
//!
//! Totals ([`Input::Traffic`]) should be passed in before the signals of the same step, at least every 100 ms while
//! requests arrive: impacts are differences of totals.

mod names;
mod phase;
mod case;
mod poisoned;
mod start;
mod outdated;
mod vacant;
mod shown;
mod proof;
mod repeated;
mod unproven;
mod server;
mod common;
mod poison_watch;
mod measures;
mod service;
mod self_watch;
mod shared;
mod work;
mod state;
mod transition;
mod close;
mod plan;
mod watch;
mod slow_start;
mod warm_up;
mod guard;
mod canary;
mod refuse;
mod take_out;
mod mitigation;
mod propose;
mod repair;
mod roll_back;
mod act;
mod next_rung;
mod examine;
mod another;
mod follow_up;
mod happened;
mod reexamine;
mod open;
mod routine;
mod maintenance;
mod dispatch;
mod failed_starts;
mod guardian;
mod member;
mod poison;
mod take_in;
mod publish_orders;
mod judge_self;
mod order;
mod rollout;
mod reload;
mod outlook;
mod read;

pub use state::{Keeper, PersistedState};

use evenkeel_core::Instant;

use crate::contract::{Examination, Input, OrderId, Output};
use crate::detect::{self, SlowLimits};
use crate::incident::ActionOutcome;
use crate::signal::Latencies;

use server::WatchedServer;
use state::ROUNDS;
use work::ServerContext;

/// The interval between two evaluations of slow servers.
const SLOW_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

impl Keeper {
    /// Processes all `inputs` and expired timers, and adds the resulting actions to `outputs`.
    pub fn step(&mut self, now: Instant, inputs: &mut Vec<Input>, outputs: &mut Vec<Output>) {
        if !self.begun {
            self.begun = true;
            self.resume(now, outputs);
            self.each(now, outputs, WatchedServer::awaits_start, |work| {
                work.begin();
            });
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
                Input::Plan(change) => self.plan_changed(now, *change, outputs),
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
        // One judgement may make another due at once; never for long.
        for _ in 0..ROUNDS {
            self.tick_due(now, outputs);
            self.judge_services(now, outputs);
            let has_gathered = self.gather_failed_starts(now, outputs);
            self.judge_poison(now, outputs);
            self.roll_out(now, outputs);
            let is_due = self.next_wake().is_some_and(|at| at <= now);
            if !has_gathered && !is_due {
                break;
            }
        }
        self.publish_orders(now, outputs);
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
                .min(service.measures.renew_at)
                .min(service.rollout.at);
            let maintenance = service.maintenance.as_ref();
            if let Some(common) = &service.common {
                next = next.min(common.recheck_at);
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
        let is_it = |server: &WatchedServer| {
            server
                .case
                .as_ref()
                .is_some_and(|case| case.awaits_examination(id))
        };
        if let Some(server) = self.find(is_it) {
            self.with(now, server, out, |work| work.diagnose(Some(examination)));
            return;
        }
        let is_repeated = |server: &WatchedServer| {
            let case = server.case.as_deref();
            case.is_some_and(|case| case.awaits_reexamination(id))
        };
        if let Some(server) = self.find(is_repeated) {
            self.with(now, server, out, |work| work.reexamined(examination));
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
        let is_it = |server: &WatchedServer| server.awaits_action(id);
        if let Some(server) = self.find(is_it) {
            self.with(now, server, out, |work| {
                work.action_ended(id, at, outcome, detail);
            });
        }
    }

    fn tick_due(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.each(now, out, |server| server.is_due(now), |work| work.tick());
    }

    /// Looks, now and then, at who is slow compared with its peers.
    fn compare(&mut self, now: Instant, out: &mut Vec<Output>) {
        for slot in 0..self.services.len() {
            let service = &mut self.services[slot];
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
            self.judge_speed(now, slot, (&latest, &options), out);
            let peers = detect::Peers::new(&latest);
            let limits: Vec<SlowLimits> = latest
                .iter()
                .map(|own| peers.limits(*own, &options))
                .collect();
            self.services[slot].set_superseded_limit(&limits);
            for (index, (own, limits)) in latest.iter().zip(limits).enumerate() {
                let service = &self.services[slot];
                let standing = |limit| service.standing((index, limit), &latest, now, &options);
                let comparison = own.and_then(|own| detect::slow(own, limits, &options, standing));
                let id = self.services[slot].servers[index].id;
                self.with(now, id, out, |work| work.compared(limits, comparison));
            }
        }
    }
}
