//! The commit: a response's head is written for the client, and nothing can be taken back from there.

use evenkeel_http1::{FieldKind, Framing, Version};

use crate::downstream::edit::{Answerer, Edits};
use crate::downstream::rewrite::{self, Manner};
use crate::exchange::context::RequestContext;
use crate::upstream::h1::{ExchangeIo, UpstreamExchange};

impl RequestContext<'_> {
    /// Writes the response's head as the client gets it, and takes it off what came from the server.
    pub(crate) fn commit(
        &self,
        io: &mut ExchangeIo<'_>,
        upstream: &mut UpstreamExchange,
    ) -> Manner {
        let head = &io.work.response;
        let decode = self.version == Version::Http10 && head.framing == Framing::Chunked;
        let keep_alive = self.keep_alive
            && rewrite::is_delimited(head, decode)
            && io.body.is_through()
            && !self.worker.draining.get();
        let has_date = head
            .fields
            .iter()
            .any(|field| field.kind == FieldKind::Date);
        let manner = Manner {
            version: self.version,
            keep_alive,
            decode,
            date: (!has_date).then(|| self.worker.date(self.latest)),
        };
        let entry = self.entry();
        let edits = Edits::of_response(entry, self.route).map(|edits| {
            let answerer = Answerer {
                peer: io.client.peer,
                id: self.id,
                service: entry.name(),
                server: &entry.server_names()[upstream.server.index as usize],
            };
            (edits, answerer)
        });
        io.work.to_client.clear();
        rewrite::response(
            &mut io.work.to_client,
            head,
            upstream.incoming.unread(),
            manner,
            edits,
            self.exchange.sticky_line(upstream.server.index),
        );
        upstream.incoming.consume(head.length);
        manner
    }
}
