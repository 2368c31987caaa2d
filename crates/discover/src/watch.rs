//! The loop of one discovered group: query, apply the membership rules, publish changes, wait.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_config::plan::DiscoverPlan;
use evenkeel_core::metric::{Counter, Sink, Source};
use evenkeel_core::{Instant, Random, ServerId, ServiceId};
use evenkeel_runtime::Clock;

use crate::dns::{self, FailedQuery, LastGood, LookupFailure};
use crate::membership::{
    DiscoveredServer, Membership, MembershipReport, MembershipRules, SlotChange,
};

/// The resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How asking can end, for the counters.
const RESULTS: [&str; 7] = [
    "answered",
    "partial",
    "no-such-name",
    "empty",
    "server-failure",
    "no-answer",
    "invalid",
];

/// The interface of the loop to the rest of the program.
pub trait MembershipHost: Send + Sync + 'static {
    /// Whether a server takes traffic and nothing is known against it.
    fn works(&self, server: ServerId) -> bool;

    /// The servers of a service have changed: each has this content now.
    fn changed(
        &self,
        service: ServiceId,
        changes: Vec<(ServerId, Option<DiscoveredServer>)>,
    ) -> impl Future<Output = ()> + Send;
}

/// One group of slots of a service.
#[derive(Debug)]
pub struct GroupWatch {
    service: ServiceId,
    service_name: String,
    plan: DiscoverPlan,
    membership: Membership,
    last_good: LastGood,
    clock: Clock,
    random: Random,
    shown: Arc<GroupStatus>,
    told: LoggedState,
}

/// The state as last logged.
#[derive(Debug, Default)]
struct LoggedState {
    failure: Option<LookupFailure>,
    is_partial: bool,
    held_back: usize,
    surplus: usize,
}

/// What a group is known by while the configuration changes around it: as long as this is the same, its loop goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupKey {
    service: ServiceId,
    plan: DiscoverPlan,
}

impl GroupKey {
    /// The group of a service with this plan.
    #[must_use]
    pub fn new(service: ServiceId, plan: &DiscoverPlan) -> Self {
        Self {
            service,
            plan: plan.clone(),
        }
    }

    /// The indices of its servers.
    #[must_use]
    pub fn servers(&self) -> &[u32] {
        &self.plan.servers
    }
}

/// The groups of two plans, compared.
#[derive(Debug, Default)]
pub struct GroupChanges {
    /// Those whose loop is to end. Their servers are gone, or another group asks for them.
    pub gone: Vec<GroupKey>,
    /// Those whose loop is to begin.
    pub new: Vec<GroupKey>,
}

impl GroupChanges {
    /// What becomes of the running groups when those of the configuration are `wanted`.
    #[must_use]
    pub fn between<'a>(running: impl Iterator<Item = &'a GroupKey>, wanted: &[GroupKey]) -> Self {
        let running: Vec<&GroupKey> = running.collect();
        let gone = running.iter().filter(|one| !wanted.contains(one));
        let new = wanted.iter().filter(|one| !running.contains(one));
        Self {
            gone: gone.map(|one| (*one).clone()).collect(),
            new: new.cloned().collect(),
        }
    }
}

/// The state of all groups, for status and metrics.
#[derive(Debug, Clone, Default)]
pub struct Discovery(Arc<Mutex<Vec<Arc<GroupStatus>>>>);

#[derive(Debug)]
struct GroupStatus {
    service: ServiceId,
    service_name: String,
    name: String,
    results: [Counter; RESULTS.len()],
    report: Mutex<MembershipReport>,
    unanswered: Mutex<Option<FailedQuery>>,
    /// The resolver did not answer its last question.
    no_resolver: AtomicBool,
}

impl Discovery {
    /// Makes the loop of one group. `known` says which servers are in its slots already, by other means or from a loop before it:
    /// they stay until an answer says otherwise.
    #[must_use]
    pub fn watch(
        &self,
        (service, service_name): (ServiceId, &str),
        plan: &DiscoverPlan,
        known: &[Option<DiscoveredServer>],
        clock: Clock,
        seed: u64,
    ) -> GroupWatch {
        let rules = MembershipRules {
            slots: u32::try_from(plan.servers.len()).unwrap_or(u32::MAX),
            least: plan.least,
            most: plan.most,
            hold: plan.hold,
        };
        let shown = Arc::new(GroupStatus {
            service,
            service_name: service_name.to_owned(),
            name: plan.written(),
            results: Default::default(),
            report: Mutex::default(),
            unanswered: Mutex::default(),
            no_resolver: AtomicBool::new(false),
        });
        self.lock().push(Arc::clone(&shown));
        GroupWatch {
            service,
            service_name: service_name.to_owned(),
            plan: plan.clone(),
            membership: Membership::new(rules, known),
            last_good: LastGood::default(),
            clock,
            random: Random::seeded(seed),
            shown,
            told: LoggedState::default(),
        }
    }

    /// The loop of a group has ended: nothing is told of it any more.
    pub fn forget(&self, group: &GroupKey) {
        let name = group.plan.written();
        let is_it = |one: &GroupStatus| one.service == group.service && one.name == name;
        self.lock().retain(|one| !is_it(one));
    }

    /// Of how many groups the resolver did not answer the last question, and how many there are. That a name does not exist is an
    /// answer.
    #[must_use]
    pub fn unanswered(&self) -> (usize, usize) {
        let groups = self.lock();
        let failed = groups
            .iter()
            .filter(|group| group.no_resolver.load(Ordering::Relaxed));
        (failed.count(), groups.len())
    }

    /// Notes on the discovered groups of a service, in words; none if everything is normal.
    #[must_use]
    pub fn notes(&self, service: ServiceId) -> Vec<String> {
        let groups = self.lock();
        let mut notes = Vec::new();
        for group in groups.iter().filter(|group| group.service == service) {
            let report = group.report();
            if report.held_back > 0 {
                let (name, number) = (&group.name, report.held_back);
                notes.push(format!(
                    "{name}: the removal of {number} working servers is held back"
                ));
            }
            if let Some(unanswered) = group.unanswered() {
                notes.push(format!("{}: {unanswered}", group.name));
            }
            if report.surplus > 0 {
                let (name, number) = (&group.name, report.surplus);
                notes.push(format!(
                    "{name}: there is no slot for {number} more servers"
                ));
            }
        }
        notes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<GroupStatus>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupStatus {
    fn report(&self) -> MembershipReport {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unanswered(&self) -> Option<FailedQuery> {
        let unanswered = self.unanswered.lock();
        unanswered.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl GroupWatch {
    /// Asks and passes on for ever. After a panic it can be run again, and goes on with what it knew.
    pub async fn run<W: MembershipHost>(&mut self, world: &W) {
        loop {
            let now = self.clock.now();
            let changes = if now >= self.membership.ask_at() {
                self.ask(world).await
            } else {
                let works = works(world, self.service, &self.plan.servers);
                self.membership.reconsider(now, works)
            };
            self.log_state();
            if !changes.is_empty() {
                let changes = changes.iter().filter_map(|change| {
                    self.log_change(change);
                    Some((self.server(change.slot)?, change.found))
                });
                let changes = changes.collect();
                world.changed(self.service, changes).await;
            }
            let wake = self.membership.wake(self.clock.now());
            self.clock.sleep_until(wake).await;
        }
    }

    async fn ask<W: MembershipHost>(&mut self, world: &W) -> Vec<SlotChange> {
        let resolvers = self.resolvers().await;
        let asked = dns::ask(&self.plan, &resolvers, &mut self.last_good).await;
        let now = self.clock.now();
        match asked {
            Ok(answer) => {
                self.shown.no_resolver.store(false, Ordering::Relaxed);
                self.shown.results[usize::from(answer.unanswered.is_some())].add_one();
                self.partly(answer.unanswered);
                if self.told.failure.take().is_some() {
                    tracing::info!(
                        service = self.service_name,
                        "{} resolves again",
                        self.plan.written()
                    );
                }
                let works = works(world, self.service, &self.plan.servers);
                let found = self.chosen(answer.found);
                self.membership.answered(now, &found, answer.ttl, works)
            }
            Err(failure) => {
                self.failed(now, failure);
                // Even what is held back is checked.
                let works = works(world, self.service, &self.plan.servers);
                self.membership.reconsider(now, works)
            }
        }
    }

    /// A single slot follows the first address, unless the one it has is still there.
    fn chosen(&self, mut found: Vec<DiscoveredServer>) -> Vec<DiscoveredServer> {
        if self.plan.servers.len() == 1 {
            found.sort_by_key(|one| one.address);
            let now = self.membership.slots().iter().flatten().next();
            let stays = found
                .iter()
                .position(|one| now.is_some_and(|now| now.address == one.address));
            found = vec![found[stays.unwrap_or(0)]];
        }
        if let Some((weight, tier)) = self.plan.fixed {
            for one in &mut found {
                (one.weight, one.tier) = (weight, tier);
            }
        }
        found
    }

    /// Logs once that a query fails although others are answered, and once that it has recovered.
    fn partly(&mut self, unanswered: Option<FailedQuery>) {
        let (service, name) = (&self.service_name, self.plan.written());
        // Another failure, or of another name, is not worth another line.
        match (&unanswered, self.told.is_partial) {
            (Some(question), false) => tracing::warn!(
                service,
                "{name}: {question}; the answers to the other queries are used"
            ),
            (None, true) => tracing::info!(service, "{name}: all queries are answered again"),
            (Some(_), true) | (None, false) => {}
        }
        self.told.is_partial = unanswered.is_some();
        let shown = self.shown.unanswered.lock();
        *shown.unwrap_or_else(PoisonError::into_inner) = unanswered;
    }

    fn failed(&mut self, now: Instant, failure: LookupFailure) {
        let is_silent = matches!(failure, LookupFailure::Refused | LookupFailure::Silent);
        self.shown.no_resolver.store(is_silent, Ordering::Relaxed);
        let place = RESULTS.iter().position(|word| *word == failure.word());
        self.shown.results[place.unwrap_or(RESULTS.len() - 1)].add_one();
        self.membership.failed(now, &mut self.random);
        if self.told.failure == Some(failure) {
            return;
        }
        self.told.failure = Some(failure);
        let kept = self.membership.slots().iter().flatten().count();
        let name = self.plan.written();
        let follows = match kept {
            0 => "there is no server yet".to_owned(),
            1 => "the 1 server known is kept".to_owned(),
            n => format!("the {n} servers known are kept"),
        };
        tracing::warn!(
            service = self.service_name,
            "{name} does not resolve ({}): {follows}",
            failure.word()
        );
    }

    /// Logs changes of the group's state.
    fn log_state(&mut self) {
        let report = self.membership.report();
        *self
            .shown
            .report
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = report;
        let (service, name) = (&self.service_name, self.plan.written());
        if report.held_back > 0 && self.told.held_back == 0 {
            let (number, hold) = (report.held_back, self.plan.hold);
            tracing::warn!(
                service,
                "{name}: the answer has {number} working servers less, more than half of them: they are kept until it \
                 has held for {hold:?} or they fail"
            );
        } else if report.held_back == 0 && self.told.held_back > 0 {
            tracing::info!(service, "{name}: no removal is held back any longer");
        }
        if report.surplus > 0 && self.told.surplus == 0 {
            let (number, slots) = (report.surplus, self.plan.servers.len());
            tracing::warn!(
                service,
                "{name}: {number} more servers than slots ({slots}): they get no traffic"
            );
        }
        self.told.held_back = report.held_back;
        self.told.surplus = report.surplus;
    }

    fn log_change(&self, change: &SlotChange) {
        let (service, server) = (&self.service_name, self.plan.slot_name(change.slot));
        match change.found {
            Some(found) => {
                let DiscoveredServer {
                    address,
                    weight,
                    tier,
                } = found;
                tracing::info!(service, server, %address, weight, tier, "a server from DNS");
            }
            None => tracing::info!(service, server, "the server was removed from DNS"),
        }
    }

    fn server(&self, slot: u32) -> Option<ServerId> {
        let index = *self.plan.servers.get(slot as usize)?;
        Some(ServerId {
            service: self.service,
            index,
        })
    }

    /// As configured, or those of the machine, which may change.
    async fn resolvers(&self) -> Vec<SocketAddr> {
        if !self.plan.resolver.is_empty() {
            return self.plan.resolver.clone();
        }
        let read = tokio::task::spawn_blocking(|| std::fs::read_to_string(RESOLV_CONF));
        match read.await {
            Ok(Ok(text)) => dns::resolvers(&text),
            _ => Vec::new(),
        }
    }
}

fn works<'a, W: MembershipHost>(
    world: &'a W,
    service: ServiceId,
    servers: &'a [u32],
) -> impl Fn(u32) -> bool + 'a {
    move |slot| {
        let index = servers.get(slot as usize);
        index.is_some_and(|&index| world.works(ServerId { service, index }))
    }
}

impl Source for Discovery {
    fn collect(&self, sink: &mut dyn Sink) {
        for group in self.lock().iter() {
            let service = ("service", group.service_name.as_str());
            let labels = [service, ("name", group.name.as_str())];
            for (result, counter) in RESULTS.iter().zip(&group.results) {
                let labels = [service, ("name", group.name.as_str()), ("result", result)];
                let help = "DNS queries for the servers of a service, by result.";
                sink.counter(
                    "evenkeel_discover_answers_total",
                    help,
                    &labels,
                    counter.value(),
                );
            }
            let report = group.report();
            let found = "Servers in the last good DNS answer.";
            sink.gauge(
                "evenkeel_discover_servers",
                found,
                &labels,
                report.found as f64,
            );
            let surplus = "Servers in the last good DNS answer without a slot.";
            sink.gauge(
                "evenkeel_discover_surplus",
                surplus,
                &labels,
                report.surplus as f64,
            );
            let held = "Whether a removal of more than half of the working servers is held back.";
            let is_held = f64::from(u8::from(report.held_back > 0));
            sink.gauge("evenkeel_discover_held_back", held, &labels, is_held);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_config::plan::AddressFamily;

    use super::*;

    fn group(service: u32, name: &str, servers: &[u32]) -> GroupKey {
        let plan = DiscoverPlan {
            name: name.to_owned(),
            port: Some(80),
            label: "dns".to_owned(),
            servers: servers.to_vec(),
            resolver: Vec::new(),
            family: AddressFamily::Any,
            least: Duration::from_secs(1),
            most: Duration::from_secs(60),
            hold: Duration::from_secs(60),
            fixed: None,
        };
        GroupKey::new(ServiceId(service), &plan)
    }

    #[test]
    fn what_is_unchanged_goes_on() {
        let running = [
            group(0, "a", &[0, 1]),
            group(0, "b", &[2]),
            group(1, "a", &[0]),
        ];
        let wanted = [
            group(1, "a", &[0]),
            group(0, "a", &[0, 1, 3]),
            group(2, "c", &[0]),
        ];
        let changes = GroupChanges::between(running.iter(), &wanted);
        assert_eq!(changes.gone, running[..2]);
        assert_eq!(changes.new, wanted[1..]);
        assert!(GroupChanges::between(wanted.iter(), &wanted).new.is_empty());
    }
}
