//! Why an exchange failed: the step, the kind of failure, and what it says about the server.

use std::fmt;
use std::io;
use std::time::Duration;

use evenkeel_core::Outcome;
use evenkeel_core::blame::{AttemptPhase, EndContext, EndEvent, Peer, Sent, TimeLimit, judge};
use evenkeel_http1::{BodyError, HeadError};

use crate::{event_of, stream_event};

/// A step of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientStep {
    /// Making a request out of what was given.
    Encode,
    /// Establishing the connection.
    Connect,
    /// Writing the request.
    Write,
    /// Reading the response's head.
    Head,
    /// Reading the response's body.
    Body,
}

/// Why there is no response, or not all of it.
#[derive(Debug)]
pub struct ClientError {
    /// The step that failed.
    pub step: ClientStep,
    /// How it failed.
    pub failure: ClientFailure,
}

/// How a step failed.
#[derive(Debug)]
pub enum ClientFailure {
    /// The operating system says so.
    Io(io::Error),
    /// It was not over in this time.
    TimedOut(Duration),
    /// The server closed the connection too early.
    Closed,
    /// Not a valid response; the violated rule.
    Malformed(&'static str),
    /// The body has more bytes than this.
    TooLarge(usize),
    /// The target or a field cannot be sent as it is.
    InvalidRequest,
}

impl ClientError {
    /// The outcome of an attempt that ended like this; blame is decided by [`judge`], as for requests.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        judge(self.event(), self.facts()).outcome
    }

    fn event(&self) -> EndEvent {
        match &self.failure {
            ClientFailure::Io(error) if self.step == ClientStep::Connect => event_of(error),
            ClientFailure::Io(error) => stream_event(error),
            ClientFailure::TimedOut(_) => EndEvent::Late(TimeLimit::Attempt),
            ClientFailure::Closed => EndEvent::Closed(Peer::Server),
            ClientFailure::Malformed(_) | ClientFailure::TooLarge(_) => {
                EndEvent::Malformed(Peer::Server)
            }
            // Nothing was asked, which says nothing of the server.
            ClientFailure::InvalidRequest => EndEvent::Exhausted,
        }
    }

    const fn facts(&self) -> EndContext {
        let (phase, sent) = match self.step {
            ClientStep::Encode | ClientStep::Connect => return EndContext::CONNECTING,
            ClientStep::Write => (AttemptPhase::AwaitingHead, Sent::Part),
            ClientStep::Head => (AttemptPhase::AwaitingHead, Sent::Whole),
            ClientStep::Body => (AttemptPhase::Holding, Sent::Whole),
        };
        EndContext {
            phase,
            sent,
            ..EndContext::CONNECTING
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            ClientStep::Encode => "cannot make the request",
            ClientStep::Connect => "cannot connect",
            ClientStep::Write => "cannot send the request",
            ClientStep::Head => "no response",
            ClientStep::Body => "no whole response body",
        };
        write!(f, "{step}: {}", self.failure)
    }
}

impl fmt::Display for ClientFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TimedOut(deadline) => write!(f, "timed out after {deadline:?}"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Malformed(rule) => write!(f, "malformed ({rule})"),
            Self::TooLarge(most) => write!(f, "more than {most} bytes"),
            Self::InvalidRequest => {
                f.write_str("the target or a field has a byte that it may not have")
            }
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            ClientFailure::Io(error) => Some(error),
            ClientFailure::TimedOut(_)
            | ClientFailure::Closed
            | ClientFailure::Malformed(_)
            | ClientFailure::TooLarge(_)
            | ClientFailure::InvalidRequest => None,
        }
    }
}

impl From<io::Error> for ClientFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<HeadError> for ClientFailure {
    fn from(error: HeadError) -> Self {
        Self::Malformed(error.rule())
    }
}

impl From<BodyError> for ClientFailure {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Early => Self::Closed,
            BodyError::ChunkSize
            | BodyError::ChunkExtension
            | BodyError::ChunkEnd
            | BodyError::Trailer => Self::Malformed(error.rule()),
        }
    }
}
