//! The routes of the simulation: policies of their own for the services that they lead to, classes, and rate limits.

use std::time::Duration;

use evenkeel_core::{Random, ServiceId};
use evenkeel_request::route::{RateRule, Route, Split, Target};
use evenkeel_request::service::{RateLimiter, Service};
use evenkeel_request::{DeadlineHeader, Fallback, FallbackResponse, FallbackTo, HashOn, Policies};
use evenkeel_tolerate::inject::{AbortOptions, DelayOptions};
use evenkeel_tolerate::{
    BudgetOptions, Class, HedgeAfter, HedgeOptions, InjectOptions, RateOptions,
};

use crate::plan::{DEADLINE, KEY, NAMES, options};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a route is made of.
struct Own {
    /// Its services, by name.
    to: &'static [&'static str],
    /// What it changes of their policies, if anything.
    change: Option<fn(&mut Policies)>,
    class: Option<Class>,
    rate: Option<RateRule>,
}

/// The routes, in the order of their places.
pub(crate) fn routes() -> Vec<Route> {
    let mut place = NAMES.len() as u32;
    let all = (0..).zip(all());
    all.map(|(index, own)| {
        let services = own.to.iter().map(|name| service_id(name));
        let services: Vec<ServiceId> = services.collect();
        let mut policies = Vec::new();
        for (id, change) in services.iter().zip(own.change.iter().cycle()) {
            let mut changed = options(id.0, NAMES[id.0 as usize]).policies;
            changed.place = place;
            place += 1;
            change(&mut changed);
            policies.push((*id, changed));
        }
        Route {
            target: target(&services),
            class: own.class,
            rate: own.rate,
            place: index,
            policies,
            ..Route::to(target(&[ServiceId(0)]))
        }
    })
    .collect()
}

/// The rate limits of the routes.
pub(crate) fn limiters(routes: &[Route], random: &mut Random) -> Vec<Option<RateLimiter>> {
    let rates = routes.iter().map(|route| route.rate.as_ref());
    rates
        .map(|rate| rate.map(|rate| RateLimiter::new(rate, random)))
        .collect()
}

/// The policies of the services and of the routes, by their places.
pub(crate) fn policies<'a>(services: &'a [Service], routes: &'a [Route]) -> Vec<&'a Policies> {
    let of_routes = routes.iter().flat_map(|route| &route.policies);
    let of_services = services.iter().map(Service::policies);
    of_services
        .chain(of_routes.map(|(_, policies)| policies))
        .collect()
}

/// What a request goes by that comes to `service` by `route`.
pub(crate) fn policies_of<'a>(
    services: &'a [Service],
    route: Option<&'a Route>,
    service: ServiceId,
) -> &'a Policies {
    let mut own = route.into_iter().flat_map(|route| &route.policies);
    match own.find(|(id, _)| *id == service) {
        Some((_, policies)) => policies,
        None => services[service.0 as usize].policies(),
    }
}

/// The places of the routes that lead to a service.
pub(crate) fn routes_to(routes: &[Route], service: ServiceId) -> Vec<usize> {
    let leads = |route: &Route| route.services().any(|id| id == service);
    let places = routes.iter().enumerate();
    places
        .filter(|(_, route)| leads(route))
        .map(|(place, _)| place)
        .collect()
}

fn service_id(name: &str) -> ServiceId {
    let place = NAMES.iter().position(|known| *known == name);
    ServiceId(place.expect("it is the name of a service") as u32)
}

fn target(services: &[ServiceId]) -> Target {
    match services {
        [one] => Target::Service(*one),
        several => {
            let parts = several.iter().map(|id| (*id, 1)).collect();
            Target::Split(Split::new(parts).expect("each has a part"))
        }
    }
}

fn all() -> Vec<Own> {
    let rate = |per_second, burst, by| {
        let per_second = f64::from(per_second);
        let rate = RateOptions { per_second, burst };
        Some(RateRule { rate, by })
    };
    let own = |to, change: fn(&mut Policies)| Own {
        to,
        change: Some(change),
        class: None,
        rate: None,
    };
    let only = |to, class, rate| Own {
        to,
        change: None,
        class,
        rate,
    };
    let by_client = Some(HashOn::Header(KEY.to_owned()));
    let by_four = Some(HashOn::SourceIp { v4: 30, v6: 64 });
    vec![
        own(&["plain"], impatient),
        own(&["plain", "everything"], persistent),
        only(&["limited"], Some(Class::Sheddable), rate(10, 2, by_client)),
        Own {
            class: Some(Class::CriticalPlus),
            ..own(&["limited"], repeats_all)
        },
        own(&["tiers"], hedges),
        own(&["adaptive", "breaking"], falls_back),
        own(&["falls"], answers_itself),
        Own {
            rate: rate(100, 3, None),
            ..own(&["held"], injects)
        },
        only(&["injected"], None, rate(20, 2, by_four)),
        own(&["stale"], has_nothing),
        only(&["everything"], Some(Class::SheddablePlus), None),
    ]
}

/// One attempt, and little time for it.
fn impatient(policies: &mut Policies) {
    (policies.timeout.connect, policies.timeout.attempt) = (millis(20), millis(60));
    policies.timeout.total = millis(150);
    policies.retry.limit = 0;
}

/// Many attempts. The budget is the service's all the same.
fn persistent(policies: &mut Policies) {
    let retry = &mut policies.retry;
    (retry.limit, retry.timeout_limit, retry.response_buffer) = (6, 4, 0);
    retry.on.statuses.push(500);
    retry.budget = BudgetOptions {
        ratio: 1.0,
        floor_per_second: 1e6,
        burst: 1e6,
    };
}

fn repeats_all(policies: &mut Policies) {
    let more = ["POST", "PATCH"].map(str::to_owned);
    policies.retry.methods.extend(more);
    (policies.retry.limit, policies.retry.on.connect) = (3, false);
}

fn hedges(policies: &mut Policies) {
    policies.hedge = Some(HedgeOptions {
        after: HedgeAfter::Delay(millis(8)),
        limit: 3,
        floor: millis(1),
        minimum_attempts: 0,
    });
    policies.deadline = Some(DeadlineHeader::new(DEADLINE));
}

fn falls_back(policies: &mut Policies) {
    policies.timeout.total = millis(700);
    policies.retry.on.reset = false;
    policies.fallback = Some(Fallback {
        on: vec![502],
        stale: None,
        to: FallbackTo::Service(service_id("everything")),
    });
}

fn answers_itself(policies: &mut Policies) {
    policies.retry.methods.push("GET".to_owned());
    policies.retry.limit = 3;
    policies.fallback = Some(Fallback {
        on: vec![404],
        stale: None,
        to: FallbackTo::Response(FallbackResponse {
            status: 503,
            content_type: "text/plain".to_owned(),
            body: "not now".to_owned(),
            retry_after: None,
        }),
    });
}

fn injects(policies: &mut Policies) {
    policies.inject = Some(InjectOptions {
        delay: Some(DelayOptions {
            share: 0.1,
            time: millis(30),
        }),
        abort: Some(AbortOptions {
            share: 0.05,
            status: 503,
        }),
        seed: 3,
    });
}

/// No retry, no fallback, no deadline of the client's.
fn has_nothing(policies: &mut Policies) {
    policies.retry.methods.clear();
    (policies.fallback, policies.deadline) = (None, None);
}
