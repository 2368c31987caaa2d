//! The hash for keys, and decisions that depend on a key instead of on chance: the same on every evenkeel, independent
//! of the order of starts.

use twox_hash::XxHash64;

/// The key of a request that is hashed on `bytes`: XXH64 with seed 0.
#[must_use]
pub fn key(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// Another key made of this one (the finalizer of `SplitMix64`, Steele 2014).
pub(crate) const fn again(key: u64, step: u64) -> u64 {
    let mut z = key.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number from 0 to below 1.
pub(crate) fn unit(key: u64) -> f64 {
    (key >> 11) as f64 / (1_u64 << 53) as f64
}
