//! What may refuse an attempt or make it wait, besides a program's own gate: made from the options, kept when they are replaced.
//!
//! And what an attempt holds of it: all of it is given back when it is dropped, so that a call may be thrown away at any point.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, Random};

use super::breakers::ServerBreakers;
use super::gates::end_of;
use super::hooks::Pass;
use super::pace::Pace;
use super::room::{Place, Room};
use super::{Gate, RecoveryOptions, Stopped};
use crate::breaker::{Admitted, Breaker, Change};
use crate::{Finish, Inject, Throttle, Verdict};

/// The parts that calls share, each if its options are there.
#[derive(Debug)]
pub(crate) struct Guards {
    pub(crate) throttle: Option<Arc<Throttle>>,
    pub(crate) breakers: Option<Arc<ServerBreakers>>,
    pub(crate) rate: Option<Arc<Pace>>,
    pub(crate) room: Option<Arc<Room>>,
    pub(crate) inject: Option<Arc<Inject>>,
    aside: Aside,
}

/// Parts that the options of now do not have, and those of before had.
#[derive(Debug, Default)]
struct Aside {
    throttle: Option<Arc<Throttle>>,
    breakers: Option<Arc<ServerBreakers>>,
    rate: Option<Arc<Pace>>,
    room: Option<Arc<Room>>,
}

impl Guards {
    pub(crate) fn new(options: &RecoveryOptions, now: Instant, seed: u64) -> Self {
        let room = |limit| Arc::new(Room::new(limit, options, now, seed));
        let breakers = |breaker| Arc::new(ServerBreakers::new(breaker, seed));
        Self {
            throttle: options.throttle.map(|it| Arc::new(Throttle::new(it))),
            breakers: options.breaker.map(breakers),
            rate: options.rate.map(|it| Arc::new(Pace::new(it))),
            room: options.limit.as_ref().map(room),
            inject: options.inject.map(|it| Arc::new(Inject::new(it))),
            aside: Aside::default(),
        }
    }

    /// Goes on with what was there under other options: attempts in flight and those who wait, what breakers and throttle have seen, tokens
    /// that are there or owed. A part that is left out now is kept aside, and comes back as it was.
    pub(crate) fn keep(&mut self, before: &Self, is: &RecoveryOptions, now: Instant, seed: u64) {
        let aside = &before.aside;
        let (part, left_out) = goes_on(&mut self.throttle, &before.throttle, &aside.throttle);
        if let (Some(throttle), Some(options)) = (part, is.throttle)
            && *throttle.options() != options
        {
            self.throttle = Some(Arc::new(throttle.continued(options, now)));
        }
        self.aside.throttle = left_out;
        let (part, left_out) = goes_on(&mut self.breakers, &before.breakers, &aside.breakers);
        if let (Some(breakers), Some(options)) = (part, is.breaker) {
            breakers.reconfigure(options);
        }
        self.aside.breakers = left_out;
        let (part, left_out) = goes_on(&mut self.rate, &before.rate, &aside.rate);
        if let (Some(pace), Some(options)) = (part, is.rate) {
            pace.reconfigure(options, now);
        }
        self.aside.rate = left_out;
        let (part, left_out) = goes_on(&mut self.room, &before.room, &aside.room);
        if let (Some(room), Some(limit)) = (part, &is.limit) {
            room.reconfigure(limit, is, now, seed);
        }
        self.aside.room = left_out;
        if let (Some(inject), Some(was)) = (&self.inject, &before.inject)
            && inject.options() == was.options()
        {
            self.inject = Some(Arc::clone(was));
        }
    }
}

/// The part that was there before, also if it was kept aside, in the place of a new one: to be given its options, or to be kept aside.
fn goes_on<T>(
    new: &mut Option<Arc<T>>,
    before: &Option<Arc<T>>,
    aside: &Option<Arc<T>>,
) -> (Option<Arc<T>>, Option<Arc<T>>) {
    let existing = before.as_ref().or(aside.as_ref()).cloned();
    match new {
        None => (None, existing),
        Some(part) => {
            if let Some(existing) = &existing {
                *part = Arc::clone(existing);
            }
            (existing, None)
        }
    }
}

/// What an attempt holds. Dropped, all of it is given back. It is moved often, so it is small.
#[derive(Debug)]
#[must_use = "dropped at once it is given back"]
pub(crate) struct Held<'p> {
    pub(crate) asked: Option<Asked>,
    pub(crate) passes: Passes<'p>,
    pub(crate) place: Option<Place<'p>>,
}

impl Held<'_> {
    /// The attempt has ended. What changed with its breaker.
    pub(crate) fn finish(self, now: Instant, verdict: Verdict, took: Duration) -> Option<Change> {
        if let Some(place) = self.place {
            place.finish(now, teaches(verdict));
        }
        if let Some(asked) = self.asked {
            asked.finish(now, verdict);
        }
        self.passes.finish(now, verdict, took)
    }
}

/// A throttle has allowed it. Dropped it says nothing: the throttle counts what has ended.
#[derive(Debug)]
pub(crate) struct Asked(Arc<Throttle>);

impl Asked {
    pub(crate) fn ask(
        throttle: &Arc<Throttle>,
        now: Instant,
        random: &mut Random,
    ) -> Result<Self, Stopped> {
        if !throttle.allow(now, random) {
            return Err(Stopped::Throttled);
        }
        Ok(Self(Arc::clone(throttle)))
    }

    fn finish(self, now: Instant, verdict: Verdict) {
        let accepted = matches!(verdict, Verdict::Good | Verdict::Fatal);
        self.0.note(now, accepted);
    }
}

/// What lets an attempt through to its server: the program's gate, and the policy's breaker.
#[derive(Debug)]
pub(crate) struct Passes<'p> {
    gate: Pass<'p>,
    breaker: BreakerPass,
}

/// A pass of the policy's breaker, if it has one: what [`crate::Pass`] is, without the time.
#[derive(Debug)]
struct BreakerPass {
    open: Option<Arc<Breaker>>,
    ticket: u64,
}

impl BreakerPass {
    fn finish(mut self, now: Instant, verdict: Verdict, took: Duration) -> Option<Change> {
        let admitted = Admitted::from_bits(self.ticket);
        let breaker = self.open.take()?;
        breaker.ended(admitted, now, end_of(verdict), took)
    }
}

impl Drop for BreakerPass {
    fn drop(&mut self) {
        if let Some(breaker) = self.open.take() {
            breaker.gave_up(Admitted::from_bits(self.ticket));
        }
    }
}

impl<'p> Passes<'p> {
    pub(crate) fn get(
        gate: Option<&'p dyn Gate>,
        breakers: Option<&ServerBreakers>,
        server: Option<u32>,
        now: Instant,
    ) -> Result<Self, Stopped> {
        let gate = Pass::get(gate, server, now).map_err(|_until| Stopped::Open)?;
        let mut passes = Self {
            gate,
            ..Self::none()
        };
        if let Some(breakers) = breakers {
            let breaker = breakers.of(server, now);
            let admitted = breaker.admit(now).map_err(|_refused| Stopped::Open)?;
            passes.breaker.ticket = admitted.to_bits();
            passes.breaker.open = Some(breaker);
        }
        Ok(passes)
    }

    /// None: whoever waits keeps nobody else from trying.
    pub(crate) const fn none() -> Self {
        Self {
            gate: Pass::none(),
            breaker: BreakerPass {
                open: None,
                ticket: 0,
            },
        }
    }

    fn finish(self, now: Instant, verdict: Verdict, took: Duration) -> Option<Change> {
        self.gate.finish(now, verdict, took);
        self.breaker.finish(now, verdict, took)
    }
}

/// What the end of an attempt teaches an adaptive limit. An error that came quickly says nothing of how busy the server is.
const fn teaches(verdict: Verdict) -> Finish {
    match verdict {
        Verdict::Good => Finish::Good,
        Verdict::Throttled { .. } | Verdict::Timeout => Finish::Dropped,
        Verdict::Transient { .. }
        | Verdict::Fatal
        | Verdict::Unsent
        | Verdict::Lost
        | Verdict::Injected => Finish::Ignored,
    }
}
