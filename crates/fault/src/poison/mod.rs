//! Detects requests that crash servers: a request was in flight at the unexpected exits of at least two processes, and
//! no server has survived it.
//!
//! Many requests are in flight when a process exits, most of them by coincidence. The culprit is found as follows:
//!
//! - A request that was in flight at one exit is watched from then on, and cleared as soon as a server survives it.
//! - A path that makes up a large part of the traffic and usually succeeds is never suspected. One whose route
//!   succeeded shortly before needs a second victim after the watch began: when several servers exit at once, that says
//!   nothing about their requests.
//! - Exits without the request are counter-evidence: if every request crashes servers, the servers are at fault. Where
//!   such doubts exist, other requests must have succeeded between its victims.
//! - Of several requests that were in flight at the same exits, the one that had been in flight for the shortest time
//!   is chosen, and dropped for another one that explains more exits.
//!
//! Pure and bounded: the least suspected request is evicted first.

mod suspect;

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::{ExactShape, ExactText, Instant, RequestShape};

use crate::signal::RouteTally;

pub use suspect::SuspectLevel;
use suspect::{BreakEvidence, Suspect};

/// So many victims convict.
pub const VICTIMS: u32 = 2;
/// So many requests are suspected at a time, those in quarantine among them.
pub const SUSPECTS: usize = 64;
/// Victims further apart have nothing to do with each other.
const WINDOW: Duration = Duration::from_secs(600);
/// Ends so long before its first victim say something of it, too.
const LATELY: Duration = Duration::from_secs(60);
/// A connection that breaks so long before or after a process ended broke for it.
const NEAR: Duration = Duration::from_secs(1);
/// One that was in quarantine is watched for so long after it.
const PROBATION: Duration = Duration::from_secs(24 * 3600);
/// So many ends of processes are remembered, …
const ENDS: usize = 64;
/// … this many routes that succeed, …
const ROUTES: usize = 256;
/// … and this many broken attempts.
const BROKEN: usize = 256;

/// An attempt that broke without an answer.
#[derive(Debug, Clone)]
pub struct BrokenAttempt {
    /// When.
    pub at: Instant,
    /// The server's index.
    pub server: u32,
    /// The expected value.
    pub shape: ExactShape,
    /// From its start to its end.
    pub age: Duration,
    /// In words.
    pub text: ExactText,
    /// Its route.
    pub route: RequestShape,
}

/// An unexpected process exit.
#[derive(Debug, Clone, Copy)]
struct UnexpectedExit {
    number: u64,
    at: Instant,
    server: u32,
    by_itself: bool,
    /// It is explained by a request in quarantine.
    explained: bool,
}

/// The percentage of all attempts that makes a route popular.
const POPULAR: u64 = 10;

/// A request that crashes servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conviction {
    /// Its hash.
    pub hash: u64,
    /// The input of the hash.
    pub level: SuspectLevel,
    /// In words.
    pub text: ExactText,
    /// The servers whose processes ended with it, each once.
    pub servers: Vec<u32>,
    /// So many ends there were.
    pub ends: u32,
    /// The first.
    pub since: Instant,
    /// Until when it is in quarantine.
    pub until: Instant,
    /// It was in quarantine before.
    pub again: bool,
    /// Others that were suspected, and are no longer in quarantine.
    pub released: Vec<ExactText>,
}

/// A request in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its hash.
    pub hash: u64,
    /// `GET /crash`.
    pub request: String,
    /// It is about one query only.
    pub with_query: bool,
    /// When it began.
    pub since: Instant,
    /// Until when.
    pub until: Instant,
}

/// Suspects and quarantines of one service.
#[derive(Debug, Clone, Default)]
pub struct Poison {
    suspects: Vec<Suspect>,
    ends: VecDeque<UnexpectedExit>,
    broken: VecDeque<(BrokenAttempt, bool)>,
    ended: u64,
    /// Requests that succeeded.
    successes: u64,
    /// Routes that have done well before servers ended, and whether they are popular.
    routes: Vec<(u32, bool)>,
    changed: bool,
    /// A quarantine was ended since it is not sure.
    doubted: bool,
    /// Exits during which a request in quarantine was still in flight: the server's index.
    further: Vec<(u32, Instant)>,
}

impl Poison {
    /// Some request has succeeded.
    pub const fn succeeded(&mut self) {
        self.successes = self.successes.wrapping_add(1);
    }

    /// A watched attempt began.
    pub fn began(&mut self, at: Instant, server: u32, shape: ExactShape) {
        self.each(shape, |suspect| suspect.began(server, at));
    }

    /// A watched attempt ended, and its server went on.
    pub fn survived(&mut self, at: Instant, server: u32, shape: ExactShape) {
        let mut cleared = Vec::new();
        self.each(shape, |suspect| {
            suspect.ended(server);
            if suspect.survived(at) {
                cleared.push(suspect.hash);
            }
        });
        self.clear(&cleared);
    }

    /// A watched attempt has not reached its server.
    pub fn unsent(&mut self, server: u32, shape: ExactShape) {
        self.each(shape, |suspect| {
            suspect.ended(server);
        });
    }

    /// How routes do, to be told before an attempt that broke. What has done well once stays so while servers go on ending: in an
    /// outage nothing succeeds.
    pub fn note_routes(&mut self, tallies: &[RouteTally]) {
        let all: u64 = tallies.iter().map(|tally| u64::from(tally.total())).sum();
        for tally in tallies.iter().filter(|tally| tally.succeeded > 0) {
            let (total, succeeded) = (u64::from(tally.total()), u64::from(tally.succeeded));
            let is_popular = total * 100 >= all * POPULAR && succeeded * 2 >= total;
            let route = tally.shape.route;
            let has_room = self.routes.len() < ROUTES;
            match self.routes.iter_mut().find(|(one, _)| *one == route) {
                Some((_, popular)) => *popular |= is_popular,
                None if has_room => self.routes.push((route, is_popular)),
                None => {}
            }
        }
    }

    /// An attempt broke. The process may have ended before, or is about to.
    pub fn broke(&mut self, broken: BrokenAttempt) {
        let mut watched = false;
        self.each(broken.shape, |suspect| {
            watched |= suspect.ended(broken.server);
        });
        let near = |end: &&UnexpectedExit| {
            end.server == broken.server
                && end.at.since(broken.at).max(broken.at.since(end.at)) <= NEAR
        };
        if let Some(end) = self.ends.iter().rev().find(near).copied() {
            self.attach(&broken, watched, end);
            return;
        }
        if self.broken.len() == BROKEN {
            self.broken.pop_front();
        }
        self.broken.push_back((broken, watched));
    }

    /// A process exited unexpectedly; `by_itself`: not by a signal from outside.
    pub fn ended(&mut self, at: Instant, server: u32, by_itself: bool) {
        self.ended += 1;
        let end = UnexpectedExit {
            number: self.ended,
            at,
            server,
            by_itself,
            explained: false,
        };
        if self.ends.len() == ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(end);
        let all = std::mem::take(&mut self.broken);
        for (broken, watched) in all {
            if broken.server == server && at.since(broken.at) <= NEAR {
                self.attach(&broken, watched, end);
            } else if at.since(broken.at) <= NEAR {
                self.broken.push_back((broken, watched));
            }
        }
        self.doubt(at);
    }

    /// A process has ended without what was convicted a moment ago: if nothing else speaks against that, it is as likely that all of
    /// them ended for one cause of their own.
    fn doubt(&mut self, at: Instant) {
        if self.ends.back().is_none_or(|end| end.explained) {
            return;
        }
        let is_fresh = |one: &Suspect| {
            one.refused
                .is_some_and(|(since, _)| at.since(since) <= NEAR)
        };
        for suspect in &mut self.suspects {
            if is_fresh(suspect) && suspect.terms == 1 && !suspect.is_alone() {
                suspect.release(at);
                suspect.terms = 0;
                (self.changed, self.doubted) = (true, true);
            }
        }
    }

    /// Nobody listens at a server whose process is not known: it has ended if connections broke just before.
    pub fn refused(&mut self, at: Instant, server: u32) {
        let broke = |(broken, _): &(BrokenAttempt, bool)| {
            broken.server == server && at.since(broken.at) <= NEAR && broken.at <= at
        };
        if self.broken.iter().any(broke) {
            self.ended(at, server, true);
        }
    }

    /// The request that crashes servers, if one has been found since the last call. Call it until there is none.
    pub fn convict(&mut self, now: Instant) -> Option<Conviction> {
        let is_survived = |suspect: &Suspect| {
            let ended = |server| {
                let ends = self.ends.iter().filter(|end| end.server == server);
                ends.map(|end| end.at).max()
            };
            suspect.refused.is_none() && suspect.is_survived(now, ended)
        };
        let survived = self.suspects.iter().filter(|one| is_survived(one));
        let survived: Vec<u64> = survived.map(|one| one.hash).collect();
        self.clear(&survived);
        let guilty = self.suspects.iter().filter(|one| self.is_guilty(one));
        // The narrower of two that explain the same; and what kills does so at once.
        let slot = guilty
            .max_by_key(|one| (one.weight(), std::cmp::Reverse((one.age(), one.level))))
            .map(|one| one.hash)?;
        Some(self.refuse(now, slot))
    }

    fn is_guilty(&self, suspect: &Suspect) -> bool {
        let enough = if suspect.terms > 0 { 1 } else { VICTIMS };
        let Some(first) = suspect.victims.first() else {
            return false;
        };
        let unexplained = self.ends.iter().filter(|end| !end.explained);
        let (with, without): (Vec<&UnexpectedExit>, Vec<&UnexpectedExit>) =
            unexplained.partition(|end| suspect.has_victim(end.number));
        let lately = |end: &&&UnexpectedExit| first.at.since(end.at) < LATELY;
        let without = without.iter().filter(lately).count();
        let is_doubtful = without > 0 || !suspect.is_sure();
        suspect.refused.is_none()
            && suspect.weight() >= enough
            && !with.is_empty()
            && suspect.weight() as usize > without
            && (!is_doubtful || suspect.is_alone() || suspect.terms > 0)
    }

    fn refuse(&mut self, now: Instant, hash: u64) -> Conviction {
        self.changed = true;
        let slot = self.suspects.iter().position(|one| one.hash == hash);
        let suspect = &mut self.suspects[slot.expect("it was found there")];
        let again = suspect.terms > 0;
        suspect.refuse(now);
        let suspect = suspect.clone();
        for end in &mut self.ends {
            end.explained |= suspect.has_victim(end.number);
        }
        let mut released = Vec::new();
        for other in &mut self.suspects {
            let is_explained = |end| suspect.has_victim(end);
            if other.hash != hash
                && other.refused.is_some()
                && suspect.victims.len() > other.victims.len()
                && other.victims.iter().all(|victim| is_explained(victim.end))
            {
                released.push(other.text.clone());
                other.release(now);
                other.terms = 0;
            }
        }
        let mut servers: Vec<u32> = suspect.victims.iter().map(|victim| victim.server).collect();
        servers.sort_unstable();
        servers.dedup();
        Conviction {
            hash,
            level: suspect.level,
            ends: u32::try_from(suspect.victims.len()).unwrap_or(u32::MAX),
            since: suspect
                .victims
                .iter()
                .map(|one| one.at)
                .min()
                .unwrap_or(now),
            until: suspect.refused.map_or(now, |(_, until)| until),
            text: suspect.text,
            servers,
            again,
            released,
        }
    }

    /// Handles the passage of time: quarantines end, and old entries are dropped.
    pub fn tick(&mut self, now: Instant) {
        let before = self.suspects.len();
        for suspect in &mut self.suspects {
            if suspect.refused.is_some_and(|(_, until)| now >= until) {
                suspect.release(now);
                self.changed = true;
            }
        }
        self.suspects.retain(|suspect| {
            let kept = if suspect.terms > 0 { PROBATION } else { WINDOW };
            suspect.refused.is_some() || now.since(suspect.last) < kept
        });
        self.changed |= self.suspects.len() != before;
        self.ends.retain(|end| now.since(end.at) < WINDOW);
        self.broken
            .retain(|(broken, _)| now.since(broken.at) <= NEAR);
        if self.ends.is_empty() && self.broken.is_empty() {
            self.routes.clear();
        }
    }

    /// When [`Self::tick`] has something to do, if ever.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        let of = |suspect: &Suspect| match suspect.refused {
            Some((_, until)) => until,
            None if suspect.terms > 0 => suspect.last + PROBATION,
            None => suspect.last + WINDOW,
        };
        self.suspects.iter().map(of).min()
    }

    /// Whether what is watched or refused has changed since this was asked.
    pub fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether a quarantine was ended since it is not sure, and there is no other, since this was asked.
    pub fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubted) && self.quarantined().next().is_none()
    }

    /// Processes that have exited since the last call with a request that had been in flight since before its
    /// quarantine.
    pub fn take_further_victims(&mut self) -> Vec<(u32, Instant)> {
        std::mem::take(&mut self.further)
    }

    /// The hashes to be watched.
    pub fn watched(&self) -> impl Iterator<Item = u64> {
        let all = self.suspects.iter();
        all.filter(|one| one.refused.is_none()).map(|one| one.hash)
    }

    /// The requests in quarantine.
    pub fn quarantined(&self) -> impl Iterator<Item = Quarantined> {
        self.suspects.iter().filter_map(|suspect| {
            let (since, until) = suspect.refused?;
            Some(Quarantined {
                hash: suspect.hash,
                request: suspect.text.path.clone(),
                with_query: suspect.level == SuspectLevel::Target,
                since,
                until,
            })
        })
    }

    /// Ends all quarantines on an operator's order. Returns their number.
    pub fn lift(&mut self, now: Instant) -> usize {
        let mut lifted = 0;
        for suspect in &mut self.suspects {
            if suspect.refused.is_some() {
                suspect.release(now);
                lifted += 1;
            }
        }
        self.changed |= lifted > 0;
        lifted
    }

    fn attach(&mut self, broken: &BrokenAttempt, watched: bool, end: UnexpectedExit) {
        let (succeeded, is_popular) = self.record(broken.route);
        let evidence = BreakEvidence {
            end: end.number,
            at: end.at,
            server: end.server,
            age: broken.age,
            successes: self.successes,
            counts: watched || end.by_itself && !succeeded,
        };
        let ExactShape { path, target } = broken.shape;
        let is_known = |hash| self.suspects.iter().any(|one| one.hash == hash);
        if is_known(path) || !(is_popular && broken.text.is_route) {
            self.suspect(path, SuspectLevel::Path, broken, evidence);
        }
        if target != path {
            self.suspect(target, SuspectLevel::Target, broken, evidence);
        }
    }

    /// Whether the route has succeeded before servers ended, and whether it is popular.
    fn record(&self, route: RequestShape) -> (bool, bool) {
        let record = self.routes.iter().find(|(one, _)| *one == route.route);
        (
            record.is_some(),
            record.is_some_and(|(_, popular)| *popular),
        )
    }

    fn suspect(
        &mut self,
        hash: u64,
        level: SuspectLevel,
        broken: &BrokenAttempt,
        evidence: BreakEvidence,
    ) {
        let slot = self.suspects.iter().position(|one| one.hash == hash);
        let slot = slot.unwrap_or_else(|| {
            self.changed = true;
            self.make_room();
            let suspect = Suspect::new(hash, level, broken.text.clone(), evidence.at);
            self.suspects.push(suspect);
            self.suspects.len() - 1
        });
        let suspect = &mut self.suspects[slot];
        suspect.add(evidence);
        if suspect.refused.is_some() {
            self.further.push((evidence.server, evidence.at));
            for end in &mut self.ends {
                end.explained |= end.number == evidence.end;
            }
        }
    }

    /// Evicts the least suspected request: the one with the fewest victims that had been in flight the longest.
    fn make_room(&mut self) {
        if self.suspects.len() < SUSPECTS {
            return;
        }
        let all = self.suspects.iter().enumerate();
        let least = all.min_by_key(|(_, one)| {
            let is_known = one.refused.is_some() || one.terms > 0;
            (is_known, one.weight(), std::cmp::Reverse(one.age()))
        });
        if let Some((slot, _)) = least {
            self.suspects.swap_remove(slot);
        }
    }

    fn each(&mut self, shape: ExactShape, mut what: impl FnMut(&mut Suspect)) {
        let is_it = |one: &&mut Suspect| one.hash == shape.path || one.hash == shape.target;
        self.suspects.iter_mut().filter(is_it).for_each(&mut what);
    }

    fn clear(&mut self, hashes: &[u64]) {
        let before = self.suspects.len();
        self.suspects.retain(|one| !hashes.contains(&one.hash));
        self.changed |= self.suspects.len() != before;
    }
}

#[cfg(test)]
mod tests;
