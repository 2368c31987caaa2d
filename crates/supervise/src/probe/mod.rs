//! Probes of all servers: one task that sends what is due, by the [`agenda`].
//!
//! A supervised server is probed only while its process runs, and at once when it has started.

mod agenda;
mod send;
mod owner;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evenkeel_core::metric::Counter;
use evenkeel_core::{Instant, Observation, ProbeOutcome, Random, ServerId, Signal};
use evenkeel_fault::contract::Pace;
use evenkeel_fault::policy::ProbeOptions;
use evenkeel_runtime::{Clock, Tasks};
use tokio::sync::{Notify, mpsc, watch};

use crate::child::Phase;
use crate::count::ProbeCounters;
use crate::listener::Listener;
use agenda::{Agenda, Due};

pub(crate) use owner::Owners;
pub(crate) use send::send;

/// The probes of all servers. Each has a place here, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Rounds {
    clock: Clock,
    /// Of single probes: the next one of the server is sent all the same.
    panics: Arc<Counter>,
    signals: mpsc::Sender<Signal>,
    servers: Box<[(ServerId, ProbeCounters)]>,
    agenda: Mutex<Agenda>,
    owners: Arc<Owners>,
    /// Something may be due earlier than it was.
    changed: Notify,
}

impl Rounds {
    /// Of these servers: where each is, how it is probed, and whether it is a process of evenkeel's own. Nothing is sent yet.
    pub(crate) fn new(
        (clock, tasks): (Clock, &Tasks),
        signals: mpsc::Sender<Signal>,
        owners: Arc<Owners>,
        servers: impl Iterator<Item = (ServerId, Option<SocketAddr>, Arc<ProbeOptions>, bool)>,
    ) -> Self {
        let mut agenda = Agenda::new();
        let servers = servers.map(|(server, address, options, is_child)| {
            agenda.add(options, address, !is_child);
            (server, ProbeCounters::default())
        });
        let servers: Box<[_]> = servers.collect();
        agenda.shrink();
        Self {
            clock,
            panics: tasks.restarts("probe"),
            signals,
            servers,
            agenda: Mutex::new(agenda),
            owners,
            changed: Notify::new(),
        }
    }

    /// Sends probes for ever, the first ones spread over the first interval. Chances are drawn from `random`. It can be run
    /// again after a panic: the agenda, which that may have left half changed, is made anew.
    pub(crate) async fn run(self: Arc<Self>, random: Random) {
        self.agenda().begin(self.clock.now(), random);
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut agenda = self.agenda();
                while let Some(due) = agenda.take(self.clock.now()) {
                    tokio::spawn(Arc::clone(&self).send(due));
                }
                agenda.next()
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
    pub(crate) async fn follow(self: Arc<Self>, place: u32, mut phase: watch::Receiver<Phase>) {
        // Nothing yet: what the agenda has may be from before a panic.
        let mut known = None;
        loop {
            let now = match *phase.borrow_and_update() {
                Phase::Running(now) => Some(now),
                Phase::Idle | Phase::Starting => None,
            };
            if known != Some(now) {
                known = Some(now);
                self.agenda()
                    .set_running(place, now.is_some(), self.clock.now());
                self.changed.notify_one();
            }
            // The supervisor is gone, and this task with it in a moment.
            if phase.changed().await.is_err() {
                return;
            }
        }
    }

    /// Changes how often a server is probed.
    pub(crate) fn set_pace(&self, place: u32, pace: Pace) {
        self.agenda().set_pace(place, pace, self.clock.now());
        self.changed.notify_one();
    }

    /// Another server is at this place, or nobody. A probe that is under way is about the old one, and says nothing.
    pub(crate) fn set_address(&self, place: u32, address: Option<SocketAddr>) {
        self.agenda().set_address(place, address, self.clock.now());
        self.changed.notify_one();
    }

    /// Where the server at this place is.
    pub(crate) fn address(&self, place: u32) -> Option<SocketAddr> {
        self.agenda().address(place)
    }

    /// What was counted of the server at this place.
    pub(crate) fn counters(&self, place: u32) -> Option<&ProbeCounters> {
        self.servers
            .get(place as usize)
            .map(|(_, counters)| counters)
    }

    async fn send(self: Arc<Self>, due: Due) {
        let under_way = UnderWay {
            begun: self.clock.now(),
            rounds: self,
            due,
        };
        let (this, due) = (&under_way.rounds, &under_way.due);
        let options = &due.options;
        let sent = send(due.address, &options.kind, options.timeout, this.clock);
        let (outcome, latency) = sent.await;
        let (server, counters) = &this.servers[due.place as usize];
        let outcome = judge(&this.owners, *server, due.address, outcome).await;
        let at = this.clock.now();
        // Told before the next one can be due, so that what is told stays in order.
        let same = this.agenda().is_same(due);
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

    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A probe that is under way. However it ends, the next one of its server is due some time.
struct UnderWay {
    rounds: Arc<Rounds>,
    due: Due,
    begun: Instant,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let rounds = &self.rounds;
        if std::thread::panicking() {
            rounds.panics.add_one();
        }
        let now = rounds.clock.now();
        if rounds.agenda().ended(&self.due, self.begun, now) {
            rounds.changed.notify_one();
        }
    }
}

/// What an outcome means once it is known who answered.
pub(crate) async fn judge(
    owners: &Owners,
    server: ServerId,
    address: SocketAddr,
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
            if let Listener::Stranger(_) = owners.listener(server, address).await {
                return ProbeOutcome::PortTaken;
            }
        }
    }
    outcome
}
