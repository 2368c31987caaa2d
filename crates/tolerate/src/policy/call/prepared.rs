//! A call before it runs: what its results mean, which server its attempts go to, what repairs it. The same for async and blocking
//! calls.

use std::fmt;

use crate::Call;
use crate::clock::Clock;
use crate::policy::{AnyError, Errors, NoPicker, NoRepair, Recovery};

/// A call that is ready to run, with `run` (async) or `run_blocking`.
#[must_use = "nothing happens until it runs"]
pub struct PreparedCall<'p, C, K, P, R> {
    pub(crate) recovery: &'p Recovery<C>,
    pub(crate) call: Call,
    pub(crate) classify: K,
    pub(crate) pick: P,
    pub(crate) repair: R,
}

impl<C: Clock> Recovery<C> {
    /// Prepares a call: add what its results mean, which server it goes to, what repairs it; then run it.
    pub const fn call(&self, call: Call) -> PreparedCall<'_, C, AnyError, NoPicker, NoRepair> {
        PreparedCall {
            recovery: self,
            call,
            classify: AnyError,
            pick: NoPicker,
            repair: NoRepair,
        }
    }
}

impl<C, K, P, R> fmt::Debug for PreparedCall<'_, C, K, P, R> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("PreparedCall")
            .field("policy", self.recovery)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

impl<'p, C, K, P, R> PreparedCall<'p, C, K, P, R> {
    /// What a result means. By default a value is good, and every error is transient.
    pub fn classify<L>(self, classify: L) -> PreparedCall<'p, C, L, P, R> {
        PreparedCall {
            recovery: self.recovery,
            call: self.call,
            classify,
            pick: self.pick,
            repair: self.repair,
        }
    }

    /// The same as a closure, whose types are inferred.
    pub fn classify_by<T, E, F>(self, classify: F) -> PreparedCall<'p, C, F, P, R>
    where
        F: Fn(&Result<T, E>) -> crate::Verdict,
    {
        self.classify(classify)
    }

    /// What an error means, where every value is good.
    pub fn classify_errors<E, F>(self, meaning: F) -> PreparedCall<'p, C, Errors<F>, P, R>
    where
        F: Fn(&E) -> crate::Verdict,
    {
        self.classify(Errors(meaning))
    }

    /// Which server each attempt goes to: `|avoid, now| …`. The attempt finds it in [`Attempt::server`](crate::policy::Attempt::server).
    pub fn pick<Q>(self, pick: Q) -> PreparedCall<'p, C, K, Q, R>
    where
        Q: FnMut(&[u32], evenkeel_core::Instant) -> Option<u32>,
    {
        PreparedCall {
            recovery: self.recovery,
            call: self.call,
            classify: self.classify,
            pick,
            repair: self.repair,
        }
    }

    /// What to repair before a retry: `|error, attempt| Box::pin(async move { … })`.
    #[cfg(feature = "async")]
    pub fn repair<E, M>(self, repair: M) -> PreparedCall<'p, C, K, P, M>
    where
        M: for<'a> FnMut(Option<&'a E>, crate::policy::Attempt) -> crate::policy::RepairFuture<'a>,
    {
        PreparedCall {
            recovery: self.recovery,
            call: self.call,
            classify: self.classify,
            pick: self.pick,
            repair,
        }
    }

    /// The same for `run_blocking`: `|error, attempt| …`.
    #[cfg(feature = "blocking")]
    pub fn repair_blocking<E, M>(self, repair: M) -> PreparedCall<'p, C, K, P, M>
    where
        M: FnMut(Option<&E>, crate::policy::Attempt) -> crate::policy::Repaired,
    {
        PreparedCall {
            recovery: self.recovery,
            call: self.call,
            classify: self.classify,
            pick: self.pick,
            repair,
        }
    }
}
