//! Simulated requests: their outcomes on the servers, and the signals that follow.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use evenkeel_core::{
    ExactShape, ExactText, Exit, Exposure, ExposureEvent, Instant, Observation, Outcome,
    RequestShape, ServerId, ShapeText, Signal,
};
use evenkeel_fault::Input;

use super::servers::{Condition, Sim};
use super::{World, ms};

pub(super) fn split(path: &'static str) -> ((&'static str, &'static str), RequestShape) {
    let (method, target) = path.split_once(' ').unwrap_or(("GET", path));
    let shape = RequestShape::of(method.as_bytes(), target.as_bytes());
    ((method, target), shape)
}

type Keys = BuildHasherDefault<DefaultHasher>;

pub(super) fn head(path: &str) -> String {
    let (method, target) = path.split_once(' ').unwrap_or(("GET", path));
    format!("{method} {target} HTTP/1.1")
}

pub(super) fn exact(path: &str) -> ExactShape {
    ExactShape::of_head(&Keys::default(), head(path).as_bytes())
}

pub(super) fn broke(path: &'static str, age: Duration) -> ExposureEvent {
    ExposureEvent::Broke {
        age,
        route: split(path).1,
        text: ExactText::of_head(head(path).as_bytes()),
    }
}

impl World {
    /// Requests in flight on a server that exits are aborted.
    pub(super) fn break_off(&mut self, index: usize) {
        let (now, paths) = (self.now, self.paths.clone());
        let mut broken = Vec::new();
        for (at, input) in &mut self.pending {
            if let Input::Signal(Signal {
                at: ends,
                server,
                observation:
                    Observation::Attempt {
                        outcome: outcome @ Outcome::Answered(_),
                        latency,
                        shape,
                    },
            }) = input
                && server.index as usize == index
            {
                *latency = now - ends.before(*latency);
                *outcome = Outcome::Reset { sent: true };
                (*at, *ends) = (now, now);
                let is_it = |path: &&&'static str| split(path).1 == *shape;
                if let Some(path) = paths.iter().find(is_it) {
                    broken.push((*path, *latency));
                }
            }
        }
        for (path, age) in broken {
            self.expose(Duration::ZERO, index, path, broke(path, age));
        }
    }

    /// Something is observed of a request.
    pub(super) fn expose(
        &mut self,
        after: Duration,
        index: usize,
        path: &str,
        what: ExposureEvent,
    ) {
        let at = self.now + after;
        let exposure = Exposure {
            at,
            server: ServerId::new(0, u32::try_from(index).expect("small")),
            shape: exact(path),
            what,
        };
        self.pending.push((at, Input::Exposed(Box::new(exposure))));
    }

    /// What was ordered about this request: refused, watched.
    pub(super) fn treatment(&self, path: &str) -> (bool, bool) {
        let Some(orders) = self.shapes.as_ref().filter(|one| self.now < one.until) else {
            return (false, false);
        };
        let ExactShape { path, target } = exact(path);
        let is_it = |hash: u64| hash == path || hash == target;
        let is_refused = |one: &(u64, Instant)| is_it(one.0) && self.now < one.1;
        (
            orders.refused.iter().any(is_refused),
            orders.watched.iter().any(|hash| is_it(*hash)),
        )
    }

    /// One request: up to three attempts, each on another server.
    pub(super) fn request(&mut self) {
        let nth = usize::try_from(self.totals.requests + 1).expect("small");
        self.send(self.paths[nth % self.paths.len()]);
    }

    /// One request for this path. One that ends a process is tried once more.
    pub(crate) fn send(&mut self, path: &'static str) {
        self.totals.requests += 1;
        let ((method, target), shape) = split(path);
        let (is_refused, is_watched) = self.treatment(path);
        if is_refused {
            self.refused += 1;
            self.totals.failed += 1;
            return;
        }
        let mut killed = 0;
        let of_path = self.broken.filter(|(broken, _)| *broken == path);
        if !self.gate {
            self.totals.failed += 1;
            return;
        }
        let mut failed = 0;
        let mut turns = self.turns();
        while let Some(index) = self.next_of(&mut turns) {
            let Ok(trial) = self.closing.ask(shape, self.now) else {
                break;
            };
            let here = of_path.filter(|_| self.broken_on.is_none_or(|on| on == index));
            let (outcome, latency) = self.ask(index, here.map(|(_, condition)| condition));
            self.closing.begun(trial, self.now + latency, outcome);
            if is_watched {
                self.expose(Duration::ZERO, index, path, ExposureEvent::Began);
            }
            if outcome.is_success() && (self.kills)(path) {
                killed += 1;
                self.kill(index, path, shape);
                if killed == 2 {
                    break;
                }
                continue;
            }
            if is_watched {
                let end = match outcome.is_success() {
                    true => ExposureEvent::Survived,
                    false => ExposureEvent::Unsent,
                };
                self.expose(latency, index, path, end);
            }
            if outcome.is_failure() {
                let text = ShapeText::of(method.as_bytes(), target.as_bytes());
                self.pending
                    .push((self.now + latency, Input::Named { shape, text }));
            }
            self.signal(
                latency,
                index,
                Observation::Attempt {
                    outcome,
                    latency,
                    shape,
                },
            );
            if outcome.is_success() {
                self.turn = index + 1;
                if failed > 0 {
                    self.totals.saved_by_retry += 1;
                }
                return;
            }
            failed += 1;
        }
        self.turn += 1;
        self.totals.failed += 1;
    }

    /// The next server that takes it. What none of the others takes goes to one on trial, as in the balancer.
    fn next_of(&mut self, turns: &mut VecDeque<(usize, bool)>) -> Option<usize> {
        while let Some((index, may_decline)) = turns.pop_front() {
            if !self.is_used(index) {
                continue;
            }
            if !may_decline || self.takes_part(index) {
                return Some(index);
            }
            turns.push_back((index, false));
        }
        None
    }

    /// The servers that it is tried on, one after the other, and whether each may decline it.
    fn turns(&self) -> VecDeque<(usize, bool)> {
        let servers = self.candidates().into_iter().take(3);
        servers.map(|index| (index, true)).collect()
    }

    /// The servers for the next request, in turn: of the first tier that is used.
    fn candidates(&self) -> Vec<usize> {
        let count = self.sims.len();
        let first_behind = if self.by_tier {
            count - self.backups
        } else {
            count
        };
        let all = (0..count).map(|step| (self.turn + step) % count);
        let (behind, first): (Vec<usize>, Vec<usize>) = all.partition(|&one| one >= first_behind);
        let is_used = |tier: &[usize]| tier.iter().any(|&index| self.is_used(index));
        let fails_over = self.ordered.fails_over && self.now < self.ordered.until;
        let prefers_first = !fails_over || self.totals.requests.is_multiple_of(50);
        if is_used(&behind) && !(prefers_first && is_used(&first)) {
            behind
        } else {
            first
        }
    }

    /// A request ends the process that has got it, 2 ms later.
    pub(super) fn kill(&mut self, index: usize, path: &'static str, shape: RequestShape) {
        let age = ms(2);
        self.expose(age, index, path, broke(path, age));
        let outcome = Outcome::Reset { sent: true };
        self.signal(
            age,
            index,
            Observation::Attempt {
                outcome,
                latency: age,
                shape,
            },
        );
        let last_lines = vec!["segmentation fault".to_owned()];
        self.die(
            index,
            Exit {
                last_lines,
                ..self.exit_by(11, index)
            },
        );
    }

    /// Whether it gets requests: it is in service, or too few are (panic).
    fn is_used(&self, index: usize) -> bool {
        let open = (0..self.sims.len()).filter(|&one| self.in_service(one));
        let open = open.count();
        let there = self.sims.iter().filter(|sim| !sim.is_gone).count();
        if self.in_service(index) || open * 2 >= there {
            return self.in_service(index);
        }
        let answers = |sim: &Sim| {
            !sim.is_gone
                && !sim.drained
                && self.now >= sim.known_until
                && self.now >= sim.hung_until
        };
        let anyone_answers = self.sims.iter().any(answers);
        let sim = &self.sims[index];
        answers(sim)
            || !anyone_answers && !sim.is_gone && !sim.drained && self.now >= sim.known_until
    }

    /// Whether it takes part in this pick: on trial it takes a tenth of its share.
    fn takes_part(&mut self, index: usize) -> bool {
        let sim = &mut self.sims[index];
        if self.now >= sim.trial_until {
            return true;
        }
        sim.credit += 1;
        sim.credit.is_multiple_of(10)
    }

    /// How an attempt on this server ends.
    pub(super) fn ask(&mut self, index: usize, of_path: Option<Condition>) -> (Outcome, Duration) {
        let sim = &mut self.sims[index];
        sim.sent += 1;
        let nth = u32::try_from(sim.sent % 100).expect("small");
        let is_chance = self.background > 0 && self.random.below(1000) < self.background;
        let not_ready = self.now < sim.ready_at;
        let condition = match (sim.condition, of_path) {
            (Condition::Well, Some(of_path)) => of_path,
            (condition, _) => condition,
        };
        match condition {
            Condition::Dead
            | Condition::Deaf
            | Condition::Stillborn
            | Condition::Unstartable
            | Condition::InBackground
            | Condition::Elsewhere => (Outcome::ConnectRefused, ms(0)),
            Condition::Unready => (Outcome::Answered(500), ms(1)),
            _ if not_ready => (Outcome::ConnectRefused, ms(0)),
            Condition::Hung | Condition::Blocked => (Outcome::AttemptTimeout, self.patience),
            Condition::Malformed => (Outcome::BadResponse, ms(1)),
            Condition::Sheds(share) if (nth * 37) % 100 < share => (Outcome::Answered(503), ms(1)),
            Condition::Errors(share) if (nth * 37) % 100 < share => (Outcome::Answered(500), ms(5)),
            Condition::Mixed500 if self.random.below(2) == 0 => (Outcome::Answered(500), ms(5)),
            Condition::Unreachable => (Outcome::ConnectTimeout, ms(1_000)),
            _ if is_chance => (Outcome::Answered(500), ms(5)),
            Condition::Slow(times) | Condition::Heavy(times) => {
                (Outcome::Answered(200), ms(5) * times)
            }
            Condition::Cold(requests) if sim.sent - sim.sent_before < requests => {
                (Outcome::Answered(200), ms(150))
            }
            Condition::Mixed(millis) if self.random.below(2) == 0 => {
                (Outcome::Answered(200), ms(1) * millis)
            }
            Condition::Mixed(millis) => {
                let longest = ms(800) * millis;
                (Outcome::Answered(200), self.random.duration_up_to(longest))
            }
            _ => (Outcome::Answered(200), ms(5)),
        }
    }
}
