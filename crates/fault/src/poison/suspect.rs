//! One suspected request: the exits at which it was in flight, and the evidence for and against it.

use std::time::Duration;

use evenkeel_core::{ExactText, Instant};

/// So many victims are remembered of one suspect: the first ones.
const VICTIMS: usize = 8;
/// The number of attempts in flight.
const UNDER_WAY: usize = 32;
/// The number of victims that each success outweighs.
const VICTIMS_PER_SUCCESS: u32 = 4;
/// So many other requests that succeed between its victims tell that it is alone.
const OTHERS: u64 = 10;
/// The number of successes that clear it after a quarantine.
const CLEARED: u32 = 3;
/// An attempt that has lasted so long on a living server has not killed it, …
const SURVIVED: Duration = Duration::from_secs(1);
/// … unless it took the victims a good part of that to die.
const TIMES: u32 = 4;

/// A quarantine ends after so long the first time, and each time twice as long.
const FIRST_TERM: Duration = Duration::from_secs(600);
/// But after this at the latest.
const LONGEST_TERM: Duration = Duration::from_secs(24 * 3600);

/// How a suspect is identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SuspectLevel {
    /// Method, path and query.
    Target,
    /// Method and path, with whatever query.
    Path,
}

/// A process exit during which it was in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Victim {
    /// The number of the end.
    pub(super) end: u64,
    pub(super) server: u32,
    pub(super) at: Instant,
    /// How long the latest attempt had been in flight.
    age: Duration,
    /// So many requests of the service had succeeded by then.
    pub(super) successes: u64,
    /// Counts beside others. An exit during which many requests are in flight by chance says nothing about one that is
    /// known to succeed.
    counts: bool,
}

/// The evidence from an attempt that broke when a process exited.
#[derive(Debug, Clone, Copy)]
pub(super) struct BreakEvidence {
    pub(super) end: u64,
    pub(super) at: Instant,
    pub(super) server: u32,
    pub(super) age: Duration,
    pub(super) successes: u64,
    pub(super) counts: bool,
}

/// One request that is suspected.
#[derive(Debug, Clone)]
pub(super) struct Suspect {
    pub(super) hash: u64,
    pub(super) level: SuspectLevel,
    pub(super) text: ExactText,
    pub(super) victims: Vec<Victim>,
    pub(super) successes: u32,
    /// The last sign of it.
    pub(super) last: Instant,
    /// Quarantines so far.
    pub(super) terms: u32,
    /// The start and the end of its quarantine.
    pub(super) refused: Option<(Instant, Instant)>,
    under_way: Vec<(u32, Instant)>,
}

impl Suspect {
    pub(super) fn new(hash: u64, level: SuspectLevel, text: ExactText, at: Instant) -> Self {
        Self {
            hash,
            level,
            text,
            victims: Vec::new(),
            successes: 0,
            last: at,
            terms: 0,
            refused: None,
            under_way: Vec::new(),
        }
    }

    /// An attempt that is watched began.
    pub(super) fn began(&mut self, server: u32, at: Instant) {
        if self.under_way.len() == UNDER_WAY {
            self.under_way.remove(0);
        }
        self.under_way.push((server, at));
    }

    /// An attempt that began at `began` or later has ended. Whether it was watched from its start.
    pub(super) fn ended(&mut self, server: u32) -> bool {
        let slot = self.under_way.iter().position(|(one, _)| *one == server);
        slot.map(|slot| self.under_way.swap_remove(slot)).is_some()
    }

    /// Whether a process that lives has survived it for long enough.
    pub(super) fn is_survived(&self, now: Instant, ended: impl Fn(u32) -> Option<Instant>) -> bool {
        let longest = self.victims.iter().map(|victim| victim.age).max();
        let enough = SURVIVED.max(longest.unwrap_or_default().saturating_mul(TIMES));
        self.under_way.iter().any(|&(server, began)| {
            now.since(began) >= enough && ended(server).is_none_or(|at| at < began)
        })
    }

    /// It was in flight when a process exited.
    pub(super) fn add(&mut self, evidence: BreakEvidence) {
        let BreakEvidence {
            end,
            at,
            server,
            age,
            successes,
            counts,
        } = evidence;
        self.last = self.last.max(at);
        if let Some(victim) = self.victims.iter_mut().find(|victim| victim.end == end) {
            victim.age = victim.age.min(age);
            victim.counts |= counts;
        } else if self.victims.len() < VICTIMS {
            self.victims.push(Victim {
                end,
                server,
                at,
                age,
                successes,
                counts,
            });
        }
    }

    /// A server went on after an attempt. Whether that clears it.
    pub(super) fn survived(&mut self, at: Instant) -> bool {
        self.successes = self.successes.saturating_add(1);
        self.last = self.last.max(at);
        if self.refused.is_some() {
            // Requests in flight when the quarantine began.
            return false;
        }
        if self.terms > 0 {
            return self.successes >= CLEARED && self.victims.is_empty();
        }
        self.successes * VICTIMS_PER_SUCCESS > self.weight()
    }

    /// So many victims it has, as far as they count.
    pub(super) fn weight(&self) -> u32 {
        let others = self.victims.iter().skip(1);
        let others = others.filter(|victim| victim.counts).count();
        u32::from(!self.victims.is_empty()) + u32::try_from(others).unwrap_or(u32::MAX)
    }

    /// The shortest time that an attempt had been in flight when its server exited.
    pub(super) fn age(&self) -> Duration {
        let ages = self.victims.iter().map(|victim| victim.age);
        ages.min().unwrap_or(Duration::MAX)
    }

    /// Whether other requests have succeeded between its first victim and its last: then the servers do well without it.
    pub(super) fn is_alone(&self) -> bool {
        let all = self.victims.iter().map(|victim| victim.successes);
        let last = all.clone().max().unwrap_or(0);
        last - all.min().unwrap_or(0) >= OTHERS
    }

    /// Whether each of its victims counts.
    pub(super) fn is_sure(&self) -> bool {
        self.victims.iter().all(|victim| victim.counts)
    }

    pub(super) fn has_victim(&self, end: u64) -> bool {
        self.victims.iter().any(|victim| victim.end == end)
    }

    /// No server gets it from now on, each time for twice as long.
    pub(super) fn refuse(&mut self, now: Instant) {
        let term = FIRST_TERM.saturating_mul(1 << self.terms.min(16));
        self.terms = self.terms.saturating_add(1);
        self.refused = Some((now, now + term.min(LONGEST_TERM)));
        self.under_way.clear();
        self.successes = 0;
    }

    /// Its quarantine is over: the next victim is enough.
    pub(super) fn release(&mut self, now: Instant) {
        self.refused = None;
        self.victims.clear();
        self.successes = 0;
        self.last = now;
    }
}
