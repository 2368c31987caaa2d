//! Mirroring, as typed.

use super::table;
use super::value::{Integer, NonEmptyList, NonEmptyText, Share};
use crate::defaults;

table! {
    /// Mirroring: a share of the requests is also sent to another service, whose responses are discarded. The original
    /// request is neither delayed nor failed by it. Copies carry `X-Evenkeel-Mirror: 1` and are not copied again.
    pub struct MirrorConfig {
        /// The service that gets the copies.
        service: NonEmptyText [required];
        /// The share of requests that are copied, selected at random. 0 turns mirroring off.
        share: Share [required];
        /// The methods whose requests are copied. A copy of a request that changes something changes it twice.
        methods: NonEmptyList<NonEmptyText> = defaults::MIRROR_METHODS;
        /// The maximum number of copies in flight per worker; further requests are not copied.
        in_flight: Integer<1, 10_000> = defaults::MIRROR_IN_FLIGHT;
    }
    later {}
}
