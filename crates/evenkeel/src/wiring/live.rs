//! What runs now, as the admin API sees it: numbers of the data plane, states of the control loop, incidents of the
//! history. Reads snapshots and atomics; holds up nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use evenkeel_admin::{
    AdminCounters, Filter, Live, OpenIncident, Order, OrderError, Ordered, Recent, ServerView,
    ServiceReport, ServiceView, ServiceWhy,
};
use evenkeel_balance::PickReason;
use evenkeel_config::Plan;
use evenkeel_config::file::Typed as _;
use evenkeel_config::plan::ServicePlan;
use evenkeel_control::{Counters, Heartbeat, OrderRequest, Views};
use evenkeel_core::metric::{Sink, Source as _};
use evenkeel_core::{Instant, ServerId, ServiceId, Wall};
use evenkeel_discover::Discovery;
use evenkeel_dns::DnsCounters;
use evenkeel_fault::Incident;
use evenkeel_fault::contract::ServerState;
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_history::{StoreError, WriterHandle};
use evenkeel_proxy::{ProxyState, ServiceEntry};
use evenkeel_runtime::{Clock, Tasks};
use evenkeel_supervise::Supervisor;
use tokio::sync::{mpsc, watch};

use super::measure::{Looks, ServiceNumbers, latency_ms, millis};
use crate::{logging, period};

/// How long the store may take to write what waits before it is read.
const WRITING: Duration = Duration::from_millis(500);
/// How long the store may take to answer.
const READING: Duration = Duration::from_secs(3);

/// What runs now.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) clock: Clock,
    pub(super) looks: Looks,
    /// Which places are for servers from DNS, by service.
    pub(super) groups: Vec<Vec<Range<u32>>>,
    pub(super) discovery: Discovery,
    /// The words of the policies, by service.
    pub(super) policies: Vec<String>,
    pub(super) state: Arc<ProxyState>,
    pub(super) views: Views,
    pub(super) counters: Arc<Counters>,
    pub(super) heartbeat: Heartbeat,
    pub(super) supervisor: Supervisor,
    pub(super) books: WriterHandle,
    pub(super) orders: mpsc::Sender<OrderRequest>,
    /// Orders whose end is waited for.
    pub(super) waiting: AtomicUsize,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) dns: Vec<Arc<DnsCounters>>,
    pub(super) admin: Arc<AdminCounters>,
    pub(super) tasks: Tasks,
}

/// The words of the policies of `plan`, by service.
pub(super) fn policies(plan: &Plan) -> Vec<String> {
    let word = |policy: serde_json::Value| policy.as_str().unwrap_or_default().to_owned();
    plan.services
        .iter()
        .map(|service| word(service.balance.policy.typed()))
        .collect()
}

/// Which places are for servers from DNS, by service.
pub(super) fn groups(plan: &Plan) -> Vec<Vec<Range<u32>>> {
    let of = |service: &ServicePlan| {
        let groups = service.discover.iter();
        groups
            .map(|group| group.first..group.first.saturating_add(group.slots))
            .collect()
    };
    plan.services.iter().map(of).collect()
}

impl Now {
    /// Whether a place is one that a person need not see: nobody is there. Of a name that has never resolved, the first
    /// place is shown.
    fn is_hidden(&self, id: ServerId) -> bool {
        let view = self.views.now();
        let unresolved = |index: u32| {
            let id = ServerId { index, ..id };
            view.state(id) == ServerState::Unresolved
        };
        match view.state(id) {
            ServerState::Absent => true,
            ServerState::Unresolved => {
                let groups = self.groups.get(id.service.0 as usize);
                let group =
                    groups.and_then(|groups| groups.iter().find(|group| group.contains(&id.index)));
                group.is_some_and(|group| id.index != group.start || !group.clone().all(unresolved))
            }
            ServerState::Starting
            | ServerState::Up
            | ServerState::Doubtful
            | ServerState::Ejected
            | ServerState::Recovering
            | ServerState::Verifying
            | ServerState::Maintenance
            | ServerState::Down => false,
        }
    }

    /// What `since` means. An age is counted back on the monotonic clock, so that setting the machine's clock meanwhile
    /// leaves nothing out.
    fn since(&self, since: &str) -> String {
        let now = self.clock.now();
        let Some(age) = evenkeel_admin::age(since) else {
            return since.to_owned();
        };
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        // What is older than this run was stamped by the clock of its time.
        let before_start = age.saturating_sub(now - Instant::ZERO);
        let stamped = self.clock.earliest_since(now.before(age));
        let stamped = stamped.0.saturating_sub(millis(before_start));
        let counted = self.clock.epoch().wall(now).0.saturating_sub(millis(age));
        period::rfc3339(Wall(stamped.min(counted)))
    }

    /// What could not be written in time is shown as it waits, but not counted in reports.
    fn flush(&self) {
        let _written: bool = self.books.flush(WRITING);
    }

    pub(super) fn service(&self, id: u32, entry: &ServiceEntry, now: Instant) -> ServiceView {
        let service = ServiceId(id);
        let totals = self.state.totals(service);
        let numbers = ServiceNumbers::of(&self.state, service);
        let (since, time) = self.looks.since(service, &numbers, now);
        let mut incidents = self.open_incidents(entry.name());
        let servers: Vec<ServerView> = (0_u32..)
            .zip(entry.servers().pool().intended(now))
            .filter(|(index, _)| {
                let index = *index;
                !self.is_hidden(ServerId { service, index })
            })
            .map(|(index, intended)| {
                let place = index as usize;
                let server = self.server(ServerId { service, index }, entry, now);
                let durations = &numbers.servers[place].durations;
                ServerView {
                    incident: incidents.remove(&server.name),
                    p50_ms: millis(durations, 0.5),
                    p90_ms: millis(durations, 0.9),
                    p99_ms: millis(durations, 0.99),
                    share_intended: intended,
                    share_got: since.share_got(place),
                    recent: since
                        .servers
                        .get(place)
                        .map_or_else(Recent::default, |numbers| numbers.recent(time)),
                    ..server
                }
            })
            .collect();
        let view = self.views.now();
        let closed = view.closed_services.get(&id);
        let mut servers_by_state = BTreeMap::new();
        for server in &servers {
            *servers_by_state.entry(server.state.clone()).or_default() += 1;
        }
        let durations = &numbers.whole.durations;
        ServiceView {
            name: entry.name().to_owned(),
            policy: self.policy(id),
            notes: self.notes(service),
            requests: totals.requests,
            failed: totals.failed,
            saved_by_retry: totals.saved_by_retry,
            p50_ms: millis(durations, 0.5),
            p90_ms: millis(durations, 0.9),
            p99_ms: millis(durations, 0.99),
            in_flight: servers.iter().map(|server| server.in_flight).sum(),
            waiting: entry.waiting(),
            held: entry.held(),
            servers_by_state,
            recent: since.whole.recent(time),
            retry_budget: entry.budget().balance(now),
            maintenance: closed.map(|(maintenance, _)| maintenance.clone()),
            maintenance_ends: closed.is_some_and(|(_, ends)| *ends),
            servers,
        }
    }

    /// What is known of a server without a look back.
    fn server(&self, id: ServerId, entry: &ServiceEntry, now: Instant) -> ServerView {
        let server_set = entry.servers();
        let (server, member) = (
            &entry.server_names()[id.index as usize],
            &server_set.pool().members()[id.index as usize],
        );
        let address = server_set.address(id.index);
        let standing = match address {
            Some(_) => member.state.standing(now).word(),
            None => "absent",
        };
        let (view, totals) = (self.views.now(), self.state.server_totals(id));
        let picks = PickReason::WORDS
            .iter()
            .zip(self.state.server_flow(id).picks);
        ServerView {
            name: server.clone(),
            address: address.map_or_else(String::new, |address| address.to_string()),
            state: view.state(id).word().to_owned(),
            standing: standing.to_owned(),
            weight: member.weight,
            tier: member.tier,
            pid: view.pid(id),
            maintenance: view.held.get(&(id.service.0, id.index)).cloned(),
            in_flight: member.state.in_flight().into(),
            limit: member.bound(),
            limit_why: (server_set.limit(id.index)).map(|limit| limit.why.word().to_owned()),
            breaker: server_set
                .breaker(id.index, now)
                .map(|breaker| breaker.state.word().to_owned()),
            attempts: totals.attempts,
            failures: totals.failures,
            latency_ms: latency_ms(member),
            picks: picks
                .filter(|(_, number)| *number > 0)
                .map(|(word, number)| ((*word).to_owned(), number))
                .collect(),
            ..ServerView::default()
        }
    }

    pub(super) fn policy(&self, id: u32) -> String {
        self.policies.get(id as usize).cloned().unwrap_or_default()
    }

    pub(super) fn find(&self, service: &str, server: &str) -> Result<ServerId, String> {
        let found = (0_u32..)
            .zip(self.state.services())
            .find_map(|(id, entry)| {
                let index = entry.server_names().iter().position(|one| one == server)?;
                (entry.name() == service).then_some(ServerId::new(id, u32::try_from(index).ok()?))
            });
        found
            .filter(|id| !self.is_hidden(*id))
            .ok_or_else(|| format!("there is no server {server} in a service {service}"))
    }

    /// The open incidents of a service, by the names of the servers.
    fn open_incidents(&self, service: &str) -> BTreeMap<String, OpenIncident> {
        let view = self.views.now();
        let open = view.open.iter().filter(|open| open.service == service);
        let of_servers = open.flat_map(|open| {
            let short = OpenIncident::of(open);
            open.servers
                .iter()
                .map(move |server| (server.clone(), short.clone()))
        });
        of_servers.collect()
    }
}

impl Live for Now {
    fn why(&self, service: &str) -> Option<ServiceWhy> {
        let (id, entry) = (0_u32..)
            .zip(self.state.services())
            .find(|(_, entry)| entry.name() == service)?;
        Some(self.service_why(id, entry))
    }

    fn services(&self) -> Vec<ServiceView> {
        let now = self.clock.now();
        (0_u32..)
            .zip(self.state.services())
            .map(|(id, entry)| self.service(id, entry, now))
            .collect()
    }

    fn incidents(&self, filter: &Filter) -> Result<Vec<Incident>, String> {
        let status = filter
            .status
            .as_ref()
            .map(|word| serde_json::from_value(word.as_str().into()));
        let asked = evenkeel_history::Filter {
            service: filter.service.clone(),
            since: filter.since.as_ref().map(|since| self.since(since)),
            status: status
                .transpose()
                .map_err(|_| "there is no such status".to_owned())?,
            limit: u32::try_from(filter.limit).ok(),
        };
        self.flush();
        answered(self.books.list(&asked, READING))
    }

    fn incident(&self, id: &str) -> Result<Option<Incident>, String> {
        // What is under way is known here, also when the store is not.
        if let Some(open) = self
            .views
            .now()
            .open
            .iter()
            .find(|incident| incident.id == id)
        {
            return Ok(Some(Incident::clone(open)));
        }
        self.flush();
        answered(self.books.get(id, READING))
    }

    fn report(&self, since: &str) -> Result<Vec<ServiceReport>, String> {
        let since = self.since(since);
        self.flush();
        let reports = self.books.ask(READING, move |store| store.report(&since));
        let mut reports: Vec<ServiceReport> =
            answered(reports)?.into_iter().map(report_view).collect();
        // A service about which nothing is known yet is listed all the same.
        let known: BTreeSet<String> = reports
            .iter()
            .map(|report| report.service.clone())
            .collect();
        let missing = self
            .state
            .services()
            .iter()
            .map(ServiceEntry::name)
            .filter(|name| !known.contains(*name));
        reports.extend(missing.map(|name| ServiceReport {
            service: name.to_owned(),
            ..ServiceReport::default()
        }));
        Ok(reports)
    }

    fn collect(&self, sink: &mut dyn Sink) {
        self.state.collect(sink);
        self.supervisor.collect(sink);
        self.dns.iter().for_each(|counters| counters.collect(sink));
        self.counters.collect(sink);
        self.discovery.collect(sink);
        self.admin.collect(sink);
        self.tasks.collect(sink);
        let panics = "Panics in evenkeel, caught or not: each is a mistake of its own, and its place is in the log.";
        sink.counter(
            "evenkeel_panics_total",
            panics,
            &[],
            evenkeel_runtime::contain::panics(),
        );
        let dropped =
            "Lines of the log that were dropped: nobody read it, or it could not be written.";
        sink.counter(
            "evenkeel_log_lines_dropped_total",
            dropped,
            &[],
            logging::dropped(),
        );
        let health = self.books.health();
        let (ok, lost) = (
            "Whether the last write to the incident store succeeded and outlives the program.",
            "What could not be kept in the incident store.",
        );
        sink.gauge("evenkeel_store_ok", ok, &[], f64::from(u8::from(health.ok)));
        sink.counter("evenkeel_store_dropped_total", lost, &[], health.dropped);
        let made_again =
            "Times that the file of the incident store was removed or replaced, and made again.";
        let times = health.made_again;
        sink.counter("evenkeel_store_made_again_total", made_again, &[], times);
    }

    fn alive(&self) -> Result<(), String> {
        self.check_alive()
    }

    fn ready(&self) -> Result<(), String> {
        self.check_ready()
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn uptime(&self) -> Duration {
        self.clock.now() - Instant::ZERO
    }

    fn order(
        &self,
        order: Order,
        terms: &OrderTerms,
        wait: Option<Duration>,
    ) -> Result<Ordered, OrderError> {
        self.carry_out(&order, terms, wait)
    }
}

/// An answer of the store, or why there is none.
fn answered<T>(answer: Option<Result<T, StoreError>>) -> Result<T, String> {
    match answer {
        Some(answer) => answer.map_err(|error| error.to_string()),
        None => Err("the incident store does not answer".to_owned()),
    }
}

/// A report of the store as the admin API shows it.
pub(crate) fn report_view(report: evenkeel_history::ServiceReport) -> ServiceReport {
    ServiceReport {
        service: report.service,
        incidents: report.incidents,
        open: report.open,
        mttd_ms: report.mttd_ms,
        mttr_ms: report.mttr_ms,
        p50_restore_ms: report.p50_restore_ms,
        p90_restore_ms: report.p90_restore_ms,
        availability: report.availability,
        requests: report.requests,
        failed: report.failed,
    }
}
