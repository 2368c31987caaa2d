//! Requests that may crash servers: what is observed of them, and what is ordered about them.
//!
//! Separate from signals and directives, which concern servers and are produced for every attempt. Exposures concern
//! single requests and are rare.

use std::time::Duration;

use crate::{ExactShape, ExactText, Instant, RequestShape, ServerId, ServiceId};

/// The fate of one attempt of one exact request on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// When it was observed.
    pub at: Instant,
    /// The server.
    pub server: ServerId,
    /// The request.
    pub shape: ExactShape,
    /// The observation.
    pub what: ExposureEvent,
}

/// What can be observed of such an attempt. Only [`ExposureEvent::Broke`] is reported for all requests, the others for
/// watched ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExposureEvent {
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

/// All directives for single requests of one service. Replaces the previous ones, and expires as a whole, so that the
/// balancer falls back to plain balancing if the fault path stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeOrders {
    /// The service.
    pub service: ServiceId,
    /// Hashes, of path or target ([`ExactShape`]), of requests that no server gets, and until when each.
    pub refused: Vec<(u64, Instant)>,
    /// Hashes, of path or target, of requests whose attempts are reported.
    pub watched: Vec<u64>,
    /// When the orders expire, unless they are renewed.
    pub until: Instant,
}
