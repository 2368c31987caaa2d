//! Interim responses (1xx) on their way to a client that can take them.

use evenkeel_core::blame::{Event as Ended, Peer};
use evenkeel_http1::Version;

use super::exchange::{Desk, Event, INTERIM_LIMIT, Talk, TalkEnd};
use crate::downstream::local_reply;
use crate::downstream::rewrite;

impl Talk {
    /// Passes an interim response on to a client that can take it, and looks at what came after it.
    pub(crate) async fn pass_interim(&mut self, desk: &mut Desk<'_>) -> Option<TalkEnd> {
        self.interim += 1;
        if self.interim > INTERIM_LIMIT {
            return Some(self.failed(Ended::Malformed(Peer::Server)));
        }
        if desk.work.request.version == Version::Http11 {
            desk.work.to_client.clear();
            rewrite::interim(
                &mut desk.work.to_client,
                &desk.work.response,
                self.incoming.unread(),
            );
            let sent = local_reply::send(desk.worker, desk.client, desk.work).await;
            if sent.is_err() {
                return Some(TalkEnd::ClientGone);
            }
        }
        self.incoming.consume(desk.work.response.length);
        if self.incoming.is_empty() {
            return None;
        }
        match self.parse(desk) {
            Some(Event::End(end)) => Some(end),
            // The next interim response is handled when more comes, or by the same way at once.
            Some(Event::Interim) => Box::pin(self.pass_interim(desk)).await,
            None => None,
        }
    }
}
