//! Drives one request: asks the exchange what comes next and does it with sockets.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use evenkeel_balance::ServerState;
use evenkeel_connect::connect;
use evenkeel_core::{Instant, Outcome, ServerId, ServiceId};
use evenkeel_http1::{Body, FieldKind, Framing, Method, RequestHead, Version};
use evenkeel_request::head::{host_without_port, path_of_target};
use evenkeel_request::{After, Cause, Exchange, Head, Rules, route};
use evenkeel_tolerate::{AttemptFacts, StopReason};

use crate::body::RequestBody;
use crate::client::{Client, Persist};
use crate::own;
use crate::relay::{Relay, RelayEnd};
use crate::rewrite::{self, Manner, Origin};
use crate::state::ServiceEntry;
use crate::talk::{Desk, Patience, Talk, TalkEnd};
use crate::tunnel;
use crate::upstream::Upstream;
use crate::worker::{RequestId, Worker, Workspace};

/// One request on its way.
struct Journey<'a> {
    worker: &'a Worker,
    service_id: ServiceId,
    service: &'a ServiceEntry,
    exchange: Exchange,
    started: Instant,
    id: RequestId,
    method: Method,
    version: Version,
    /// Whether the method is one that may be sent twice.
    may_repeat: bool,
    /// Whether the client's side would let the connection stay open.
    keep_alive: bool,
}

/// How a request ended, for the counters and the log.
struct Finish {
    persist: Persist,
    status: u16,
    /// The client saw it fail although the status may say otherwise.
    broken_off: bool,
    aborted: bool,
    cause: Option<Cause>,
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
    let Some(service_id) = find_service(worker, client, work) else {
        return own::refuse(worker, client, work, Cause::NoRoute).await;
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
        exchange: Exchange::begin(started, &service.timeout),
        started,
        id: worker.request_id(),
        method: work.request.method,
        version: work.request.version,
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
    if let Some(line) = log {
        line.write(&journey, &finish);
    }
    finish.persist
}

fn find_service(worker: &Worker, client: &Client, work: &Workspace) -> Option<ServiceId> {
    let listener = &worker.state.listeners()[client.listener];
    let view = View {
        head: &work.request,
        bytes: client.buffer.unread(),
    };
    route::find(&listener.routes, &view).or(listener.default_service)
}

impl Journey<'_> {
    async fn travel(&mut self, client: &mut Client, work: &mut Workspace) -> Finish {
        let keep = if self.may_repeat {
            self.service.retry.body_buffer
        } else {
            0
        };
        let mut body = RequestBody::new(work.request.framing, keep);
        work.replay.clear();
        let first_server = self
            .service
            .servers()
            .first()
            .map(|server| server.address());
        let Some(server) = first_server else {
            return self.refuse(client, work, &body, Cause::NoServer).await;
        };
        let origin = Origin {
            peer: client.peer,
            id: self.id,
            server,
        };
        rewrite::request(
            &mut work.to_server,
            &work.request,
            client.buffer.unread(),
            origin,
        );
        let upgrade = work.request.upgrade.is_some();
        client.buffer.consume(work.request.length);
        loop {
            let now = if self.exchange.attempts() == 0 {
                self.started
            } else {
                self.worker.clock.now()
            };
            let (picked, typical) = {
                let picker = &mut self.worker.pickers.borrow_mut()[self.service_id.0 as usize];
                let picked = self.exchange.next_server(picker, self.service.pool(), now);
                (picked, picker.typical_latency())
            };
            let pick = match picked {
                Ok(pick) => pick,
                Err(cause) => return self.refuse(client, work, &body, cause).await,
            };
            let server = ServerId {
                service: self.service_id,
                index: pick.index,
            };
            let mut desk = Desk {
                worker: self.worker,
                client,
                work,
                body: &mut body,
            };
            let in_flight = InFlight::begin(
                &self.service.pool().members()[pick.index as usize].state,
                typical,
            );
            let made = self.attempt(&mut desk, server, now).await;
            let (outcome, talk) = match made {
                Made::Answer(talk) => (Outcome::Answered(desk.work.response.status), Some(talk)),
                Made::Failed(outcome) => (outcome, None),
                Made::Over(finish) => {
                    in_flight.end(self.worker.clock.now(), Outcome::Cancelled, Duration::ZERO);
                    return finish;
                }
            };
            let ended = self.worker.clock.now();
            let latency = ended.since(talk.as_ref().and_then(|talk| talk.written).unwrap_or(now));
            self.note_attempt(server, outcome, latency, talk.as_ref());
            let after = self.decide(server, outcome, &desk, latency, ended);
            match (after, talk) {
                (After::Accept, Some(talk)) => {
                    let flight = Flight {
                        in_flight,
                        outcome,
                        latency,
                    };
                    return self.pass_on(&mut desk, talk, server, flight, upgrade).await;
                }
                (After::Again { at, .. }, talk) => {
                    in_flight.end(ended, outcome, latency);
                    self.retry(&desk, server, outcome, talk, ended, at).await;
                }
                (After::Refuse(cause), _) => {
                    in_flight.end(ended, outcome, latency);
                    return self.refuse(client, work, &body, cause).await;
                }
                (After::Accept | After::GiveUp, _) => {
                    in_flight.end(ended, outcome, latency);
                    return Finish::aborted(Persist::Close);
                }
            }
        }
    }

    /// Makes one attempt: a connection, the request, the response's head.
    async fn attempt(&mut self, desk: &mut Desk<'_>, server: ServerId, now: Instant) -> Made {
        let total = self.exchange.deadline();
        let upstream = match self.worker.upstreams.take(server) {
            Some(upstream) => {
                self.worker.server_counters(server).reused.add_from_owner(1);
                upstream
            }
            None => {
                let patience = self.service.timeout.connect.min(total.remaining(now));
                let address = self.service.servers()[server.index as usize].address();
                match connect(address, patience).await {
                    Ok(stream) => {
                        self.worker
                            .server_counters(server)
                            .connections
                            .add_from_owner(1);
                        Upstream {
                            stream,
                            reused: false,
                        }
                    }
                    Err(outcome) => return Made::Failed(outcome),
                }
            }
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
        match end {
            TalkEnd::Head => Made::Answer(talk),
            TalkEnd::Failed(outcome) => {
                drop(talk.end(self.worker));
                Made::Failed(outcome)
            }
            TalkEnd::ClientGone => Made::Over(Finish::aborted(Persist::Close)),
            TalkEnd::ClientLate => Made::Over(
                self.answer(desk.client, desk.work, Cause::RequestTimeout, false)
                    .await,
            ),
            TalkEnd::BadBody(error) => {
                let cause = Cause::BadRequest {
                    status: 400,
                    word: error.word(),
                };
                Made::Over(self.answer(desk.client, desk.work, cause, false).await)
            }
        }
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

    fn note_attempt(
        &self,
        server: ServerId,
        outcome: Outcome,
        latency: Duration,
        talk: Option<&Talk>,
    ) {
        let counters = self.worker.server_counters(server);
        counters.attempts[outcome.place()].add_from_owner(1);
        counters.durations.add_from_owner(latency);
        if let Some(talk) = talk {
            counters.bytes_received.add_from_owner(talk.bytes_received);
        }
        self.worker.signal(server, outcome, latency);
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
            let complete = matches!(response.framing, Framing::Length(length)
                if length == (talk.incoming.len() - response.length) as u64);
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
        flight: Flight<'_>,
        upgrade: bool,
    ) -> Finish {
        let status = desk.work.response.status;
        let decode =
            self.version == Version::Http10 && desk.work.response.framing == Framing::Chunked;
        let request_has_come = desk.body.is_through();
        let keep_alive = self.keep_alive
            && rewrite::is_delimited(&desk.work.response, decode)
            && request_has_come
            && !self.worker.draining.get();
        let manner = Manner {
            version: self.version,
            keep_alive,
            decode,
        };
        desk.work.to_client.clear();
        rewrite::response(
            &mut desk.work.to_client,
            &desk.work.response,
            talk.incoming.unread(),
            manner,
        );
        talk.incoming.consume(desk.work.response.length);
        let already = talk.bytes_received;
        let idle = self.service.timeout.idle;
        if status == 101 && upgrade {
            let whole = tunnel::run(desk, &mut talk, idle).await;
            flight.end(self.worker.clock.now());
            drop(talk.end(self.worker));
            return Finish {
                persist: Persist::Close,
                status,
                broken_off: !whole,
                aborted: false,
                cause: None,
            };
        }
        let server_keeps = desk.work.response.keep_alive;
        let mut relay = Relay::new(Body::new(desk.work.response.framing), decode);
        let end = relay.run(desk, &mut talk, idle).await;
        let now = self.worker.clock.now();
        self.worker
            .server_counters(server)
            .bytes_received
            .add_from_owner(talk.bytes_received - already);
        let upstream = talk.end(self.worker);
        match end {
            RelayEnd::Done { reusable } => {
                flight.end(now);
                if reusable && server_keeps {
                    self.worker.upstreams.give(server, upstream, now);
                }
                let persist = match (keep_alive, request_has_come) {
                    (true, _) => Persist::Keep,
                    (false, _) => Persist::Linger,
                };
                Finish {
                    persist,
                    status,
                    broken_off: false,
                    aborted: false,
                    cause: None,
                }
            }
            RelayEnd::Truncated => {
                flight
                    .in_flight
                    .end(now, Outcome::Truncated, flight.latency);
                self.note_truncated(server);
                Finish {
                    persist: Persist::Close,
                    status,
                    broken_off: true,
                    aborted: false,
                    cause: None,
                }
            }
            RelayEnd::ClientGone => {
                flight.end(now);
                Finish {
                    persist: Persist::Close,
                    status,
                    broken_off: false,
                    aborted: true,
                    cause: None,
                }
            }
        }
    }

    fn note_truncated(&self, server: ServerId) {
        self.worker.server_counters(server).attempts[Outcome::Truncated.place()].add_from_owner(1);
        self.worker
            .signal(server, Outcome::Truncated, Duration::ZERO);
    }

    /// Tells the client why there is no answer from a server.
    async fn refuse(
        &self,
        client: &mut Client,
        work: &mut Workspace,
        body: &RequestBody,
        cause: Cause,
    ) -> Finish {
        // A body that is still to come would be read as the next request.
        let body_has_come = work.request.framing == Framing::None || body.is_through();
        self.answer(
            client,
            work,
            cause,
            self.keep_alive && body_has_come && !self.worker.draining.get(),
        )
        .await
    }

    async fn answer(
        &self,
        client: &mut Client,
        work: &mut Workspace,
        cause: Cause,
        keep_alive: bool,
    ) -> Finish {
        own::compose(&mut work.to_client, cause, self.id, self.method, keep_alive);
        let sent = own::send(self.worker, client, work).await;
        let persist = match (sent, keep_alive) {
            (false, _) => Persist::Close,
            (true, true) => Persist::Keep,
            (true, false) => Persist::Linger,
        };
        Finish {
            persist,
            status: cause.status(),
            broken_off: false,
            aborted: false,
            cause: Some(cause),
        }
    }

    fn count(&self, finish: &Finish) {
        let counters = self.worker.service_counters(self.service_id.0 as usize);
        if finish.aborted {
            counters.aborted.add_from_owner(1);
            return;
        }
        counters.statuses.add_one(finish.status);
        counters
            .durations
            .add_from_owner(self.worker.clock.now().since(self.started));
        if finish.status >= 500 || finish.broken_off {
            counters.failed.add_from_owner(1);
        } else if self.exchange.attempts() > 1 {
            counters.saved_by_retry.add_from_owner(1);
        }
        if let Some(reason) = self.exchange.denied() {
            let place = match reason {
                StopReason::NotRetryable => 0,
                StopReason::Method => 1,
                StopReason::Body => 2,
                StopReason::Limit => 3,
                StopReason::Budget => 4,
                StopReason::Deadline => 5,
            };
            counters.retries_denied[place].add_from_owner(1);
        }
    }
}

impl Finish {
    const fn aborted(persist: Persist) -> Self {
        Self {
            persist,
            status: 499,
            broken_off: false,
            aborted: true,
            cause: None,
        }
    }
}

/// An attempt that is under way, as the balancer counts it: whatever ends it, it is taken back once.
struct InFlight<'a> {
    state: &'a ServerState,
    /// What an attempt takes at present in the whole service.
    typical: Duration,
    open: bool,
}

/// An attempt whose answer is being passed on.
struct Flight<'a> {
    in_flight: InFlight<'a>,
    outcome: Outcome,
    latency: Duration,
}

impl<'a> InFlight<'a> {
    fn begin(state: &'a ServerState, typical: Duration) -> Self {
        state.begin();
        Self {
            state,
            typical,
            open: true,
        }
    }

    fn end(mut self, now: Instant, outcome: Outcome, latency: Duration) {
        self.open = false;
        self.state.end(now, outcome, latency, self.typical);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.open {
            // The task was dropped or panicked: what the server did is not known.
            self.state.end(
                Instant::ZERO,
                Outcome::Cancelled,
                Duration::ZERO,
                Duration::ZERO,
            );
        }
    }
}

impl Flight<'_> {
    fn end(self, now: Instant) {
        self.in_flight.end(now, self.outcome, self.latency);
    }
}

/// A request's head as routing sees it.
struct View<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
}

impl Head for View<'_> {
    fn host(&self) -> Option<&[u8]> {
        self.head
            .host
            .map(|host| host_without_port(host.of(self.bytes)))
    }

    fn path(&self) -> &[u8] {
        path_of_target(self.head.target.of(self.bytes))
    }

    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let matches = |field: &evenkeel_http1::Field| {
            field
                .name
                .of(self.bytes)
                .eq_ignore_ascii_case(name.as_bytes())
                && test(field.value.of(self.bytes))
        };
        self.head.fields.iter().any(matches)
    }
}

/// What the access log says of a request, remembered while its head is still there. Only made when the log is on.
struct AccessLine {
    peer: IpAddr,
    method: String,
    target: String,
    client_id: Option<String>,
}

impl AccessLine {
    fn new(client: &Client, work: &Workspace) -> Self {
        let bytes = client.buffer.unread();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let id = work
            .request
            .fields
            .iter()
            .find(|field| field.kind == FieldKind::XRequestId);
        Self {
            peer: client.peer,
            method: text(work.request.method_text.of(bytes)),
            target: text(work.request.target.of(bytes)),
            client_id: id.map(|field| text(field.value.of(bytes))),
        }
    }

    fn write(&self, journey: &Journey<'_>, finish: &Finish) {
        let mut id = Vec::with_capacity(24);
        journey.id.write(&mut id);
        let id = self
            .client_id
            .clone()
            .unwrap_or_else(|| String::from_utf8_lossy(&id).into_owned());
        let attempts: Vec<String> = journey
            .exchange
            .records()
            .map(|record| {
                let server = journey
                    .service
                    .servers()
                    .get(record.server as usize)
                    .map_or("", |server| server.name());
                format!(
                    "{server}:{}:{:.1}ms",
                    record.outcome.word(),
                    record.took.as_secs_f64() * 1e3
                )
            })
            .collect();
        tracing::info!(
            target: "access",
            peer = %self.peer,
            method = self.method,
            target_uri = self.target,
            status = finish.status,
            service = journey.service.name(),
            cause = finish.cause.map_or("", Cause::word),
            aborted = finish.aborted,
            milliseconds = journey.worker.clock.now().since(journey.started).as_secs_f64() * 1e3,
            attempts = attempts.join(" "),
            request_id = id,
            "request"
        );
    }
}
