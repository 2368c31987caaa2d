//! Requests that wait because all servers have as many as they may. Shared by all workers: a place that one worker frees
//! is taken by whoever's turn it is, on any worker.
//!
//! Whose turn it is, and who has waited too long, is decided by [`evenkeel_tolerate::Queue`]; here it is shared and waited in. Costs one read
//! per attempt while nobody waits. Only those that wait, and those that end while others do, take its lock, for as long as
//! it takes to look at the ends of four lists.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::metric::{Counter, DurationHistogram, Sink};
use evenkeel_runtime::Clock;
use evenkeel_tolerate::queue::{Pushed, Reason, Ticket};
use evenkeel_tolerate::{Class, QueueOptions};
use tokio::sync::oneshot;

/// The queue of a service.
#[derive(Debug)]
pub(crate) struct Queue {
    clock: Clock,
    line: Mutex<evenkeel_tolerate::Queue<oneshot::Sender<Reason>>>,
    /// Those in the line, and those whose turn it is and who have no place yet.
    waiting: AtomicU32,
    entered: Counter,
    waited: DurationHistogram,
    /// By class and [`DENIED`].
    denied: [[Counter; DENIED.len()]; Class::ALL.len()],
}

/// Why a request got no place, by the words of metrics.
const DENIED: [&str; 3] = ["full", "timeout", "late"];

/// A request in the queue; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    queue: &'a Queue,
    class: Class,
    began: Instant,
    /// By when the request is to be done.
    deadline: Instant,
    /// Until when it may wait.
    until: Instant,
    ticket: Ticket,
    turn: oneshot::Receiver<Reason>,
    /// It was called, and whether it found a place is not known yet.
    called: bool,
}

impl Queue {
    pub(crate) fn new(options: QueueOptions, clock: Clock) -> Self {
        Self {
            clock,
            line: Mutex::new(evenkeel_tolerate::Queue::new(options)),
            waiting: AtomicU32::new(0),
            entered: Counter::default(),
            waited: DurationHistogram::default(),
            denied: Default::default(),
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// A place to wait for something that is to be done by `deadline` and is expected to take so long (`service`); nothing if the queue is
    /// full of what matters as much.
    pub(crate) fn enter(
        &self,
        now: Instant,
        class: Class,
        deadline: Instant,
        service: Duration,
    ) -> Option<Waiting<'_>> {
        self.line().expect(service);
        let waiting = self.push(now, class, deadline, now);
        if waiting.is_some() {
            self.entered.add(1);
        } else {
            self.deny(class, Reason::ShedFull);
        }
        waiting
    }

    fn push(
        &self,
        now: Instant,
        class: Class,
        deadline: Instant,
        began: Instant,
    ) -> Option<Waiting<'_>> {
        let (sender, turn) = oneshot::channel();
        let mut line = self.line();
        let until = line.waits_until(now, deadline);
        let ticket = match line.push(now, class, deadline, sender) {
            Pushed::Waits(ticket) => ticket,
            Pushed::Instead(ticket, left) => {
                call(left.item, left.reason);
                ticket
            }
            Pushed::Refused(_) => return None,
        };
        drop(line);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Some(Waiting {
            queue: self,
            class,
            began,
            deadline,
            until,
            ticket,
            turn,
            called: false,
        })
    }

    /// An attempt has ended: the next one may look for a place.
    pub(crate) fn free_one(&self) {
        if self.is_empty() {
            return;
        }
        let now = self.clock.now();
        let mut line = self.line();
        // Who does not listen any more has gone.
        while let Some(next) = line.serve(now, |gone| _ = call(gone.item, gone.reason)) {
            if call(next.item, Reason::Served) {
                break;
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, evenkeel_tolerate::Queue<oneshot::Sender<Reason>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deny(&self, class: Class, reason: Reason) {
        let place = match reason {
            Reason::ShedFull => 0,
            Reason::ShedLate => 2,
            Reason::Expired | Reason::Served | Reason::Cancelled => 1,
        };
        self.denied[class.index()][place].add(1);
    }

    /// How many found no place.
    pub(crate) fn denied(&self) -> u64 {
        self.denied.iter().flatten().map(Counter::value).sum()
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
        let waited = "How long requests waited that found a place.";
        sink.durations(
            "evenkeel_queue_wait_seconds",
            waited,
            &labels,
            &self.waited.snapshot(),
        );
        let denied = "Requests that found no place: the queue was full, they waited as long as they may, or too long while all did.";
        for class in Class::ALL {
            for (reason, counter) in DENIED.iter().zip(&self.denied[class.index()]) {
                let value = counter.value();
                if value == 0 && class != Class::Critical {
                    continue;
                }
                let labels = [
                    ("service", service),
                    ("class", class.word()),
                    ("reason", *reason),
                ];
                sink.counter("evenkeel_queue_denied_total", denied, &labels, value);
            }
        }
    }
}

/// Tells one that waits; `false` if it does not listen any more.
fn call(waiting: oneshot::Sender<Reason>, reason: Reason) -> bool {
    waiting.send(reason).is_ok()
}

impl Waiting<'_> {
    /// Waits for its turn: [`Reason::Served`] if it may look for a place now, else why it may not wait any longer.
    pub(crate) async fn turn(&mut self) -> Reason {
        // Nobody drops the other end without a word.
        let reason = (&mut self.turn).await.unwrap_or(Reason::Cancelled);
        self.called = reason == Reason::Served;
        reason
    }

    /// Until when it may wait.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// It was its turn, and somebody else was quicker: it waits again.
    pub(crate) fn again(mut self, now: Instant) -> Option<Self> {
        self.called = false;
        let Some(mut again) = self.queue.push(now, self.class, self.deadline, self.began) else {
            self.queue.deny(self.class, Reason::ShedFull);
            return None;
        };
        again.until = again.until.min(self.until);
        Some(again)
    }

    /// It has a place.
    pub(crate) fn placed(mut self, now: Instant) {
        self.called = false;
        self.queue.waited.add(now.since(self.began));
    }

    /// It has none, and goes.
    pub(crate) fn denied(self, reason: Reason) {
        self.queue.deny(self.class, reason);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = self.queue.clock.now();
        let was_in_line = self.queue.line().cancel(now, self.ticket).is_some();
        // Its turn may have come without its knowing.
        let called = self.called || (!was_in_line && self.turn.try_recv() == Ok(Reason::Served));
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        if called {
            // It goes with its turn unused: that is the next one's then.
            self.queue.free_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(length: u32) -> Queue {
        let options = QueueOptions {
            length,
            ..QueueOptions::default()
        };
        Queue::new(options, Clock::start())
    }

    fn enter(queue: &Queue, class: Class) -> Option<Waiting<'_>> {
        let now = queue.clock.now();
        queue.enter(now, class, now + Duration::from_secs(60), Duration::ZERO)
    }

    #[test]
    fn it_holds_as_many_as_it_is_long() {
        let queue = queue(2);
        let first = enter(&queue, Class::Critical);
        let second = enter(&queue, Class::Critical);
        assert!(first.is_some() && second.is_some());
        assert!(enter(&queue, Class::Critical).is_none());
        drop(first);
        assert_eq!(queue.waiting(), 1);
        assert!(enter(&queue, Class::Critical).is_some());
        drop(second);
        assert!(queue.is_empty());
        assert_eq!(queue.entered.value(), 3);
        assert_eq!(queue.denied[Class::Critical.index()][0].value(), 1);
    }

    #[test]
    fn what_matters_more_takes_a_place_and_a_turn_before_others() {
        let queue = queue(2);
        let mut least = enter(&queue, Class::Sheddable).expect("room");
        let mut middle = enter(&queue, Class::Critical).expect("room");
        let mut most = enter(&queue, Class::CriticalPlus).expect("it matters more");
        assert_eq!(least.turn.try_recv(), Ok(Reason::ShedFull));
        queue.free_one();
        assert_eq!(most.turn.try_recv(), Ok(Reason::Served));
        assert!(middle.turn.try_recv().is_err());
    }

    #[test]
    fn a_turn_that_is_not_used_is_the_next_ones() {
        let queue = queue(3);
        let first = enter(&queue, Class::Critical).expect("room");
        let mut second = enter(&queue, Class::Critical).expect("room");
        queue.free_one();
        // Its client has gone before it saw that its turn had come.
        drop(first);
        assert_eq!(second.turn.try_recv(), Ok(Reason::Served));
        let now = queue.clock.now();
        second.placed(now);
        assert!(queue.is_empty());
        assert_eq!(queue.waited.snapshot().count(), 1);
    }
}
