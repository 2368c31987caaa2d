//! Whose fault the end of an attempt is, and what may follow from it: one function, so that requests, hedged attempts,
//! copies, background requests, tunnels and probes cannot disagree.
//!
//! The rule behind the table: a server is blamed only for what it did itself, while it had all the time that it was
//! promised. What the client did, what a limit of the configuration did (idle timeout, total timeout, the client's own
//! deadline), and what evenkeel lacked itself is never held against it. A server that hangs is therefore found by
//! attempts that had their full attempt timeout, and by probes.

use crate::{Blame, Outcome};

/// One of the two sides of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Who asked.
    Client,
    /// Who is to answer.
    Server,
}

/// How far the exchange with the server had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
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
pub enum Limit {
    /// The time that the server was promised for this phase: `timeout.connect` or `timeout.attempt`, in full.
    Attempt,
    /// `timeout.total`, or the client's own deadline, before the server had the time that it was promised.
    Total,
    /// `timeout.idle`; the peer is the one that was to read or to write next.
    Idle(Peer),
}

/// What ended the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The response has come to its proper end; in [`Phase::AwaitingHead`], its head has come.
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
    Late(Limit),
    /// evenkeel's own process or machine lacked a descriptor, a local port or memory.
    Exhausted,
}

/// The circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    /// How far it had come.
    pub phase: Phase,
    /// How much of the request was written.
    pub sent: Sent,
    /// Whether the connection had carried a request before this one.
    pub reused: bool,
    /// Whether the server lets the connection stay open, and nothing has come on it beyond the response.
    pub clean: bool,
}

impl Facts {
    /// Before there is a connection to the server.
    pub const CONNECTING: Self = Self {
        phase: Phase::Connecting,
        sent: Sent::Nothing,
        reused: false,
        clean: false,
    };
}

/// What is to be made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// The outcome, as metrics, logs and signals have it.
    pub outcome: Outcome,
    /// Whose doing it was.
    pub blame: Blame,
    /// Whether another attempt can stand in for this one as far as its end goes: nothing has reached the client, and there is
    /// a client that waits. Method, body, limits and budget are for `tolerate` to decide.
    pub may_repeat: bool,
    /// Whether the server's connection may carry another request: both directions have come to their ends.
    pub may_keep: bool,
}

/// Judges how an attempt ended.
///
/// An idle timeout has the same outcome whoever was to act; [`Judgement::blame`] says whether it was the client.
#[must_use]
pub const fn judge(event: Event, facts: Facts) -> Judgement {
    let outcome = outcome(event, facts);
    let blame = match event {
        Event::Closed(Peer::Client)
        | Event::Malformed(Peer::Client)
        | Event::Late(Limit::Idle(Peer::Client)) => Blame::Client,
        Event::Late(Limit::Total) => Blame::Nobody,
        Event::Exhausted => Blame::Local,
        Event::Answered(_)
        | Event::Refused
        | Event::StreamRefused
        | Event::Unreachable
        | Event::Closed(Peer::Server)
        | Event::Malformed(Peer::Server)
        | Event::Late(Limit::Attempt | Limit::Idle(Peer::Server)) => outcome.blame(),
    };
    let committed = matches!(facts.phase, Phase::Streaming | Phase::Tunnel);
    // Another server would need the same descriptor, port or memory.
    let is_over = matches!(event, Event::Late(Limit::Total) | Event::Exhausted);
    Judgement {
        outcome,
        blame,
        may_repeat: !committed && !is_over && !matches!(blame, Blame::Client),
        may_keep: matches!(event, Event::Answered(_))
            && matches!(facts.sent, Sent::Whole)
            && !matches!(facts.phase, Phase::Tunnel)
            && facts.clean,
    }
}

const fn outcome(event: Event, facts: Facts) -> Outcome {
    const SWITCHED: u16 = 101;
    match (event, facts.phase) {
        (Event::Answered(status), _) => Outcome::Answered(status),
        (Event::Refused, _) => Outcome::ConnectRefused,
        (Event::Unreachable, _) => Outcome::Unreachable,
        (Event::Exhausted, _) => Outcome::LocalError,
        (Event::Late(Limit::Idle(_)), Phase::Streaming | Phase::Tunnel) => Outcome::IdleTimeout,
        (Event::Closed(Peer::Client) | Event::Malformed(Peer::Client), _)
        | (Event::Late(Limit::Total | Limit::Idle(Peer::Client)), _) => Outcome::Cancelled,
        (Event::StreamRefused, Phase::Connecting | Phase::AwaitingHead) => Outcome::StreamRefused,
        // What goes through a tunnel has no end that could be missed.
        (
            Event::Closed(Peer::Server) | Event::Malformed(Peer::Server) | Event::StreamRefused,
            Phase::Tunnel,
        ) => Outcome::Answered(SWITCHED),
        (Event::Malformed(Peer::Server), _) => Outcome::BadResponse,
        // A server that has answered has processed the request, whatever it says of it.
        (Event::Closed(Peer::Server) | Event::StreamRefused, Phase::Holding | Phase::Streaming) => {
            Outcome::Truncated
        }
        (Event::Closed(Peer::Server), Phase::Connecting | Phase::AwaitingHead) => {
            match (facts.sent, facts.reused) {
                (Sent::Nothing, true) => Outcome::Stale,
                (Sent::Nothing, false) => Outcome::Reset { sent: false },
                (Sent::Part | Sent::Whole, _) => Outcome::Reset { sent: true },
            }
        }
        (Event::Late(Limit::Attempt | Limit::Idle(Peer::Server)), Phase::Connecting) => {
            Outcome::ConnectTimeout
        }
        (Event::Late(Limit::Attempt | Limit::Idle(Peer::Server)), _) => Outcome::AttemptTimeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: [Peer; 2] = [Peer::Client, Peer::Server];
    const PHASES: [Phase; 5] = [
        Phase::Connecting,
        Phase::AwaitingHead,
        Phase::Holding,
        Phase::Streaming,
        Phase::Tunnel,
    ];
    const SENT: [Sent; 3] = [Sent::Nothing, Sent::Part, Sent::Whole];

    fn events() -> Vec<Event> {
        let mut events = vec![
            Event::Answered(200),
            Event::Answered(413),
            Event::Answered(503),
            Event::Late(Limit::Attempt),
            Event::Late(Limit::Total),
            Event::Refused,
            Event::StreamRefused,
            Event::Unreachable,
            Event::Exhausted,
        ];
        for peer in PEERS {
            events.extend([
                Event::Closed(peer),
                Event::Malformed(peer),
                Event::Late(Limit::Idle(peer)),
            ]);
        }
        events
    }

    fn all() -> impl Iterator<Item = (Event, Facts)> {
        let facts = PHASES.into_iter().flat_map(|phase| {
            SENT.into_iter().flat_map(move |sent| {
                (0..4).map(move |bits| Facts {
                    phase,
                    sent,
                    reused: bits & 1 == 0,
                    clean: bits & 2 == 0,
                })
            })
        });
        facts.flat_map(|facts| events().into_iter().map(move |event| (event, facts)))
    }

    const fn at(phase: Phase, sent: Sent) -> Facts {
        Facts {
            phase,
            sent,
            reused: false,
            clean: true,
        }
    }

    const fn part(phase: Phase) -> Facts {
        at(phase, Sent::Part)
    }

    const fn whole(phase: Phase) -> Facts {
        at(phase, Sent::Whole)
    }

    const fn nothing(phase: Phase) -> Facts {
        at(phase, Sent::Nothing)
    }

    const KEPT: Facts = Facts {
        reused: true,
        ..nothing(Phase::AwaitingHead)
    };

    type Row = (&'static str, Event, Facts, Outcome, Blame, bool, bool);

    /// What ended, under which circumstances; then outcome, blame, whether it may be repeated, whether the connection is kept.
    #[rustfmt::skip] // A table is read row by row.
    const TABLE: [Row; 35] = [
        ("answered", Event::Answered(200), whole(Phase::Streaming), Outcome::Answered(200), Blame::Nobody, false, true),
        ("answered before the request was written", Event::Answered(200), part(Phase::Streaming), Outcome::Answered(200), Blame::Nobody, false, false),
        ("too large, told early", Event::Answered(413), part(Phase::AwaitingHead), Outcome::Answered(413), Blame::Nobody, true, false),
        ("an error to be put aside", Event::Answered(503), whole(Phase::AwaitingHead), Outcome::Answered(503), Blame::Server, true, true),
        ("put aside while its body was written", Event::Answered(503), part(Phase::AwaitingHead), Outcome::Answered(503), Blame::Server, true, false),
        ("refused by a closed kept connection", Event::Closed(Peer::Server), KEPT, Outcome::Stale, Blame::Nobody, true, false),
        ("closed before anything", Event::Closed(Peer::Server), nothing(Phase::AwaitingHead), Outcome::Reset { sent: false }, Blame::Server, true, false),
        ("closed while written", Event::Closed(Peer::Server), part(Phase::AwaitingHead), Outcome::Reset { sent: true }, Blame::Server, true, false),
        ("closed without an answer", Event::Closed(Peer::Server), whole(Phase::AwaitingHead), Outcome::Reset { sent: true }, Blame::Server, true, false),
        ("broken off while held back", Event::Closed(Peer::Server), whole(Phase::Holding), Outcome::Truncated, Blame::Server, true, false),
        ("broken off", Event::Closed(Peer::Server), whole(Phase::Streaming), Outcome::Truncated, Blame::Server, false, false),
        ("no HTTP", Event::Malformed(Peer::Server), whole(Phase::AwaitingHead), Outcome::BadResponse, Blame::Server, true, false),
        ("a bad chunk before the commit", Event::Malformed(Peer::Server), whole(Phase::Holding), Outcome::BadResponse, Blame::Server, true, false),
        ("a bad chunk after it", Event::Malformed(Peer::Server), whole(Phase::Streaming), Outcome::BadResponse, Blame::Server, false, false),
        ("nobody listens", Event::Refused, Facts::CONNECTING, Outcome::ConnectRefused, Blame::Server, true, false),
        ("a refused stream", Event::StreamRefused, part(Phase::AwaitingHead), Outcome::StreamRefused, Blame::Nobody, true, false),
        ("a stream refused after the whole request", Event::StreamRefused, whole(Phase::AwaitingHead), Outcome::StreamRefused, Blame::Nobody, true, false),
        ("a stream refused after its head, held back", Event::StreamRefused, whole(Phase::Holding), Outcome::Truncated, Blame::Server, true, false),
        ("a stream refused after its head", Event::StreamRefused, whole(Phase::Streaming), Outcome::Truncated, Blame::Server, false, false),
        ("a tunnel whose stream was refused", Event::StreamRefused, whole(Phase::Tunnel), Outcome::Answered(101), Blame::Nobody, false, false),
        ("no way there", Event::Unreachable, Facts::CONNECTING, Outcome::Unreachable, Blame::Path, true, false),
        ("no descriptor left", Event::Exhausted, nothing(Phase::Connecting), Outcome::LocalError, Blame::Local, false, false),
        ("no connection in time", Event::Late(Limit::Attempt), nothing(Phase::Connecting), Outcome::ConnectTimeout, Blame::Path, true, false),
        ("no connection in what was left", Event::Late(Limit::Total), nothing(Phase::Connecting), Outcome::Cancelled, Blame::Nobody, false, false),
        ("no head in time", Event::Late(Limit::Attempt), whole(Phase::AwaitingHead), Outcome::AttemptTimeout, Blame::Server, true, false),
        ("no head in what was left", Event::Late(Limit::Total), whole(Phase::AwaitingHead), Outcome::Cancelled, Blame::Nobody, false, false),
        ("the server does not read", Event::Late(Limit::Idle(Peer::Server)), part(Phase::AwaitingHead), Outcome::AttemptTimeout, Blame::Server, true, false),
        ("the client does not send", Event::Late(Limit::Idle(Peer::Client)), part(Phase::AwaitingHead), Outcome::Cancelled, Blame::Client, false, false),
        ("silence between events", Event::Late(Limit::Idle(Peer::Server)), whole(Phase::Streaming), Outcome::IdleTimeout, Blame::Nobody, false, false),
        ("the client does not read", Event::Late(Limit::Idle(Peer::Client)), whole(Phase::Streaming), Outcome::IdleTimeout, Blame::Client, false, false),
        ("the client went away", Event::Closed(Peer::Client), whole(Phase::AwaitingHead), Outcome::Cancelled, Blame::Client, false, false),
        ("the client went away later", Event::Closed(Peer::Client), whole(Phase::Streaming), Outcome::Cancelled, Blame::Client, false, false),
        ("the client's body is none", Event::Malformed(Peer::Client), part(Phase::AwaitingHead), Outcome::Cancelled, Blame::Client, false, false),
        ("a silent tunnel", Event::Late(Limit::Idle(Peer::Server)), whole(Phase::Tunnel), Outcome::IdleTimeout, Blame::Nobody, false, false),
        ("a tunnel that the server reset", Event::Closed(Peer::Server), whole(Phase::Tunnel), Outcome::Answered(101), Blame::Nobody, false, false),
    ];

    #[test]
    fn the_table() {
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
                Event::Closed(Peer::Client)
                    | Event::Malformed(Peer::Client)
                    | Event::Late(Limit::Total | Limit::Idle(Peer::Client))
                    | Event::Exhausted
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
            let committed = matches!(facts.phase, Phase::Streaming | Phase::Tunnel);
            assert!(!(committed && judged.may_repeat), "{event:?} {facts:?}");
            let whole = facts.sent == Sent::Whole && facts.clean;
            let answered = matches!(event, Event::Answered(_));
            assert!(
                !judged.may_keep || (whole && answered),
                "{event:?} {facts:?}"
            );
        }
    }
}
