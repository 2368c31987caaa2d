//! The servers of a plan, and what a reload changes of them: children and probes come, change and go.
//!
//! What is unchanged is not touched. A changed child goes on as it is until its restart says that it is started by the latest
//! configuration: when that may be is not decided here.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_config::plan::{ChildPlan, ManagedPlan, ServerPlan, ServicePlan};
use evenkeel_core::{Random, ServerId, Signal};
use evenkeel_fault::policy::ProbeOptions;
use evenkeel_runtime::{Clock, Tasks};
use tokio::sync::mpsc;

use crate::child::ChildSpec;
use crate::children::Children;
use crate::command::Commands;
use crate::probe::{Owners, ProbeScheduler};
use crate::process::Reaper;
use crate::supervisor::{SupervisedServer, Supervisor, SupervisorInner};

/// Requests in flight on a removed server get no longer than this to end before its process is stopped.
const LONGEST_DRAIN: Duration = Duration::from_secs(300);

impl Supervisor {
    /// Starts the guardian, if some server is a child; starts no child and no probe yet. `guardian` is the command that
    /// runs [`crate::guardian::main`]. Must be called within a tokio runtime, on which everything then runs.
    ///
    /// # Errors
    /// If the guardian cannot be started.
    pub fn start(
        plan: &Plan,
        clock: Clock,
        tasks: &Tasks,
        guardian: Vec<String>,
        signals: mpsc::Sender<Signal>,
    ) -> io::Result<Self> {
        // PID 1 of a container gets all of its orphans, and no other process reaps them.
        let reaper = Reaper::start(rustix::process::getpid().is_init(), tasks, clock)?;
        let commands = Commands::new(reaper.clone());
        let children = Children::start(
            child_specs(plan),
            guardian,
            reaper,
            (clock, tasks),
            signals.clone(),
        )?;
        let owners = Arc::new(Owners::new(clock, Arc::clone(&children)));
        let rounds = ProbeScheduler::new((clock, tasks), signals.clone(), Arc::clone(&owners));
        let this = Self(Arc::new(SupervisorInner {
            clock,
            tasks: tasks.clone(),
            signals,
            children,
            commands,
            owners,
            rounds: Arc::new(rounds),
            servers: Mutex::default(),
            follows: Mutex::default(),
        }));
        this.add_all(plan);
        Ok(this)
    }

    /// Begins to probe every server, spread over the first interval. Chances are drawn from `seed`.
    pub fn begin_probes(&self, seed: u64) {
        let (rounds, tasks, clock) = (&self.0.rounds, &self.0.tasks, self.0.clock);
        // First, so that a process that runs already is probed at once.
        let begun = Arc::clone(rounds);
        tasks.spawn("probes", clock, move || {
            Arc::clone(&begun).run(Random::seeded(seed))
        });
        for server in self.0.children.servers() {
            self.follow(server);
        }
    }

    /// Takes the servers of `plan` in place of those before. A new child is started at once, and says so by a signal. The
    /// process of a removed one is stopped when `drained` of it has ended, or after the service's total timeout, at most 5 minutes.
    /// A changed child goes on as before until [`Supervisor::restart`] says otherwise: [`Supervisor::outdated`] names it. Must be
    /// called within the runtime on which everything runs.
    pub fn apply<F>(&self, plan: &Plan, drained: impl Fn(ServerId) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let configured: BTreeSet<ServerId> = ids(plan).map(|(id, ..)| id).collect();
        let gone: Vec<ServerId> = {
            let servers = self.servers();
            let gone = servers.keys().filter(|id| !configured.contains(id));
            gone.copied().collect()
        };
        for server in gone {
            self.remove(server, drained(server));
        }
        for service in &plan.services {
            let shared = SharedSettings::of(service);
            for planned in &service.servers {
                let id = ServerId::new(service.id.0, planned.index);
                let known = self.servers().get(&id).map(Arc::clone);
                match known {
                    Some(known) if known.is_same_kind(service, planned) => {
                        self.change(id, &known, &shared, planned);
                        continue;
                    }
                    Some(_) => self.remove(id, drained(id)),
                    None => {}
                }
                self.add(id, &shared, planned);
                if let Some(spec) = child_spec(service, planned) {
                    self.0.children.add(spec);
                    self.follow(id);
                }
            }
        }
    }

    /// The children that run by an earlier configuration.
    #[must_use]
    pub fn outdated(&self) -> Vec<ServerId> {
        self.0.children.outdated()
    }

    /// Adds the servers of the first plan, whose children are known already.
    fn add_all(&self, plan: &Plan) {
        for service in &plan.services {
            let shared = SharedSettings::of(service);
            for planned in &service.servers {
                let id = ServerId::new(service.id.0, planned.index);
                self.add(id, &shared, planned);
            }
        }
        self.0.rounds.shrink();
    }

    fn add(&self, id: ServerId, shared: &SharedSettings, planned: &ServerPlan) {
        let probe = Arc::clone(&shared.probe);
        let rounds = &self.0.rounds;
        let slot = rounds.add(id, planned.address.clone(), probe, is_child(planned));
        let server = shared.server(planned, slot);
        self.servers().insert(id, Arc::new(server));
    }

    fn remove(&self, id: ServerId, drained: impl Future<Output = ()> + Send + 'static) {
        let Some(known) = self.servers().remove(&id) else {
            return;
        };
        // Before the slot gets another server, of which it would say what its process does.
        let mut follows = self
            .0
            .follows
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(follow) = follows.remove(&id) {
            follow.abort();
        }
        drop(follows);
        self.0.rounds.remove(known.slot);
        let (clock, limit) = (self.0.clock, known.drain);
        self.0.children.remove(id, async move {
            tokio::select! {
                () = drained => {}
                () = clock.sleep_until(clock.now() + limit) => {}
            }
        });
    }

    fn change(
        &self,
        id: ServerId,
        known: &SupervisedServer,
        shared: &SharedSettings,
        planned: &ServerPlan,
    ) {
        if *known.probe != *shared.probe {
            let probe = Arc::clone(&shared.probe);
            self.0.rounds.set_options(known.slot, probe);
        }
        let has_moved = known.address != planned.address && !shared.is_discovered(planned);
        if has_moved {
            self.0
                .rounds
                .set_address(known.slot, planned.address.clone());
            self.0.owners.forget(id);
        }
        if let ManagedPlan::Child(child) = &planned.managed {
            self.0
                .children
                .configure(id, child, planned.address.clone());
        }
        let server = shared.server(planned, known.slot);
        self.servers().insert(id, Arc::new(server));
    }

    /// Has the probes of a child follow its process.
    fn follow(&self, server: ServerId) {
        let entry = self.servers().get(&server).map(Arc::clone);
        let phase = self.0.children.phase(server);
        let Some((entry, phase)) = entry.zip(phase) else {
            return;
        };
        let rounds = Arc::clone(&self.0.rounds);
        let follow = self.0.tasks.spawn("probe-follow", self.0.clock, move || {
            Arc::clone(&rounds).follow(entry.slot, phase.clone())
        });
        let mut follows = self
            .0
            .follows
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        follows.insert(server, follow);
    }
}

impl SupervisedServer {
    /// Whether it goes on as the same server: under its name, and managed in the same way.
    fn is_same_kind(&self, service: &ServicePlan, planned: &ServerPlan) -> bool {
        let was_child = matches!(self.managed(), ManagedPlan::Child(_));
        *self.service_name == service.name
            && *self.name == planned.name
            && was_child == is_child(planned)
    }
}

/// What the servers of a service have in common.
struct SharedSettings {
    service_name: Arc<str>,
    probe: Arc<ProbeOptions>,
    drain: Duration,
    discovered: BTreeSet<u32>,
}

impl SharedSettings {
    fn of(service: &ServicePlan) -> Self {
        let groups = service.discover.iter();
        let total = service.policies.timeout.total;
        Self {
            service_name: service.name.as_str().into(),
            probe: Arc::new(service.fault.detect.probe.clone()),
            drain: total.min(LONGEST_DRAIN),
            discovered: groups
                .flat_map(|group| group.servers.iter().copied())
                .collect(),
        }
    }

    fn is_discovered(&self, planned: &ServerPlan) -> bool {
        self.discovered.contains(&planned.index)
    }

    fn server(&self, planned: &ServerPlan, slot: u32) -> SupervisedServer {
        SupervisedServer {
            service_name: Arc::clone(&self.service_name),
            name: planned.name.as_str().into(),
            probe: Arc::clone(&self.probe),
            managed: (planned.managed != ManagedPlan::Nothing)
                .then(|| Box::new(planned.managed.clone())),
            address: planned.address.clone(),
            drain: self.drain,
            slot,
        }
    }
}

/// The children of the first plan.
fn child_specs(plan: &Plan) -> Vec<ChildSpec> {
    let all = ids(plan);
    all.filter_map(|(_, service, planned)| child_spec(service, planned))
        .collect()
}

fn ids(plan: &Plan) -> impl Iterator<Item = (ServerId, &ServicePlan, &ServerPlan)> {
    plan.services.iter().flat_map(|service| {
        let servers = service.servers.iter();
        servers.map(move |planned| {
            let id = ServerId::new(service.id.0, planned.index);
            (id, service, planned)
        })
    })
}

fn child_spec(service: &ServicePlan, planned: &ServerPlan) -> Option<ChildSpec> {
    let ManagedPlan::Child(plan) = &planned.managed else {
        return None;
    };
    Some(ChildSpec {
        server: ServerId::new(service.id.0, planned.index),
        address: planned.address.clone(),
        service_name: service.name.clone(),
        server_name: planned.name.clone(),
        plan: ChildPlan::clone(plan),
    })
}

const fn is_child(planned: &ServerPlan) -> bool {
    matches!(planned.managed, ManagedPlan::Child(_))
}
