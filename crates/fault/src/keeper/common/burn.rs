//! Slow burns of a service: evaluated while it has no incident of its own, and recorded as an incident without repairs.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::common_cause::{CommonCause, Failing};
use crate::contract::Output;
use crate::detect::{Detection, Detector, RecentTypical};
use crate::keeper::Keeper;
use crate::keeper::service::WatchedService;
use crate::kind::FaultKind;
use crate::policy::SlowServerOptions;
use crate::slow_burn::{Burn, ServerRoute, Speed, UsualSpeed, slow_together};

use super::burn_watch::SETTLED;

/// Between two looks while something fails.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two lessons how fast servers usually are.
const LEARN_EVERY: Duration = Duration::from_secs(10);
/// So many routes are named.
const NAMED: usize = 3;

impl WatchedService {
    /// Whether a slow burn may be looked for, and found, now.
    fn may_burn(&self) -> bool {
        self.common.is_none() && !self.is_suspended()
    }

    fn all_present(&self) -> Vec<usize> {
        let servers = self.servers.iter().enumerate();
        let present = servers.filter(|(_, server)| server.vacant.is_none());
        present.map(|(index, _)| index).collect()
    }

    /// How fast its servers are, and usually are. Where each gets requests of its own, a short past says little of the next ones.
    fn speeds(
        &mut self,
        latest: &[Option<RecentTypical>],
        options: &SlowServerOptions,
    ) -> Vec<Option<Speed>> {
        let usual = &mut self.burn.usual;
        usual.resize(latest.len(), UsualSpeed::default());
        let speeds = latest.iter().zip(usual).map(|(latest, usual)| {
            let latest = latest.filter(|_| usual.is_settled() || !options.mixes_differ)?;
            Some(Speed {
                median: latest.attempts.median,
                count: latest.attempts.count,
                usual: *usual,
            })
        });
        speeds.collect()
    }

    /// More of its answers fail than usually.
    fn cause_of_burn(&mut self, now: Instant, burn: &Burn) -> CommonCause {
        let fails = |&index: &usize| {
            let attempts = &self.servers[index].facts.attempts;
            attempts.failures(now).next().is_some()
        };
        let mut servers: Vec<usize> = self.all_present().into_iter().filter(fails).collect();
        if servers.is_empty() {
            servers = self.all_present();
        }
        CommonCause {
            kind: FaultKind::ErrorBurst,
            confidence: 0.8,
            servers,
            symptom: None,
            failing: None,
            by_statistics: true,
            onset: burn.since,
            evidence: vec![burn.text()],
        }
    }
}

/// A route fails on one server and succeeds on others.
fn cause_of_pair(service: &WatchedService, pair: &ServerRoute) -> CommonCause {
    let name = service.servers.get(pair.server as usize);
    let name = name.map_or("", |server| server.name.as_str());
    let mut evidence = vec![format!(
        "{} of {} of its requests failed on {name} alone; they succeed on other servers, and so does everything else on {name}",
        pair.failed,
        pair.failed + pair.succeeded
    )];
    if pair.hung > 0 {
        evidence.push(format!("{} of them got no answer in time", pair.hung));
    }
    CommonCause {
        kind: FaultKind::BrokenRoute,
        confidence: 0.85,
        servers: vec![pair.server as usize],
        symptom: None,
        failing: Some(Failing {
            shapes: vec![pair.shape],
            is_method: false,
            total: pair.failed + pair.succeeded,
            failed: pair.failed,
            hung: pair.hung,
            servers: 1,
            others_total: 0,
            others_succeeded: 0,
            since: pair.since,
        }),
        by_statistics: true,
        onset: pair.since,
        evidence,
    }
}

impl Keeper {
    /// Looks, now and then while something fails, for a share or a route of which too much fails.
    pub(in crate::keeper) fn judge_burns(&mut self, now: Instant, out: &mut Vec<Output>) {
        for slot in 0..self.services.len() {
            let service = &mut self.services[slot];
            if !service.burn.has_failed || now < service.burn.recheck_at {
                continue;
            }
            service.burn.recheck_at = now + LOOK_EVERY;
            service.burn.has_failed = false;
            if !service.may_burn() || service.spec.options.detect.failure_ratio.is_none() {
                continue;
            }
            let routes = service.routes.tallies(now);
            let pair = service.burn.pairs.judge(now, &routes);
            let is_quiet = |pair: &ServerRoute| {
                let server = service.servers.get(pair.server as usize);
                server.is_some_and(|server| server.is_well())
            };
            let cause = if let Some(pair) = pair.filter(is_quiet) {
                Some(cause_of_pair(service, &pair))
            } else {
                let burn = service.burn.errors.judge(now);
                burn.map(|burn| service.cause_of_burn(now, &burn))
            };
            let Some(mut cause) = cause else { continue };
            if cause.failing.is_none() {
                for route in routes.iter().take(NAMED).filter(|route| route.failed() > 0) {
                    let name = self.shared.names.of(route.shape, false);
                    let (failed, total) = (route.failed(), route.total());
                    let text = format!("{failed} of the last {total} requests of {name} failed");
                    cause.evidence.push(text);
                }
            }
            self.open_burn(now, slot, cause, out);
        }
    }

    /// Looks at how fast the servers of a service are together, whenever that was read.
    pub(in crate::keeper) fn judge_speed(
        &mut self,
        now: Instant,
        slot: usize,
        (latest, options): (&[Option<RecentTypical>], &SlowServerOptions),
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[slot];
        let may_burn = service.may_burn();
        let speeds = service.speeds(latest, options);
        let slow = slow_together(&speeds, options.times_peers);
        service.burn.note_slow(now, slow, &speeds, options);
        if now >= service.burn.learn_at && may_burn {
            service.burn.learn_at = now + LEARN_EVERY;
            service.burn.learn(latest);
        }
        let settled = service.burn.slow.clone();
        let settled = settled.filter(|(since, _)| may_burn && now.since(*since) >= SETTLED);
        if let Some((since, servers)) = settled {
            let words = servers.iter().filter_map(|&index| {
                let speed = speeds[index]?;
                let (name, usual) = (&service.servers[index].name, speed.usual.median()?);
                Some(format!(
                    "{name}: median latency of {} attempts is {:.1} ms, usually {:.1} ms",
                    speed.count,
                    speed.median.as_secs_f64() * 1e3,
                    usual.as_secs_f64() * 1e3
                ))
            });
            let cause = CommonCause {
                kind: FaultKind::SlowServer,
                confidence: 0.8,
                evidence: words.collect(),
                servers,
                symptom: None,
                failing: None,
                by_statistics: true,
                onset: since,
            };
            self.open_burn(now, slot, cause, out);
        }
    }

    fn open_burn(&mut self, now: Instant, slot: usize, cause: CommonCause, out: &mut Vec<Output>) {
        let detection = Detection {
            by: Detector::Statistics,
            onset: cause.onset,
            text: cause.evidence.join("; "),
        };
        self.open_common(now, slot, cause, Some(&(0, detection)), out);
    }
}
