//! A listener as one worker has it, and as its connections have it: they last longer than the listener if it is removed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use evenkeel_config::plan::ListenerLimits;

use super::proxy_snapshot::ListenerEntry;
use super::worker_snapshot::WorkerSnapshot;
use crate::listener::limits::Slots;

/// A listener of a worker.
#[derive(Debug)]
pub(crate) struct OpenListener {
    slot: usize,
    /// How many clients it has and may have, over all workers.
    pub(crate) clients: Arc<Slots>,
    limits: Cell<ListenerLimits>,
    is_removed: Cell<bool>,
    /// Once it is removed: the last snapshot that it was in, by which its connections end.
    last: RefCell<Option<Rc<WorkerSnapshot>>>,
}

impl OpenListener {
    pub(crate) fn new(slot: usize, entry: &ListenerEntry) -> Self {
        Self {
            slot,
            clients: Arc::clone(&entry.clients),
            limits: Cell::new(entry.plan.limits),
            is_removed: Cell::new(false),
            last: RefCell::default(),
        }
    }

    /// Its slot in the snapshots that it is in.
    pub(crate) const fn slot(&self) -> usize {
        self.slot
    }

    /// Limits on the size and the pace of clients' requests.
    pub(crate) const fn limits(&self) -> ListenerLimits {
        self.limits.get()
    }

    /// Whether it is there no more: its connections end with the request that they are at.
    pub(crate) const fn is_removed(&self) -> bool {
        self.is_removed.get()
    }

    /// The last snapshot that it was in, once it is removed.
    pub(crate) fn last_snapshot(&self) -> Option<Rc<WorkerSnapshot>> {
        self.last.borrow().clone()
    }

    /// Whether `entry` is the same listener.
    pub(crate) fn is_same(&self, entry: &ListenerEntry) -> bool {
        Arc::ptr_eq(&self.clients, &entry.clients)
    }

    /// The next snapshot is here: whether the listener is in it.
    pub(crate) fn follow(&self, before: &Rc<WorkerSnapshot>, next: &WorkerSnapshot) -> bool {
        let entry = next.shared.listener(self.slot);
        let entry = entry.filter(|entry| self.is_same(entry));
        match entry {
            Some(entry) => self.limits.set(entry.plan.limits),
            None => {
                self.is_removed.set(true);
                *self.last.borrow_mut() = Some(Rc::clone(before));
            }
        }
        entry.is_some()
    }
}
