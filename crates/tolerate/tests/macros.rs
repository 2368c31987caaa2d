//! `#[recover]`, on functions as programs have them.
#![cfg(feature = "macros")]

use std::cell::RefCell;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel_tolerate::clock::{Clock, VirtualClock};
use evenkeel_tolerate::{
    Attempt, BackoffOptions, Failed, Incident, Jitter, Recovery, RecoveryOptions, Repaired,
    Stopped, Verdict, recover,
};

static CLOCK: LazyLock<VirtualClock> = LazyLock::new(VirtualClock::new);
static POLICY: LazyLock<Recovery<VirtualClock>> = LazyLock::new(|| {
    let options = RecoveryOptions {
        backoff: BackoffOptions::exponential(
            Duration::from_millis(10),
            Duration::from_millis(10),
            Jitter::None,
        ),
        ..RecoveryOptions::default()
    };
    let policy = Recovery::named("macros").options(options);
    policy.clock(CLOCK.clone()).build().expect("no errors")
});

thread_local! {
    static INCIDENTS: RefCell<Vec<Incident>> = const { RefCell::new(Vec::new()) };
}

fn report(incident: &Incident) {
    INCIDENTS.with_borrow_mut(|all| all.push(incident.clone()));
}

fn incidents() -> Vec<Incident> {
    INCIDENTS.take()
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum PayError {
    #[error("the line is down")]
    Down,
    #[error("no number: {0}")]
    Number(#[from] std::num::ParseIntError),
}

/// The functions here run on a virtual clock of their own thread's making: nothing waits.
fn now<F: Future>(future: F) -> F::Output {
    CLOCK.run(future)
}

const fn meaning(error: &PayError) -> Verdict {
    match error {
        PayError::Down => Verdict::TRANSIENT,
        PayError::Number(_) => Verdict::Fatal,
    }
}

async fn mend(error: Option<&PayError>, attempt: Attempt) -> Repaired {
    assert_eq!((error, attempt.number()), (Some(&PayError::Down), 1));
    Repaired::Done
}

#[recover(policy = POLICY, call = idempotent, classify = meaning, repair = mend, analyze = report)]
async fn amount(attempt: Attempt, text: &str, suffix: String) -> Result<u64, PayError> {
    if attempt.number() < 2 {
        return Err(PayError::Down);
    }
    Ok((text.to_owned() + &suffix).parse::<u64>()?)
}

#[test]
fn it_retries_repairs_and_reports() {
    assert_eq!(
        now(amount("4", "2".to_owned())).expect("it works in the end"),
        42
    );
    let [incident] = <[_; 1]>::try_from(incidents()).expect("one");
    assert_eq!((&*incident.policy, &*incident.call), ("macros", "amount"));
    assert_eq!((incident.attempts_made, incident.repair), (2, Some("done")));
    assert!(incident.recovered && incident.error.is_none() && !incident.fell_back);
    let ended: Vec<_> = incident.attempts.iter().map(|it| it.ended).collect();
    assert_eq!(ended, ["transient", "good"]);
    assert!((incident.waited_ms - 10.0).abs() < 1e-9);
    let json = serde_json::to_value(&incident).expect("plain data");
    assert_eq!(json["attempts"][0]["ended"], "transient");

    let failed: Failed<PayError> = now(amount("x", String::new())).expect_err("no number");
    assert_eq!(
        (failed.stopped, failed.report.attempts()),
        (Stopped::Fatal, 2)
    );
    assert!(matches!(failed.error, Some(PayError::Number(_))));
    let [incident] = <[_; 1]>::try_from(incidents()).expect("one");
    assert!(!incident.recovered);
    assert!(
        incident
            .error
            .is_some_and(|error| error.starts_with("no number: "))
    );
}

async fn cached(key: u32) -> Result<&'static str, PayError> {
    if key == 1 {
        Ok("cached")
    } else {
        Err(PayError::Down)
    }
}

#[recover(policy = POLICY, call = once, name = "pay", fallback = cached, analyze = report)]
async fn pay(key: u32) -> Result<&'static str, PayError> {
    "x".parse::<u32>()?;
    let _: u32 = key;
    Ok("paid")
}

#[test]
fn a_fallback_never_hides_the_error() {
    assert_eq!(now(pay(1)).expect("the fallback's"), "cached");
    let [incident] = <[_; 1]>::try_from(incidents()).expect("one");
    assert!(incident.fell_back && !incident.recovered);
    assert_eq!((&*incident.call, incident.stopped), ("pay", "once"));
    let failed = now(pay(2)).expect_err("both fail");
    assert!(matches!(failed.error, Some(PayError::Number(_))));
    assert_eq!(incidents().len(), 1);
}

struct Client {
    policy: Recovery<VirtualClock>,
    calls: AtomicU32,
}

impl Client {
    #[recover(policy = self.policy, call = idempotent)]
    async fn get(&self, path: &str) -> std::io::Result<String> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(std::io::Error::other("first"));
        }
        Ok(path.to_owned())
    }

    #[recover(policy = self.policy, call = idempotent, fallback = Self::other)]
    fn load(&self, attempt: &Attempt, key: u8) -> Result<u32, String> {
        match key {
            0 if attempt.number() == 3 => Ok(attempt.number()),
            _ => Err(format!("attempt {}", attempt.number())),
        }
    }

    fn other(&self, key: u8) -> Result<u32, String> {
        if key == 1 {
            Ok(7)
        } else {
            Err("other".to_owned())
        }
    }
}

#[test]
fn methods_and_threads_are_recovered_too() {
    let clock = VirtualClock::new();
    let policy = Recovery::named("client")
        .clock(clock.clone())
        .build()
        .expect("no errors");
    let client = Client {
        policy,
        calls: AtomicU32::new(0),
    };
    assert_eq!(clock.run(client.get("/a")).expect("the second works"), "/a");
    assert_eq!(client.load(0).expect("the third works"), 3);
    assert_eq!(client.load(1).expect("the fallback's"), 7);
    let failed = client.load(2).expect_err("both fail");
    assert_eq!(failed.error.as_deref(), Some("attempt 3"));
}

#[recover(call = idempotent)]
async fn endless(_: Attempt) -> Result<(), PayError> {
    pending().await
}

#[test]
fn without_a_policy_it_is_the_processes() {
    fn goes<T: Send>(it: T) -> T {
        it
    }
    let mut context = Context::from_waker(Waker::noop());
    // Its clock is tokio's, and there is no runtime here: it may be made, and not waited for.
    let waiting = goes(endless());
    let call = evenkeel_tolerate::Call::idempotent("now");
    let policy = evenkeel_tolerate::policy::default_policy();
    let mut at_once = pin!(
        policy
            .call(call)
            .run(|_| std::future::ready(Ok::<_, ()>(1)))
    );
    assert!(matches!(at_once.as_mut().poll(&mut context), Poll::Ready(it) if it.is_good()));
    drop(waiting);
    assert!(policy.clock().epoch().0.0 > 1_700_000_000_000);
}
