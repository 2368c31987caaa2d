//! The general decision: each rule that HTTP does not show, and what holds for every history.

use std::time::Duration;

use evenkeel_core::{Instant, Random};
use evenkeel_tolerate::{
    BackoffOptions, Budget, BudgetOptions, Deadline, Decision, EndedAttempt, Idempotency, Jitter,
    RetryLedger, RetryRules, StopReason, Verdict, again,
};
use proptest::collection::vec;
use proptest::prelude::*;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const BACKOFF: BackoffOptions =
    BackoffOptions::exponential(millis(50), Duration::from_secs(20), Jitter::None);

fn budget(burst: f64) -> Budget {
    let options = BudgetOptions {
        ratio: 0.1,
        floor_per_second: 0.0,
        burst,
    };
    Budget::new(options, Instant::ZERO)
}

struct Story<'a> {
    rules: RetryRules<'a>,
    ledger: RetryLedger,
    budget: Budget,
    deadline: Deadline,
    now: Instant,
    rng: Random,
}

impl Story<'_> {
    fn new() -> Self {
        Self {
            rules: RetryRules::of_backoff(3, &BACKOFF),
            ledger: RetryLedger::new(),
            budget: budget(100.0),
            deadline: Deadline::new(Instant::ZERO, Duration::from_secs(3_600)),
            now: Instant::ZERO,
            rng: Random::seeded(1),
        }
    }

    fn ended(&mut self, verdict: Verdict, idempotency: Idempotency) -> Decision {
        let ended = EndedAttempt {
            verdict,
            idempotency,
            replayable: true,
            server: 0,
        };
        again(
            &self.rules,
            ended,
            &mut self.ledger,
            &self.budget,
            self.deadline,
            self.now,
            &mut self.rng,
        )
    }
}

fn wait_for(retry_after: Option<u64>) -> Decision {
    let wait = retry_after.map(millis);
    Story::new().ended(Verdict::Throttled { wait }, Idempotency::Idempotent)
}

/// The published cases of `x-amz-retry-after` in the AWS retry specification 2.1.
#[test]
fn pushback_is_honoured_and_clamped() {
    let counted = |after| Decision::Retry {
        free: false,
        after: millis(after),
    };
    assert_eq!(wait_for(Some(1_500)), counted(1_500));
    assert_eq!(wait_for(Some(0)), counted(50));
    assert_eq!(wait_for(Some(10_000)), counted(5_050));
    assert_eq!(wait_for(None), counted(50));
    let endless = Verdict::Transient {
        wait: Some(Duration::MAX),
    };
    assert_eq!(
        Story::new().ended(endless, Idempotency::Idempotent),
        counted(5_050)
    );
}

#[test]
fn a_pushback_beyond_the_deadline_costs_nothing() {
    let mut story = Story::new();
    story.deadline = Deadline::new(Instant::ZERO, millis(1_000));
    let retry_after = Verdict::Throttled {
        wait: Some(millis(1_500)),
    };
    let decision = story.ended(retry_after, Idempotency::Idempotent);
    assert_eq!(decision, Decision::Stop(StopReason::Deadline));
    assert!((story.budget.balance(Instant::ZERO) - 100.0).abs() < 1e-9);
    assert_eq!(story.ledger.counted(), 0);
}

#[test]
fn retries_after_timeouts_have_a_limit_of_their_own() {
    let mut story = Story::new();
    story.rules.timeout_limit = 1;
    let retried = |decision| matches!(decision, Decision::Retry { free: false, .. });
    assert!(retried(
        story.ended(Verdict::Timeout, Idempotency::Idempotent)
    ));
    assert_eq!(
        story.ended(Verdict::Timeout, Idempotency::Idempotent),
        Decision::Stop(StopReason::TimeoutLimit)
    );
    assert!(retried(
        story.ended(Verdict::TRANSIENT, Idempotency::Idempotent)
    ));
    assert_eq!(
        (story.ledger.counted(), story.ledger.after_timeouts()),
        (2, 1)
    );
}

#[test]
fn a_call_with_a_key_is_repeated_and_one_without_is_not() {
    for verdict in [
        Verdict::TRANSIENT,
        Verdict::THROTTLED,
        Verdict::Timeout,
        Verdict::Lost,
    ] {
        let keyed = Story::new().ended(verdict, Idempotency::Keyed);
        assert!(matches!(keyed, Decision::Retry { .. }), "{verdict:?}");
        let once = Story::new().ended(verdict, Idempotency::Once);
        assert_eq!(once, Decision::Stop(StopReason::Method), "{verdict:?}");
    }
    let unsent = Story::new().ended(Verdict::Unsent, Idempotency::Once);
    assert!(matches!(unsent, Decision::Retry { free: true, .. }));
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    let retry_after = || proptest::option::of((0_u64..20_000).prop_map(millis));
    prop_oneof![
        retry_after().prop_map(|wait| Verdict::Transient { wait }),
        retry_after().prop_map(|wait| Verdict::Throttled { wait }),
        Just(Verdict::Timeout),
        Just(Verdict::Unsent),
        Just(Verdict::Lost),
        Just(Verdict::Good),
        Just(Verdict::Fatal),
    ]
}

fn kinds() -> impl Strategy<Value = Idempotency> {
    prop_oneof![
        Just(Idempotency::Idempotent),
        Just(Idempotency::Keyed),
        Just(Idempotency::Once)
    ]
}

#[test]
fn decorrelated_jitter_follows_the_previous_delay() {
    let backoff = BackoffOptions {
        jitter: Jitter::Decorrelated,
        ..BACKOFF
    };
    let mut longest = Duration::ZERO;
    for seed in 0..200 {
        let mut story = Story::new();
        story.rules = RetryRules::of_backoff(6, &backoff);
        story.rng = Random::seeded(seed);
        let mut before = backoff.base;
        for _ in 0..6 {
            let Decision::Retry { after, .. } =
                story.ended(Verdict::TRANSIENT, Idempotency::Idempotent)
            else {
                panic!("six are allowed");
            };
            assert!(
                after >= backoff.base && after <= before * 3,
                "{before:?} {after:?}"
            );
            before = after;
            longest = longest.max(after);
        }
    }
    // Three times the base, which is all that a first wait can be, is left far behind.
    assert!(longest > backoff.base * 30, "{longest:?}");
}

proptest! {
    /// Whatever happens: no more counted retries than the limit and the tokens, no more free ones than one a server and eight
    /// in all, none that would begin at or after the deadline, and none of a call that may be made once after anything may
    /// have been sent.
    #[test]
    fn never_more_than_is_allowed(
        history in vec((verdicts(), 0_u32..12, 0_u64..400), 1..60),
        idempotency in kinds(),
        (limit, timeout_limit, tokens) in (0_u32..6, 0_u32..4, 0_u32..6),
        deadline in 1_u64..20_000,
        seed: u64,
    ) {
        let backoff = BackoffOptions { jitter: Jitter::Full, ..BACKOFF };
        let rules = RetryRules { limit, timeout_limit, backoff: &backoff, max_pushback: millis(5_000) };
        let budget = budget(f64::from(tokens));
        let deadline = Deadline::new(Instant::ZERO, millis(deadline));
        let (mut ledger, mut rng) = (RetryLedger::new(), Random::seeded(seed));
        let (mut now, mut counted, mut after_timeout, mut after_loss) = (Instant::ZERO, 0, 0, 0);
        let mut free_on = Vec::new();
        for (verdict, server, took) in history {
            now += millis(took);
            let ended = EndedAttempt { verdict, idempotency, replayable: true, server };
            let Decision::Retry { free, after } =
                again(&rules, ended, &mut ledger, &budget, deadline, now, &mut rng) else { continue };
            now += after;
            prop_assert!(!deadline.passed(now), "an attempt after the deadline");
            prop_assert!(!verdict.is_good() && verdict != Verdict::Fatal);
            prop_assert!(idempotency != Idempotency::Once || verdict == Verdict::Unsent, "may have been sent");
            after_loss += u32::from(verdict == Verdict::Lost);
            if free {
                prop_assert!(after.is_zero() && !free_on.contains(&server));
                free_on.push(server);
            } else {
                counted += 1;
                after_timeout += u32::from(verdict == Verdict::Timeout);
            }
        }
        prop_assert!(counted <= limit.min(tokens));
        prop_assert!(after_timeout <= timeout_limit);
        prop_assert!(after_loss <= 1 && free_on.len() <= 8);
        prop_assert_eq!((ledger.counted(), ledger.free(), ledger.after_timeouts()),
            (counted, free_on.len() as u32, after_timeout));
    }
}
