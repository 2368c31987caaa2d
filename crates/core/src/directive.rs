//! Directives: what the fault path asks of the balancer. They expire, so that the balancer falls back to plain
//! balancing if the fault path stops.

use crate::{Instant, ServerId};

/// Why a server takes no requests, which decides whether panic may use it nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EjectionReason {
    /// Probes or outcomes speak against it. Panic ignores this verdict.
    Suspected,
    /// It answers nothing: requests to it time out. Panic ignores this only if no server is left that answers anything.
    Hung,
    /// It is known not to serve: its process ended or is being replaced. Panic does not ignore this.
    Known,
}

/// One order to the balancer about one server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Directive {
    /// Takes no new attempts until `until`, unless renewed.
    Eject {
        /// The server.
        server: ServerId,
        /// Why.
        verdict: EjectionReason,
        /// When the directive expires.
        until: Instant,
    },
    /// Requests in flight on it that may be repeated are tried elsewhere at once: it has just been ejected as dead or hung. Said
    /// once per ejection; it changes nothing about where new attempts go.
    Rescue {
        /// The server.
        server: ServerId,
    },
    /// It is being repaired until `until`, unless renewed: it takes nothing yet, and requests that have no other server may wait for
    /// it. Changes nothing about where attempts go. A moment that has passed ends it.
    Repair {
        /// The server.
        server: ServerId,
        /// When the directive expires.
        until: Instant,
    },
    /// Takes only `share` of the attempts that it would take, until `until`, then all of them.
    Trial {
        /// The server.
        server: ServerId,
        /// Part of its normal share, in (0, 1].
        share: f64,
        /// When the directive expires.
        until: Instant,
    },
    /// Takes no new attempts until restored: an operator's order, which does not expire.
    Drain {
        /// The server.
        server: ServerId,
    },
    /// Takes attempts again, slowly at first if the service has a slow start.
    Restore {
        /// The server.
        server: ServerId,
        /// Whether its share grows over the service's `slow_start`.
        slowly: bool,
    },
}

impl Directive {
    /// The server it is about.
    #[must_use]
    pub const fn server(&self) -> ServerId {
        match *self {
            Self::Eject { server, .. }
            | Self::Rescue { server }
            | Self::Repair { server, .. }
            | Self::Trial { server, .. }
            | Self::Drain { server }
            | Self::Restore { server, .. } => server,
        }
    }
}
