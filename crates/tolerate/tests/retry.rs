//! The decision whether to retry: each rule, and what holds for every history.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome, Random};
use evenkeel_tolerate::{
    AttemptFacts, BackoffOptions, Budget, BudgetOptions, Deadline, Decision, Jitter, RetryLedger,
    RetryOn, RetryOptions, StopReason, decide,
};
use proptest::collection::vec;
use proptest::prelude::*;

const FREE: Decision = Decision::Retry {
    free: true,
    after: Duration::ZERO,
};
const UNSENT: [Outcome; 6] = [
    Outcome::ConnectRefused,
    Outcome::ConnectTimeout,
    Outcome::Unreachable,
    Outcome::Stale,
    Outcome::Reset { sent: false },
    Outcome::StreamRefused,
];

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn counted(after: u64) -> Decision {
    Decision::Retry {
        free: false,
        after: millis(after),
    }
}

fn options() -> RetryOptions {
    RetryOptions {
        timeout_limit: u32::MAX,
        limit: 2,
        on: RetryOn {
            connect: true,
            reset: true,
            timeout: true,
            statuses: vec![502, 503, 504],
        },
        methods: ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]
            .map(String::from)
            .to_vec(),
        backoff: BackoffOptions::exponential(millis(25), millis(250), Jitter::None),
        budget: BudgetOptions {
            ratio: 0.2,
            floor_per_second: 0.0,
            burst: 35.0,
        },
        body_buffer: 65_536,
        response_buffer: 0,
    }
}

/// One request with a GET's rights, 15 s, on its own budget.
struct Request {
    options: RetryOptions,
    ledger: RetryLedger,
    budget: Budget,
    deadline: Deadline,
    now: Instant,
    rng: Random,
}

impl Request {
    fn new(options: RetryOptions) -> Self {
        Self {
            budget: Budget::new(options.budget, Instant::ZERO),
            options,
            ledger: RetryLedger::new(),
            deadline: Deadline::new(Instant::ZERO, Duration::from_secs(15)),
            now: Instant::ZERO,
            rng: Random::seeded(1),
        }
    }

    fn decide(&mut self, facts: AttemptFacts) -> Decision {
        decide(
            &self.options,
            &facts,
            &mut self.ledger,
            &self.budget,
            self.deadline,
            self.now,
            &mut self.rng,
        )
    }

    fn get(&mut self, outcome: Outcome, server: u32) -> Decision {
        self.decide(AttemptFacts {
            outcome,
            method_may_repeat: true,
            body_replayable: true,
            server,
            retry_after: None,
        })
    }

    fn post(&mut self, outcome: Outcome, server: u32) -> Decision {
        self.decide(AttemptFacts {
            outcome,
            method_may_repeat: false,
            body_replayable: true,
            server,
            retry_after: None,
        })
    }

    fn tokens(&self) -> f64 {
        self.budget.balance(self.now)
    }
}

fn assert_tokens(request: &Request, tokens: f64) {
    assert!(
        (request.tokens() - tokens).abs() < 1e-5,
        "{} tokens, not {tokens}",
        request.tokens()
    );
}

#[test]
fn what_the_application_cannot_have_seen_is_free_for_any_method() {
    for outcome in UNSENT {
        let mut request = Request::new(options());
        for server in 0..8 {
            assert_eq!(request.post(outcome, server), FREE, "{outcome:?}");
        }
        assert_eq!((request.ledger.free(), request.ledger.counted()), (8, 0));
        assert_tokens(&request, 35.0);
        assert_eq!(
            request.post(outcome, 8),
            counted(25),
            "a request has no more than eight"
        );
    }
}

#[test]
fn a_server_gives_one_free_retry_and_the_next_ones_count() {
    let mut request = Request::new(options());
    assert_eq!(request.post(Outcome::ConnectRefused, 4), FREE);
    assert_eq!(request.post(Outcome::ConnectRefused, 4), counted(25));
    assert_eq!(request.post(Outcome::Stale, 4), counted(50));
    assert_eq!(
        request.post(Outcome::ConnectRefused, 4),
        Decision::Stop(StopReason::Limit)
    );
    assert_eq!(
        request.post(Outcome::ConnectRefused, 5),
        FREE,
        "another server's is still free"
    );
    assert_tokens(&request, 33.0);
}

#[test]
fn a_reset_after_a_byte_was_written_is_retried_once_and_for_listed_methods_only() {
    let death = Outcome::Reset { sent: true };
    let mut request = Request::new(options());
    assert_eq!(request.post(death, 0), Decision::Stop(StopReason::Method));
    assert_eq!(request.get(death, 0), FREE);
    assert!(request.ledger.retried_a_death());
    assert_eq!(
        request.get(death, 1),
        Decision::Stop(StopReason::Limit),
        "it may be the request that kills"
    );
    assert_eq!(request.get(Outcome::ConnectRefused, 1), FREE);
    assert_tokens(&request, 35.0);

    let mut request = Request::new(options());
    assert_eq!(request.get(Outcome::Stale, 0), FREE);
    assert_eq!(
        request.get(death, 0),
        counted(25),
        "the server's free retry is used up"
    );
    assert_eq!(request.get(death, 1), Decision::Stop(StopReason::Limit));
}

#[test]
fn listed_statuses_and_timeouts_are_counted_paid_and_delayed() {
    for outcome in [
        Outcome::Answered(503),
        Outcome::AttemptTimeout,
        Outcome::BadResponse,
    ] {
        let mut request = Request::new(options());
        assert_eq!(request.post(outcome, 0), Decision::Stop(StopReason::Method));
        assert_eq!(request.get(outcome, 0), counted(25), "{outcome:?}");
        assert_eq!(request.get(outcome, 1), counted(50));
        assert_tokens(&request, 33.0);
        assert_eq!(request.get(outcome, 2), Decision::Stop(StopReason::Limit));
        assert_eq!(request.ledger.counted(), 2);
    }
}

#[test]
fn what_is_no_failure_or_not_listed_is_not_retried() {
    for outcome in [
        Outcome::Answered(200),
        Outcome::Answered(404),
        Outcome::Answered(500),
        Outcome::Cancelled,
        Outcome::LocalError,
    ] {
        let stop = Decision::Stop(StopReason::NotRetryable);
        assert_eq!(Request::new(options()).get(outcome, 0), stop, "{outcome:?}");
    }
}

#[test]
fn a_refused_stream_is_retried_whatever_is_listed_as_long_as_there_is_a_body_and_time() {
    let nothing = RetryOptions {
        limit: 0,
        on: RetryOn {
            connect: false,
            reset: false,
            timeout: false,
            statuses: Vec::new(),
        },
        methods: Vec::new(),
        ..options()
    };
    let mut request = Request::new(nothing);
    assert_eq!(request.post(Outcome::StreamRefused, 0), FREE);
    let facts = AttemptFacts {
        outcome: Outcome::StreamRefused,
        method_may_repeat: false,
        body_replayable: true,
        server: 0,
        retry_after: None,
    };
    let mut stops = |facts, why| {
        assert_eq!(request.decide(facts), Decision::Stop(why), "{facts:?}");
    };
    // Where there is one server only, the second time counts like any other retry.
    stops(facts, StopReason::Limit);
    let other = AttemptFacts { server: 1, ..facts };
    let streamed = AttemptFacts {
        body_replayable: false,
        ..other
    };
    stops(streamed, StopReason::Body);
    request.now += Duration::from_secs(15);
    assert_eq!(request.decide(other), Decision::Stop(StopReason::Deadline));
    assert_tokens(&request, 35.0);
}

#[test]
fn what_the_user_does_not_list_is_not_retried() {
    let without = |change: fn(&mut RetryOn)| {
        let mut options = options();
        change(&mut options.on);
        Request::new(options)
    };
    let stop = Decision::Stop(StopReason::NotRetryable);
    for outcome in [
        Outcome::ConnectRefused,
        Outcome::ConnectTimeout,
        Outcome::Unreachable,
    ] {
        assert_eq!(without(|on| on.connect = false).get(outcome, 0), stop);
        assert_eq!(without(|on| on.reset = false).get(outcome, 0), FREE);
    }
    for outcome in [
        Outcome::Stale,
        Outcome::Reset { sent: false },
        Outcome::Reset { sent: true },
    ] {
        assert_eq!(without(|on| on.reset = false).get(outcome, 0), stop);
        assert_eq!(without(|on| on.connect = false).get(outcome, 0), FREE);
    }
    assert_eq!(
        without(|on| on.timeout = false).get(Outcome::AttemptTimeout, 0),
        stop
    );
    assert_eq!(
        without(|on| on.statuses.clear()).get(Outcome::Answered(503), 0),
        stop
    );
    assert_eq!(
        without(|on| on.statuses.clear()).get(Outcome::BadResponse, 0),
        stop
    );
    assert_eq!(
        without(|on| on.statuses.push(500)).get(Outcome::Answered(500), 0),
        counted(25)
    );
}

#[test]
fn a_body_that_is_gone_stops_every_retry() {
    for outcome in UNSENT
        .into_iter()
        .chain([Outcome::Reset { sent: true }, Outcome::Answered(503)])
    {
        let facts = AttemptFacts {
            outcome,
            method_may_repeat: true,
            body_replayable: false,
            server: 0,
            retry_after: None,
        };
        assert_eq!(
            Request::new(options()).decide(facts),
            Decision::Stop(StopReason::Body),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_limit_of_zero_leaves_the_free_ones() {
    let mut request = Request::new(RetryOptions {
        limit: 0,
        ..options()
    });
    assert_eq!(request.get(Outcome::ConnectRefused, 0), FREE);
    assert_eq!(
        request.get(Outcome::ConnectRefused, 0),
        Decision::Stop(StopReason::Limit)
    );
    assert_eq!(
        request.get(Outcome::Answered(503), 1),
        Decision::Stop(StopReason::Limit)
    );
}

#[test]
fn an_empty_budget_stops_the_paid_ones_only() {
    let mut request = Request::new(options());
    while request.budget.try_spend(Instant::ZERO) {}
    assert_eq!(
        request.get(Outcome::Answered(503), 0),
        Decision::Stop(StopReason::Budget)
    );
    assert_eq!(request.ledger.counted(), 0);
    assert_eq!(request.get(Outcome::ConnectRefused, 0), FREE);
}

#[test]
fn nothing_is_retried_when_the_deadline_leaves_no_room() {
    let mut request = Request::new(options());
    request.now = Instant::from_millis(14_975);
    assert_eq!(
        request.get(Outcome::Answered(503), 0),
        Decision::Stop(StopReason::Deadline),
        "25 ms of 25 ms"
    );
    assert_tokens(&request, 35.0);
    assert_eq!(
        request.get(Outcome::ConnectRefused, 0),
        FREE,
        "one without a delay still fits"
    );
    request.now = Instant::from_millis(15_000);
    assert_eq!(
        request.get(Outcome::ConnectRefused, 1),
        Decision::Stop(StopReason::Deadline)
    );
}

/// A lasting outage: after the burst the budget leaves the floor and nothing more.
#[test]
fn an_outage_is_not_made_worse() {
    let budget_options = BudgetOptions {
        ratio: 0.2,
        floor_per_second: 1.0,
        burst: 35.0,
    };
    let budget = Budget::new(budget_options, Instant::ZERO);
    let options = options();
    let mut rng = Random::seeded(3);
    let mut retries = 0;
    for n in 0..60_000_u64 {
        let now = Instant::from_millis(n);
        let (mut ledger, deadline) = (
            RetryLedger::new(),
            Deadline::new(now, Duration::from_secs(15)),
        );
        let facts = AttemptFacts {
            outcome: Outcome::Answered(503),
            method_may_repeat: true,
            body_replayable: true,
            server: 0,
            retry_after: None,
        };
        let decision = decide(
            &options,
            &facts,
            &mut ledger,
            &budget,
            deadline,
            now,
            &mut rng,
        );
        retries += u32::from(matches!(decision, Decision::Retry { .. }));
    }
    assert!(
        (93..=95).contains(&retries),
        "35 and one per second for a minute, not {retries}"
    );
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (200_u16..600).prop_map(Outcome::Answered),
        Just(Outcome::Answered(503)),
        Just(Outcome::ConnectRefused),
        Just(Outcome::ConnectTimeout),
        Just(Outcome::Unreachable),
        Just(Outcome::Stale),
        Just(Outcome::StreamRefused),
        any::<bool>().prop_map(|sent| Outcome::Reset { sent }),
        Just(Outcome::AttemptTimeout),
        Just(Outcome::BadResponse),
        Just(Outcome::Truncated),
        Just(Outcome::Cancelled),
        Just(Outcome::LocalError),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_history_breaks_a_rule(
        limit in 0_u32..4, burst in 0.0..4.0_f64, method_may_repeat: bool, body_replayable: bool, seed: u64,
        on in (any::<bool>(), any::<bool>(), any::<bool>()),
        attempts in vec((outcome(), 0_u32..12, 0_u64..2_000), 1..30),
    ) {
        let on = RetryOn { connect: on.0, reset: on.1, timeout: on.2, statuses: vec![503] };
        let budget = BudgetOptions { ratio: 0.2, floor_per_second: 0.0, burst };
        let backoff = BackoffOptions::exponential(millis(25), millis(250), Jitter::Full);
        let mut request = Request::new(RetryOptions { limit, on, budget, backoff, ..options() });
        request.rng = Random::seeded(seed);
        let (mut paid, mut deaths, mut free_on) = (0, 0, Vec::new());
        for (outcome, server, took) in attempts {
            request.now += millis(took);
            let facts = AttemptFacts { outcome, method_may_repeat, body_replayable, server, retry_after: None };
            let Decision::Retry { free, after } = request.decide(facts) else { continue };
            prop_assert!(body_replayable);
            prop_assert!(!outcome.is_success());
            prop_assert!(request.now + after < request.deadline.end(), "never after the deadline");
            prop_assert!(method_may_repeat || outcome.is_unsent(), "nothing is sent twice that may not be");
            if free {
                prop_assert_eq!(after, Duration::ZERO);
                prop_assert!(!free_on.contains(&server), "one free retry per server");
                free_on.push(server);
            } else {
                paid += 1;
            }
            deaths += u32::from(outcome == Outcome::Reset { sent: true });
        }
        prop_assert!(paid <= limit && f64::from(paid) <= burst);
        prop_assert!(deaths <= 1 && free_on.len() <= 8);
        prop_assert_eq!(request.ledger.counted(), paid);
        assert_tokens(&request, burst - f64::from(paid));
    }
}
