//! The way of a fault, decided: signal → detect → diagnose → recover → verify → analyze.
//!
//! Nothing here opens a socket, starts a process or reads a clock. The keeper is the only control flow: it is handed
//! signals and answers, and hands out directives and orders.

pub mod kind;
pub mod policy;
pub mod incident;
pub mod contract;

pub use contract::{Input, Output};
pub use incident::Incident;
pub use kind::FaultKind;
