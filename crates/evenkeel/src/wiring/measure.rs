//! Rates of services and servers over the last seconds: the difference of two counter snapshots.
//!
//! A task takes snapshots every few seconds, off the request path. A query compares the current counters with the
//! oldest retained snapshot, so a rate covers the last 5 to 10 s up to the moment of the query.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel_admin::RecentTraffic;
use evenkeel_balance::Member;
use evenkeel_core::metric::{DURATION_BOUNDS_SECONDS, DurationSnapshot};
use evenkeel_core::{Instant, ServerId, ServiceId};
use evenkeel_proxy::ProxyState;
use evenkeel_runtime::Clock;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// So many looks are kept, of 120 bytes a server each.
const LOOKS: usize = 2;
/// Buckets of a histogram of durations.
const DURATIONS: usize = DURATION_BOUNDS_SECONDS.len() + 1;
/// Over less time a rate says nothing.
const LEAST: Duration = Duration::from_millis(200);

/// Counters of a service or a server, at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CounterSample {
    /// Requests or attempts that ended.
    pub(super) ended: u64,
    pub(super) failed: u64,
    pub(super) picks: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) durations: DurationSnapshot,
}

/// Counters of a service and its servers.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceCounterSample {
    pub(super) whole: CounterSample,
    pub(super) servers: Vec<CounterSample>,
}

/// All counters at one moment.
#[derive(Debug)]
pub(super) struct PickSnapshot {
    at: Instant,
    services: Vec<KeptCounters>,
}

/// The retained counters of a service and its servers.
#[derive(Debug, Default)]
struct KeptCounters {
    whole: LowHalves,
    servers: Box<[LowHalves]>,
}

/// The low halves of counters: enough to say by how much they grew in a few seconds, for ten thousand servers.
#[derive(Debug, Clone, Copy, Default)]
struct LowHalves {
    ended: u32,
    failed: u32,
    picks: u32,
    counts: [u32; DURATIONS],
    sent: u64,
    received: u64,
    sum_nanos: u64,
}

/// The latest looks. Copies show the same.
#[derive(Debug, Clone, Default)]
pub(super) struct CounterHistory(Arc<Mutex<VecDeque<Arc<PickSnapshot>>>>);

impl CounterSample {
    /// Their increase since then.
    fn since(&self, then: &LowHalves) -> Self {
        let mut durations = self.durations;
        for (count, before) in durations.counts.iter_mut().zip(then.counts) {
            *count = more(*count, before);
        }
        durations.sum_nanos = durations.sum_nanos.saturating_sub(then.sum_nanos);
        Self {
            ended: more(self.ended, then.ended),
            failed: more(self.failed, then.failed),
            picks: more(self.picks, then.picks),
            sent: self.sent.saturating_sub(then.sent),
            received: self.received.saturating_sub(then.received),
            durations,
        }
    }

    fn low(&self) -> LowHalves {
        LowHalves {
            ended: low(self.ended),
            failed: low(self.failed),
            picks: low(self.picks),
            counts: self.durations.counts.map(low),
            sent: self.sent,
            received: self.received,
            sum_nanos: self.durations.sum_nanos,
        }
    }

    /// As rates over `time`.
    pub(super) fn recent(&self, time: Duration) -> RecentTraffic {
        if time < LEAST {
            return RecentTraffic::default();
        }
        let seconds = time.as_secs_f64();
        let rate = |number: u64| number as f64 / seconds;
        RecentTraffic {
            seconds,
            requests_per_second: rate(self.ended),
            failures_per_second: rate(self.failed),
            sent_bytes_per_second: rate(self.sent),
            received_bytes_per_second: rate(self.received),
            p50_ms: millis(&self.durations, 0.5),
            p90_ms: millis(&self.durations, 0.9),
            p99_ms: millis(&self.durations, 0.99),
        }
    }
}

impl ServiceCounterSample {
    /// A service's counters now.
    pub(super) fn of(state: &ProxyState, service: ServiceId) -> Self {
        let number =
            (state.service(service)).map_or(0, |entry| entry.servers().pool().members().len());
        let servers: Vec<CounterSample> = (0_u32..)
            .take(number)
            .map(|index| {
                let id = ServerId { service, index };
                let (totals, flow) = (state.server_totals(id), state.server_flow(id));
                CounterSample {
                    ended: totals.attempts,
                    failed: totals.failures,
                    picks: flow.picks.iter().sum(),
                    sent: flow.bytes_sent,
                    received: flow.bytes_received,
                    durations: totals.durations,
                }
            })
            .collect();
        let totals = state.totals(service);
        let sum = |number: fn(&CounterSample) -> u64| servers.iter().map(number).sum();
        let whole = CounterSample {
            ended: totals.requests,
            failed: totals.failed,
            picks: sum(|server| server.picks),
            sent: sum(|server| server.sent),
            received: sum(|server| server.received),
            durations: state.response_times(service),
        };
        Self { whole, servers }
    }

    fn kept(&self) -> KeptCounters {
        KeptCounters {
            whole: self.whole.low(),
            servers: self.servers.iter().map(CounterSample::low).collect(),
        }
    }

    /// Their increase since then.
    fn since(&self, then: &KeptCounters) -> Self {
        let nothing = LowHalves::default();
        let then_of = |place: usize| then.servers.get(place).unwrap_or(&nothing);
        let servers = self.servers.iter().enumerate();
        Self {
            whole: self.whole.since(&then.whole),
            servers: servers
                .map(|(place, server)| server.since(then_of(place)))
                .collect(),
        }
    }

    /// The share of all picks that the server at `place` got, if there were any.
    pub(super) fn share_got(&self, place: usize) -> Option<f64> {
        let picks = self.servers.get(place)?.picks;
        (self.whole.picks > 0).then(|| picks as f64 / self.whole.picks as f64)
    }
}

impl CounterHistory {
    /// Looks again and again, for ever.
    pub(super) async fn keep(self, state: Arc<ProxyState>, clock: Clock) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            self.make_room();
            let services = state.services();
            let slots = services.iter().map(|entry| entry.id().0 + 1).max();
            let services = (0..slots.unwrap_or_default())
                .map(|id| ServiceCounterSample::of(&state, ServiceId(id)).kept())
                .collect();
            self.note(PickSnapshot {
                at: clock.now(),
                services,
            });
        }
    }

    /// The oldest one goes before the next is taken, so that there are never more in memory. The one that is left is old
    /// enough by then.
    fn make_room(&self) {
        let mut counter_history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counter_history.len() >= LOOKS {
            counter_history.pop_front();
        }
    }

    fn note(&self, snapshot: PickSnapshot) {
        let mut counter_history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counter_history.push_back(Arc::new(snapshot));
    }

    /// The activity of a service with the current counters `numbers` since the oldest snapshot, and its age.
    pub(super) fn since(
        &self,
        service: ServiceId,
        numbers: &ServiceCounterSample,
        now: Instant,
    ) -> (ServiceCounterSample, Duration) {
        let oldest = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .front()
            .map(Arc::clone);
        let then = oldest
            .as_ref()
            .and_then(|snapshot| Some((snapshot.services.get(service.0 as usize)?, snapshot.at)));
        match then {
            Some((then, at)) => (numbers.since(then), now.since(at)),
            None => (ServiceCounterSample::default(), Duration::ZERO),
        }
    }
}

const fn low(number: u64) -> u32 {
    number as u32
}

/// By how much a counter has grown, if that is less than 2³².
const fn more(now: u64, before: u32) -> u64 {
    low(now).wrapping_sub(before) as u64
}

/// A quantile in milliseconds.
pub(super) fn millis(durations: &DurationSnapshot, quantile: f64) -> Option<f64> {
    durations.quantile(quantile).map(|seconds| seconds * 1e3)
}

/// The latency estimate of a server in milliseconds.
pub(super) fn latency_ms(member: &Member) -> Option<f64> {
    let latency = member.state.latency()?;
    Some(latency.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(picks: [u64; 2]) -> ServiceCounterSample {
        let server = |picks| CounterSample {
            picks,
            ended: picks,
            sent: picks * 100,
            ..CounterSample::default()
        };
        ServiceCounterSample {
            whole: server(picks[0] + picks[1]),
            servers: picks.map(server).to_vec(),
        }
    }

    fn snapshot(seconds: u64, picks: [u64; 2]) -> PickSnapshot {
        PickSnapshot {
            at: Instant::from_millis(seconds * 1000),
            services: vec![numbers(picks).kept()],
        }
    }

    #[test]
    fn a_counter_that_passes_its_low_half_has_grown() {
        assert_eq!(more((1 << 32) + 5, low((1 << 32) - 7)), 12);
        assert_eq!(more(7, 7), 0);
    }

    #[test]
    fn rates_are_of_the_last_seconds_and_not_since_the_start() {
        let counter_history = CounterHistory::default();
        let ask = |at: u64, picks| {
            let now = Instant::from_millis(at * 1000);
            counter_history.since(ServiceId(0), &numbers(picks), now)
        };
        assert_eq!(ask(0, [1, 1]).1, Duration::ZERO, "nothing to compare with");
        for (seconds, picks) in [(0, [1000, 0]), (5, [1000, 10])] {
            counter_history.note(snapshot(seconds, picks));
        }
        let (numbers, time) = ask(8, [1010, 30]);
        let recent = numbers.whole.recent(time);
        assert!(
            (recent.requests_per_second - 5.0).abs() < 1e-9,
            "{recent:?}"
        );
        assert!((recent.sent_bytes_per_second - 500.0).abs() < 1e-9);
        assert_eq!(numbers.share_got(0), Some(0.25));
        assert_eq!(numbers.share_got(7), None);
        counter_history.make_room();
        counter_history.note(snapshot(10, [1010, 40]));
        let (numbers, time) = ask(14, [1010, 40]);
        assert_eq!(time, Duration::from_secs(9), "the oldest look is gone");
        assert_eq!(numbers.whole.ended, 40);
    }

    #[test]
    fn rates_need_a_minimum_interval() {
        let numbers = CounterSample {
            ended: 5,
            ..CounterSample::default()
        };
        assert_eq!(
            numbers.recent(Duration::from_millis(1)),
            RecentTraffic::default()
        );
    }
}
