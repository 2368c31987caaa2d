//! A moving average that decays with time rather than with the number of samples.

use std::time::Duration;

use crate::Instant;

/// Exponentially weighted moving average whose weight of the past is `exp(-dt / decay)`.
#[derive(Debug, Clone, Copy)]
pub struct Ewma {
    value: f64,
    at: Instant,
    decay: Duration,
}

impl Ewma {
    /// Starts at `value`, forgetting 63 % of the past in each `decay`.
    #[must_use]
    pub const fn new(value: f64, at: Instant, decay: Duration) -> Self {
        Self { value, at, decay }
    }

    /// The average now.
    #[must_use]
    pub const fn value(&self) -> f64 {
        self.value
    }

    /// Takes in a sample.
    pub fn add(&mut self, sample: f64, at: Instant) {
        let past = weight_of_past(at - self.at, self.decay);
        self.value = self.value.mul_add(past, sample * (1.0 - past));
        self.at = at;
    }

    /// Takes in a sample; one above the average is believed at once (peak-EWMA, as in Finagle).
    pub fn add_peak(&mut self, sample: f64, at: Instant) {
        if sample > self.value {
            self.value = sample;
            self.at = at;
        } else {
            self.add(sample, at);
        }
    }
}

fn weight_of_past(elapsed: Duration, decay: Duration) -> f64 {
    (-elapsed.as_secs_f64() / decay.as_secs_f64().max(1e-9)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_63_percent_in_one_decay() {
        let mut ewma = Ewma::new(0.0, Instant::ZERO, Duration::from_secs(10));
        ewma.add(1.0, Instant::from_millis(10_000));
        assert!((ewma.value() - (1.0 - (-1.0_f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn a_peak_is_believed_at_once() {
        let mut ewma = Ewma::new(1.0, Instant::ZERO, Duration::from_secs(10));
        ewma.add_peak(9.0, Instant::from_millis(1));
        assert!((ewma.value() - 9.0).abs() < 1e-12);
    }
}
