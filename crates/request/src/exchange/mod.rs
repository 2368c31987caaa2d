//! The control flow of one request: everything that is decided about it, without I/O.
//!
//! Whoever carries it out asks [`Exchange::next`] with what has happened, does the [`Step`] that it gets, and reports again. The exchange owns
//! what the request holds of its service: its in-flight counts, its place in the queue, its room among held requests. All of it is given
//! back when the exchange ends or is dropped. Until [`Step::PassOn`] nothing has reached the client, and every attempt can be taken back.
//!
//! The stages are `impl Exchange` blocks, each in a file of its own, above what they share in `state`. None calls another: each returns
//! which is next, and [`Exchange::next`] follows that until there is a step.
//!
//! ```text
//! Arrived ─► admission ─► select ─► Attempt ─► decide ─► PassOn ─► Done
//!                │           │ ▲        │         │
//!                │       queue, hold    hedge     ├─► back-off ─► select
//!                └───────────┴────────────────────┴─► no response: Reply, or the fallback service ─► select
//! ```

mod host;
mod attempts;
mod step;
mod next;
mod fallback;
mod active;
mod phase;
mod state;
mod observe;
mod arrive;
mod server;
mod select;
mod queued;
mod held;
mod hedged;
mod ended;
mod no_response;

use evenkeel_core::{Instant, Outcome};

pub use arrive::Arrival;
pub use attempts::{AttemptRecord, Attempts, REMEMBERED};
pub use fallback::FallbackState;
pub use host::{
    AttemptReport, ClientDeadline, Count, FallbackResult, HedgeResult, Host, Revalidate, Services,
};
pub use state::Exchange;
pub use step::{AttemptEnd, Event, FirstEnd, HedgeEnd, NoResponse, Reply, ResponseEnd, Step};

use crate::hold::GaveUp;
use next::Next;
use phase::Phase;

impl<'a> Exchange<'a> {
    /// What comes next, after this has happened at `now`.
    ///
    /// Events that do not fit what the exchange waits for are ignored: the step is the one that it had asked for.
    pub fn next(&mut self, event: Event, now: Instant, host: &mut impl Host<'a>) -> Step {
        self.latest = self.latest.max(now);
        let mut next = if self.expects(event) {
            self.happened(event, now, host)
        } else {
            self.woken(now, host)
        };
        // It ends: a request is sent back from hold without having waited once only, and falls back to another service once.
        loop {
            next = match next {
                Next::Step(step) => return step,
                Next::AskService => self.ask_service(),
                Next::Select => self.select(now, host),
                Next::EnterQueue => self.enter_queue(now, host),
                Next::Hold { cause, granted } => self.hold(cause, granted, now, host),
                Next::NoResponse(why) => self.no_response(why, now, host),
                Next::Reply(reply) => self.over(Step::Reply(reply)),
                Next::Abort => self.over(Step::Abort),
            }
        }
    }

    /// The stage that the event is for.
    fn happened(&mut self, event: Event, now: Instant, host: &mut impl Host<'a>) -> Next {
        match event {
            Event::Ended(end) => {
                self.settle(Outcome::Cancelled, now, host);
                self.attempt_ended(end, now, host)
            }
            Event::Passed(end) => Next::Step(self.response_ended(end, now, host)),
            Event::Woken => self.woken(now, host),
            Event::ClientGone => self.client_gone(now, host),
            Event::Aborted(cause) => {
                self.settle(Outcome::Cancelled, now, host);
                self.attempt_aborted(cause, now, host)
            }
            Event::Connected => Next::Step(self.connected(host)),
            Event::HedgeDue => Next::Step(self.hedge_due(now, host)),
            Event::FirstEnded(end) => Next::Step(self.first_ended(end, now, host)),
            Event::HedgeEnded(end) => Next::Step(self.hedge_ended(end, now, host)),
            Event::ServerOut => Next::Step(self.server_out(now, host)),
        }
    }

    /// Whether the event fits what the exchange waits for.
    const fn expects(&self, event: Event) -> bool {
        match event {
            Event::Woken => true,
            Event::ClientGone => !matches!(self.phase, Phase::Passing | Phase::Done),
            Event::Passed(_) => matches!(self.phase, Phase::Passing),
            Event::Connected
            | Event::Ended(_)
            | Event::Aborted(_)
            | Event::HedgeDue
            | Event::FirstEnded(_)
            | Event::HedgeEnded(_)
            | Event::ServerOut => matches!(self.phase, Phase::Attempting),
        }
    }

    /// It has arrived, or what it waited for has come, or its time is over.
    fn woken(&mut self, now: Instant, host: &mut impl Host<'a>) -> Next {
        match &self.phase {
            Phase::New => self.arrived(now, host),
            Phase::Delayed(until) | Phase::BackingOff(until) if now < *until => {
                Next::Step(Step::Wait(*until))
            }
            Phase::Delayed(_) => self.delay_over(now, host),
            Phase::Queued(_) => self.look_from_queue(now, host),
            Phase::Held(_) => self.look_from_hold(now, host),
            Phase::BackingOff(_) => Next::Select,
            Phase::Attempting => Next::Step(self.go_on()),
            Phase::Passing => Next::Step(Step::PassOn),
            Phase::Done => Next::Step(Step::Done),
        }
    }

    /// Nobody is left to be answered.
    fn client_gone(&mut self, now: Instant, host: &impl Host<'a>) -> Next {
        self.is_client_gone = true;
        if matches!(self.phase, Phase::Attempting) {
            if let Some(since) = self.queued_since {
                self.service.queue.gave_up(self.class, now.since(since));
            }
            self.settle(Outcome::Cancelled, now, host);
            return Next::Step(Step::Settle);
        }
        if let Phase::Held(_) = self.phase {
            self.held_in_vain(GaveUp::ClientGone);
        }
        if let Phase::Queued(waiting) = &mut self.phase {
            waiting.saw(now);
        }
        Next::Abort
    }

    /// It is over with this step.
    fn over(&mut self, step: Step) -> Next {
        self.end();
        Next::Step(step)
    }
}
