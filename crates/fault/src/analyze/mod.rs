//! Analysis: the impact, the cause, and recommendations, derived from the incident record alone.

mod impact;
mod next_step;
mod text;

pub use impact::ServiceTraffic;
pub use next_step::next_step;
pub use text::analysis;

use serde::{Deserialize, Serialize};

use crate::kind::FaultKind;

/// An earlier incident, as far as it helps to find similar ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Similar {
    /// Its id.
    pub id: String,
    /// The service's name.
    pub service: String,
    /// The likeliest fault.
    pub fault: FaultKind,
    /// When it was closed, RFC 3339.
    pub closed: String,
}
