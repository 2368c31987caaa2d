//! Requests that wait because all servers have as many as they may. Shared by all workers: a slot that one worker frees is taken by
//! whoever's turn it is, on any worker.
//!
//! A request whose turn has come owns the slot that was freed for it until it has looked for a server, but not for ever ([`Turn`]):
//! [`WaitQueue::owned_room`] says how many slots are spoken for, and a request that looks by itself lets the next one go only if there
//! are more.
//!
//! Whose turn it is, and who has waited too long, is decided by [`BurstQueue`]; here it is shared, and those that wait are
//! woken. Costs one read per attempt while nobody waits. Only those that wait, and those that end while others do, take its lock, for as
//! long as it takes to look at the ends of four lists.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::metric::{Counter, DurationHistogram, Sink};
use evenkeel_tolerate::queue::{BurstQueue, DequeueReason, PushResult, ReturnedEntry, Ticket};
use evenkeel_tolerate::{Class, QueueOptions};

use super::turn::{CalledTurns, Turn};

/// The queue of a service.
#[derive(Debug)]
pub(crate) struct WaitQueue {
    line: Mutex<BurstQueue<Arc<Turn>>>,
    /// Those in the line, and those whose turn it is and who have no server yet.
    waiting: AtomicU32,
    /// Those whose turn it is and who have not looked for a server yet.
    called: CalledTurns,
    entered: Counter,
    waited: DurationHistogram,
    /// By class and [`DENIED`].
    denied: [[Counter; DENIED.len()]; Class::ALL.len()],
}

/// So many lost turns are chance.
const LOST: u8 = 3;
/// Why a request got no server, by the words of metrics.
const DENIED: [&str; 3] = ["full", "timeout", "late"];

/// A request in the queue; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    queue: &'a WaitQueue,
    class: Class,
    began: Instant,
    /// Until when it may wait.
    until: Instant,
    /// The latest moment that it knows of, for when it is dropped.
    latest: Instant,
    ticket: Ticket,
    turn: Arc<Turn>,
    /// It has passed its turn on, and waits beside the line.
    is_aside: bool,
    /// It is out of the line, and has passed its turn on or used it.
    is_over: bool,
    /// It may not wait any longer: its client has not given up.
    is_denied: bool,
    /// How often its turn had come and was lost to another.
    lost: u8,
}

impl WaitQueue {
    pub(super) fn new(options: QueueOptions) -> Self {
        Self {
            line: Mutex::new(BurstQueue::new(options)),
            waiting: AtomicU32::new(0),
            called: CalledTurns::default(),
            entered: Counter::default(),
            waited: DurationHistogram::default(),
            denied: Default::default(),
        }
    }

    /// Replaces the options. Those that wait go on waiting, until when they were to wait.
    pub(super) fn set_options(&self, options: QueueOptions) {
        self.line().set_options(options);
    }

    /// Whether it takes up bursts from now on, since limits were found for the servers in an overload.
    pub(super) fn take_up_bursts(&self, on: bool) {
        self.line().take_up_bursts(on);
    }

    /// Whether it takes up a burst now.
    pub(super) fn takes_up_burst(&self) -> bool {
        self.line().takes_up_burst()
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// How many slots of the servers are spoken for: one for each request whose turn has come and that has not looked for a server yet.
    /// None while a worker is stuck that has such a request.
    pub(crate) fn owned_room(&self, now: Instant) -> u32 {
        self.called.owned(now)
    }

    /// Enters a request that is to be done by `deadline` and is expected to take so long (`service`); `None` if the queue is full of
    /// what matters as much.
    pub(crate) fn enter(
        &self,
        now: Instant,
        class: Class,
        deadline: Instant,
        service: Duration,
    ) -> Option<Waiting<'_>> {
        let waiting = self.push(now, class, deadline, service);
        if waiting.is_some() {
            self.entered.add(1);
        } else {
            self.deny(class, DequeueReason::ShedFull);
        }
        waiting
    }

    fn push(
        &self,
        now: Instant,
        class: Class,
        deadline: Instant,
        service: Duration,
    ) -> Option<Waiting<'_>> {
        let turn = Arc::<Turn>::default();
        let mut line = self.line();
        line.expect(service);
        let pushed = line.push(now, class, deadline, Arc::clone(&turn));
        let until = line.waits_until(now, deadline);
        let ticket = match pushed {
            PushResult::Queued(ticket) => ticket,
            PushResult::Displaced(ticket, left) => {
                left.item.call(left.reason);
                ticket
            }
            PushResult::Rejected(_) => return None,
        };
        drop(line);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Some(Waiting {
            queue: self,
            class,
            began: now,
            until,
            latest: now,
            ticket,
            turn,
            is_aside: false,
            is_over: false,
            is_denied: false,
            lost: 0,
        })
    }

    /// An attempt has ended: the next request may look for a server.
    pub(crate) fn free_one(&self, now: Instant) {
        if self.is_empty() {
            return;
        }
        let mut line = self.line();
        if let Some(next) = line.serve(now, |gone| gone.item.call(gone.reason)) {
            self.called.call(next.item, now);
        }
    }

    fn line(&self) -> MutexGuard<'_, BurstQueue<Arc<Turn>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deny(&self, class: Class, reason: DequeueReason) {
        let place = match reason {
            DequeueReason::ShedFull => 0,
            DequeueReason::ShedLate => 2,
            DequeueReason::Expired | DequeueReason::Served | DequeueReason::Cancelled => 1,
        };
        self.denied[class.index()][place].add(1);
    }

    /// The client of one that had waited gave up while it was served, so long after it began to wait.
    pub(crate) fn gave_up(&self, class: Class, age: Duration) {
        self.line().gave_up(class, age);
    }

    /// How many had to wait.
    pub(crate) fn entered(&self) -> u64 {
        self.entered.value()
    }

    /// How many turns have lapsed.
    pub(crate) fn lapsed_turns(&self) -> u64 {
        self.called.lapses()
    }

    /// How many got no server.
    pub(crate) fn denied(&self) -> u64 {
        self.denied.iter().flatten().map(Counter::value).sum()
    }

    /// Its metrics.
    pub(super) fn collect(&self, sink: &mut dyn Sink, service: &str) {
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
        let lapsed = "Requests whose turn came and that did not look for a server in time, since their worker was stuck.";
        sink.counter(
            "evenkeel_queue_turns_lapsed_total",
            lapsed,
            &labels,
            self.called.lapses(),
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

impl<'a> Waiting<'a> {
    /// [`DequeueReason::Served`] if its turn has come and it may look for a server, else why it may not wait any longer; `None` while it waits.
    pub(crate) fn reason(&self) -> Option<DequeueReason> {
        self.turn.reason()
    }

    /// Whether its turn has come, and the slot that was freed for it is still its own.
    pub(crate) fn owns_room(&self) -> bool {
        self.turn.owns_room()
    }

    /// Wakes this when there is a [`Self::reason`].
    pub(crate) fn register(&self, waker: &Waker) {
        self.turn.register(waker);
    }

    /// A server has room, and it looks by itself: the turn is that of the next in the line. If that one may be of a worker that is stuck, and
    /// this one has waited, it is its own.
    pub(crate) fn call_next(&self, now: Instant) {
        let queue = self.queue;
        if now > self.began && queue.called.is_any_stuck() {
            let own = queue.line().take(now, self.ticket);
            if let Some(own) = own {
                queue.called.call(own.item, now);
            }
            return;
        }
        queue.free_one(now);
    }

    /// Until when it may wait.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// When it began to wait.
    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    /// It still waits at this moment.
    pub(crate) fn saw(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
    }

    /// Its turn had come, and only servers have room that it may not go to: the turn is the next one's, and it waits beside the line until
    /// it looks [`Self::again`]. In the line it would be called again instead of that one, if it came last or matters more.
    pub(crate) fn step_aside(&mut self, now: Instant) {
        self.end_turn();
        self.is_aside = true;
        self.queue.free_one(now);
    }

    /// Whether it waits beside the line.
    pub(crate) const fn is_aside(&self) -> bool {
        self.is_aside
    }

    /// It waits in the line again where it stood: its turn had come, and another request was quicker, or it has been beside the line. One
    /// that has been on a server waits for another one, as may one that loses its turn again and again: it goes behind the others
    /// (`is_picky`), and keeps none waiting.
    pub(crate) fn again(&mut self, now: Instant, is_picky: bool) {
        self.lost = self.lost.saturating_add(1);
        self.is_aside = false;
        self.end_turn();
        let back = ReturnedEntry {
            ticket: self.ticket,
            came: self.began,
            until: self.until,
            behind: is_picky || self.lost > LOST,
        };
        let turn = Arc::clone(&self.turn);
        self.ticket = self.queue.line().put_back(now, back, turn);
    }

    /// It has a server.
    pub(crate) fn placed(mut self, now: Instant) {
        self.leave();
        self.queue.waited.add(now.since(self.began));
    }

    /// It gets none.
    pub(crate) fn denied(mut self, now: Instant, reason: DequeueReason) {
        self.saw(now);
        self.is_denied = true;
        self.queue.deny(self.class, reason);
    }

    /// Its turn, if that has come, is used or passed on; another one may come.
    fn end_turn(&mut self) {
        let turn = std::mem::take(&mut self.turn);
        self.queue.called.end(&turn);
    }

    /// It is in the queue no longer.
    fn leave(&mut self) {
        self.is_over = true;
        self.end_turn();
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let gave_up = !self.is_denied;
        let left = (self.queue.line()).cancel(self.latest, self.ticket, gave_up);
        // Its turn may have come without its knowing; it goes with it unused, so it is the next one's.
        let is_unused = left.is_none() && self.owns_room();
        self.leave();
        if is_unused {
            self.queue.free_one(self.latest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);

    fn queue(length: u32) -> WaitQueue {
        WaitQueue::new(QueueOptions {
            length,
            ..QueueOptions::default()
        })
    }

    fn enter(queue: &WaitQueue, class: Class) -> Option<Waiting<'_>> {
        queue.enter(NOW, class, NOW + Duration::from_secs(60), Duration::ZERO)
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
        let least = enter(&queue, Class::Sheddable).expect("room");
        let middle = enter(&queue, Class::Critical).expect("room");
        let most = enter(&queue, Class::CriticalPlus).expect("it matters more");
        assert_eq!(least.reason(), Some(DequeueReason::ShedFull));
        queue.free_one(NOW);
        assert_eq!(most.reason(), Some(DequeueReason::Served));
        assert_eq!(middle.reason(), None);
    }

    #[test]
    fn a_called_request_owns_a_slot_until_it_is_placed_waits_again_or_leaves() {
        let queue = queue(3);
        let mut all = [(); 3].map(|()| enter(&queue, Class::Critical).expect("room"));
        queue.free_one(NOW);
        queue.free_one(NOW);
        assert_eq!(queue.owned_room(NOW), 2);
        all[0].again(NOW, false);
        assert_eq!(queue.owned_room(NOW), 1);
        // The slot goes with the turn, to the request that is called in its place.
        all[1].step_aside(NOW);
        assert_eq!(
            (queue.owned_room(NOW), all[0].reason()),
            (1, Some(DequeueReason::Served))
        );
        all[1].again(NOW, false);
        assert_eq!(queue.owned_room(NOW), 1);
        let [first, second, third] = all;
        drop(first);
        assert_eq!(
            (queue.owned_room(NOW), second.reason()),
            (1, Some(DequeueReason::Served))
        );
        second.placed(NOW);
        assert_eq!((queue.owned_room(NOW), queue.waiting()), (0, 1));
        drop(third);
        queue.free_one(NOW);
        assert_eq!((queue.owned_room(NOW), queue.waiting()), (0, 0));
    }

    #[test]
    fn a_turn_that_is_not_used_is_the_next_ones() {
        let queue = queue(3);
        let first = enter(&queue, Class::Critical).expect("room");
        let second = enter(&queue, Class::Critical).expect("room");
        queue.free_one(NOW);
        // Its client has gone before it saw that its turn had come.
        drop(first);
        assert_eq!(second.reason(), Some(DequeueReason::Served));
        second.placed(NOW);
        assert!(queue.is_empty());
        assert_eq!(queue.waited.snapshot().count(), 1);
    }

    #[test]
    fn a_request_that_steps_aside_is_not_called_before_it_waits_in_the_line_again() {
        let queue = queue(3);
        let mut most = enter(&queue, Class::CriticalPlus).expect("room");
        let middle = enter(&queue, Class::Critical).expect("room");
        queue.free_one(NOW);
        assert_eq!(most.reason(), Some(DequeueReason::Served));
        most.step_aside(NOW);
        assert_eq!((most.reason(), most.is_aside()), (None, true));
        assert_eq!(middle.reason(), Some(DequeueReason::Served));
        assert_eq!(queue.waiting(), 2);
        queue.free_one(NOW);
        assert_eq!(most.reason(), None);
        most.again(NOW, true);
        assert!(!most.is_aside());
        // Its client has gone: nobody has to be told of a turn.
        drop(most);
        middle.placed(NOW);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_request_that_leaves_while_it_is_aside_passes_no_turn_on() {
        let queue = queue(3);
        let mut first = enter(&queue, Class::Critical).expect("room");
        queue.free_one(NOW);
        first.step_aside(NOW);
        let second = enter(&queue, Class::Critical).expect("room");
        drop(first);
        assert_eq!((queue.waiting(), second.reason()), (1, None));
    }

    #[test]
    fn a_request_that_loses_its_turn_to_another_waits_again() {
        let queue = queue(3);
        let mut first = enter(&queue, Class::Critical).expect("room");
        queue.free_one(NOW);
        let second = enter(&queue, Class::Critical).expect("room");
        first.again(NOW, false);
        assert_eq!((queue.waiting(), first.reason()), (2, None));
        queue.free_one(NOW);
        assert_eq!(
            first.reason(),
            Some(DequeueReason::Served),
            "before the other"
        );
        first.placed(NOW);
        drop(second);
        assert!(queue.is_empty());
    }
}
