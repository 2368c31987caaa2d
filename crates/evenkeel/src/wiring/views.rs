//! Views of services and their servers: gathered from the balancer, the counters and the control loop's snapshot.

use std::collections::BTreeMap;

use evenkeel_admin::{OpenIncident, RecentTraffic, ServerView, ServiceView};
use evenkeel_balance::PickReason;
use evenkeel_core::{Endpoint, Instant, ServerId, ServiceId};
use evenkeel_proxy::ServiceEntry;

use super::measure::{ServiceCounterSample, latency_ms, millis};
use super::now::LiveBackend;

impl LiveBackend {
    pub(super) fn service(&self, id: u32, entry: &ServiceEntry, now: Instant) -> ServiceView {
        let service = ServiceId(id);
        let totals = self.state.totals(service);
        let numbers = ServiceCounterSample::of(&self.state, service);
        let (since, time) = self.counter_history.since(service, &numbers, now);
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
                let of_server = numbers.servers.get(place);
                let durations = of_server.map(|numbers| numbers.durations);
                let durations = &durations.unwrap_or_default();
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
                        .map_or_else(RecentTraffic::default, |numbers| numbers.recent(time)),
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
            policy: self.policy(ServiceId(id)),
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

    /// The view of a server without history.
    fn server(&self, id: ServerId, entry: &ServiceEntry, now: Instant) -> ServerView {
        let server_set = entry.servers();
        let member = &server_set.pool().members()[id.index as usize];
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
            name: server_set.name(id.index).to_owned(),
            address: address.map_or_else(String::new, Endpoint::to_string),
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
