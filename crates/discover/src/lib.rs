//! Servers from DNS: the current members of a service.
//!
//! [`membership`] decides, without a socket or a clock; [`dns`] sends the queries; [`GroupWatch`] alternates between
//! the two for as long as the program runs, and passes changes to the [`MembershipHost`]. It runs beside the control
//! loop, never on a worker.

pub mod dns;
pub mod membership;
mod watch;

pub use membership::{DiscoveredServer, SlotChange};
pub use watch::{Discovery, GroupChanges, GroupKey, GroupWatch, MembershipHost};
