//! The supervised processes: started, stopped, replaced on order; their exits reported. Back-off and limits belong to
//! `recover`: nothing is restarted here of its own accord, except the guardian.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use evenkeel_config::plan::ChildPlan;
use evenkeel_core::{Exit, Instant, Observation, Recent, ServerId, Signal, StartFailure};
use evenkeel_runtime::Clock;
use tokio::process::ChildStdin;
use tokio::sync::{mpsc, watch};

use crate::count::ChildCounters;
use crate::guardian::link::{self, Events, Link};
use crate::guardian::protocol::{Event, Order};

const KILL: i32 = 9;
/// Lines of output that are remembered, and bytes of each.
const LAST_LINES: usize = 20;
const LINE_BYTES: usize = 500;
/// The kernel ends a killed process within this time, unless the machine is in deep trouble.
const KILL_TIME: Duration = Duration::from_secs(5);
/// How long the guardian may take to start a process.
const START_TIME: Duration = Duration::from_secs(5);
/// Before another guardian is started.
const GUARDIAN_PAUSE: Duration = Duration::from_millis(50);

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not running.
    Idle,
    /// Asked for.
    Starting,
    /// Running.
    Running(u32),
}

/// One supervised process.
#[derive(Debug)]
struct Child {
    plan: ChildPlan,
    name: (String, String),
    spawn: u64,
    started: Instant,
    asked: bool,
    last_lines: Recent<String>,
    phase: watch::Sender<Phase>,
    counters: ChildCounters,
}

/// All supervised processes.
#[derive(Debug)]
pub(crate) struct Children {
    clock: Clock,
    signals: mpsc::Sender<Signal>,
    orders: mpsc::Sender<Order>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    children: BTreeMap<ServerId, Child>,
    spawns: u64,
    closing: bool,
}

/// What [`Children::start`] needs for each process.
#[derive(Debug)]
pub(crate) struct ChildSpec {
    pub(crate) server: ServerId,
    pub(crate) service_name: String,
    pub(crate) server_name: String,
    pub(crate) plan: ChildPlan,
}

impl Children {
    /// Starts the guardian; no child yet.
    pub(crate) fn start(
        specs: Vec<ChildSpec>,
        guardian: Vec<String>,
        clock: Clock,
        signals: mpsc::Sender<Signal>,
    ) -> io::Result<Arc<Self>> {
        let (orders, inbox) = mpsc::channel(256);
        let children = specs
            .into_iter()
            .map(|spec| (spec.server, Child::new(spec)))
            .collect::<BTreeMap<_, _>>();
        let any = !children.is_empty();
        let table = Mutex::new(Table {
            children,
            ..Table::default()
        });
        let this = Arc::new(Self {
            clock,
            signals,
            orders,
            table,
        });
        if any {
            let link = Link::start(&guardian)?;
            tokio::spawn(Arc::clone(&this).run(link, inbox, guardian));
        }
        Ok(this)
    }

    /// Carries orders and events for ever; a guardian that has died is replaced, its children are dead with it.
    async fn run(
        self: Arc<Self>,
        link: Link,
        mut inbox: mpsc::Receiver<Order>,
        guardian: Vec<String>,
    ) {
        let mut link = Some(link);
        loop {
            let (orders, events) = match link.take() {
                Some(link) => link.split(),
                None => match Link::start(&guardian) {
                    Ok(link) => link.split(),
                    Err(error) => {
                        tracing::error!(%error, "the guardian cannot be started");
                        self.clock
                            .sleep_until(self.clock.now() + Duration::from_secs(1))
                            .await;
                        continue;
                    }
                },
            };
            if self.carry(orders, events, &mut inbox).await {
                return;
            }
            tracing::error!("the guardian has died and its children with it; starting another");
            self.all_died().await;
            self.clock
                .sleep_until(self.clock.now() + GUARDIAN_PAUSE)
                .await;
        }
    }

    /// Until the guardian ends; `true` if that was wanted.
    async fn carry(
        &self,
        mut orders: ChildStdin,
        mut events: Events,
        inbox: &mut mpsc::Receiver<Order>,
    ) -> bool {
        loop {
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => if link::send(&mut orders, &order).await.is_err() { break },
                    None => break,
                },
                event = events.next() => match event {
                    Some(event) => self.note(event).await,
                    None => break,
                },
            }
            if self.table().closing && self.table().children.values().all(Child::is_idle) {
                break;
            }
        }
        drop(orders);
        events.ended().await;
        self.table().closing
    }

    async fn note(&self, event: Event) {
        let now = self.clock.now();
        let signal = self.table().note(now, event);
        if let Some((server, observation)) = signal {
            self.signals
                .send(Signal {
                    at: now,
                    server,
                    observation,
                })
                .await
                .ok();
        }
    }

    async fn all_died(&self) {
        let spawns: Vec<u64> = self
            .table()
            .children
            .values()
            .filter(|child| !child.is_idle())
            .map(|child| child.spawn)
            .collect();
        for spawn in spawns {
            self.note(Event::Exited {
                spawn,
                code: None,
                signal: Some(KILL),
            })
            .await;
        }
    }

    /// Starts every process, without waiting for any.
    pub(crate) async fn start_all(&self) {
        let servers: Vec<ServerId> = self.table().children.keys().copied().collect();
        for server in servers {
            self.order_start(server).await.ok();
        }
    }

    /// Stops the process if it runs and starts it again; done when it runs.
    pub(crate) async fn restart(&self, server: ServerId, at_once: bool) -> Result<String, String> {
        self.stop(server, at_once).await?;
        let mut phase = self.order_start(server).await?;
        let running = phase.wait_for(|phase| !matches!(phase, Phase::Starting));
        match tokio::time::timeout(START_TIME, running)
            .await
            .map(|phase| phase.map(|phase| *phase))
        {
            Ok(Ok(Phase::Running(pid))) => Ok(format!("started as process {pid}")),
            Ok(_) => Err("the process could not be started".to_owned()),
            Err(_) => Err(format!("the process did not start within {START_TIME:?}")),
        }
    }

    /// Stops the process: by its stop signal and, when that does not help in time or `at_once`, by SIGKILL to its group.
    pub(crate) async fn stop(&self, server: ServerId, at_once: bool) -> Result<String, String> {
        let (spawn, plan, mut phase) = {
            let mut table = self.table();
            let child = table
                .children
                .get_mut(&server)
                .ok_or("evenkeel does not run this server")?;
            child.asked = true;
            (child.spawn, child.plan.clone(), child.phase.subscribe())
        };
        if *phase.borrow_and_update() == Phase::Idle {
            return Ok("it was not running".to_owned());
        }
        if !at_once {
            self.order(Order::Signal {
                spawn,
                signal: plan.stop_signal,
            })
            .await?;
            let ended = phase.wait_for(|phase| *phase == Phase::Idle);
            if tokio::time::timeout(plan.stop_wait, ended).await.is_ok() {
                return Ok(format!("ended after signal {}", plan.stop_signal));
            }
        }
        self.order(Order::Signal {
            spawn,
            signal: KILL,
        })
        .await?;
        let ended = phase.wait_for(|phase| *phase == Phase::Idle);
        match tokio::time::timeout(KILL_TIME, ended).await {
            Ok(_) => Ok("killed".to_owned()),
            Err(_) => Err(format!("it is still there {KILL_TIME:?} after SIGKILL")),
        }
    }

    /// Stops all processes, each in its own time, and the guardian.
    pub(crate) async fn shutdown(self: &Arc<Self>) {
        let servers: Vec<ServerId> = {
            let mut table = self.table();
            table.closing = true;
            table.children.keys().copied().collect()
        };
        let stops: Vec<_> = servers
            .into_iter()
            .map(|server| {
                let this = Arc::clone(self);
                tokio::spawn(async move { this.stop(server, false).await })
            })
            .collect();
        for stop in stops {
            stop.await.ok();
        }
    }

    pub(crate) fn pid(&self, server: ServerId) -> Option<u32> {
        match *self.table().children.get(&server)?.phase.borrow() {
            Phase::Running(pid) => Some(pid),
            Phase::Idle | Phase::Starting => None,
        }
    }

    pub(crate) fn is_child(&self, server: ServerId) -> bool {
        self.table().children.contains_key(&server)
    }

    /// Those that are children.
    pub(crate) fn servers(&self) -> Vec<ServerId> {
        self.table().children.keys().copied().collect()
    }

    /// Watches where the process stands.
    pub(crate) fn phase(&self, server: ServerId) -> Option<watch::Receiver<Phase>> {
        self.table()
            .children
            .get(&server)
            .map(|child| child.phase.subscribe())
    }

    pub(crate) fn last_lines(&self, server: ServerId) -> Vec<String> {
        self.table()
            .children
            .get(&server)
            .map_or_else(Vec::new, Child::lines)
    }

    pub(crate) fn each_counter(&self, mut each: impl FnMut(&str, &str, &ChildCounters)) {
        for child in self.table().children.values() {
            each(&child.name.0, &child.name.1, &child.counters);
        }
    }

    async fn order_start(&self, server: ServerId) -> Result<watch::Receiver<Phase>, String> {
        let (order, phase) = {
            let mut table = self.table();
            if table.closing {
                return Err("evenkeel is ending".to_owned());
            }
            table.spawns += 1;
            let spawn = table.spawns;
            let child = table
                .children
                .get_mut(&server)
                .ok_or("evenkeel does not run this server")?;
            child.begin(spawn);
            let directory = child
                .plan
                .directory
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned());
            let order = Order::Spawn {
                spawn,
                command: child.plan.command.clone(),
                directory,
                environment: child.plan.environment.clone(),
            };
            (order, child.phase.subscribe())
        };
        self.order(order).await?;
        Ok(phase)
    }

    async fn order(&self, order: Order) -> Result<(), String> {
        self.orders
            .send(order)
            .await
            .map_err(|_| "the guardian is not there".to_owned())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Table {
    /// Takes an event in; what it says of which server, if it is news.
    fn note(&mut self, now: Instant, event: Event) -> Option<(ServerId, Observation)> {
        let spawn = match &event {
            Event::Started { spawn, .. }
            | Event::StartFailed { spawn, .. }
            | Event::Output { spawn, .. }
            | Event::Exited { spawn, .. } => *spawn,
        };
        let (&server, child) = self
            .children
            .iter_mut()
            .find(|(_, child)| child.spawn == spawn)?;
        let observation = match event {
            Event::Output { line, .. } => {
                child.printed(&line);
                return None;
            }
            Event::Started { pid, .. } => {
                child.started = now;
                child.counters.starts.add_one();
                child.phase.send_replace(Phase::Running(pid));
                Observation::Started { pid }
            }
            Event::StartFailed { reason, .. } => {
                child.counters.start_failures.add_one();
                child.phase.send_replace(Phase::Idle);
                Observation::StartFailed(Box::new(StartFailure { reason }))
            }
            Event::Exited { code, signal, .. } => {
                child.counters.exits.add_one();
                child.phase.send_replace(Phase::Idle);
                let uptime = now.since(child.started);
                let last_lines = child.lines();
                Observation::Exited(Box::new(Exit {
                    code,
                    signal,
                    asked: child.asked,
                    uptime,
                    last_lines,
                }))
            }
        };
        Some((server, observation))
    }
}

impl Child {
    fn new(spec: ChildSpec) -> Self {
        Self {
            plan: spec.plan,
            name: (spec.service_name, spec.server_name),
            spawn: 0,
            started: Instant::ZERO,
            asked: false,
            last_lines: Recent::new(LAST_LINES),
            phase: watch::channel(Phase::Idle).0,
            counters: ChildCounters::default(),
        }
    }

    fn begin(&mut self, spawn: u64) {
        self.spawn = spawn;
        self.asked = false;
        self.last_lines.clear();
        self.phase.send_replace(Phase::Starting);
    }

    fn is_idle(&self) -> bool {
        *self.phase.borrow() == Phase::Idle
    }

    fn printed(&mut self, line: &str) {
        tracing::info!(target: "server", service = self.name.0, server = self.name.1, "{line}");
        let mut end = line.len().min(LINE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        self.last_lines
            .push(line.get(..end).unwrap_or_default().to_owned());
    }

    fn lines(&self) -> Vec<String> {
        self.last_lines.iter().cloned().collect()
    }
}
