//! Where requests wait for a slot, and which of them are still worth serving.
//!
//! Intuition: a queue is for bursts. It has to be short enough that what comes out of it is still wanted, so each entry is
//! examined when it leaves. One past its deadline is not served: its client has gone, and serving it is the work that turns
//! a short stall into an endless outage. One that waited too long while all others did too is rejected, by
//! [CoDel](crate::queue::codel). Higher classes go first; when the queue is full, the newest entry of the lowest class makes
//! room for a higher class, because it has waited least in vain.
//!
//! An entry that leaves the queue still has to be served before its deadline. So it waits for half of what its deadline
//! leaves besides the time of a request ([`Queue::expect`]), and no longer than `wait`; if that is nothing, a queue is of no
//! use to it. The target of CoDel shrinks in the same proportion. A free slot is then never given to an entry that cannot be
//! served in time, and a queue does no worse than none.
//!
//! While a queue persists, in order of arrival all entries wait just about too long. Newest first serves some in time and
//! lets the oldest expire (Maurer, "Fail at scale"). That is not fair, so it is an option, and only while the queue has not
//! been empty for an interval.

pub mod codel;
mod burst;
mod reason;
mod service_time;

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::{Instant, duration_from_seconds};
use serde::{Deserialize, Serialize};

pub use burst::BurstQueue;
pub use codel::{Codel, CodelOptions, MinimumDelay};
pub use reason::DequeueReason;
pub use service_time::ServiceTime;

use crate::Class;

/// The options of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct QueueOptions {
    /// Entries at most, of all classes together. Default 128.
    pub length: u32,
    /// How long an entry waits at most. Default 1 s. One with a deadline waits for no more than half of what that leaves
    /// besides the time of a request, where that is known.
    #[serde(with = "crate::serde_duration")]
    pub wait: Duration,
    /// When an entry has waited too long. Default [`CodelRule::MinimumDelay`] with a target of 200 ms and an interval of 1
    /// s, a fifth of `wait` and all of it: measured, the 5 ms and 100 ms of network queues reject a tenth of what a server
    /// with requests of 30 ms could serve. The target has to be several times the time of a request.
    pub codel: CodelRule,
    /// Newest first while the queue has not been empty for this long; `None` for never. Default none; 100 ms is Maurer's.
    #[serde(with = "crate::serde_duration::optional")]
    pub newest_first_after: Option<Duration>,
}

impl QueueOptions {
    /// How long an entry with so much time `left` waits at most, if a request takes `service`: half of what is left besides
    /// that, so that the other half covers a request that takes longer. All of it if `service` is zero (unknown).
    #[must_use]
    pub fn longest_wait(&self, left: Duration, service: Duration) -> Duration {
        let useful = if service.is_zero() {
            left
        } else {
            left.saturating_sub(service) / 2
        };
        useful.min(self.wait)
    }
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            length: 128,
            wait: Duration::from_secs(1),
            codel: CodelRule::MinimumDelay(CodelOptions {
                target: Duration::from_millis(200),
                interval: Duration::from_secs(1),
            }),
            newest_first_after: None,
        }
    }
}

/// The rule for entries that have waited too long, for each class separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodelRule {
    /// None: only deadlines count.
    Off,
    /// Reject at once what waited more than twice the target, while all do: for requests, whose senders do not slow down.
    MinimumDelay(CodelOptions),
    /// Drop one, then more often, until waits are below the target: for senders that slow down.
    Rfc8289(CodelOptions),
}

/// An entry that has left the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "its owner waits for it"]
pub struct Dequeued<T> {
    /// The item.
    pub item: T,
    /// Why it left.
    pub reason: DequeueReason,
    /// Its class.
    pub class: Class,
    /// How long it waited.
    pub waited: Duration,
}

/// Identifies an entry, to cancel it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    class: Class,
    number: u64,
}

/// An entry that was taken out to be served, and found no slot after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnedEntry {
    /// The ticket that it had.
    pub ticket: Ticket,
    /// When it was first added.
    pub came: Instant,
    /// Until when it waits, as before.
    pub until: Instant,
    /// It goes behind all others of its class, not where it stood.
    pub behind: bool,
}

/// The result of [`Queue::push`].
#[derive(Debug)]
#[must_use = "the owner of a rejected or displaced item has to be informed"]
pub enum PushResult<T> {
    /// It waits.
    Queued(Ticket),
    /// It waits, and this entry was displaced for it.
    Displaced(Ticket, Dequeued<T>),
    /// The queue is full, and no entry is of a lower class. Returns the item.
    Rejected(T),
}

/// State and counts of a queue, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueSnapshot {
    /// Entries now, by [`Class::index`].
    pub waiting: [usize; 4],
    /// Entries that have left, by reason, in the order of [`DequeueReason::ALL`].
    pub left: [u64; 5],
    /// Items that were rejected, since it was made.
    pub refused: u64,
}

/// The queue of one service. One owner at a time.
#[derive(Debug)]
pub struct Queue<T> {
    options: QueueOptions,
    /// By class, the oldest in front.
    by_class: [ClassQueue<T>; 4],
    length: usize,
    next_number: u64,
    /// Since when it has not been empty.
    stands_since: Option<Instant>,
    /// How long a served request takes.
    service: Duration,
    left: [u64; 5],
    refused: u64,
}

#[derive(Debug)]
struct ClassQueue<T> {
    entries: VecDeque<QueueEntry<T>>,
    rule: CodelState,
}

#[derive(Debug)]
struct QueueEntry<T> {
    number: u64,
    came: Instant,
    deadline: Instant,
    item: T,
}

#[derive(Debug)]
enum CodelState {
    Off,
    MinimumDelay(MinimumDelay, CodelOptions),
    Rfc8289(Codel, CodelOptions),
}

impl<T> Queue<T> {
    /// Empty.
    #[must_use]
    pub fn new(options: QueueOptions) -> Self {
        let line = || ClassQueue {
            entries: VecDeque::new(),
            rule: CodelState::new(options.codel),
        };
        Self {
            options,
            by_class: [line(), line(), line(), line()],
            length: 0,
            next_number: 0,
            stands_since: None,
            service: Duration::ZERO,
            left: [0; 5],
            refused: 0,
        }
    }

    /// Replaces the options. Entries keep the time until which they wait.
    pub fn reconfigure(&mut self, options: QueueOptions) {
        self.options = options;
        for line in &mut self.by_class {
            line.rule = CodelState::new(options.codel);
        }
    }

    /// How long a served request takes from now on, as [`ServiceTime::estimate`] says; zero, as at first, if that is
    /// unknown.
    pub const fn expect(&mut self, service: Duration) {
        self.service = service;
    }

    /// Until when an entry with this deadline would wait if it came now; `now` if it could not be served in time.
    #[must_use]
    pub fn waits_until(&self, now: Instant, deadline: Instant) -> Instant {
        let left = deadline.since(now);
        now + self.options.longest_wait(left, self.service)
    }

    /// Adds an item that is to be done by `deadline`. It waits until [`Queue::waits_until`].
    pub fn push(
        &mut self,
        now: Instant,
        class: Class,
        deadline: Instant,
        item: T,
    ) -> PushResult<T> {
        let instead = if self.length >= self.options.length as usize {
            match self.make_room(now, class) {
                Some(left) => Some(left),
                None => {
                    self.refused += 1;
                    return PushResult::Rejected(item);
                }
            }
        } else {
            None
        };
        let number = self.next_number;
        self.next_number += 1;
        self.by_class[class.index()].entries.push_back(QueueEntry {
            number,
            came: now,
            deadline: self.waits_until(now, deadline),
            item,
        });
        self.length += 1;
        self.stands_since.get_or_insert(now);
        let ticket = Ticket { class, number };
        match instead {
            None => PushResult::Queued(ticket),
            Some(left) => PushResult::Displaced(ticket, left),
        }
    }

    /// Removes the next entry, because a slot is free. If its reason is not [`DequeueReason::Served`] the slot is still
    /// free: inform its owner, and call again. `None` if the queue is empty.
    pub fn pop(&mut self, now: Instant) -> Option<Dequeued<T>> {
        if let Some(expired) = self.take_expired_front(now) {
            return Some(expired);
        }
        let newest_first = self.takes_newest_first(now);
        let class = self.next_class()?;
        let line = &mut self.by_class[class.index()];
        let entry = if newest_first {
            line.entries.pop_back()
        } else {
            line.entries.pop_front()
        }?;
        let waited = now.since(entry.came);
        let most = entry.deadline.since(entry.came);
        let target = line.rule.target(self.options.wait, most, self.service);
        let late =
            now < entry.deadline && line.rule.is_late(now, (waited, target), line.entries.len());
        let reason = if late {
            DequeueReason::ShedLate
        } else {
            DequeueReason::Served
        };
        Some(self.leaves(now, class, entry, reason))
    }

    /// Removes entries until there is one to serve; `gone` is called with the others.
    pub fn serve(
        &mut self,
        now: Instant,
        mut gone: impl FnMut(Dequeued<T>),
    ) -> Option<Dequeued<T>> {
        loop {
            let left = self.pop(now)?;
            if left.reason == DequeueReason::Served {
                return Some(left);
            }
            gone(left);
        }
    }

    /// Puts back an entry that was taken out to be served and found no slot after all. Returns its ticket from now on.
    pub fn put_back(&mut self, now: Instant, back: ReturnedEntry, item: T) -> Ticket {
        let served = &mut self.left[DequeueReason::Served as usize];
        *served = served.saturating_sub(1);
        let mut ticket = back.ticket;
        if back.behind {
            ticket.number = self.next_number;
            self.next_number += 1;
        }
        let entries = &mut self.by_class[ticket.class.index()].entries;
        let at = entries.partition_point(|entry| entry.number < ticket.number);
        let entry = QueueEntry {
            number: ticket.number,
            came: back.came,
            deadline: back.until,
            item,
        };
        entries.insert(at, entry);
        self.length += 1;
        self.stands_since.get_or_insert(now);
        ticket
    }

    /// Cancels an entry. `None` if it has left already.
    pub fn cancel(&mut self, now: Instant, ticket: Ticket) -> Option<Dequeued<T>> {
        let entries = &mut self.by_class[ticket.class.index()].entries;
        let at = entries
            .binary_search_by_key(&ticket.number, |entry| entry.number)
            .ok()?;
        let entry = entries.remove(at)?;
        Some(self.leaves(now, ticket.class, entry, DequeueReason::Cancelled))
    }

    /// Removes an entry whose deadline has passed, wherever it is, without a free slot: for a timer. Visits all entries.
    pub fn expire(&mut self, now: Instant) -> Option<Dequeued<T>> {
        let (class, at) = Class::ALL.iter().find_map(|class| {
            let mut entries = self.by_class[class.index()].entries.iter();
            let at = entries.position(|entry| now >= entry.deadline)?;
            Some((*class, at))
        })?;
        let entry = self.by_class[class.index()].entries.remove(at)?;
        Some(self.leaves(now, class, entry, DequeueReason::Expired))
    }

    /// When [`Queue::expire`] will find the next one. Visits all entries.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let entries = self.by_class.iter().flat_map(|line| &line.entries);
        entries.map(|entry| entry.deadline).min()
    }

    /// The class whose turn is next. [`Queue::pop`] removes an entry of this class, or one that has expired.
    #[must_use]
    pub fn next_class(&self) -> Option<Class> {
        let mut classes = Class::ALL.into_iter().rev();
        classes.find(|class| !self.by_class[class.index()].entries.is_empty())
    }

    /// The number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether the newest entry is next.
    #[must_use]
    pub fn takes_newest_first(&self, now: Instant) -> bool {
        let stands = self.stands_since.map(|since| now.since(since));
        self.options
            .newest_first_after
            .zip(stands)
            .is_some_and(|(after, stands)| stands > after)
    }

    /// Its state and counts.
    #[must_use]
    pub fn snapshot(&self) -> QueueSnapshot {
        QueueSnapshot {
            waiting: Class::ALL.map(|class| self.by_class[class.index()].entries.len()),
            left: self.left,
            refused: self.refused,
        }
    }

    /// Makes room for an entry of `class`: removes an expired entry, else the newest of the lowest class below.
    fn make_room(&mut self, now: Instant, class: Class) -> Option<Dequeued<T>> {
        if let Some(expired) = self.take_expired_front(now) {
            return Some(expired);
        }
        let least = *Class::ALL
            .iter()
            .find(|class| !self.by_class[class.index()].entries.is_empty())?;
        if least >= class {
            return None;
        }
        let entry = self.by_class[least.index()].entries.pop_back()?;
        Some(self.leaves(now, least, entry, DequeueReason::ShedFull))
    }

    /// The oldest of each class expire first, unless their own deadlines differ.
    fn take_expired_front(&mut self, now: Instant) -> Option<Dequeued<T>> {
        for class in Class::ALL {
            let entries = &mut self.by_class[class.index()].entries;
            if entries.front().is_some_and(|entry| now >= entry.deadline)
                && let Some(entry) = entries.pop_front()
            {
                return Some(self.leaves(now, class, entry, DequeueReason::Expired));
            }
        }
        None
    }

    /// Past its deadline, that is the reason.
    fn leaves(
        &mut self,
        now: Instant,
        class: Class,
        entry: QueueEntry<T>,
        reason: DequeueReason,
    ) -> Dequeued<T> {
        self.length -= 1;
        if self.length == 0 {
            self.stands_since = None;
        }
        let reason = if now >= entry.deadline {
            DequeueReason::Expired
        } else {
            reason
        };
        self.left[reason as usize] += 1;
        Dequeued {
            waited: now.since(entry.came),
            item: entry.item,
            reason,
            class,
        }
    }
}

impl CodelState {
    const fn new(rule: CodelRule) -> Self {
        match rule {
            CodelRule::Off => Self::Off,
            CodelRule::MinimumDelay(codel) => Self::MinimumDelay(MinimumDelay::new(codel), codel),
            CodelRule::Rfc8289(codel) => Self::Rfc8289(Codel::new(codel), codel),
        }
    }

    /// The target for an entry that may wait for `most` of the queue's `wait`: the same share of the option, but not less
    /// than the time of a request, since that is how often a slot becomes free; and never more than the option.
    fn target(&self, wait: Duration, most: Duration, service: Duration) -> Duration {
        let (Self::MinimumDelay(_, options) | Self::Rfc8289(_, options)) = self else {
            return Duration::ZERO;
        };
        if most >= wait {
            return options.target;
        }
        let part = most.as_secs_f64() / wait.as_secs_f64();
        let target = duration_from_seconds(options.target.as_secs_f64() * part);
        target.max(service).min(options.target)
    }

    fn is_late(
        &mut self,
        now: Instant,
        (waited, target): (Duration, Duration),
        behind: usize,
    ) -> bool {
        match self {
            Self::Off => false,
            Self::MinimumDelay(rule, _) => {
                rule.set_target(target);
                rule.should_drop(now, waited)
            }
            Self::Rfc8289(rule, _) => {
                rule.set_target(target);
                rule.should_drop(now, waited, behind)
            }
        }
    }
}

#[cfg(test)]
mod tests;
