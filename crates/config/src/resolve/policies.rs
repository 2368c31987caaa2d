//! Resolves policies of services and routes. For a route, its own values take precedence over those of its service.

use evenkeel_core::ServiceId;
use evenkeel_request::headers::{Side, check_name};
use evenkeel_request::route::Target;
use evenkeel_request::{DeadlineHeader, Policies};
use evenkeel_tolerate::{
    BackoffOptions, BudgetOptions, Capped, Growth, HedgeOptions, Jitter, RetryOn, RetryOptions,
    TimeoutOptions,
};

use super::fallback::resolve_fallback;
use super::inject::resolve_inject;
use super::typed::{check_cap, pick, pick_whole, section};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::ConfigFile;
use crate::file::hedge::HedgeConfig;
use crate::file::listen::RouteConfig;
use crate::file::retry::{RetryCondition, RetryConfig};
use crate::file::service::{ServiceConfig, TimeoutConfig};
use crate::plan::{BackoffGrowth, BackoffJitter, ListenerPlan};

/// The policies of a service's requests.
pub(super) fn service_policies(
    file: &ConfigFile,
    place: usize,
    typed: &ServiceConfig,
    out: &mut Diagnostics,
) -> Policies {
    let timeout = resolve_timeout(&section(typed.timeout.as_ref()));
    Policies {
        place: u32::try_from(place).unwrap_or(u32::MAX),
        timeout,
        deadline: resolve_deadline(&section(typed.timeout.as_ref()), out),
        retry: resolve_retry(&section(typed.retry.as_ref()), out),
        hedge: typed
            .hedge
            .as_ref()
            .map(|hedge| resolve_hedge(&hedge.value)),
        fallback: resolve_fallback(file, typed.fallback.as_ref(), out),
        inject: resolve_inject(typed.inject.as_ref(), timeout.total, out),
    }
}

/// The policies of a route that overrides any, for each service that it leads to. They get their indexes from
/// [`number`].
pub(super) fn route_policies(
    file: &ConfigFile,
    typed: &RouteConfig,
    target: &Target,
    out: &mut Diagnostics,
) -> Vec<(ServiceId, Policies)> {
    if !typed.has_own() {
        return Vec::new();
    }
    let services: Vec<&ServiceConfig> = (file.service.iter().flat_map(|map| &map.value))
        .map(|(_, service)| &service.value)
        .collect();
    let with = |id: ServiceId| Some((id, services.get(id.0 as usize)?));
    let all = target.services().filter_map(with);
    all.map(|(id, service)| (id, service_policies(file, 0, &typed.own(service), out)))
        .collect()
}

/// Gives routes their places, and the policies of routes theirs, after those of `services` services.
pub(super) fn number(services: usize, listeners: &mut [ListenerPlan]) {
    let routes = listeners
        .iter_mut()
        .flat_map(|listener| &mut listener.routes);
    let policies = (0..).zip(routes).flat_map(|(place, route)| {
        route.place = place;
        &mut route.policies
    });
    for (place, (_, policies)) in (services..).zip(policies) {
        policies.place = u32::try_from(place).unwrap_or(u32::MAX);
    }
}

fn resolve_timeout(typed: &TimeoutConfig) -> TimeoutOptions {
    let total = pick(typed.total.as_ref(), defaults::TIMEOUT_TOTAL);
    // If only `total` is set, it leaves time for another attempt.
    let attempt = typed.attempt.as_ref().map_or_else(
        || defaults::TIMEOUT_ATTEMPT.value.min(total / 2),
        |attempt| attempt.value,
    );
    TimeoutOptions {
        connect: pick(typed.connect.as_ref(), defaults::TIMEOUT_CONNECT),
        attempt,
        total,
        idle: pick(typed.idle.as_ref(), defaults::TIMEOUT_IDLE),
    }
}

fn resolve_deadline(typed: &TimeoutConfig, out: &mut Diagnostics) -> Option<DeadlineHeader> {
    let name = typed.deadline_header.as_ref()?;
    let taken = ["host", "x-request-id"]
        .iter()
        .any(|taken| name.eq_ignore_ascii_case(taken));
    let why = match check_name(name, Side::Request) {
        Err(why) => Some(why),
        Ok(()) => taken.then(|| format!("`{}` contradicts this", name.escape_debug())),
    };
    if let Some(why) = why {
        let diagnostic = Diagnostic::new(Code::BadRule, name.span.clone(), why, "this field");
        out.push(diagnostic.help("\"grpc-timeout\", or for example \"x-deadline-ms\""));
    }
    Some(DeadlineHeader::new(name))
}

fn resolve_retry(typed: &RetryConfig, out: &mut Diagnostics) -> RetryOptions {
    let backoff = section(typed.backoff.as_ref());
    let budget = section(typed.budget.as_ref());
    let options = BackoffOptions {
        base: pick(backoff.base.as_ref(), defaults::RETRY_BACKOFF_BASE),
        cap: pick(backoff.cap.as_ref(), defaults::RETRY_BACKOFF_CAP),
        jitter: match pick(backoff.jitter.as_ref(), defaults::RETRY_JITTER) {
            BackoffJitter::None => Jitter::None,
            BackoffJitter::Full => Jitter::Full,
            BackoffJitter::Equal => Jitter::Equal,
            BackoffJitter::Decorrelated => Jitter::Decorrelated,
        },
        growth: match pick(backoff.growth.as_ref(), defaults::RETRY_GROWTH) {
            BackoffGrowth::Exponential => Growth::Exponential(2.0),
            BackoffGrowth::Linear => Growth::Linear,
            BackoffGrowth::Fixed => Growth::Fixed,
        },
        capped: Capped::BeforeSpread,
    };
    check_cap(
        (options.base, options.cap),
        backoff.base.or(backoff.cap),
        out,
    );
    let methods = typed.methods.as_ref().map_or_else(
        || {
            defaults::RETRY_METHODS
                .value
                .iter()
                .map(|&method| method.to_owned())
                .collect()
        },
        |methods| {
            methods
                .value
                .iter()
                .map(|method| method.value.clone())
                .collect()
        },
    );
    let limit = pick_whole(typed.limit.as_ref(), defaults::RETRY_LIMIT);
    let timeout_limit = typed.timeout_limit.as_ref();
    RetryOptions {
        limit,
        timeout_limit: timeout_limit.map_or(limit, |limit| {
            u32::try_from(limit.value).unwrap_or(u32::MAX)
        }),
        on: typed.on.as_ref().map_or_else(default_on, |on| {
            retry_on(on.value.iter().map(|at| at.value))
        }),
        methods,
        backoff: options,
        budget: BudgetOptions {
            ratio: pick(budget.ratio.as_ref(), defaults::BUDGET_RATIO),
            floor_per_second: pick(budget.floor_per_second.as_ref(), defaults::BUDGET_FLOOR),
            burst: pick(budget.burst.as_ref(), defaults::BUDGET_BURST),
        },
        body_buffer: typed
            .body_buffer
            .as_ref()
            .map_or(defaults::BODY_BUFFER.value.0, |size| size.value),
        response_buffer: typed
            .response_buffer
            .as_ref()
            .map_or(defaults::RESPONSE_BUFFER.value.0, |size| size.value),
    }
}

fn resolve_hedge(typed: &HedgeConfig) -> HedgeOptions {
    HedgeOptions {
        after: pick(typed.after.as_ref(), defaults::HEDGE_AFTER),
        limit: pick_whole(typed.limit.as_ref(), defaults::HEDGE_LIMIT),
        floor: pick(typed.floor.as_ref(), defaults::HEDGE_FLOOR),
        minimum_attempts: u64::from(pick_whole(
            typed.minimum_attempts.as_ref(),
            defaults::HEDGE_MINIMUM,
        )),
    }
}

fn default_on() -> RetryOn {
    retry_on(
        defaults::RETRY_ON
            .value
            .iter()
            .filter_map(|&word| match word {
                "connect" => Some(RetryCondition::Connect),
                "reset" => Some(RetryCondition::Reset),
                "timeout" => Some(RetryCondition::Timeout),
                status => status.parse().ok().map(RetryCondition::Status),
            }),
    )
}

fn retry_on(conditions: impl Iterator<Item = RetryCondition>) -> RetryOn {
    let mut on = RetryOn::default();
    for condition in conditions {
        match condition {
            RetryCondition::Connect => on.connect = true,
            RetryCondition::Reset => on.reset = true,
            RetryCondition::Timeout => on.timeout = true,
            RetryCondition::Status(status) if on.statuses.contains(&status) => {}
            RetryCondition::Status(status) => on.statuses.push(status),
        }
    }
    on
}
