//! The commit: a response's head is written for the client, and nothing can be taken back from there.

use evenkeel_http1::Framing;
use evenkeel_request::forward::{ForwardedResponse, ForwardedTrailers, HeaderEdits};

use crate::downstream::h1::ResponseForm;
use crate::downstream::h1::head::{H1Response, Manner, write_response};
use crate::exchange::context::RequestContext;
use crate::exchange::io::ExchangeIo;
use crate::upstream::h1::UpstreamExchange;

impl<'a> RequestContext<'a> {
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

    /// What is known of a response of this server to the client with this address, if it has one.
    pub(crate) fn forwarded_response<'r>(
        &'r self,
        client_address: Option<&'r [u8]>,
        server: &'r str,
    ) -> ForwardedResponse<'r> {
        ForwardedResponse {
            client_address,
            id: self.id,
            service: self.entry().name(),
            server,
            edits: self.response_edits(),
        }
    }

    /// Which trailers of the response pass; its head is not yet committed.
    pub(crate) fn response_trailers(
        &self,
        io: &ExchangeIo<'_>,
        upstream: &UpstreamExchange,
    ) -> ForwardedTrailers<'a> {
        let (head, bytes) = (&io.work.response, upstream.head_bytes());
        match head.framing {
            Framing::Chunked => {
                ForwardedTrailers::of(&H1Response { head, bytes }, self.response_edits())
            }
            Framing::None | Framing::Length(_) | Framing::UntilClose => {
                ForwardedTrailers::default()
            }
        }
    }

    fn response_edits(&self) -> Option<HeaderEdits<'a>> {
        let entry = self.entry();
        let (changes, load) = (&entry.response_headers, entry.load_header.as_deref());
        HeaderEdits::of_response(changes, self.route, load)
    }
}
