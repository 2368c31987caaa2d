//! Hedged attempts, carried out: the first attempt and those beside it run until one of them decides, by [`Exchange`]'s word.
//!
//! [`Exchange`]: evenkeel_request::Exchange

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_core::{Endpoint, Instant, Outcome};
use evenkeel_http1::Method;
use evenkeel_request::exchange::{Event, FirstEnd, HedgeEnd, Step};

use crate::exchange::context::RequestContext;
use crate::exchange::io::ExchangeIo;
use crate::upstream::client::UpstreamClient;
use crate::upstream::deadlines::{AttemptDeadlines, earlier};
use crate::upstream::h1::{UpstreamExchange, UpstreamExchangeEnd};
use crate::upstream::idle_timeout::Reuse;
use crate::worker::Worker;
use crate::worker::client_watch::WatchedClient;
use crate::worker::worker_snapshot::WorkerService;

/// How an attempt with others beside it ended.
pub(crate) enum RaceResult {
    /// The first one is left, and has ended so.
    First(UpstreamExchangeEnd),
    /// Another one has answered.
    Won(Box<UpstreamExchange>),
    /// Another one was the last to end, without a response.
    Failed(Outcome),
}

/// The attempts under way.
#[derive(Default)]
struct RunningAttempts<'r> {
    /// How the first one has ended.
    first: Option<UpstreamExchangeEnd>,
    hedged: Vec<HedgedAttempt<'r>>,
    /// When the next one is due.
    due: Option<Instant>,
}

/// An attempt beside the first one.
struct HedgedAttempt<'r> {
    server: u32,
    run: Pin<Box<dyn Future<Output = HedgedResult> + 'r>>,
    /// Says when its server is taken out.
    watch: WatchedClient,
    ended: Option<HedgedResult>,
}

/// A connection on which the head of a response has come, and when the request was written; or how the attempt ended.
type HedgedResult = Result<(UpstreamClient, Instant), Outcome>;

/// What a hedged attempt is made with.
struct HedgedRequest {
    service: Rc<WorkerService>,
    server: u32,
    /// The address and generation of the server.
    at: Option<(Endpoint, u64)>,
    method: Method,
    bytes: Vec<u8>,
    connect: Duration,
    /// From being connected to the response's head.
    attempt: Duration,
    /// The end of the time for the whole request.
    total: Instant,
}

impl<'a> RequestContext<'a> {
    /// The first attempt, whose request is being sent, and others when they are due, the next one at `at`.
    pub(crate) async fn race(
        &mut self,
        io: &mut ExchangeIo<'_>,
        upstream: &mut UpstreamExchange,
        (begun, deadlines): (Instant, AttemptDeadlines),
        at: Instant,
    ) -> RaceResult {
        let clock = self.worker.clock;
        let client = io.watch().get();
        let mut running = RunningAttempts {
            first: None,
            hedged: Vec::new(),
            due: Some(at),
        };
        let mut timer = pin!(tokio::time::sleep_until(clock.to_tokio(at)));
        loop {
            let due = running.due;
            if let Some(at) = due {
                timer.as_mut().reset(clock.to_tokio(at));
            }
            let hedged = &mut running.hedged;
            let something = |cx: &mut Context<'_>| {
                let is_due = due.is_some() && timer.as_mut().poll(cx).is_ready();
                hedged.iter_mut().any(|one| one.poll(cx)) || is_due || client.poll_event(cx)
            };
            if running.first.is_none() {
                let end = upstream.run(io, begun, deadlines, something).await;
                if !matches!(end, UpstreamExchangeEnd::Paused)
                    && self.first_ended(io, &mut running, end)
                {
                    return running.settle();
                }
            } else {
                until(something).await;
            }
            if client.is_gone() {
                let _: Step = self.next_now(Event::ClientGone, io);
                return running.settle();
            }
            if client.take_server_out()
                && running.first.is_none()
                && self.next_now(Event::ServerOut, io) == Step::GiveUp
                && self.first_ended(
                    io,
                    &mut running,
                    UpstreamExchangeEnd::Failed(Outcome::Rescued),
                )
            {
                return running.settle();
            }
            self.rescue_hedged(io, &mut running);
            if let Some(ended) = self.hedged_ended(io, &mut running) {
                return ended;
            }
            if running.due.is_some_and(|due| due <= clock.now()) {
                self.hedge(io, &mut running, deadlines);
            }
        }
    }

    /// The first one has ended; whether that decides.
    fn first_ended(
        &mut self,
        io: &ExchangeIo<'_>,
        running: &mut RunningAttempts<'_>,
        end: UpstreamExchangeEnd,
    ) -> bool {
        let told = match end {
            UpstreamExchangeEnd::Head => FirstEnd::Response(io.work.response.status),
            UpstreamExchangeEnd::Failed(outcome) => FirstEnd::Failed(outcome),
            UpstreamExchangeEnd::ClientGone
            | UpstreamExchangeEnd::BadBody(_)
            | UpstreamExchangeEnd::ClientLate
            | UpstreamExchangeEnd::Paused => FirstEnd::ByClient,
        };
        running.first = Some(end);
        let step = self.next_now(Event::FirstEnded(told), io);
        running.follow(step);
        step == Step::Settle
    }

    /// Gives up those whose servers were taken out, as far as the request may go on elsewhere.
    fn rescue_hedged(&self, io: &ExchangeIo<'_>, running: &mut RunningAttempts<'_>) {
        for one in &mut running.hedged {
            let is_out = one.watch.get().take_server_out() && one.ended.is_none();
            if is_out && self.may_rescue_from(one.server, io.body()) {
                one.ended = Some(Err(Outcome::Rescued));
            }
        }
    }

    /// Reports those that are over. How it ends if one of them decides.
    fn hedged_ended<'r>(
        &mut self,
        io: &mut ExchangeIo<'_>,
        running: &mut RunningAttempts<'r>,
    ) -> Option<RaceResult> {
        let mut index = 0;
        while index < running.hedged.len() {
            let Some(ended) = running.hedged[index].ended.take() else {
                index += 1;
                continue;
            };
            let server = running.hedged.swap_remove(index).server;
            let outcome = match &ended {
                Ok((line, _)) => Outcome::Answered(line.head.status),
                Err(outcome) => *outcome,
            };
            let step = self.next_now(Event::HedgeEnded(HedgeEnd { server, outcome }), io);
            match (step, ended) {
                (Step::Switch(_), Ok((line, written))) => {
                    let (upstream, head) = line.into_exchange(written);
                    io.work.response = head;
                    return Some(RaceResult::Won(Box::new(upstream)));
                }
                (Step::Switch(_), Err(outcome)) => return Some(RaceResult::Failed(outcome)),
                (_, Ok((line, _))) => line.end(self.worker, false),
                (_, Err(_)) => {}
            }
            running.follow(step);
        }
        None
    }

    /// The next one is due: begins it, if the exchange says so.
    fn hedge<'r>(
        &mut self,
        io: &ExchangeIo<'_>,
        running: &mut RunningAttempts<'r>,
        deadlines: AttemptDeadlines,
    ) where
        'a: 'r,
    {
        let step = self.next_now(Event::HedgeDue, io);
        running.follow(step);
        let Step::Hedge(server, _) = step else {
            return;
        };
        let mut bytes = Vec::with_capacity(io.work.to_server.len() + io.work.replay.len());
        bytes.extend_from_slice(&io.work.to_server);
        self.tell_deadline(&mut bytes);
        bytes.extend_from_slice(&io.work.replay);
        let servers = self.exchange.servers();
        let generation = servers.generation(server);
        let request = HedgedRequest {
            service: Rc::clone(self.service()),
            server,
            at: servers
                .address(server)
                .map(|address| (address.clone(), generation)),
            method: self.method,
            bytes,
            connect: self.policies().timeout.connect,
            attempt: deadlines.attempt,
            total: deadlines.total,
        };
        let watch = self.worker.watcher.watch_server(self.server_id(server));
        running.hedged.push(HedgedAttempt {
            server,
            run: Box::pin(request.run(self.worker)),
            watch,
            ended: None,
        });
    }
}

impl RunningAttempts<'_> {
    /// When the next one is due from now on.
    const fn follow(&mut self, step: Step) {
        if let Step::GoOn(due) | Step::Hedge(_, due) = step {
            self.due = due;
        }
    }

    /// The end of the first one decides.
    fn settle(self) -> RaceResult {
        RaceResult::First(self.first.unwrap_or(UpstreamExchangeEnd::ClientGone))
    }
}

/// Waits until `something` says so.
async fn until(mut something: impl FnMut(&mut Context<'_>) -> bool) {
    poll_fn(|cx| match something(cx) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl HedgedAttempt<'_> {
    /// Goes on with it. Whether it is over, or its server was taken out.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if self.ended.is_none()
            && let Poll::Ready(ended) = self.run.as_mut().poll(cx)
        {
            self.ended = Some(ended);
        }
        self.ended.is_some() || self.watch.get().poll_event(cx)
    }
}

impl HedgedRequest {
    /// A connection, the request, the answer's head.
    async fn run(self, worker: &Rc<Worker>) -> HedgedResult {
        let (address, generation) = self.at.ok_or(Outcome::Unreachable)?;
        let at = (&address, generation);
        let rest = self.total.since(worker.clock.now());
        let connect = (self.connect, rest);
        let server = (&self.service, self.server);
        let mut line = UpstreamClient::open(worker, server, at, Reuse::Once, connect).await?;
        let counters = self.service.counters.server(self.server);
        if line.is_reused() {
            counters.reused.add_from_owner(1);
        }
        // Like that of a first attempt, its time does not include what connecting took.
        let written = worker.clock.now();
        line.until(earlier(written + self.attempt, self.total));
        let sent = Some(&counters.bytes_sent);
        match line.ask(&self.bytes, self.method, sent).await {
            Ok(_) => Ok((line, written)),
            Err(outcome) => {
                line.end(worker, false);
                Err(outcome)
            }
        }
    }
}
