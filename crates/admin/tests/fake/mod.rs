//! A fake backend: the test sets what it reports, and reads the orders that it received.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use evenkeel_admin::{
    AccessPolicy, ActionSuccess, AdminBackend, AdminRequest, ConfigurationView, IncidentQuery,
    InstanceView, OpenIncident, Order, OrderError, OrderProgress, OutlookView, RecentTraffic,
    RefusedReload, RuntimeChangeView, ServerView, ServerWhy, ServiceReport, ServiceView,
    ServiceWhy,
};
use evenkeel_core::metric::Sink;
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::maintenance::{OrderTerms, TakenOut};
use evenkeel_fault::{Incident, Maintenance};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) incidents: Vec<Incident>,
    pub(crate) store_is_broken: bool,
    pub(crate) not_ready: Option<String>,
    pub(crate) not_alive: Option<String>,
    pub(crate) refusal: Option<OrderError>,
    pub(crate) takes_time: bool,
    pub(crate) filters: Mutex<Vec<IncidentQuery>>,
    pub(crate) reports: Mutex<Vec<String>>,
    pub(crate) orders: Mutex<Vec<Order>>,
    pub(crate) terms: Mutex<Vec<(OrderTerms, Option<Duration>)>>,
}

impl AdminBackend for Fake {
    fn services(&self) -> Vec<ServiceView> {
        services()
    }

    fn why(&self, service: &str) -> Option<ServiceWhy> {
        Some(why()).filter(|why| why.name == service)
    }

    fn incidents(&self, filter: &IncidentQuery) -> Result<Vec<Incident>, String> {
        self.filters.lock().unwrap().push(filter.clone());
        self.readable()?;
        Ok(self.incidents.clone())
    }

    fn incident(&self, id: &str) -> Result<Option<Incident>, String> {
        assert_ne!(id, "panic", "as a mistake in the program would");
        self.readable()?;
        Ok(self
            .incidents
            .iter()
            .find(|incident| incident.id == id)
            .cloned())
    }

    fn report(&self, since: &str) -> Result<Vec<ServiceReport>, String> {
        self.reports.lock().unwrap().push(since.to_owned());
        self.readable()?;
        Ok(vec![report()])
    }

    fn collect(&self, sink: &mut dyn Sink) {
        sink.counter(
            "evenkeel_requests_total",
            "Requests, by status.",
            &[("service", "shop"), ("code", "200")],
            41,
        );
    }

    fn alive(&self) -> Result<(), String> {
        self.not_alive.clone().map_or(Ok(()), Err)
    }

    fn ready(&self) -> Result<(), String> {
        self.not_ready.clone().map_or(Ok(()), Err)
    }

    fn instance(&self) -> InstanceView {
        instance()
    }

    fn configuration(&self, all: bool) -> ConfigurationView {
        ConfigurationView {
            toml: format!("# all: {all}\n"),
            ..configuration()
        }
    }

    fn version(&self) -> String {
        "1.2.3".to_owned()
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(90_500)
    }

    fn order(
        &self,
        order: Order,
        terms: &OrderTerms,
        wait: Option<Duration>,
    ) -> Result<OrderProgress, OrderError> {
        let message = format!("{order}: done");
        self.orders.lock().unwrap().push(order);
        self.terms.lock().unwrap().push((terms.clone(), wait));
        match &self.refusal {
            Some(refusal) => Err(refusal.clone()),
            None if self.takes_time => Ok(OrderProgress::Accepted(message)),
            None => Ok(OrderProgress::Done(message)),
        }
    }
}

impl Fake {
    /// With an incident that proposes something.
    pub(crate) fn with_proposal() -> Self {
        let mut fake = Self::with_incident();
        fake.incidents[0].status = IncidentStatus::AwaitingApproval;
        fake
    }

    pub(crate) fn with_incident() -> Self {
        Self {
            incidents: vec![incident()],
            ..Self::default()
        }
    }

    fn readable(&self) -> Result<(), String> {
        if self.store_is_broken {
            Err("the disk is gone".to_owned())
        } else {
            Ok(())
        }
    }
}

pub(crate) fn guard() -> AccessPolicy {
    AccessPolicy {
        token: TOKEN.to_owned(),
        address: "127.0.0.1:7070".parse().unwrap(),
    }
}

/// A request from this machine without a token; `target` may have a query.
pub(crate) fn request(method: &str, target: &str) -> AdminRequest {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    AdminRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        host: Some("127.0.0.1:7070".to_owned()),
        ..AdminRequest::default()
    }
}

pub(crate) fn services() -> Vec<ServiceView> {
    let up = ServerView {
        name: "shop-1".to_owned(),
        address: "127.0.0.1:9001".to_owned(),
        state: "up".to_owned(),
        standing: "in service".to_owned(),
        weight: 1,
        pid: Some(4711),
        in_flight: 3,
        attempts: 40_123,
        failures: 2,
        latency_ms: Some(1.234),
        share_intended: 0.75,
        share_got: Some(0.8),
        picks: BTreeMap::from([("policy".to_owned(), 40_126)]),
        recent: recent(),
        incident: Some(OpenIncident {
            id: "2026-11-22-0007".to_owned(),
            status: "awaiting-approval".to_owned(),
            fault: Some("process-hung".to_owned()),
            reason: "state T".to_owned(),
            next: "a person decides".to_owned(),
        }),
        maintenance: Some(maintenance()),
        ..ServerView::default()
    };
    let out = ServerView {
        name: "a long name".to_owned(),
        address: "[::1]:9002".to_owned(),
        state: "ejected".to_owned(),
        standing: "ejected".to_owned(),
        weight: 10,
        tier: 1,
        failures: 17,
        ..ServerView::default()
    };
    vec![
        ServiceView {
            name: "shop".to_owned(),
            policy: "round-robin".to_owned(),
            servers: vec![up, out],
            requests: 41_000,
            failed: 3,
            saved_by_retry: 42,
            p50_ms: Some(0.87),
            p90_ms: Some(3.1),
            p99_ms: Some(14.2),
            in_flight: 3,
            waiting: 0,
            held: 0,
            servers_by_state: BTreeMap::from([("up".to_owned(), 1), ("ejected".to_owned(), 1)]),
            recent: recent(),
            retry_budget: 99.6,
            notes: Vec::new(),
            maintenance: Some(maintenance()),
            maintenance_ends: true,
        },
        ServiceView {
            name: "empty".to_owned(),
            policy: "random".to_owned(),
            ..ServiceView::default()
        },
    ]
}

fn maintenance() -> Maintenance {
    Maintenance {
        how: Some(TakenOut::Drained),
        since: "2026-11-22T10:00:00.000Z".to_owned(),
        until: Some("2026-11-22T10:30:00.000Z".to_owned()),
        by: Some("ada".to_owned()),
        reason: Some("a new\u{1b}[2J disk".to_owned()),
        address: Some("127.0.0.1:9001".to_owned()),
    }
}

fn recent() -> RecentTraffic {
    RecentTraffic {
        seconds: 10.0,
        requests_per_second: 120.25,
        failures_per_second: 0.1,
        sent_bytes_per_second: 12_345.0,
        received_bytes_per_second: 4_567_890.0,
        p50_ms: Some(0.9),
        p90_ms: Some(3.0),
        p99_ms: Some(12.5),
    }
}

fn recovery(next: &str, waits_for: &str, in_ms: Option<f64>) -> OutlookView {
    OutlookView {
        next: next.to_owned(),
        waits_for: waits_for.to_owned(),
        in_ms,
        text: format!("{next}: in words"),
    }
}

pub(crate) fn why() -> ServiceWhy {
    let servers = services().remove(0).servers;
    let one = |view: ServerView| ServerWhy {
        part: if view.tier == 0 { 1.0 } else { 0.0 },
        recovery: if view.tier == 0 {
            recovery("nothing", "nothing", None)
        } else {
            recovery("restart", "back-off", Some(1200.0))
        },
        sentence: format!("{} gets what it gets.", view.name),
        score: view.latency_ms,
        name: view.name,
        weight: view.weight,
        tier: view.tier,
        standing: view.standing,
        latency_ms: view.latency_ms,
        in_flight: view.in_flight,
        share_intended: view.share_intended,
        share_got: view.share_got,
        picks: view.picks,
        ..ServerWhy::default()
    };
    ServiceWhy {
        name: "shop".to_owned(),
        policy: "least-response-time".to_owned(),
        options: BTreeMap::from([("panic_below".to_owned(), "50 %".to_owned())]),
        score: "latency × (in flight + 1) / weight, the lower the better".to_owned(),
        panic: false,
        recovery: recovery("nothing", "nothing", None),
        success: vec![ActionSuccess {
            fault: "error-burst".to_owned(),
            action: "restart".to_owned(),
            tried: 4,
            verified: 0,
            put_off: true,
        }],
        servers: servers.into_iter().map(one).collect(),
    }
}

pub(crate) fn instance() -> InstanceView {
    let change = RuntimeChangeView {
        service: "shop".to_owned(),
        server: "c".to_owned(),
        change: "added".to_owned(),
        text: "service shop: server c added at run time: 127.0.0.1:9003, weight 1".to_owned(),
        at: "2026-11-22T10:31:00.000Z".to_owned(),
        by: Some("ada".to_owned()),
        in_force: true,
        kept: true,
    };
    let later = RuntimeChangeView {
        service: "empty".to_owned(),
        text: "service empty: server d: weight 1 → 7 at run time".to_owned(),
        change: "weight".to_owned(),
        server: "d".to_owned(),
        by: None,
        in_force: false,
        ..change.clone()
    };
    InstanceView {
        version: "1.2.3".to_owned(),
        uptime_seconds: 90.5,
        file: Some("/etc/evenkeel.toml".to_owned()),
        refused_reload: Some(RefusedReload {
            at: "2026-11-22T10:30:00.000Z".to_owned(),
            reason: "evenkeel.toml cannot be used: 1 mistake; line 3: unknown key `a\u{1b}[2J`"
                .to_owned(),
            advice: "what runs is unchanged; `evenkeel reload` tries again".to_owned(),
        }),
        runtime_changes: vec![change, later],
    }
}

pub(crate) fn configuration() -> ConfigurationView {
    ConfigurationView {
        file: Some("/etc/evenkeel.toml".to_owned()),
        settings: Vec::new(),
        toml: String::new(),
        runtime_changes: instance().runtime_changes,
        overlay: serde_json::json!({}),
    }
}

pub(crate) fn report() -> ServiceReport {
    ServiceReport {
        service: "shop".to_owned(),
        incidents: 4,
        open: 1,
        mttd_ms: Some(105.2),
        mttr_ms: Some(1834.0),
        p50_restore_ms: Some(912.0),
        p90_restore_ms: Some(61_000.0),
        availability: Some(0.999_987),
        requests: 230_000,
        failed: 3,
    }
}

/// A server killed and restarted, with one line that would like to move the cursor.
pub(crate) fn incident() -> Incident {
    serde_json::from_str(include_str!("../golden/incident.json")).unwrap()
}

/// Holds `shown` against the file of this name. `EVENKEEL_BLESS=1` rewrites the file.
pub(crate) fn check(name: &str, shown: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden", name]
        .iter()
        .collect();
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::write(&path, shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == shown, "{name} is different:\n{shown}");
}
