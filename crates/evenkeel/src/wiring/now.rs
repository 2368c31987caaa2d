//! The running program, for everyone who queries or changes it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use evenkeel_admin::AdminCounters;
use evenkeel_config::file::FileLiteral as _;
use evenkeel_control::{ControlCounters, Heartbeat, OrderRequest, StatusReader};
use evenkeel_core::{ServerId, ServiceId};
use evenkeel_discover::Discovery;
use evenkeel_fault::contract::ServerStatus;
use evenkeel_history::WriterHandle;
use evenkeel_proxy::ProxyState;
use evenkeel_runtime::{Clock, Tasks};
use evenkeel_supervise::Supervisor;
use tokio::sync::{mpsc, watch};

use super::measure::CounterHistory;
use super::reload::Reloads;

/// The running program.
#[derive(Debug)]
pub(super) struct LiveBackend {
    pub(super) clock: Clock,
    pub(super) counter_history: CounterHistory,
    pub(super) discovery: Discovery,
    pub(super) reloads: Reloads,
    pub(super) state: Arc<ProxyState>,
    pub(super) views: StatusReader,
    pub(super) counters: Arc<ControlCounters>,
    pub(super) heartbeat: Heartbeat,
    pub(super) supervisor: Supervisor,
    pub(super) incident_store: WriterHandle,
    pub(super) orders: mpsc::Sender<OrderRequest>,
    /// Orders whose end is waited for.
    pub(super) waiting: AtomicUsize,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) admin: Arc<AdminCounters>,
    pub(super) tasks: Tasks,
}

impl LiveBackend {
    /// Whether a slot is hidden from operators because it is empty. For a name that has never resolved, the first slot
    /// is shown.
    pub(super) fn is_hidden(&self, id: ServerId) -> bool {
        let view = self.views.now();
        let unresolved = |index: u32| {
            let id = ServerId { index, ..id };
            view.state(id) == ServerStatus::Unresolved
        };
        match view.state(id) {
            ServerStatus::Absent => true,
            ServerStatus::Unresolved => {
                let plan = self.reloads.plan();
                let groups = plan.service(id.service).map(|service| &service.discover);
                let group = groups
                    .into_iter()
                    .flatten()
                    .map(|group| &group.servers)
                    .find(|group| group.contains(&id.index));
                group.is_some_and(|group| {
                    group.first() != Some(&id.index) || !group.iter().copied().all(unresolved)
                })
            }
            ServerStatus::Starting
            | ServerStatus::Up
            | ServerStatus::Doubtful
            | ServerStatus::Ejected
            | ServerStatus::Recovering
            | ServerStatus::Verifying
            | ServerStatus::Maintenance
            | ServerStatus::Down => false,
        }
    }

    /// The word of a service's policy.
    pub(super) fn policy(&self, id: ServiceId) -> String {
        let plan = self.reloads.plan();
        let word = plan
            .service(id)
            .map(|service| service.balance.policy.typed());
        let word = word.as_ref().and_then(serde_json::Value::as_str);
        word.unwrap_or_default().to_owned()
    }

    pub(super) fn find(&self, service: &str, server: &str) -> Result<ServerId, String> {
        let services = self.state.services();
        let entry = services.iter().find(|entry| entry.name() == service);
        let found = entry.and_then(|entry| {
            let servers = entry.servers();
            let (index, _) = servers.names().find(|(_, one)| *one == server)?;
            Some(ServerId {
                service: entry.id(),
                index,
            })
        });
        found
            .filter(|id| !self.is_hidden(*id))
            .ok_or_else(|| format!("there is no server {server} in service {service}"))
    }
}
