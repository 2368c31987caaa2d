//! The commit: a response's head is written for the client, and nothing can be taken back from there.

use evenkeel_request::forward::{ForwardedResponse, HeaderEdits};

use crate::downstream::h1::ResponseForm;
use crate::downstream::h1::head::{Manner, write_response};
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
        let form = io.response_form(self.keep_alive && !io.is_last());
        io.work.begin_response();
        let manner = Manner {
            version: self.version,
            keep_alive: form.keep_alive,
            decode: form.decode,
        };
        let server = upstream.server().index;
        let (work, peer) = io.workspace();
        let name = self.exchange.servers().name(server);
        let response = self.forwarded_response(peer.as_bytes(), name);
        write_response(
            &mut work.to_client,
            &work.response,
            upstream.head_bytes(),
            manner,
            &response,
            &self.worker.date(self.latest),
            self.exchange.sticky_field(server),
        );
        upstream.consume_head(&work.response);
        form
    }

    /// What is known of a response of this server to the client with this address.
    pub(crate) fn forwarded_response<'r>(
        &'r self,
        client_address: &'r [u8],
        server: &'r str,
    ) -> ForwardedResponse<'r> {
        let entry = self.entry();
        let (changes, load) = (&entry.response_headers, entry.load_header.as_deref());
        ForwardedResponse {
            client_address,
            id: self.id,
            service: entry.name(),
            server,
            edits: HeaderEdits::of_response(changes, self.route, load),
        }
    }
}
