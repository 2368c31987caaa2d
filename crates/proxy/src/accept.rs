//! Accepting clients: as many as the listener may have, over all workers, and never so many that there is no descriptor left
//! to reach a server with.
//!
//! One client too many is accepted and closed at once, so that it knows. If descriptors run out all the same, accepting pauses,
//! longer each time, and clients wait in the kernel's queue.

use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_config::plan::most_clients;
use evenkeel_connect::is_local;
use evenkeel_runtime::descriptors;
use tokio::net::TcpListener;

use crate::client;
use crate::descriptors::CLIENT;
use crate::worker::Worker;

/// Pauses when no connection can be accepted, so that the loop does not spin.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
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

    fn try_take(&self, listener: usize) -> bool {
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

    fn give_back(&self, listener: usize) {
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

/// Accepts a listener's connections for ever.
pub(crate) async fn accept(worker: Rc<Worker>, index: usize, listener: Rc<TcpListener>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                let Some(open) = OpenConnection::new(&worker, index) else {
                    worker.counters.connections_refused.add_from_owner(1);
                    continue;
                };
                tokio::task::spawn_local(async move {
                    client::serve(&open.worker, open.listener, stream, peer).await;
                    drop(open);
                });
            }
            // It was gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if is_local(&error) {
                    worker.lacks(CLIENT, &error);
                    worker.upstreams.close_all();
                } else {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                worker.clock.sleep_until(worker.clock.now() + pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Counts a client connection for as long as it lives, whatever ends it.
struct OpenConnection {
    worker: Rc<Worker>,
    listener: usize,
}

impl OpenConnection {
    /// One more, if there may be one more.
    fn new(worker: &Rc<Worker>, listener: usize) -> Option<Self> {
        if !worker.state.clients.try_take(listener) {
            return None;
        }
        worker.counters.connections_opened.add_from_owner(1);
        worker.connections.set(worker.connections.get() + 1);
        Some(Self {
            worker: Rc::clone(worker),
            listener,
        })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.state.clients.give_back(self.listener);
        worker.counters.connections_closed.add_from_owner(1);
        worker.connections.set(worker.connections.get() - 1);
        if worker.draining.get() && worker.connections.get() == 0 {
            worker.all_closed.notify_one();
        }
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
