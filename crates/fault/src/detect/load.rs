//! More comes than the servers can do: seen by what gathers in them, long before requests fail or probes do.
//!
//! Intuition: a server that has more to do than it can takes longer and longer, and more and more is under way in it. Neither alone
//! proves that. A dependency that has become slow makes answers late, too, but then what is under way grows no further once
//! the first late answers are there. A crowd of long requests is under way, but they take as long as ever. So a server is overloaded
//! while it answers, its answers take several times as long as usual, and what is under way grows on meanwhile; and more comes
//! than usual, or it has gone on for seconds. No answer at all is a hang, which is another fault.
//!
//! It is read from counters that there are anyway, some times a second, so it costs requests nothing.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::{Instant, LimitHint};

use crate::contract::ServerLoad;

/// Samples closer than this are not looked at.
const LEAST_STEP: Duration = Duration::from_millis(50);
/// If nobody looked for so long, what was seen before is not compared with.
const LONGEST_STEP: Duration = Duration::from_secs(1);
/// A judgement is about so many steps.
const STEPS: usize = 3;
/// What is usual is remembered so long.
const MEMORY: f64 = 60.0;
/// So much longer what is usual takes in what is not.
const RELUCTANCE: f64 = 10.0;
/// What is usual is known after so much time …
const KNOWN_AFTER: Duration = Duration::from_secs(3);
/// … and so many answers.
const KNOWN_BY: u64 = 50;
/// Answers take so many times as long …
const SLOWER: f64 = 3.0;
/// … and so much longer.
const LATER: f64 = 0.02;
/// So many times as much is under way …
const CROWDED: f64 = 3.0;
/// … and so much at least.
const LEAST_CROWD: u32 = 8;
/// What is under way grows by this part of what is answered.
const GROWS: f64 = 0.05;
/// So many times as much as usual comes.
const MORE: f64 = 1.3;
/// It is so for so many looks if more comes than usual …
const LOOKS: u32 = 3;
/// … and for so many if not.
const MANY_LOOKS: u32 = 20;
/// It counts as overloaded for so long after that.
const HOLDS: Duration = Duration::from_secs(1);
/// A limit begins with room for so many times what the server can work on at once, as far as that is known.
const ROOM: f64 = 1.5;

/// What is known of the load of one service.
#[derive(Debug, Default)]
pub struct LoadWatch {
    servers: Vec<ServerWatch>,
    at: Option<Instant>,
    /// Nothing is learnt while its own limit makes things unusual.
    is_frozen: bool,
}

#[derive(Debug, Default)]
struct ServerWatch {
    before: VecDeque<(Instant, ServerLoad)>,
    known_for: Duration,
    answers: u64,
    usual: Usual,
    looks: u32,
    /// When the first of these looks was.
    since: Instant,
    hot_until: Instant,
    /// Answers a second, and how long they take now; as of the last look.
    now: Usual,
}

/// Means over the last while.
#[derive(Debug, Clone, Copy, Default)]
struct Usual {
    /// Seconds from the request to the answer.
    latency: f64,
    in_flight: f64,
    /// Requests a second that come.
    rate: f64,
    /// Answers a second.
    answered: f64,
}

/// What speaks for an overload.
#[derive(Debug, Clone, PartialEq)]
pub struct Overload {
    /// The places of the servers that have too much.
    pub servers: Vec<usize>,
    /// Since when one of them has.
    pub since: Instant,
    /// Why, in words.
    pub text: String,
}

impl LoadWatch {
    /// Takes in how it stands at `now`, by the places of the servers.
    pub fn take(&mut self, now: Instant, loads: &[ServerLoad]) {
        let step = self.at.map(|at| now.since(at));
        if step.is_some_and(|step| step < LEAST_STEP) {
            return;
        }
        self.at = Some(now);
        self.servers.resize_with(loads.len(), ServerWatch::default);
        let is_continued = step.is_some_and(|step| step <= LONGEST_STEP);
        for (server, load) in self.servers.iter_mut().zip(loads) {
            if !is_continued {
                server.before.clear();
                server.looks = 0;
            }
            server.take(now, *load, self.is_frozen);
        }
    }

    /// Whether what is usual is learnt, or kept as it is.
    pub const fn freeze(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
    }

    /// Whether half of the servers that are asked for anything have more than they can do.
    #[must_use]
    pub fn overload(&self, now: Instant) -> Option<Overload> {
        let asked = self.servers.iter().filter(|one| one.now.rate > 0.0).count();
        let hot: Vec<usize> = (0..self.servers.len())
            .filter(|&place| now < self.servers[place].hot_until)
            .collect();
        if !self.is_too_much(now) {
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
        let since = hot.iter().map(|&place| self.servers[place].since);
        Some(Overload {
            since: since.min()?,
            servers: hot,
            text,
        })
    }

    /// The same as a bare answer.
    #[must_use]
    pub fn is_too_much(&self, now: Instant) -> bool {
        let asked = self.servers.iter().filter(|one| one.now.rate > 0.0).count();
        let hot = self
            .servers
            .iter()
            .filter(|one| now < one.hot_until)
            .count();
        hot > 0 && hot * 2 >= asked
    }

    /// Where to begin to look for the limit of each server.
    #[must_use]
    pub fn hints(&self) -> Vec<LimitHint> {
        self.servers.iter().map(ServerWatch::hint).collect()
    }
}

impl ServerWatch {
    fn take(&mut self, now: Instant, load: ServerLoad, is_frozen: bool) {
        if let Some((at, last)) = self.before.back() {
            let seconds = now.since(*at).as_secs_f64();
            let step = Usual::between(last, &load, seconds);
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
        self.now = Usual::between(&first, &load, now.since(at).as_secs_f64());
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

    fn learn(&mut self, step: Usual, seconds: f64) {
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

    /// What is answered a second, times how long an answer takes without a crowd, is worked on at once (Little's law).
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

impl Usual {
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
    struct Model {
        now: Instant,
        watch: LoadWatch,
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

    impl Model {
        fn new(slots: usize, millis: u64) -> Self {
            Self {
                now: Instant::ZERO,
                watch: LoadWatch::default(),
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
        let mut model = Model::new(4, 20);
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
        let mut model = Model::new(4, 20);
        for per_second in (100..=190).step_by(2) {
            model.run(2_000, f64::from(per_second));
        }
        assert!(!model.alarmed);
        assert!(model.run(10_000, 230.0).alarmed);
    }

    #[test]
    fn what_is_not_too_much_is_not_taken_for_it() {
        // Twice the load, which it can do; then half.
        let mut model = Model::new(4, 20);
        model.run(20_000, 80.0).run(20_000, 160.0).run(20_000, 40.0);
        assert!(!model.alarmed, "a load that doubles");
        // What it depends on becomes ten times as slow, and it has the threads for that.
        for slow in [200, 1_000] {
            let mut model = Model::new(1_000, 20);
            model.run(20_000, 200.0).takes = Duration::from_millis(slow);
            assert!(
                !model.run(20_000, 200.0).alarmed,
                "answers that take {slow} ms"
            );
        }
        // It stands still for a while, and makes up for it.
        let mut model = Model::new(8, 20);
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
    fn nobody_looked_for_a_while() {
        let mut model = Model::new(4, 20);
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
