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

/// The probes of all servers. Each has a place here, for as long as it is configured.
#[derive(Debug)]
pub(crate) struct ProbeScheduler {
    clock: Clock,
    /// Contains the panic of a single probe: the server's next one is sent nevertheless.
    panics: Arc<Counter>,
    signals: mpsc::Sender<Signal>,
    /// By their place.
    servers: Mutex<Vec<Arc<ProbedServer>>>,
    schedule: Mutex<ProbeSchedule>,
    owners: Arc<Owners>,
    /// Something may be due earlier than it was.
    changed: Notify,
}

/// A server that is probed.
#[derive(Debug)]
pub(crate) struct ProbedServer {
    server: ServerId,
    pub(crate) counters: ProbeCounters,
}

impl ProbeScheduler {
    /// Of no server yet.
    pub(crate) fn new(
        (clock, tasks): (Clock, &Tasks),
        signals: mpsc::Sender<Signal>,
        owners: Arc<Owners>,
    ) -> Self {
        Self {
            clock,
            panics: tasks.restarts("probe"),
            signals,
            servers: Mutex::default(),
            schedule: Mutex::new(ProbeSchedule::new()),
            owners,
            changed: Notify::new(),
        }
    }

    /// A server more: where it is, how it is probed, and whether it is a process of evenkeel's own. Its place.
    pub(crate) fn add(
        &self,
        server: ServerId,
        address: Option<Endpoint>,
        options: Arc<ProbeOptions>,
        is_child: bool,
    ) -> u32 {
        let now = self.clock.now();
        // Held until both lists have it, so that no probe is sent of a place without a server.
        let mut schedule = self.schedule();
        let slot = schedule.add(options, address, !is_child, now);
        let counters = ProbeCounters::default();
        let probed = Arc::new(ProbedServer { server, counters });
        let mut servers = self.servers();
        match servers.get_mut(slot as usize) {
            Some(known) => *known = probed,
            None => servers.push(probed),
        }
        drop(servers);
        drop(schedule);
        self.changed.notify_one();
        slot
    }

    /// All servers that there are at the start were added.
    pub(crate) fn shrink(&self) {
        self.schedule().shrink();
        self.servers().shrink_to_fit();
    }

    /// The server in this slot is gone. The slot is given to the next one.
    pub(crate) fn remove(&self, slot: u32) {
        self.schedule().remove(slot, self.clock.now());
    }

    /// The server in this slot is probed in another way from now on.
    pub(crate) fn set_options(&self, slot: u32, options: Arc<ProbeOptions>) {
        self.schedule().set_options(slot, options, self.clock.now());
        self.changed.notify_one();
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

    /// The server in this slot, with its counters.
    pub(crate) fn probed(&self, slot: u32) -> Option<Arc<ProbedServer>> {
        self.servers().get(slot as usize).map(Arc::clone)
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Arc<ProbedServer>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
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
        let Some(probed) = this.probed(due.slot) else {
            return;
        };
        let (outcome, latency) = sent.await;
        let server = probed.server;
        let outcome = judge(&this.owners, server, &due.address, outcome).await;
        let at = this.clock.now();
        // Reported before the next one can become due, so that reports stay in order.
        let same = this.schedule().is_same(due);
        if same {
            probed.counters.add_one(outcome);
            let observation = Observation::Probe { outcome, latency };
            let signal = Signal {
                at,
                server,
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
