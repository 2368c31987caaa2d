//! The table of supervised processes, with their phases and the client of the guardian.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_config::plan::ChildPlan;
use evenkeel_core::{Endpoint, ServerId, Signal};
use evenkeel_runtime::Clock;
use evenkeel_runtime::socket_file::remove_stale;
use tokio::sync::{mpsc, watch};

use crate::child::{Child, ChildPhase, ChildTable};
use crate::count::ChildCounters;
use crate::guardian::protocol::GuardianCommand;
use crate::listener::ProcessSubject;
use crate::process::Reaper;
use crate::socket_table;

/// All supervised processes.
#[derive(Debug)]
pub(crate) struct Children {
    pub(crate) clock: Clock,
    pub(crate) signals: mpsc::Sender<Signal>,
    pub(crate) orders: mpsc::Sender<GuardianCommand>,
    pub(crate) reaper: Reaper,
    pub(crate) table: Mutex<ChildTable>,
}

impl Children {
    pub(crate) fn pid(&self, server: ServerId) -> Option<u32> {
        self.table().children.get(&server)?.pid()
    }

    /// A child that runs, for the question who listens on its port.
    pub(crate) fn subject(&self, server: ServerId) -> Option<ProcessSubject> {
        let table = self.table();
        let child = table.children.get(&server)?;
        let pid = child.pid()?;
        let others = table.all().filter_map(Child::pid);
        Some(ProcessSubject {
            pid,
            others: others.filter(|other| *other != pid).collect(),
            before: child.before.clone(),
        })
    }

    /// Hands the names of a server's service and its own to `say`.
    pub(crate) fn with_names(&self, server: ServerId, say: impl FnOnce(&str, &str)) {
        if let Some(child) = self.table().children.get(&server) {
            say(&child.name.0, &child.name.1);
        }
    }

    /// How long it may take to stop, if it is a child.
    pub(crate) fn stop_wait(&self, server: ServerId) -> Option<Duration> {
        let table = self.table();
        Some(table.children.get(&server)?.plan.stop_wait)
    }

    /// A child is configured like this from now on.
    pub(crate) fn configure(&self, server: ServerId, plan: &ChildPlan, address: Option<Endpoint>) {
        if let Some(child) = self.table().children.get_mut(&server) {
            child.configured(plan, address);
        }
    }

    /// The children that run in another way than they are configured.
    pub(crate) fn outdated(&self) -> Vec<ServerId> {
        let table = self.table();
        let outdated = table
            .children
            .iter()
            .filter(|(_, child)| child.is_outdated());
        outdated.map(|(server, _)| *server).collect()
    }

    pub(crate) fn is_child(&self, server: ServerId) -> bool {
        self.table().children.contains_key(&server)
    }

    /// Those that are children.
    pub(crate) fn servers(&self) -> Vec<ServerId> {
        self.table().children.keys().copied().collect()
    }

    /// Watches where the process stands.
    pub(crate) fn phase(&self, server: ServerId) -> Option<watch::Receiver<ChildPhase>> {
        self.table()
            .children
            .get(&server)
            .map(|child| child.phase.subscribe())
    }

    pub(crate) fn last_lines(&self, server: ServerId) -> Vec<String> {
        self.table()
            .children
            .get(&server)
            .map_or_else(Vec::new, Child::lines)
    }

    pub(crate) fn each_counter(&self, mut each: impl FnMut(&str, &str, &ChildCounters)) {
        for child in self.table().children.values() {
            each(&child.name.0, &child.name.1, &child.counters);
        }
    }

    /// The sockets that listen on a server's port now, before it is started.
    pub(crate) async fn listening(&self, server: ServerId) -> Vec<u64> {
        let address = self
            .table()
            .children
            .get(&server)
            .and_then(|child| child.address.clone());
        let Some(address) = address else {
            return Vec::new();
        };
        let looked = tokio::task::spawn_blocking(move || socket_table::sockets(&address));
        looked.await.unwrap_or_default()
    }

    /// Removes the file of the socket of an earlier process, on which nothing listens: many programs cannot listen while it is there,
    /// and none that was killed removes it.
    pub(crate) async fn clear_socket(&self, server: ServerId) {
        let address = self
            .table()
            .children
            .get(&server)
            .and_then(|child| child.address.clone());
        let Some(Endpoint::Unix(path)) = address else {
            return;
        };
        let socket = Arc::clone(&path);
        let Ok(removed) = tokio::task::spawn_blocking(move || remove_stale(&socket)).await else {
            return;
        };
        self.with_names(server, |service, name| match &removed {
            Ok(true) => tracing::info!(
                service,
                server = name,
                "the file of its earlier socket was removed: {}",
                path.display()
            ),
            // Who listens there is looked at when it answers.
            Ok(false) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => tracing::warn!(
                service,
                server = name,
                "its socket {} may not be usable: {error}",
                path.display()
            ),
        });
    }

    pub(crate) async fn order(&self, order: GuardianCommand) -> Result<(), String> {
        self.orders
            .send(order)
            .await
            .map_err(|_| "the guardian is not running".to_owned())
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, ChildTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
