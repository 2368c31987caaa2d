//! What a program plugs into a policy: what a result means, where an attempt goes, what is repaired between attempts, and
//! what else may refuse one.
//!
//! Each has a default that does nothing surprising, and each is implemented by closures.

use std::fmt;
use std::time::Duration;

use evenkeel_core::Instant;

use super::Attempt;
use crate::Verdict;

/// What the result of an attempt means.
pub trait Classify<T, E> {
    /// The verdict.
    fn verdict(&self, result: &Result<T, E>) -> Verdict;
}

/// The default: a value is good, every error may pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyError;

impl<T, E> Classify<T, E> for AnyError {
    fn verdict(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::Good,
            Err(_) => Verdict::TRANSIENT,
        }
    }
}

impl<T, E, F: Fn(&Result<T, E>) -> Verdict> Classify<T, E> for F {
    fn verdict(&self, result: &Result<T, E>) -> Verdict {
        self(result)
    }
}

/// Values are good, and errors are what this function says: `Errors(|e: &PayError| …)`.
#[derive(Clone, Copy)]
pub struct Errors<F>(pub F);

impl<F> fmt::Debug for Errors<F> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Errors")
    }
}

impl<T, E, F: Fn(&E) -> Verdict> Classify<T, E> for Errors<F> {
    fn verdict(&self, result: &Result<T, E>) -> Verdict {
        result.as_ref().map_or_else(&self.0, |_| Verdict::Good)
    }
}

/// I/O errors by their kind: refused is unsent, a reset is lost, and so on ([`Verdict::of_io`]).
#[derive(Debug, Clone, Copy, Default)]
pub struct IoErrors;

impl<T> Classify<T, std::io::Error> for IoErrors {
    fn verdict(&self, result: &Result<T, std::io::Error>) -> Verdict {
        result
            .as_ref()
            .map_or_else(Verdict::of_io, |_| Verdict::Good)
    }
}

/// Which server an attempt goes to.
pub trait Pick {
    /// Whether it knows servers at all.
    const KNOWS: bool = true;

    /// The server for an attempt that begins at `now`, if possible none of `avoid`. None: there is no server.
    fn pick(&mut self, avoid: &[u32], now: Instant) -> Option<u32>;
}

/// The default: where an attempt goes is not the policy's business.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPick;

impl Pick for NoPick {
    const KNOWS: bool = false;

    fn pick(&mut self, _: &[u32], _: Instant) -> Option<u32> {
        None
    }
}

impl<F: FnMut(&[u32], Instant) -> Option<u32>> Pick for F {
    fn pick(&mut self, avoid: &[u32], now: Instant) -> Option<u32> {
        self(avoid, now)
    }
}

/// What a repair has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repaired {
    /// Something was repaired.
    Done,
    /// There was nothing to repair.
    Nothing,
    /// It could not be repaired. The retry is made all the same.
    Failed,
}

impl Repaired {
    /// The word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
        }
    }
}

/// What else may refuse an attempt: a breaker.
///
/// It is asked before each attempt, per server where a picker is given, and told how the attempt ended, exactly once for each
/// pass: [`Gate::ended`] or [`Gate::abandoned`].
pub trait Gate: Send + Sync + fmt::Debug {
    /// Lets an attempt pass. The ticket means something to the gate alone and is shown when the attempt ends: which trial it
    /// belongs to, for example. 0 if there is nothing to remember.
    ///
    /// # Errors
    /// When it is open: until when.
    fn try_pass(&self, server: Option<u32>, now: Instant) -> Result<u64, Instant>;

    /// An attempt that passed has ended.
    fn ended(&self, passed: Passed, now: Instant, verdict: Verdict, took: Duration);

    /// An attempt that passed was dropped before its end, which says nothing.
    fn abandoned(&self, passed: Passed);
}

/// What a gate is shown of an attempt that it has let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The server, if one was picked.
    pub server: Option<u32>,
    /// What [`Gate::try_pass`] returned.
    pub ticket: u64,
}

/// A pass that is given back when it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once it is abandoned"]
pub(crate) struct Pass<'p> {
    open: Option<(&'p dyn Gate, Passed)>,
}

impl<'p> Pass<'p> {
    pub(crate) fn get(
        gate: Option<&'p dyn Gate>,
        server: Option<u32>,
        now: Instant,
    ) -> Result<Self, Instant> {
        let open = match gate {
            None => None,
            Some(gate) => {
                let ticket = gate.try_pass(server, now)?;
                Some((gate, Passed { server, ticket }))
            }
        };
        Ok(Self { open })
    }

    pub(crate) const fn none() -> Self {
        Self { open: None }
    }

    pub(crate) fn finish(mut self, now: Instant, verdict: Verdict, took: Duration) {
        if let Some((gate, passed)) = self.open.take() {
            gate.ended(passed, now, verdict, took);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some((gate, passed)) = self.open.take() {
            gate.abandoned(passed);
        }
    }
}

/// Mends what is broken between two attempts of a call; the blocking kind.
pub trait RepairBlocking<E> {
    /// Called before a retry with the error, if there was one (an attempt that timed out has none).
    fn repair(&mut self, error: Option<&E>, attempt: Attempt) -> Option<Repaired>;
}

/// The default: there is nothing to repair.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRepair;

impl<E> RepairBlocking<E> for NoRepair {
    fn repair(&mut self, _: Option<&E>, _: Attempt) -> Option<Repaired> {
        None
    }
}

impl<E, F: FnMut(Option<&E>, Attempt) -> Repaired> RepairBlocking<E> for F {
    fn repair(&mut self, error: Option<&E>, attempt: Attempt) -> Option<Repaired> {
        Some(self(error, attempt))
    }
}

#[cfg(feature = "async")]
pub use mending::{Repair, Repairing};

#[cfg(feature = "async")]
mod mending {
    use std::pin::Pin;

    use super::{Attempt, NoRepair, Repaired};

    /// A repair that runs. Boxed, since it may borrow the error; it is made only when something failed.
    pub type Repairing<'a> = Pin<Box<dyn Future<Output = Repaired> + Send + 'a>>;

    /// Mends what is broken between two attempts of a call.
    pub trait Repair<E> {
        /// Called before a retry with the error, if there was one (an attempt that timed out has none).
        fn repair<'a>(&mut self, error: Option<&'a E>, attempt: Attempt) -> Option<Repairing<'a>>;
    }

    impl<E> Repair<E> for NoRepair {
        fn repair<'a>(&mut self, _: Option<&'a E>, _: Attempt) -> Option<Repairing<'a>> {
            None
        }
    }

    impl<E, F: for<'a> FnMut(Option<&'a E>, Attempt) -> Repairing<'a>> Repair<E> for F {
        fn repair<'a>(&mut self, error: Option<&'a E>, attempt: Attempt) -> Option<Repairing<'a>> {
            Some(self(error, attempt))
        }
    }
}
