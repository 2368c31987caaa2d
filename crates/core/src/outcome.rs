//! The outcome of one attempt: what happened, who is to blame, and whether a retry is safe.
//!
//! An outcome is created where the event happened and is never reinterpreted: detection, balancing, retries and metrics
//! all read the same value. The enum is exhaustive on purpose, so that a new outcome breaks every `match` that must
//! consider it.

/// The end of one attempt on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The server answered with this status, and (if it was passed on) the whole body followed.
    Answered(u16),
    /// Nothing listens at the address (ECONNREFUSED).
    ConnectRefused,
    /// The connection was not established within the connect timeout.
    ConnectTimeout,
    /// The network says that the address cannot be reached (EHOSTUNREACH, ENETUNREACH, …).
    Unreachable,
    /// A pooled connection turned out to be closed before anything was written on it.
    Stale,
    /// Closed or reset before a response head; `sent` says whether any byte of the request had been written.
    Reset {
        /// Whether any byte of the request had been written.
        sent: bool,
    },
    /// The server refused the request's stream before it processed any part of it: `REFUSED_STREAM`, or a stream above the
    /// last one that its GOAWAY names (RFC 9113, sections 8.7 and 6.8). The server has reached its limit of streams, or shuts
    /// down gracefully.
    StreamRefused,
    /// No response head within the attempt timeout.
    AttemptTimeout,
    /// The response was not unambiguous HTTP.
    BadResponse,
    /// The response ended early after its head had been passed on.
    Truncated,
    /// No byte passed for the idle timeout after the response's head had been passed on.
    IdleTimeout,
    /// The attempt was given up for the client's sake: it went away, its own deadline or the total timeout had passed. How long
    /// it had waited says how patient the client was, and nothing about the server.
    Cancelled,
    /// Broken off because another attempt of the same request, made beside it by hedging, was answered first. It would have
    /// taken longer than it had by then.
    Superseded,
    /// evenkeel's own process or machine had no descriptor, local port or memory left, to open a connection or to use an open
    /// one (EMFILE, ENFILE, EADDRNOTAVAIL, ENOBUFS, ENOMEM, …). It says nothing about the server.
    LocalError,
    /// Given up because its server was taken out of rotation as dead or hung; the request is tried elsewhere.
    Rescued,
}

/// Who is to blame for an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Nothing went wrong.
    Nobody,
    /// The client's.
    Client,
    /// The server's.
    Server,
    /// The network's between us and the server, or the server's machine's.
    Path,
    /// Ours: the limits of evenkeel's own process or machine.
    Local,
}

impl Outcome {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Answered(status) if status >= 500 => Blame::Server,
            Self::Answered(_)
            | Self::Stale
            | Self::StreamRefused
            | Self::IdleTimeout
            | Self::Superseded
            | Self::Rescued => Blame::Nobody,
            Self::ConnectRefused
            | Self::AttemptTimeout
            | Self::Reset { .. }
            | Self::BadResponse
            | Self::Truncated => Blame::Server,
            Self::ConnectTimeout | Self::Unreachable => Blame::Path,
            Self::Cancelled => Blame::Client,
            Self::LocalError => Blame::Local,
        }
    }

    /// Whether it counts against the server.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self.blame(), Blame::Server | Blame::Path)
    }

    /// Whether the server answered below 500.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Answered(status) if status < 500)
    }

    /// Whether the application cannot have seen any part of the request.
    #[must_use]
    pub const fn is_unsent(self) -> bool {
        matches!(
            self,
            Self::ConnectRefused
                | Self::ConnectTimeout
                | Self::Unreachable
                | Self::Stale
                | Self::Reset { sent: false }
                | Self::StreamRefused
                | Self::LocalError
        )
    }

    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Answered(status) if status >= 500 => "server-error",
            Self::Answered(_) => "success",
            Self::ConnectRefused => "connect-refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::Unreachable => "unreachable",
            Self::Stale => "stale-connection",
            Self::Reset { .. } => "reset",
            Self::StreamRefused => "stream-refused",
            Self::AttemptTimeout => "timeout",
            Self::BadResponse => "bad-response",
            Self::Truncated => "truncated",
            Self::IdleTimeout => "idle-timeout",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::LocalError => "local-error",
            Self::Rescued => "rescued",
        }
    }

    /// Every word that [`Outcome::word`] gives, in the order of [`Outcome::place`].
    pub const WORDS: [&'static str; 16] = [
        "success",
        "server-error",
        "connect-refused",
        "connect-timeout",
        "unreachable",
        "stale-connection",
        "reset",
        "timeout",
        "bad-response",
        "truncated",
        "cancelled",
        "local-error",
        "rescued",
        "idle-timeout",
        "stream-refused",
        "superseded",
    ];

    /// The index of this outcome's word in [`Outcome::WORDS`], for arrays of counters.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::Answered(status) if status < 500 => 0,
            Self::Answered(_) => 1,
            Self::ConnectRefused => 2,
            Self::ConnectTimeout => 3,
            Self::Unreachable => 4,
            Self::Stale => 5,
            Self::Reset { .. } => 6,
            Self::AttemptTimeout => 7,
            Self::BadResponse => 8,
            Self::Truncated => 9,
            Self::Cancelled => 10,
            Self::LocalError => 11,
            Self::Rescued => 12,
            Self::IdleTimeout => 13,
            Self::StreamRefused => 14,
            Self::Superseded => 15,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Outcome; 18] = [
        Outcome::Answered(200),
        Outcome::Answered(404),
        Outcome::Answered(503),
        Outcome::ConnectRefused,
        Outcome::ConnectTimeout,
        Outcome::Unreachable,
        Outcome::Stale,
        Outcome::Reset { sent: false },
        Outcome::Reset { sent: true },
        Outcome::StreamRefused,
        Outcome::AttemptTimeout,
        Outcome::BadResponse,
        Outcome::Truncated,
        Outcome::IdleTimeout,
        Outcome::Cancelled,
        Outcome::Superseded,
        Outcome::LocalError,
        Outcome::Rescued,
    ];

    #[test]
    fn outcome_words_are_indexed_by_their_position() {
        for outcome in ALL {
            assert_eq!(Outcome::WORDS[outcome.place()], outcome.word());
        }
    }

    #[test]
    fn what_the_client_or_evenkeel_did_does_not_count_against_the_server() {
        assert!(!Outcome::Answered(404).is_failure());
        assert!(!Outcome::Cancelled.is_failure());
        assert!(!Outcome::Superseded.is_failure());
        assert!(!Outcome::Rescued.is_failure());
        assert!(!Outcome::LocalError.is_failure());
        assert!(Outcome::Answered(500).is_failure());
        assert!(Outcome::AttemptTimeout.is_failure());
        assert!(!Outcome::Stale.is_failure());
        assert!(!Outcome::StreamRefused.is_failure());
    }
}
