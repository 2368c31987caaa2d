//! A request arrives: its service's rules for it, its deadline, its rate limits, injected faults, and a cached response that is good enough.

use std::net::IpAddr;

use evenkeel_core::{Instant, RequestShape, ServiceId};
use evenkeel_tolerate::inject::Injected;

use super::attempts::Attempts;
use super::fallback::{FallbackService, FallbackState};
use super::host::{ClientDeadline, Count, Host, Services};
use super::next::Next;
use super::phase::Phase;
use super::state::Exchange;
use super::step::{NoResponse, Reply, Step};
use crate::deadline::ReportedDeadline;
use crate::route::Route;
use crate::service::RateLimiter;
use crate::{Cause, Policies, RequestView};

/// A request whose head is there.
#[derive(Debug)]
pub struct Arrival<'a, 'h, H> {
    /// The service that its route leads to.
    pub service: ServiceId,
    /// Its route, if one matched.
    pub route: Option<&'a Route>,
    /// The rate limit of its route, if there is one.
    pub rate: Option<&'a RateLimiter>,
    /// Its head.
    pub head: &'h H,
    /// What it asks for.
    pub shape: RequestShape,
    /// The address of the client; `None` if it came over a Unix domain socket.
    pub peer: Option<IpAddr>,
    /// Whether it asks for another protocol.
    pub is_upgrade: bool,
    /// When its head was there.
    pub at: Instant,
}

impl<'a> Exchange<'a> {
    /// Reads off the head what is decided by it. The first event is [`super::Event::Woken`].
    #[must_use]
    pub fn new<H: RequestView>(arrival: &Arrival<'a, '_, H>, services: &impl Services<'a>) -> Self {
        let Arrival {
            head, peer, route, ..
        } = *arrival;
        let service = services.service(arrival.service);
        let own = route.and_then(|route| route.policies(arrival.service));
        let policies = own.unwrap_or(service.policies());
        let servers = services.servers(arrival.service);
        let admission = service.admission();
        let mut attempts = Attempts::begin(arrival.at, &policies.timeout);
        let refused = apply_deadline(&mut attempts, policies, arrival, services)
            .or_else(|| admission.rate_limited(arrival.rate, arrival.at, head, peer));
        Self {
            service_id: arrival.service,
            service,
            policies,
            sticky: servers.sticky().and_then(|sticky| sticky.server(head)),
            servers,
            attempts,
            phase: Phase::New,
            current: None,
            hedging: None,
            started: arrival.at,
            latest: arrival.at,
            shape: arrival.shape,
            watched: None,
            trial: None,
            key: service.hash_on().and_then(|on| on.key(head, peer)),
            class: admission.class(route, head),
            fallback: FallbackService::of(policies, head, peer, services),
            fallen: FallbackState::default(),
            injected: Injected::default(),
            refused,
            held_since: None,
            doubted_since: None,
            queued_since: None,
            hurried: false,
            returns_seen: 0,
            is_client_gone: false,
            may_repeat: policies.may_repeat(head.method()),
            is_upgrade: arrival.is_upgrade,
        }
    }

    /// The first step. What was refused when it came, and what is injected, gets to no server and to no fallback.
    pub(super) fn arrived(&mut self, now: Instant, host: &mut impl Host<'a>) -> Next {
        if let Some(cause) = self.refused {
            return Next::Reply(Reply::Cause(cause));
        }
        if self.policies.inject.is_some()
            && let Some(injected) = host.inject(self.policies.place)
        {
            self.injected = injected;
            if let Some(delay) = injected.delay {
                let until = (now + delay).min(self.attempts.deadline().end());
                self.phase = Phase::Delayed(until);
                return Next::Step(Step::Wait(until));
            }
            return self.injected_abort(now, host);
        }
        self.first_look(now, host)
    }

    /// The time of an injected delay is over.
    pub(super) fn delay_over(&self, now: Instant, host: &mut impl Host<'a>) -> Next {
        if now >= self.attempts.deadline().end() {
            return Next::Reply(Reply::Cause(Cause::TotalTimeout));
        }
        self.injected_abort(now, host)
    }

    fn injected_abort(&self, now: Instant, host: &mut impl Host<'a>) -> Next {
        match self.injected.abort {
            Some(status) => Next::Reply(Reply::Cause(Cause::Injected { status })),
            None => self.first_look(now, host),
        }
    }

    /// A cached response that needs no server, or the first server.
    fn first_look(&self, now: Instant, host: &mut impl Host<'a>) -> Next {
        if !self.service.in_maintenance()
            && let Some(revalidate) = host.fresh_response(self.service_id, self.policies, now)
        {
            return Next::Reply(Reply::Fresh(revalidate));
        }
        Next::AskService
    }

    /// Asks the service, unless its requests are answered for it.
    #[inline]
    pub(super) fn ask_service(&self) -> Next {
        if self.service.in_maintenance() {
            return Next::NoResponse(NoResponse::Cause(Cause::Maintenance));
        }
        Next::Select
    }
}

/// Takes the client's deadline; a cause if it has passed already.
fn apply_deadline<'a, H: RequestView>(
    attempts: &mut Attempts,
    policies: &Policies,
    arrival: &Arrival<'a, '_, H>,
    services: &impl Services<'a>,
) -> Option<Cause> {
    let header = policies.deadline.as_ref()?;
    let what = match header.told(arrival.head) {
        ReportedDeadline::Nothing => return None,
        ReportedDeadline::Malformed => ClientDeadline::Malformed,
        ReportedDeadline::Left(left) if left.is_zero() => ClientDeadline::Passed,
        ReportedDeadline::Left(left) => {
            let own = attempts.deadline();
            attempts.shorten(left, arrival.at);
            if attempts.deadline() == own {
                ClientDeadline::Longer
            } else {
                ClientDeadline::Shorter
            }
        }
    };
    services.count(arrival.service, Count::Deadline(what));
    (what == ClientDeadline::Passed).then_some(Cause::Deadline)
}
