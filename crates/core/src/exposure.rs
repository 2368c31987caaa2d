//! Requests that may bring servers down: what is observed of them, and what is ordered about them.
//!
//! Apart from signals and directives, which are about servers and of which there is one per attempt: these are about requests,
//! and there are hardly ever any.

use std::time::Duration;

use crate::{ExactShape, ExactText, Instant, RequestShape, ServerId, ServiceId};

/// What became of one attempt of one exact request on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// When it was observed.
    pub at: Instant,
    /// The server.
    pub server: ServerId,
    /// What was asked for.
    pub shape: ExactShape,
    /// What was observed.
    pub what: Exposed,
}

/// What can be observed of such an attempt. Only [`Exposed::Broke`] is told of all requests, the others of those that are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposed {
    /// It began.
    Began,
    /// It ended, and the server went on: it was answered, or given up.
    Survived,
    /// It never reached the server.
    Unsent,
    /// Its connection broke without an answer: the server's process may have ended.
    Broke {
        /// From its start to its end.
        age: Duration,
        /// Its route.
        route: RequestShape,
        /// In words.
        text: ExactText,
    },
}

/// All that is ordered about requests of one service. Replaces what was ordered before, and expires as a whole, so that a
/// fault's way which stops leaves plain balancing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeOrders {
    /// The service.
    pub service: ServiceId,
    /// Hashes, of path or target ([`ExactShape`]), of requests that no server gets, and until when each.
    pub refused: Vec<(u64, Instant)>,
    /// Hashes, of path or target, of requests whose attempts are told of.
    pub watched: Vec<u64>,
    /// When the orders expire, unless they are renewed.
    pub until: Instant,
}
