//! A queue that takes up a burst: for servers whose limits were found just now, because more comes than they can do.
//!
//! Intuition: a short overload is over before clients lose patience, so whoever waits meanwhile is served in the end, and refusing
//! them only loses what could have been done. A long one is not, and then a queue that stands is only delay. Nobody knows which it is
//! when it begins. So at first entries wait for up to five seconds, in order of arrival, and none is refused that could still be served.
//! Clients that give up tell how long they wait, in the queue or with what they were served too late: from then on whoever has waited for
//! nine tenths of that goes, so that the servers do not work for those that are about to leave. And the queue's own options hold
//! again, so that what is served is fresh, once the queue has stood for ten seconds and does not become shorter.
//!
//! What cannot be served in time is refused when it comes, not after it has waited in vain: the expected wait is the number of entries
//! before it, divided by how many are served in a second (Little's law).

use std::time::Duration;

use evenkeel_core::Instant;

use super::{
    CodelRule, DequeueReason, Dequeued, PushResult, Queue, QueueOptions, QueueSnapshot,
    ReturnedEntry, Ticket,
};
use crate::Class;

/// An entry waits no longer in a burst, unless the queue's own options say so: what HAProxy's examples set for `timeout connect`, and with
/// it for its queue.
const PATIENCE: Duration = Duration::from_secs(5);
/// A queue that has stood for so long is no burst, unless it becomes shorter.
const LONG: Duration = Duration::from_secs(10);
/// Entries at most in a burst. Each is a request that would be in flight on a server if there were no queue.
const LENGTH: u32 = 16_384;
/// Over which time it is counted who was served and who gave up.
const WINDOW: Duration = Duration::from_secs(1);
/// After so much of it, it tells how many are served in a second.
const ENOUGH: Duration = Duration::from_millis(500);
/// So many that gave up are no accident …
const LEAST: u32 = 5;
/// … if they are one in so many of those that left: some clients leave at any time, for reasons of their own.
const GAVE_UP: u32 = 4;
/// So much of the time that clients wait they may spend in the queue, less what a request takes.
const SHARE: f64 = 0.9;
/// Only what is expected to wait for so many times what it may is refused: how many are served in a second is an estimate.
const SLACK: f64 = 1.25;

/// A [`Queue`] that can be told to take up bursts.
#[derive(Debug)]
pub struct BurstQueue<T> {
    queue: Queue<T>,
    options: QueueOptions,
    /// While it is to take up bursts.
    burst: Option<Burst>,
}

/// What is known of the burst under way, or the last one.
#[derive(Debug, Default)]
struct Burst {
    /// It was too long: the queue's own options hold.
    is_over: bool,
    began: Instant,
    /// When one had to wait behind another last.
    stood: Instant,
    counted_since: Instant,
    /// By class.
    served: [u32; 4],
    /// By class, with the time that they had waited.
    gave_up: [(u32, Duration); 4],
    /// Who has waited for so long is not served if others can be.
    bound: Option<Duration>,
    /// How many were served in a second of the last window, if that is known.
    per_second: Option<f64>,
    /// How many waited at the end of the last window.
    waiting: usize,
}

impl<T> BurstQueue<T> {
    /// Empty, and nothing but a [`Queue`] with these options.
    #[must_use]
    pub fn new(options: QueueOptions) -> Self {
        Self {
            queue: Queue::new(options),
            options,
            burst: None,
        }
    }

    /// Replaces the options. What waits goes on waiting, until when it was to wait.
    pub fn set_options(&mut self, options: QueueOptions) {
        if options != self.options {
            self.options = options;
            self.reconfigure();
        }
    }

    /// Whether it takes up bursts from now on.
    pub fn take_up_bursts(&mut self, on: bool) {
        if on != self.burst.is_some() {
            self.burst = on.then(Burst::default);
            self.reconfigure();
        }
    }

    /// Whether it takes up a burst now, if one comes: what is refused beside the queue would be served later.
    #[must_use]
    pub fn takes_up_burst(&self) -> bool {
        self.burst.as_ref().is_some_and(|burst| !burst.is_over)
    }

    /// What a request takes from now on that is served: see [`Queue::expect`].
    pub const fn expect(&mut self, service: Duration) {
        self.queue.expect(service);
    }

    /// Until when an entry would wait at most that came now: see [`Queue::waits_until`].
    #[must_use]
    pub fn waits_until(&self, now: Instant, deadline: Instant) -> Instant {
        self.queue.waits_until(now, deadline)
    }

    /// Puts something in that is to be done by `deadline`: see [`Queue::push`]. In a burst it is also refused if it could not be served
    /// in time.
    pub fn push(
        &mut self,
        now: Instant,
        class: Class,
        deadline: Instant,
        item: T,
    ) -> PushResult<T> {
        let before: usize = self.queue.snapshot().waiting[class.index()..].iter().sum();
        if let Some(burst) = &mut self.burst {
            let was_over = burst.is_over;
            burst.enters(now, self.queue.is_empty());
            if was_over != burst.is_over {
                self.reconfigure();
            }
        }
        let longest = self.queue.waits_until(now, deadline).since(now);
        let burst = self.burst.as_ref().filter(|burst| !burst.is_over);
        if burst.is_some_and(|burst| burst.is_in_vain(now, before, longest)) {
            self.queue.refused += 1;
            return PushResult::Rejected(item);
        }
        self.queue.push(now, class, deadline, item)
    }

    /// Takes out until there is one to serve: see [`Queue::serve`].
    pub fn serve(
        &mut self,
        now: Instant,
        mut gone: impl FnMut(Dequeued<T>),
    ) -> Option<Dequeued<T>> {
        loop {
            let served = self.queue.serve(now, &mut gone)?;
            let others = self.queue.len();
            let Some(burst) = &self.burst else {
                return Some(served);
            };
            let bound = burst.bound.filter(|_| !burst.is_over && others > 0);
            if bound.is_some_and(|bound| served.waited > bound) {
                self.queue.left[DequeueReason::Served as usize] -= 1;
                self.queue.left[DequeueReason::ShedLate as usize] += 1;
                let reason = DequeueReason::ShedLate;
                gone(Dequeued { reason, ..served });
                continue;
            }
            self.count_served(now, served.class);
            return Some(served);
        }
    }

    /// Takes an entry out to be served, whoever is before it; `None` if it has left already.
    pub fn take(&mut self, now: Instant, ticket: Ticket) -> Option<Dequeued<T>> {
        let left = self.queue.cancel(now, ticket)?;
        self.queue.left[left.reason as usize] -= 1;
        let reason = DequeueReason::Served;
        self.queue.left[reason as usize] += 1;
        self.count_served(now, left.class);
        Some(Dequeued { reason, ..left })
    }

    /// Puts back what was taken out to be served and found no place after all: see [`Queue::put_back`].
    pub fn put_back(&mut self, now: Instant, back: ReturnedEntry, item: T) -> Ticket {
        if let Some(burst) = &mut self.burst {
            let served = &mut burst.served[back.ticket.class.index()];
            *served = served.saturating_sub(1);
        }
        self.queue.put_back(now, back, item)
    }

    /// Takes an entry back; `None` if it has left already. `gave_up`: its client did not want to wait any longer.
    pub fn cancel(&mut self, now: Instant, ticket: Ticket, gave_up: bool) -> Option<Dequeued<T>> {
        let left = self.queue.cancel(now, ticket)?;
        if gave_up {
            self.gave_up(ticket.class, left.waited);
        }
        Some(left)
    }

    /// A client gave up so long after its request was put in, which has waited or has been served since.
    pub fn gave_up(&mut self, class: Class, age: Duration) {
        let service = self.queue.service;
        if let Some(burst) = &mut self.burst {
            burst.gives_up(class, age, service);
        }
    }

    /// Takes out one whose deadline has passed: see [`Queue::expire`].
    pub fn expire(&mut self, now: Instant) -> Option<Dequeued<T>> {
        self.queue.expire(now)
    }

    /// What it did and holds.
    #[must_use]
    pub fn snapshot(&self) -> QueueSnapshot {
        self.queue.snapshot()
    }

    /// One is served; a burst may be over by now.
    fn count_served(&mut self, now: Instant, class: Class) {
        let others = self.queue.len();
        if let Some(burst) = &mut self.burst {
            let was_over = burst.is_over;
            burst.served(now, class, others);
            if burst.is_over && !was_over {
                self.reconfigure();
            }
        }
    }

    /// What waits goes on waiting, until when it was to wait.
    fn reconfigure(&mut self) {
        let takes_up_burst = self.takes_up_burst();
        self.queue.reconfigure(if takes_up_burst {
            QueueOptions {
                length: self.options.length.max(LENGTH),
                wait: self.options.wait.max(PATIENCE),
                codel: CodelRule::Off,
                ..self.options
            }
        } else {
            self.options
        });
    }
}

impl Burst {
    /// One comes. What stood for too long is a burst again only after a while without a queue.
    fn enters(&mut self, now: Instant, is_first: bool) {
        if is_first && (!self.is_over || now.since(self.stood) >= LONG) {
            *self = Self {
                began: now,
                stood: now,
                counted_since: now,
                ..Self::default()
            };
        }
        if !is_first {
            self.stood = now;
        }
    }

    /// One is served, and so many still wait.
    fn served(&mut self, now: Instant, class: Class, waiting: usize) {
        let served = &mut self.served[class.index()];
        *served = served.saturating_add(1);
        if now.since(self.counted_since) >= WINDOW {
            // By more than chance.
            let is_shrinking = waiting + waiting / 50 < self.waiting;
            self.is_over |= now.since(self.began) >= LONG && !is_shrinking;
            self.per_second = self.rate(now);
            self.waiting = waiting;
            self.counted_since = now;
            (self.served, self.gave_up) = Default::default();
        }
    }

    /// A client has given up after so long. What a class that is served at all says of it is how long clients wait; one that is not waits
    /// for those that matter more.
    fn gives_up(&mut self, class: Class, age: Duration, service: Duration) {
        let served = self.served[class.index()];
        let (number, ages) = &mut self.gave_up[class.index()];
        *number = number.saturating_add(1);
        *ages += age;
        let is_part = number.saturating_mul(GAVE_UP) >= number.saturating_add(served);
        if served > 0 && *number >= LEAST && is_part {
            let patience = *ages / *number;
            let bound = patience.mul_f64(SHARE).saturating_sub(service);
            self.bound = Some(self.bound.map_or(bound, |known| known.min(bound)));
            self.gave_up = Default::default();
        }
    }

    /// How many are served in a second, if that can be told.
    fn rate(&self, now: Instant) -> Option<f64> {
        let counted = now.since(self.counted_since);
        let served = self
            .served
            .iter()
            .fold(0_u32, |all, one| all.saturating_add(*one));
        if counted < ENOUGH || served == 0 {
            return self.per_second;
        }
        Some(f64::from(served) / counted.as_secs_f64())
    }

    /// Whether one that may wait for so long and has so many before it would not be served in time.
    fn is_in_vain(&self, now: Instant, before: usize, longest: Duration) -> bool {
        let wait = self.rate(now).map(|rate| before as f64 / rate);
        let most = match self.bound {
            Some(bound) => bound.min(longest).as_secs_f64(),
            None => longest.as_secs_f64() * SLACK,
        };
        wait.is_some_and(|wait| wait > most)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// One place that takes ten milliseconds, clients that come at a steady rate, and how long they wait.
    struct Model {
        queue: BurstQueue<u64>,
        millis: u64,
        patience: u64,
        /// One in so many clients leaves after 50 ms, whatever happens.
        restless: u64,
        tickets: BTreeMap<u64, (u64, Ticket)>,
        number: u64,
        served: u64,
        refused: u64,
        /// The waits of those served last.
        waits: Vec<Duration>,
    }

    impl Model {
        fn new(patience: u64) -> Self {
            let mut queue = BurstQueue::new(QueueOptions::default());
            queue.take_up_bursts(true);
            Self {
                queue,
                millis: 0,
                patience,
                restless: u64::MAX,
                tickets: BTreeMap::new(),
                number: 0,
                served: 0,
                refused: 0,
                waits: Vec::new(),
            }
        }

        /// For so long, one comes every so many milliseconds.
        fn run(&mut self, millis: u64, every: u64) -> &mut Self {
            for _ in 0..millis {
                self.millis += 1;
                let now = Instant::from_millis(self.millis);
                if self.millis.is_multiple_of(every) {
                    self.comes(now);
                }
                let (millis, patience, restless) = (self.millis, self.patience, self.restless);
                let leaves = |(number, (came, _)): &(&u64, &(u64, Ticket))| {
                    let is_restless = number.is_multiple_of(restless);
                    millis - *came > if is_restless { 50 } else { patience }
                };
                let leaving = self.tickets.iter().filter(leaves);
                let leaving: Vec<u64> = leaving.map(|(number, _)| *number).collect();
                for number in leaving {
                    let (_, ticket) = self.tickets.remove(&number).expect("it waits");
                    self.queue.cancel(now, ticket, true);
                }
                if self.millis.is_multiple_of(10) {
                    let (refused, tickets) = (&mut self.refused, &mut self.tickets);
                    let next = self.queue.serve(now, |left| {
                        *refused += 1;
                        tickets.remove(&left.item);
                    });
                    if let Some(next) = next {
                        assert_eq!(next.reason, DequeueReason::Served);
                        tickets.remove(&next.item);
                        self.served += 1;
                        self.waits.push(next.waited);
                    }
                }
            }
            self
        }

        fn comes(&mut self, now: Instant) {
            self.number += 1;
            let deadline = now + Duration::from_secs(30);
            match self.queue.push(now, Class::Critical, deadline, self.number) {
                PushResult::Queued(ticket) => {
                    self.tickets.insert(self.number, (self.millis, ticket));
                }
                PushResult::Displaced(..) => unreachable!("all are of one class"),
                PushResult::Rejected(_) => self.refused += 1,
            }
        }
    }

    #[test]
    fn a_short_overload_refuses_nobody() {
        let mut model = Model::new(4_000);
        model.run(1_000, 20).run(8_000, 7).run(20_000, 30);
        assert_eq!((model.refused, model.queue.snapshot().left[4]), (0, 0));
        assert!(model.waits.iter().max() > Some(&Duration::from_secs(3)));
    }

    #[test]
    fn clients_that_leave_for_reasons_of_their_own_tell_nothing() {
        let mut model = Model::new(4_000);
        model.restless = 25;
        model.run(1_000, 20).run(8_000, 7).run(20_000, 30);
        assert_eq!(model.refused, 0);
    }

    #[test]
    fn a_long_one_serves_what_is_fresh_and_as_much_as_it_can() {
        let mut model = Model::new(60_000);
        model.run(14_000, 7);
        model.waits.clear();
        model.served = 0;
        model.run(20_000, 7);
        assert!(model.served >= 1_990, "{}", model.served);
        assert!(model.waits.iter().max() <= Some(&Duration::from_millis(450)));
        // It does not begin anew as soon as nobody waits.
        model.run(500, 100).run(5_000, 5);
        let latest = &model.waits[model.waits.len() - 100..];
        assert!(latest.iter().max() <= Some(&Duration::from_millis(450)));
        // After a while it does.
        model.run(12_000, 100).refused = 0;
        model.run(4_000, 7);
        assert_eq!(model.refused, 0);
    }

    #[test]
    fn clients_that_give_up_tell_how_long_one_may_wait() {
        let mut model = Model::new(1_000);
        model.run(3_000, 2);
        model.waits.clear();
        model.served = 0;
        model.run(3_000, 2);
        assert!(model.served >= 298, "{}", model.served);
        assert!(model.waits.iter().max() <= Some(&Duration::from_millis(910)));
        // With what they were served too late, too.
        for _ in 0..40 {
            (model.queue).gave_up(Class::Critical, Duration::from_millis(400));
        }
        model.run(1_000, 2).waits.clear();
        model.run(1_000, 2);
        assert!(model.waits.iter().max() <= Some(&Duration::from_millis(370)));
    }

    #[test]
    fn what_would_wait_too_long_is_refused_when_it_comes() {
        let mut model = Model::new(60_000);
        // Five times what it can do: 5 s of waiting are there after little more than a second.
        model.run(4_000, 2);
        let waiting: usize = model.queue.snapshot().waiting.iter().sum();
        assert!((500..=640).contains(&waiting), "{waiting}");
        assert_eq!(
            model.queue.snapshot().refused + waiting as u64 + model.served,
            2_000
        );
    }

    #[test]
    fn an_entry_that_is_taken_out_of_order_counts_as_served() {
        let mut queue = BurstQueue::new(QueueOptions::default());
        let now = Instant::from_millis(1);
        let tickets =
            [1, 2].map(
                |item| match queue.push(now, Class::Critical, Instant::NEVER, item) {
                    PushResult::Queued(ticket) => ticket,
                    PushResult::Displaced(..) | PushResult::Rejected(_) => panic!("there is room"),
                },
            );
        let taken = queue
            .take(now, tickets[1])
            .map(|left| (left.item, left.reason));
        assert_eq!(taken, Some((2, DequeueReason::Served)));
        assert!(queue.take(now, tickets[1]).is_none());
        let snapshot = queue.snapshot();
        assert_eq!(snapshot.left[DequeueReason::Served as usize], 1);
        assert_eq!(snapshot.left[DequeueReason::Cancelled as usize], 0);
        let next = queue.serve(now, |_| panic!("none has waited too long"));
        assert_eq!(next.map(|left| left.item), Some(1));
    }

    #[test]
    fn otherwise_it_is_a_queue() {
        let mut queue = BurstQueue::new(QueueOptions::default());
        let now = Instant::from_millis(1);
        assert_eq!(
            queue.waits_until(now, Instant::NEVER),
            now + Duration::from_secs(1)
        );
        queue.take_up_bursts(true);
        assert_eq!(queue.waits_until(now, Instant::NEVER), now + PATIENCE);
        let pushed = queue.push(now, Class::Critical, Instant::NEVER, 1);
        queue.take_up_bursts(false);
        assert_eq!(
            queue.waits_until(now, Instant::NEVER),
            now + Duration::from_secs(1)
        );
        let PushResult::Queued(ticket) = pushed else {
            panic!("it was empty");
        };
        let later = now + Duration::from_secs(4);
        let left = queue.cancel(later, ticket, true);
        assert_eq!(
            left.map(|left| left.reason),
            Some(DequeueReason::Cancelled),
            "it went on waiting"
        );
    }
}
