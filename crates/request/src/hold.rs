//! Holding instead of failing: while no server can take a request and one is being repaired, the request may wait for the first
//! that comes back.
//!
//! A queue is for servers that have enough to do; here there is nobody to do it. Waiting pays only if somebody is about to come
//! back, so it is bound to a repair that is under way, and to how much may wait and how long. Just after servers have died
//! nobody knows yet whether they are repaired: requests that met the death themselves are given a moment for that.
//!
//! Who waits goes on in the order of arrival: all are told at once that a server is back, the first one first.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::{Instant, Outcome};

use crate::Cause;

/// So long it may take until it is known whether servers that have just died are repaired: an end of a process is known at once,
/// other deaths by failed attempts or probes and an examination.
pub const SETTLES: Duration = Duration::from_secs(5);

/// How much may wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldOptions {
    /// How long a request may wait, in all.
    pub up_to: Duration,
    /// How many requests of the service may wait at a time.
    pub requests: u32,
    /// How many bytes of them may be held at a time: heads, and what has come of bodies.
    pub bytes: u64,
}

/// Why a request is not held, or not any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// As many wait as may, or as many bytes are held.
    Full,
    /// It has waited as long as it may.
    UpTo,
    /// The time for the whole request is over.
    Deadline,
    /// Nobody repairs any of the servers.
    NoRepair,
    /// A person has taken the service into maintenance.
    Maintenance,
    /// evenkeel is about to end.
    Drain,
    /// The client has gone.
    ClientGone,
}

/// What a request has been through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Attempts so far.
    pub attempts: u32,
    /// Of these, those of which a server may have seen something.
    pub seen: u32,
    /// Of these, those whose server died with them, as far as can be told.
    pub deaths: u32,
    /// How the last one ended.
    pub last: Option<Outcome>,
    /// A server was dead before it had seen anything of the request.
    pub found_dead: bool,
}

/// What is to be known of a request that finds no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// What it has been through.
    pub past: Past,
    /// Another attempt was granted, or it is the first: nothing is missing but a server.
    pub granted: bool,
    /// What the client would be told.
    pub cause: Cause,
    /// Whether the request's method is one that may be sent twice.
    pub may_repeat: bool,
    /// Whether the request can be sent from its first byte.
    pub replayable: bool,
    /// Attempts after the first that servers may see (`retry.limit`).
    pub limit: u32,
}

/// How the servers stand for a request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// One has come back since the last attempt, or can be asked.
    Back,
    /// None can be asked, and at least one is being repaired.
    Repairing,
    /// Those that were asked have just died, and nobody has said more about them.
    Unknown,
    /// None is being repaired.
    NoRepair,
}

/// What is known of the servers of a request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServersNow {
    /// One is in service, as far as is known.
    pub any_in_service: bool,
    /// One has come back since the last attempt began.
    pub any_returned: bool,
    /// One is in service that was not asked last.
    pub any_other: bool,
    /// One is being repaired.
    pub any_in_repair: bool,
    /// Requests have waited in vain for somebody to repair one, and nothing was said since.
    pub in_vain: bool,
}

/// The time of a request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When it began to wait for the first time.
    pub since: Instant,
    /// When it began to wait this time.
    pub began: Instant,
    /// The end of its time as a whole.
    pub deadline: Instant,
}

/// What a request that has no server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Makes another attempt.
    Go,
    /// Waits for news, at most until then.
    Until(Instant),
    /// Fails.
    GiveUp(GaveUp),
}

impl Past {
    /// No attempt so far.
    pub const NOTHING: Self = Self {
        attempts: 0,
        seen: 0,
        deaths: 0,
        last: None,
        found_dead: false,
    };

    /// An attempt has ended.
    pub const fn add(&mut self, outcome: Outcome) {
        let is_death = matches!(
            outcome,
            Outcome::Reset { sent: true } | Outcome::Truncated | Outcome::Rescued
        );
        self.attempts = self.attempts.saturating_add(1);
        self.seen = self.seen.saturating_add(!outcome.is_unsent() as u32);
        self.deaths = self.deaths.saturating_add(is_death as u32);
        self.last = Some(outcome);
    }

    /// Whether it may be what kills servers: two did not survive it, and of none it is known that it died without it.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.deaths > 1 && !self.found_dead
    }

    /// How the servers stand for it.
    #[must_use]
    pub fn outlook(&self, servers: ServersNow) -> Outlook {
        let met_a_death = self.attempts > 0 && self.met_a_death();
        // Those that are said to serve have been asked, and were dead: that is not known yet.
        let is_stale = servers.any_in_service && met_a_death;
        // Where two have died with it and one without it, the rest is not asked any more.
        let may_ask_others = servers.any_other && self.deaths <= 1;
        match () {
            () if servers.any_in_service && (servers.any_returned || !is_stale) => Outlook::Back,
            () if is_stale && may_ask_others => Outlook::NoRepair,
            () if servers.any_in_repair => Outlook::Repairing,
            () if met_a_death && !servers.in_vain => Outlook::Unknown,
            () => Outlook::NoRepair,
        }
    }

    /// Whether the last attempt found its server dead, or lost it.
    #[must_use]
    pub fn met_a_death(&self) -> bool {
        self.last.is_some_and(|outcome| {
            matches!(
                outcome,
                Outcome::ConnectRefused | Outcome::Stale | Outcome::Reset { .. }
            )
        })
    }
}

impl Candidate {
    /// Whether it may wait at all.
    ///
    /// Attempts that no server has seen do not count: there was nobody to see them. What servers may have seen stays bounded by
    /// `retry.limit`. One that is suspect ([`Past::is_suspect`]) is not sent again before a server has died without it.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        if !lacks_server(self.cause) {
            return false;
        }
        if self.past.attempts == 0 {
            return true;
        }
        let may_go_again = self.past.seen == 0 || self.may_repeat;
        let is_within = self.past.seen <= self.limit;
        self.replayable && may_go_again && (self.granted || is_within && self.past.met_a_death())
    }
}

/// Whether a request fails like this since there was no server for it.
const fn lacks_server(cause: Cause) -> bool {
    match cause {
        Cause::NoServer
        | Cause::ConnectRefused
        | Cause::ConnectTimeout
        | Cause::Unreachable
        | Cause::Reset
        | Cause::StreamRefused
        | Cause::AttemptTimeout
        | Cause::BadResponse
        | Cause::Truncated => true,
        Cause::NoRoute
        | Cause::Maintenance
        | Cause::QueueFull
        | Cause::QueueTimeout
        | Cause::QueueLate
        | Cause::Shed
        | Cause::RateLimited { .. }
        | Cause::Throttled
        | Cause::BadRequest { .. }
        | Cause::RequestTimeout
        | Cause::MethodNotAllowed
        | Cause::LocalError
        | Cause::TotalTimeout
        | Cause::Deadline
        | Cause::Quarantined { .. }
        | Cause::RouteBroken { .. }
        | Cause::FallenBack { .. }
        | Cause::Injected { .. } => false,
    }
}

impl HoldOptions {
    /// What a request does that began to wait like this.
    #[must_use]
    pub fn decide(&self, wait: Wait, outlook: Outlook, now: Instant) -> Hold {
        if now >= wait.deadline {
            return Hold::GiveUp(GaveUp::Deadline);
        }
        let end = wait.since + self.up_to;
        let settled = wait.began + SETTLES;
        match outlook {
            Outlook::Back => Hold::Go,
            Outlook::NoRepair => Hold::GiveUp(GaveUp::NoRepair),
            _ if now >= end => Hold::GiveUp(GaveUp::UpTo),
            Outlook::Repairing => Hold::Until(end.min(wait.deadline)),
            Outlook::Unknown if now >= settled => Hold::GiveUp(GaveUp::NoRepair),
            Outlook::Unknown => Hold::Until(end.min(wait.deadline).min(settled)),
        }
    }
}

impl GaveUp {
    /// All reasons, in the order of [`Self::place`].
    pub const ALL: [Self; 7] = [
        Self::Full,
        Self::UpTo,
        Self::Deadline,
        Self::NoRepair,
        Self::Maintenance,
        Self::Drain,
        Self::ClientGone,
    ];

    /// The word for it in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::UpTo => "up-to",
            Self::Deadline => "deadline",
            Self::NoRepair => "no-repair",
            Self::Maintenance => "maintenance",
            Self::Drain => "drain",
            Self::ClientGone => "client-gone",
        }
    }

    /// Its index in arrays of counters.
    #[must_use]
    pub const fn place(self) -> usize {
        self as usize
    }

    /// What the client is told of a request that would have failed for `cause`.
    #[must_use]
    pub const fn tells(self, cause: Cause) -> Cause {
        match self {
            Self::Deadline => Cause::TotalTimeout,
            Self::Maintenance => Cause::Maintenance,
            Self::Full | Self::UpTo | Self::NoRepair | Self::Drain | Self::ClientGone => cause,
        }
    }
}

/// What waits now, of one service. Shared by all workers.
#[derive(Debug, Default)]
pub struct HeldNow {
    requests: AtomicU32,
    bytes: AtomicU64,
}

impl HeldNow {
    /// Takes a request of so many bytes in, if there is room; to be given back with [`Self::leave`].
    ///
    /// # Errors
    /// [`GaveUp::Full`] if there is none.
    pub fn enter(&self, options: &HoldOptions, bytes: u64) -> Result<(), GaveUp> {
        let one_more = |now: u32| (now < options.requests).then_some(now + 1);
        let added = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= options.bytes);
        let order = Ordering::Relaxed;
        if self.requests.fetch_update(order, order, one_more).is_err() {
            return Err(GaveUp::Full);
        }
        if self.bytes.fetch_update(order, order, added).is_err() {
            self.requests.fetch_sub(1, order);
            return Err(GaveUp::Full);
        }
        Ok(())
    }

    /// A request of so many bytes waits no longer.
    pub fn leave(&self, bytes: u64) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many wait.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many bytes they take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: HoldOptions = HoldOptions {
        up_to: Duration::from_secs(3),
        requests: 2,
        bytes: 100,
    };
    const LOST: Outcome = Outcome::Reset { sent: true };

    /// A request with these attempts, of a method that may be repeated, whose body is kept; `retry.limit` is 2.
    fn after(outcomes: &[Outcome]) -> Candidate {
        let mut past = Past::NOTHING;
        outcomes.iter().for_each(|outcome| past.add(*outcome));
        Candidate {
            past,
            granted: outcomes.is_empty(),
            cause: outcomes
                .last()
                .and_then(|last| Cause::of_outcome(*last))
                .unwrap_or(Cause::NoServer),
            may_repeat: true,
            replayable: true,
            limit: 2,
        }
    }

    impl Candidate {
        const fn once(self) -> Self {
            Self {
                may_repeat: false,
                ..self
            }
        }

        const fn streamed(self) -> Self {
            Self {
                replayable: false,
                ..self
            }
        }

        const fn granted(self) -> Self {
            Self {
                granted: true,
                ..self
            }
        }

        const fn limit(self, limit: u32) -> Self {
            Self { limit, ..self }
        }

        const fn cause(self, cause: Cause) -> Self {
            Self { cause, ..self }
        }
    }

    #[test]
    fn requests_that_may_wait() {
        let (refused, first) = (Outcome::ConnectRefused, after(&[]));
        let (hung, busy) = (Outcome::AttemptTimeout, Outcome::Answered(503));
        for (candidate, why) in [
            (first, "nobody has seen it"),
            (first.once().streamed(), "nor anything of its body"),
            (after(&[refused]), "nobody was there"),
            (after(&[refused; 8]), "however often"),
            (after(&[refused]).once(), "so it is the first time still"),
            (after(&[refused]).limit(0), "and no retry"),
            (after(&[LOST, refused, refused]), "in flight when it died"),
            (after(&[LOST]), "the others are out already"),
            (after(&[LOST, LOST]), "a third one may show why"),
            (after(&[hung]).granted(), "a retry that finds nobody"),
            (after(&[busy]).granted(), "likewise"),
            (
                after(&[Outcome::StreamRefused]).once().granted(),
                "no application has seen it",
            ),
        ] {
            assert!(candidate.may_wait(), "{why}: {candidate:?}");
        }
    }

    #[test]
    fn requests_that_may_not_wait() {
        let (refused, first) = (Outcome::ConnectRefused, after(&[]));
        let (hung, busy) = (Outcome::AttemptTimeout, Outcome::Answered(503));
        for (candidate, why) in [
            (after(&[refused]).streamed(), "a part of its body is gone"),
            (after(&[LOST]).once(), "a server may have done it"),
            (after(&[LOST]).limit(0), "no retry is wanted"),
            (after(&[LOST; 3]), "three servers have seen it"),
            (after(&[hung]), "it hangs, it is not dead"),
            (after(&[Outcome::StreamRefused]), "its server is alive"),
            (after(&[busy]).once().granted(), "it was seen"),
            (after(&[Outcome::LocalError]), "not the servers' doing"),
            (first.cause(Cause::QueueFull), "there are servers"),
            (first.cause(Cause::Shed), "it is refused"),
        ] {
            assert!(!candidate.may_wait(), "{why}: {candidate:?}");
        }
    }

    #[test]
    fn what_two_servers_did_not_survive_is_suspect_unless_another_died_without_it() {
        assert!(!after(&[LOST, Outcome::ConnectRefused]).past.is_suspect());
        let twice = after(&[LOST, LOST]).past;
        assert!(twice.is_suspect());
        let innocent = Past {
            found_dead: true,
            ..twice
        };
        assert!(!innocent.is_suspect());
    }

    #[test]
    fn how_the_servers_stand() {
        let none = ServersNow {
            any_in_service: false,
            any_returned: false,
            any_other: false,
            any_in_repair: false,
            in_vain: false,
        };
        let up = ServersNow {
            any_in_service: true,
            ..none
        };
        let back = ServersNow {
            any_returned: true,
            ..up
        };
        let others = ServersNow {
            any_other: true,
            any_in_repair: true,
            ..up
        };
        let repair = |servers| ServersNow {
            any_in_repair: true,
            ..servers
        };
        let vain = ServersNow {
            in_vain: true,
            ..none
        };
        let (first, lost, twice) = (after(&[]), after(&[LOST]), after(&[LOST, LOST]));
        for (candidate, servers, outlook, why) in [
            (first, up, Outlook::Back, "one serves"),
            (first, none, Outlook::NoRepair, "nobody does anything"),
            (first, repair(none), Outlook::Repairing, "somebody does"),
            (lost, up, Outlook::Unknown, "it serves by hearsay"),
            (lost, back, Outlook::Back, "it has come back since"),
            (lost, others, Outlook::NoRepair, "others are to be asked"),
            (twice, others, Outlook::Repairing, "others are spared"),
            (lost, repair(up), Outlook::Repairing, "and is repaired"),
            (lost, vain, Outlook::NoRepair, "others have waited for it"),
        ] {
            assert_eq!(candidate.past.outlook(servers), outlook, "{why}");
        }
    }

    #[test]
    fn a_held_request_waits_until_the_earliest_of_its_limits() {
        let at = Instant::from_millis;
        let wait = Wait {
            since: at(0),
            began: at(500),
            deadline: at(60_000),
        };
        let long = HoldOptions {
            up_to: Duration::from_secs(20),
            ..OPTIONS
        };
        let short = Wait {
            deadline: at(2_000),
            ..wait
        };
        for (wait, outlook, now, hold) in [
            (wait, Outlook::Back, 0, Hold::Go),
            (wait, Outlook::Back, 3_500, Hold::Go),
            (wait, Outlook::Repairing, 500, Hold::Until(at(3_000))),
            (wait, Outlook::Repairing, 3_000, Hold::GiveUp(GaveUp::UpTo)),
            (wait, Outlook::Unknown, 500, Hold::Until(at(3_000))),
            (wait, Outlook::Unknown, 3_000, Hold::GiveUp(GaveUp::UpTo)),
            (wait, Outlook::NoRepair, 500, Hold::GiveUp(GaveUp::NoRepair)),
            (short, Outlook::Repairing, 500, Hold::Until(at(2_000))),
            (
                short,
                Outlook::Repairing,
                2_000,
                Hold::GiveUp(GaveUp::Deadline),
            ),
            (short, Outlook::Back, 2_000, Hold::GiveUp(GaveUp::Deadline)),
        ] {
            assert_eq!(
                OPTIONS.decide(wait, outlook, at(now)),
                hold,
                "{outlook:?} at {now}"
            );
        }
        assert_eq!(
            long.decide(wait, Outlook::Unknown, at(500)),
            Hold::Until(at(5_500))
        );
        let settled = long.decide(wait, Outlook::Unknown, at(5_500));
        assert_eq!(settled, Hold::GiveUp(GaveUp::NoRepair));
    }

    #[test]
    fn only_so_many_and_so_many_bytes() {
        let held = HeldNow::default();
        assert_eq!(held.enter(&OPTIONS, 101), Err(GaveUp::Full));
        assert_eq!(held.enter(&OPTIONS, 60), Ok(()));
        assert_eq!(
            held.enter(&OPTIONS, 60),
            Err(GaveUp::Full),
            "too many bytes"
        );
        assert_eq!(held.enter(&OPTIONS, 40), Ok(()));
        assert_eq!(
            held.enter(&OPTIONS, 0),
            Err(GaveUp::Full),
            "too many requests"
        );
        held.leave(60);
        assert_eq!((held.requests(), held.bytes()), (1, 40));
        assert_eq!(held.enter(&OPTIONS, u64::MAX), Err(GaveUp::Full));
        assert_eq!((held.requests(), held.bytes()), (1, 40));
    }

    #[test]
    fn each_reason_has_its_place_and_what_it_tells() {
        for (place, reason) in GaveUp::ALL.into_iter().enumerate() {
            assert_eq!(reason.place(), place);
        }
        assert_eq!(GaveUp::Deadline.tells(Cause::Reset), Cause::TotalTimeout);
        assert_eq!(GaveUp::Maintenance.tells(Cause::Reset), Cause::Maintenance);
        assert_eq!(GaveUp::UpTo.tells(Cause::Reset), Cause::Reset);
    }
}
