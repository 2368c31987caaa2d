//! Directives for a service as a whole, in addition to those for its servers and for single requests.

use std::time::Duration;

use crate::{Instant, RequestShape, ServiceId};

/// All directives for one service. Replaces the previous ones, and expires as a whole, so that the balancer falls back
/// to plain balancing if the fault path stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOrders {
    /// The service.
    pub service: ServiceId,
    /// Requests that are kept from the servers: a few trials reach one, the others are answered at once.
    pub closed: Vec<ClosedRoute>,
    /// Only trials that succeed open a closed one again. Else any answer does, for what hung.
    pub until_success: bool,
    /// Overload: servers without a limit get one. The initial limits, by server index. Empty: no limits.
    pub limits: Vec<LimitHint>,
    /// The servers of the first tier get a few requests only, while those behind it can carry the rest.
    pub fails_over: bool,
    /// When the orders expire, unless they are renewed.
    pub until: Instant,
}

impl ServiceOrders {
    /// Nothing is ordered about this service.
    #[must_use]
    pub const fn none(service: ServiceId) -> Self {
        Self {
            service,
            closed: Vec::new(),
            until_success: false,
            limits: Vec::new(),
            fails_over: false,
            until: Instant::NEVER,
        }
    }

    /// Whether nothing is ordered.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.closed.is_empty() && self.limits.is_empty() && !self.fails_over
    }
}

/// An initial limit on a server's concurrent requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LimitHint {
    /// So many, to begin with; zero if that is not known.
    pub initial: u32,
    /// The unloaded response time; zero if unknown.
    pub usual: Duration,
}

/// Requests that are kept from all servers of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClosedRoute {
    /// Those of this method and route ([`RequestShape::route`]).
    Route(u32),
    /// All of this method ([`RequestShape::method`]).
    Method(u32),
    /// All.
    All,
}

impl ClosedRoute {
    /// Whether such a request is one of them.
    #[must_use]
    pub const fn covers(self, shape: RequestShape) -> bool {
        match self {
            Self::Route(route) => shape.route == route,
            Self::Method(method) => shape.method == method,
            Self::All => true,
        }
    }
}
