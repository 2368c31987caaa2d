//! Acting on servers and observing them: child processes under a guardian, probes, examinations, commands.
//!
//! This crate executes orders and reports facts. Whether something is a fault, and what to do about it, is decided
//! elsewhere.

pub mod guardian;
mod count;
mod process;
mod program;
mod previous;
mod roll_backs;
mod roll_back;
mod child;
mod children;
mod lifecycle;
mod socket_diag;
mod socket_table;
mod listener;
mod probe;
mod examine;
mod command;
mod supervisor;
mod configure;

pub use supervisor::Supervisor;
