//! The supervisor: one handle for all servers of the plan.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_config::plan::ManagedPlan;
use evenkeel_core::metric::{Sink, Source};
use evenkeel_core::{Endpoint, Observation, ServerId, Signal};
use evenkeel_fault::contract::{Examination, ProbePace};
use evenkeel_fault::policy::ProbeOptions;
use evenkeel_runtime::{Clock, Tasks};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::children::Children;
use crate::command::Commands;
use crate::count::WORDS;
use crate::examine;
use crate::probe::{Owners, ProbeScheduler};
use crate::roll_backs::NO_COPY;

/// Looks after every server of a plan. Clones are the same supervisor.
#[derive(Debug, Clone)]
pub struct Supervisor(pub(crate) Arc<SupervisorInner>);

#[derive(Debug)]
pub(crate) struct SupervisorInner {
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) signals: mpsc::Sender<Signal>,
    pub(crate) children: Arc<Children>,
    pub(crate) commands: Commands,
    pub(crate) owners: Arc<Owners>,
    pub(crate) servers: Mutex<BTreeMap<ServerId, Arc<SupervisedServer>>>,
    /// What has the probes of a child follow its process.
    pub(crate) follows: Mutex<BTreeMap<ServerId, JoinHandle<()>>>,
    pub(crate) rounds: Arc<ProbeScheduler>,
}

/// A server as it is configured now.
#[derive(Debug)]
pub(crate) struct SupervisedServer {
    pub(crate) service_name: Arc<str>,
    pub(crate) name: Box<str>,
    pub(crate) probe: Arc<ProbeOptions>,
    pub(crate) managed: ManagedPlans,
    /// Its address in the configuration.
    pub(crate) address: Option<Endpoint>,
    /// How long its requests in flight may take to end when it is removed.
    pub(crate) drain: Duration,
    /// Its place among those that are probed.
    pub(crate) slot: u32,
}

/// How restart and stop reach a server. Most of very many servers are reached by nothing.
pub(crate) type ManagedPlans = Option<Box<ManagedPlan>>;

impl Supervisor {
    /// Starts every child; each says by a signal that it runs or why it does not.
    pub async fn start_children(&self) {
        self.0.children.start_all().await;
    }

    /// Changes how often a server is probed.
    pub fn set_pace(&self, server: ServerId, pace: ProbePace) {
        if let Ok(entry) = self.entry(server) {
            self.0.rounds.set_pace(entry.slot, pace);
        }
    }

    /// The slot has another server now, or none: probes go to the new one from now on, after a signal of the change.
    /// Later probe signals concern the new server.
    pub async fn set_address(&self, server: ServerId, address: Option<SocketAddr>) {
        let Ok(entry) = self.entry(server) else {
            return;
        };
        self.0
            .rounds
            .set_address(entry.slot, address.map(Endpoint::Tcp));
        let signal = Signal {
            at: self.0.clock.now(),
            server,
            observation: Observation::Moved(address),
        };
        // The keeper is gone only when everything ends.
        self.0.signals.send(signal).await.ok();
    }

    /// Replaces a server's process, or has the user's command do it. `at_once`: kill instead of asking first; `reconfigures`: start it
    /// by the latest configuration. Gives what was done, in words.
    ///
    /// # Errors
    /// Why it did not work, in words.
    pub async fn restart(
        &self,
        server: ServerId,
        at_once: bool,
        reconfigures: bool,
        limit: Duration,
    ) -> Result<String, String> {
        match self.entry(server)?.managed() {
            ManagedPlan::Child(_) => {
                let children = &self.0.children;
                children.restart(server, at_once, reconfigures).await
            }
            ManagedPlan::Commands {
                restart: Some(command),
                ..
            } => self.run_command(server, command, &[], limit).await,
            ManagedPlan::Commands { .. } | ManagedPlan::Nothing => {
                Err("no restart command is configured".to_owned())
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
        match self.entry(server)?.managed() {
            ManagedPlan::Child(_) => self.0.children.stop(server, at_once).await,
            ManagedPlan::Commands {
                stop: Some(command),
                ..
            } => self.run_command(server, command, &[], limit).await,
            ManagedPlan::Commands { .. } | ManagedPlan::Nothing => {
                Err("no stop command is configured".to_owned())
            }
        }
    }

    /// A server was verified: a copy of its program is kept, if that is wanted.
    pub fn keep_program(&self, server: ServerId) {
        let children = Arc::clone(&self.0.children);
        if children.is_child(server) {
            tokio::spawn(children.keep_program(server));
        }
    }

    /// Goes back to the version of the server's program that ran before: by the user's command, or by starting the copy of it. It
    /// holds for all servers of the service that are started from the same file; none is started here. Says what it went back to.
    ///
    /// # Errors
    /// Why it did not work, in words.
    pub async fn roll_back(&self, server: ServerId, limit: Duration) -> Result<String, String> {
        let plan = self.0.children.plan_of(server);
        let roll_back = plan.and_then(|plan| plan.roll_back);
        let roll_back = roll_back.ok_or("no roll-back is configured")?;
        if self.0.children.go_back(server) {
            return Ok("rolled back to the configuration before the reload".to_owned());
        }
        let Some(command) = roll_back.command else {
            return self.0.children.roll_back(server).await;
        };
        let copied = match roll_back.keep_in {
            Some(_) => Some(self.0.children.copied(server).await.ok_or(NO_COPY)?),
            None => None,
        };
        let path = copied.map(|copied| copied.path.to_string_lossy().into_owned());
        let previous = path.as_deref().unwrap_or_default();
        let said = self
            .run_command(server, &command, &[("previous", previous)], limit)
            .await?;
        let words = command.join(" ").replace("{previous}", previous);
        Ok(if said.is_empty() {
            format!("rolled back by {words}")
        } else {
            format!("rolled back by {words}: {said}")
        })
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
        let address = self.0.rounds.address(entry.slot);
        let address = address.map(|address| address.to_string());
        let address = address.ok_or_else(|| "nobody is there".to_owned())?;
        let mut replace = vec![
            ("service", &*entry.service_name),
            ("server", &*entry.name),
            ("address", &address),
        ];
        replace.extend_from_slice(more);
        self.0.commands.run(command, &replace, limit).await
    }

    /// Examines a server: a TCP connect, an HTTP request and its process, at the same time, within `timeout`.
    pub async fn examine(&self, server: ServerId, timeout: Duration) -> Examination {
        let Ok(entry) = self.entry(server) else {
            return Examination::default();
        };
        let Some(address) = self.0.rounds.address(entry.slot) else {
            return Examination::default();
        };
        let children = &self.0.children;
        let process = children
            .is_child(server)
            .then(|| (children.pid(server), children.last_lines(server)));
        let owners = &self.0.owners;
        let looks = (
            owners.listener(server, &address),
            owners.survey(server, &address),
        );
        examine::examine(
            &address,
            &entry.probe,
            process,
            looks,
            timeout,
            self.0.clock,
        )
        .await
    }

    /// How long a child may take to stop; none if it is not a child.
    #[must_use]
    pub fn stop_wait(&self, server: ServerId) -> Option<Duration> {
        self.0.children.stop_wait(server)
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

    fn entry(&self, server: ServerId) -> Result<Arc<SupervisedServer>, String> {
        let servers = self.servers();
        let entry = servers.get(&server).map(Arc::clone);
        entry.ok_or_else(|| "there is no such server".to_owned())
    }

    pub(crate) fn servers(&self) -> MutexGuard<'_, BTreeMap<ServerId, Arc<SupervisedServer>>> {
        self.0
            .servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl SupervisedServer {
    pub(crate) fn managed(&self) -> &ManagedPlan {
        self.managed.as_deref().unwrap_or(&ManagedPlan::Nothing)
    }
}

impl Source for Supervisor {
    fn collect(&self, sink: &mut dyn Sink) {
        for server in self.servers().values() {
            let Some(probed) = self.0.rounds.probed(server.slot) else {
                continue;
            };
            let counters = &probed.counters;
            let is_there = self.0.rounds.address(server.slot).is_some();
            for (slot, outcome) in WORDS.iter().enumerate() {
                let value = counters.0[slot].value();
                if value > 0 || (slot == 0 && is_there) {
                    let labels = [
                        ("service", &*server.service_name),
                        ("server", &server.name),
                        ("outcome", outcome),
                    ];
                    sink.counter(
                        "evenkeel_probes_total",
                        "Probes, by result.",
                        &labels,
                        value,
                    );
                }
            }
        }
        self.0.children.each_counter(|service, server, counters| {
            let labels = [("service", service), ("server", server)];
            let starts = "Starts of a supervised process.";
            sink.counter(
                "evenkeel_process_starts_total",
                starts,
                &labels,
                counters.starts.value(),
            );
            let failures = "Failed starts of a supervised process.";
            sink.counter(
                "evenkeel_process_start_failures_total",
                failures,
                &labels,
                counters.start_failures.value(),
            );
            let exits = "Exits of a supervised process.";
            sink.counter(
                "evenkeel_process_exits_total",
                exits,
                &labels,
                counters.exits.value(),
            );
            let lines = "Dropped output lines of a supervised process that printed too much.";
            sink.counter(
                "evenkeel_process_output_dropped_lines_total",
                lines,
                &labels,
                counters.dropped_lines.value(),
            );
            let bytes = "Bytes in these lines.";
            sink.counter(
                "evenkeel_process_output_dropped_bytes_total",
                bytes,
                &labels,
                counters.dropped_bytes.value(),
            );
        });
    }
}
