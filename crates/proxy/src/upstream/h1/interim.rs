//! Interim responses (1xx) on their way to a client that can take them.

use evenkeel_core::blame::{EndEvent as Ended, Peer};

use super::exchange::{INTERIM_LIMIT, UpstreamEvent, UpstreamExchange, UpstreamExchangeEnd};
use crate::exchange::io::ExchangeIo;

impl UpstreamExchange {
    /// Passes an interim response on to a client that can take it, and looks at what came after it.
    pub(crate) async fn pass_interim(
        &mut self,
        io: &mut ExchangeIo<'_>,
    ) -> Option<UpstreamExchangeEnd> {
        self.interim += 1;
        if self.interim > INTERIM_LIMIT {
            return Some(self.failed(Ended::Malformed(Peer::Server)));
        }
        if io.write_interim(self.incoming.unread()) && io.send().await.is_err() {
            return Some(UpstreamExchangeEnd::ClientGone);
        }
        self.incoming.consume(io.work.response.length);
        if self.incoming.is_empty() {
            return None;
        }
        match self.parse(io) {
            Some(UpstreamEvent::End(end)) => Some(end),
            // The next interim response is handled when more comes, or by the same way at once.
            Some(UpstreamEvent::Interim) => Box::pin(self.pass_interim(io)).await,
            None => None,
        }
    }
}
