//! The commit: a response's head is written for the client, and nothing can be taken back from there.

use evenkeel_http1::{Framing, Version};
use evenkeel_request::forward::{ForwardedResponse, HeaderEdits};

use crate::downstream::h1::head::{Manner, is_delimited, write_response};
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
            && is_delimited(head, decode)
            && io.body.is_through()
            && !self.worker.draining.get();
        let manner = Manner {
            version: self.version,
            keep_alive,
            decode,
        };
        let server = upstream.server.index;
        let response = self.forwarded_response(
            io.client.peer_text.as_bytes(),
            &self.entry().server_names()[server as usize],
        );
        io.work.to_client.clear();
        write_response(
            &mut io.work.to_client,
            head,
            upstream.incoming.unread(),
            manner,
            &response,
            &self.worker.date(self.latest),
            self.exchange.sticky_field(server),
        );
        upstream.incoming.consume(head.length);
        manner
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
