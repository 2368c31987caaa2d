//! Seeded randomness. The same seed produces the same sequence on every machine.

use std::time::Duration;

use crate::duration_from_seconds;

/// A small seeded generator, owned by its user; never global.
#[derive(Debug, Clone)]
pub struct Random(fastrand::Rng);

impl Random {
    /// A generator whose draws depend on `seed` alone.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A uniform draw from `0..bound`.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// A uniform draw from `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A uniform draw from `[0, longest]`.
    pub fn duration_up_to(&mut self, longest: Duration) -> Duration {
        duration_from_seconds(longest.as_secs_f64() * self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_draws() {
        let (mut a, mut b) = (Random::seeded(7), Random::seeded(7));
        for _ in 0..100 {
            assert_eq!(a.bits(), b.bits());
        }
        assert_ne!(Random::seeded(1).bits(), Random::seeded(2).bits());
    }
}
