//! What the loop does after a panic: the keeper, whose state nobody can vouch for any more, is made anew from what is known
//! outside of it.
//!
//! Without that one mistake anywhere in the fault's way would end all recovery until somebody restarts evenkeel, while
//! traffic goes on and everything looks well. Processes are not touched: those that run are told to the new keeper. An
//! incident that was open is closed as what it is, one whose end nobody has seen; if the fault is still there, the new
//! keeper finds it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, Observation, ServerId, Signal};
use evenkeel_fault::contract::{Pace, ServiceSpec};
use evenkeel_fault::keeper::Memory;
use evenkeel_fault::{Incident, Input, Keeper, Maintenance, MaintenanceRecord};
use evenkeel_runtime::spawn::Pause;
use evenkeel_runtime::{Panicked, TaskEntry};

use crate::asked::Asked;
use crate::drive::Control;
use crate::world::{Books, Hands, Traffic};

/// What is said of an incident that was open.
const UNSEEN: &str = "evenkeel's control loop was started again after a mistake of its own; what became of this incident \
                      was not seen, the servers are judged anew";

/// What a new keeper is made of.
#[derive(Debug)]
pub(crate) struct Again {
    specs: Vec<ServiceSpec>,
    seed: u64,
    /// Of earlier runs, and the numbers of this one.
    memory: Memory,
    /// The last that was heard of each process: that it was started, could not be, or has ended.
    processes: BTreeMap<ServerId, Observation>,
    /// Where each server is that has moved.
    moved: BTreeMap<ServerId, Observation>,
    /// Where restarts are counted.
    pub(crate) task: TaskEntry,
    pause: Pause,
    /// When the loop was started, or started again.
    since: Instant,
}

impl Again {
    pub(crate) fn new(
        specs: Vec<ServiceSpec>,
        seed: u64,
        memory: Memory,
        task: TaskEntry,
        now: Instant,
    ) -> Self {
        Self {
            specs,
            seed,
            memory,
            task,
            processes: BTreeMap::new(),
            moved: BTreeMap::new(),
            pause: Pause::default(),
            since: now,
        }
    }

    /// Remembers what a new keeper would have to know of this signal.
    pub(crate) fn hear(&mut self, server: ServerId, observation: &Observation) {
        let known = match observation {
            Observation::Started { .. } | Observation::Exited(_) | Observation::StartFailed(_) => {
                &mut self.processes
            }
            Observation::Moved(_) => &mut self.moved,
            Observation::Attempt { .. } | Observation::Probe { .. } => return,
        };
        known.insert(server, observation.clone());
    }

    /// Remembers that this id is taken.
    pub(crate) fn number(&mut self, id: &str) {
        let Some((date, number)) = id.rsplit_once('-') else {
            return;
        };
        let Ok(number) = number.parse::<u32>() else {
            return;
        };
        let numbers = &mut self.memory.numbers;
        match numbers.iter_mut().find(|(known, _)| known == date) {
            Some((_, highest)) => *highest = number.max(*highest),
            None => numbers.push((date.to_owned(), number)),
        }
    }

    /// Remembers what a person has taken out, or given back.
    pub(crate) fn maintenance(
        &mut self,
        service: &str,
        server: Option<&str>,
        maintenance: Option<&Maintenance>,
    ) {
        let kept = &mut self.memory.maintenance;
        kept.retain(|one| one.service != service || one.server.as_deref() != server);
        kept.extend(maintenance.map(|maintenance| MaintenanceRecord {
            service: service.to_owned(),
            server: server.map(str::to_owned),
            maintenance: maintenance.clone(),
        }));
    }

    /// Remembers what has helped, and what has not.
    pub(crate) fn closed(&mut self, incident: &Incident) {
        self.memory.rates.learn(incident);
    }

    fn keeper(&self, epoch: evenkeel_core::Epoch) -> Keeper {
        let seed = self.seed ^ self.task.restarts();
        Keeper::new(self.specs.clone(), epoch, seed, self.memory.clone())
    }

    /// What the new keeper has to be told first.
    fn known(&self, now: Instant) -> impl Iterator<Item = Input> {
        let known = self.moved.iter().chain(&self.processes);
        known.map(move |(&server, observation)| {
            Input::Signal(Signal {
                at: now,
                server,
                observation: observation.clone(),
            })
        })
    }

    fn servers(&self) -> impl Iterator<Item = ServerId> {
        (0_u32..).zip(&self.specs).flat_map(|(service, spec)| {
            let servers = (0_u32..).take(spec.servers.len());
            servers.map(move |index| ServerId::new(service, index))
        })
    }
}

impl<T: Traffic, H: Hands, B: Books> Control<T, H, B> {
    /// After a panic: waits for what is under way and a little longer, and goes on with a new keeper. If it panics itself, it is
    /// called again.
    pub(crate) async fn start_again(&mut self, panicked: &Panicked) {
        let pause = self.stop_after_panic(panicked);
        // Orders that are under way belong to the keeper that is gone. They are waited for, each has its time limit: a new
        // keeper that orders beside them could start a process twice.
        while self.tasks.join_next().await.is_some() {}
        self.clock.sleep_until(self.clock.now() + pause).await;
        self.renew(self.clock.now());
    }

    fn stop_after_panic(&mut self, panicked: &Panicked) -> Duration {
        let now = self.clock.now();
        let pause = self.again.pause.after(now.since(self.again.since));
        tracing::error!(
            task = "control",
            open = self.open.len(),
            "the control loop has panicked at {panicked} and is started again in {pause:?}; traffic goes on"
        );
        // What was taken in and not yet worked on.
        for input in std::mem::take(&mut self.inputs) {
            if let Input::Signal(signal) = input {
                self.again.hear(signal.server, &signal.observation);
            }
        }
        self.answers.clear();
        // Whoever waits for what comes of an order hears that it is not followed any more.
        self.asked = Asked::default();
        self.outputs.clear();
        self.outcomes.clear();
        pause
    }

    fn renew(&mut self, now: Instant) {
        // Meanwhile the orders that were under way may have started what a new keeper would miss, and start again.
        while let Ok(signal) = self.signals.try_recv() {
            self.again.hear(signal.server, &signal.observation);
        }
        self.again.since = now;
        self.keeper = self.again.keeper(self.clock.epoch());
        for incident in std::mem::take(&mut self.open).into_values() {
            let mut incident = Incident::clone(&incident);
            incident.close_unseen(self.clock.epoch(), now, UNSEEN);
            self.record(now, Arc::new(incident));
        }
        for server in self.again.servers() {
            self.hands.pace(server, Pace::Normal);
        }
        self.inputs.extend(self.again.known(now));
        self.changed = true;
    }
}
