//! Servers that are asked how busy they are (Prequal): whom to ask, and what becomes of an answer.
//!
//! Who asks, and how, is not decided here. A picker that hears nothing is as if nobody asked.

use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel_core::Instant;

use crate::turn::Drawn;
use crate::{Answer, Picker, Policy, Pool, ServerState};

impl Picker {
    /// The server to ask how busy it is on account of a pick: any that may be picked, by weight. Nobody, if the pool's policy
    /// does not heed answers or there is no choice. Ask one for each pick: more answers make picks no better (section 5.3 of
    /// the paper).
    pub fn to_ask(&mut self, pool: &Pool, now: Instant) -> Option<u32> {
        if pool.options().policy != Policy::Prequal {
            return None;
        }
        self.survey.renew(pool, now);
        let place = match self.survey.only {
            Some(only) => only,
            None => self.survey.choose(self.rng.unit()),
        };
        if self.survey.slices.get(place)?.list.len() < 2 {
            return None;
        }
        let turn = self.survey.turn(pool, place, now);
        turn.any(&Drawn::default(), &mut self.rng)
    }

    /// A server of `pool` has answered. What is no number, or below zero, is not taken.
    pub fn heard(&mut self, pool: &Pool, now: Instant, index: u32, answer: Answer) {
        if !answer.in_flight.is_finite() || answer.in_flight < 0.0 {
            return;
        }
        self.survey.renew(pool, now);
        let mut slices = self.survey.slices.iter();
        let Some(place) = slices.position(|slice| slice.list.binary_search(&index).is_ok()) else {
            return;
        };
        pool.member(index).state.answer(now, answer);
        let turn = self.survey.turn(pool, place, now);
        let (heard, typical) = (&mut self.places.heard, self.typical.seconds());
        heard.hear(&turn, (index, answer), typical, &mut self.rng);
    }

    /// A server that was asked has not answered, or not in a way that was understood. The next pick goes by what this side
    /// sees of servers: as large a part of picks as there are servers that do not answer, so that these are not left out.
    pub const fn unheard(&mut self) {
        self.places.heard.miss();
    }
}

impl ServerState {
    fn answer(&self, now: Instant, answer: Answer) {
        let last = &self.load.reported.answer;
        let bits = answer.in_flight.to_bits();
        let latency = answer.latency.map_or(0, |latency| {
            u64::try_from(latency.as_nanos()).map_or(u64::MAX, |nanos| nanos.saturating_add(1))
        });
        last.in_flight.store(bits, Ordering::Relaxed);
        last.latency.store(latency, Ordering::Relaxed);
        last.at.store(now.as_nanos().max(1), Ordering::Release);
    }

    /// What it answered last when it was asked how busy it is, and when; nothing if it never did.
    #[must_use]
    pub fn answered(&self) -> Option<(Answer, Instant)> {
        let last = &self.load.reported.answer;
        let at = last.at.load(Ordering::Acquire);
        let latency = last.latency.load(Ordering::Relaxed);
        let answer = Answer {
            in_flight: f64::from_bits(last.in_flight.load(Ordering::Relaxed)),
            latency: (latency > 0).then(|| Duration::from_nanos(latency - 1)),
        };
        (at > 0).then(|| (answer, Instant::from_nanos(at)))
    }
}
