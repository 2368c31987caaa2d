//! Observes the running demo: gathers events and numbers, feeds the screen, detects when a fault is over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_control::ControlEvent;
use evenkeel_core::{Instant, ServerId, ServiceId};
use evenkeel_fault::Incident;
use evenkeel_fault::contract::ServerStatus;
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_lab::LoadStats;
use evenkeel_lab::load::LoadWatch;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::screen::{Frame, Screen, ServerLine};
use super::story::InjectedFault;
use super::verdict::{DemoOutcome, ScenarioResult};
use crate::output::{CommandFailure, Result};
use crate::wiring::RunningEvenkeel;

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(100);
/// The demo's only service.
const SERVICE: ServiceId = ServiceId(0);

/// The demo as it is watched.
#[derive(Debug)]
pub(super) struct DemoView<'a> {
    running: &'a RunningEvenkeel,
    servers: Vec<(String, SocketAddr)>,
    began: Instant,
    screen: Screen,
    events: broadcast::Receiver<ControlEvent>,
    load: Option<LoadWatch>,
    last: LoadStats,
    /// All incidents as last seen, by id.
    incidents: BTreeMap<String, Arc<Incident>>,
    chapters: Vec<RunningScenario>,
    interrupted: bool,
}

/// A chapter that was begun.
#[derive(Debug)]
struct RunningScenario {
    injected_fault: InjectedFault,
    server: String,
    /// The incidents that there were before.
    before: Vec<String>,
}

impl<'a> DemoView<'a> {
    pub(super) fn new(running: &'a RunningEvenkeel, plan: &Plan, screen: Screen) -> Self {
        let servers = plan.services.first().map(|service| &service.servers);
        Self {
            running,
            servers: servers
                .into_iter()
                .flatten()
                .filter_map(|server| Some((server.name.clone(), server.address?)))
                .collect(),
            began: running.clock.now(),
            screen,
            events: running.events.listen(),
            load: None,
            last: LoadStats::default(),
            incidents: BTreeMap::new(),
            chapters: Vec::new(),
            interrupted: false,
        }
    }

    /// From now on the numbers of this load are shown.
    pub(super) fn watch(&mut self, load: LoadWatch) {
        self.load = Some(load);
    }

    /// The load has ended with these numbers.
    pub(super) fn last_numbers(&mut self, last: LoadStats) {
        self.load = None;
        self.last = last;
    }

    /// From now on everything is written below what is drawn.
    pub(super) fn leave(&mut self) {
        self.screen.leave();
    }

    /// The time since the demo began.
    pub(super) fn elapsed(&self) -> Duration {
        self.running.clock.now() - self.began
    }

    /// Whether the user has had enough.
    pub(super) const fn over(&self) -> bool {
        self.interrupted
    }

    /// A line of the timeline.
    pub(super) fn tell(&mut self, text: &str, loud: bool) -> Result<()> {
        let at = self.elapsed();
        self.screen.tell(at, text, loud)
    }

    /// A server's name, process and address.
    pub(super) fn server(&self, index: u32) -> (String, Option<u32>, SocketAddr) {
        let (name, address) = self.servers[index as usize].clone();
        (
            name,
            self.running.views.now().pid(ServerId {
                service: SERVICE,
                index,
            }),
            address,
        )
    }

    /// Whether all servers are in service.
    pub(super) fn all_up(&self) -> bool {
        let view = self.running.views.now();
        let states = view.states.first();
        states.is_some_and(|states| states.iter().all(|state| *state == ServerStatus::Up))
    }

    /// A chapter begins.
    pub(super) fn begin(&mut self, injected_fault: InjectedFault, server: &str) {
        let before = self.incidents.keys().cloned().collect();
        self.chapters.push(RunningScenario {
            injected_fault,
            server: server.to_owned(),
            before,
        });
    }

    /// Whether the latest chapter's incident is closed.
    pub(super) fn healed(&self) -> bool {
        let incident = self
            .chapters
            .last()
            .and_then(|scenario| self.incident_of(scenario));
        incident.is_some_and(|incident| incident.status == IncidentStatus::Closed)
    }

    /// All incidents, oldest first.
    pub(super) fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values().map(Arc::as_ref)
    }

    /// The incident that a chapter became: on a busy machine there may be another one of the same server.
    fn incident_of(&self, scenario: &RunningScenario) -> Option<&Arc<Incident>> {
        let is_new = |incident: &&Arc<Incident>| {
            !scenario.before.contains(&incident.id) && incident.servers.contains(&scenario.server)
        };
        let is_right = |incident: &&Arc<Incident>| {
            let first = incident.diagnosis.first();
            first.is_some_and(|finding| finding.fault == scenario.injected_fault.fault())
        };
        let mut new = self.incidents.values().filter(is_new);
        new.clone().find(is_right).or_else(|| new.next())
    }

    /// Watches for at most `limit`, until `enough`; says whether it came to that.
    pub(super) async fn until(
        &mut self,
        limit: Duration,
        enough: impl Fn(&Self) -> bool,
    ) -> Result<bool> {
        let end = self.running.clock.now() + limit;
        let clock = self.running.clock;
        let mut frames = tokio::time::interval(FRAME);
        loop {
            if enough(self) {
                return Ok(true);
            }
            if self.interrupted {
                return Ok(false);
            }
            tokio::select! {
                event = self.events.recv() => self.heard(event)?,
                _ = frames.tick() => {
                    let frame = self.frame();
                    self.screen.show(&frame)?;
                }
                () = clock.sleep_until(end) => return Ok(enough(self)),
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.map_err(|error| CommandFailure::world("cannot wait for Ctrl-C", error))?;
                    self.interrupted = true;
                }
            }
        }
    }

    fn heard(&mut self, event: std::result::Result<ControlEvent, RecvError>) -> Result<()> {
        match event {
            Ok(ControlEvent::Incident { at, incident }) => self.learn(at, incident),
            // State changes show in the picture.
            Ok(ControlEvent::State { .. }) | Err(RecvError::Lagged(_)) => Ok(()),
            Err(RecvError::Closed) => Err(CommandFailure::World(
                "evenkeel's control loop has ended".to_owned(),
            )),
        }
    }

    fn learn(&mut self, at: Instant, incident: Arc<Incident>) -> Result<()> {
        let told = self
            .incidents
            .get(&incident.id)
            .map_or(0, |known| known.timeline.len());
        for entry in incident.timeline.iter().skip(told) {
            self.screen.tell(
                at - self.began,
                &format!("   {:<12} {}", entry.kind, entry.text),
                false,
            )?;
        }
        self.incidents.insert(incident.id.clone(), incident);
        Ok(())
    }

    fn frame(&self) -> Frame {
        let view = self.running.views.now();
        let numbers = self.numbers();
        let services = self.running.state.services();
        let server_set = services.first().map(|service| service.servers());
        let members = server_set
            .as_ref()
            .map(|server_set| server_set.pool().members());
        let server = |(index, (name, _)): (u32, &(String, SocketAddr))| {
            let id = ServerId {
                service: SERVICE,
                index,
            };
            let member = members.and_then(|members| members.get(index as usize));
            ServerLine {
                name: name.clone(),
                pid: view.pid(id),
                state: view.state(id),
                in_flight: member.map_or(0, |member| member.state.in_flight()),
                attempts: self.running.state.server_totals(id).attempts,
            }
        };
        Frame {
            at: self.elapsed(),
            servers: (0_u32..).zip(&self.servers).map(server).collect(),
            sent: numbers.sent,
            failed: numbers.failed,
            saved_by_retry: self.running.state.totals(SERVICE).saved_by_retry,
            rate: numbers.last_second.count(),
            p50: numbers.last_second.quantile(0.5),
            p99: numbers.last_second.quantile(0.99),
        }
    }

    fn numbers(&self) -> LoadStats {
        self.load
            .as_ref()
            .map_or_else(|| self.last.clone(), LoadWatch::snapshot)
    }

    /// The outcome to judge at the end.
    pub(super) fn outcome(&self, chapters: usize) -> DemoOutcome {
        let numbers = self.numbers();
        let results = self.chapters.iter().map(|scenario| ScenarioResult {
            injected_fault: scenario.injected_fault,
            server: scenario.server.clone(),
            incident: self.incident_of(scenario).cloned(),
        });
        let failures = numbers.failures.iter().map(|failure| {
            format!(
                "{} after {}: {}",
                failure.request,
                super::verdict::short(failure.took),
                failure.why
            )
        });
        DemoOutcome {
            results: results.collect(),
            chapters,
            sent: numbers.sent,
            failed: numbers.failed,
            saved_by_retry: self.running.state.totals(SERVICE).saved_by_retry,
            p50: numbers.total.quantile(0.5),
            p99: numbers.total.quantile(0.99),
            failures: failures.collect(),
        }
    }
}
