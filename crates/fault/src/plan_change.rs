//! What a reload of the configuration changes, as the keeper sees it.
//!
//! Separate from the rest of the contract, since it names services and servers by their slots: a slot is kept for as long as its
//! name is configured, may become vacant, and may get another name later.

use evenkeel_core::{ServerId, ServiceId};

use crate::spec::ServiceSpec;

/// Why an incident, a maintenance or an order ends with its server or service, in words.
pub const REMOVED: &str = "removed from the configuration by a reload";

/// What a reload changes. Services that are not named stay as they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlanChange {
    /// Each service that comes, goes or changes, once.
    pub services: Vec<ServiceUpdate>,
    /// All children, of all services, whose process runs by an earlier configuration and is to be replaced. It takes the place of
    /// earlier lists.
    pub outdated: Vec<ServerId>,
}

/// What happens to one service.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceUpdate {
    /// It is new. Its slot was vacant, or is the next one.
    Added(ServiceSpec),
    /// It is gone, with all of its servers.
    Removed(ServiceId),
    /// It has other options or other servers.
    Changed {
        /// All of it, as it is from now on. An address counts only for servers that are added or replaced: DNS may
        /// have named another one for the others.
        spec: ServiceSpec,
        /// The servers that come, go or change, by index.
        servers: Vec<(u32, ServerUpdate)>,
    },
}

/// What happens to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerUpdate {
    /// It is new. Its slot was vacant, or is the next one.
    Added,
    /// It is gone.
    Removed,
    /// It has another address, or is managed in another way: a new server under the name of the previous one.
    Replaced,
    /// It has other limits or commands; what is known of it stays true.
    Changed,
}
