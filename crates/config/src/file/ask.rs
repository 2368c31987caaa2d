//! Servers that are asked how busy they are, as typed.

use super::quantity::Time;
use super::table;
use super::value::Text;
use crate::defaults;

table! {
    /// Servers are asked how busy they are, for the policy `prequal`: one for each pick, beside the requests. The answer is
    /// 200 with `{"in_flight": 12, "latency_ms": 8.5}`; `latency_ms` may be left out.
    pub struct Ask {
        /// The path of a `GET` request. Its answer must be quick and cost nothing.
        probe: Text [required];
        /// How long an answer may take, `1ms` to `10s`. One that is late is not used.
        timeout: Time = defaults::PREQUAL_TIMEOUT;
    }
    later {}
}
