//! The clients of the simulation: what they send, how they leave, and what is reported that nobody has asked for.

use std::time::Duration;

use evenkeel_core::blame::{AttemptPhase, EndEvent as Blamed, Peer};
use evenkeel_core::{Outcome, Random, ServiceId};
use evenkeel_request::exchange::{
    AttemptEnd, Event, FirstEnd, HedgeEnd, NoResponse, Reply, ResponseEnd,
};
use evenkeel_request::route::Route;
use evenkeel_request::service::Service;
use evenkeel_request::{Cause, Policies};
use evenkeel_tolerate::Class;

use crate::host::Facts;
use crate::plan;
use crate::routes::routes_to;
use crate::world::{Request, RequestKey, World};

/// The targets of requests.
pub(crate) const TARGETS: [&str; 8] = [
    "/",
    "/cart",
    "/cart/items",
    "/search",
    "/orders/17",
    "/orders/18",
    "/crash",
    "/slow",
];
/// Their methods. Two of them may not be repeated.
pub(crate) const METHODS: [&str; 6] = ["GET", "GET", "HEAD", "PUT", "POST", "PATCH"];
const CLASSES: [&str; 5] = [
    "critical-plus",
    "critical",
    "sheddable-plus",
    "sheddable",
    "no class",
];

/// A client's next request, and its service.
pub(crate) fn draw_request(
    random: &mut Random,
    services: &[Service],
    routes: &[Route],
    client: usize,
) -> (ServiceId, Facts) {
    // Most clients have a service of their own, so that some services have more to do than they can.
    const FAVOURITES: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 1, 2, 6];
    let service = match random.below(3) {
        0 => random.below(services.len()),
        _ => FAVOURITES[client % FAVOURITES.len()],
    };
    let ways = routes_to(routes, ServiceId(service as u32));
    let by_route = !ways.is_empty() && random.below(2) == 0;
    let route = by_route.then(|| ways[random.below(ways.len())]);
    let method = METHODS[random.below(METHODS.len())];
    let mut fields = vec![(plan::KEY, format!("client-{client}"))];
    match random.below(20) {
        0 => fields.push((plan::DEADLINE, "0".to_owned())),
        1 => fields.push((plan::DEADLINE, "soon".to_owned())),
        2..4 => fields.push((plan::DEADLINE, random.below(2_000).to_string())),
        4..8 => fields.push((plan::DEADLINE, random.below(80).to_string())),
        _ => {}
    }
    if random.below(3) == 0 {
        let class = CLASSES[random.below(CLASSES.len())];
        fields.push((plan::CLASS, class.to_owned()));
    }
    if random.below(2) == 0
        && let Some(sticky) = services[service].servers().sticky()
    {
        let told = sticky.field((client % 10) as u32);
        let value = told.map_or("", |(_, value)| value);
        fields.push((plan::STICKY, value.to_owned()));
    }
    let has_body = matches!(method, "PUT" | "POST" | "PATCH");
    let is_cached = plan::NAMES[service] == "stale";
    let fresh = is_cached && random.below(5) == 0;
    let facts = Facts {
        route,
        method,
        target: TARGETS[random.below(TARGETS.len())].to_owned(),
        fields,
        peer: [10, 1, (client / 200) as u8, (client % 200) as u8].into(),
        is_upgrade: random.below(30) == 0,
        is_large: has_body && random.below(2) == 0,
        is_lost: false,
        is_sent: false,
        bytes: random.below(2_000) as u64,
        fresh: fresh.then(|| random.below(3) == 0),
        has_stale: is_cached && random.below(3) == 0,
    };
    (ServiceId(service as u32), facts)
}

/// For how long the client says that it waits, if these policies listen to that; zero if its time is over.
pub(crate) fn told(facts: &Facts, policies: &Policies) -> Option<Duration> {
    policies.deadline.as_ref()?;
    let millis: u64 = facts.field(plan::DEADLINE)?.parse().ok()?;
    Some(Duration::from_millis(millis))
}

/// How much the request matters: what its route says, else what it says itself.
pub(crate) fn class_of(facts: &Facts, route: Option<&Route>) -> Class {
    let said = facts.field(plan::CLASS);
    let mut all = Class::ALL.into_iter();
    let said = all.find(|class| said == Some(class.word()));
    let of_route = route.and_then(|route| route.class);
    of_route.or(said).unwrap_or(Class::Critical)
}

/// What a request is told at once whose time is over when it comes.
pub(crate) fn refusal(facts: &Facts, policies: &Policies) -> Option<Cause> {
    let is_over = told(facts, policies).is_some_and(|told| told.is_zero());
    is_over.then_some(Cause::Deadline)
}

impl<'a> World<'a> {
    pub(crate) fn client_leaves(&mut self, key: RequestKey) {
        let now = self.now;
        let asks = self.one_in(2);
        let Some(request) = self.request_mut(key) else {
            return;
        };
        request.books.has_client_gone = true;
        let event = match &mut request.sending {
            _ if request.is_waiting => Event::ClientGone,
            Some(sending) if sending.is_passing => return self.passed(key),
            Some(sending) => {
                let first = &mut sending.first;
                let is_holding = first.progress.phase == AttemptPhase::Holding;
                if !is_holding && (sending.races || asks) {
                    Event::ClientGone
                } else {
                    let judged = first.progress.judge(Blamed::Closed(Peer::Client));
                    let end = AttemptEnd::failed(judged.outcome, now.since(first.begun));
                    first.end = Some(end);
                    request.books.attempts[first.entry].outcome = Some(end.outcome);
                    Event::Ended(end)
                }
            }
            None => Event::ClientGone,
        };
        self.tell(key, event);
    }

    /// A response was passed on, or has broken off.
    pub(crate) fn passed(&mut self, key: RequestKey) {
        let fate = self.random.below(30);
        let Some(request) = self.request(key) else {
            return;
        };
        let Some(sending) = request.sending.as_ref().filter(|it| it.is_passing) else {
            return;
        };
        let answered = sending.first.end.map(|end| end.outcome);
        let outcome = answered.expect("what is passed on has ended");
        let broke = match fate {
            _ if request.books.has_client_gone => Some(Outcome::Cancelled),
            0 => Some(Outcome::Truncated),
            1 => Some(Outcome::IdleTimeout),
            _ => None,
        };
        let is_tunnel = request.facts.is_upgrade;
        let event = Event::Passed(match broke {
            // Data in a tunnel has no end that could be missed.
            Some(Outcome::Truncated) if is_tunnel => ResponseEnd {
                outcome,
                broke_off: Some(Outcome::Reset { sent: true }),
                is_tunnel,
            },
            broke_off => ResponseEnd {
                outcome: broke_off.unwrap_or(outcome),
                broke_off,
                is_tunnel,
            },
        });
        self.tell(key, event);
    }

    /// The server of the attempt under way was taken out as dead or hung.
    pub(crate) fn server_out(&mut self, key: RequestKey, place: usize) {
        let now = self.now;
        let asks = self.one_in(2);
        let Some(request) = self.request_mut(key) else {
            return;
        };
        let Some(sending) = &mut request.sending else {
            return;
        };
        if sending.is_passing || sending.first.place != place || request.is_waiting {
            return;
        }
        let mut event = Event::ServerOut;
        if !sending.races && asks {
            let is_replayable = !request.facts.is_lost;
            if !request.exchange.may_rescue(is_replayable, now) {
                return;
            }
            event = sending.give_up(now);
            request.books.attempts[sending.first.entry].outcome = Some(Outcome::Rescued);
        }
        self.tell(key, event);
    }

    /// Reports something that does not fit what the exchange waits for.
    pub(crate) fn stray(&mut self, key: RequestKey) {
        let Some(request) = self.requests[key.client].take_if(|it| it.key == key) else {
            return;
        };
        let event = self.draw_stray(&request);
        self.requests[key.client] = Some(request);
        self.totals.strays += 1;
        self.tell(key, event);
        let at = self.within(200);
        self.enter(at, crate::world::Due::Stray(key));
    }

    fn draw_stray(&mut self, request: &Request<'a>) -> Event {
        let is_passing = request.sending.as_ref().is_some_and(|it| it.is_passing);
        let is_attempting = !request.is_waiting && !is_passing;
        loop {
            let event = self.draw_event(request);
            let fits = match event {
                Event::Woken => false,
                Event::Passed(_) => is_passing,
                // Not twice.
                Event::Connected => {
                    let mut sending = request.sending.iter();
                    is_attempting
                        && sending.any(|it| it.first.progress.phase == AttemptPhase::Connecting)
                }
                // At a time of its own, and of a server that is asked.
                Event::HedgeDue => false,
                Event::HedgeEnded(end) => {
                    let hedges = request.sending.iter().flat_map(|it| &it.hedges);
                    is_attempting && hedges.into_iter().any(|it| it.server == end.server)
                }
                // In an attempt they mean something.
                Event::Ended(_) | Event::Aborted(_) | Event::FirstEnded(_) | Event::ServerOut => {
                    is_attempting
                }
                Event::ClientGone => !is_passing,
            };
            if !fits {
                return event;
            }
        }
    }

    /// Any event.
    pub(crate) fn draw_event(&mut self, request: &Request<'a>) -> Event {
        let outcomes = [
            Outcome::Answered(200),
            Outcome::Answered(503),
            Outcome::ConnectRefused,
            Outcome::Reset { sent: true },
            Outcome::Cancelled,
        ];
        let outcome = outcomes[self.random.below(outcomes.len())];
        let server = self.random.below(10) as u32;
        match self.random.below(10) {
            0 => Event::Woken,
            1 => Event::ClientGone,
            2 => Event::Connected,
            3 => Event::Ended(AttemptEnd::failed(outcome, Duration::ZERO)),
            4 => Event::Aborted(Cause::RequestTimeout),
            5 => Event::Passed(ResponseEnd {
                outcome,
                broke_off: Some(outcome).filter(|outcome| outcome.is_failure()),
                is_tunnel: request.facts.is_upgrade,
            }),
            6 => Event::HedgeDue,
            7 => Event::FirstEnded(FirstEnd::Failed(outcome)),
            8 => Event::HedgeEnded(HedgeEnd { server, outcome }),
            _ => Event::ServerOut,
        }
    }

    pub(crate) fn count_reply(&mut self, reply: Reply) {
        self.totals.replied += 1;
        let (Reply::Cause(cause) | Reply::Configured(NoResponse::Cause(cause))) = reply else {
            return;
        };
        match cause {
            Cause::Quarantined { .. } => self.totals.quarantined += 1,
            Cause::RouteBroken { .. } | Cause::FallenBack { .. } => self.totals.closed += 1,
            Cause::Maintenance => self.totals.maintenance += 1,
            Cause::Throttled => self.totals.throttled += 1,
            _ => {}
        }
    }
}
