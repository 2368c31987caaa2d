//! Servers from DNS: who is a member of a service now.
//!
//! [`membership`] decides, without a socket and without a clock; [`dns`] asks; [`Watch`] does one after the other for
//! as long as the program runs, and hands what changes to the [`World`]. It runs beside the control loop, never on a
//! worker.

pub mod dns;
pub mod membership;
mod watch;

pub use membership::{Change, Found};
pub use watch::{Discovery, Watch, World};
