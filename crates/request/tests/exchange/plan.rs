//! The services of the simulation: one for each part of the configuration that the exchange reads, and a few with several at once.

use std::time::Duration;

use evenkeel_balance::{BalanceOptions, Policy};
use evenkeel_core::{Instant, Random, ServiceId};
use evenkeel_request::route::RateRule;
use evenkeel_request::service::{
    AdmissionOptions, ServerOptions, Service, ServiceOptions, StickyBy, StickyKey, StickyOptions,
    WatchOptions,
};
use evenkeel_request::{
    DeadlineHeader, Fallback, FallbackResponse, FallbackTo, HashOn, HoldOptions, Policies,
};
use evenkeel_tolerate::breaker::BreakerOptions;
use evenkeel_tolerate::inject::{AbortOptions, DelayOptions};
use evenkeel_tolerate::limit::AimdOptions;
use evenkeel_tolerate::throttle::SreOptions;
use evenkeel_tolerate::{
    BackoffOptions, BudgetOptions, Class, HedgeAfter, HedgeOptions, InjectOptions, LimitOptions,
    QueueOptions, RateOptions, RetryOn, RetryOptions, ShedOptions, StaleOptions, TimeoutOptions,
};

/// The field in which clients say how long they wait.
pub(crate) const DEADLINE: &str = "x-deadline";
/// The field in which clients say how much a request matters.
pub(crate) const CLASS: &str = "x-class";
/// The field in which clients say to which server they belong.
pub(crate) const STICKY: &str = "x-server";
/// The field that requests are hashed on.
pub(crate) const KEY: &str = "x-key";

/// A request waits for so long at most for a server to come back.
pub(crate) const HOLD_UP_TO: Duration = millis(1_200);
/// So many requests wait at most for a server to come back.
const MANY_HELD: u32 = 12;
const FEW_HELD: u32 = 4;

/// The services, in the order of their ids.
pub(crate) const NAMES: [&str; 12] = [
    "plain",
    "limited",
    "adaptive",
    "breaking",
    "held",
    "hedged",
    "everything",
    "falls",
    "stale",
    "sticky",
    "injected",
    "tiers",
];

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// All services of the simulation.
pub(crate) fn services(random: &mut Random) -> Vec<Service> {
    let all = (0..).zip(NAMES);
    all.map(|(index, name)| Service::new(options(index, name), Instant::ZERO, random))
        .collect()
}

/// What a service is made of.
pub(crate) fn options(index: u32, name: &str) -> ServiceOptions {
    let mut options = plain(index, name, 10);
    match name {
        "limited" => limited(&mut options),
        "adaptive" => adaptive(&mut options),
        "breaking" => breaking(&mut options),
        "held" => options.hold = Some(hold(MANY_HELD)),
        "hedged" => options.policies.hedge = Some(hedge(HedgeAfter::Delay(millis(15)), 2)),
        "everything" => everything(&mut options),
        "falls" => falls(&mut options),
        "stale" => stale(&mut options),
        "sticky" => sticky(&mut options),
        "injected" => injected(&mut options),
        "tiers" => tiers(&mut options),
        _ => {}
    }
    options
}

/// The rate limits of the services, if they have any.
pub(crate) fn rates() -> impl Iterator<Item = Option<RateRule>> {
    let all = (0..).zip(NAMES);
    all.map(|(index, name)| options(index, name).admission.rate)
}

fn plain(index: u32, name: &str, servers: u16) -> ServiceOptions {
    let server = |at: u16| ServerOptions {
        index: at.into(),
        name: format!("{name}-{at}"),
        address: Some(([10, 0, index as u8, at as u8 + 1], 80).into()),
        weight: 1 + u32::from(at % 3),
        tier: 0,
        near: false,
        max_requests: 0,
    };
    ServiceOptions {
        name: name.to_owned(),
        servers: (0..servers).map(server).collect(),
        balance: BalanceOptions {
            policy: Policy::RoundRobin,
            panic_below: 0.5,
            slow_start: millis(500),
            bounded_load: None,
            maglev_table: 251,
            overprovisioning: 1.4,
            subset: None,
        },
        hash_on: HashOn::Header(KEY.to_owned()),
        sticky: None,
        watch: WatchOptions::default(),
        queue: QueueOptions {
            length: 16,
            wait: millis(400),
            ..QueueOptions::default()
        },
        hold: None,
        admission: AdmissionOptions {
            class_header: Some(CLASS.to_owned()),
            class: Class::Critical,
            shares: ShedOptions::default(),
            rate: None,
            throttle: None,
        },
        policies: policies(index),
    }
}

fn policies(place: u32) -> Policies {
    let methods = ["GET", "HEAD", "PUT"];
    Policies {
        place,
        timeout: TimeoutOptions {
            connect: millis(100),
            attempt: millis(500),
            total: millis(1_500),
            idle: millis(2_000),
        },
        deadline: Some(DeadlineHeader::new(DEADLINE)),
        retry: RetryOptions {
            limit: 2,
            timeout_limit: 1,
            on: RetryOn {
                connect: true,
                reset: true,
                timeout: true,
                statuses: vec![429, 502, 503],
            },
            methods: methods.map(str::to_owned).to_vec(),
            backoff: BackoffOptions::default(),
            budget: BudgetOptions {
                ratio: 0.2,
                floor_per_second: 2.0,
                burst: 20.0,
            },
            body_buffer: 0,
            response_buffer: 1_000,
        },
        hedge: None,
        fallback: None,
        inject: None,
    }
}

fn limited(options: &mut ServiceOptions) {
    options.servers.truncate(6);
    options
        .servers
        .iter_mut()
        .for_each(|server| server.max_requests = 2);
    options.balance.policy = Policy::PowerOfTwo;
    options.queue.newest_first_after = Some(millis(100));
    options.policies.retry.limit = 1;
}

fn adaptive(options: &mut ServiceOptions) {
    options.servers.truncate(6);
    options.watch.limit = Some(aimd());
    options.balance.policy = Policy::LeastRequests;
    options.policies.retry.on.timeout = false;
}

fn aimd() -> LimitOptions {
    LimitOptions::Aimd(AimdOptions {
        initial: 2,
        min: 1,
        max: 6,
        backoff: 0.5,
        timeout: millis(300),
    })
}

fn breaker() -> BreakerOptions {
    BreakerOptions {
        consecutive: Some(3),
        open_for: millis(300),
        open_most: millis(2_000),
        trials: 2,
        good_trials: 2,
        ..BreakerOptions::default()
    }
}

fn breaking(options: &mut ServiceOptions) {
    options.watch.breaker = Some(breaker());
    options.balance.policy = Policy::LeastResponseTime;
    options.policies.fallback = Some(Fallback {
        on: vec![500, 503],
        stale: None,
        to: FallbackTo::Response(FallbackResponse {
            status: 200,
            content_type: "text/plain".to_owned(),
            body: "later".to_owned(),
            retry_after: None,
        }),
    });
}

const fn hold(requests: u32) -> HoldOptions {
    HoldOptions {
        up_to: HOLD_UP_TO,
        requests,
        bytes: 8_000,
    }
}

const fn hedge(after: HedgeAfter, limit: u32) -> HedgeOptions {
    HedgeOptions {
        after,
        limit,
        floor: millis(1),
        minimum_attempts: 50,
    }
}

/// Everything that lasts: limits, breakers, a queue, held requests, hedged attempts.
fn everything(options: &mut ServiceOptions) {
    options
        .servers
        .iter_mut()
        .for_each(|server| server.max_requests = 2);
    options.watch = WatchOptions {
        limit: Some(aimd()),
        breaker: Some(breaker()),
        log: None,
    };
    options.balance.policy = Policy::WeightedRandom;
    options.balance.panic_below = 0.0;
    options.hold = Some(hold(FEW_HELD));
    options.policies.hedge = Some(hedge(HedgeAfter::Quantile(0.8), 1));
}

fn falls(options: &mut ServiceOptions) {
    options.servers.truncate(4);
    options.hold = Some(hold(FEW_HELD));
    options.policies.retry.limit = 1;
    options.policies.retry.methods.clear();
    options.policies.fallback = Some(Fallback {
        on: vec![500],
        stale: None,
        to: FallbackTo::Service(ServiceId(6)),
    });
}

fn stale(options: &mut ServiceOptions) {
    options.servers.truncate(4);
    options.balance.policy = Policy::WeightedRoundRobin;
    options.policies.retry.methods.push("POST".to_owned());
    options.policies.fallback = Some(Fallback {
        on: vec![500, 502, 503],
        stale: Some(StaleOptions {
            answer_first: true,
            ..StaleOptions::default()
        }),
        to: FallbackTo::Service(ServiceId(9)),
    });
}

fn sticky(options: &mut ServiceOptions) {
    options.sticky = Some(StickyOptions {
        by: StickyBy::Header {
            name: STICKY.to_owned(),
        },
        key: StickyKey(b"a key".to_vec()),
    });
    options.balance.policy = Policy::RingHash;
    options.balance.bounded_load = Some(1.5);
    options
        .servers
        .iter_mut()
        .for_each(|server| server.max_requests = 4);
    options.policies.fallback = Some(Fallback {
        on: Vec::new(),
        stale: None,
        to: FallbackTo::Own,
    });
}

fn injected(options: &mut ServiceOptions) {
    options.balance.policy = Policy::Maglev;
    options.policies.inject = Some(InjectOptions {
        delay: Some(DelayOptions {
            share: 0.2,
            time: millis(60),
        }),
        abort: Some(AbortOptions {
            share: 0.1,
            status: 500,
        }),
        seed: 7,
    });
    options.admission.rate = Some(RateRule {
        rate: RateOptions {
            per_second: 200.0,
            burst: 40,
        },
        by: None,
    });
}

fn tiers(options: &mut ServiceOptions) {
    for (server, at) in options.servers.iter_mut().zip(0..) {
        (server.tier, server.near) = (u8::from(at > 5), at % 2 == 0);
    }
    options.balance.policy = Policy::Random;
    options.admission.throttle = Some(SreOptions {
        k: 1.1,
        window: Duration::from_secs(5),
        ..SreOptions::default()
    });
    (
        options.policies.retry.on.connect,
        options.policies.retry.on.reset,
    ) = (false, false);
    options.policies.deadline = None;
}

/// How many requests a service holds at most until a server comes back; none if it holds none.
pub(crate) fn held_at_most(id: ServiceId) -> u32 {
    match NAMES[id.0 as usize] {
        "held" => MANY_HELD,
        "everything" | "falls" => FEW_HELD,
        _ => 0,
    }
}

/// Whether the limits of the servers of a service are found, whatever is ordered.
pub(crate) fn finds_limits(id: ServiceId) -> bool {
    matches!(NAMES[id.0 as usize], "adaptive" | "everything")
}
