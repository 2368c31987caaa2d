//! Drives one request: asks its exchange what comes next, and does it with sockets.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use evenkeel_core::{Instant, Outcome, RequestShape, ServiceId};
use evenkeel_http1::{Framing, Method};
use evenkeel_request::exchange::{Arrival, AttemptEnd, Event, Reply, Step};
use evenkeel_request::forward::{ForwardedRequest, ForwardedTrailers, HeaderEdits};
use evenkeel_request::route::Route;
use evenkeel_request::{Cause, DeadlineHeader, Exchange};

use super::access::AccessLine;
use super::context::{DeadlineSlot, RequestContext};
use super::host::WorkerServices;
use crate::cache::key::CacheRequest;
use crate::downstream::h1::head::{H1Request, write_request};
use crate::downstream::h1::{Client, Persist, RequestBody};
use crate::downstream::local_reply;
use crate::exchange::attempt::AttemptResult;
use crate::exchange::destination::{Destination, destination};
use crate::exchange::finish::Finish;
use crate::exchange::io::ExchangeIo;
use crate::upstream::h1::UpstreamExchange;
use crate::upstream::load_report;
use crate::upstream::retry_after;
use crate::worker::worker_snapshot::WorkerSnapshot;
use crate::worker::{Worker, Workspace};

/// Handles the request whose head is in `work` and at the front of the client's buffer.
pub(crate) async fn handle(
    worker: &Rc<Worker>,
    client: &mut Client,
    work: &mut Workspace,
) -> Persist {
    let snapshot = worker.snapshot_for(&client.listener);
    let snapshot = &*snapshot;
    let (service, route) = match destination(worker, snapshot, client, work) {
        Destination::Service(service, route) => (service, route),
        Destination::Elsewhere(route, redirect) => {
            return Box::pin(local_reply::redirect(worker, client, work, route, redirect)).await;
        }
        Destination::Nowhere => {
            return Box::pin(local_reply::refuse_request(
                worker,
                client,
                work,
                Cause::NoRoute,
            ))
            .await;
        }
    };
    if work.request.method == Method::Connect {
        let cause = Cause::MethodNotAllowed;
        return Box::pin(local_reply::refuse_request(worker, client, work, cause)).await;
    }
    let at = worker.clock.now();
    work.violation = None;
    let bytes = client.buffer.unread();
    let head = H1Request {
        head: &work.request,
        bytes,
    };
    let arrival = Arrival {
        service,
        route,
        rate: route.and_then(|route| snapshot.shared.rate(route)),
        head: &head,
        shape: RequestShape::of(
            work.request.method_text.of(bytes),
            work.request.target.of(bytes),
        ),
        peer: client.peer,
        is_upgrade: work.request.upgrade.is_some(),
        at,
    };
    let mut context = RequestContext {
        worker,
        snapshot,
        exchange: Exchange::new(&arrival, &WorkerServices(snapshot)),
        latest: at,
        id: worker.request_id(),
        method: work.request.method,
        version: work.request.version,
        route,
        mirror: None,
        wanted: cache_request(snapshot, service, route, client, work),
        cached: None,
        room: None,
        earlier_attempts: None,
        keep_alive: work.request.keep_alive,
    };
    let log =
        (snapshot.shared.access_log).then(|| Box::new(AccessLine::new(&context, client, work)));
    let (body, trailers) = context.prepare(client, work);
    let finish = context.go(client, work, body, &trailers).await;
    context.count(&finish);
    context.count_left_out();
    client.latest = context.latest;
    if let Some(line) = log {
        line.write(&context, &finish, work.violation);
    }
    finish.persist
}

/// What the request means to the answers that are kept, if any are.
fn cache_request(
    snapshot: &WorkerSnapshot,
    service: ServiceId,
    route: Option<&Route>,
    client: &Client,
    work: &Workspace,
) -> Option<Box<CacheRequest>> {
    if !snapshot.shared.keeps_answers() {
        return None;
    }
    let keeps = snapshot.service(service).entry.stale.is_some();
    CacheRequest::of(&work.request, client.buffer.unread(), route, keeps)
}

impl<'a> RequestContext<'a> {
    /// Does what the exchange says until the request is over.
    async fn go(
        &mut self,
        client: &mut Client,
        work: &mut Workspace,
        mut body: RequestBody,
        trailers: &ForwardedTrailers<'_>,
    ) -> Finish {
        let mut upstream: Option<UpstreamExchange> = None;
        let mut io = ExchangeIo::new(self.worker, client, work, &mut body, trailers);
        // No server is asked for a client that is known to be gone.
        let mut step = match io.watch().is_gone() {
            true => Step::Abort,
            false => self.next(Event::Woken, &io),
        };
        loop {
            match step {
                Step::PassOn => return self.pass_on(&mut io, &mut upstream).await,
                _ => self.put_aside(&io, &mut upstream),
            }
            step = match step {
                Step::Attempt(server) => {
                    self.probe_load();
                    let made = self.attempt(&mut io, &mut upstream, server).await;
                    self.ended(&io, upstream.as_ref(), made)
                }
                Step::Wait(until) => Box::pin(self.wait(&io, until)).await,
                Step::Reply(reply) => return Box::pin(self.reply(&mut io, reply)).await,
                Step::PassOn
                | Step::Abort
                | Step::Done
                | Step::GoOn(_)
                | Step::Hedge(..)
                | Step::Switch(_)
                | Step::Settle
                | Step::GiveUp => return Finish::aborted(Persist::Close),
            };
        }
    }

    /// Asks one of the servers how busy it is, if the service's servers are asked.
    fn probe_load(&self) {
        let service = self.service();
        if service.entry.ask.is_some() {
            let picker = &mut service.picker().borrow_mut();
            let servers = self.exchange.servers();
            (self.worker).ask(service, picker, servers, self.latest);
        }
    }

    /// An attempt has ended.
    fn ended(
        &mut self,
        io: &ExchangeIo<'_>,
        upstream: Option<&UpstreamExchange>,
        made: AttemptResult,
    ) -> Step {
        let now = self.worker.clock.now();
        let begun = std::mem::replace(&mut self.latest, now);
        let outcome = match made {
            AttemptResult::Answer => Outcome::Answered(io.work.response.status),
            AttemptResult::Failed(outcome) => outcome,
            AttemptResult::Aborted(cause) => return self.next(Event::Aborted(cause), io),
        };
        let (written, head_at) = upstream.map_or((None, None), |upstream| {
            (upstream.written, upstream.head_at)
        });
        let latency = head_at.unwrap_or(now).since(written.unwrap_or(begun));
        let mut end = AttemptEnd::failed(outcome, latency);
        if let Some(upstream) = upstream {
            let (head, bytes) = (&io.work.response, upstream.head_bytes());
            let name = self.entry().load_header.as_deref();
            end.load = name.and_then(|name| load_report::reported(head, bytes, name));
            end.retry_after = retry_after::asked(head, bytes);
            let received = &upstream.counters().bytes_received;
            received.add_from_owner(upstream.bytes_received);
        }
        self.send_copy(io);
        self.next(Event::Ended(end), io)
    }

    /// Waits until then, until the exchange is woken, or until the client is gone.
    async fn wait(&mut self, io: &ExchangeIo<'_>, until: Instant) -> Step {
        io.timer().set(until);
        let watch = io.watch().get();
        let mut expired = pin!(io.timer().expired());
        let is_gone = poll_fn(|cx| {
            if self.exchange.poll_wake(cx.waker()) || expired.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            match watch.poll_gone(cx) {
                true => Poll::Ready(true),
                false => Poll::Pending,
            }
        });
        let is_gone = is_gone.await || watch.is_gone();
        let event = if is_gone {
            Event::ClientGone
        } else {
            Event::Woken
        };
        self.next_now(event, io)
    }

    /// evenkeel itself answers.
    async fn reply(&mut self, io: &mut ExchangeIo<'_>, reply: Reply) -> Finish {
        let keep = !matches!(reply, Reply::Final(_)) && self.may_keep(io);
        match reply {
            Reply::Cause(cause) | Reply::Final(cause) => self.answer(io, cause, keep).await,
            Reply::Configured(why) => self.answer_configured(io, why, keep).await,
            Reply::Fresh(revalidate) => {
                if revalidate {
                    self.renew(&io.work.to_server);
                }
                self.answer_cached(io, None, keep).await
            }
            Reply::Stale(why) => self.answer_cached(io, Some(why), keep).await,
        }
    }

    /// Writes the head that servers get, and takes the client's off its buffer. Returns its body, and which of its trailers pass.
    fn prepare(
        &mut self,
        client: &mut Client,
        work: &mut Workspace,
    ) -> (RequestBody, ForwardedTrailers<'a>) {
        self.mirror = self.draw_mirror(client, work);
        let policies = self.policies();
        let keep = if self.exchange.may_ever_repeat() || self.mirror.is_some() {
            policies.retry.body_buffer
        } else {
            0
        };
        let header = policies.deadline.as_ref();
        let told = header.map(DeadlineHeader::name);
        let entry = self.entry();
        let edits = HeaderEdits::of_request(&entry.request_headers, self.route, told);
        let request = ForwardedRequest {
            client_address: client.peer_text.as_bytes(),
            scheme: "http",
            id: self.id,
            server: self.exchange.servers().first_address(),
            service: entry.name(),
            route: self.route,
            edits,
            deadline: told,
        };
        let bytes = client.buffer.unread();
        let at = write_request(&mut work.to_server, &work.request, bytes, &request);
        self.room = header
            .zip(at)
            .map(|(header, at)| DeadlineSlot { header, at });
        let head = &work.request;
        let trailers = match head.framing {
            Framing::Chunked => ForwardedTrailers::of(&H1Request { head, bytes }, edits),
            Framing::None | Framing::Length(_) | Framing::UntilClose => {
                ForwardedTrailers::default()
            }
        };
        work.replay.clear();
        client.buffer.consume(work.request.length);
        client.give_back_empty_buffer(self.worker);
        (RequestBody::new(work.request.framing, keep), trailers)
    }
}
