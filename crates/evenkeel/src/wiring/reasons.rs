//! Why each server of a service gets its share: gathered from the balancer and the counters, put into words by `why`.

use std::time::Duration;

use evenkeel_admin::{ActionSuccess, OutlookView, ServerView, ServerWhy, ServiceWhy};
use evenkeel_balance::Member;
use evenkeel_control::Outlooks;
use evenkeel_core::{Instant, ServerId, ServiceId};
use evenkeel_proxy::ServiceEntry;

use super::measure::latency_ms;
use super::now::LiveBackend;
use super::why::{self, ProbeCoverage, RecentLoad, ServerSituation};

/// Answers are used for so long.
const LATELY: Duration = Duration::from_secs(1);

impl LiveBackend {
    pub(super) fn service_why(&self, id: u32, entry: &ServiceEntry) -> ServiceWhy {
        let now = self.clock.now();
        let view = self.service(id, entry, now);
        let server_set = entry.servers();
        let options = server_set.pool().options();
        let probed = entry.ask().map(|_| probed(entry, now));
        let scores = scores(entry, probed.as_deref());
        let best = scores
            .iter()
            .zip(server_set.pool().intended(now))
            .filter(|(_, intended)| *intended > 0.0)
            .filter_map(|(score, _)| *score)
            .min_by(f64::total_cmp);
        let known = self.views.now();
        let (open, outlooks) = (&known.open, &known.outlooks);
        let servers: Vec<ServerWhy> = view
            .servers
            .into_iter()
            .filter_map(|server| {
                // Empty slots are not shown.
                let mut all = server_set.names();
                let (index, _) = all.find(|(_, one)| *one == server.name)?;
                Some((index as usize, server))
            })
            .map(|(place, server)| {
                let member = &server_set.pool().members()[place];
                let incident = open.iter().find(|incident| {
                    incident.service == view.name && incident.servers.contains(&server.name)
                });
                let changes_in = server_set.pool().next_change(place, now).map(|at| at - now);
                let found = u32::try_from(place)
                    .ok()
                    .and_then(|place| server_set.limit(place));
                let case = ServerSituation {
                    name: &server.name,
                    service: &view.name,
                    policy: options.policy,
                    weight: server.weight,
                    tier: server.tier,
                    standing: member.state.standing(now),
                    part: member.state.share(now),
                    changes_in,
                    score: scores[place],
                    best,
                    intended: server.share_intended,
                    got: server.share_got,
                    incident: incident.map(|incident| incident.id.as_str()),
                    limit: server.limit.zip(found.map(|limit| limit.why)),
                    probed: probed.as_ref().map(|probed| probed[place]),
                };
                shown(&case, &server, recovery(outlooks, (id, place), now))
            })
            .collect();
        let is_panic =
            |server: &ServerWhy| server.standing == "ejected" && server.share_intended > 0.0;
        let answered = servers.iter().filter(|one| one.said_in_flight.is_some());
        let asked = entry.ask().map(|plan| ProbeCoverage {
            path: &plan.path,
            answered: answered.count(),
            servers: servers.len(),
        });
        let rates = outlooks.rates.get(&id).into_iter().flatten();
        ServiceWhy {
            success: rates.map(ActionSuccess::of).collect(),
            recovery: OutlookView::of(outlooks.service(ServiceId(id)), now),
            panic: servers.iter().any(is_panic),
            policy: view.policy,
            options: why::options(options, entry.ask()),
            score: why::score_in_words(options.policy, asked),
            name: view.name,
            servers,
        }
    }
}

/// The outlook of a server.
fn recovery(outlooks: &Outlooks, (service, place): (u32, usize), now: Instant) -> OutlookView {
    let index = u32::try_from(place).unwrap_or(u32::MAX);
    OutlookView::of(outlooks.server(ServerId::new(service, index)), now)
}

/// The view of a server.
fn shown(case: &ServerSituation<'_>, server: &ServerView, recovery: OutlookView) -> ServerWhy {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let own = case.probed.flatten();
    ServerWhy {
        sentence: case.sentence(),
        part: case.part,
        said_in_flight: own.map(|answer| answer.in_flight),
        said_latency_ms: own.and_then(|answer| answer.latency).map(millis),
        score: case.score,
        changes_in_ms: case.changes_in.map(millis),
        incident: case.incident.map(str::to_owned),
        name: server.name.clone(),
        weight: server.weight,
        tier: server.tier,
        standing: server.standing.clone(),
        latency_ms: server.latency_ms,
        in_flight: server.in_flight,
        share_intended: server.share_intended,
        share_got: server.share_got,
        picks: server.picks.clone(),
        recovery,
    }
}

/// The recent answers of servers to load probes.
fn probed(entry: &ServiceEntry, now: Instant) -> Vec<RecentLoad> {
    let lately = |member: &Member| {
        let (answer, at) = member.state.answered()?;
        (now.since(at) < LATELY).then_some(answer)
    };
    let server_set = entry.servers();
    server_set.pool().members().iter().map(lately).collect()
}

/// How the policy of a service sees each of its servers, who said this of themselves.
fn scores(entry: &ServiceEntry, probed: Option<&[RecentLoad]>) -> Vec<Option<f64>> {
    let server_set = entry.servers();
    let members = server_set.pool().members();
    let mut known: Vec<f64> = members.iter().filter_map(latency_ms).collect();
    known.sort_by(f64::total_cmp);
    // The lower one of the two in the middle, as the balancer takes it.
    let middle = known.len().saturating_sub(1) / 2;
    let typical = known.get(middle).copied().unwrap_or(1.0);
    let policy = server_set.pool().options().policy;
    let score = |(place, member): (usize, &Member)| {
        let in_flight = member.state.in_flight();
        let own = probed
            .and_then(|probed| probed[place])
            .and_then(|answer| answer.latency);
        let own = own.map(|latency| latency.as_secs_f64() * 1e3);
        let latency = own.or_else(|| latency_ms(member));
        why::score(policy, member.weight, in_flight, latency, typical)
    };
    members.iter().enumerate().map(score).collect()
}
