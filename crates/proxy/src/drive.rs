//! Drives one request: asks the exchange what comes next and does it with sockets.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use evenkeel_core::{ExactShape, Instant, Outcome, RequestShape, ServerId, ServiceId, ShapeText};
use evenkeel_http1::{Method, Version};
use evenkeel_request::closed::Trial;
use evenkeel_request::route::Route;
use evenkeel_request::{After, Cause, DeadlineHeader, Exchange, Policies, Rules};
use evenkeel_tolerate::inject::Injected;
use evenkeel_tolerate::{AttemptFacts, Class};

use crate::access::AccessLine;
use crate::attempt::Made;
use crate::body::RequestBody;
use crate::cache_request::CacheRequest;
use crate::client::{Client, Persist};
use crate::client_watch::{ClientGone, until_gone};
use crate::deadline::Room;
use crate::destination::{Destination, destination, hash_key, stick};
use crate::edit::Edits;
use crate::fallback::{Fallen, Lack, Spare};
use crate::finish::Finish;
use crate::flight::Flight;
use crate::mirror::Drawn;
use crate::own;
use crate::rewrite::{self, Origin};
use crate::roster::{Roster, Seen};
use crate::state::ServiceEntry;
use crate::talk::{Desk, Talk};
use crate::worker::{RequestId, Worker, Workspace};

/// One request on its way.
#[derive(Debug)]
pub(crate) struct Journey<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) service_id: ServiceId,
    pub(crate) service: &'a ServiceEntry,
    /// What it goes by: its route's, or the service's.
    pub(crate) policies: &'a Policies,
    /// The servers as they were when the request came.
    pub(crate) roster: Rc<Seen>,
    pub(crate) exchange: Exchange,
    pub(crate) started: Instant,
    /// The last look at the clock.
    pub(crate) latest: Instant,
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    /// What it asks for, for those who look for faults.
    pub(crate) shape: RequestShape,
    /// What it asks for exactly, if its attempts are to be told of.
    pub(crate) watched: Option<Box<ExactShape>>,
    /// If its route is closed and it goes to a server all the same, to see whether it still hangs.
    pub(crate) trial: Option<Trial>,
    pub(crate) version: Version,
    /// The route that it came by, if one matched.
    pub(crate) route: Option<&'a Route>,
    /// Whether it is to be copied to another service.
    pub(crate) mirror: Option<Drawn<'a>>,
    /// What the request is hashed on, if the service's policy hashes.
    pub(crate) key: Option<u64>,
    /// How much it matters when there is not enough for all.
    pub(crate) class: Class,
    /// What it means to the answers that are kept, if any are.
    pub(crate) wanted: Option<Box<CacheRequest>>,
    /// The server that the client belongs to, if it says so.
    pub(crate) stick: Option<u32>,
    /// The service that answers instead if this one does not.
    pub(crate) spare: Option<Spare<'a>>,
    pub(crate) fallen: Fallen,
    /// The fault that is done to it on purpose, if one is.
    pub(crate) injected: Injected,
    /// Where the time that is left stands in the head for servers, if it does.
    pub(crate) room: Option<Room<'a>>,
    /// When it began to wait for a server to come back, if it ever did.
    pub(crate) held_since: Option<Instant>,
    /// How many servers of the service had come back when its last attempt began.
    pub(crate) returns_seen: u64,
    /// Whether the method is one that may be sent twice.
    pub(crate) may_repeat: bool,
    /// Whether the client's side would let the connection stay open.
    pub(crate) keep_alive: bool,
}

/// What few requests come to, in a place of its own: else each connection would be larger by it, and the way of all others longer.
pub(crate) fn boxed<F: Future>(future: F) -> Pin<Box<F>> {
    Box::pin(future)
}

/// Handles the request whose head is in `work` and at the front of the client's buffer.
pub(crate) async fn handle(
    worker: &Rc<Worker>,
    client: &mut Client,
    work: &mut Workspace,
) -> Persist {
    let (service_id, route) = match destination(worker, client, work) {
        Destination::Service(service, route) => (service, route),
        Destination::Elsewhere(route, redirect) => {
            return boxed(own::redirect(worker, client, work, route, redirect)).await;
        }
        Destination::Nowhere => {
            return boxed(own::refuse_request(worker, client, work, Cause::NoRoute)).await;
        }
    };
    if work.request.method == Method::Connect {
        let cause = Cause::MethodNotAllowed;
        return boxed(own::refuse_request(worker, client, work, cause)).await;
    }
    let service = &worker.state.services()[service_id.0 as usize];
    let own = route.and_then(|route| route.policies(service_id));
    let policies = own.unwrap_or(&service.policies);
    let started = worker.clock.now();
    let roster = worker.roster(service_id);
    work.violation = None;
    let method_text = work.request.method_text.of(client.buffer.unread());
    let mut journey = Journey {
        worker,
        service_id,
        service,
        policies,
        stick: stick(&roster, client, work),
        roster,
        exchange: Exchange::begin(started, &policies.timeout),
        started,
        latest: started,
        id: worker.request_id(),
        method: work.request.method,
        shape: RequestShape::of(method_text, work.request.target.of(client.buffer.unread())),
        watched: None,
        trial: None,
        version: work.request.version,
        route,
        mirror: None,
        key: hash_key(service, client, work),
        class: service.admission.class(route, client, work),
        wanted: CacheRequest::of(worker, service, route, client, work),
        spare: Spare::of(worker, policies, client, work),
        fallen: Fallen::default(),
        room: None,
        injected: Injected::default(),
        held_since: None,
        returns_seen: 0,
        may_repeat: policies.may_repeat(method_text),
        keep_alive: work.request.keep_alive,
    };
    let log = worker
        .state
        .access_log
        .then(|| Box::new(AccessLine::new(&journey, client, work)));
    let of_route = route.and_then(|route| worker.state.rate(route));
    let one_too_many = || (service.admission).one_too_many(of_route, started, client, work);
    let refused = (journey.heed_deadline(client, work)).or_else(one_too_many);
    let mut body = journey.prepare(client, work);
    let finish = journey.go(client, work, &mut body, refused).await;
    journey.count(&finish);
    journey.count_left_out();
    client.latest = journey.latest;
    if let Some(line) = log {
        line.write(&journey, &finish, work.violation);
    }
    finish.persist
}

impl Journey<'_> {
    /// The whole way, unless it is refused before it begins.
    async fn go(
        &mut self,
        client: &mut Client,
        work: &mut Workspace,
        body: &mut RequestBody,
        mut refused: Option<Cause>,
    ) -> Finish {
        if refused.is_none() && self.policies.inject.is_some() {
            refused = match boxed(self.inject(client)).await {
                Ok(cause) => cause,
                Err(ClientGone) => return Finish::aborted(Persist::Close),
            };
        }
        if let Some(cause) = refused {
            let keep = self.may_keep(client, body);
            return boxed(self.answer(client, work, cause, keep)).await;
        }
        let kept = match self.service.in_maintenance() {
            true => None,
            false => self.first_answer(self.latest),
        };
        if let Some((kept, is_turn)) = kept {
            if is_turn {
                self.renew(&work.to_server);
            }
            let keep = self.may_keep(client, body);
            let status = self.compose_old(&mut work.to_client, &kept, None, (client.peer, keep));
            let sent = boxed(own::send(self.worker, client, work)).await;
            return Finish::sent(sent, keep, status);
        }
        loop {
            // Asked again for the service that answers instead.
            let lack = if self.service.in_maintenance() {
                Lack::Cause(Cause::Maintenance)
            } else {
                match self.travel(client, work, body).await {
                    Ok(finish) => return finish,
                    Err(lack) => lack,
                }
            };
            if let Some(finish) = boxed(self.fall_back(client, work, body, lack)).await {
                return finish;
            }
        }
    }

    /// Says what the request is called, by its head for servers, since one of its attempts failed.
    pub(crate) fn name_shape(&self, head: &[u8]) {
        self.worker.name_shape(self.shape, || {
            let mut words = head.split(|&byte| byte == b' ');
            let method = words.next().unwrap_or_default();
            ShapeText::of(method, words.next().unwrap_or_default())
        });
    }

    /// Makes attempts until one is passed on, or until there is nothing to be passed on.
    async fn travel(
        &mut self,
        client: &mut Client,
        work: &mut Workspace,
        body: &mut RequestBody,
    ) -> Result<Finish, Lack> {
        let roster = Rc::clone(&self.roster);
        let mut talk: Option<Talk> = None;
        loop {
            let asked = (&*client, &*work, &*body);
            let (mut server, mut flight) = match self.place_or_hold(&roster, asked).await {
                Ok(place) => place,
                Err(unplaced) => return unplaced.ends(),
            };
            let mut begun = self.latest;
            self.tell_began(server, begun);
            let mut desk = Desk {
                worker: self.worker,
                client,
                work,
                body: &mut *body,
            };
            let made = self.attempt(&mut desk, &mut talk, (server, &roster), begun);
            let outcome = match made.await {
                Made::Answer => Outcome::Answered(desk.work.response.status),
                Made::Other(won) => {
                    self.note_outrun(&desk, (server, flight, begun), won.first);
                    (server, flight, begun) = (won.server, won.flight, won.begun);
                    talk = Some(won.talk);
                    Outcome::Answered(desk.work.response.status)
                }
                Made::Failed(outcome) => outcome,
                Made::Over(cause) => {
                    self.note_over(server, flight, begun);
                    return Ok(boxed(self.answer(client, work, cause, false)).await);
                }
            };
            let ended = self.worker.clock.now();
            self.latest = ended;
            let latency = latency(talk.as_ref(), begun, ended);
            flight.came_to(ended, outcome, latency);
            let wish = self.wish(&desk, talk.as_ref(), &roster, server, ended);
            self.tell_ended(&desk.work.to_server, (begun, ended), server, outcome);
            self.tried(outcome, ended);
            self.note_attempt(ended, server, outcome, latency, talk.as_ref());
            self.send_copy(&desk);
            let after = self.after(&desk, (server, outcome, wish), latency, ended);
            let is_lack = self.is_lack(desk.work.response.status);
            if after != After::Accept || is_lack {
                // One that is passed on is counted when that has ended.
                self.count_attempt(server, outcome);
            }
            match after {
                After::Accept if is_lack && talk.is_some() => {
                    self.put_aside(&desk, server, talk.take(), ended);
                    return Err(Lack::Status(desk.work.response.status));
                }
                After::Accept => {
                    let passed = self.pass_on(&mut desk, &mut talk, server, &mut flight);
                    return Ok(passed.await);
                }
                After::Again { at, .. } => {
                    drop(flight);
                    boxed(self.retry(&desk, server, outcome, talk.take(), ended, at)).await;
                }
                After::Refuse(cause) => {
                    drop((flight, talk.take()));
                    if let Err(unplaced) = boxed(self.hold_after(&desk, &roster, cause)).await {
                        return unplaced.ends();
                    }
                }
                After::GiveUp => return Ok(Finish::aborted(Persist::Close)),
            }
        }
    }

    /// An attempt that another one was quicker than, and how it had ended.
    fn note_outrun(
        &mut self,
        desk: &Desk<'_>,
        (server, flight, begun): (ServerId, Flight<'_>, Instant),
        (at, outcome): (Instant, Outcome),
    ) {
        self.tell_ended(&desk.work.to_server, (begun, at), server, outcome);
        self.note_beside(at, server, (flight, outcome), at.since(begun));
    }

    /// Writes the head that servers get, and takes the client's off its buffer.
    fn prepare(&mut self, client: &mut Client, work: &mut Workspace) -> RequestBody {
        self.mirror = self.draw_mirror(client, work);
        let again = self.may_repeat || self.spare.as_ref().is_some_and(Spare::may_repeat);
        let keep = if again || self.mirror.is_some() {
            self.policies.retry.body_buffer
        } else {
            0
        };
        let header = self.policies.deadline.as_ref();
        let told = header.map(DeadlineHeader::name);
        let origin = Origin {
            peer: &client.peer_text,
            id: self.id,
            server: self.roster.first_address(),
            service: self.service.name(),
            route: self.route,
            edits: Edits::of_request(self.service, self.route, told),
            deadline: told,
        };
        let bytes = client.buffer.unread();
        let at = rewrite::request(&mut work.to_server, &work.request, bytes, origin);
        self.room = header.zip(at).map(|(header, at)| Room { header, at });
        work.replay.clear();
        client.buffer.consume(work.request.length);
        client.give_back_empty_buffer(self.worker);
        RequestBody::new(work.request.framing, keep)
    }

    /// How long the server asks to wait, if there is an answer that says so.
    fn wish(
        &self,
        desk: &Desk<'_>,
        talk: Option<&Talk>,
        roster: &Roster,
        server: ServerId,
        now: Instant,
    ) -> Option<Duration> {
        let head = (&desk.work.response, talk?.incoming.unread());
        self.hear(head, roster.pool(), server, now)
    }

    /// What follows an attempt on `server` that came to this; `wish`: how long the server asks to wait.
    fn after(
        &mut self,
        desk: &Desk<'_>,
        (server, outcome, wish): (ServerId, Outcome, Option<Duration>),
        took: Duration,
        now: Instant,
    ) -> After {
        let facts = AttemptFacts {
            outcome,
            method_may_repeat: self.may_repeat,
            body_replayable: desk.body.is_replayable(),
            server: server.index,
            wish,
        };
        self.decide(&facts, took, now)
    }

    fn decide(&mut self, facts: &AttemptFacts, took: Duration, now: Instant) -> After {
        let budget = self.service.budget();
        if facts.outcome.is_success() {
            budget.earn();
        }
        let rules = Rules {
            retry: &self.policies.retry,
            timeout: &self.policies.timeout,
            budget,
        };
        self.exchange.ended(
            facts,
            took,
            rules,
            now,
            &mut self.worker.random.borrow_mut(),
        )
    }

    /// Puts an attempt aside and waits for the next one's time.
    async fn retry(
        &self,
        desk: &Desk<'_>,
        server: ServerId,
        outcome: Outcome,
        talk: Option<Talk>,
        now: Instant,
        at: Instant,
    ) {
        let counters = self.worker.service_counters(self.service_id.0 as usize);
        counters.retries[outcome.place()].add_from_owner(1);
        if at > now {
            counters.effort.waits(at - now);
        }
        self.put_aside(desk, server, talk, now);
        if at > now {
            let client = &*desk.client;
            client.timer.set(at);
            // If the client is gone, `place` says so.
            let _: Result<(), ClientGone> =
                until_gone(&client.watched.get(), pin!(client.timer.expired())).await;
        }
    }
}

/// From the request fully written to the response's head, or to the failure, of an attempt that ended at `ended`.
fn latency(talk: Option<&Talk>, begun: Instant, ended: Instant) -> Duration {
    let written = talk.and_then(|talk| talk.written);
    let head_at = talk.and_then(|talk| talk.head_at);
    head_at.unwrap_or(ended).since(written.unwrap_or(begun))
}
