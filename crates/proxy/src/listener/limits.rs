//! How many clients may be connected: as many as each listener may have, over all workers, and never so many that there is no descriptor
//! left to reach a server with.

use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_config::Plan;
use evenkeel_config::plan::most_clients;
use evenkeel_runtime::descriptors;

/// How many clients may be connected, over all workers.
#[derive(Debug)]
pub(crate) struct ClientLimits {
    /// By descriptors, over all listeners.
    all: Slots,
    /// Of each listener.
    listeners: Vec<Slots>,
}

impl ClientLimits {
    /// As the file says for each listener, and for all together as the descriptors of this process allow.
    pub(crate) fn new(plan: &Plan) -> Self {
        let all = most_clients(descriptors::limit());
        let listeners = plan.listeners.iter();
        Self {
            all: Slots::new(usize::try_from(all).unwrap_or(usize::MAX)),
            listeners: listeners
                .map(|listener| Slots::new(listener.limits.connections))
                .collect(),
        }
    }

    pub(crate) fn try_take(&self, listener: usize) -> bool {
        let of_listener = &self.listeners[listener];
        if !of_listener.try_take() {
            return false;
        }
        let taken = self.all.try_take();
        if !taken {
            of_listener.give_back();
        }
        taken
    }

    pub(crate) fn give_back(&self, listener: usize) {
        self.listeners[listener].give_back();
        self.all.give_back();
    }
}

/// A number of things of which each is taken by one at a time.
#[derive(Debug)]
struct Slots {
    taken: AtomicUsize,
    limit: usize,
}

impl Slots {
    const fn new(limit: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            limit,
        }
    }

    fn try_take(&self) -> bool {
        let one_more = |taken: usize| (taken < self.limit).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_taken_once_and_can_be_taken_again() {
        let limits = ClientLimits {
            all: Slots::new(3),
            listeners: vec![Slots::new(2), Slots::new(2)],
        };
        assert!(limits.try_take(0) && limits.try_take(0));
        assert!(!limits.try_take(0), "the listener has two");
        assert!(limits.try_take(1));
        assert!(!limits.try_take(1), "all together have three");
        limits.give_back(0);
        assert!(limits.try_take(1), "what was refused was not kept");
    }
}
