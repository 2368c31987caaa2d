//! Who is to blame for the end of an attempt, and what follows from it. A single function decides, so that requests,
//! hedged attempts, mirrored copies, background requests, tunnels and probes cannot disagree.
//!
//! The rule behind the table: a server is blamed only for what it did itself, and only if it had all the time it was
//! promised. Actions of the client, limits of the configuration (idle timeout, total timeout, the client's own
//! deadline) and shortages of evenkeel itself are never held against a server. A server that hangs is therefore
//! detected by attempts that had their full attempt timeout, and by probes.

use crate::{Blame, Outcome};

/// One of the two sides of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// How far the exchange with the server had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptPhase {
    /// The connection is being established.
    Connecting,
    /// The request is being written, or the response's head is waited for.
    AwaitingHead,
    /// The head is there, and nothing of the response has reached the client.
    Holding,
    /// The head was passed on to the client.
    Streaming,
    /// Bytes in both directions, after 101.
    Tunnel,
}

/// How much of the request was written to the server in this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// No byte.
    Nothing,
    /// Some of it.
    Part,
    /// All of it: head, what was sent again, and the body.
    Whole,
}

/// Which limit of time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeLimit {
    /// The time that the server was promised for this phase: `timeout.connect` or `timeout.attempt`, in full.
    Attempt,
    /// `timeout.total`, or the client's own deadline, before the server had the time that it was promised.
    Total,
    /// `timeout.idle`; the peer is the one that was to read or to write next.
    Idle(Peer),
}

/// What ended the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndEvent {
    /// The response has come to its proper end; in [`AttemptPhase::AwaitingHead`], its head has come.
    Answered(u16),
    /// Nothing listens at the server's address.
    Refused,
    /// The server refused the request's stream and says that it has processed no part of it: `REFUSED_STREAM`, or a GOAWAY
    /// whose last stream is an earlier one (RFC 9113, sections 8.7 and 6.8).
    StreamRefused,
    /// The network says that the server's address cannot be reached.
    Unreachable,
    /// This peer closed or reset its connection before that.
    Closed(Peer),
    /// This peer sent something that is not HTTP, or not a body.
    Malformed(Peer),
    /// A limit of time has passed.
    Late(TimeLimit),
    /// evenkeel's own process or machine lacked a descriptor, a local port or memory.
    Exhausted,
}

/// The circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndContext {
    /// How far it had come.
    pub phase: AttemptPhase,
    /// How much of the request was written.
    pub sent: Sent,
    /// Whether the connection had carried a request before this one.
    pub reused: bool,
    /// Whether the server lets the connection stay open, and nothing has come on it beyond the response.
    pub clean: bool,
}

impl EndContext {
    /// Before there is a connection to the server.
    pub const CONNECTING: Self = Self {
        phase: AttemptPhase::Connecting,
        sent: Sent::Nothing,
        reused: false,
        clean: false,
    };
}

/// The judgement on the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// The outcome, as metrics, logs and signals have it.
    pub outcome: Outcome,
    /// Who is to blame.
    pub blame: Blame,
    /// Whether another attempt can stand in for this one as far as its end goes: nothing has reached the client, and there is
    /// a client that waits. Method, body, limits and budget are for `tolerate` to decide.
    pub may_repeat: bool,
    /// Whether the server's connection may carry another request: both directions have come to their ends.
    pub may_keep: bool,
}

/// Judges how an attempt ended.
///
/// An idle timeout has the same outcome whichever side was to act; [`Judgement::blame`] says whether it was the client.
#[must_use]
pub const fn judge(event: EndEvent, facts: EndContext) -> Judgement {
    let outcome = outcome(event, facts);
    let blame = match event {
        EndEvent::Closed(Peer::Client)
        | EndEvent::Malformed(Peer::Client)
        | EndEvent::Late(TimeLimit::Idle(Peer::Client)) => Blame::Client,
        EndEvent::Late(TimeLimit::Total) => Blame::Nobody,
        EndEvent::Exhausted => Blame::Local,
        EndEvent::Answered(_)
        | EndEvent::Refused
        | EndEvent::StreamRefused
        | EndEvent::Unreachable
        | EndEvent::Closed(Peer::Server)
        | EndEvent::Malformed(Peer::Server)
        | EndEvent::Late(TimeLimit::Attempt | TimeLimit::Idle(Peer::Server)) => outcome.blame(),
    };
    let committed = matches!(facts.phase, AttemptPhase::Streaming | AttemptPhase::Tunnel);
    // Another server would need the same descriptor, port or memory.
    let is_over = matches!(
        event,
        EndEvent::Late(TimeLimit::Total) | EndEvent::Exhausted
    );
    Judgement {
        outcome,
        blame,
        may_repeat: !committed && !is_over && !matches!(blame, Blame::Client),
        may_keep: matches!(event, EndEvent::Answered(_))
            && matches!(facts.sent, Sent::Whole)
            && !matches!(facts.phase, AttemptPhase::Tunnel)
            && facts.clean,
    }
}

const fn outcome(event: EndEvent, facts: EndContext) -> Outcome {
    const SWITCHED: u16 = 101;
    match (event, facts.phase) {
        (EndEvent::Answered(status), _) => Outcome::Answered(status),
        (EndEvent::Refused, _) => Outcome::ConnectRefused,
        (EndEvent::Unreachable, _) => Outcome::Unreachable,
        (EndEvent::Exhausted, _) => Outcome::LocalError,
        (EndEvent::Late(TimeLimit::Idle(_)), AttemptPhase::Streaming | AttemptPhase::Tunnel) => {
            Outcome::IdleTimeout
        }
        (EndEvent::Closed(Peer::Client) | EndEvent::Malformed(Peer::Client), _)
        | (EndEvent::Late(TimeLimit::Total | TimeLimit::Idle(Peer::Client)), _) => {
            Outcome::Cancelled
        }
        (EndEvent::StreamRefused, AttemptPhase::Connecting | AttemptPhase::AwaitingHead) => {
            Outcome::StreamRefused
        }
        // Data in a tunnel has no end that could be missed.
        (
            EndEvent::Closed(Peer::Server)
            | EndEvent::Malformed(Peer::Server)
            | EndEvent::StreamRefused,
            AttemptPhase::Tunnel,
        ) => Outcome::Answered(SWITCHED),
        (EndEvent::Malformed(Peer::Server), _) => Outcome::BadResponse,
        // A server that has answered has processed the request, whatever it says of it.
        (
            EndEvent::Closed(Peer::Server) | EndEvent::StreamRefused,
            AttemptPhase::Holding | AttemptPhase::Streaming,
        ) => Outcome::Truncated,
        (EndEvent::Closed(Peer::Server), AttemptPhase::Connecting | AttemptPhase::AwaitingHead) => {
            match (facts.sent, facts.reused) {
                (Sent::Nothing, true) => Outcome::Stale,
                (Sent::Nothing, false) => Outcome::Reset { sent: false },
                (Sent::Part | Sent::Whole, _) => Outcome::Reset { sent: true },
            }
        }
        (
            EndEvent::Late(TimeLimit::Attempt | TimeLimit::Idle(Peer::Server)),
            AttemptPhase::Connecting,
        ) => Outcome::ConnectTimeout,
        (EndEvent::Late(TimeLimit::Attempt | TimeLimit::Idle(Peer::Server)), _) => {
            Outcome::AttemptTimeout
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: [Peer; 2] = [Peer::Client, Peer::Server];
    const PHASES: [AttemptPhase; 5] = [
        AttemptPhase::Connecting,
        AttemptPhase::AwaitingHead,
        AttemptPhase::Holding,
        AttemptPhase::Streaming,
        AttemptPhase::Tunnel,
    ];
    const SENT: [Sent; 3] = [Sent::Nothing, Sent::Part, Sent::Whole];

    fn events() -> Vec<EndEvent> {
        let mut events = vec![
            EndEvent::Answered(200),
            EndEvent::Answered(413),
            EndEvent::Answered(503),
            EndEvent::Late(TimeLimit::Attempt),
            EndEvent::Late(TimeLimit::Total),
            EndEvent::Refused,
            EndEvent::StreamRefused,
            EndEvent::Unreachable,
            EndEvent::Exhausted,
        ];
        for peer in PEERS {
            events.extend([
                EndEvent::Closed(peer),
                EndEvent::Malformed(peer),
                EndEvent::Late(TimeLimit::Idle(peer)),
            ]);
        }
        events
    }

    fn all() -> impl Iterator<Item = (EndEvent, EndContext)> {
        let facts = PHASES.into_iter().flat_map(|phase| {
            SENT.into_iter().flat_map(move |sent| {
                (0..4).map(move |bits| EndContext {
                    phase,
                    sent,
                    reused: bits & 1 == 0,
                    clean: bits & 2 == 0,
                })
            })
        });
        facts.flat_map(|facts| events().into_iter().map(move |event| (event, facts)))
    }

    const fn at(phase: AttemptPhase, sent: Sent) -> EndContext {
        EndContext {
            phase,
            sent,
            reused: false,
            clean: true,
        }
    }

    const fn part(phase: AttemptPhase) -> EndContext {
        at(phase, Sent::Part)
    }

    const fn whole(phase: AttemptPhase) -> EndContext {
        at(phase, Sent::Whole)
    }

    const fn nothing(phase: AttemptPhase) -> EndContext {
        at(phase, Sent::Nothing)
    }

    const KEPT: EndContext = EndContext {
        reused: true,
        ..nothing(AttemptPhase::AwaitingHead)
    };

    type Row = (
        &'static str,
        EndEvent,
        EndContext,
        Outcome,
        Blame,
        bool,
        bool,
    );

    /// The event and its context; then outcome, blame, whether it may be repeated, whether the connection is reusable.
    #[rustfmt::skip] // A table is read row by row.
    const TABLE: [Row; 35] = [
        ("answered", EndEvent::Answered(200), whole(AttemptPhase::Streaming), Outcome::Answered(200), Blame::Nobody, false, true),
        ("answered before the request was written", EndEvent::Answered(200), part(AttemptPhase::Streaming), Outcome::Answered(200), Blame::Nobody, false, false),
        ("too large, told early", EndEvent::Answered(413), part(AttemptPhase::AwaitingHead), Outcome::Answered(413), Blame::Nobody, true, false),
        ("an error to be put aside", EndEvent::Answered(503), whole(AttemptPhase::AwaitingHead), Outcome::Answered(503), Blame::Server, true, true),
        ("put aside while its body was written", EndEvent::Answered(503), part(AttemptPhase::AwaitingHead), Outcome::Answered(503), Blame::Server, true, false),
        ("refused by a closed kept connection", EndEvent::Closed(Peer::Server), KEPT, Outcome::Stale, Blame::Nobody, true, false),
        ("closed before anything", EndEvent::Closed(Peer::Server), nothing(AttemptPhase::AwaitingHead), Outcome::Reset { sent: false }, Blame::Server, true, false),
        ("closed while written", EndEvent::Closed(Peer::Server), part(AttemptPhase::AwaitingHead), Outcome::Reset { sent: true }, Blame::Server, true, false),
        ("closed without an answer", EndEvent::Closed(Peer::Server), whole(AttemptPhase::AwaitingHead), Outcome::Reset { sent: true }, Blame::Server, true, false),
        ("broken off while held back", EndEvent::Closed(Peer::Server), whole(AttemptPhase::Holding), Outcome::Truncated, Blame::Server, true, false),
        ("broken off", EndEvent::Closed(Peer::Server), whole(AttemptPhase::Streaming), Outcome::Truncated, Blame::Server, false, false),
        ("no HTTP", EndEvent::Malformed(Peer::Server), whole(AttemptPhase::AwaitingHead), Outcome::BadResponse, Blame::Server, true, false),
        ("a bad chunk before the commit", EndEvent::Malformed(Peer::Server), whole(AttemptPhase::Holding), Outcome::BadResponse, Blame::Server, true, false),
        ("a bad chunk after it", EndEvent::Malformed(Peer::Server), whole(AttemptPhase::Streaming), Outcome::BadResponse, Blame::Server, false, false),
        ("nobody listens", EndEvent::Refused, EndContext::CONNECTING, Outcome::ConnectRefused, Blame::Server, true, false),
        ("a refused stream", EndEvent::StreamRefused, part(AttemptPhase::AwaitingHead), Outcome::StreamRefused, Blame::Nobody, true, false),
        ("a stream refused after the whole request", EndEvent::StreamRefused, whole(AttemptPhase::AwaitingHead), Outcome::StreamRefused, Blame::Nobody, true, false),
        ("a stream refused after its head, held back", EndEvent::StreamRefused, whole(AttemptPhase::Holding), Outcome::Truncated, Blame::Server, true, false),
        ("a stream refused after its head", EndEvent::StreamRefused, whole(AttemptPhase::Streaming), Outcome::Truncated, Blame::Server, false, false),
        ("a tunnel whose stream was refused", EndEvent::StreamRefused, whole(AttemptPhase::Tunnel), Outcome::Answered(101), Blame::Nobody, false, false),
        ("no way there", EndEvent::Unreachable, EndContext::CONNECTING, Outcome::Unreachable, Blame::Path, true, false),
        ("no descriptor left", EndEvent::Exhausted, nothing(AttemptPhase::Connecting), Outcome::LocalError, Blame::Local, false, false),
        ("no connection in time", EndEvent::Late(TimeLimit::Attempt), nothing(AttemptPhase::Connecting), Outcome::ConnectTimeout, Blame::Path, true, false),
        ("no connection in what was left", EndEvent::Late(TimeLimit::Total), nothing(AttemptPhase::Connecting), Outcome::Cancelled, Blame::Nobody, false, false),
        ("no head in time", EndEvent::Late(TimeLimit::Attempt), whole(AttemptPhase::AwaitingHead), Outcome::AttemptTimeout, Blame::Server, true, false),
        ("no head in what was left", EndEvent::Late(TimeLimit::Total), whole(AttemptPhase::AwaitingHead), Outcome::Cancelled, Blame::Nobody, false, false),
        ("the server does not read", EndEvent::Late(TimeLimit::Idle(Peer::Server)), part(AttemptPhase::AwaitingHead), Outcome::AttemptTimeout, Blame::Server, true, false),
        ("the client does not send", EndEvent::Late(TimeLimit::Idle(Peer::Client)), part(AttemptPhase::AwaitingHead), Outcome::Cancelled, Blame::Client, false, false),
        ("silence between events", EndEvent::Late(TimeLimit::Idle(Peer::Server)), whole(AttemptPhase::Streaming), Outcome::IdleTimeout, Blame::Nobody, false, false),
        ("the client does not read", EndEvent::Late(TimeLimit::Idle(Peer::Client)), whole(AttemptPhase::Streaming), Outcome::IdleTimeout, Blame::Client, false, false),
        ("the client went away", EndEvent::Closed(Peer::Client), whole(AttemptPhase::AwaitingHead), Outcome::Cancelled, Blame::Client, false, false),
        ("the client went away later", EndEvent::Closed(Peer::Client), whole(AttemptPhase::Streaming), Outcome::Cancelled, Blame::Client, false, false),
        ("the client's body is none", EndEvent::Malformed(Peer::Client), part(AttemptPhase::AwaitingHead), Outcome::Cancelled, Blame::Client, false, false),
        ("a silent tunnel", EndEvent::Late(TimeLimit::Idle(Peer::Server)), whole(AttemptPhase::Tunnel), Outcome::IdleTimeout, Blame::Nobody, false, false),
        ("a tunnel that the server reset", EndEvent::Closed(Peer::Server), whole(AttemptPhase::Tunnel), Outcome::Answered(101), Blame::Nobody, false, false),
    ];

    #[test]
    fn each_end_of_an_attempt_has_the_blame_of_the_table() {
        for (name, event, facts, outcome, blame, may_repeat, may_keep) in TABLE {
            let expected = Judgement {
                outcome,
                blame,
                may_repeat,
                may_keep,
            };
            assert_eq!(judge(event, facts), expected, "{name}");
        }
    }

    #[test]
    fn an_outcome_counts_against_the_server_exactly_when_it_or_its_path_is_blamed() {
        for (event, facts) in all() {
            let judged = judge(event, facts);
            let blamed = matches!(judged.blame, Blame::Server | Blame::Path);
            assert_eq!(judged.outcome.is_failure(), blamed, "{event:?} {facts:?}");
        }
    }

    #[test]
    fn the_client_and_our_own_limits_are_never_held_against_a_server() {
        for (event, facts) in all() {
            let of_client = matches!(
                event,
                EndEvent::Closed(Peer::Client)
                    | EndEvent::Malformed(Peer::Client)
                    | EndEvent::Late(TimeLimit::Total | TimeLimit::Idle(Peer::Client))
                    | EndEvent::Exhausted
            );
            let judged = judge(event, facts);
            assert!(
                !of_client || !judged.outcome.is_failure(),
                "{event:?} {facts:?}"
            );
        }
    }

    #[test]
    fn nothing_is_repeated_after_the_commit_and_nothing_is_kept_half_way() {
        for (event, facts) in all() {
            let judged = judge(event, facts);
            let committed = matches!(facts.phase, AttemptPhase::Streaming | AttemptPhase::Tunnel);
            assert!(!(committed && judged.may_repeat), "{event:?} {facts:?}");
            let whole = facts.sent == Sent::Whole && facts.clean;
            let answered = matches!(event, EndEvent::Answered(_));
            assert!(
                !judged.may_keep || (whole && answered),
                "{event:?} {facts:?}"
            );
        }
    }
}
