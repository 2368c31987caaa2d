//! Resolves limits: typed values, checked, and defaults for the rest.

use evenkeel_request::headers::{Side, check_name};
use evenkeel_request::route::RateRule;
use evenkeel_tolerate::limit::{AimdOptions, Gradient2Options, VegasOptions};
use evenkeel_tolerate::queue::CodelRule;
use evenkeel_tolerate::throttle::SreOptions;
use evenkeel_tolerate::{CodelOptions, LimitOptions, QueueOptions, RateOptions, ShedOptions};

use super::typed::{pick, pick_whole, section};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::Located;
use crate::file::limit::{
    AdaptiveConfig, Bound, LimitConfig, QueueConfig, RateConfig, RequestClassConfig, SharesConfig,
    ThrottleConfig, check_order,
};
use crate::file::service::ServiceConfig;
use crate::plan::{AlgorithmChoice, LimitPlan};

pub(crate) fn resolve_limit(
    typed: &LimitConfig,
    timeout: std::time::Duration,
    out: &mut Diagnostics,
) -> LimitPlan {
    let is_adaptive =
        (typed.concurrency.as_ref()).is_some_and(|bound| bound.value == Bound::Adaptive);
    let class = section(typed.class.as_ref());
    LimitPlan {
        adaptive: is_adaptive
            .then(|| resolve_adaptive(&section(typed.adaptive.as_ref()), timeout, out)),
        queue: resolve_queue(&section(typed.queue.as_ref())),
        class_header: resolve_class_header(&class, out),
        class: pick(class.default.as_ref(), defaults::CLASS),
        shares: resolve_shares(&section(typed.shares.as_ref())),
        rate: typed
            .rate
            .as_ref()
            .and_then(|rate| resolve_rate(&rate.value)),
        throttle: (typed.throttle.as_ref()).map(|throttle| resolve_throttle(&throttle.value)),
    }
}

fn resolve_adaptive(
    typed: &AdaptiveConfig,
    timeout: std::time::Duration,
    out: &mut Diagnostics,
) -> LimitOptions {
    let min = pick_whole(typed.min.as_ref(), defaults::ADAPTIVE_MIN);
    let max = pick_whole(typed.max.as_ref(), defaults::ADAPTIVE_MAX);
    check_order(typed, (min, max), out);
    let initial = pick_whole(typed.initial.as_ref(), defaults::ADAPTIVE_INITIAL);
    let initial = initial.clamp(min, max.max(min));
    match pick(typed.algorithm.as_ref(), defaults::ADAPTIVE_ALGORITHM) {
        AlgorithmChoice::Gradient2 => LimitOptions::Gradient2(Gradient2Options {
            initial,
            min,
            max,
            ..Gradient2Options::default()
        }),
        AlgorithmChoice::Vegas => LimitOptions::Vegas(VegasOptions {
            initial,
            min,
            max,
            ..VegasOptions::default()
        }),
        AlgorithmChoice::Aimd => LimitOptions::Aimd(AimdOptions {
            initial,
            min,
            max,
            timeout,
            ..AimdOptions::default()
        }),
    }
}

fn resolve_queue(typed: &QueueConfig) -> QueueOptions {
    let wait = pick(typed.wait.as_ref(), defaults::QUEUE_WAIT);
    let target = typed
        .target
        .as_ref()
        .map_or(wait / 5, |target| target.value);
    QueueOptions {
        length: pick_whole(typed.length.as_ref(), defaults::QUEUE_LENGTH),
        wait,
        codel: CodelRule::MinimumDelay(CodelOptions {
            target,
            interval: wait.max(target),
        }),
        newest_first_after: None,
    }
}

fn resolve_class_header(typed: &RequestClassConfig, out: &mut Diagnostics) -> Option<String> {
    let header = typed.header.as_ref()?;
    if let Err(why) = check_name(header, Side::Request) {
        let diagnostic = Diagnostic::new(Code::BadRule, header.span.clone(), why, "this field");
        out.push(diagnostic.help("for example \"x-criticality\""));
    }
    Some(header.to_lowercase())
}

fn resolve_shares(typed: &SharesConfig) -> ShedOptions {
    ShedOptions {
        critical_plus: pick(typed.critical_plus.as_ref(), defaults::SHARE_CRITICAL_PLUS),
        critical: pick(typed.critical.as_ref(), defaults::SHARE_CRITICAL),
        sheddable_plus: pick(
            typed.sheddable_plus.as_ref(),
            defaults::SHARE_SHEDDABLE_PLUS,
        ),
        sheddable: pick(typed.sheddable.as_ref(), defaults::SHARE_SHEDDABLE),
    }
}

pub(super) fn resolve_rate(typed: &RateConfig) -> Option<RateRule> {
    let per_second = typed.per_second.as_ref()?.value;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to a million"
    )]
    let in_a_second = per_second.ceil().clamp(1.0, 1e6) as u32;
    let burst = typed
        .burst
        .as_ref()
        .map(|burst| u32::try_from(burst.value).unwrap_or(u32::MAX));
    Some(RateRule {
        rate: RateOptions {
            per_second,
            burst: burst.unwrap_or(in_a_second),
        },
        by: typed.by.as_ref().map(|by| by.value.clone()),
    })
}

fn resolve_throttle(typed: &ThrottleConfig) -> SreOptions {
    SreOptions {
        k: pick(typed.k.as_ref(), defaults::THROTTLE_K),
        window: pick(typed.window.as_ref(), defaults::THROTTLE_WINDOW),
        minimum_attempts: u64::from(pick_whole(
            typed.minimum_attempts.as_ref(),
            defaults::THROTTLE_MINIMUM,
        )),
        max: pick(typed.max.as_ref(), defaults::THROTTLE_MAX),
    }
}

/// The bound on requests that a server has at once; 0 if there is none. Where it is found, this is the most that it can be.
pub(crate) fn resolve_bound(service: &ServiceConfig, own: Option<&Located<u64>>) -> u32 {
    let limit = section(service.limit.as_ref());
    let bound = match (own, limit.concurrency) {
        (Some(own), _) => own.value,
        (None, None) => 0,
        (None, Some(common)) => match common.value {
            Bound::Fixed(number) => number,
            Bound::Adaptive => {
                let max = section(limit.adaptive.as_ref()).max;
                return pick_whole(max.as_ref(), defaults::ADAPTIVE_MAX);
            }
        },
    };
    u32::try_from(bound).unwrap_or(u32::MAX)
}
