//! An attempt's way in: what may refuse it, and what may make it wait, in the one order that works.
//!
//! From the outside: deadline, throttle, picker, breaker of the picked server, rate, limit with its queue. The throttle stands first,
//! because it is about the service as a whole; the breaker behind the picker, because it is per server: a picker is asked again
//! where the breaker says no. The rate stands before the limit, since whoever waits for a token may hold no place; the limit stands
//! last, since a refused attempt may not take a place. A place is held for an attempt and not for a call: waiting
//! between attempts loads nobody.
//!
//! Whoever waits gives its breaker's pass back and asks again after the wait: the server may have died meanwhile, and a trial that
//! waits would keep others from trying.

#[cfg(feature = "async")]
use std::sync::Arc;

use evenkeel_core::Instant;

use super::attempt::Tried;
use super::course::{Begun, Course, Hold};
use super::guards::{Asked, Held, Passes};
use super::pace::{Paced, Token, Turn};
use super::room::{Entered, Waiting, Wish};
use super::{Attempt, Event, Pick, Stopped};
use crate::clock::Clock;

/// A picker is asked so often for a server whose breaker lets the attempt through.
const MOST_PICKS: u32 = 8;

/// An attempt on its way in. Dropped, all that it was granted is given back.
#[must_use = "dropped at once it is given back"]
pub(crate) struct Entry<'p> {
    server: Option<u32>,
    token: Option<Token>,
    held: Held<'p>,
}

impl Entry<'_> {
    /// It is going to wait.
    pub(crate) fn waits(&mut self) {
        self.held.passes = Passes::none();
    }
}

impl<'p, C: Clock> Course<'p, C> {
    /// Whether an attempt may have to wait on its way in.
    pub(crate) fn may_wait(&self) -> bool {
        self.live.guards.rate.is_some() || self.live.options.queue.is_some()
    }

    /// Begins an attempt where nothing can make it wait.
    pub(crate) fn enter_at_once(
        &mut self,
        pick: &mut impl Pick,
        now: Instant,
    ) -> Result<Begun<'p>, Stopped> {
        let mut entry = self.choose(pick, false, now)?;
        self.place_at_once(&mut entry, now)?;
        self.open(entry, false, now)
    }

    /// Begins a second attempt beside one that is late. It waits for nothing: then it would be too late itself.
    #[cfg(feature = "async")]
    fn start(&mut self, pick: &mut impl Pick, now: Instant) -> Result<Begun<'p>, Stopped> {
        let mut entry = self.choose(pick, true, now)?;
        if let Some(pace) = &self.live.guards.rate {
            entry.token = Some(pace.at_once(now).ok_or(Stopped::Rate)?);
        }
        self.place_at_once(&mut entry, now)?;
        self.open(entry, true, now)
    }

    /// Begins the attempt beside another one that is due now. Paid by the same budget as retries, of which it leaves half; the token is taken last, so that a hedge which cannot be made costs none.
    #[cfg(feature = "async")]
    pub(crate) fn start_hedge(&mut self, pick: &mut impl Pick, now: Instant) -> Option<Begun<'p>> {
        let budget = Arc::clone(&self.live.budget);
        let begun = if budget.affords_hedge(now) {
            self.start(pick, now)
        } else {
            Err(Stopped::Budget)
        };
        match begun {
            Ok(begun) if budget.try_spend_on_hedge(now) => {
                self.hedges += 1;
                Some(begun)
            }
            Ok(begun) => {
                self.cancelled(begun, now);
                self.tell(now, &Event::HedgeDenied(Stopped::Budget));
                None
            }
            Err(why) => {
                self.tell(now, &Event::HedgeDenied(why));
                None
            }
        }
    }

    /// The first part of the way, on which nothing waits: whether to ask at all, and whom.
    pub(crate) fn choose<P: Pick>(
        &mut self,
        pick: &mut P,
        hedge: bool,
        now: Instant,
    ) -> Result<Entry<'p>, Stopped> {
        if self.deadline.passed(now) {
            return Err(Stopped::Deadline);
        }
        let asked = match &self.live.guards.throttle {
            None => None,
            Some(throttle) => {
                let random = self.random.get_or_insert_with(|| self.shared.random());
                Some(Asked::ask(throttle, now, random)?)
            }
        };
        let (server, passes) = self.pick_open(pick, hedge, now)?;
        Ok(Entry {
            server,
            token: None,
            held: Held {
                asked,
                passes,
                place: None,
            },
        })
    }

    /// A server that lets the attempt through. One whose breaker is open is avoided, and another one picked if there is one.
    fn pick_open<P: Pick>(
        &self,
        pick: &mut P,
        hedge: bool,
        now: Instant,
    ) -> Result<(Option<u32>, Passes<'p>), Stopped> {
        if !P::KNOWS {
            return Ok((None, self.passes(None, now)?));
        }
        let mut avoid = self.tried;
        let mut refused = Tried::default();
        for _ in 0..MOST_PICKS {
            let server = pick.pick(avoid.as_slice(), now);
            let server = server.ok_or(Stopped::NoServer)?;
            // A hedge goes to a server that is not in use already; a retry takes one again if there is no other.
            if hedge && self.tried.as_slice().contains(&server) {
                return Err(Stopped::NoServer);
            }
            if refused.as_slice().contains(&server) {
                break;
            }
            if let Ok(passes) = self.passes(Some(server), now) {
                return Ok((Some(server), passes));
            }
            refused.add(server);
            avoid.add(server);
        }
        Err(Stopped::Open)
    }

    fn passes(&self, server: Option<u32>, now: Instant) -> Result<Passes<'p>, Stopped> {
        let breakers = self.live.guards.breakers.as_deref();
        Passes::get(self.shared.gate.as_deref(), breakers, server, now)
    }

    /// Takes a token of the rate, or a place in the line for one.
    pub(crate) fn pace(
        &self,
        entry: &mut Entry<'p>,
        now: Instant,
    ) -> Result<Option<Turn>, Stopped> {
        let Some(pace) = &self.live.guards.rate else {
            return Ok(None);
        };
        match pace.enter(now, self.deadline.end())? {
            Paced::Token(token) => {
                entry.token = Some(token);
                Ok(None)
            }
            Paced::Waits(turn) => Ok(Some(turn)),
        }
    }

    /// Takes a place of the limit, if there is one.
    fn place_at_once(&self, entry: &mut Entry<'p>, now: Instant) -> Result<(), Stopped> {
        let Some(room) = &self.live.guards.room else {
            return Ok(());
        };
        let place = room.at_once(&self.wish(), now, &self.shared.clock);
        entry.held.place = Some(place.ok_or(Stopped::Shed)?);
        Ok(())
    }

    /// The same, or one in the queue.
    pub(crate) fn find_place(
        &self,
        entry: &mut Entry<'p>,
        now: Instant,
    ) -> Result<Option<Waiting<'p>>, Stopped> {
        let refused = self.place_at_once(entry, now);
        let (Err(_), Some(room), Some(_)) =
            (refused, &self.live.guards.room, &self.live.options.queue)
        else {
            return refused.map(|()| None);
        };
        match room.enter(&self.wish(), now, &self.shared.clock) {
            Entered::Place(place) => {
                entry.held.place = Some(place);
                Ok(None)
            }
            Entered::Waits(waiting) => Ok(Some(waiting)),
            Entered::Refused(why) => Err(why),
        }
    }

    fn wish(&self) -> Wish<'_> {
        Wish {
            call: &self.call,
            options: &self.live.options,
            until: self.deadline.end(),
        }
    }

    /// It waited for its token since `since`, and asks its server's breaker again.
    pub(crate) fn paced(
        &mut self,
        entry: &mut Entry<'p>,
        token: Token,
        since: Instant,
        now: Instant,
    ) -> Result<(), Stopped> {
        entry.token = Some(token);
        let waited = now.since(since);
        let rare = self.report_mut().rare();
        rare.paced = rare.paced.saturating_add(waited);
        self.tell(now, &Event::Paced { waited });
        self.ask_again(entry, now)
    }

    /// It left the queue like this, in which it was since `since`, and asks its server's breaker again.
    pub(crate) fn queued(
        &mut self,
        entry: &mut Entry<'p>,
        left: Result<super::room::Place<'p>, Stopped>,
        since: Instant,
        now: Instant,
    ) -> Result<(), Stopped> {
        let waited = now.since(since);
        let rare = self.report_mut().rare();
        rare.queued = rare.queued.saturating_add(waited);
        let refused = left.as_ref().err().copied();
        self.tell(now, &Event::Queued { waited, refused });
        entry.held.place = Some(left?);
        self.ask_again(entry, now)
    }

    fn ask_again(&self, entry: &mut Entry<'p>, now: Instant) -> Result<(), Stopped> {
        entry.held.passes = self.passes(entry.server, now)?;
        Ok(())
    }

    /// The last part of the way: it begins, perhaps with a fault on purpose.
    pub(crate) fn open(
        &mut self,
        mut entry: Entry<'p>,
        hedge: bool,
        now: Instant,
    ) -> Result<Begun<'p>, Stopped> {
        if self.deadline.passed(now) {
            return Err(Stopped::Deadline);
        }
        if let Some(token) = entry.token.take() {
            token.spend();
        }
        let avoid = self.tried;
        if let Some(server) = entry.server {
            self.tried.add(server);
        }
        let timeout = self.live.options.attempt_timeout;
        let attempts = &mut self.report_mut().attempts;
        *attempts = attempts.saturating_add(1);
        let attempt = Attempt {
            number: *attempts,
            hedge,
            began: now,
            ends: timeout.map_or(self.deadline.end(), |it| self.deadline.attempt_end(now, it)),
            deadline: self.deadline,
            server: entry.server,
            avoid,
        };
        self.tell(now, &Event::Began(attempt));
        let hold = self.fault(attempt);
        Ok(Begun {
            attempt,
            held: entry.held,
            hold,
        })
    }

    fn fault(&self, attempt: Attempt) -> Option<Hold> {
        let fault = self.live.guards.inject.as_ref()?.decide();
        let (delay, abort) = (fault.delay, fault.abort.is_some());
        if delay.is_none() && !abort {
            return None;
        }
        let event = Event::Injected {
            attempt,
            delay,
            abort,
        };
        self.tell(attempt.began, &event);
        Some(Hold {
            until: attempt.began + delay.unwrap_or_default(),
            abort,
        })
    }
}
