//! Copies of requests for another service, as typed.

use super::table;
use super::value::{Filled, Share, Text, Whole};
use crate::defaults;

table! {
    /// A share of the requests is sent to another service as well, and what that answers is thrown away. The request itself
    /// is neither delayed nor failed by it. Copies carry `X-Evenkeel-Mirror: 1`, and are not copied again.
    pub struct Mirror {
        /// The service that gets the copies.
        service: Text [required];
        /// The share of requests that are copied, each by lot. 0 turns it off.
        share: Share [required];
        /// The methods of which requests are copied. A copy of a request that changes something changes it twice.
        methods: Filled<Text> = defaults::MIRROR_METHODS;
        /// Most copies under way at the same time, for each worker; more requests are not copied.
        in_flight: Whole<1, 10_000> = defaults::MIRROR_IN_FLIGHT;
    }
    later {}
}
