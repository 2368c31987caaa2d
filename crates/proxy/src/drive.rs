//! Drives one request: asks the exchange what comes next and does it with sockets.

use std::rc::Rc;
use std::time::Duration;

use evenkeel_connect::connect;
use evenkeel_core::{Instant, Outcome, ServerId, ServiceId};
use evenkeel_http1::{Body, Framing, Method, Version};
use evenkeel_request::route::Route;
use evenkeel_request::{After, Cause, Exchange, Rules};
use evenkeel_tolerate::AttemptFacts;

use crate::access::AccessLine;
use crate::body::RequestBody;
use crate::client::{Client, Persist};
use crate::destination::{Destination, destination, hash_key};
use crate::finish::Finish;
use crate::flight::Flight;
use crate::own;
use crate::pause;
use crate::relay::{Relay, RelayEnd};
use crate::rewrite::{self, Manner, Origin};
use crate::roster::Seen;
use crate::state::ServiceEntry;
use crate::talk::{Desk, Patience, Talk, TalkEnd};
use crate::tunnel;
use crate::upstream::Upstream;
use crate::worker::{RequestId, Worker, Workspace};

/// One request on its way.
#[derive(Debug)]
pub(crate) struct Journey<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) service_id: ServiceId,
    pub(crate) service: &'a ServiceEntry,
    /// The servers as they were when the request came.
    pub(crate) roster: Rc<Seen>,
    pub(crate) exchange: Exchange,
    pub(crate) started: Instant,
    /// The last look at the clock.
    pub(crate) latest: Instant,
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    version: Version,
    /// The route that says which path the server gets, if one does.
    rewrite: Option<&'a Route>,
    /// What the request is hashed on, if the service's policy hashes.
    key: Option<u64>,
    /// Whether the method is one that may be sent twice.
    may_repeat: bool,
    /// Whether the client's side would let the connection stay open.
    pub(crate) keep_alive: bool,
}

/// How an attempt ended, when there is a response to pass on or not.
enum Made {
    Answer(Talk),
    Failed(Outcome),
    /// The client's doing: nothing is to be tried again.
    Over(Finish),
}

/// Handles the request whose head is in `work` and at the front of the client's buffer.
pub(crate) async fn handle(
    worker: &Rc<Worker>,
    client: &mut Client,
    work: &mut Workspace,
) -> Persist {
    let (service_id, rewrite) = match destination(worker, client, work) {
        Destination::Service(service, rewrite) => (service, rewrite),
        Destination::Elsewhere(route, redirect) => {
            return own::redirect(worker, client, work, route, redirect).await;
        }
        Destination::Nowhere => {
            return own::refuse(worker, client, work, Cause::NoRoute).await;
        }
    };
    if work.request.method == Method::Connect {
        return own::refuse(worker, client, work, Cause::MethodNotAllowed).await;
    }
    let service = &worker.state.services()[service_id.0 as usize];
    let started = worker.clock.now();
    let method_text = work.request.method_text.of(client.buffer.unread());
    let mut journey = Journey {
        worker,
        service_id,
        service,
        roster: worker.roster(service_id),
        exchange: Exchange::begin(started, &service.timeout),
        started,
        latest: started,
        id: worker.request_id(),
        method: work.request.method,
        version: work.request.version,
        rewrite,
        key: hash_key(service, client, work),
        may_repeat: service
            .retry
            .methods
            .iter()
            .any(|method| method.as_bytes() == method_text),
        keep_alive: work.request.keep_alive,
    };
    let log = worker
        .state
        .access_log
        .then(|| AccessLine::new(client, work));
    let finish = journey.travel(client, work).await;
    journey.count(&finish);
    client.latest = journey.latest;
    if let Some(line) = log {
        line.write(&journey, &finish);
    }
    finish.persist
}

impl Journey<'_> {
    async fn travel(&mut self, client: &mut Client, work: &mut Workspace) -> Finish {
        let mut body = self.prepare(client, work);
        let upgrade = work.request.upgrade.is_some();
        let roster = Rc::clone(&self.roster);
        loop {
            let now = match self.exchange.attempts() {
                0 => self.started,
                _ => self.worker.clock.now(),
            };
            let (pick, typical) = self.pick(now);
            let server = match pick {
                Ok(server) => server,
                Err(cause) => return self.refuse(client, work, &body, cause).await,
            };
            let member = &roster.pool().members()[server.index as usize];
            let mut flight = Flight::begin(&member.state, typical);
            let mut desk = Desk {
                worker: self.worker,
                client,
                work,
                body: &mut body,
            };
            let (outcome, talk) = match self.attempt(&mut desk, server, now).await {
                Made::Answer(talk) => (Outcome::Answered(desk.work.response.status), Some(talk)),
                Made::Failed(outcome) => (outcome, None),
                Made::Over(finish) => return finish,
            };
            let ended = self.worker.clock.now();
            self.latest = ended;
            let latency = ended.since(talk.as_ref().and_then(|talk| talk.written).unwrap_or(now));
            flight.came_to(ended, outcome, latency);
            let head = talk.as_ref().map(|talk| talk.incoming.unread());
            if let Some(pause) = head.and_then(|head| pause::asked(&desk.work.response, head)) {
                member.state.relieve(ended, pause);
            }
            self.note_attempt(ended, server, outcome, latency, talk.as_ref());
            match (self.decide(server, outcome, &desk, latency, ended), talk) {
                (After::Accept, Some(talk)) => {
                    return self.pass_on(&mut desk, talk, server, flight, upgrade).await;
                }
                (After::Again { at, .. }, talk) => {
                    drop(flight);
                    self.retry(&desk, server, outcome, talk, ended, at).await;
                }
                (After::Refuse(cause), _) => return self.refuse(client, work, &body, cause).await,
                (After::Accept | After::GiveUp, _) => return Finish::aborted(Persist::Close),
            }
        }
    }

    /// Writes the head that servers get, and takes the client's off its buffer.
    fn prepare(&self, client: &mut Client, work: &mut Workspace) -> RequestBody {
        let keep = if self.may_repeat {
            self.service.retry.body_buffer
        } else {
            0
        };
        let origin = Origin {
            peer: client.peer,
            id: self.id,
            server: self.roster.first_address(),
            rewrite: self.rewrite,
        };
        let bytes = client.buffer.unread();
        rewrite::request(&mut work.to_server, &work.request, bytes, origin);
        work.replay.clear();
        client.buffer.consume(work.request.length);
        client.give_back_empty_buffer(self.worker);
        RequestBody::new(work.request.framing, keep)
    }

    /// The server for the next attempt, and what an attempt takes at present in the whole service.
    fn pick(&mut self, now: Instant) -> (Result<ServerId, Cause>, Duration) {
        let picker = &mut self.worker.pickers.borrow_mut()[self.service_id.0 as usize];
        let pool = self.roster.pool();
        let pick = self.exchange.next_server(picker, pool, now, self.key);
        let server = pick.map(|pick| {
            let server = ServerId {
                service: self.service_id,
                index: pick.index,
            };
            let picks = &self.worker.server_counters(server).picks;
            picks[pick.reason.place()].add_from_owner(1);
            server
        });
        (server, picker.typical_latency())
    }

    /// Makes one attempt: a connection, the request, the response's head.
    async fn attempt(&mut self, desk: &mut Desk<'_>, server: ServerId, now: Instant) -> Made {
        let total = self.exchange.deadline();
        let upstream = match self.connection(server, total.remaining(now)).await {
            Ok(upstream) => upstream,
            Err(outcome) => return Made::Failed(outcome),
        };
        let timeout = &self.service.timeout;
        let patience = Patience {
            attempt: timeout.attempt,
            idle: timeout.idle,
            total: total.end(),
        };
        let mut talk = Talk::new(upstream);
        let end = talk.run(desk, now, patience).await;
        if !talk.waited_for_body.is_zero() {
            self.exchange.forgive(talk.waited_for_body);
        }
        let counters = self.worker.server_counters(server);
        counters.bytes_sent.add_from_owner(talk.bytes_sent);
        if matches!(end, TalkEnd::Head) {
            return Made::Answer(talk);
        }
        drop(talk.end(self.worker));
        match end {
            TalkEnd::Failed(outcome) => Made::Failed(outcome),
            TalkEnd::Head | TalkEnd::ClientGone => Made::Over(Finish::aborted(Persist::Close)),
            TalkEnd::ClientLate => {
                let cause = Cause::RequestTimeout;
                Made::Over(self.answer(desk.client, desk.work, cause, false).await)
            }
            TalkEnd::BadBody(error) => {
                let cause = Cause::BadRequest {
                    status: 400,
                    word: error.word(),
                };
                Made::Over(self.answer(desk.client, desk.work, cause, false).await)
            }
        }
    }

    /// A kept connection to the server, or a new one.
    async fn connection(&self, server: ServerId, rest: Duration) -> Result<Upstream, Outcome> {
        let counters = self.worker.server_counters(server);
        let generation = self.roster.generation(server.index);
        if let Some(upstream) = self.worker.upstreams.take(server, generation) {
            counters.reused.add_from_owner(1);
            return Ok(upstream);
        }
        let address = self.roster.address(server.index);
        let address = address.ok_or(Outcome::Unreachable)?;
        let stream = connect(address, self.service.timeout.connect.min(rest)).await?;
        counters.connections.add_from_owner(1);
        Ok(Upstream {
            stream,
            reused: false,
            generation,
        })
    }

    fn decide(
        &mut self,
        server: ServerId,
        outcome: Outcome,
        desk: &Desk<'_>,
        took: Duration,
        now: Instant,
    ) -> After {
        let facts = AttemptFacts {
            outcome,
            method_may_repeat: self.may_repeat,
            body_replayable: desk.body.is_replayable(),
            server: server.index,
        };
        let budget = self.service.budget();
        if outcome.is_success() {
            budget.earn();
        }
        let rules = Rules {
            retry: &self.service.retry,
            timeout: &self.service.timeout,
            budget,
        };
        self.exchange.ended(
            &facts,
            took,
            rules,
            now,
            &mut self.worker.random.borrow_mut(),
        )
    }

    /// Puts an attempt aside, keeping its connection if its answer is complete, and waits for the next one's time.
    async fn retry(
        &self,
        desk: &Desk<'_>,
        server: ServerId,
        outcome: Outcome,
        talk: Option<Talk>,
        now: Instant,
        at: Instant,
    ) {
        self.worker
            .service_counters(self.service_id.0 as usize)
            .retries[outcome.place()]
        .add_from_owner(1);
        if let Some(talk) = talk {
            let response = &desk.work.response;
            let there = (talk.incoming.len() - response.length) as u64;
            let complete = match response.framing {
                Framing::None => there == 0,
                Framing::Length(length) => there == length,
                Framing::Chunked | Framing::UntilClose => false,
            };
            let reusable = complete && response.keep_alive && desk.body.is_through();
            let upstream = talk.end(self.worker);
            if reusable {
                self.worker.upstreams.give(server, upstream, now);
            }
        }
        if at > now {
            desk.client.timer.set(at);
            desk.client.timer.expired().await;
        }
    }

    /// Passes a response on: from here on nothing can be taken back.
    async fn pass_on(
        &mut self,
        desk: &mut Desk<'_>,
        mut talk: Talk,
        server: ServerId,
        mut flight: Flight<'_>,
        upgrade: bool,
    ) -> Finish {
        let status = desk.work.response.status;
        let manner = self.commit(desk, &mut talk);
        let idle = self.service.timeout.idle;
        if status == 101 && upgrade {
            let whole = tunnel::run(desk, &mut talk, idle).await;
            drop(talk.end(self.worker));
            return Finish {
                broken_off: !whole,
                ..Finish::answered(Persist::Close, status)
            };
        }
        let already = talk.bytes_received;
        let server_keeps = desk.work.response.keep_alive;
        let body = Body::new(desk.work.response.framing);
        let end = Relay::new(body, manner.decode)
            .run(desk, &mut talk, idle)
            .await;
        let now = self.worker.clock.now();
        self.latest = now;
        let received = &self.worker.server_counters(server).bytes_received;
        received.add_from_owner(talk.bytes_received - already);
        let upstream = talk.end(self.worker);
        match end {
            RelayEnd::Done { reusable } => {
                if reusable && server_keeps {
                    self.worker.upstreams.give(server, upstream, now);
                }
                // A close with unread bytes is a reset, which can take the answer with it.
                let unread = !desk.body.is_through() || !desk.client.buffer.is_empty();
                let persist = match (manner.keep_alive, unread) {
                    (true, _) => Persist::Keep,
                    (false, true) => Persist::Linger,
                    (false, false) => Persist::Close,
                };
                Finish::answered(persist, status)
            }
            RelayEnd::Truncated => {
                flight.came_to(now, Outcome::Truncated, Duration::ZERO);
                self.note_truncated(now, server);
                Finish {
                    broken_off: true,
                    ..Finish::answered(Persist::Close, status)
                }
            }
            RelayEnd::ClientGone => Finish {
                aborted: true,
                ..Finish::answered(Persist::Close, status)
            },
        }
    }

    /// Writes the response's head as the client gets it, and takes it off what came from the server.
    fn commit(&self, desk: &mut Desk<'_>, talk: &mut Talk) -> Manner {
        let head = &desk.work.response;
        let decode = self.version == Version::Http10 && head.framing == Framing::Chunked;
        let keep_alive = self.keep_alive
            && rewrite::is_delimited(head, decode)
            && desk.body.is_through()
            && !self.worker.draining.get();
        let manner = Manner {
            version: self.version,
            keep_alive,
            decode,
        };
        desk.work.to_client.clear();
        rewrite::response(
            &mut desk.work.to_client,
            head,
            talk.incoming.unread(),
            manner,
        );
        talk.incoming.consume(head.length);
        manner
    }
}
