//! A call as its maker describes it, before it runs: what its results mean, where its attempts go, what repairs it.
//!
//! Apart from how it runs, because the async and the blocking face run the same description.

use std::fmt;

use super::{AnyError, Errors, NoPick, NoRepair, Recovery};
use crate::Call;
use crate::clock::Clock;

/// A call that is described. Run it with `run` (async) or `run_blocking`.
#[must_use = "nothing happens until it runs"]
pub struct Run<'p, C, K, P, R> {
    pub(crate) recovery: &'p Recovery<C>,
    pub(crate) call: Call,
    pub(crate) classify: K,
    pub(crate) pick: P,
    pub(crate) repair: R,
}

impl<C: Clock> Recovery<C> {
    /// Describes a call: add to it what its results mean, where it goes, what repairs it; then run it.
    pub const fn call(&self, call: Call) -> Run<'_, C, AnyError, NoPick, NoRepair> {
        Run {
            recovery: self,
            call,
            classify: AnyError,
            pick: NoPick,
            repair: NoRepair,
        }
    }
}

impl<C, K, P, R> fmt::Debug for Run<'_, C, K, P, R> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Run")
            .field("policy", self.recovery)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

impl<'p, C, K, P, R> Run<'p, C, K, P, R> {
    /// What a result means. By default a value is good and any error may pass.
    pub fn classify<L>(self, classify: L) -> Run<'p, C, L, P, R> {
        Run {
            recovery: self.recovery,
            call: self.call,
            classify,
            pick: self.pick,
            repair: self.repair,
        }
    }

    /// The same as a closure; its types are found by themselves.
    pub fn classify_by<T, E, F>(self, classify: F) -> Run<'p, C, F, P, R>
    where
        F: Fn(&Result<T, E>) -> crate::Verdict,
    {
        self.classify(classify)
    }

    /// What an error means, where every value is good.
    pub fn classify_errors<E, F>(self, meaning: F) -> Run<'p, C, Errors<F>, P, R>
    where
        F: Fn(&E) -> crate::Verdict,
    {
        self.classify(Errors(meaning))
    }

    /// Which server each attempt goes to: `|avoid, now| …`. The attempt finds it in [`Attempt::server`](super::Attempt::server).
    pub fn pick<Q>(self, pick: Q) -> Run<'p, C, K, Q, R>
    where
        Q: FnMut(&[u32], evenkeel_core::Instant) -> Option<u32>,
    {
        Run {
            recovery: self.recovery,
            call: self.call,
            classify: self.classify,
            pick,
            repair: self.repair,
        }
    }

    /// What to mend before a retry: `|error, attempt| Box::pin(async move { … })`.
    #[cfg(feature = "async")]
    pub fn repair<E, M>(self, repair: M) -> Run<'p, C, K, P, M>
    where
        M: for<'a> FnMut(Option<&'a E>, super::Attempt) -> super::Repairing<'a>,
    {
        Run {
            recovery: self.recovery,
            call: self.call,
            classify: self.classify,
            pick: self.pick,
            repair,
        }
    }

    /// The same for `run_blocking`: `|error, attempt| …`.
    #[cfg(feature = "blocking")]
    pub fn repair_blocking<E, M>(self, repair: M) -> Run<'p, C, K, P, M>
    where
        M: FnMut(Option<&E>, super::Attempt) -> super::Repaired,
    {
        Run {
            recovery: self.recovery,
            call: self.call,
            classify: self.classify,
            pick: self.pick,
            repair,
        }
    }
}
