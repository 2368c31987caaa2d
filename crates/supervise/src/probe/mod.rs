//! Probes of all servers: one task that sends the probes that are due by the [`schedule`].
//!
//! A supervised server is probed only while its process runs, and at once after it has started.

mod schedule;
mod send;
mod owner;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evenkeel_core::metric::Counter;
use evenkeel_core::{Endpoint, Instant, Observation, ProbeOutcome, Random, ServerId, Signal};
use evenkeel_fault::contract::ProbePace;
use evenkeel_fault::policy::ProbeOptions;
use evenkeel_runtime::{Clock, Tasks};
use tokio::sync::{Notify, mpsc, watch};

use crate::child::ChildPhase;
use crate::count::ProbeCounters;
use crate::listener::SocketOwner;
use schedule::{DueProbe, ProbeSchedule};

pub(crate) use owner::Owners;
pub(crate) use send::send;

/// The probes of all servers. Each has a place here, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct ProbeScheduler {
    clock: Clock,
    /// Contains the panic of a single probe: the server's next one is sent nevertheless.
    panics: Arc<Counter>,
    signals: mpsc::Sender<Signal>,
    servers: Box<[(ServerId, ProbeCounters)]>,
    schedule: Mutex<ProbeSchedule>,
    owners: Arc<Owners>,
    /// Something may be due earlier than it was.
    changed: Notify,
}

impl ProbeScheduler {
    /// Of these servers: where each is, how it is probed, and whether it is a process of evenkeel's own. Nothing is sent yet.
    pub(crate) fn new(
        (clock, tasks): (Clock, &Tasks),
        signals: mpsc::Sender<Signal>,
        owners: Arc<Owners>,
        servers: impl Iterator<Item = (ServerId, Option<Endpoint>, Arc<ProbeOptions>, bool)>,
    ) -> Self {
        let mut schedule = ProbeSchedule::new();
        let servers = servers.map(|(server, address, options, is_child)| {
            schedule.add(options, address, !is_child);
            (server, ProbeCounters::default())
        });
        let servers: Box<[_]> = servers.collect();
        schedule.shrink();
        Self {
            clock,
            panics: tasks.restarts("probe"),
            signals,
            servers,
            schedule: Mutex::new(schedule),
            owners,
            changed: Notify::new(),
        }
    }

    /// Sends probes for ever, the first ones spread over the first interval. Chances are drawn from `random`. It can be run
    /// again after a panic: the agenda, which that may have left half changed, is made anew.
    pub(crate) async fn run(self: Arc<Self>, random: Random) {
        self.schedule().begin(self.clock.now(), random);
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut schedule = self.schedule();
                while let Some(due) = schedule.take(self.clock.now()) {
                    tokio::spawn(Arc::clone(&self).send(due));
                }
                schedule.next()
            };
            match next {
                Some(next) => {
                    tokio::select! {
                        () = self.clock.sleep_until(next) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Follows a process of evenkeel's own.
    pub(crate) async fn follow(self: Arc<Self>, slot: u32, mut phase: watch::Receiver<ChildPhase>) {
        // Nothing yet: what the agenda has may be from before a panic.
        let mut known = None;
        loop {
            let now = match *phase.borrow_and_update() {
                ChildPhase::Running(now) => Some(now),
                ChildPhase::Idle | ChildPhase::Starting => None,
            };
            if known != Some(now) {
                known = Some(now);
                self.schedule()
                    .set_running(slot, now.is_some(), self.clock.now());
                self.changed.notify_one();
            }
            // The supervisor is gone, and this task with it in a moment.
            if phase.changed().await.is_err() {
                return;
            }
        }
    }

    /// Changes how often a server is probed.
    pub(crate) fn set_pace(&self, slot: u32, pace: ProbePace) {
        self.schedule().set_pace(slot, pace, self.clock.now());
        self.changed.notify_one();
    }

    /// The slot has another server, or none. A probe in flight concerns the old one, and is ignored.
    pub(crate) fn set_address(&self, slot: u32, address: Option<Endpoint>) {
        self.schedule().set_address(slot, address, self.clock.now());
        self.changed.notify_one();
    }

    /// The address of the server in this slot.
    pub(crate) fn address(&self, slot: u32) -> Option<Endpoint> {
        self.schedule().address(slot)
    }

    /// The counters of the server in this slot.
    pub(crate) fn counters(&self, slot: u32) -> Option<&ProbeCounters> {
        self.servers
            .get(slot as usize)
            .map(|(_, counters)| counters)
    }

    async fn send(self: Arc<Self>, due: DueProbe) {
        let under_way = ProbeInFlight {
            begun: self.clock.now(),
            rounds: self,
            due,
        };
        let (this, due) = (&under_way.rounds, &under_way.due);
        let options = &due.options;
        let sent = send(&due.address, &options.kind, options.timeout, this.clock);
        let (outcome, latency) = sent.await;
        let (server, counters) = &this.servers[due.slot as usize];
        let outcome = judge(&this.owners, *server, &due.address, outcome).await;
        let at = this.clock.now();
        // Reported before the next one can become due, so that reports stay in order.
        let same = this.schedule().is_same(due);
        if same {
            counters.add_one(outcome);
            let observation = Observation::Probe { outcome, latency };
            let signal = Signal {
                at,
                server: *server,
                observation,
            };
            // The keeper is gone only when everything ends.
            this.signals.send(signal).await.ok();
        }
    }

    fn schedule(&self) -> MutexGuard<'_, ProbeSchedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A probe in flight. However it ends, the next one of its server will become due.
struct ProbeInFlight {
    rounds: Arc<ProbeScheduler>,
    due: DueProbe,
    begun: Instant,
}

impl Drop for ProbeInFlight {
    fn drop(&mut self) {
        let rounds = &self.rounds;
        if std::thread::panicking() {
            rounds.panics.add_one();
        }
        let now = rounds.clock.now();
        if rounds.schedule().ended(&self.due, self.begun, now) {
            rounds.changed.notify_one();
        }
    }
}

/// The outcome corrected by the owner of the socket that answered.
pub(crate) async fn judge(
    owners: &Owners,
    server: ServerId,
    address: &Endpoint,
    outcome: ProbeOutcome,
) -> ProbeOutcome {
    match outcome {
        ProbeOutcome::Refused => owners.forget(server),
        ProbeOutcome::ConnectTimeout
        | ProbeOutcome::Unreachable
        | ProbeOutcome::PortTaken
        | ProbeOutcome::LocalError => {}
        ProbeOutcome::Passed
        | ProbeOutcome::NoAnswer
        | ProbeOutcome::WrongStatus(_)
        | ProbeOutcome::Reset
        | ProbeOutcome::Invalid => {
            if let SocketOwner::Stranger(_) = owners.listener(server, address).await {
                return ProbeOutcome::PortTaken;
            }
        }
    }
    outcome
}
