//! The library's face: a policy object around any fallible call, async or blocking.
//!
//! Intuition: the parts of this crate decide one thing each and never wait. Here they are put together in the one order that
//! works (`course.rs` says why), and somebody waits. What is decided stays in the parts, which the proxy uses, too.

mod admit;
mod attempt;
#[cfg(feature = "blocking")]
mod blocking;
mod breakers;
mod course;
#[cfg(feature = "async")]
mod drive;
#[cfg(feature = "async")]
mod enter;
mod events;
mod gates;
mod guards;
mod hooks;
mod incident;
mod kept;
mod lint;
mod lint_guards;
mod lint_policy;
mod options;
mod outcome;
mod pace;
mod policy;
mod room;
mod run;
mod state;

pub use attempt::Attempt;
pub use events::{ATTEMPTS_COUNTED, Counted, Counters, Event, Events};
pub use gates::Breakers;
pub use hooks::{
    AnyError, Classify, Errors, Gate, IoErrors, NoPick, NoRepair, Passed, Pick, RepairBlocking,
    Repaired,
};
#[cfg(feature = "async")]
pub use hooks::{Repair, Repairing};
pub use incident::{Incident, IncidentAttempt};
pub use kept::{Kept, Shown};
pub use lint::{Lint, Lints, Load};
pub use lint_policy::lint;
pub use options::RecoveryOptions;
pub use outcome::{Failed, Record, Recovered, Report, Stopped};
pub use policy::{Recovery, RecoveryBuilder};
pub use run::Run;

/// The policy of those who have none: default options, and one budget for all of them.
#[cfg(any(feature = "tokio", feature = "blocking"))]
pub fn default_policy() -> &'static Recovery {
    static POLICY: std::sync::OnceLock<Recovery> = std::sync::OnceLock::new();
    POLICY.get_or_init(Recovery::default)
}

/// Makes an idempotent call, and makes it again if it fails: up to two retries with a jittered back-off, each attempt up to
/// 3 s, 10 s in all, while the process's budget lasts. Every error counts as one that may pass.
///
/// A call that must not be made twice, or knows its errors better, belongs in a [`Recovery`].
///
/// # Errors
/// The last error, with what was tried and why it stopped.
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
/// The last error, with what was tried and why it stopped.
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

/// Says what an attempt's future gives, where `?` leaves it open. For `#[recover]`.
#[cfg(feature = "async")]
#[doc(hidden)]
pub const fn attempt_of<R, A: Future<Output = R>>(attempt: A) -> A {
    attempt
}
