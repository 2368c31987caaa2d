//! The I/O of one request's exchange: its worker, its workspace, and the client.
//!
//! The client is reached only through the methods here: the source of the request's body ([`BodySource`]), the sink of its response
//! ([`ResponseSink`]), and whether the client is still connected. What its protocol makes of that (framing, keep-alive, how a
//! broken response is shown) stays in [`crate::downstream::h1`].

use evenkeel_connect::Stream;
use evenkeel_core::blame::EndEvent;
use evenkeel_request::forward::ForwardedTrailers;

use crate::downstream::address::AddressText;
use crate::downstream::h1::response::{send, write_interim};
use crate::downstream::h1::{BodySource, Client, Persist, RequestBody, ResponseForm, ResponseSink};
use crate::downstream::io::TunnelEnd;
use crate::worker::client_watch::WatchedClient;
use crate::worker::timer::Timer;
use crate::worker::{Worker, Workspace};

/// The I/O of one exchange.
#[derive(Debug)]
pub(crate) struct ExchangeIo<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) work: &'a mut Workspace,
    client: &'a mut Client,
    body: &'a mut RequestBody,
    /// Which trailers of the request pass.
    trailers: &'a ForwardedTrailers<'a>,
}

impl<'a> ExchangeIo<'a> {
    pub(crate) const fn new(
        worker: &'a Worker,
        client: &'a mut Client,
        work: &'a mut Workspace,
        body: &'a mut RequestBody,
        trailers: &'a ForwardedTrailers<'a>,
    ) -> Self {
        Self {
            worker,
            work,
            client,
            body,
            trailers,
        }
    }

    /// The workspace, and the client's address as text.
    pub(crate) const fn workspace(&mut self) -> (&mut Workspace, &AddressText) {
        (&mut *self.work, &self.client.peer_text)
    }

    /// The request's one timer, for whatever is waited for now.
    pub(crate) const fn timer(&self) -> &Timer {
        &self.client.timer
    }

    /// Whether the client's connection ends with this request: evenkeel is about to end, or its listener is removed.
    pub(crate) fn is_last(&self) -> bool {
        self.worker.is_last_for(&self.client.listener)
    }

    /// Whether the client is still connected, and which server it waits for.
    pub(crate) const fn watch(&self) -> &WatchedClient {
        &self.client.watched
    }

    /// The state of the request's body.
    pub(crate) const fn body(&self) -> &RequestBody {
        self.body
    }

    /// Bytes of the request in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.work.to_server.len() + self.work.replay.len() + self.client.buffer.len()
    }

    /// The request's head as servers get it, and the source of its body.
    pub(crate) const fn request(&mut self) -> (&[u8], BodySource<'_>) {
        let Workspace {
            to_server, replay, ..
        } = &mut *self.work;
        let (client, buffers) = (&mut *self.client, &self.worker.buffers);
        let source = BodySource::new(self.body, client, replay, self.trailers, buffers);
        (to_server.as_slice(), source)
    }

    /// Discards the body of the request, if all of it has arrived. Returns whether it has, so that another request can follow.
    pub(crate) fn discard_body(&mut self) -> bool {
        self.body.discard(&mut self.client.buffer)
    }

    /// How the response is sent to the client. `keep_alive`: whether its connection may stay open otherwise.
    pub(crate) fn response_form(&self, keep_alive: bool) -> ResponseForm {
        let keep_alive = keep_alive && self.body.is_through();
        ResponseForm::of(&self.work.request, &self.work.response, keep_alive)
    }

    /// The sink of the response whose head is in `work.to_client`.
    pub(crate) const fn response(&mut self) -> ResponseSink<'_, Stream> {
        let Workspace {
            to_client, written, ..
        } = &mut *self.work;
        ResponseSink::new(&mut self.client.stream, to_client, written)
    }

    /// Sends what is in `work.to_client`: a whole response, an interim one, or the head of a tunnel's.
    ///
    /// # Errors
    /// If the client has disconnected or does not read.
    pub(crate) fn send(&mut self) -> impl Future<Output = Result<(), EndEvent>> {
        send(self.worker, self.client, self.work)
    }

    /// Writes the interim response (1xx) in `work.response`, whose bytes are `bytes`, to `work.to_client`. Returns whether the client
    /// may get one.
    pub(crate) fn write_interim(&mut self, bytes: &[u8]) -> bool {
        write_interim(self.work, bytes)
    }

    /// The response was relayed completely: what becomes of the client's connection. `wants_more`: the client has not asked for its
    /// end.
    pub(crate) fn response_complete(&self, form: ResponseForm, wants_more: bool) -> Persist {
        self.client.response_complete(form, wants_more, self.body)
    }

    /// The response broke off after its head was sent: what becomes of the client's connection.
    pub(crate) fn response_aborted(&self, form: ResponseForm, event: EndEvent) -> Persist {
        self.client.response_aborted(form, event)
    }

    /// The client's side of a tunnel.
    pub(crate) const fn tunnel_end(&mut self) -> TunnelEnd<'_, Stream> {
        self.client.tunnel_end()
    }

    /// Makes the close of the client's connection a reset.
    pub(crate) fn reset_on_close(&self) {
        self.client.reset_on_close();
    }
}
