//! Answers that evenkeel makes itself: why, and how that is said.
//!
//! Every such answer carries a `Proxy-Status` field (RFC 9209) with an error token where the RFC has one, and the
//! cause's own word in its `details`. This is the only place where a cause becomes a status.

use evenkeel_core::Outcome;

/// Why evenkeel answers instead of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No route matches, and the listener has no service for the rest.
    NoRoute,
    /// The service has no server that may take requests.
    NoServer,
    /// A person has taken the service into maintenance.
    Maintenance,
    /// All servers have as many requests as they may, and there is no place left to wait.
    QueueFull,
    /// It waited as long as it may for a server that can take one more request.
    QueueTimeout,
    /// It waited too long while nothing waited less, so that it would have been late in any case.
    QueueLate,
    /// Its class has used its share of the servers.
    Shed,
    /// There were too many requests in a second.
    RateLimited {
        /// How long until there may be another one, in seconds.
        seconds: u32,
    },
    /// Such requests crash servers, so none gets it.
    Quarantined {
        /// How long until one may get it again, in seconds.
        seconds: u32,
    },
    /// Requests of its route hang on all servers, so only a few trials get to one.
    RouteBroken {
        /// How long until there may be another trial, in seconds.
        seconds: u32,
    },
    /// The service is answered for while its servers fail, so only a few trials get to one.
    FallenBack {
        /// How long until there may be another trial, in seconds.
        seconds: u32,
    },
    /// The servers refuse most of what they get, so a part is not sent to them.
    Throttled,
    /// The request could not be understood without doubt; the word says why.
    BadRequest {
        /// The status that fits, 4xx or 5xx.
        status: u16,
        /// The parser's word for it.
        word: &'static str,
    },
    /// The client did not send its request in time.
    RequestTimeout,
    /// The method is not one that a reverse proxy takes (CONNECT).
    MethodNotAllowed,
    /// Nothing listened at any server that was tried.
    ConnectRefused,
    /// No connection in time.
    ConnectTimeout,
    /// No way to the server's address.
    Unreachable,
    /// evenkeel had no descriptor, local port or memory left for a connection to a server.
    LocalError,
    /// The server closed or reset the connection before it answered.
    Reset,
    /// The server refused the request's stream before it processed any part of it.
    StreamRefused,
    /// The server did not answer in time.
    AttemptTimeout,
    /// The request with all its retries took longer than `timeout.total`.
    TotalTimeout,
    /// The client's own deadline had passed when its request came.
    Deadline,
    /// It was chosen for a fault on purpose.
    Injected {
        /// The status that was asked for, 4xx or 5xx.
        status: u16,
    },
    /// The server's answer was not unambiguous HTTP.
    BadResponse,
    /// The server's answer broke off while it was held back.
    Truncated,
}

impl Cause {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NoRoute => 404,
            Self::NoServer
            | Self::Maintenance
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::QueueLate
            | Self::Shed
            | Self::Throttled
            | Self::Quarantined { .. }
            | Self::RouteBroken { .. }
            | Self::FallenBack { .. }
            | Self::StreamRefused
            | Self::LocalError => 503,
            Self::RateLimited { .. } => 429,
            Self::BadRequest { status, .. } | Self::Injected { status } => status,
            Self::RequestTimeout => 408,
            Self::MethodNotAllowed => 405,
            Self::ConnectRefused
            | Self::Unreachable
            | Self::Reset
            | Self::BadResponse
            | Self::Truncated => 502,
            Self::ConnectTimeout | Self::AttemptTimeout | Self::TotalTimeout | Self::Deadline => {
                504
            }
        }
    }

    /// The word for it in logs, metrics and answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::NoServer => "no-server",
            Self::Maintenance => "maintenance",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::QueueLate => "queue-late",
            Self::Shed => "shed",
            Self::RateLimited { .. } => "rate-limited",
            Self::Throttled => "throttled",
            Self::Quarantined { .. } => "quarantined",
            Self::RouteBroken { .. } => "route-broken",
            Self::FallenBack { .. } => "fallen-back",
            Self::BadRequest { word, .. } => word,
            Self::RequestTimeout => "request-timeout",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::ConnectRefused => "connect-refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::Unreachable => "unreachable",
            Self::LocalError => "local-error",
            Self::Reset => "reset",
            Self::StreamRefused => "stream-refused",
            Self::AttemptTimeout => "timeout",
            Self::TotalTimeout => "total-timeout",
            Self::Deadline => "deadline",
            Self::Injected { .. } => "injected",
            Self::BadResponse => "bad-response",
            Self::Truncated => "truncated",
        }
    }

    /// Whether a message that is not HTTP is the cause.
    #[must_use]
    pub const fn is_of_a_message(self) -> bool {
        matches!(self, Self::BadRequest { .. } | Self::BadResponse)
    }

    /// The error token of RFC 9209 section 2.3 that comes nearest.
    #[must_use]
    pub const fn proxy_error(self) -> &'static str {
        match self {
            Self::Injected { .. } => "proxy_internal_response",
            Self::NoRoute => "destination_not_found",
            Self::NoServer
            | Self::Maintenance
            | Self::Throttled
            | Self::RouteBroken { .. }
            | Self::FallenBack { .. }
            | Self::StreamRefused => "destination_unavailable",
            Self::QueueFull | Self::QueueTimeout | Self::QueueLate | Self::Shed => {
                "connection_limit_reached"
            }
            Self::BadRequest { .. } | Self::RequestTimeout => "http_request_error",
            Self::MethodNotAllowed | Self::RateLimited { .. } | Self::Quarantined { .. } => {
                "http_request_denied"
            }
            Self::ConnectRefused => "connection_refused",
            Self::ConnectTimeout => "connection_timeout",
            Self::Unreachable => "destination_ip_unroutable",
            Self::LocalError => "proxy_internal_error",
            Self::Reset => "connection_terminated",
            Self::AttemptTimeout | Self::TotalTimeout | Self::Deadline => "http_response_timeout",
            Self::BadResponse => "http_protocol_error",
            Self::Truncated => "http_response_incomplete",
        }
    }

    /// The cause when the last attempt ended like this and there is no other; `None` if it ended in an answer, which is
    /// passed on, or if no server could be reached.
    #[must_use]
    pub const fn of_outcome(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Answered(_)
            | Outcome::Cancelled
            | Outcome::Superseded
            | Outcome::IdleTimeout => None,
            // Only asked if nobody else could take it in the end.
            Outcome::Rescued => Some(Self::NoServer),
            Outcome::Truncated => Some(Self::Truncated),
            Outcome::ConnectRefused => Some(Self::ConnectRefused),
            Outcome::ConnectTimeout => Some(Self::ConnectTimeout),
            Outcome::Unreachable => Some(Self::Unreachable),
            Outcome::LocalError => Some(Self::LocalError),
            Outcome::Stale | Outcome::Reset { .. } => Some(Self::Reset),
            Outcome::StreamRefused => Some(Self::StreamRefused),
            Outcome::AttemptTimeout => Some(Self::AttemptTimeout),
            Outcome::BadResponse => Some(Self::BadResponse),
        }
    }
}
