//! Earlier actions on one server: how many, how long ago, and therefore when the next is allowed.
//!
//! Two bounds: back-off between restarts, and a limit on all actions that change a server. Reaching the limit does not
//! mean giving up: one slow retry per `backoff.cap` continues, or a normal one as soon as the limit's window has room,
//! whichever comes first. A verified start of a dead process does not count towards the limit, which exists for repairs
//! that do not help.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_core::Instant;

use crate::policy::{ActionLimit, RestartBackoff};

/// The maximum number of remembered actions, whatever the limit.
const REMEMBERED: usize = 1024;
/// A first ejection without a repair lasts this long, the n-th n times as long.
const HOLD: Duration = Duration::from_secs(30);
/// And never longer than this.
const HOLD_CAP: Duration = Duration::from_secs(300);
/// After so long without one the count begins again.
const HOLD_FORGIVEN: Duration = Duration::from_secs(600);

/// Whether an action is allowed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// It is.
    Now,
    /// Back-off: it is at this moment.
    At(Instant),
    /// The limit is reached; a slow retry is allowed at this moment.
    Limited(Instant),
}

/// A change of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerChange {
    /// Its process, which had ended, is started.
    Start,
    /// Its process, which runs, is replaced.
    Restart,
    /// A stop or a command.
    Other,
}

/// Earlier actions on one server.
#[derive(Debug, Clone, Default)]
pub struct Repairs {
    actions: VecDeque<(Instant, ServerChange)>,
    restarts: u32,
    last_restart: Option<Instant>,
    holds: u32,
    last_hold: Instant,
}

impl Repairs {
    /// An action that changes the server begins.
    pub fn note(&mut self, now: Instant, change: ServerChange, backoff: &RestartBackoff) {
        if self.actions.len() == REMEMBERED {
            self.actions.pop_front();
        }
        self.actions.push_back((now, change));
        if change != ServerChange::Other {
            self.forgive(now, backoff);
            self.restarts = self.restarts.saturating_add(1);
            self.last_restart = Some(now);
        }
    }

    /// The latest action was verified. If it was the start of a dead process, it no longer counts towards the limit,
    /// but still towards the back-off, so that a process that exits repeatedly is started more and more slowly.
    pub fn verified(&mut self) {
        if let Some((_, ServerChange::Start)) = self.actions.back() {
            self.actions.pop_back();
        }
    }

    /// Restarts so far, until a quiet time forgives them.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// When it was last started or restarted.
    #[must_use]
    pub const fn last_restart(&self) -> Option<Instant> {
        self.last_restart
    }

    /// Whether the limit has room.
    #[must_use]
    pub fn within_limit(&self, now: Instant, limit: ActionLimit) -> bool {
        let recent = self
            .actions
            .iter()
            .filter(|(at, _)| now.since(*at) < limit.within)
            .count();
        recent < limit.actions as usize
    }

    /// Whether a restart is allowed now, or when.
    pub fn restart(
        &mut self,
        now: Instant,
        limit: ActionLimit,
        backoff: &RestartBackoff,
    ) -> Allowance {
        if !self.within_limit(now, limit) {
            let slow = self.last_restart.map_or(now, |last| last + backoff.cap);
            let room = self.room_at(limit);
            return Allowance::Limited(slow.min(room).max(now));
        }
        self.start(now, backoff)
    }

    /// Whether a process that has ended may be started now, or when, where that is not rationed: the back-off alone decides.
    pub fn start(&mut self, now: Instant, backoff: &RestartBackoff) -> Allowance {
        self.forgive(now, backoff);
        match delay(self.restarts, backoff) {
            Duration::ZERO => Allowance::Now,
            delay => Allowance::At(now + delay),
        }
    }

    /// How long a server that could not be repaired stays out before it is tried again.
    pub fn hold(&mut self, now: Instant) -> Duration {
        if now.since(self.last_hold) > HOLD_FORGIVEN {
            self.holds = 0;
        }
        self.holds = self.holds.saturating_add(1);
        self.last_hold = now;
        (HOLD * self.holds.min(100)).min(HOLD_CAP)
    }

    /// When the window will have room for one more.
    fn room_at(&self, limit: ActionLimit) -> Instant {
        let Some(slot) = self.actions.len().checked_sub(limit.actions as usize) else {
            return Instant::ZERO;
        };
        self.actions
            .get(slot)
            .map_or(Instant::NEVER, |(at, _)| *at + limit.within)
    }

    fn forgive(&mut self, now: Instant, backoff: &RestartBackoff) {
        if self
            .last_restart
            .is_some_and(|last| now.since(last) >= backoff.reset_after)
        {
            self.restarts = 0;
        }
    }
}

/// The delay before restart `n`, from 0.
fn delay(n: u32, backoff: &RestartBackoff) -> Duration {
    match n {
        0 => Duration::ZERO,
        n => backoff
            .base
            .saturating_mul(1_u32 << (n - 1).min(30))
            .min(backoff.cap),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: RestartBackoff = RestartBackoff {
        base: Duration::from_millis(100),
        cap: Duration::from_secs(1),
        reset_after: Duration::from_secs(600),
    };
    const LIMIT: ActionLimit = ActionLimit {
        actions: 5,
        within: Duration::from_secs(600),
    };

    #[test]
    fn delays_double_up_to_the_cap_and_the_first_is_none() {
        let delays: Vec<u128> = (0..7).map(|n| delay(n, &BACKOFF).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(delay(u32::MAX, &BACKOFF), BACKOFF.cap);
    }

    #[test]
    fn the_back_off_is_reset_after_a_quiet_period() {
        let mut repairs = Repairs::default();
        assert_eq!(
            repairs.restart(Instant::ZERO, LIMIT, &BACKOFF),
            Allowance::Now
        );
        repairs.note(Instant::ZERO, ServerChange::Restart, &BACKOFF);
        let soon = Instant::from_millis(1);
        assert_eq!(
            repairs.restart(soon, LIMIT, &BACKOFF),
            Allowance::At(Instant::from_millis(101))
        );
        let late = Instant::from_millis(600_000);
        assert_eq!(repairs.restart(late, LIMIT, &BACKOFF), Allowance::Now);
    }

    #[test]
    fn at_the_limit_one_slow_retry_per_cap_or_when_the_window_has_room() {
        let mut repairs = Repairs::default();
        for n in 0..5 {
            repairs.note(Instant::from_millis(n), ServerChange::Restart, &BACKOFF);
        }
        let now = Instant::from_millis(10);
        assert_eq!(
            repairs.restart(now, LIMIT, &BACKOFF),
            Allowance::Limited(Instant::from_millis(1_004))
        );
        let slow = RestartBackoff {
            cap: Duration::from_secs(3_600),
            ..BACKOFF
        };
        assert_eq!(
            repairs.restart(now, LIMIT, &slow),
            Allowance::Limited(Instant::from_millis(600_000))
        );
    }

    #[test]
    fn verified_starts_of_the_dead_do_not_count_and_where_not_rationed_only_the_back_off_does() {
        let mut repairs = Repairs::default();
        for n in 0..20 {
            repairs.note(Instant::from_millis(n), ServerChange::Start, &BACKOFF);
            repairs.verified();
        }
        let now = Instant::from_millis(30);
        assert!(repairs.within_limit(now, LIMIT));
        // Of a process that ran, each counts, verified or not.
        for n in 20..25 {
            repairs.note(Instant::from_millis(n), ServerChange::Restart, &BACKOFF);
            repairs.verified();
        }
        assert!(!repairs.within_limit(now, LIMIT));
        let later = Allowance::At(now + BACKOFF.cap);
        assert_eq!(repairs.start(now, &BACKOFF), later);
    }

    #[test]
    fn holds_grow_and_are_forgiven() {
        let mut repairs = Repairs::default();
        let start = Instant::from_millis(1_000_000);
        assert_eq!(repairs.hold(start), Duration::from_secs(30));
        assert_eq!(repairs.hold(start), Duration::from_secs(60));
        for _ in 0..20 {
            repairs.hold(start);
        }
        assert_eq!(repairs.hold(start), HOLD_CAP);
        assert_eq!(repairs.hold(start + Duration::from_secs(700)), HOLD);
    }
}
