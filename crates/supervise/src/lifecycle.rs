//! The lifecycle of supervised processes: start, stop and replace on order, and report exits. Back-off and limits
//! belong to `recover`: nothing is restarted here on its own initiative, except the guardian.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_core::{Observation, ServerId, Signal};
use evenkeel_runtime::{Clock, Tasks};
use rustix::process::{Pid, kill_process_group};
use tokio::net::unix::pipe;
use tokio::sync::{OwnedMutexGuard, mpsc, watch};

use crate::child::{Child, ChildPhase, ChildSpec, ChildTable, EndingProcess};
use crate::children::Children;
use crate::guardian::link::{self, GuardianEvents, GuardianLink};
use crate::guardian::protocol::{GuardianCommand, GuardianEvent};
use crate::listener;
use crate::process::Reaper;

const KILL: i32 = 9;
/// The kernel ends a killed process within this time, unless the machine is in deep trouble.
const KILL_TIME: Duration = Duration::from_secs(5);
/// How long the guardian may take to start a process.
const START_TIME: Duration = Duration::from_secs(5);
/// Before another guardian is started.
const GUARDIAN_PAUSE: Duration = Duration::from_millis(50);

/// The client of the guardian: sends orders and receives events.
struct GuardianClient {
    /// To the guardian that there is.
    link: Option<(pipe::Sender, GuardianEvents)>,
    /// Without children there is none: the order that needed the first one.
    waiting: Option<GuardianCommand>,
    /// Whether there was a guardian.
    has_begun: bool,
    inbox: mpsc::Receiver<GuardianCommand>,
    /// The command that starts one.
    guardian: Vec<String>,
}

impl Children {
    /// Starts the guardian, if there are children; no child yet.
    pub(crate) fn start(
        specs: Vec<ChildSpec>,
        guardian: Vec<String>,
        reaper: Reaper,
        (clock, tasks): (Clock, &Tasks),
        signals: mpsc::Sender<Signal>,
    ) -> io::Result<Arc<Self>> {
        let (orders, inbox) = mpsc::channel(256);
        let children = specs
            .into_iter()
            .map(|spec| (spec.server, Child::new(spec)))
            .collect::<BTreeMap<_, _>>();
        let any = !children.is_empty();
        let table = Mutex::new(ChildTable {
            children,
            ..ChildTable::default()
        });
        let this = Arc::new(Self {
            clock,
            signals,
            orders,
            reaper,
            table,
        });
        let link = any.then(|| GuardianLink::start(&this.reaper, &guardian));
        let carrier = Arc::new(tokio::sync::Mutex::new(GuardianClient {
            link: link.transpose()?.map(GuardianLink::split),
            waiting: None,
            has_begun: any,
            inbox,
            guardian,
        }));
        let carried = Arc::clone(&this);
        tasks.spawn("processes", clock, move || {
            let (this, carrier) = (Arc::clone(&carried), Arc::clone(&carrier));
            async move { this.run(&mut *carrier.lock().await).await }
        });
        Ok(this)
    }

    /// Carries orders and events for ever; a guardian that has died is replaced, its children are dead with it. After a panic
    /// it can be run again, with the same guardian.
    async fn run(&self, carrier: &mut GuardianClient) {
        loop {
            if !carrier.has_begun {
                let Some(order) = carrier.inbox.recv().await else {
                    return;
                };
                carrier.has_begun = true;
                carrier.waiting = Some(order);
            }
            if carrier.link.is_none() {
                match GuardianLink::start(&self.reaper, &carrier.guardian) {
                    Ok(link) => carrier.link = Some(link.split()),
                    Err(error) => {
                        tracing::error!(%error, "the guardian cannot be started");
                        self.clock
                            .sleep_until(self.clock.now() + Duration::from_secs(1))
                            .await;
                        continue;
                    }
                }
            }
            let Some(how) = self.carry(carrier).await else {
                return;
            };
            tracing::error!("{how}, and with it all server processes; starting a new one");
            self.all_died(&how).await;
            self.clock
                .sleep_until(self.clock.now() + GUARDIAN_PAUSE)
                .await;
        }
    }

    /// Until the guardian ends; how it did, in words, unless that was wanted.
    async fn carry(&self, carrier: &mut GuardianClient) -> Option<String> {
        let (orders, events) = carrier.link.as_mut()?;
        let pid = events.pid();
        if let Some(order) = carrier.waiting.take() {
            link::send(orders, &order).await.ok();
        }
        loop {
            tokio::select! {
                order = carrier.inbox.recv() => match order {
                    Some(order) => if link::send(orders, &order).await.is_err() { break },
                    None => break,
                },
                event = events.next() => match event {
                    Some(event) => self.note(event, None).await,
                    None => break,
                },
            }
            if self.table().closing && self.table().all().all(Child::is_idle) {
                break;
            }
        }
        let (orders, events) = carrier.link.take()?;
        drop(orders);
        let status = events.ended().await;
        if self.table().closing {
            return None;
        }
        let status =
            status.map_or_else(|| "unknown status".to_owned(), |status| status.to_string());
        Some(format!("the guardian (process {pid}) ended: {status}"))
    }

    /// `guardian`: how that ended, if the event comes of it.
    async fn note(&self, event: GuardianEvent, guardian: Option<&str>) {
        let now = self.clock.now();
        let signal = self.table().note(now, event);
        if let Some((server, mut observation)) = signal {
            if let Observation::Exited(exit) = &mut observation {
                exit.guardian = guardian.map(str::to_owned);
                if !exit.asked && guardian.is_none() {
                    // Both at once: what follows from an exit waits for them.
                    (exit.changed_since, exit.port_holder) =
                        tokio::join!(self.changed_since(server), self.port_holder(server));
                } else if !exit.asked {
                    exit.changed_since = self.changed_since(server).await;
                }
            }
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

    /// Finds the process that listens on the port of an exited process.
    async fn port_holder(&self, server: ServerId) -> Option<String> {
        let address = self.table().children.get(&server)?.address.clone()?;
        let looked = tokio::task::spawn_blocking(move || listener::holder(&address));
        looked.await.ok().flatten()
    }

    /// The guardian is gone: what it held dies with it, and what is left of their groups is killed here.
    async fn all_died(&self, guardian: &str) {
        let lost: Vec<(u64, ChildPhase)> = self
            .table()
            .all()
            .filter(|child| !child.is_idle())
            .map(|child| (child.spawn, *child.phase.borrow()))
            .collect();
        for (_, phase) in &lost {
            if let ChildPhase::Running(pid) = phase
                && let Some(group) = i32::try_from(*pid).ok().and_then(Pid::from_raw)
            {
                // Nobody of the group may be left.
                kill_process_group(group, rustix::process::Signal::KILL).ok();
            }
        }
        for (spawn, _) in lost {
            let event = GuardianEvent::Exited {
                spawn,
                code: None,
                signal: Some(KILL),
            };
            self.note(event, Some(guardian)).await;
        }
    }

    /// Starts every process, without waiting for any.
    pub(crate) async fn start_all(&self) {
        let servers: Vec<ServerId> = self.table().children.keys().copied().collect();
        for server in servers {
            // One that runs already is as wanted.
            self.order_start(server).await.ok();
        }
    }

    /// Stops the process if it runs and starts it again, `reconfigures`: by the latest configuration; done when it runs.
    pub(crate) async fn restart(
        &self,
        server: ServerId,
        at_once: bool,
        reconfigures: bool,
    ) -> Result<String, String> {
        let _turn = self.turn(server).await?;
        self.end(server, at_once).await?;
        if reconfigures {
            self.renew(server);
        }
        let mut phase = self.order_start(server).await?;
        let running = phase.wait_for(|phase| !matches!(phase, ChildPhase::Starting));
        match tokio::time::timeout(START_TIME, running)
            .await
            .map(|phase| phase.map(|phase| *phase))
        {
            Ok(Ok(ChildPhase::Running(pid))) => Ok(format!("started as process {pid}")),
            Ok(_) => Err("the process could not be started".to_owned()),
            Err(_) => Err(format!("the process did not start within {START_TIME:?}")),
        }
    }

    /// Stops the process: by its stop signal and, when that does not help in time or `at_once`, by SIGKILL to its group.
    pub(crate) async fn stop(&self, server: ServerId, at_once: bool) -> Result<String, String> {
        let _turn = self.turn(server).await?;
        self.end(server, at_once).await
    }

    /// Two orders for one process are carried out one after the other: each could start a process when the other has ended
    /// the one before.
    async fn turn(&self, server: ServerId) -> Result<OwnedMutexGuard<()>, String> {
        let turn = {
            let table = self.table();
            let child = table.children.get(&server);
            Arc::clone(&child.ok_or("evenkeel does not run this server")?.turn)
        };
        Ok(turn.lock_owned().await)
    }

    /// From now on the process is started as it is configured.
    fn renew(&self, server: ServerId) {
        let wall = self.clock.epoch().wall(self.clock.now()).0;
        if let Some(child) = self.table().children.get_mut(&server) {
            child.renew(i64::try_from(wall).unwrap_or(i64::MAX));
        }
    }

    async fn end(&self, server: ServerId, at_once: bool) -> Result<String, String> {
        let ending = {
            let mut table = self.table();
            let child = table
                .children
                .get_mut(&server)
                .ok_or("evenkeel does not run this server")?;
            child.asked = true;
            EndingProcess::of(child)
        };
        self.end_process(ending, at_once).await
    }

    async fn end_process(&self, ending: EndingProcess, at_once: bool) -> Result<String, String> {
        let EndingProcess {
            spawn,
            stop_signal,
            stop_wait,
            mut phase,
        } = ending;
        if *phase.borrow_and_update() == ChildPhase::Idle {
            return Ok("it was not running".to_owned());
        }
        if !at_once {
            self.order(GuardianCommand::Signal {
                spawn,
                signal: stop_signal,
            })
            .await?;
            let ended = phase.wait_for(|phase| *phase == ChildPhase::Idle);
            if tokio::time::timeout(stop_wait, ended).await.is_ok() {
                return Ok(format!("ended after signal {stop_signal}"));
            }
        }
        self.order(GuardianCommand::Signal {
            spawn,
            signal: KILL,
        })
        .await?;
        let ended = phase.wait_for(|phase| *phase == ChildPhase::Idle);
        match tokio::time::timeout(KILL_TIME, ended).await {
            Ok(_) => Ok("killed".to_owned()),
            Err(_) => Err(format!("it is still there {KILL_TIME:?} after SIGKILL")),
        }
    }

    /// Stops all processes, each in its own time, and the guardian.
    pub(crate) async fn shutdown(self: &Arc<Self>) {
        let (servers, leaving): (Vec<ServerId>, Vec<u64>) = {
            let mut table = self.table();
            table.closing = true;
            let leaving = table.leaving.iter().map(|child| child.spawn);
            (table.children.keys().copied().collect(), leaving.collect())
        };
        let stops = servers.into_iter().map(|server| {
            let this = Arc::clone(self);
            tokio::spawn(async move { this.stop(server, false).await.map(drop) })
        });
        let leaves = leaving.into_iter().map(|spawn| {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                this.stop_leaving(spawn).await;
                Ok(())
            })
        });
        let stops: Vec<_> = stops.chain(leaves).collect();
        for stop in stops {
            stop.await.ok();
        }
    }

    /// A child more, which is started.
    pub(crate) fn add(self: &Arc<Self>, spec: ChildSpec) {
        let server = spec.server;
        self.table().children.insert(server, Child::new(spec));
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(why) = this.order_start(server).await {
                this.with_names(server, |service, name| {
                    tracing::warn!(service, server = name, "it was not started: {why}");
                });
            }
        });
    }

    /// The server is not configured any more: nothing is ordered of its process but its end, once `drained` has ended.
    pub(crate) fn remove(
        self: &Arc<Self>,
        server: ServerId,
        drained: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut table = self.table();
        let Some(mut child) = table.children.remove(&server) else {
            return;
        };
        if child.is_idle() {
            return;
        }
        child.asked = true;
        let spawn = child.spawn;
        table.leaving.push(child);
        drop(table);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            drained.await;
            this.stop_leaving(spawn).await;
        });
    }

    async fn stop_leaving(&self, spawn: u64) {
        let ending = {
            let table = self.table();
            let mut leaving = table.leaving.iter();
            leaving
                .find(|child| child.spawn == spawn)
                .map(EndingProcess::of)
        };
        let Some(ending) = ending else { return };
        let mut phase = ending.phase.clone();
        if let Err(error) = self.end_process(ending, false).await {
            tracing::warn!(%error, "the process of a removed server does not end");
            phase
                .wait_for(|phase| *phase == ChildPhase::Idle)
                .await
                .ok();
        }
        self.table().leaving.retain(|child| child.spawn != spawn);
    }

    async fn order_start(&self, server: ServerId) -> Result<watch::Receiver<ChildPhase>, String> {
        self.clear_socket(server).await;
        let before = self.listening(server).await;
        let files = self.program_files(server).await;
        let copy = self.copy_to_start(server).await;
        let (order, phase) = {
            let mut table = self.table();
            if table.closing {
                return Err("evenkeel is ending".to_owned());
            }
            let spawn = table.spawns + 1;
            let child = table
                .children
                .get_mut(&server)
                .ok_or("evenkeel does not run this server")?;
            if !child.is_idle() {
                return Err("its process is already running".to_owned());
            }
            child.begin(spawn, before, files);
            child.runs_copy = copy.is_some();
            let command = child.plan.command.clone();
            let command = match copy {
                Some(copy) => copy.command(command),
                None => command,
            };
            let directory = child
                .plan
                .directory
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned());
            let order = GuardianCommand::Spawn {
                spawn,
                command,
                directory,
                environment: child.plan.environment.clone(),
            };
            let phase = child.phase.subscribe();
            table.spawns = spawn;
            (order, phase)
        };
        self.order(order).await?;
        Ok(phase)
    }
}
