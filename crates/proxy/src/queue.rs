//! Requests that wait because all servers have as many as they may. Shared by all workers: a place that one worker frees
//! is taken by whoever waits longest, on any worker.
//!
//! Costs one read per attempt while nobody waits.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evenkeel_config::plan::QueuePlan;
use evenkeel_core::metric::{Counter, Sink};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The queue of a service.
#[derive(Debug)]
pub(crate) struct Queue {
    length: u32,
    pub(crate) wait: Duration,
    waiting: AtomicU32,
    freed: Notify,
    /// Requests that waited.
    pub(crate) entered: Counter,
    /// Requests that found no place to wait.
    pub(crate) refused: Counter,
    /// Requests that waited for nothing.
    pub(crate) expired: Counter,
}

/// A place in the queue; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Queue);

impl Queue {
    pub(crate) fn new(plan: QueuePlan) -> Self {
        Self {
            length: plan.length,
            wait: plan.wait,
            waiting: AtomicU32::new(0),
            freed: Notify::new(),
            entered: Counter::default(),
            refused: Counter::default(),
            expired: Counter::default(),
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// A place, if there is one.
    pub(crate) fn enter(&self) -> Option<Waiting<'_>> {
        let one_more = |waiting| (waiting < self.length).then_some(waiting + 1);
        self.waiting
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .ok()?;
        self.entered.add(1);
        Some(Waiting(self))
    }

    /// An attempt has ended: whoever waits longest may look again.
    pub(crate) fn free_one(&self) {
        if !self.is_empty() {
            self.freed.notify_one();
        }
    }

    /// Waits until an attempt has ended, in the order in which they began to wait.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Its numbers.
    pub(crate) fn collect(&self, sink: &mut dyn Sink, service: &str) {
        let labels = [("service", service)];
        let waiting = "Requests that wait because all servers have as many as they may.";
        sink.gauge(
            "evenkeel_queue_waiting",
            waiting,
            &labels,
            f64::from(self.waiting()),
        );
        let entered = "Requests that had to wait.";
        sink.counter(
            "evenkeel_queue_entered_total",
            entered,
            &labels,
            self.entered.value(),
        );
        let denied = "Requests that were refused because the queue was full, or because they had waited too long.";
        for (reason, counter) in [("full", &self.refused), ("timeout", &self.expired)] {
            let labels = [("service", service), ("reason", reason)];
            sink.counter(
                "evenkeel_queue_denied_total",
                denied,
                &labels,
                counter.value(),
            );
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_as_many_as_it_is_long() {
        let queue = Queue::new(QueuePlan {
            length: 2,
            wait: Duration::from_secs(1),
        });
        let (first, second) = (queue.enter(), queue.enter());
        assert!(first.is_some() && second.is_some() && queue.enter().is_none());
        drop(first);
        assert_eq!(queue.waiting(), 1);
        assert!(queue.enter().is_some());
        drop(second);
        assert!(queue.is_empty());
        assert_eq!(queue.entered.value(), 3);
    }
}
