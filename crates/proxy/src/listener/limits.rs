//! How many clients may be connected: as many as each listener may have, over all workers, and never so many that there is no descriptor
//! left to reach a server with.

use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_config::plan::most_clients;
use evenkeel_runtime::descriptors;

/// How many clients may be connected, over all listeners and workers.
#[derive(Debug)]
pub(crate) struct ClientLimit {
    all: Slots,
}

impl ClientLimit {
    /// As the descriptors of this process allow.
    pub(crate) fn new() -> Self {
        let all = most_clients(descriptors::limit());
        Self {
            all: Slots::new(usize::try_from(all).unwrap_or(usize::MAX)),
        }
    }

    /// One more at a listener with these slots, if there may be one more.
    pub(crate) fn try_take(&self, listener: &Slots) -> bool {
        if !listener.try_take() {
            return false;
        }
        let taken = self.all.try_take();
        if !taken {
            listener.give_back();
        }
        taken
    }

    pub(crate) fn give_back(&self, listener: &Slots) {
        listener.give_back();
        self.all.give_back();
    }
}

/// A number of things of which each is taken by one at a time.
#[derive(Debug)]
pub(crate) struct Slots {
    taken: AtomicUsize,
    limit: AtomicUsize,
}

impl Slots {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }
    }

    /// From now on there are so many. What is taken stays so.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn try_take(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let one_more = |taken: usize| (taken < limit).then_some(taken + 1);
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
        let limits = ClientLimit { all: Slots::new(3) };
        let (one, other) = (Slots::new(2), Slots::new(2));
        assert!(limits.try_take(&one) && limits.try_take(&one));
        assert!(!limits.try_take(&one), "the listener has two");
        assert!(limits.try_take(&other));
        assert!(!limits.try_take(&other), "all together have three");
        limits.give_back(&one);
        assert!(limits.try_take(&other), "what was refused was not kept");
    }
}
