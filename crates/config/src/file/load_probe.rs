//! Load probes, as typed.

use super::quantity::DurationValue;
use super::table;
use super::value::NonEmptyText;
use crate::defaults;

table! {
    /// Load probes for the policy `prequal`: one probe per pick, in the background. The response is 200 with
    /// `{"in_flight": 12, "latency_ms": 8.5}`; `latency_ms` is optional.
    pub struct LoadProbeConfig {
        /// The path of a `GET` request. The response must be fast and cheap.
        probe: NonEmptyText [required];
        /// The timeout of a probe, `1ms` to `10s`. Late responses are not used.
        timeout: DurationValue = defaults::PREQUAL_TIMEOUT;
    }
    later {}
}
