//! Hedged attempts: a second attempt while the first one is late.
//!
//! [`HedgeDelay`] belongs to a service: after how long another attempt is made, from the latencies of the service. [`HedgeRace`]
//! belongs to a request: which of its attempts decides.

mod delay;
mod race;

pub use delay::{HedgeAfter, HedgeDelay, HedgeOptions};
pub use race::{HedgeRace, RaceOutcome};
