//! What the loop publishes: a snapshot that is replaced when something changes, and events as they happen.
//!
//! Separate from the loop because readers (status, metrics, the demo) run on other threads and must not delay it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use evenkeel_core::{Instant, ServerId, ServiceId};
use evenkeel_fault::contract::ServerStatus;
use evenkeel_fault::outlook::RecoveryOutlook;
use evenkeel_fault::poison::Quarantined;
use evenkeel_fault::recover::SuccessRate;
use evenkeel_fault::{Incident, Maintenance};
use tokio::sync::broadcast;

/// Events that a slow listener may be behind before it misses some.
const BACKLOG: usize = 1024;

/// The published state.
#[derive(Debug, Clone, Default)]
pub struct StatusSnapshot {
    /// The state of each server: per service, in the order of the plan.
    pub states: Vec<Vec<ServerStatus>>,
    /// The process of each server that evenkeel runs, if it lives; in the same order.
    pub pids: Vec<Vec<Option<u32>>>,
    /// The incidents that are not closed, oldest first.
    pub open: Vec<Arc<Incident>>,
    /// The servers in maintenance, by service and index.
    pub held: BTreeMap<(u32, u32), Maintenance>,
    /// The requests in quarantine, by service.
    pub quarantined: BTreeMap<u32, Vec<Quarantined>>,
    /// The latest outlook.
    pub outlooks: Arc<Outlooks>,
    /// The measures for services as a whole, by service, in words.
    pub measures: BTreeMap<u32, Vec<String>>,
    /// The services in maintenance, and whether it is ending: their first server is being verified.
    pub closed_services: BTreeMap<u32, (Maintenance, bool)>,
}

/// What recovery would do next. Servers without an entry are healthy.
#[derive(Debug, Clone, Default)]
pub struct Outlooks {
    /// Of services as a whole.
    pub services: BTreeMap<u32, RecoveryOutlook>,
    /// Which costly actions have helped, by service.
    pub rates: BTreeMap<u32, Vec<SuccessRate>>,
    /// Of servers, by service and index.
    pub servers: BTreeMap<(u32, u32), RecoveryOutlook>,
}

impl Outlooks {
    /// Of a server.
    #[must_use]
    pub fn server(&self, server: ServerId) -> &RecoveryOutlook {
        let key = (server.service.0, server.index);
        self.servers.get(&key).unwrap_or(&WELL)
    }

    /// Of a service as a whole.
    #[must_use]
    pub fn service(&self, service: ServiceId) -> &RecoveryOutlook {
        self.services.get(&service.0).unwrap_or(&WELL)
    }
}

static WELL: RecoveryOutlook = RecoveryOutlook::WELL;

impl StatusSnapshot {
    /// The state of a server; starting, if it is not known.
    #[must_use]
    pub fn state(&self, server: ServerId) -> ServerStatus {
        let service = self.states.get(server.service.0 as usize);
        service
            .and_then(|servers| servers.get(server.index as usize))
            .copied()
            .unwrap_or(ServerStatus::Starting)
    }

    /// The process id of a server that evenkeel runs, if it lives.
    #[must_use]
    pub fn pid(&self, server: ServerId) -> Option<u32> {
        let service = self.pids.get(server.service.0 as usize)?;
        service.get(server.index as usize).copied().flatten()
    }
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum ControlEvent {
    /// A server's state changed.
    State {
        /// When.
        at: Instant,
        /// Which server.
        server: ServerId,
        /// Its state before.
        from: ServerStatus,
        /// Its state now.
        to: ServerStatus,
    },
    /// An incident is new or has changed.
    Incident {
        /// When.
        at: Instant,
        /// The incident as it is now.
        incident: Arc<Incident>,
    },
}

/// The readers' end of the snapshot. Copies show the same.
#[derive(Debug, Clone, Default)]
pub struct StatusReader(Arc<ArcSwap<StatusSnapshot>>);

impl StatusReader {
    /// The published state.
    #[must_use]
    pub fn now(&self) -> Arc<StatusSnapshot> {
        self.0.load_full()
    }

    pub(crate) fn publish(&self, view: StatusSnapshot) {
        self.0.store(Arc::new(view));
    }
}

/// A source of events. Clones deliver the same events.
#[derive(Debug, Clone)]
pub struct EventSource(broadcast::Sender<ControlEvent>);

impl Default for EventSource {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl EventSource {
    /// All events from now on. A receiver that is too slow misses the oldest ones, and gets an error.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<ControlEvent> {
        self.0.subscribe()
    }

    pub(crate) fn emit(&self, event: ControlEvent) {
        // Nobody may be listening.
        self.0.send(event).ok();
    }
}
