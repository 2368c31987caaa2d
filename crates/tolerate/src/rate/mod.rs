//! How many requests per second: a token bucket, and one per key in bounded memory.
//!
//! Intuition: a bucket holds `burst` tokens and gets `per_second` new ones; each request takes one. Stored as a number that only
//! grows, the tokens that were *spent* (or lost because the bucket was full), and compared with those *earned* since the clock
//! began, which follow from the time alone. So no error accumulates: asked a million times or once, the n-th token is available
//! at the same nanosecond, and taking one is a single compare-and-swap on one word.

mod keyed;
mod scale;
mod token_bucket;

use serde::{Deserialize, Serialize};

pub use keyed::KeyedRate;
pub use token_bucket::{Rate, Reservation};

/// The options of a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RateOptions {
    /// Tokens per second, up to 10⁹; 0.1 is one in ten seconds. Exact with up to nine digits. Default 100.
    pub per_second: f64,
    /// Tokens that can be saved up, 1 to 10⁹. Default 100: the amount of one second, so that a client that was quiet for a second
    /// may send all of it at once, as a browser does.
    pub burst: u32,
}

impl Default for RateOptions {
    fn default() -> Self {
        Self {
            per_second: 100.0,
            burst: 100,
        }
    }
}

/// The options of a token bucket for each key.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct KeyedRateOptions {
    /// The bucket of each key.
    pub rate: RateOptions,
    /// Entries, rounded up to a multiple of 16; 16 bytes each. Default 65,536, one MiB. A key needs one only while its bucket is not
    /// full.
    pub entries: u32,
}

impl Default for KeyedRateOptions {
    fn default() -> Self {
        Self {
            rate: RateOptions::default(),
            entries: 65_536,
        }
    }
}

/// The counters of a rate, since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateCounts {
    /// Tokens taken.
    pub taken: u64,
    /// Requests for which none was available.
    pub refused: u64,
    /// New keys that took over another key's debt. If this grows, there are too few entries, or a flood of keys.
    pub displaced: u64,
}

#[cfg(test)]
mod tests;
