//! The loop that drives the fault path.
//!
//! It gathers signals, steps the keeper, passes directives to the balancer, has actions executed, stores incidents and
//! publishes the current state. All decisions are the keeper's. Sockets and processes are behind [`RequestPath`],
//! [`ActionExecutor`] and [`IncidentStore`], which the program (or a test) provides.

pub mod world;
pub mod status;
pub mod counters;
pub mod act;
mod pending_orders;
mod incident_store;
mod heartbeat;
mod lateness;
mod keeper_setup;
mod specs;
mod reload;
mod drive;
mod timeline;

pub use act::SupervisorExecutor;
pub use counters::ControlCounters;
pub use drive::{Control, ControlParts};
pub use heartbeat::Heartbeat;
pub use incident_store::memory;
pub use pending_orders::OrderRequest;
pub use reload::ReloadRequest;
pub use status::{ControlEvent, EventSource, Outlooks, StatusReader, StatusSnapshot};
pub use world::{ActionExecutor, IncidentStore, RequestPath};
