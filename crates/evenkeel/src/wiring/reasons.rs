//! Why each server of a service gets its share: gathered from the balancer and the counters, put into words by `why`.

use evenkeel_admin::{ServerWhy, ServiceWhy};
use evenkeel_balance::Member;
use evenkeel_proxy::ServiceEntry;

use super::live::Now;
use super::why::{self, Case};

impl Now {
    pub(super) fn service_why(&self, id: u32, entry: &ServiceEntry) -> ServiceWhy {
        let now = self.clock.now();
        let view = self.service(id, entry, now);
        let roster = entry.roster();
        let options = roster.pool().options();
        let scores = scores(entry);
        let best = scores
            .iter()
            .zip(roster.pool().intended(now))
            .filter(|(_, intended)| *intended > 0.0)
            .filter_map(|(score, _)| *score)
            .min_by(f64::total_cmp);
        let open = &self.views.now().open;
        let servers: Vec<ServerWhy> = view
            .servers
            .into_iter()
            .filter_map(|server| {
                // Places at which nobody is are not shown.
                let mut all = entry.servers().iter();
                let place = all.position(|one| one.name() == server.name)?;
                Some((place, server))
            })
            .map(|(place, server)| {
                let member = &roster.pool().members()[place];
                let incident = open.iter().find(|incident| {
                    incident.service == view.name && incident.servers.contains(&server.name)
                });
                let changes_in = roster.pool().next_change(place, now).map(|at| at - now);
                let case = Case {
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
                };
                ServerWhy {
                    sentence: case.sentence(),
                    part: case.part,
                    score: case.score,
                    changes_in_ms: changes_in.map(|time| time.as_secs_f64() * 1e3),
                    incident: case.incident.map(str::to_owned),
                    weight: server.weight,
                    tier: server.tier,
                    standing: server.standing,
                    latency_ms: server.latency_ms,
                    in_flight: server.in_flight,
                    share_intended: server.share_intended,
                    share_got: server.share_got,
                    picks: server.picks,
                    name: server.name,
                }
            })
            .collect();
        let is_panic =
            |server: &ServerWhy| server.standing == "ejected" && server.share_intended > 0.0;
        ServiceWhy {
            panic: servers.iter().any(is_panic),
            policy: view.policy,
            options: why::options(options),
            score: why::score_in_words(options.policy).to_owned(),
            name: view.name,
            servers,
        }
    }
}

/// The latency estimate of a server in milliseconds.
pub(super) fn latency_ms(member: &Member) -> Option<f64> {
    let latency = member.state.latency()?;
    Some(latency.as_secs_f64() * 1e3)
}

/// How the policy of a service sees each of its servers.
fn scores(entry: &ServiceEntry) -> Vec<Option<f64>> {
    let roster = entry.roster();
    let members = roster.pool().members();
    let mut known: Vec<f64> = members.iter().filter_map(latency_ms).collect();
    known.sort_by(f64::total_cmp);
    // The lower one of the two in the middle, as the balancer takes it.
    let middle = known.len().saturating_sub(1) / 2;
    let typical = known.get(middle).copied().unwrap_or(1.0);
    let policy = roster.pool().options().policy;
    let score = |member: &Member| {
        let in_flight = member.state.in_flight();
        why::score(
            policy,
            member.weight,
            in_flight,
            latency_ms(member),
            typical,
        )
    };
    members.iter().map(score).collect()
}
