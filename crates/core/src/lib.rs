//! The shared vocabulary of evenkeel: time as a value, seeded randomness, ids, outcomes, signals, directives,
//! statistics.
//!
//! Nothing here opens a socket, reads a clock or implements a policy. The request path and the fault path communicate
//! through these types only.

pub mod time;
pub mod random;
pub mod id;
pub mod endpoint;
pub mod outcome;
pub mod blame;
pub mod shape;
pub mod signal;
pub mod exposure;
pub mod directive;
pub mod service_orders;
pub mod recent;
pub mod stat;
pub mod metric;
pub mod text;

pub use directive::{Directive, EjectionReason};
pub use endpoint::Endpoint;
pub use exposure::{Exposure, ExposureEvent, ShapeOrders};
pub use id::{ServerId, ServiceId};
pub use outcome::{Blame, Outcome};
pub use random::Random;
pub use recent::Recent;
pub use service_orders::{ClosedRoute, LimitHint, ServiceOrders};
pub use shape::{ExactShape, ExactText, RequestShape, ShapeText};
pub use signal::{Exit, Observation, ProbeOutcome, ProgramChange, Signal, StartFailure};
pub use text::is_control_or_bidi;
pub use time::{Calendar, Epoch, Instant, WallTime, duration_from_seconds};
