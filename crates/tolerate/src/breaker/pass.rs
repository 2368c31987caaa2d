//! The leave to make an attempt, which gives back its place by itself.

use std::ops::Deref;
use std::time::Duration;

use evenkeel_core::Instant;

use super::{Admitted, Breaker, Change, Mark};

/// Leave to make one attempt. Dropped without [`Pass::finish`] it says nothing about the server, and its place in a trial is free again.
#[derive(Debug)]
#[must_use = "dropped at once it says nothing about the attempt"]
pub struct Pass<B: Deref<Target = Breaker>> {
    breaker: B,
    admitted: Option<Admitted>,
}

impl<B: Deref<Target = Breaker>> Pass<B> {
    pub(super) const fn new(breaker: B, admitted: Admitted) -> Self {
        Self {
            breaker,
            admitted: Some(admitted),
        }
    }

    /// Whether the attempt is part of a trial: a server that may still be ill answers it.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.admitted.is_some_and(Admitted::is_trial)
    }

    /// The attempt ended, after `took`. What changed by it, if anything.
    pub fn finish(mut self, now: Instant, mark: Mark, took: Duration) -> Option<Change> {
        let admitted = self.admitted.take()?;
        self.breaker.record(admitted, now, mark, took)
    }
}

impl<B: Deref<Target = Breaker>> Drop for Pass<B> {
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            self.breaker.release(admitted);
        }
    }
}
