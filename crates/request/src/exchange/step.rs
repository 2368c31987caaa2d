//! What happens to a request, and what is to be done next.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome};

use crate::Cause;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// The request has arrived; or the time that [`Step::Wait`] named has come, or its waker was woken.
    Woken,
    /// The client has gone.
    ClientGone,
    /// The attempt has a connection and begins to send the request. Reported only if [`super::Exchange::hedges`].
    Connected,
    /// The attempt has ended, or the head of its response has come.
    Ended(AttemptEnd),
    /// The client has ended the attempt by what it sent, or did not send: this is its answer.
    Aborted(Cause),
    /// The response was passed on, or has broken off.
    Passed(ResponseEnd),
    /// The time of the next hedged attempt has come.
    HedgeDue,
    /// The first of several attempts has ended.
    FirstEnded(FirstEnd),
    /// A hedged attempt has ended.
    HedgeEnded(HedgeEnd),
    /// The server of the attempt was taken out as dead or hung.
    ServerOut,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttemptEnd {
    /// How.
    pub outcome: Outcome,
    /// From the request fully written to the response's head, or to the failure.
    pub latency: Duration,
    /// For how long the server asks to be left alone, if it does.
    pub retry_after: Option<Duration>,
    /// How busy the server says it is, if it does: 0 is idle, 1 is all that it can do.
    pub load: Option<f64>,
}

impl AttemptEnd {
    /// One without a response.
    #[must_use]
    pub const fn failed(outcome: Outcome, latency: Duration) -> Self {
        Self {
            outcome,
            latency,
            retry_after: None,
            load: None,
        }
    }
}

/// How the first of several attempts ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstEnd {
    /// The head of its response has come.
    Response(u16),
    /// It failed.
    Failed(Outcome),
    /// By the client's doing: nobody is waited for.
    ByClient,
}

/// How a hedged attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgeEnd {
    /// Its server.
    pub server: u32,
    /// How.
    pub outcome: Outcome,
}

/// How a response ended that was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseEnd {
    /// How the attempt is counted.
    pub outcome: Outcome,
    /// It broke off, and the client may have seen it.
    pub broke_off: Option<Outcome>,
    /// It was the response of a tunnel.
    pub is_tunnel: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make an attempt on this server: a connection, the request, the response's head. A response that there is of an earlier attempt is
    /// put aside.
    Attempt(u32),
    /// Wait until then, or until woken ([`super::Exchange::poll_wake`]), or until the client is gone. A response is put aside.
    Wait(Instant),
    /// Pass the response on.
    PassOn,
    /// Answer the client. A response is put aside.
    Reply(Reply),
    /// Go on with the attempts under way; at that moment the next hedged one is due.
    GoOn(Option<Instant>),
    /// Begin a hedged attempt on this server; the next one is due at that moment.
    Hedge(u32, Option<Instant>),
    /// Break off all attempts but the hedged one on this server, whose response counts; then report that it has ended.
    Switch(u32),
    /// Break off all attempts but the first one, whose end counts; then report that it has ended.
    Settle,
    /// Give the attempt up, whose server was taken out; then report that it has ended as [`Outcome::Rescued`].
    GiveUp,
    /// Nobody is to be answered; the connection closes.
    Abort,
    /// Nothing.
    Done,
}

/// What the client gets from evenkeel itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// This cause.
    Cause(Cause),
    /// This cause, and the connection closes.
    Final(Cause),
    /// The response of the configuration.
    Configured(NoResponse),
    /// The cached response at hand, without a server having been asked; whether it is to be fetched anew.
    Fresh(bool),
    /// The cached response at hand, in the place of one that is missing.
    Stale(NoResponse),
}

/// Why there is no response to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoResponse {
    /// This.
    Cause(Cause),
    /// There is one, and its status counts as none.
    Status(u16),
}

impl NoResponse {
    pub(super) const fn is_quarantine(self) -> bool {
        matches!(self, Self::Cause(Cause::Quarantined { .. }))
    }

    /// The cause, if it is not a server's status.
    #[must_use]
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::Cause(cause) => Some(cause),
            Self::Status(_) => None,
        }
    }
}
