//! The kinds of fault that can be told apart. To add one, add a file here and a line in [`REGISTRY`].

mod process_crashed;
mod crash_loop;
mod process_hung;
mod port_taken;
mod not_listening;
mod cannot_start;
mod bad_deploy;
mod unreachable;
mod error_burst;
mod descriptor_exhaustion;
mod slow_server;
mod bad_probe;
mod unknown;

use crate::incident::Finding;

use super::Evidence;

/// Tells whether the evidence supports one kind of fault.
pub(super) type Judge = fn(&Evidence<'_>) -> Option<Finding>;

/// All of them. The order breaks ties.
pub(super) const REGISTRY: &[Judge] = &[
    process_crashed::judge,
    crash_loop::judge,
    process_hung::judge,
    port_taken::judge,
    not_listening::judge,
    bad_deploy::judge,
    cannot_start::judge,
    unreachable::judge,
    error_burst::judge,
    descriptor_exhaustion::judge,
    slow_server::judge,
    bad_probe::judge,
    unknown::judge,
];
