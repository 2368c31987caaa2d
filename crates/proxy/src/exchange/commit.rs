//! The commit: a response's head is written for the client, and nothing can be taken back from there.

use evenkeel_http1::FieldKind;

use crate::downstream::edit::{Answerer, Edits};
use crate::downstream::h1::ResponseForm;
use crate::downstream::rewrite::{self, Manner};
use crate::exchange::context::RequestContext;
use crate::exchange::io::ExchangeIo;
use crate::upstream::h1::UpstreamExchange;

impl RequestContext<'_> {
    /// Writes the response's head as the client gets it, and takes it off what came from the server.
    pub(crate) fn commit(
        &self,
        io: &mut ExchangeIo<'_>,
        upstream: &mut UpstreamExchange,
    ) -> ResponseForm {
        let form = io.response_form(self.keep_alive && !self.worker.draining.get());
        io.work.begin_response();
        let head = &io.work.response;
        let has_date = head
            .fields
            .iter()
            .any(|field| field.kind == FieldKind::Date);
        let manner = Manner {
            version: self.version,
            keep_alive: form.keep_alive,
            decode: form.decode,
            date: (!has_date).then(|| self.worker.date(self.latest)),
        };
        let entry = self.entry();
        let edits = Edits::of_response(entry, self.route).map(|edits| {
            let answerer = Answerer {
                peer: io.peer(),
                id: self.id,
                service: entry.name(),
                server: &entry.server_names()[upstream.server().index as usize],
            };
            (edits, answerer)
        });
        rewrite::response(
            &mut io.work.to_client,
            head,
            upstream.head_bytes(),
            manner,
            edits,
            self.exchange.sticky_line(upstream.server().index),
        );
        upstream.consume_head(head);
        form
    }
}
