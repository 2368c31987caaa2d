//! What took the place of missing answers, as it is counted and told.

use evenkeel_core::metric::Counter;
use evenkeel_http1::write;
use evenkeel_request::exchange::NoResponse;

use crate::context::RequestContext;
use crate::results::Results;

/// What took the place of missing answers; the place is what is counted with.
const RESULTS: [&str; 4] = ["response", "service", "left-out", "stale"];

/// One worker's numbers of one service's fallback.
pub(crate) type FallbackCounters = [Counter; RESULTS.len()];

/// Writes why there is no response as parameters of `Proxy-Status` (RFC 9209).
pub(crate) fn write_why(why: NoResponse, out: &mut Vec<u8>) {
    match why {
        NoResponse::Cause(cause) => {
            out.extend_from_slice(b"error=");
            out.extend_from_slice(cause.proxy_error().as_bytes());
            out.extend_from_slice(b"; details=\"");
            out.extend_from_slice(cause.word().as_bytes());
            out.push(b'"');
        }
        NoResponse::Status(status) => {
            out.extend_from_slice(b"received-status=");
            write::decimal(out, u64::from(status));
        }
    }
}

impl RequestContext<'_> {
    /// The service that the request came for.
    pub(crate) fn home_name(&self) -> &str {
        let from = self.exchange.fallen().from;
        let id = from.map_or(self.exchange.service_id(), |(service, _)| service);
        self.worker.state.services()[id.0 as usize].name()
    }

    /// What took the place of a missing answer, for the access log.
    pub(crate) fn fallback_name(&self) -> &str {
        let fallen = self.exchange.fallen();
        if fallen.is_stale {
            return "stale";
        }
        match (fallen.is_configured, fallen.from) {
            (true, _) => "response",
            (false, Some(_)) => self.exchange.service().name(),
            (false, None) => "",
        }
    }
}

/// The metric of them.
pub(crate) const FALLBACKS: Results = Results {
    name: "evenkeel_fallbacks_total",
    about: "Requests that no server of the service answered, by what their clients got instead.",
    words: &RESULTS,
    counters: |counters| &counters.fallbacks,
    is_there: |policies| policies.fallback.is_some(),
};
