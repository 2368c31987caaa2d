//! Hedging: a second attempt while the first one is late. The response of whoever is first is passed on, the other attempt is broken off.
//!
//! Only for requests that may be sent twice, once the whole of them has come and was sent. An attempt that fails while another is under way
//! decides nothing: it is counted, and the other one is waited for. The attempt that ends last decides, as if it had been alone.

use evenkeel_core::{ExposureEvent, Instant, Outcome};
use evenkeel_tolerate::{HedgeDelay, HedgeRace, RaceOutcome};

use super::active::{Current, Hedging};
use super::host::{Count, HedgeResult, Host};
use super::state::Exchange;
use super::step::{FirstEnd, HedgeEnd, Step};
use crate::service::in_flight::InFlight;

impl<'a> Exchange<'a> {
    /// The first attempt begins to be sent: when another one is to be made beside it.
    pub(super) fn connected(&mut self, host: &impl Host<'a>) -> Step {
        let Some(current) = &mut self.current else {
            return self.go_on();
        };
        if std::mem::replace(&mut current.is_connected, true) {
            return self.go_on();
        }
        let begun = current.begun;
        let used = self.attempts.hedges();
        let delay = host.hedging(self.policies.place, |hedge| {
            let left = hedge.options().limit.saturating_sub(used);
            Some((hedge.after(begun)?, left))
        });
        if self.hedges()
            && let Some((delay, left)) = delay.flatten()
        {
            let race = HedgeRace::new(begun, delay, left, self.attempts.deadline().end());
            self.hedging = race.due().map(|_| {
                Box::new(Hedging {
                    race,
                    others: Vec::new(),
                    first: None,
                })
            });
        }
        self.go_on()
    }

    /// Goes on with what is under way.
    pub(super) fn go_on(&self) -> Step {
        Step::GoOn(self.hedging.as_ref().and_then(|hedging| hedging.race.due()))
    }

    pub(super) fn first_ended(
        &mut self,
        end: FirstEnd,
        now: Instant,
        host: &impl Host<'a>,
    ) -> Step {
        let decides = match end {
            FirstEnd::Response(status) => !self.is_bad_status(status),
            FirstEnd::Failed(_) => false,
            FirstEnd::ByClient => true,
        };
        let outcome = match end {
            FirstEnd::Response(status) => Outcome::Answered(status),
            FirstEnd::Failed(outcome) => outcome,
            FirstEnd::ByClient => Outcome::Cancelled,
        };
        let Some(hedging) = &mut self.hedging else {
            return Step::Settle;
        };
        if hedging.first.is_some() {
            return self.go_on();
        }
        if hedging.race.ended(decides) == RaceOutcome::Decided {
            let others = match end {
                FirstEnd::Response(_) => Outcome::Superseded,
                FirstEnd::Failed(_) | FirstEnd::ByClient => Outcome::Cancelled,
            };
            self.settle(others, now, host);
            return Step::Settle;
        }
        hedging.first = Some((now, outcome));
        self.go_on()
    }

    /// The end of the first one decides: the others are broken off with this outcome. One that has ended already keeps its end.
    pub(super) fn settle(&mut self, outcome: Outcome, now: Instant, host: &impl Host<'a>) {
        if let Some(hedging) = self.hedging.take() {
            self.break_off(*hedging, outcome, now, host);
        }
    }

    /// The server of the first one was taken out.
    pub(super) fn server_out(&self, now: Instant, host: &impl Host<'a>) -> Step {
        let has_ended = self.hedging.as_ref().is_some_and(|it| it.first.is_some());
        if !has_ended && self.may_rescue(host.is_replayable(), now) {
            return Step::GiveUp;
        }
        self.go_on()
    }

    pub(super) fn hedge_due(&mut self, now: Instant, host: &impl Host<'a>) -> Step {
        let is_over = self.attempts.deadline().passed(now) || self.is_quarantined(now, host);
        let Some(hedging) = &mut self.hedging else {
            return Step::GoOn(None);
        };
        if !hedging.race.is_due(now) {
            return self.go_on();
        }
        if is_over {
            hedging.race.stop_hedging();
            return self.go_on();
        }
        // When hedges have used their share it is put off: what hangs is hedged as soon as there is one again.
        if !host.is_sent() || !may_hedge(self.policies.place, host) {
            hedging.race.postpone(now);
            return self.go_on();
        }
        let other = self.hedge_server(now, host);
        if let Some((other, shape)) = other.as_ref().zip(self.watched.as_deref()) {
            host.expose(self.id_of(other.server), now, *shape, ExposureEvent::Began);
        }
        let Some(hedging) = &mut self.hedging else {
            return Step::GoOn(None);
        };
        match other {
            Some(other) => {
                let server = other.server;
                hedging.others.push(other);
                hedging.race.hedge_started(now);
                Step::Hedge(server, hedging.race.due())
            }
            None => {
                hedging.race.stop_hedging();
                self.go_on()
            }
        }
    }

    /// Another server for the request, if it can be sent again, no request waits for a server, its class may use more of the servers, and
    /// the budget pays for it.
    fn hedge_server(&mut self, now: Instant, host: &impl Host<'a>) -> Option<Current> {
        if !host.is_replayable() {
            return None;
        }
        let queue = &*self.service.queue;
        let is_admitted = queue.is_empty()
            && host.random(|random| {
                let room = (self.servers.pool(), queue);
                (self.service.admission()).hedge(room, self.class, now, random)
            });
        if !is_admitted {
            self.count_hedge(HedgeResult::NoServer, host);
            return None;
        }
        let others = self.hedging.iter().flat_map(|hedging| &hedging.others);
        let busy: Vec<u32> = (self.current.iter().chain(others))
            .map(|attempt| attempt.server)
            .collect();
        let selected = host.picker(self.service_id, |picker| {
            let (servers, pool) = (&**self.servers, self.servers.pool());
            let pick = (self.attempts).other_server(picker, pool, now, self.key, &busy)?;
            let typical = picker.typical_latency();
            let in_flight = InFlight::begin(servers, pick.index, typical, now)?;
            Some((pick, in_flight))
        });
        let Some((pick, in_flight)) = selected else {
            self.count_hedge(HedgeResult::NoServer, host);
            return None;
        };
        if !self.service.budget().try_spend_on_hedge(now) {
            in_flight.end(self.service, &self.servers, now);
            self.count_hedge(HedgeResult::DeniedBudget, host);
            return None;
        }
        host.selected(self.id_of(pick.index), pick);
        Some(Current {
            server: pick.index,
            begun: now,
            in_flight,
            is_connected: true,
        })
    }

    /// Whether a quarantine has begun since the first attempt.
    fn is_quarantined(&self, now: Instant, host: &impl Host<'a>) -> bool {
        let quarantine = &self.service.quarantine;
        quarantine.is_on() && quarantine.refuses(host.exact_shape(), now)
    }

    pub(super) fn hedge_ended(
        &mut self,
        end: HedgeEnd,
        now: Instant,
        host: &impl Host<'a>,
    ) -> Step {
        let is_good =
            matches!(end.outcome, Outcome::Answered(status) if !self.is_bad_status(status));
        let Some(hedging) = &mut self.hedging else {
            return self.go_on();
        };
        let mut others = hedging.others.iter();
        let Some(index) = others.position(|other| other.server == end.server) else {
            return self.go_on();
        };
        let other = hedging.others.swap_remove(index);
        let decides = hedging.race.ended(is_good) == RaceOutcome::Decided;
        self.count_hedge(
            match is_good {
                true => HedgeResult::Won,
                false => HedgeResult::Failed,
            },
            host,
        );
        if decides {
            return self.switch(other, now, host);
        }
        self.ended_beside(other, (now, end.outcome), host);
        self.go_on()
    }

    /// The end of a hedged attempt decides: it was quicker than the first one, or is the last to fail. The first one may have ended already.
    fn switch(&mut self, other: Current, now: Instant, host: &impl Host<'a>) -> Step {
        let server = other.server;
        let mut first_end = (now, Outcome::Superseded);
        if let Some(hedging) = self.hedging.take() {
            first_end = hedging.first.unwrap_or(first_end);
            self.break_off(*hedging, Outcome::Superseded, now, host);
        }
        if let Some(first) = self.current.replace(other) {
            self.ended_beside(first, first_end, host);
        }
        Step::Switch(server)
    }

    /// Counts an attempt whose end decides nothing, and tells of it: it may have brought its server down all the same.
    fn ended_beside(
        &mut self,
        mut attempt: Current,
        (at, outcome): (Instant, Outcome),
        host: &impl Host<'a>,
    ) {
        let took = at.since(attempt.begun);
        self.expose_end((attempt.begun, at), attempt.server, outcome, host);
        attempt.in_flight.came_to(at, outcome, took);
        (attempt.in_flight).end(self.service, &self.servers, self.latest);
        host.attempt_counted(self.id_of(attempt.server), outcome);
        self.observe(attempt.server, (at, outcome, took), host);
        self.attempts.beside(attempt.server, outcome, took);
    }

    /// Ends attempts that nobody waits for any more: another one was answered first, or the client's doing was the end of all.
    fn break_off(
        &mut self,
        hedging: Hedging,
        outcome: Outcome,
        now: Instant,
        host: &impl Host<'a>,
    ) {
        for other in hedging.others {
            self.count_hedge(HedgeResult::Lost, host);
            let took = now.since(other.begun);
            self.expose_end((other.begun, now), other.server, outcome, host);
            other.in_flight.end(self.service, &self.servers, now);
            host.attempt_counted(self.id_of(other.server), outcome);
            self.observe(other.server, (now, outcome, took), host);
            self.attempts.beside(other.server, outcome, took);
        }
    }

    /// Whether a response with this status is not worth breaking off another attempt for.
    fn is_bad_status(&self, status: u16) -> bool {
        status >= 500 || self.policies.retry.on.statuses.contains(&status)
    }

    fn count_hedge(&self, result: HedgeResult, host: &impl Host<'a>) {
        host.count(self.service_id, Count::Hedge(result));
    }
}

/// Whether this worker's hedges have not used their share.
fn may_hedge<'a>(place: u32, host: &impl Host<'a>) -> bool {
    host.hedging(place, HedgeDelay::may_hedge).unwrap_or(false)
}
