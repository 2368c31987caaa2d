//! Where requests wait for a place, and which of them are still worth serving.
//!
//! Intuition: a queue is for bursts. It has to be short enough that what comes out of it is still wanted, so nothing leaves it
//! unexamined: what is past its deadline when it is taken is not served (its client has gone; serving it is the work that turns a
//! short stall into an outage without end), and what waited too long while nothing waits less is refused, by
//! [CoDel](crate::codel). Classes go before each other; when the queue is full, the newest of the least class makes room for what matters more,
//! because it has waited least in vain.
//!
//! Whoever leaves the queue still has to be served before its deadline. So it waits for half of what its deadline leaves beside the time that
//! a request takes ([`Queue::expect`]), and no longer than `wait`; if that is nothing, a queue is no use to it. What counts as waiting
//! too long shrinks in the same proportion. A place that is free is then never given to somebody who cannot be served in time, and a queue
//! does no worse than none.
//!
//! While a queue stands, in order of arrival everyone waits just about too long. Taking the newest first serves some in time and lets the
//! oldest expire (Maurer, "Fail at scale"). That is not fair, so it is an option, and only while the queue has not been empty for an
//! interval.

mod burst;
mod service_time;

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::{Instant, duration_from_seconds};
use serde::{Deserialize, Serialize};

pub use burst::BurstQueue;
pub use service_time::ServiceTime;

use crate::{Class, Codel, CodelOptions, MinimumDelay};

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct QueueOptions {
    /// Entries at most, of all classes together. Default 128.
    pub length: u32,
    /// How long an entry waits at most. Default 1 s. One with a deadline of its own waits for no more than half of what that leaves beside
    /// the time of a request, where that is known.
    #[serde(with = "crate::wire::duration")]
    pub wait: Duration,
    /// What waited too long. Default [`CodelRule::MinimumDelay`] with a target of 200 ms and an interval of 1 s, a fifth of
    /// `wait` and all of it: measured, the 5 ms and 100 ms of network queues refuse a tenth of what a server with requests of
    /// 30 ms could do. The target has to be several times what a request takes.
    pub codel: CodelRule,
    /// Take the newest first while the queue has not been empty for so long; `None` for never. Default none; 100 ms is Maurer's.
    #[serde(with = "crate::wire::optional")]
    pub newest_first_after: Option<Duration>,
}

impl QueueOptions {
    /// How long an entry waits at most that has so much time `left`, if a request takes so long (`service`): half of what is left beside
    /// that, so that the other half makes up for one that takes longer. All of it if `service` is zero, which is not to be known.
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

/// Which rule says that something waited too long, for each class by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodelRule {
    /// None: only deadlines count.
    Off,
    /// Refuse at once what waited more than twice the target while all do: for requests, whose senders do not slow down.
    MinimumDelay(CodelOptions),
    /// Drop one, then more often, until it is better: for senders that slow down.
    Rfc8289(CodelOptions),
}

/// How an entry left the queue. Each leaves once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its turn came in time: serve it.
    Served,
    /// Its deadline has passed.
    Expired,
    /// It waited too long while nothing waited less.
    ShedLate,
    /// The queue was full and something that mattered more came.
    ShedFull,
    /// Its owner took it back.
    Cancelled,
}

impl Reason {
    /// All, in the order of their counts.
    pub const ALL: [Self; 5] = [
        Self::Served,
        Self::Expired,
        Self::ShedLate,
        Self::ShedFull,
        Self::Cancelled,
    ];

    /// The word for metrics and status.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Expired => "expired",
            Self::ShedLate => "shed-codel",
            Self::ShedFull => "shed-full",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An entry that left, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "somebody waits for it"]
pub struct Left<T> {
    /// What was put in.
    pub item: T,
    /// Why it is out.
    pub reason: Reason,
    /// Its class.
    pub class: Class,
    /// How long it was in.
    pub waited: Duration,
}

/// Names an entry, to take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    class: Class,
    number: u64,
}

/// What was taken out to be served, and found no place after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// The ticket that it had.
    pub ticket: Ticket,
    /// When it came first.
    pub came: Instant,
    /// Until when it waits, as before.
    pub until: Instant,
    /// It goes behind all others of its class, not where it stood.
    pub behind: bool,
}

/// What became of an entry that was to be put in.
#[derive(Debug)]
#[must_use = "what was refused, or made room, has to be told"]
pub enum Pushed<T> {
    /// It waits.
    Waits(Ticket),
    /// It waits, and this one had to go for it.
    Instead(Ticket, Left<T>),
    /// There is no room, and nothing in the queue matters less. Here it is back.
    Refused(T),
}

/// What a queue did and holds, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueSnapshot {
    /// Entries now, by [`Class::index`].
    pub waiting: [usize; 4],
    /// How entries left, ever, in the order of [`Reason::ALL`].
    pub left: [u64; 5],
    /// What was not even put in, ever.
    pub refused: u64,
}

/// The queue of one service. One owner at a time.
#[derive(Debug)]
pub struct Queue<T> {
    options: QueueOptions,
    /// By class, the oldest in front.
    lines: [Line<T>; 4],
    length: usize,
    next_number: u64,
    /// Since when it has not been empty.
    stands_since: Option<Instant>,
    /// What a request takes that is served.
    service: Duration,
    left: [u64; 5],
    refused: u64,
}

#[derive(Debug)]
struct Line<T> {
    entries: VecDeque<Entry<T>>,
    rule: Rule,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    came: Instant,
    deadline: Instant,
    item: T,
}

#[derive(Debug)]
enum Rule {
    Off,
    MinimumDelay(MinimumDelay, CodelOptions),
    Rfc8289(Codel, CodelOptions),
}

impl<T> Queue<T> {
    /// Empty.
    #[must_use]
    pub fn new(options: QueueOptions) -> Self {
        let line = || Line {
            entries: VecDeque::new(),
            rule: Rule::new(options.codel),
        };
        Self {
            options,
            lines: [line(), line(), line(), line()],
            length: 0,
            next_number: 0,
            stands_since: None,
            service: Duration::ZERO,
            left: [0; 5],
            refused: 0,
        }
    }

    /// Other options from now on. What waits goes on waiting, until when it was to wait.
    pub fn reconfigure(&mut self, options: QueueOptions) {
        self.options = options;
        for line in &mut self.lines {
            line.rule = Rule::new(options.codel);
        }
    }

    /// What a request takes from now on that is served, as [`ServiceTime::estimate`] says it; zero, as at first, if that is not known.
    pub const fn expect(&mut self, service: Duration) {
        self.service = service;
    }

    /// Until when an entry would wait at most that came now and had this deadline; now, if it could not be served in time.
    #[must_use]
    pub fn waits_until(&self, now: Instant, deadline: Instant) -> Instant {
        let left = deadline.since(now);
        now + self.options.longest_wait(left, self.service)
    }

    /// Puts something in that is to be done by `deadline`. It waits until [`Queue::waits_until`].
    pub fn push(&mut self, now: Instant, class: Class, deadline: Instant, item: T) -> Pushed<T> {
        let instead = if self.length >= self.options.length as usize {
            match self.make_room(now, class) {
                Some(left) => Some(left),
                None => {
                    self.refused += 1;
                    return Pushed::Refused(item);
                }
            }
        } else {
            None
        };
        let number = self.next_number;
        self.next_number += 1;
        self.lines[class.index()].entries.push_back(Entry {
            number,
            came: now,
            deadline: self.waits_until(now, deadline),
            item,
        });
        self.length += 1;
        self.stands_since.get_or_insert(now);
        let ticket = Ticket { class, number };
        match instead {
            None => Pushed::Waits(ticket),
            Some(left) => Pushed::Instead(ticket, left),
        }
    }

    /// Takes one out because there is a place for one. If its reason is not [`Reason::Served`] the place is still free: tell
    /// whoever waited for it, and ask again. `None` if nothing waits.
    pub fn pop(&mut self, now: Instant) -> Option<Left<T>> {
        if let Some(expired) = self.take_expired_front(now) {
            return Some(expired);
        }
        let newest_first = self.takes_newest_first(now);
        let class = self.next_class()?;
        let line = &mut self.lines[class.index()];
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
            Reason::ShedLate
        } else {
            Reason::Served
        };
        Some(self.leaves(now, class, entry, reason))
    }

    /// Takes out until there is one to serve; `gone` is told of the others.
    pub fn serve(&mut self, now: Instant, mut gone: impl FnMut(Left<T>)) -> Option<Left<T>> {
        loop {
            let left = self.pop(now)?;
            if left.reason == Reason::Served {
                return Some(left);
            }
            gone(left);
        }
    }

    /// Puts back what was taken out to be served and found no place after all. The ticket that it has from now on.
    pub fn put_back(&mut self, now: Instant, back: Returned, item: T) -> Ticket {
        let served = &mut self.left[Reason::Served as usize];
        *served = served.saturating_sub(1);
        let mut ticket = back.ticket;
        if back.behind {
            ticket.number = self.next_number;
            self.next_number += 1;
        }
        let entries = &mut self.lines[ticket.class.index()].entries;
        let at = entries.partition_point(|entry| entry.number < ticket.number);
        let entry = Entry {
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

    /// Takes an entry back. `None` if it has left already.
    pub fn cancel(&mut self, now: Instant, ticket: Ticket) -> Option<Left<T>> {
        let entries = &mut self.lines[ticket.class.index()].entries;
        let at = entries
            .binary_search_by_key(&ticket.number, |entry| entry.number)
            .ok()?;
        let entry = entries.remove(at)?;
        Some(self.leaves(now, ticket.class, entry, Reason::Cancelled))
    }

    /// Takes out one whose deadline has passed, wherever it stands, though there is no place: for a timer. Looks at all entries.
    pub fn expire(&mut self, now: Instant) -> Option<Left<T>> {
        let (class, at) = Class::ALL.iter().find_map(|class| {
            let mut entries = self.lines[class.index()].entries.iter();
            let at = entries.position(|entry| now >= entry.deadline)?;
            Some((*class, at))
        })?;
        let entry = self.lines[class.index()].entries.remove(at)?;
        Some(self.leaves(now, class, entry, Reason::Expired))
    }

    /// When [`Queue::expire`] will find the next one. Looks at all entries.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let entries = self.lines.iter().flat_map(|line| &line.entries);
        entries.map(|entry| entry.deadline).min()
    }

    /// The class whose turn is next. [`Queue::pop`] gives one of this class, or one that has expired.
    #[must_use]
    pub fn next_class(&self) -> Option<Class> {
        let mut classes = Class::ALL.into_iter().rev();
        classes.find(|class| !self.lines[class.index()].entries.is_empty())
    }

    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether the newest is taken first now.
    #[must_use]
    pub fn takes_newest_first(&self, now: Instant) -> bool {
        let stands = self.stands_since.map(|since| now.since(since));
        self.options
            .newest_first_after
            .zip(stands)
            .is_some_and(|(after, stands)| stands > after)
    }

    /// What it did and holds.
    #[must_use]
    pub fn snapshot(&self) -> QueueSnapshot {
        QueueSnapshot {
            waiting: Class::ALL.map(|class| self.lines[class.index()].entries.len()),
            left: self.left,
            refused: self.refused,
        }
    }

    /// For something of `class`: what is expired goes, else the newest of the least class below.
    fn make_room(&mut self, now: Instant, class: Class) -> Option<Left<T>> {
        if let Some(expired) = self.take_expired_front(now) {
            return Some(expired);
        }
        let least = *Class::ALL
            .iter()
            .find(|class| !self.lines[class.index()].entries.is_empty())?;
        if least >= class {
            return None;
        }
        let entry = self.lines[least.index()].entries.pop_back()?;
        Some(self.leaves(now, least, entry, Reason::ShedFull))
    }

    /// The oldest of each class expire first, unless deadlines of their own differ.
    fn take_expired_front(&mut self, now: Instant) -> Option<Left<T>> {
        for class in Class::ALL {
            let entries = &mut self.lines[class.index()].entries;
            if entries.front().is_some_and(|entry| now >= entry.deadline)
                && let Some(entry) = entries.pop_front()
            {
                return Some(self.leaves(now, class, entry, Reason::Expired));
            }
        }
        None
    }

    /// Whatever the reason, past its deadline it is that.
    fn leaves(&mut self, now: Instant, class: Class, entry: Entry<T>, reason: Reason) -> Left<T> {
        self.length -= 1;
        if self.length == 0 {
            self.stands_since = None;
        }
        let reason = if now >= entry.deadline {
            Reason::Expired
        } else {
            reason
        };
        self.left[reason as usize] += 1;
        Left {
            waited: now.since(entry.came),
            item: entry.item,
            reason,
            class,
        }
    }
}

impl Rule {
    const fn new(rule: CodelRule) -> Self {
        match rule {
            CodelRule::Off => Self::Off,
            CodelRule::MinimumDelay(codel) => Self::MinimumDelay(MinimumDelay::new(codel), codel),
            CodelRule::Rfc8289(codel) => Self::Rfc8289(Codel::new(codel), codel),
        }
    }

    /// The target for an entry that may wait for `most` of the queue's `wait`: the same part of it, but not less than a request takes, since
    /// that is how often a place becomes free; and never more than the option.
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
