//! The part of the proxy in the simulation: it does what an exchange says, and says what there is to report at once.

use std::time::Duration;

use evenkeel_core::blame::{AttemptPhase, EndEvent as Blamed, Peer, Sent};
use evenkeel_core::{Instant, Outcome};
use evenkeel_request::exchange::{AttemptEnd, Event, Step};

use crate::attempts::{ActiveAttempt, Sending};
use crate::servers::{Condition, Happening};
use crate::world::{Due, Request, World};

impl<'a> World<'a> {
    /// Does what the exchange says. What there is to report at once.
    pub(crate) fn carry_out(&mut self, request: &mut Request<'a>, step: Step) -> Option<Event> {
        let key = request.key;
        if !matches!(step, Step::GoOn(_) | Step::Hedge(..) | Step::PassOn) {
            request.token += 1;
        }
        request.is_waiting = false;
        match step {
            Step::Attempt(_) => None,
            Step::Wait(until) => {
                request.is_waiting = true;
                if until < Instant::NEVER {
                    self.enter_timer(until, Due::Wake(key, request.token));
                }
                (request.exchange.poll_wake(&request.waker)).then_some(Event::Woken)
            }
            Step::GoOn(due) | Step::Hedge(_, due) => {
                request.token += 1;
                if let Some(due) = due {
                    self.enter_timer(due, Due::Hedge(key, request.token));
                }
                if let Some(sending) = &mut request.sending {
                    sending.races |= due.is_some();
                }
                None
            }
            Step::Switch(server) => request.sending.as_mut().map(|it| it.switch(server)),
            Step::Settle => self.settle(request),
            Step::GiveUp => {
                self.totals.rescued += 1;
                let sending = request.sending.as_mut()?;
                request.books.attempts[sending.first.entry].outcome = Some(Outcome::Rescued);
                Some(sending.give_up(self.now))
            }
            Step::PassOn => {
                if let Some(sending) = &mut request.sending
                    && !std::mem::replace(&mut sending.is_passing, true)
                {
                    let at = self.within(60);
                    self.enter(at, Due::Passed(key));
                }
                None
            }
            Step::Reply(_) | Step::Abort | Step::Done => None,
        }
    }

    /// The first attempt's end counts. A response may be read as a whole before it is said to have come.
    fn settle(&mut self, request: &mut Request<'a>) -> Option<Event> {
        let sending = request.sending.as_mut()?;
        sending.hedges.clear();
        sending.races = false;
        let now = self.now;
        if let Some(cause) = sending.bad_body {
            return Some(Event::Aborted(cause));
        }
        let end = *sending.first.end.get_or_insert_with(|| {
            let progress = sending.first.progress;
            let judged = progress.judge(Blamed::Closed(Peer::Client));
            AttemptEnd::failed(judged.outcome, now.since(sending.first.begun))
        });
        request.books.attempts[sending.first.entry].outcome = Some(end.outcome);
        self.buffer_or_report(request, end)
    }

    /// Reports the end of the first attempt, at once or when its response is whole.
    pub(crate) fn buffer_or_report(
        &mut self,
        request: &mut Request<'a>,
        end: AttemptEnd,
    ) -> Option<Event> {
        let sending = request.sending.as_mut()?;
        let bytes = self.random.below(2_000);
        let is_replayable = !request.facts.is_lost;
        let holds = matches!(end.outcome, Outcome::Answered(_))
            && !request.books.has_client_gone
            && request.exchange.holds_response(bytes, is_replayable);
        if !holds || self.random.below(2) == 0 {
            return Some(Event::Ended(end));
        }
        sending.first.progress.phase = AttemptPhase::Holding;
        let place = sending.first.place;
        let breaks = self.servers[place].condition == Condition::Truncates || self.one_in(50);
        let happening = if breaks {
            Happening::Ended(Blamed::Closed(Peer::Server))
        } else {
            Happening::Buffered
        };
        request.books.attempts[sending.first.entry].outcome = None;
        let due = Due::Attempt(request.key, sending.first.number, happening);
        let at = self.within(10);
        self.enter(at, due);
        None
    }

    /// Makes an attempt on a server.
    pub(crate) fn begin_attempt(
        &mut self,
        request: &mut Request<'a>,
        server: u32,
        is_hedge: bool,
        (entry, place): (usize, usize),
    ) {
        let timeout = &request.exchange.policies().timeout;
        let deadline = request.exchange.deadline().end();
        let condition = self.servers[place].condition;
        let course = condition.course(self.now, timeout, deadline, &mut self.random);
        let attempt = ActiveAttempt::new(server, entry, place, self.now, &course);
        for ((at, happening), order) in course.happenings.into_iter().zip(0..) {
            // What is due at the same moment happens one after the other.
            let at = at + Duration::from_nanos(order);
            let due = Due::Attempt(request.key, attempt.number, happening);
            match happening {
                Happening::Ended(Blamed::Late(_)) => self.enter_timer(at, due),
                _ => self.enter(at, due),
            }
        }
        if !is_hedge && self.one_in(80) {
            let at = self.within(30);
            let due = Due::Attempt(request.key, attempt.number, Happening::BadBody);
            self.enter(at, due);
        }
        match &mut request.sending {
            Some(sending) if is_hedge => sending.hedges.push(attempt),
            sending => {
                request.facts.is_sent = false;
                *sending = Some(Sending::new(attempt));
            }
        }
    }

    /// The attempt has sent so much of the request.
    pub(crate) fn sends(request: &mut Request<'a>, attempt: usize, sent: Sent) {
        if sent == Sent::Nothing {
            return;
        }
        request.books.attempts[attempt].is_sent = true;
        request.facts.is_lost |= request.facts.is_large;
        request.facts.is_sent |= sent == Sent::Whole;
    }
}
