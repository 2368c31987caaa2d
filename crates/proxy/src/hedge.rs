//! Hedging: a second attempt while the first one is late. The answer of whoever is first is passed on, the other attempt is
//! broken off.
//!
//! Only for requests that may be sent twice, once the whole of them has come and was sent. An attempt that fails while another
//! is under way decides nothing: it is counted, and the other one is waited for. The attempt that is left decides, as if it had
//! been alone.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_core::blame::Limit;
use evenkeel_core::metric::Counter;
use evenkeel_core::{Instant, Outcome, ServerId};
use evenkeel_http1::Method;
use evenkeel_request::Policies;
use evenkeel_tolerate::{HedgeDelay, Race, Turn};

use crate::drive::Journey;
use crate::flight::Flight;
use crate::idle_timeout::Reuse;
use crate::line::Line;
use crate::patience::{Patience, earlier};
use crate::results::Results;
use crate::roster::Roster;
use crate::talk::{Desk, Talk, TalkEnd};
use crate::worker::Worker;

/// What became of attempts that were made beside others, or were to be made; the place is what is counted with.
const RESULTS: [&str; 5] = ["won", "lost", "failed", "denied-budget", "no-server"];
const WON: usize = 0;
const LOST: usize = 1;
const FAILED: usize = 2;
const DENIED: usize = 3;
const NO_SERVER: usize = 4;

/// One worker's numbers of one service's hedges.
pub(crate) type HedgeCounters = [Counter; RESULTS.len()];

/// How an attempt with others beside it ended.
pub(crate) enum Raced<'r> {
    /// The first one is left, and has ended so.
    First(TalkEnd),
    /// Another one has answered.
    Won(Box<Won<'r>>),
}

/// An attempt that was quicker than the first one.
pub(crate) struct Won<'r> {
    pub(crate) server: ServerId,
    pub(crate) flight: Flight<'r>,
    pub(crate) begun: Instant,
    pub(crate) talk: Talk,
    /// How the first one had ended, and when; it was broken off if it had not.
    pub(crate) first: (Instant, Outcome),
}

/// An attempt beside the first one.
struct Rival<'r> {
    server: ServerId,
    begun: Instant,
    run: Pin<Box<dyn Future<Output = Ran<'r>> + 'r>>,
    ran: Option<Ran<'r>>,
}

/// What came of one.
struct Ran<'r> {
    flight: Flight<'r>,
    end: Result<(Line, Instant), Outcome>,
}

/// One that has a good answer.
struct Quicker<'r> {
    server: ServerId,
    begun: Instant,
    flight: Flight<'r>,
    line: Line,
    written: Instant,
}

/// What a rival needs of its journey.
#[derive(Clone, Copy)]
struct Ground<'r> {
    worker: &'r Rc<Worker>,
    policies: &'r Policies,
    roster: &'r Roster,
}

impl<'a> Journey<'a> {
    /// The race that the attempt which begins now is in, if others may be made beside it before `end`.
    pub(crate) fn hedges(&self, desk: &Desk<'_>, now: Instant, end: Instant) -> Option<Race> {
        self.policies.hedge.as_ref()?;
        if !self.may_repeat || desk.work.request.upgrade.is_some() {
            return None;
        }
        let mut hedging = self.worker.hedging.borrow_mut();
        let hedge = hedging.get_mut(self.policies.place as usize)?.as_mut()?;
        let left = hedge.options().limit.saturating_sub(self.exchange.hedges());
        let race = Race::new(now, hedge.after(now)?, left, end);
        race.due().map(|_| race)
    }

    /// Whether this worker's hedges have not used their share.
    fn may_hedge(&self) -> bool {
        let mut hedging = self.worker.hedging.borrow_mut();
        let hedge = hedging.get_mut(self.policies.place as usize);
        hedge
            .and_then(Option::as_mut)
            .is_some_and(HedgeDelay::may_hedge)
    }

    /// What an attempt took, for the quantile after which others are made beside it.
    pub(crate) fn note_for_hedging(&self, at: Instant, outcome: Outcome, took: Duration) {
        if self.policies.hedge.is_none()
            || !matches!(outcome, Outcome::Answered(..500) | Outcome::Cancelled)
        {
            return;
        }
        let mut hedging = self.worker.hedging.borrow_mut();
        if let Some(Some(hedge)) = hedging.get_mut(self.policies.place as usize) {
            hedge.note(at, took);
        }
    }

    /// The first attempt, whose request is being sent, and others when they are due.
    pub(crate) async fn race<'r>(
        &mut self,
        desk: &mut Desk<'_>,
        talk: &mut Talk,
        (server, roster): (ServerId, &'r Roster),
        (begun, patience): (Instant, Patience),
        mut race: Race,
    ) -> Raced<'r>
    where
        'a: 'r,
    {
        let ground = Ground {
            worker: self.worker,
            policies: self.policies,
            roster,
        };
        let clock = self.worker.clock;
        let client = desk.client.watched.get();
        let mut rivals: Vec<Rival<'r>> = Vec::new();
        let mut first: Option<(Instant, TalkEnd)> = None;
        let mut due = pin!(tokio::time::sleep_until(clock.to_tokio(begun)));
        loop {
            let is_due = race.due();
            if let Some(at) = is_due {
                due.as_mut().reset(clock.to_tokio(at));
            }
            let something = |cx: &mut Context<'_>| {
                let is_due = is_due.is_some() && due.as_mut().poll(cx).is_ready();
                rivals.iter_mut().any(|rival| rival.poll(cx)) || is_due || client.poll_event(cx)
            };
            if first.is_none() {
                let end = talk.run(desk, begun, patience, something).await;
                if !matches!(end, TalkEnd::Paused) {
                    let decides = self.is_good(desk, &end) || !is_over_for_server(&end);
                    if race.ended(decides) == Turn::Over {
                        self.break_off(rivals);
                        return Raced::First(end);
                    }
                    first = Some((clock.now(), end));
                }
            } else {
                until(something).await;
            }
            if client.is_gone() {
                self.break_off(rivals);
                // One that has ended already keeps its end.
                return Raced::First(first.map_or(TalkEnd::ClientGone, |(_, end)| end));
            }
            if client.take_server_out()
                && first.is_none()
                && self.may_rescue(desk.body, server, roster)
            {
                // If there is another one, that is waited for.
                let _: Turn = race.ended(false);
                first = Some((clock.now(), TalkEnd::Failed(Outcome::Rescued)));
            }
            if let Some(quicker) = self.judge(&mut rivals, &mut race) {
                self.break_off(rivals);
                return self.won(desk, quicker, first.as_ref());
            }
            match first.take() {
                Some((_, end)) if !race.is_on() => return Raced::First(end),
                waiting => first = waiting,
            }
            let now = clock.now();
            if !race.is_due(now) {
                continue;
            }
            // When hedges have used their share it is put off: what hangs is hedged as soon as there is one again.
            if !desk.body.is_through() || !self.may_hedge() {
                race.postpone(now);
                continue;
            }
            match self.begin(ground, (server, desk), &rivals, patience) {
                Some(rival) => {
                    rivals.push(rival);
                    race.joined(now);
                }
                None => race.no_more(),
            }
        }
    }

    /// Another attempt was quicker than the first one, which may have ended already.
    fn won<'r>(
        &self,
        desk: &mut Desk<'_>,
        quicker: Quicker<'r>,
        first: Option<&(Instant, TalkEnd)>,
    ) -> Raced<'r> {
        self.count_hedge(WON);
        let first = match first {
            Some((at, TalkEnd::Failed(outcome))) => (*at, *outcome),
            Some((at, _)) => (*at, Outcome::Answered(desk.work.response.status)),
            None => (self.worker.clock.now(), Outcome::Cancelled),
        };
        let (talk, head) = quicker.line.into_talk(quicker.written);
        desk.work.response = head;
        Raced::Won(Box::new(Won {
            server: quicker.server,
            flight: quicker.flight,
            begun: quicker.begun,
            talk,
            first,
        }))
    }

    /// Begins another attempt, if there is something to send and somebody to send it to.
    fn begin<'r>(
        &mut self,
        ground: Ground<'r>,
        (first, desk): (ServerId, &Desk<'_>),
        rivals: &[Rival<'r>],
        patience: Patience,
    ) -> Option<Rival<'r>>
    where
        'a: 'r,
    {
        if !desk.body.is_replayable() {
            return None;
        }
        let (worker, pool) = (self.worker, ground.roster.pool());
        let now = worker.clock.now();
        let mut busy = vec![first.index];
        busy.extend(rivals.iter().map(|rival| rival.server.index));
        let picker = &mut worker.pickers.borrow_mut()[self.service_id.0 as usize];
        let Some(pick) = self
            .exchange
            .other_server(picker, pool, now, self.key, &busy)
        else {
            self.count_hedge(NO_SERVER);
            return None;
        };
        let member = &pool.members()[pick.index as usize];
        let typical = picker.typical_latency();
        let at = (member, ground.roster.watch(pick.index));
        let Some(flight) = Flight::begin(at, &self.service.queue, typical, now) else {
            self.count_hedge(NO_SERVER);
            return None;
        };
        if !self.service.budget().try_spend_on_hedge(now) {
            self.count_hedge(DENIED);
            return None;
        }
        let server = ServerId {
            service: self.service_id,
            index: pick.index,
        };
        worker.server_counters(server).picks[pick.reason.place()].add_from_owner(1);
        let mut bytes = Vec::with_capacity(desk.work.to_server.len() + desk.work.replay.len());
        bytes.extend_from_slice(&desk.work.to_server);
        self.tell_deadline(&mut bytes);
        bytes.extend_from_slice(&desk.work.replay);
        let end = earlier(now + patience.attempt, patience.total);
        let run = ground.run((server, self.method), flight, bytes, end);
        Some(Rival {
            server,
            begun: now,
            run: Box::pin(run),
            ran: None,
        })
    }

    /// Takes those that are over out of `rivals`: one that has a good answer is the result, the others are counted.
    fn judge<'r>(&mut self, rivals: &mut Vec<Rival<'r>>, race: &mut Race) -> Option<Quicker<'r>> {
        let mut place = 0;
        while place < rivals.len() {
            let Some(ran) = rivals[place].ran.take() else {
                place += 1;
                continue;
            };
            let rival = rivals.swap_remove(place);
            let now = self.worker.clock.now();
            let outcome = match ran.end {
                Ok((line, written)) if !self.is_bad_status(line.head.status) => {
                    return Some(Quicker {
                        server: rival.server,
                        begun: rival.begun,
                        flight: ran.flight,
                        line,
                        written,
                    });
                }
                Ok((line, _)) => {
                    let status = line.head.status;
                    line.end(self.worker, rival.server, false);
                    Outcome::Answered(status)
                }
                Err(outcome) => outcome,
            };
            // It decides nothing: the first one is under way, or its end at hand.
            let _: Turn = race.ended(false);
            let took = now.since(rival.begun);
            self.count_hedge(FAILED);
            self.note_beside(now, rival.server, (ran.flight, outcome), took);
        }
        None
    }

    /// Counts an attempt whose end decides nothing.
    pub(crate) fn note_beside(
        &mut self,
        at: Instant,
        server: ServerId,
        (mut flight, outcome): (Flight<'_>, Outcome),
        took: Duration,
    ) {
        flight.came_to(at, outcome, took);
        self.end_attempt(at, server, outcome, took, None);
        self.exchange.beside(server.index, outcome, took);
    }

    /// Whether an answer with this status is not worth breaking off another attempt for.
    fn is_bad_status(&self, status: u16) -> bool {
        status >= 500 || self.policies.retry.on.statuses.contains(&status)
    }

    fn is_good(&self, desk: &Desk<'_>, end: &TalkEnd) -> bool {
        matches!(end, TalkEnd::Head) && !self.is_bad_status(desk.work.response.status)
    }

    /// Ends attempts that nobody waits for any more.
    fn break_off(&mut self, rivals: Vec<Rival<'_>>) {
        let now = self.worker.clock.now();
        for rival in rivals {
            self.count_hedge(LOST);
            let took = now.since(rival.begun);
            self.end_attempt(now, rival.server, Outcome::Cancelled, took, None);
            self.exchange
                .beside(rival.server.index, Outcome::Cancelled, took);
        }
    }

    fn count_hedge(&self, result: usize) {
        let counters = self.worker.service_counters(self.service_id.0 as usize);
        counters.hedges[result].add_from_owner(1);
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

/// Whether an end of the first attempt leaves it to others to answer.
const fn is_over_for_server(end: &TalkEnd) -> bool {
    matches!(end, TalkEnd::Head | TalkEnd::Failed(_))
}

impl Rival<'_> {
    /// Goes on with it. Whether it is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if self.ran.is_none()
            && let Poll::Ready(ran) = self.run.as_mut().poll(cx)
        {
            self.ran = Some(ran);
        }
        self.ran.is_some()
    }
}

impl<'r> Ground<'r> {
    async fn run(
        self,
        (server, method): (ServerId, Method),
        flight: Flight<'r>,
        bytes: Vec<u8>,
        end: (Instant, Limit),
    ) -> Ran<'r> {
        let end = self.attempt((server, method), &bytes, end).await;
        Ran { flight, end }
    }

    /// A connection, the request, the answer's head.
    async fn attempt(
        self,
        (server, method): (ServerId, Method),
        bytes: &[u8],
        end: (Instant, Limit),
    ) -> Result<(Line, Instant), Outcome> {
        let Some(address) = self.roster.address(server.index) else {
            return Err(Outcome::Unreachable);
        };
        let at = (address, self.roster.generation(server.index));
        let rest = end.0.since(self.worker.clock.now());
        let connect = (self.policies.timeout.connect, rest);
        let mut line = Line::open(self.worker, server, at, Reuse::Once, connect).await?;
        let counters = self.worker.server_counters(server);
        if line.is_reused() {
            counters.reused.add_from_owner(1);
        }
        line.until(end);
        let written = self.worker.clock.now();
        let sent = Some(&counters.bytes_sent);
        match line.ask(bytes, method, sent).await {
            Ok(_) => Ok((line, written)),
            Err(outcome) => {
                line.end(self.worker, server, false);
                Err(outcome)
            }
        }
    }
}

/// The metric of them.
pub(crate) const HEDGES: Results = Results {
    name: "evenkeel_hedges_total",
    about: "Attempts that were made beside late ones, or were to be made, by what became of them.",
    words: &RESULTS,
    counters: |counters| &counters.hedges,
    is_there: |policies| policies.hedge.is_some(),
};
