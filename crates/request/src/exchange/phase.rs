//! What an exchange waits for, with what it holds meanwhile.

use std::task::Waker;

use evenkeel_core::Instant;

use crate::Cause;
use crate::hold::Wait;
use crate::service::holding::{Held, Holding};
use crate::service::queue::Waiting;

/// What the exchange waits for.
#[derive(Debug)]
pub(super) enum Phase<'a> {
    /// To be asked for the first time.
    New,
    /// For the time of an injected delay.
    Delayed(Instant),
    /// For its turn in the queue.
    Queued(Box<Waiting<'a>>),
    /// For a server to come back.
    Held(Box<HeldRequest<'a>>),
    /// For the end of an attempt.
    Attempting,
    /// For the time of the next attempt.
    BackingOff(Instant),
    /// For the end of a response that is passed on.
    Passing,
    /// For nothing.
    Done,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct HeldRequest<'a> {
    pub(super) holding: &'a Holding,
    /// Its room; none until it has to wait.
    pub(super) room: Option<Held<'a>>,
    pub(super) wait: Wait,
    /// What the client is told if it waits in vain.
    pub(super) cause: Cause,
    /// Nothing was missing but a server: the next attempt was granted.
    pub(super) granted: bool,
    /// It is known that it is not what kills the servers.
    pub(super) is_cleared: bool,
    /// The news that it has seen.
    pub(super) news: u64,
}

impl HeldRequest<'_> {
    /// Whether there are news; else the waker is woken when there are.
    pub(super) fn poll_wake(&self, waker: &Waker) -> bool {
        if let Some(room) = &self.room {
            room.register(waker);
        }
        self.holding.news() != self.news
    }
}
