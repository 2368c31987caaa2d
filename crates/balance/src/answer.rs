//! Load probes (Prequal): which servers to probe, and how their answers are used.
//!
//! How and by whom probes are sent is not decided here. A picker that gets no answers picks as if probes were disabled.

use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel_core::Instant;

use crate::candidates::DrawnMembers;
use crate::{Picker, Policy, Pool, ProbedLoad, ServerState};

impl Picker {
    /// The server to send a load probe to for a pick: a random candidate, by weight. None, if the pool's policy does
    /// not use load probes or there is no choice. Send one per pick: more probes do not improve picks (section 5.3 of
    /// the paper).
    pub fn to_ask(&mut self, pool: &Pool, now: Instant) -> Option<u32> {
        if pool.options().policy != Policy::Prequal {
            return None;
        }
        self.eligible.renew(pool, now);
        let slot = match self.eligible.only {
            Some(only) => only,
            None => self.eligible.choose(self.rng.unit()),
        };
        if self.eligible.slices.get(slot)?.list.len() < 2 {
            return None;
        }
        let candidates = self.eligible.candidates_in(pool, slot, now);
        candidates.any(&DrawnMembers::default(), &mut self.rng)
    }

    /// A server of `pool` has answered. What is no number, or below zero, is not taken.
    pub fn heard(&mut self, pool: &Pool, now: Instant, index: u32, answer: ProbedLoad) {
        if !answer.in_flight.is_finite() || answer.in_flight < 0.0 {
            return;
        }
        self.eligible.renew(pool, now);
        let mut slices = self.eligible.slices.iter();
        let Some(slot) = slices.position(|slice| slice.list.binary_search(&index).is_ok()) else {
            return;
        };
        pool.member(index).state.answer(now, answer);
        let candidates = self.eligible.candidates_in(pool, slot, now);
        let (heard, typical) = (&mut self.policy_state.heard, self.typical.seconds());
        heard.record(&candidates, (index, answer), typical, &mut self.rng);
    }

    /// A load probe was not answered, or its answer could not be parsed. The next pick uses local observations: the
    /// share of such picks matches the share of servers that do not answer, so that these are not left out.
    pub const fn unheard(&mut self) {
        self.policy_state.heard.miss();
    }
}

impl ServerState {
    fn answer(&self, now: Instant, answer: ProbedLoad) {
        let last = &self.load.reported.answer;
        let bits = answer.in_flight.to_bits();
        let latency = answer.latency.map_or(0, |latency| {
            u64::try_from(latency.as_nanos()).map_or(u64::MAX, |nanos| nanos.saturating_add(1))
        });
        last.in_flight.store(bits, Ordering::Relaxed);
        last.latency.store(latency, Ordering::Relaxed);
        last.at.store(now.as_nanos().max(1), Ordering::Release);
    }

    /// Its latest answer to a load probe, and when; nothing if there was none.
    #[must_use]
    pub fn answered(&self) -> Option<(ProbedLoad, Instant)> {
        let last = &self.load.reported.answer;
        let at = last.at.load(Ordering::Acquire);
        let latency = last.latency.load(Ordering::Relaxed);
        let answer = ProbedLoad {
            in_flight: f64::from_bits(last.in_flight.load(Ordering::Relaxed)),
            latency: (latency > 0).then(|| Duration::from_nanos(latency - 1)),
        };
        (at > 0).then(|| (answer, Instant::from_nanos(at)))
    }
}
