//! The one hash for keys: the same on every evenkeel, whatever was started when.

use twox_hash::XxHash64;

/// The key of a request that is hashed on `bytes`: XXH64 with seed 0.
#[must_use]
pub fn key(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}
