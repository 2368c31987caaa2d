//! The supervisor: one handle on every server of the plan.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_config::plan::ManagedPlan;
use evenkeel_core::metric::{Sink, Source};
use evenkeel_core::{Observation, Random, ServerId, Signal};
use evenkeel_fault::contract::{Examination, Pace};
use evenkeel_fault::policy::ProbeOptions;
use evenkeel_runtime::Clock;
use tokio::sync::{mpsc, watch};

use crate::children::{ChildSpec, Children};
use crate::count::{ProbeCounters, WORDS};
use crate::probe::Prober;
use crate::{command, examine};

/// Looks after every server of a plan. Clones are the same supervisor.
#[derive(Debug, Clone)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    signals: mpsc::Sender<Signal>,
    children: Arc<Children>,
    servers: BTreeMap<ServerId, Server>,
}

#[derive(Debug)]
struct Server {
    service_name: Arc<str>,
    name: String,
    /// Where it is now; one from DNS may move.
    address: watch::Sender<Option<SocketAddr>>,
    probe: Arc<ProbeOptions>,
    managed: ManagedPlan,
    pace: watch::Sender<Pace>,
    counters: Arc<ProbeCounters>,
}

impl Supervisor {
    /// Starts the guardian, if some server is a child; starts no child and no probe yet. `guardian` is the command that
    /// runs [`crate::guardian::main`]. Must be called within a tokio runtime, on which everything then runs.
    ///
    /// # Errors
    /// If the guardian cannot be started.
    pub fn start(
        plan: &Plan,
        clock: Clock,
        guardian: Vec<String>,
        signals: mpsc::Sender<Signal>,
    ) -> io::Result<Self> {
        let servers: BTreeMap<ServerId, Server> = servers(plan).collect();
        let children = servers
            .iter()
            .filter_map(|(&server, entry)| match &entry.managed {
                ManagedPlan::Child(plan) => Some(ChildSpec {
                    server,
                    service_name: entry.service_name.to_string(),
                    server_name: entry.name.clone(),
                    plan: plan.clone(),
                }),
                ManagedPlan::Commands { .. } | ManagedPlan::Nothing => None,
            });
        let children = Children::start(children.collect(), guardian, clock, signals.clone())?;
        Ok(Self(Arc::new(Inner {
            clock,
            signals,
            children,
            servers,
        })))
    }

    /// Starts every child; each says by a signal that it runs or why it does not.
    pub async fn start_children(&self) {
        self.0.children.start_all().await;
    }

    /// Begins to probe every server, spread over the first interval. Chances are drawn from `seed`.
    pub fn begin_probes(&self, seed: u64) {
        let mut random = Random::seeded(seed);
        for (&server, entry) in &self.0.servers {
            let prober = Prober {
                server,
                address: entry.address.subscribe(),
                options: Arc::clone(&entry.probe),
                clock: self.0.clock,
                signals: self.0.signals.clone(),
                pace: entry.pace.subscribe(),
                phase: self.0.children.phase(server),
                counters: Arc::clone(&entry.counters),
                random: Random::seeded(random.bits()),
            };
            tokio::spawn(prober.run());
        }
    }

    /// Changes how often a server is probed.
    pub fn set_pace(&self, server: ServerId, pace: Pace) {
        if let Some(entry) = self.0.servers.get(&server) {
            entry.pace.send_if_modified(|current| {
                let changed = *current != pace;
                *current = pace;
                changed
            });
        }
    }

    /// Another server is at this place now, or nobody: probes go to it from now on, and a signal says so. Signals of
    /// probes that come after that one are about the new one.
    pub async fn set_address(&self, server: ServerId, address: Option<SocketAddr>) {
        let Some(entry) = self.0.servers.get(&server) else {
            return;
        };
        // A probe that is under way is about the old one, and is dropped when it ends.
        entry.address.send_replace(address);
        let signal = Signal {
            at: self.0.clock.now(),
            server,
            observation: Observation::Moved(address),
        };
        // The keeper is gone only when everything ends.
        self.0.signals.send(signal).await.ok();
    }

    /// Replaces a server's process, or has the user's command do it. `at_once`: kill instead of asking first. Gives what
    /// was done, in words.
    ///
    /// # Errors
    /// Why it did not work, in words.
    pub async fn restart(
        &self,
        server: ServerId,
        at_once: bool,
        limit: Duration,
    ) -> Result<String, String> {
        match &self.entry(server)?.managed {
            ManagedPlan::Child(_) => self.0.children.restart(server, at_once).await,
            ManagedPlan::Commands {
                restart: Some(command),
                ..
            } => self.run_command(server, command, &[], limit).await,
            ManagedPlan::Commands { .. } | ManagedPlan::Nothing => {
                Err("nothing says how to restart it".to_owned())
            }
        }
    }

    /// Stops a server's process, or has the user's command do it.
    ///
    /// # Errors
    /// Why it did not work, in words.
    pub async fn stop(
        &self,
        server: ServerId,
        at_once: bool,
        limit: Duration,
    ) -> Result<String, String> {
        match &self.entry(server)?.managed {
            ManagedPlan::Child(_) => self.0.children.stop(server, at_once).await,
            ManagedPlan::Commands {
                stop: Some(command),
                ..
            } => self.run_command(server, command, &[], limit).await,
            ManagedPlan::Commands { .. } | ManagedPlan::Nothing => {
                Err("nothing says how to stop it".to_owned())
            }
        }
    }

    /// Runs a command of the user's for a server: `{service}`, `{server}`, `{address}` and what `more` names are replaced in
    /// its arguments. Gives what it printed.
    ///
    /// # Errors
    /// Why it failed, in words, with what it printed.
    pub async fn run_command(
        &self,
        server: ServerId,
        command: &[String],
        more: &[(&str, &str)],
        limit: Duration,
    ) -> Result<String, String> {
        let entry = self.entry(server)?;
        let address = entry.address.borrow().map(|address| address.to_string());
        let address = address.ok_or_else(|| "nobody is there".to_owned())?;
        let mut replace = vec![
            ("service", &*entry.service_name),
            ("server", entry.name.as_str()),
            ("address", &address),
        ];
        replace.extend_from_slice(more);
        command::run(command, &replace, limit).await
    }

    /// Examines a server: a TCP connect, an HTTP request and its process, at the same time, within `timeout`.
    pub async fn examine(&self, server: ServerId, timeout: Duration) -> Examination {
        let Ok(entry) = self.entry(server) else {
            return Examination::default();
        };
        let Some(address) = *entry.address.borrow() else {
            return Examination::default();
        };
        let children = &self.0.children;
        let process = children
            .is_child(server)
            .then(|| (children.pid(server), children.last_lines(server)));
        examine::examine(address, &entry.probe, process, timeout, self.0.clock).await
    }

    /// The process id of a child that runs.
    #[must_use]
    pub fn pid(&self, server: ServerId) -> Option<u32> {
        self.0.children.pid(server)
    }

    /// The last lines that a child printed, oldest first.
    #[must_use]
    pub fn last_lines(&self, server: ServerId) -> Vec<String> {
        self.0.children.last_lines(server)
    }

    /// Stops every child by its stop signal, kills those that do not end in their time, and ends the guardian.
    pub async fn shutdown(&self) {
        self.0.children.shutdown().await;
    }

    fn entry(&self, server: ServerId) -> Result<&Server, String> {
        self.0
            .servers
            .get(&server)
            .ok_or_else(|| "there is no such server".to_owned())
    }
}

fn servers(plan: &Plan) -> impl Iterator<Item = (ServerId, Server)> {
    plan.services
        .iter()
        .zip(0..)
        .flat_map(|(service, service_index)| {
            let service_name: Arc<str> = service.name.as_str().into();
            let probe = Arc::new(service.fault.detect.probe.clone());
            service.servers.iter().zip(0..).map(move |(server, index)| {
                let entry = Server {
                    service_name: Arc::clone(&service_name),
                    name: server.name.clone(),
                    address: watch::channel(server.address).0,
                    probe: Arc::clone(&probe),
                    managed: server.managed.clone(),
                    pace: watch::channel(Pace::Normal).0,
                    counters: Arc::default(),
                };
                (ServerId::new(service_index, index), entry)
            })
        })
}

impl Source for Supervisor {
    fn collect(&self, sink: &mut dyn Sink) {
        for server in self.0.servers.values() {
            for (place, outcome) in WORDS.iter().enumerate() {
                let value = server.counters.0[place].value();
                let is_there = server.address.borrow().is_some();
                if value > 0 || (place == 0 && is_there) {
                    let labels = [
                        ("service", &*server.service_name),
                        ("server", &server.name),
                        ("outcome", outcome),
                    ];
                    sink.counter(
                        "evenkeel_probes_total",
                        "Probes, by how they ended.",
                        &labels,
                        value,
                    );
                }
            }
        }
        self.0.children.each_counter(|service, server, counters| {
            let labels = [("service", service), ("server", server)];
            let starts = "Times that a supervised process was started.";
            sink.counter(
                "evenkeel_process_starts_total",
                starts,
                &labels,
                counters.starts.value(),
            );
            let failures = "Times that a supervised process could not be started.";
            sink.counter(
                "evenkeel_process_start_failures_total",
                failures,
                &labels,
                counters.start_failures.value(),
            );
            let exits = "Times that a supervised process ended.";
            sink.counter(
                "evenkeel_process_exits_total",
                exits,
                &labels,
                counters.exits.value(),
            );
        });
    }
}
