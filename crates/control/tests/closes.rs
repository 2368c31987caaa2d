//! The loop end to end: with test doubles around the real keeper, an exit becomes a restart, a verified return and a
//! closed incident, and readers see it happen.

#![expect(clippy::unwrap_used, reason = "helpers of tests may stop the test")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_config::{Environment, Plan};
use evenkeel_control::{
    ActionExecutor, Control, ControlEvent, ControlParts, Heartbeat, IncidentStore, ReloadRequest,
    RequestPath, StatusReader,
};
use evenkeel_core::{
    Directive, Exit, Exposure, Instant, Observation, Outcome, ProbeOutcome, RequestShape, ServerId,
    ServiceId, ServiceOrders, ShapeOrders, ShapeText, Signal,
};
use evenkeel_fault::contract::{
    ActionOrder, Examination, ProbePace, ServerLoad, ServerStatus, Totals,
};
use evenkeel_fault::incident::{ActionOutcome, IncidentStatus};
use evenkeel_fault::keeper::PersistedState;
use evenkeel_fault::{FaultKind, Incident, Maintenance};
use evenkeel_runtime::{Clock, TaskEntry};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(20);
const VICTIM: ServerId = ServerId {
    service: ServiceId(0),
    index: 1,
};

#[derive(Debug, Default)]
struct Log {
    directives: Vec<Directive>,
    actions: Vec<&'static str>,
    saved: Vec<Incident>,
    /// Servers that take requests.
    ejected: Vec<ServerId>,
}

#[derive(Debug, Clone)]
struct World {
    clock: Clock,
    log: Arc<Mutex<Log>>,
    signals: mpsc::Sender<Signal>,
    /// The next read of the totals panics.
    panics: Arc<AtomicBool>,
    /// The next action makes the loop panic while it is in progress.
    panics_in_action: Arc<AtomicBool>,
    /// The next new pace of a server panics.
    panics_in_pace: Arc<AtomicBool>,
}

impl World {
    fn signal(&self, server: ServerId, observation: Observation) {
        self.signals
            .try_send(Signal {
                at: self.clock.now(),
                server,
                observation,
            })
            .unwrap();
    }

    fn exit(&self, server: ServerId) {
        let exit = Exit {
            code: None,
            signal: Some(9),
            asked: false,
            uptime: Duration::from_secs(60),
            last_lines: Vec::new(),
            guardian: None,
            port_holder: None,
            changed: None,
            changed_since: None,
        };
        self.signal(server, Observation::Exited(Box::new(exit)));
    }

    fn pass(&self, server: ServerId) {
        self.signal(
            server,
            Observation::Probe {
                outcome: ProbeOutcome::Passed,
                latency: Duration::ZERO,
            },
        );
    }
}

impl RequestPath for World {
    fn apply(&self, directive: &Directive, _now: Instant) {
        let mut log = self.log.lock().unwrap();
        log.directives.push(*directive);
        if matches!(directive, Directive::Repair { .. }) {
            return;
        }
        log.ejected.retain(|server| *server != directive.server());
        if matches!(directive, Directive::Eject { .. } | Directive::Drain { .. }) {
            log.ejected.push(directive.server());
        }
    }

    fn gate(&self, _service: ServiceId, _open: bool) {}

    fn totals(&self, _service: ServiceId) -> Totals {
        assert!(!self.panics.swap(false, SeqCst), "as the test wants it");
        Totals::default()
    }

    fn loads(&self, _service: ServiceId) -> Vec<ServerLoad> {
        Vec::new()
    }

    fn drained(&self, _server: ServerId) -> impl Future<Output = ()> + Send + 'static {
        std::future::ready(())
    }

    fn drain_names(&mut self) -> Vec<(RequestShape, ShapeText)> {
        Vec::new()
    }

    fn drain_exposures(&mut self) -> Vec<Exposure> {
        Vec::new()
    }

    fn set_shapes(&self, _orders: &ShapeOrders) {}
    fn set_service(&self, _orders: &ServiceOrders) {}

    fn drain_signals(&mut self, signals: &mut Vec<Signal>) -> usize {
        // Requests go on: each server in service answers one per turn.
        let ejected = self.log.lock().unwrap().ejected.clone();
        let servers = (0..3)
            .map(|index| ServerId::new(0, index))
            .filter(|server| !ejected.contains(server));
        let before = signals.len();
        signals.extend(servers.map(|server| Signal {
            at: self.clock.now(),
            server,
            observation: Observation::Attempt {
                outcome: Outcome::Answered(200),
                latency: Duration::ZERO,
                shape: RequestShape::UNKNOWN,
            },
        }));
        signals.len() - before
    }

    async fn wait(&mut self) {
        std::future::pending::<()>().await;
    }
}

impl ActionExecutor for World {
    fn act(
        &self,
        order: ActionOrder,
    ) -> impl Future<Output = (ActionOutcome, Option<String>)> + Send + 'static {
        let world = self.clone();
        async move {
            if world.panics_in_action.swap(false, SeqCst) {
                world.panics.store(true, SeqCst);
                while world.panics.load(SeqCst) {
                    tokio::task::yield_now().await;
                }
            }
            world.log.lock().unwrap().actions.push(order.action.word());
            world.signal(
                order.server,
                Observation::Started {
                    pid: 4242,
                    changed: None,
                },
            );
            (ActionOutcome::Done, None)
        }
    }

    fn examine(
        &self,
        _server: ServerId,
        _timeout: Duration,
    ) -> impl Future<Output = Examination> + Send + 'static {
        std::future::ready(Examination::default())
    }

    fn pace(&self, server: ServerId, pace: ProbePace) {
        assert!(
            !self.panics_in_pace.swap(false, SeqCst),
            "as the test wants it"
        );
        if pace != ProbePace::Paused {
            for _ in 0..3 {
                self.pass(server);
            }
        }
    }

    fn limit(&self, _order: &ActionOrder) -> Duration {
        Duration::from_secs(5)
    }
}

impl IncidentStore for World {
    fn save(&self, incident: &Incident) {
        self.log.lock().unwrap().saved.push(incident.clone());
    }

    fn maintenance(&self, _service: &str, _server: Option<&str>, _now: Option<Maintenance>) {}

    fn traffic(&self, _service: &str, _minute: i64, _requests: u64, _failed: u64) {}
}

fn plan() -> Plan {
    let text = r#"
        [listen.web]
        address = "127.0.0.1:0"
        service = "shop"
        [service.shop.run]
        command = ["/bin/true"]
        ports = [9001, 9002, 9003]
    "#;
    let resolver = |_: &str| Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1))]);
    let here = std::path::Path::new(".");
    let around = Environment {
        base_dir: here,
        state_dir: here,
        cores: 1,
        descriptors: 65_536,
        resolver: &resolver,
        socket: &|_, _| Ok(()),
    };
    evenkeel_config::load(text, "test", &around).unwrap().plan
}

/// A world with three servers, and the loop around it, until `stop` is dropped.
#[derive(Debug)]
struct Running {
    world: World,
    views: StatusReader,
    events: broadcast::Receiver<ControlEvent>,
    task_entry: TaskEntry,
    heartbeat: Heartbeat,
    reloads: mpsc::Sender<ReloadRequest>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn start() -> Running {
    let clock = Clock::start();
    let (sender, signals) = mpsc::channel(1000);
    let (_, orders) = mpsc::channel(1);
    let (reload_sender, reloads) = mpsc::channel(1);
    let world = World {
        clock,
        log: Arc::default(),
        signals: sender,
        panics: Arc::default(),
        panics_in_action: Arc::default(),
        panics_in_pace: Arc::default(),
    };
    let task_entry = TaskEntry::default();
    let parts = ControlParts {
        clock,
        seed: 1,
        traffic: world.clone(),
        executor: world.clone(),
        incident_store: world.clone(),
        memory: PersistedState::default(),
        signals,
        orders,
        reloads,
        task: task_entry.clone(),
    };
    let control = Control::new(&plan(), parts);
    let (views, events) = (control.views(), control.events().listen());
    let heartbeat = control.heartbeat();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(control.run(async move {
        // Whichever way the test ends, the loop does too.
        stopped.await.ok();
    }));
    Running {
        world,
        views,
        events,
        task_entry,
        heartbeat,
        reloads: reload_sender,
        stop,
        task,
    }
}

impl Running {
    async fn all_up(&self) {
        for index in 0..3 {
            let server = ServerId::new(0, index);
            self.world.signal(
                server,
                Observation::Started {
                    pid: 100 + index,
                    changed: None,
                },
            );
            self.world.pass(server);
            self.world.pass(server);
        }
        self.until_all_up().await;
    }

    async fn until_all_up(&self) {
        let all_up = async {
            let up = |index| self.views.now().state(ServerId::new(0, index)) == ServerStatus::Up;
            while !(0..3).all(up) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, all_up).await.unwrap();
    }

    async fn closed(&mut self) -> Arc<Incident> {
        let closed = async {
            loop {
                if let ControlEvent::Incident { incident, .. } = self.events.recv().await.unwrap()
                    && incident.status == IncidentStatus::Closed
                {
                    return incident;
                }
            }
        };
        let incident = tokio::time::timeout(LONG, closed).await;
        incident.unwrap_or_else(|_| panic!("not closed: {:#?}", self.world.log))
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_exit_becomes_a_restart_and_a_closed_incident() {
    let mut running = start();
    running.all_up().await;
    running.world.log.lock().unwrap().directives.clear();
    running.world.exit(VICTIM);
    let incident = running.closed().await;
    assert_eq!(
        incident.diagnosis[0].fault,
        FaultKind::ProcessCrashed,
        "{incident:#?}"
    );
    assert_eq!(running.views.now().pid(VICTIM), Some(4242));
    assert!(running.views.now().open.is_empty());
    running.stop.send(()).unwrap();
    running.task.await.unwrap();

    let log = running.world.log.lock().unwrap();
    assert_eq!(log.actions, ["restart"], "{:#?}", incident.timeline);
    let first = &log.directives[..2];
    assert!(
        matches!(
            first,
            [
                Directive::Repair { server: VICTIM, .. },
                Directive::Eject { server: VICTIM, .. }
            ]
        ),
        "{first:?}"
    );
    assert!(log.ejected.is_empty(), "{:?}", log.directives);
    assert_eq!(
        log.saved.last().map(|saved| saved.status),
        Some(IncidentStatus::Closed)
    );
}

#[tokio::test(flavor = "current_thread")]
async fn after_a_panic_the_loop_continues_and_starts_no_process_twice() {
    let mut running = start();
    running.all_up().await;
    running.world.panics_in_action.store(true, SeqCst);
    running.world.exit(VICTIM);
    let unseen = running.closed().await;
    let last = unseen.timeline.last().unwrap();
    assert!(last.text.contains("was not seen"), "{last:?}");
    assert!(unseen.actions.iter().all(|one| one.outcome.is_some()));
    // The new keeper knows what runs, without having started it.
    running.until_all_up().await;
    assert_eq!(running.views.now().pid(VICTIM), Some(4242));
    assert!(running.views.now().open.is_empty());
    assert_eq!(running.world.log.lock().unwrap().actions, ["restart"]);
    assert_eq!(running.task_entry.restarts(), 1);
    assert!(running.heartbeat.silent_for(running.world.clock.now()) < LONG);

    // And it repairs as the first one did.
    running.world.exit(VICTIM);
    let repaired = running.closed().await;
    assert!(repaired.id > unseen.id, "{} {}", repaired.id, unseen.id);
    assert_eq!(repaired.diagnosis[0].fault, FaultKind::ProcessCrashed);
    let actions = running.world.log.lock().unwrap().actions.clone();
    assert_eq!(actions, ["restart", "restart"], "{:#?}", repaired.timeline);
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
}

/// Between two turns, and while it starts again, it panicked once and for all.
#[tokio::test(flavor = "current_thread")]
async fn a_panic_outside_of_a_turn_ends_nothing_either() {
    let mut running = start();
    running.all_up().await;
    running.world.panics_in_pace.store(true, SeqCst);
    running.task_entry.inject_panic();
    let both = async {
        while running.task_entry.restarts() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, both).await.unwrap();
    let keeper_setup = running.world.clock.now();
    let turned = async {
        let now = || running.world.clock.now();
        while running.heartbeat.silent_for(now()) >= now().since(keeper_setup) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, turned).await.unwrap();
    running.until_all_up().await;
    assert!(running.world.log.lock().unwrap().actions.is_empty());
    running.world.exit(VICTIM);
    let repaired = running.closed().await;
    assert_eq!(repaired.diagnosis[0].fault, FaultKind::ProcessCrashed);
    assert_eq!(running.world.log.lock().unwrap().actions, ["restart"]);
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
}

/// The plan after a reload: the second server is gone, a fourth one and another service have come.
fn reloaded() -> Plan {
    let mut plan = plan();
    let shop = &mut plan.services[0];
    let mut more = shop.servers.remove(1);
    (more.index, more.name) = (3, "more".to_owned());
    shop.servers.push(more);
    let mut cart = shop.clone();
    (cart.id, cart.name) = (ServiceId(2), "cart".to_owned());
    cart.servers.truncate(1);
    cart.servers[0].index = 0;
    plan.services.push(cart);
    plan
}

impl Running {
    async fn reload(&self, plan: Plan) {
        let (applied, is_applied) = oneshot::channel();
        let plan = Arc::new(plan);
        let request = ReloadRequest { plan, applied };
        self.reloads.send(request).await.unwrap();
        tokio::time::timeout(LONG, is_applied)
            .await
            .unwrap()
            .unwrap();
    }

    async fn until_pid(&self, server: ServerId, pid: u32) {
        let is_so = async {
            while self.views.now().pid(server) != Some(pid) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, is_so).await.unwrap();
    }

    async fn until_state(&self, server: ServerId, state: ServerStatus) {
        let is_so = async {
            while self.views.now().state(server) != state {
                tokio::task::yield_now().await;
            }
        };
        let is_so = tokio::time::timeout(LONG, is_so).await;
        is_so.unwrap_or_else(|_| panic!("{server:?}: {:?}", self.views.now().states));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_reload_ends_what_is_gone_and_begins_what_has_come() {
    let mut running = start();
    running.all_up().await;
    running.reload(reloaded()).await;
    running.until_state(VICTIM, ServerStatus::Absent).await;
    let (more, cart) = (ServerId::new(0, 3), ServerId::new(2, 0));
    for (server, pid) in [(more, 7), (cart, 8)] {
        let changed = None;
        let started = Observation::Started { pid, changed };
        running.world.signal(server, started);
        running.world.pass(server);
        running.until_state(server, ServerStatus::Up).await;
        running.until_pid(server, pid).await;
    }
    // What is unchanged is as it was, and late news of what is gone say nothing.
    running.world.exit(VICTIM);
    assert_eq!(running.views.now().pid(ServerId::new(0, 2)), Some(102));
    running.world.exit(cart);
    let incident = running.closed().await;
    assert_eq!(incident.service, "cart");
    assert_eq!(running.views.now().state(VICTIM), ServerStatus::Absent);
    // A new keeper knows the new plan.
    running.world.panics.store(true, SeqCst);
    while running.task_entry.restarts() == 0 {
        tokio::task::yield_now().await;
    }
    for server in [ServerId::new(0, 0), more, cart] {
        running.until_state(server, ServerStatus::Up).await;
    }
    assert_eq!(running.views.now().state(VICTIM), ServerStatus::Absent);
    // Back to the first: the service is gone, and the slot of the second server is taken again.
    running.reload(plan()).await;
    running.until_state(more, ServerStatus::Absent).await;
    assert!(running.views.now().states[2].is_empty());
    running.world.signal(
        VICTIM,
        Observation::Started {
            pid: 9,
            changed: None,
        },
    );
    running.world.pass(VICTIM);
    running.until_all_up().await;
    let saved = running.world.log.lock().unwrap().saved.clone();
    assert!(saved.iter().all(|one| one.service == "cart"), "{saved:#?}");
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
}
