//! What went to a server and came from it: how often it was picked and why, and how many bytes.
//!
//! Apart from the other counts because it is for those who look at shares and throughput only.

use evenkeel_balance::PickReason;
use evenkeel_core::ServerId;

use crate::worker::state::ProxyState;

/// What went to a server and came from it since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerFlow {
    /// How often it was picked, by [`PickReason::index`].
    pub picks: [u64; PickReason::WORDS.len()],
    /// Bytes sent to it, heads included.
    pub bytes_sent: u64,
    /// Bytes received from it, heads included.
    pub bytes_received: u64,
}

impl ProxyState {
    /// What went to a server and came from it since the start.
    #[must_use]
    pub fn server_flow(&self, server: ServerId) -> ServerFlow {
        let mut sum = ServerFlow::default();
        let Some(entry) = self.service(server.service) else {
            return sum;
        };
        let workers = entry.counters().iter();
        let index = server.index as usize;
        for counters in workers.filter_map(|service| service.server_if_used(index)) {
            for (picks, counter) in sum.picks.iter_mut().zip(&counters.picks) {
                *picks += counter.value();
            }
            sum.bytes_sent += counters.bytes_sent.value();
            sum.bytes_received += counters.bytes_received.value();
        }
        sum
    }
}
