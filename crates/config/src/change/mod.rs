//! What a reload changes: the difference of two plans as a value, which each owner of a part of the running state applies
//! to its part. Nothing is decided afterwards.

mod slots;
mod lay_out;
mod difference;
mod apply;
mod overlay;
mod listed;
mod runtime;
mod requested;
mod drift;

pub use difference::difference;
pub use drift::{Drift, drift};
pub use lay_out::lay_out;
pub use listed::{RuntimeChange, RuntimeChangeKind};
pub use overlay::{
    AddedServer, ChangeNote, DroppedChange, OverlaidPlan, Overlay, OverlayDropReason, apply_overlay,
};
pub(crate) use overlay::{OverlaidNumber, ServiceOverlay};
pub use requested::{NewServer, RequestedChange};
pub use runtime::RefusedChange;
pub use slots::FreeSlots;

use evenkeel_core::ServiceId;

use crate::plan::{AdminPlan, DnsPlan, ListenerPlan, LogPlan, ReloadMode, ServicePlan, StorePlan};

/// What has to change for a running plan to become another one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// The services that come, go or change: those that go first.
    pub services: Vec<ServiceChange>,
    /// The listeners that come, go or change: those that go first.
    pub listeners: Vec<ListenerChange>,
    /// The DNS listeners that come, go or change: those that go first.
    pub dns: Vec<DnsChange>,
    /// The new settings of the log.
    pub log: Option<LogPlan>,
    /// The new answer to when the file is read again.
    pub reload: Option<ReloadMode>,
    /// The new order of the lists, where it is not the old one without what goes and with what comes at its end.
    pub order: ListOrder,
    /// What holds only after a restart.
    pub restart: RestartChanges,
}

/// A change of a service.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceChange {
    /// It is new.
    Added(Box<ServicePlan>),
    /// It is gone.
    Removed {
        /// Its id.
        id: ServiceId,
        /// Its name.
        name: String,
    },
    /// It is there in both plans, and differs.
    Changed(Box<ServiceDifference>),
}

/// How a service differs.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says which owner has something to do"
)]
pub struct ServiceDifference {
    /// As it is to be.
    pub plan: ServicePlan,
    /// Whether what the request path goes by differs: balancing, policies, limits, header changes.
    pub settings: bool,
    /// Whether detection, diagnosis, recovery or the objective differ.
    pub fault: bool,
    /// The servers that come, go or change: those that go first.
    pub servers: Vec<ServerPlanChange>,
    /// Whether the servers are listed in another order.
    pub server_order: bool,
    /// Whether the groups of servers from DNS differ.
    pub discover: bool,
}

/// A change of a server, by its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerPlanChange {
    /// It is new.
    Added {
        /// Its index.
        index: u32,
    },
    /// It is gone.
    Removed {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
    },
    /// It is there in both plans, and differs.
    Changed {
        /// Its index.
        index: u32,
        /// How it differs.
        what: ServerDifference,
    },
}

/// How a server differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says which owner has something to do"
)]
pub struct ServerDifference {
    /// Its address: it is another server then.
    pub address: bool,
    /// Its weight, its tier, or whether it is near.
    pub weight: bool,
    /// The most requests that it has at once.
    pub limits: bool,
    /// How evenkeel starts it: the command, its environment, its directory, how it is stopped and rolled back. Also if it is
    /// started by evenkeel in one plan only.
    pub run: bool,
    /// The commands that restart and stop it.
    pub commands: bool,
}

/// A change of a listener.
#[derive(Debug, Clone, PartialEq)]
pub enum ListenerChange {
    /// It is new.
    Added(Box<ListenerPlan>),
    /// It is gone.
    Removed {
        /// Its name.
        name: String,
    },
    /// It is there in both plans, and differs.
    Changed {
        /// As it is to be.
        plan: Box<ListenerPlan>,
        /// Whether its address differs: its sockets are other ones then.
        address: bool,
        /// Whether its limits differ.
        limits: bool,
        /// Whether its routes or its default service differ.
        routes: bool,
    },
}

/// A change of a DNS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsChange {
    /// It is new.
    Added(DnsPlan),
    /// It is gone.
    Removed {
        /// Its name.
        name: String,
    },
    /// It is there in both plans, and differs.
    Changed {
        /// As it is to be.
        plan: DnsPlan,
        /// Whether its address differs: its sockets are other ones then.
        address: bool,
        /// Whether its names differ.
        names: bool,
        /// Whether its rate differs.
        rate: bool,
    },
}

/// The order of a plan's lists, where it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOrder {
    /// The services.
    pub services: Option<Vec<ServiceId>>,
    /// The listeners, by name.
    pub listeners: Option<Vec<String>>,
    /// The DNS listeners, by name.
    pub dns: Option<Vec<String>>,
}

/// What a running evenkeel cannot change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestartChanges {
    /// The number of worker threads.
    pub workers: Option<usize>,
    /// The admin API.
    pub admin: Option<AdminPlan>,
    /// The incident store.
    pub store: Option<StorePlan>,
}
