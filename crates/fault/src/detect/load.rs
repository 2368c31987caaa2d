//! Detects overload, by the requests that accumulate on the servers, long before requests or probes fail.
//!
//! Intuition: a server with more work than it can do takes longer and longer, and has more and more requests in flight.
//! Neither alone is proof. A slow dependency delays answers too, but then the number of requests in flight stops
//! growing once the first late answers have arrived. Many long requests are in flight for a long time, but take no
//! longer than usual. So a server is overloaded if it answers, its answers take several times as long as usual, and its
//! requests in flight keep growing meanwhile; and more requests than usual arrive, or the condition has lasted for
//! seconds. No answer at all is a hang, which is another fault.
//!
//! The input is counters that exist anyway, read several times per second, so it costs requests nothing.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::{Instant, LimitHint};

use crate::contract::ServerLoad;

/// Samples closer than this are ignored.
const LEAST_STEP: Duration = Duration::from_millis(50);
/// After a gap this long, earlier observations are not compared with.
const LONGEST_STEP: Duration = Duration::from_secs(1);
/// The number of steps per judgement.
const STEPS: usize = 3;
/// How long usual values are remembered.
const MEMORY: f64 = 60.0;
/// So much longer what is usual takes in what is not.
const RELUCTANCE: f64 = 10.0;
/// How long it takes until usual values are known …
const KNOWN_AFTER: Duration = Duration::from_secs(3);
/// … and this many answers.
const KNOWN_BY: u64 = 50;
/// Answers take this many times as long …
const SLOWER: f64 = 3.0;
/// … and so much longer.
const LATER: f64 = 0.02;
/// This many times as many requests are in flight …
const CROWDED: f64 = 3.0;
/// … and so much at least.
const LEAST_CROWD: u32 = 8;
/// The growth of requests in flight, as a fraction of the answered ones.
const GROWS: f64 = 0.05;
/// So many times as much as usual comes.
const MORE: f64 = 1.3;
/// The number of consecutive evaluations if more requests than usual arrive …
const LOOKS: u32 = 3;
/// … and the number if not.
const MANY_LOOKS: u32 = 20;
/// It counts as overloaded for so long after that.
const HOLDS: Duration = Duration::from_secs(1);
/// The initial limit, as a multiple of what the server can work on concurrently, as far as that is known.
const ROOM: f64 = 1.5;

/// Load observations of one service.
#[derive(Debug, Default)]
pub struct ServiceLoadWatch {
    servers: Vec<ServerLoadWatch>,
    at: Option<Instant>,
    /// Nothing is learnt while its own limit makes things unusual.
    is_frozen: bool,
}

#[derive(Debug, Default)]
struct ServerLoadWatch {
    before: VecDeque<(Instant, ServerLoad)>,
    known_for: Duration,
    answers: u64,
    usual: UsualLoad,
    looks: u32,
    /// When the first of these looks was.
    since: Instant,
    hot_until: Instant,
    /// Answers a second, and how long they take now; as of the last look.
    now: UsualLoad,
}

/// Means over the last while.
#[derive(Debug, Clone, Copy, Default)]
struct UsualLoad {
    /// Seconds from the request to the answer.
    latency: f64,
    in_flight: f64,
    /// Requests a second that come.
    rate: f64,
    /// Answers a second.
    answered: f64,
}

/// The evidence for an overload.
#[derive(Debug, Clone, PartialEq)]
pub struct Overload {
    /// The places of the servers that have too much.
    pub servers: Vec<usize>,
    /// When the first of them showed it.
    pub since: Instant,
    /// Why, in words.
    pub text: String,
}

impl ServiceLoadWatch {
    /// Records the state at `now`, by server index.
    pub fn take(&mut self, now: Instant, loads: &[ServerLoad]) {
        let step = self.at.map(|at| now.since(at));
        if step.is_some_and(|step| step < LEAST_STEP) {
            return;
        }
        self.at = Some(now);
        self.servers
            .resize_with(loads.len(), ServerLoadWatch::default);
        let is_continued = step.is_some_and(|step| step <= LONGEST_STEP);
        for (server, load) in self.servers.iter_mut().zip(loads) {
            if !is_continued {
                server.before.clear();
                server.looks = 0;
            }
            server.take(now, *load, self.is_frozen);
        }
    }

    /// Another server is in this slot.
    pub fn forget(&mut self, index: usize) {
        if let Some(server) = self.servers.get_mut(index) {
            *server = ServerLoadWatch::default();
        }
    }

    /// Whether what is usual is learnt, or kept as it is.
    pub const fn freeze(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
    }

    /// Whether half of the servers with traffic are overloaded.
    #[must_use]
    pub fn overload(&self, now: Instant) -> Option<Overload> {
        let asked = self.servers.iter().filter(|one| one.now.rate > 0.0).count();
        let hot: Vec<usize> = (0..self.servers.len())
            .filter(|&slot| now < self.servers[slot].hot_until)
            .collect();
        if !self.is_overloaded(now) {
            return None;
        }
        let first = self.servers.get(*hot.first()?)?;
        let text = format!(
            "{} of {asked} servers have more than they can do: {:.0} requests a second come to one of them (usually {:.0}), \
             {:.0} a second are answered, and an answer takes {:.0} ms (usually {:.0} ms)",
            hot.len(),
            first.now.rate,
            first.usual.rate,
            first.now.answered,
            first.now.latency * 1e3,
            first.usual.latency * 1e3,
        );
        let since = hot.iter().map(|&slot| self.servers[slot].since);
        Some(Overload {
            since: since.min()?,
            servers: hot,
            text,
        })
    }

    /// The same as a bare answer.
    #[must_use]
    pub fn is_overloaded(&self, now: Instant) -> bool {
        let asked = self.servers.iter().filter(|one| one.now.rate > 0.0).count();
        let hot = self
            .servers
            .iter()
            .filter(|one| now < one.hot_until)
            .count();
        hot > 0 && hot * 2 >= asked
    }

    /// The initial limit of each server.
    #[must_use]
    pub fn hints(&self) -> Vec<LimitHint> {
        self.servers.iter().map(ServerLoadWatch::hint).collect()
    }
}

impl ServerLoadWatch {
    fn take(&mut self, now: Instant, load: ServerLoad, is_frozen: bool) {
        if let Some((at, last)) = self.before.back() {
            let seconds = now.since(*at).as_secs_f64();
            let step = UsualLoad::between(last, &load, seconds);
            if !is_frozen {
                self.learn(step, seconds);
            }
        }
        let first = self.before.front().copied();
        self.before.push_back((now, load));
        let Some((at, first)) = first.filter(|_| self.before.len() > STEPS) else {
            return;
        };
        self.before.pop_front();
        self.now = UsualLoad::between(&first, &load, now.since(at).as_secs_f64());
        if self.is_hot(&first, &load) {
            self.looks += 1;
            if self.looks == 1 {
                self.since = now;
            }
        } else {
            self.looks = 0;
        }
        let more = self.now.rate >= self.usual.rate * MORE;
        if self.looks >= if more { LOOKS } else { MANY_LOOKS } {
            self.hot_until = now + HOLDS;
        }
    }

    fn learn(&mut self, step: UsualLoad, seconds: f64) {
        self.known_for += Duration::from_secs_f64(seconds);
        let answers = step.answered * seconds;
        self.answers = self.answers.saturating_add(answers as u64);
        let known = self.known_for.as_secs_f64();
        let part = (seconds / known.min(MEMORY)).min(1.0);
        let usual = &mut self.usual;
        usual.rate += (step.rate - usual.rate) * part;
        usual.in_flight += (step.in_flight - usual.in_flight) * part;
        if answers > 0.0 {
            let is_odd = self.answers >= KNOWN_BY && step.latency > usual.latency * SLOWER;
            let part = if is_odd { part / RELUCTANCE } else { part };
            let part = if usual.latency == 0.0 { 1.0 } else { part };
            usual.latency += (step.latency - usual.latency) * part;
        }
    }

    fn is_known(&self) -> bool {
        self.known_for >= KNOWN_AFTER && self.answers >= KNOWN_BY && self.usual.latency > 0.0
    }

    fn is_hot(&self, first: &ServerLoad, last: &ServerLoad) -> bool {
        let (now, usual) = (&self.now, &self.usual);
        let answered = last.answered.saturating_sub(first.answered) as f64;
        let grown = f64::from(last.in_flight) - f64::from(first.in_flight);
        self.is_known()
            && answered >= 3.0
            && now.latency >= usual.latency * SLOWER
            && now.latency >= usual.latency + LATER
            && last.in_flight >= LEAST_CROWD
            && f64::from(last.in_flight) >= usual.in_flight * CROWDED
            && grown > (answered * GROWS).max(2.0)
    }

    /// The answers per second times the unloaded response time are the requests worked on concurrently (Little's law).
    fn hint(&self) -> LimitHint {
        if !self.is_known() {
            return LimitHint::default();
        }
        let at_once = self.now.answered.max(self.usual.rate) * self.usual.latency;
        LimitHint {
            initial: (at_once * ROOM).ceil() as u32 + 1,
            usual: Duration::from_secs_f64(self.usual.latency),
        }
    }
}

impl UsualLoad {
    fn between(first: &ServerLoad, last: &ServerLoad, seconds: f64) -> Self {
        let answered = last.answered.saturating_sub(first.answered) as f64;
        let busy = last.busy.saturating_sub(first.busy).as_secs_f64();
        let grown = f64::from(last.in_flight) - f64::from(first.in_flight);
        Self {
            latency: if answered > 0.0 { busy / answered } else { 0.0 },
            in_flight: f64::from(last.in_flight),
            rate: (answered + grown).max(0.0) / seconds.max(1e-3),
            answered: answered / seconds.max(1e-3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One server: what comes, what it can do at once, and how long each takes, moment by moment. A queue, in steps of a millisecond.
    struct QueueModel {
        now: Instant,
        watch: ServiceLoadWatch,
        load: ServerLoad,
        /// When each that waits came; when each that is worked on came, and is done.
        queue: VecDeque<Instant>,
        busy: Vec<(Instant, Instant)>,
        credit: f64,
        slots: usize,
        takes: Duration,
        stopped: bool,
        alarmed: bool,
    }

    impl QueueModel {
        fn new(slots: usize, millis: u64) -> Self {
            Self {
                now: Instant::ZERO,
                watch: ServiceLoadWatch::default(),
                load: ServerLoad::default(),
                queue: VecDeque::new(),
                busy: Vec::new(),
                credit: 0.0,
                slots,
                takes: Duration::from_millis(millis),
                stopped: false,
                alarmed: false,
            }
        }

        fn run(&mut self, millis: u64, per_second: f64) -> &mut Self {
            for step in 0..millis {
                self.now += Duration::from_millis(1);
                self.credit += per_second / 1e3;
                while self.credit >= 1.0 {
                    self.credit -= 1.0;
                    self.queue.push_back(self.now);
                    self.load.in_flight += 1;
                }
                if !self.stopped {
                    let done: Vec<_> = self.busy.extract_if(.., |one| one.1 <= self.now).collect();
                    for (came, _) in done {
                        self.load.answered += 1;
                        self.load.in_flight -= 1;
                        self.load.busy += self.now - came;
                    }
                    while self.busy.len() < self.slots {
                        let Some(came) = self.queue.pop_front() else {
                            break;
                        };
                        self.busy.push((came, self.now + self.takes));
                    }
                }
                if step % 100 == 0 {
                    self.watch.take(self.now, &[self.load]);
                    self.alarmed |= self.watch.overload(self.now).is_some();
                }
            }
            self
        }
    }

    #[test]
    fn five_times_the_load_is_seen_within_a_second_and_the_slots_are_found() {
        let mut model = QueueModel::new(4, 20);
        assert!(!model.run(20_000, 100.0).alarmed);
        assert!(model.run(1_000, 500.0).alarmed);
        let hint = model.watch.hints()[0];
        assert!((4..=8).contains(&hint.initial), "{hint:?}");
        assert!(hint.usual.abs_diff(Duration::from_millis(20)) < Duration::from_millis(4));
        let overload = model.watch.overload(model.now).expect("it is");
        assert_eq!(overload.servers, [0]);
        assert!(
            overload.text.starts_with("1 of 1 servers"),
            "{}",
            overload.text
        );
        // It is over when what has gathered is done.
        model.alarmed = false;
        model.run(20_000, 50.0).alarmed = false;
        assert!(!model.run(10_000, 100.0).alarmed);
    }

    #[test]
    fn a_load_that_creeps_beyond_what_can_be_done_is_seen_too() {
        let mut model = QueueModel::new(4, 20);
        for per_second in (100..=190).step_by(2) {
            model.run(2_000, f64::from(per_second));
        }
        assert!(!model.alarmed);
        assert!(model.run(10_000, 230.0).alarmed);
    }

    #[test]
    fn what_is_not_too_much_is_not_taken_for_it() {
        // Twice the load, which it can do; then half.
        let mut model = QueueModel::new(4, 20);
        model.run(20_000, 80.0).run(20_000, 160.0).run(20_000, 40.0);
        assert!(!model.alarmed, "a load that doubles");
        // A dependency becomes ten times as slow, and the server has enough threads to wait for it.
        for slow in [200, 1_000] {
            let mut model = QueueModel::new(1_000, 20);
            model.run(20_000, 200.0).takes = Duration::from_millis(slow);
            assert!(
                !model.run(20_000, 200.0).alarmed,
                "answers that take {slow} ms"
            );
        }
        // It stands still for a while, and makes up for it.
        let mut model = QueueModel::new(8, 20);
        model.run(20_000, 200.0);
        for _ in 0..5 {
            model.stopped = true;
            model.run(3_000, 200.0).stopped = false;
            model.run(10_000, 200.0);
        }
        assert!(!model.alarmed, "pauses");
        // It hangs.
        model.stopped = true;
        assert!(!model.run(20_000, 200.0).alarmed, "a hang");
    }

    #[test]
    fn a_gap_in_the_samples_raises_no_alarm() {
        let mut model = QueueModel::new(4, 20);
        model.run(20_000, 100.0);
        let load = ServerLoad {
            in_flight: 500,
            answered: model.load.answered + 500,
            busy: model.load.busy + Duration::from_secs(500),
        };
        let later = model.now + Duration::from_secs(5);
        for step in 0..3 {
            model
                .watch
                .take(later + Duration::from_millis(step), &[load]);
        }
        assert_eq!(model.watch.overload(later), None);
    }
}
