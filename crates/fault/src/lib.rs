//! The decisions of the fault path: signal → detect → diagnose → recover → verify → analyze.
//!
//! Nothing here opens a socket, starts a process or reads a clock. The keeper is the only control flow: signals and
//! results go in, directives and actions come out.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod kind;
pub mod policy;
pub mod incident;
pub mod maintenance;
mod spec;
pub mod plan_change;
pub mod contract;

pub mod signal;
pub mod detect;
pub mod common_cause;
pub mod self_check;
pub mod slow_burn;
pub mod poison;
pub mod diagnose;
pub mod recover;
pub mod verify;
pub mod analyze;
pub mod outlook;
pub mod keeper;
mod unseen;

pub use analyze::Similar;
pub use contract::{Input, Output};
pub use incident::Incident;
pub use keeper::{Keeper, PersistedState};
pub use kind::FaultKind;
pub use maintenance::{Maintenance, MaintenanceRecord};
pub use plan_change::{PlanChange, ServerUpdate, ServiceUpdate};
