//! What a program plugs into a policy: what a result means, which server an attempt goes to, what is repaired between
//! attempts, and what else may reject one.
//!
//! Each has a default, and each is implemented for closures.

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

/// The default: a value is good, every error is transient.
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
pub trait PickServer {
    /// Whether there are servers to pick from.
    const KNOWS: bool = true;

    /// The server for an attempt that begins at `now`, if possible none of `avoid`. None: there is no server.
    fn pick(&mut self, avoid: &[u32], now: Instant) -> Option<u32>;
}

/// The default: the policy does not know servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPicker;

impl PickServer for NoPicker {
    const KNOWS: bool = false;

    fn pick(&mut self, _: &[u32], _: Instant) -> Option<u32> {
        None
    }
}

impl<F: FnMut(&[u32], Instant) -> Option<u32>> PickServer for F {
    fn pick(&mut self, avoid: &[u32], now: Instant) -> Option<u32> {
        self(avoid, now)
    }
}

/// The result of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repaired {
    /// Something was repaired.
    Done,
    /// There was nothing to repair.
    Nothing,
    /// It could not be repaired. The retry is made in any case.
    Failed,
}

impl Repaired {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
        }
    }
}

/// What else may reject an attempt: a circuit breaker of the program's own, for example.
///
/// It is asked before each attempt, with the server if one was picked. Each pass ends exactly once: with [`Gate::ended`] or
/// [`Gate::abandoned`].
pub trait Gate: Send + Sync + fmt::Debug {
    /// Lets an attempt pass. The ticket has a meaning for the gate only, which gets it back when the attempt ends: which trial it
    /// belongs to, for example. 0 if there is nothing to remember.
    ///
    /// # Errors
    /// When it rejects the attempt: until when.
    fn try_pass(&self, server: Option<u32>, now: Instant) -> Result<u64, Instant>;

    /// An attempt that passed has ended.
    fn ended(&self, passed: GatePass, now: Instant, verdict: Verdict, took: Duration);

    /// An attempt that passed was dropped before its end, which says nothing about its server.
    fn abandoned(&self, passed: GatePass);
}

/// An attempt that a gate has let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatePass {
    /// The server, if one was picked.
    pub server: Option<u32>,
    /// What [`Gate::try_pass`] returned.
    pub ticket: u64,
}

/// A pass of the program's gate; abandoned when it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once it is abandoned"]
pub(crate) struct GatePermit<'p> {
    pass: Option<(&'p dyn Gate, GatePass)>,
}

impl<'p> GatePermit<'p> {
    pub(crate) fn acquire(
        gate: Option<&'p dyn Gate>,
        server: Option<u32>,
        now: Instant,
    ) -> Result<Self, Instant> {
        let pass = match gate {
            None => None,
            Some(gate) => {
                let ticket = gate.try_pass(server, now)?;
                Some((gate, GatePass { server, ticket }))
            }
        };
        Ok(Self { pass })
    }

    pub(crate) const fn none() -> Self {
        Self { pass: None }
    }

    pub(crate) fn finish(mut self, now: Instant, verdict: Verdict, took: Duration) {
        if let Some((gate, passed)) = self.pass.take() {
            gate.ended(passed, now, verdict, took);
        }
    }
}

impl Drop for GatePermit<'_> {
    fn drop(&mut self) {
        if let Some((gate, passed)) = self.pass.take() {
            gate.abandoned(passed);
        }
    }
}

/// Repairs what is broken, between two attempts of a call; for threads.
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
pub use repairing::{Repair, RepairFuture};

#[cfg(feature = "async")]
mod repairing {
    use std::pin::Pin;

    use super::{Attempt, NoRepair, Repaired};

    /// A repair that runs. Boxed, since it may borrow the error; it is made only when something failed.
    pub type RepairFuture<'a> = Pin<Box<dyn Future<Output = Repaired> + Send + 'a>>;

    /// Repairs what is broken, between two attempts of a call.
    pub trait Repair<E> {
        /// Called before a retry with the error, if there was one (an attempt that timed out has none).
        fn repair<'a>(
            &mut self,
            error: Option<&'a E>,
            attempt: Attempt,
        ) -> Option<RepairFuture<'a>>;
    }

    impl<E> Repair<E> for NoRepair {
        fn repair<'a>(&mut self, _: Option<&'a E>, _: Attempt) -> Option<RepairFuture<'a>> {
            None
        }
    }

    impl<E, F: for<'a> FnMut(Option<&'a E>, Attempt) -> RepairFuture<'a>> Repair<E> for F {
        fn repair<'a>(
            &mut self,
            error: Option<&'a E>,
            attempt: Attempt,
        ) -> Option<RepairFuture<'a>> {
            Some(self(error, attempt))
        }
    }
}
