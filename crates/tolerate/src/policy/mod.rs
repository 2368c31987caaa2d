//! The policy engine: a policy object around any fallible call, async or blocking.
//!
//! Intuition: the mechanisms of this crate decide one thing each and never wait. The engine composes them in the one order that
//! works (`call/mod.rs` says why), and waits where they say so. The decisions stay in the mechanisms, which the proxy uses as well.

mod attempt;
mod hooks;
mod gates;
mod report;
mod options;
mod lint;
mod events;
mod counters;
mod mechanisms;
mod recovery;
mod builder;
mod status;
mod incident;
mod stale_values;
mod call;

pub use attempt::Attempt;
pub use builder::RecoveryBuilder;
pub use call::PreparedCall;
pub use counters::{ATTEMPTS_COUNTED, CounterSnapshot, Counters};
pub use events::{EventListener, PolicyEvent};
pub use gates::Breakers;
pub use hooks::{
    AnyError, Classify, Errors, Gate, GatePass, IoErrors, NoPicker, NoRepair, PickServer,
    RepairBlocking, Repaired,
};
#[cfg(feature = "async")]
pub use hooks::{Repair, RepairFuture};
pub use incident::{Incident, IncidentAttempt};
pub use lint::{Lint, Lints, Load, lint};
pub use options::RecoveryOptions;
pub use recovery::Recovery;
pub use report::{AttemptSummary, CallReport, Failed, Recovered, Stopped};
pub use stale_values::{StaleValue, StaleValues};

/// The policy of programs that have none: default options, and one retry budget for all calls of the process.
#[cfg(any(feature = "tokio", feature = "blocking"))]
pub fn default_policy() -> &'static Recovery {
    static POLICY: std::sync::OnceLock<Recovery> = std::sync::OnceLock::new();
    POLICY.get_or_init(Recovery::default)
}

/// Makes an idempotent call, and makes it again if it fails: up to two retries with a jittered back-off, each attempt up to
/// 3 s, 10 s in all, while the retry budget of the process lasts. Every error counts as transient.
///
/// For a call that must not be made twice, or whose errors differ, use a [`Recovery`].
///
/// # Errors
/// The last error, with the attempts that were made and why there were no more.
#[cfg(feature = "tokio")]
pub async fn retry<T, E, F, A>(mut attempt: F) -> Result<T, Failed<E>>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, E>>,
{
    let call = crate::Call::idempotent("retry");
    let recovered = default_policy().call(call).run(|_| attempt()).await;
    recovered.into_result()
}

/// Makes an idempotent call on this thread, and makes it again if it fails: with the same options as `retry`.
///
/// # Errors
/// The last error, with the attempts that were made and why there were no more.
#[cfg(feature = "blocking")]
pub fn retry_blocking<T, E>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, Failed<E>> {
    let call = crate::Call::idempotent("retry");
    let recovered = default_policy().call(call).run_blocking(|_| attempt());
    recovered.into_result()
}

/// The two types of a `Result`, whatever it is called. For `#[recover]`.
#[doc(hidden)]
pub trait Fallible {
    /// What it is when it works.
    type Value;
    /// What it is when it does not.
    type Error;
}

impl<T, E> Fallible for Result<T, E> {
    type Value = T;
    type Error = E;
}

/// Names the output of an attempt's future, where `?` leaves it open. For `#[recover]`.
#[cfg(feature = "async")]
#[doc(hidden)]
pub const fn attempt_of<R, A: Future<Output = R>>(attempt: A) -> A {
    attempt
}
