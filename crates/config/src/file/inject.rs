//! Fault injection, as typed.

use super::quantity::DurationValue;
use super::table;
use super::value::{Integer, Share};
use crate::defaults;

table! {
    /// Fault injection, before a request reaches a server, to test how clients handle faults. `evenkeel check` warns
    /// while it is on.
    pub struct InjectConfig {
        /// Requests that are delayed. The delay counts towards `timeout.total`.
        delay: InjectDelayConfig;
        /// Requests that are answered with an error, and reach no server. Independent of `delay`.
        abort: InjectAbortConfig;
        /// The seed that selects the requests.
        seed: Integer<0, 4_294_967_295> = defaults::INJECT_SEED;
    }
    later {}
}

table! {
    /// Requests that are delayed.
    pub struct InjectDelayConfig {
        /// The share of requests.
        share: Share [required];
        /// The duration.
        time: DurationValue [required];
    }
    later {}
}

table! {
    /// Requests that are answered with an error.
    pub struct InjectAbortConfig {
        /// The share of requests.
        share: Share [required];
        /// The status of the answer.
        status: Integer<400, 599> [required];
    }
    later {}
}
