//! What must hold of one request, whatever happens: checked from what the exchange asks for and reports, with the simulation's own
//! books beside it. Nothing here makes anything happen.

use std::fmt;
use std::time::Duration;

use evenkeel_core::{ExposureEvent, Instant, Outcome, ServerId, ServiceId};
use evenkeel_request::exchange::{Event, FirstEnd, HedgeEnd, NoResponse, Reply, Step};
use evenkeel_request::service::Service;
use evenkeel_request::{Cause, Exchange, Policies};
use evenkeel_tolerate::{Class, ShedOptions};

use crate::host::{Calls, Facts};
use crate::plan::HOLD_UP_TO;

mod begin;
mod rates;
mod refused;
mod retries;
mod service;

pub(crate) use rates::RateBooks;
pub(crate) use service::ServiceBooks;

/// A server's wish to be left alone is kept for so long at least.
const LONGEST_WISH: Duration = Duration::from_secs(5);

/// One attempt, as the simulation made it.
#[derive(Debug)]
pub(crate) struct AttemptEntry {
    /// Its server, and that server's place in the simulation.
    pub(crate) server: ServerId,
    pub(crate) place: usize,
    pub(crate) is_hedge: bool,
    pub(crate) generation: u64,
    /// How it has ended, as the exchange was told.
    pub(crate) outcome: Option<Outcome>,
    /// Some of the request was sent in it.
    pub(crate) is_sent: bool,
    /// Its end was reported to those who look at servers.
    is_reported: bool,
    is_counted: bool,
}

/// What a request has been through on one service.
#[derive(Debug)]
struct Visit {
    service: ServiceId,
    began: Instant,
    deadline: Instant,
    policies_repeat: bool,
    /// The first of its attempts in [`RequestBooks::attempts`].
    first: usize,
    retries: u32,
    paid_retries: u32,
    after_timeouts: u32,
    free_on: Vec<u32>,
    held: u32,
    /// When it was held first.
    held_first: Option<Instant>,
    not_before: Instant,
}

/// What follows from the head of a request.
#[derive(Debug)]
pub(crate) struct Arrived<'p> {
    /// What it goes by.
    pub(crate) policies: &'p Policies,
    /// For how long its client waits, if it says so; zero if its time is over.
    pub(crate) told: Option<Duration>,
    /// How much it matters.
    pub(crate) class: Class,
    /// What it is told at once, if it gets to no server.
    pub(crate) refused: Option<Cause>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    Replied(Reply),
    PassedOn,
    Aborted,
}

/// The books of one request.
#[derive(Debug)]
pub(crate) struct RequestBooks {
    pub(crate) arrived: Instant,
    version: u64,
    visit: Visit,
    class: Class,
    refused: Option<Cause>,
    told_end: Instant,
    pub(crate) attempts: Vec<AttemptEntry>,
    pub(crate) has_client_gone: bool,
    pub(crate) is_passing: bool,
    pub(crate) end: Option<End>,
    is_queued: bool,
    /// Before the latest step.
    was_queued: bool,
    queued_since: Option<Instant>,
    is_held: bool,
    held_since: Option<Instant>,
    is_backing_off: bool,
}

/// Who waits, of all services together and of the one that the request is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitingNow {
    pub(crate) queued: i64,
    pub(crate) held: i64,
}

/// One step of an exchange: what it was told and what it said.
pub(crate) struct Stepped<'s, 'a> {
    pub(crate) now: Instant,
    pub(crate) event: Event,
    pub(crate) step: Step,
    pub(crate) calls: &'s Calls,
    pub(crate) facts: &'s Facts,
    pub(crate) exchange: &'s Exchange<'a>,
    pub(crate) before: WaitingNow,
    pub(crate) after: WaitingNow,
}

/// Without the exchange, which shows its whole service.
impl fmt::Debug for Stepped<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepped")
            .field("now", &self.now)
            .field("event", &self.event)
            .field("step", &self.step)
            .field("calls", self.calls)
            .field("facts", self.facts)
            .finish_non_exhaustive()
    }
}

impl WaitingNow {
    pub(crate) fn of(services: &[Service]) -> Self {
        Self {
            queued: services
                .iter()
                .map(|service| i64::from(service.waiting()))
                .sum(),
            held: services
                .iter()
                .map(|service| i64::from(service.held()))
                .sum(),
        }
    }
}

impl Visit {
    fn new(service: ServiceId, began: Instant, policies: &Policies, facts: &Facts) -> Self {
        Self {
            service,
            began,
            deadline: began + policies.timeout.total,
            policies_repeat: policies.may_repeat(facts.method.as_bytes()),
            first: 0,
            retries: 0,
            paid_retries: 0,
            after_timeouts: 0,
            free_on: Vec::new(),
            held: 0,
            held_first: None,
            not_before: Instant::ZERO,
        }
    }
}

impl RequestBooks {
    /// Of a request that arrives now.
    pub(crate) fn new(
        exchange: &Exchange<'_>,
        now: Instant,
        arrived: &Arrived<'_>,
        facts: &Facts,
    ) -> Self {
        assert!(
            std::ptr::eq(exchange.policies(), arrived.policies),
            "it goes by the policies of {}",
            exchange.policies().place
        );
        let mut visit = Visit::new(exchange.service_id(), now, arrived.policies, facts);
        let told = arrived.told.filter(|told| !told.is_zero());
        let told_end = told.map_or(Instant::NEVER, |told| now + told);
        visit.deadline = visit.deadline.min(told_end);
        Self {
            arrived: now,
            version: exchange.servers().version(),
            visit,
            class: arrived.class,
            refused: arrived.refused,
            told_end,
            attempts: Vec::new(),
            has_client_gone: false,
            is_passing: false,
            end: None,
            is_queued: false,
            was_queued: false,
            queued_since: None,
            is_held: false,
            held_since: None,
            is_backing_off: false,
        }
    }

    /// Its deadline was put off, since the client took so long to send its body.
    pub(crate) fn forgive(&mut self, waited: Duration) {
        self.visit.deadline = (self.visit.deadline + waited).min(self.told_end);
    }

    pub(crate) const fn is_waiting(&self) -> bool {
        self.is_queued || self.is_held
    }

    pub(crate) const fn is_queued(&self) -> bool {
        self.is_queued
    }

    pub(crate) const fn queued_since(&self) -> Option<Instant> {
        self.queued_since
    }

    /// Since when it waits for a server to come back, if it does and none of this service has seen it.
    pub(crate) fn held_new_since(&self) -> Option<Instant> {
        let is_new = self.attempts.len() == self.visit.first;
        self.held_since.filter(|_| is_new)
    }

    /// Checks one step and enters it. The places of attempts on servers that are free again.
    pub(crate) fn enter(
        &mut self,
        stepped: &Stepped<'_, '_>,
        services: &mut [ServiceBooks],
    ) -> Vec<usize> {
        self.check_reports(stepped, services);
        let free = self.check_counted(stepped);
        self.check_exposed(stepped);
        self.check_refused_stream(stepped);
        self.enter_counts(stepped, services);
        if let Event::Ended(end) = stepped.event
            && matches!(stepped.step, Step::Wait(_) | Step::Attempt(_))
            && let Some(wish) = end.retry_after
        {
            self.enter_wish(stepped, wish);
        }
        if let Some(left) = stepped.calls.left {
            self.enter_switch(stepped, left);
        }
        assert_eq!(
            stepped.exchange.deadline().end(),
            self.visit.deadline,
            "another deadline: {self:?}"
        );
        self.enter_waiting(stepped);
        if self.is_held {
            self.check_held(&services[self.visit.service.0 as usize], stepped.now);
        }
        if stepped.step == Step::GiveUp {
            self.check_rescue(stepped);
        }
        self.enter_end(stepped, services);
        free
    }

    /// Each attempt's end is reported once, and is what the exchange was told.
    fn check_reports(&mut self, stepped: &Stepped<'_, '_>, services: &mut [ServiceBooks]) {
        let was_under_way = self.under_way().next().is_some();
        for report in &stepped.calls.ended {
            let mut attempts = self.attempts.iter_mut().rev();
            let attempt = attempts.find(|one| one.server == report.server && !one.is_reported);
            let attempt =
                attempt.unwrap_or_else(|| panic!("a report about no attempt: {report:?}"));
            // What nobody waits for any more is broken off.
            let outcome = attempt
                .outcome
                .unwrap_or_else(|| broken_off_by(stepped.event));
            assert_eq!(report.outcome, outcome, "it ended otherwise: {attempt:?}");
            assert!(report.at <= stepped.now && report.latency <= report.at.since(self.arrived));
            assert_eq!(report.shape, stepped.facts.shape());
            assert_eq!(report.generation, attempt.generation);
            attempt.outcome = Some(outcome);
            attempt.is_reported = true;
            let service = &mut services[report.server.service.0 as usize];
            service.attempt_ended(attempt.place, outcome);
        }
        for report in &stepped.calls.broke {
            assert!(report.outcome.is_failure(), "{report:?}");
            let Event::Passed(end) = stepped.event else {
                panic!("it broke while nothing was passed on: {report:?}");
            };
            assert!(!end.is_tunnel && end.broke_off == Some(report.outcome));
        }
        match (stepped.event, stepped.step) {
            (Event::Ended(end), _) if was_under_way => {
                let last = stepped.calls.ended.last().map(|report| report.outcome);
                assert_eq!(last, Some(end.outcome), "an end was not reported");
            }
            (_, Step::Settle) => assert!(self.under_way().count() <= 1, "not all are settled"),
            (_, Step::Switch(server)) => {
                let left: Vec<u32> = self.under_way().map(|one| one.server.index).collect();
                assert_eq!(left, [server], "the others are not settled");
            }
            _ => {}
        }
        if stepped.calls.named > 0 {
            let mut failed = self.attempts.iter().filter_map(|one| one.outcome);
            assert!(failed.any(Outcome::is_failure), "named without a failure");
        }
    }

    /// Each attempt is counted once, and does not hold its place any longer.
    fn check_counted(&mut self, stepped: &Stepped<'_, '_>) -> Vec<usize> {
        let mut free = Vec::new();
        for (server, outcome) in &stepped.calls.counted {
            let mut attempts = self.attempts.iter_mut().rev();
            let attempt = attempts.find(|one| one.server == *server && !one.is_counted);
            let attempt = attempt.unwrap_or_else(|| panic!("counted twice: {server:?}"));
            let expected = match stepped.event {
                Event::Passed(end) => Some(end.outcome),
                _ => attempt.outcome,
            };
            assert_eq!(Some(*outcome), expected, "counted otherwise: {attempt:?}");
            attempt.is_counted = true;
            free.push(attempt.place);
        }
        free
    }

    /// Whatever broke is told of, also if another attempt was under way beside it.
    fn check_exposed(&self, stepped: &Stepped<'_, '_>) {
        let broke =
            |exposed: &(ServerId, ExposureEvent)| matches!(exposed.1, ExposureEvent::Broke { .. });
        let told = stepped.calls.exposed.iter().filter(|one| broke(one));
        let ended = stepped.calls.ended.iter();
        let broken = ended.filter(|report| may_have_killed(report.outcome));
        let servers: Vec<ServerId> = broken.map(|report| report.server).collect();
        assert!(
            told.map(|one| one.0).eq(servers.iter().copied()),
            "what broke is not told: {servers:?}, {:?}",
            stepped.calls.exposed
        );
        for (server, what) in &stepped.calls.exposed {
            let is_of_attempt = self.attempts.iter().any(|one| one.server == *server);
            match what {
                ExposureEvent::Began => {
                    assert!(
                        matches!(stepped.step, Step::Attempt(begun) | Step::Hedge(begun, _) if begun == server.index)
                    );
                }
                ExposureEvent::Survived | ExposureEvent::Unsent => {
                    assert!(is_of_attempt, "{server:?}: {what:?}");
                }
                ExposureEvent::Broke { .. } => {
                    assert!(is_of_attempt, "{server:?}: {what:?}");
                    let mut outcomes = self.attempts.iter().filter_map(|one| one.outcome);
                    assert!(outcomes.any(may_have_killed));
                }
            }
        }
    }

    /// It is held no longer than may be, and not where no request is held.
    fn check_held(&mut self, service: &ServiceBooks, now: Instant) {
        let first = *self.visit.held_first.get_or_insert(now);
        assert!(now < first + HOLD_UP_TO, "held for too long: {self:?}");
        assert_eq!(service.holds_ended, None, "no request is held any more");
        assert_eq!(service.maintenance_since, None, "held in maintenance");
    }

    /// Whoever gives an attempt up has another server to go to.
    fn check_rescue(&self, stepped: &Stepped<'_, '_>) {
        let attempts = &self.attempts[self.visit.first..];
        let tried: Vec<u32> = attempts.iter().map(|one| one.server.index).collect();
        let pool = stepped.exchange.servers().pool();
        assert!(pool.has_other(stepped.now, &tried), "rescued to nowhere");
    }

    /// A server asks to be left alone: the next attempt waits if it would have to go there again.
    fn enter_wish(&mut self, stepped: &Stepped<'_, '_>, wish: Duration) {
        let attempts = &self.attempts[self.visit.first..];
        let tried: Vec<u32> = attempts.iter().map(|one| one.server.index).collect();
        let pool = stepped.exchange.servers().pool();
        if !pool.has_other(stepped.now, &tried) {
            self.visit.not_before = stepped.now + wish.min(LONGEST_WISH);
        }
    }

    /// It is a request of the fallback service from now on.
    fn enter_switch(&mut self, stepped: &Stepped<'_, '_>, left: ServiceId) {
        assert_eq!(left, self.visit.service);
        assert!(
            stepped.now < self.told_end,
            "nobody waits for the other service"
        );
        assert!(self.under_way().next().is_none(), "it left its attempts");
        let exchange = stepped.exchange;
        let policies = exchange.policies();
        assert!(
            std::ptr::eq(policies, exchange.service().policies()),
            "it goes by the policies of {}",
            policies.place
        );
        let mut visit = Visit::new(exchange.service_id(), stepped.now, policies, stepped.facts);
        visit.deadline = visit.deadline.min(self.told_end);
        visit.first = self.attempts.len();
        self.visit = visit;
        self.version = exchange.servers().version();
        self.is_backing_off = false;
    }

    /// Only this request's own waiting has changed, and it waits for one thing at a time.
    fn enter_waiting(&mut self, stepped: &Stepped<'_, '_>) {
        let is = |is: bool, before: i64, after: i64| i64::from(is) + after - before;
        let (before, after) = (stepped.before, stepped.after);
        let queued = is(self.is_queued, before.queued, after.queued);
        let held = is(self.is_held, before.held, after.held);
        let waits = matches!(stepped.step, Step::Wait(_));
        let most = i64::from(waits);
        let context = (stepped.event, stepped.step);
        assert!((0..=most).contains(&queued), "{queued} queued: {context:?}");
        assert!((0..=most).contains(&held), "{held} held: {context:?}");
        if held == 1 && !self.is_held {
            self.visit.held += 1;
        }
        self.was_queued = self.is_queued;
        (self.is_queued, self.is_held) = (queued == 1, held == 1);
        let since = self.queued_since.unwrap_or(stepped.now);
        self.queued_since = self.is_queued.then_some(since);
        let since = self.held_since.unwrap_or(stepped.now);
        self.held_since = self.is_held.then_some(since);
        let is_delayed = stepped.exchange.injected().delay.is_some() && self.attempts.is_empty();
        self.is_backing_off &= waits && !self.is_waiting();
        if let Step::Wait(until) = stepped.step {
            assert!(until <= self.visit.deadline, "it waits past its deadline");
            assert_eq!(self.refused, None, "it was refused");
            let is_other = self.is_backing_off || (is_delayed && !self.is_waiting());
            let count = i64::from(is_other) + queued + held;
            assert_eq!(count, 1, "things that it waits for: {self:?}");
        }
    }

    fn enter_end(&mut self, stepped: &Stepped<'_, '_>, services: &[ServiceBooks]) {
        let end = match stepped.step {
            Step::Reply(reply) => End::Replied(reply),
            Step::Abort => End::Aborted,
            Step::Done => End::PassedOn,
            Step::PassOn => {
                if !std::mem::replace(&mut self.is_passing, true) {
                    self.check_passed_on(stepped);
                }
                assert_eq!(self.under_way_or_passed().count(), 1);
                return;
            }
            Step::Attempt(_)
            | Step::Wait(_)
            | Step::GoOn(_)
            | Step::Hedge(..)
            | Step::Switch(_)
            | Step::Settle
            | Step::GiveUp => {
                assert!(!self.is_passing, "a step after the commit: {stepped:?}");
                return;
            }
        };
        assert_eq!(self.end, None, "it ends twice: {stepped:?}");
        if let Some(cause) = self.refused {
            let told = End::Replied(Reply::Cause(cause));
            assert_eq!(end, told, "it was refused: {stepped:?}");
        }
        assert_eq!(self.is_passing, end == End::PassedOn, "{stepped:?}");
        for attempt in &self.attempts {
            assert!(
                attempt.is_reported && attempt.is_counted,
                "an attempt is not counted: {attempt:?} at {stepped:?}"
            );
        }
        match end {
            End::Aborted => assert!(self.has_client_gone, "the client waits: {stepped:?}"),
            End::Replied(Reply::Cause(cause) | Reply::Final(cause)) => {
                self.check_cause(cause, stepped, services);
            }
            End::Replied(Reply::Stale(_)) => assert!(stepped.calls.took_stale),
            End::Replied(Reply::Fresh(revalidate)) => {
                assert_eq!(stepped.calls.took_fresh, Some(revalidate));
            }
            End::Replied(Reply::Configured(why)) => {
                if let NoResponse::Status(status) = why {
                    assert!(self.has_met(Outcome::Answered(status)));
                }
            }
            End::PassedOn => {}
        }
        self.end = Some(end);
    }

    /// What counts as no response is not passed on.
    fn check_passed_on(&self, stepped: &Stepped<'_, '_>) {
        let fallback = stepped.exchange.policies().fallback.as_ref();
        if let Event::Ended(end) = stepped.event
            && let Some(fallback) = fallback
        {
            let mut statuses = fallback.on.iter();
            let is_none = statuses.any(|status| end.outcome == Outcome::Answered(*status));
            assert!(!is_none, "passed on: {:?}", end.outcome);
        }
    }

    /// The client is told what is so.
    fn check_cause(&self, cause: Cause, stepped: &Stepped<'_, '_>, services: &[ServiceBooks]) {
        let service = &services[self.visit.service.0 as usize];
        let shape = stepped.facts.exact_shape();
        let is_so = match cause {
            Cause::Maintenance => service.maintenance_since.is_some(),
            Cause::Quarantined { .. } => service.is_quarantined(shape, stepped.now),
            Cause::RouteBroken { .. } | Cause::FallenBack { .. } => {
                service.is_closed(stepped.facts.shape(), stepped.now)
            }
            Cause::Deadline | Cause::RateLimited { .. } => self.refused == Some(cause),
            Cause::Shed => self.is_shed(stepped),
            Cause::Injected { .. } => stepped.exchange.injected().abort.is_some(),
            Cause::AttemptTimeout => self.has_met(Outcome::AttemptTimeout),
            Cause::BadResponse => self.has_met(Outcome::BadResponse),
            Cause::Truncated => self.has_met(Outcome::Truncated),
            Cause::StreamRefused => self.has_met(Outcome::StreamRefused),
            _ => true,
        };
        assert!(is_so, "{cause:?} is not so: {stepped:?}");
    }

    /// Its class has used its share of the servers.
    fn is_shed(&self, stepped: &Stepped<'_, '_>) -> bool {
        let (used, bounds) = stepped.exchange.servers().pool().used(stepped.now);
        let shares = ShedOptions::default();
        bounds.is_some_and(|bounds| bounds > 0 && !shares.admits(self.class, used, bounds))
    }

    /// One of its attempts has ended so.
    fn has_met(&self, outcome: Outcome) -> bool {
        let mut attempts = self.attempts.iter();
        attempts.any(|one| one.outcome == Some(outcome))
    }

    /// Attempts that have not been counted.
    fn under_way_or_passed(&self) -> impl Iterator<Item = &AttemptEntry> {
        self.attempts.iter().filter(|one| !one.is_counted)
    }

    /// Attempts whose end was not reported.
    fn under_way(&self) -> impl Iterator<Item = &AttemptEntry> {
        self.attempts.iter().filter(|one| !one.is_reported)
    }

    /// The places of attempts that hold one when the exchange is dropped.
    pub(crate) fn dropped(&self) -> Vec<usize> {
        self.under_way_or_passed().map(|one| one.place).collect()
    }
}

/// Whether an attempt that ended so may have brought its server down.
const fn may_have_killed(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Reset { sent: true } | Outcome::Truncated | Outcome::Rescued
    )
}

/// How attempts end that this event breaks off: another one was answered, or the client's doing was the end of all.
fn broken_off_by(event: Event) -> Outcome {
    match event {
        Event::FirstEnded(FirstEnd::Response(_))
        | Event::HedgeEnded(HedgeEnd {
            outcome: Outcome::Answered(_),
            ..
        }) => Outcome::Superseded,
        _ => Outcome::Cancelled,
    }
}
