//! What the exchange of one request works with: its worker, its workspace, and the client's side of it.
//!
//! The client's side is reached by the methods here alone: where the request's body comes from ([`BodySource`]), where its response
//! goes ([`ResponseSink`]), and whether the client is still there. What its protocol makes of that (framing, keep-alive, how a
//! broken response is told) stays in [`crate::downstream::h1`].

use std::net::IpAddr;

use evenkeel_core::blame::Event;
use tokio::net::TcpStream;

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
}

impl<'a> ExchangeIo<'a> {
    pub(crate) const fn new(
        worker: &'a Worker,
        client: &'a mut Client,
        work: &'a mut Workspace,
        body: &'a mut RequestBody,
    ) -> Self {
        Self {
            worker,
            work,
            client,
            body,
        }
    }

    /// The client's address.
    pub(crate) const fn peer(&self) -> IpAddr {
        self.client.peer
    }

    /// The one timer of the request: it stands for whatever is waited for now.
    pub(crate) const fn timer(&self) -> &Timer {
        &self.client.timer
    }

    /// Tells when the client is gone.
    pub(crate) const fn watch(&self) -> &WatchedClient {
        &self.client.watched
    }

    /// How far the request's body has come.
    pub(crate) const fn body(&self) -> &RequestBody {
        self.body
    }

    /// Bytes of the request that are held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.work.to_server.len() + self.work.replay.len() + self.client.buffer.len()
    }

    /// The request's head as servers get it, and where its body comes from.
    pub(crate) const fn request(&mut self) -> (&[u8], BodySource<'_>) {
        let Workspace {
            to_server, replay, ..
        } = &mut *self.work;
        let source = BodySource::new(self.body, self.client, replay, &self.worker.buffers);
        (to_server.as_slice(), source)
    }

    /// Leaves out the body of the request, if all of it has come; whether it has, so that another request can follow.
    pub(crate) fn discard_body(&mut self) -> bool {
        self.body.discard(&mut self.client.buffer)
    }

    /// How the response is sent to the client. `keep_alive`: nothing but the two messages speaks against another request on the
    /// client's connection.
    pub(crate) fn response_form(&self, keep_alive: bool) -> ResponseForm {
        let keep_alive = keep_alive && self.body.is_through();
        ResponseForm::of(&self.work.request, &self.work.response, keep_alive)
    }

    /// Where the response goes whose head is in `work.to_client`.
    pub(crate) const fn response(&mut self) -> ResponseSink<'_, TcpStream> {
        let Workspace {
            to_client, written, ..
        } = &mut *self.work;
        ResponseSink::new(&mut self.client.stream, to_client, written)
    }

    /// Sends the whole response that is in `work.to_client`, or the head of one.
    ///
    /// # Errors
    /// If the client is gone, or does not take it.
    pub(crate) fn send(&mut self) -> impl Future<Output = Result<(), Event>> {
        send(self.worker, self.client, self.work)
    }

    /// Puts an interim response (1xx), whose head is at the front of `bytes`, into `work.to_client`; `false` if the client cannot
    /// take one.
    pub(crate) fn write_interim(&mut self, bytes: &[u8]) -> bool {
        write_interim(self.work, bytes)
    }

    /// The response has been passed on as a whole: what becomes of the client's connection. `wants_more`: the client has not asked
    /// for its end.
    pub(crate) fn response_complete(&self, form: ResponseForm, wants_more: bool) -> Persist {
        self.client.response_complete(form, wants_more, self.body)
    }

    /// The response has broken off after its head, by this event.
    pub(crate) fn response_aborted(&self, form: ResponseForm, event: Event) -> Persist {
        self.client.response_aborted(form, event)
    }

    /// The client's side of the tunnel that the request has become.
    pub(crate) const fn tunnel_end(&mut self) -> TunnelEnd<'_, TcpStream> {
        self.client.tunnel_end()
    }

    /// The client sees a reset when its connection is closed.
    pub(crate) fn reset_on_close(&self) {
        self.client.reset_on_close();
    }
}
