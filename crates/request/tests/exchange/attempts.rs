//! The attempts of a request as the proxy makes them: a connection, the request, the head of the response, and others beside the first.

use std::time::Duration;

use evenkeel_core::blame::{AttemptPhase, EndEvent as Blamed, Peer, Sent, TimeLimit};
use evenkeel_core::{Instant, Outcome};
use evenkeel_request::Cause;
use evenkeel_request::exchange::{AttemptEnd, Event, FirstEnd, HedgeEnd};

use crate::servers::{Course, Happening, Progress};
use crate::world::{Due, Request, RequestKey, World};

/// The attempts under way of one request.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) first: ActiveAttempt,
    pub(crate) hedges: Vec<ActiveAttempt>,
    /// Others may be made beside the first one.
    pub(crate) races: bool,
    pub(crate) is_passing: bool,
    /// The client has ended it by what it sent.
    pub(crate) bad_body: Option<Cause>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct ActiveAttempt {
    /// Unique in its request.
    pub(crate) number: usize,
    pub(crate) server: u32,
    /// Its places in the books of the request, and among the servers.
    pub(crate) entry: usize,
    pub(crate) place: usize,
    pub(crate) begun: Instant,
    pub(crate) progress: Progress,
    pub(crate) end: Option<AttemptEnd>,
    retry_after: Option<Duration>,
    load: Option<f64>,
}

impl ActiveAttempt {
    pub(crate) const fn new(
        server: u32,
        entry: usize,
        place: usize,
        begun: Instant,
        course: &Course,
    ) -> Self {
        Self {
            number: entry,
            server,
            entry,
            place,
            begun,
            progress: Progress {
                phase: AttemptPhase::Connecting,
                sent: Sent::Nothing,
                is_reused: course.is_reused,
            },
            end: None,
            retry_after: course.retry_after,
            load: course.load,
        }
    }

    /// How it has ended by this event.
    fn ended(&self, event: Blamed, now: Instant) -> AttemptEnd {
        let judged = self.progress.judge(event);
        let of_client = matches!(
            event,
            Blamed::Closed(Peer::Client) | Blamed::Late(TimeLimit::Total)
        );
        assert!(!of_client || !judged.outcome.is_failure());
        let mut end = AttemptEnd::failed(judged.outcome, now.since(self.begun));
        if let Outcome::Answered(_) = judged.outcome {
            (end.retry_after, end.load) = (self.retry_after, self.load);
        }
        end
    }
}

impl Sending {
    pub(crate) const fn new(first: ActiveAttempt) -> Self {
        Self {
            first,
            hedges: Vec::new(),
            races: false,
            is_passing: false,
            bad_body: None,
        }
    }

    /// A hedged attempt has won: it is the first one from now on.
    pub(crate) fn switch(&mut self, server: u32) -> Event {
        let mut hedges = self.hedges.drain(..);
        let won = hedges.find(|hedge| hedge.server == server);
        drop(hedges);
        self.first = won.expect("it was under way");
        self.hedges.clear();
        self.races = false;
        Event::Ended(self.first.end.expect("it has a response"))
    }

    /// The server of the first one was taken out.
    pub(crate) fn give_up(&mut self, now: Instant) -> Event {
        let latency = now.since(self.first.begun);
        let end = AttemptEnd::failed(Outcome::Rescued, latency);
        self.first.end = Some(end);
        if self.races {
            Event::FirstEnded(FirstEnd::Failed(Outcome::Rescued))
        } else {
            Event::Ended(end)
        }
    }
}

impl<'a> World<'a> {
    /// Something happens to an attempt, if it is still under way.
    pub(crate) fn attempt_goes_on(&mut self, key: RequestKey, number: usize, happening: Happening) {
        let Some(mut request) = self.requests[key.client].take_if(|it| it.key == key) else {
            return;
        };
        let told = self.goes_on(&mut request, number, happening);
        self.requests[key.client] = Some(request);
        if let Some(event) = told {
            self.tell(key, event);
        }
    }

    fn goes_on(
        &mut self,
        request: &mut Request<'a>,
        number: usize,
        happening: Happening,
    ) -> Option<Event> {
        if request.is_waiting {
            return None;
        }
        let sending = request.sending.as_mut().filter(|it| !it.is_passing)?;
        let is_first = sending.first.number == number;
        let attempt = if is_first {
            &mut sending.first
        } else {
            sending.hedges.iter_mut().find(|it| it.number == number)?
        };
        let is_holding = attempt.progress.phase == AttemptPhase::Holding;
        let is_of_buffer = matches!(happening, Happening::Buffered | Happening::Ended(_));
        if attempt.end.is_some() && !(is_holding && is_of_buffer) {
            return None;
        }
        match happening {
            Happening::Connected => {
                attempt.progress.phase = AttemptPhase::AwaitingHead;
                (is_first && request.exchange.hedges()).then_some(Event::Connected)
            }
            Happening::Written => {
                attempt.progress.sent = Sent::Whole;
                Self::sends(request, number, Sent::Whole);
                self.forgive(request);
                None
            }
            Happening::Buffered if is_holding => {
                let end = attempt.end?;
                request.books.attempts[number].outcome = Some(end.outcome);
                Some(Event::Ended(end))
            }
            Happening::BadBody if is_first && !is_holding => {
                let cause = Cause::BadRequest {
                    status: 400,
                    word: "chunk",
                };
                request.books.attempts[number].outcome = Some(Outcome::Cancelled);
                sending.bad_body = Some(cause);
                if sending.races {
                    attempt_ends(sending);
                    return Some(Event::FirstEnded(FirstEnd::ByClient));
                }
                Some(Event::Aborted(cause))
            }
            // A limit of time that was for the head.
            Happening::Ended(Blamed::Late(_)) if is_holding => None,
            // It was put off since.
            Happening::Ended(Blamed::Late(TimeLimit::Total))
                if self.now < request.exchange.deadline().end() =>
            {
                let at = request.exchange.deadline().end();
                self.enter(at, Due::Attempt(request.key, number, happening));
                None
            }
            Happening::Ended(event) => {
                let is_written = attempt.progress.sent == Sent::Whole;
                if !is_written
                    && attempt.progress.phase != AttemptPhase::Connecting
                    && self.random.below(2) == 0
                {
                    attempt.progress.sent = Sent::Part;
                }
                self.attempt_ends(request, number, event)
            }
            Happening::Buffered | Happening::BadBody => None,
        }
    }

    fn attempt_ends(
        &mut self,
        request: &mut Request<'a>,
        number: usize,
        event: Blamed,
    ) -> Option<Event> {
        let now = self.now;
        let sending = request.sending.as_mut()?;
        let is_first = sending.first.number == number;
        let attempt = if is_first {
            &mut sending.first
        } else {
            sending.hedges.iter_mut().find(|it| it.number == number)?
        };
        let is_holding = attempt.progress.phase == AttemptPhase::Holding;
        let end = attempt.ended(event, now);
        let sent = attempt.progress.sent;
        attempt.end = Some(end);
        request.books.attempts[number].outcome = Some(end.outcome);
        let (server, races) = (attempt.server, sending.races);
        Self::sends(request, number, sent);
        self.totals.streams_refused += u64::from(end.outcome == Outcome::StreamRefused);
        if !is_first {
            return Some(Event::HedgeEnded(HedgeEnd {
                server,
                outcome: end.outcome,
            }));
        }
        let races = races || (request.exchange.hedges() && self.one_in(4));
        if races && !is_holding {
            let end = match end.outcome {
                Outcome::Answered(status) => FirstEnd::Response(status),
                outcome => FirstEnd::Failed(outcome),
            };
            return Some(Event::FirstEnded(end));
        }
        if is_holding {
            return Some(Event::Ended(end));
        }
        self.buffer_or_report(request, end)
    }

    /// The client may take its time to send its body, which is not held against the request.
    fn forgive(&mut self, request: &mut Request<'a>) {
        if request.facts.is_large && self.one_in(3) {
            let waited = Duration::from_millis(self.random.below(20) as u64);
            request.exchange.forgive(waited);
            request.books.forgive(waited);
        }
    }
}

/// The first attempt has ended by the client's doing.
fn attempt_ends(sending: &mut Sending) {
    let end = AttemptEnd::failed(Outcome::Cancelled, Duration::ZERO);
    sending.first.end = Some(end);
}
