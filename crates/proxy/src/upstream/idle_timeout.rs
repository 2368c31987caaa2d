//! After how long a server closes a connection that carries nothing, as far as it can be known, and how long a kept connection
//! may therefore be used.
//!
//! A request on a connection that the server closes at that moment is lost, and whether the server saw it is not known (RFC 9112,
//! section 9.5). Sent again it does no harm if it may be repeated. If not, it is sent only where the server is well within its
//! time: what the server says (`Keep-Alive: timeout=N`), what it was seen to do, or, with neither, an age below every usual timeout.

use std::time::Duration;

use evenkeel_core::Instant;

/// Nothing is kept longer than this without use: below the 60 s and more that most servers wait.
pub(crate) const MAX_IDLE: Duration = Duration::from_secs(30);
/// How long a connection is safe to use again while nothing is known of its server. The shortest timeouts in use are 1 s.
const ASSUMED_SAFE: Duration = Duration::from_millis(250);
/// A request counts as safe when it comes at least this much, or a quarter, before the server's time is over: the network comes in
/// between, and a server that is short of CPU may look at its clock before it looks at its sockets.
const MARGIN: Duration = Duration::from_millis(750);
/// A connection that was closed this soon was not closed for being idle: its server restarts, or has counted its requests.
const NOT_IDLE: Duration = Duration::from_millis(50);
/// What was seen holds for so long after it was seen last.
const REMEMBERED: Duration = Duration::from_secs(600);
/// What was seen is dropped after connections were found open beyond it this many times, with no such close in between: it was a
/// restart. A look is taken every [`crate::upstream::pool::SWEEP`].
const CONTRADICTIONS: u32 = 40;

/// How a kept connection may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// The request can be sent again if the connection turns out to be closed.
    Repeatable,
    /// It cannot: only a connection that the server is not about to close will do.
    Once,
}

/// What is known of one server.
#[derive(Debug, Default)]
pub(crate) struct IdleTimeout {
    /// What it said last.
    advertised: Option<Duration>,
    closed: Option<Closed>,
    /// The longest time that a connection was idle and still open.
    open: Duration,
}

/// Closes that were seen.
#[derive(Debug, Clone, Copy)]
struct Closed {
    /// The shortest idle time after which a connection was closed; a lower bound of it.
    after: Duration,
    last_seen: Instant,
    contradictions: u32,
}

impl IdleTimeout {
    /// The server says that it closes connections after being idle for this long.
    pub(crate) fn advertise(&mut self, timeout: Duration) {
        self.advertised = Some(timeout);
    }

    /// A connection was seen open after it had been idle for this long.
    pub(crate) fn saw_open(&mut self, idle: Duration) {
        self.open = self.open.max(idle);
        if let Some(closed) = &mut self.closed
            && idle > closed.after + MARGIN
        {
            closed.contradictions += 1;
            if closed.contradictions >= CONTRADICTIONS {
                self.closed = None;
            }
        }
    }

    /// A connection was found closed after it had been idle for `idle`, and was still open after `known_open`. Of several that
    /// are found closed together only the youngest says something.
    pub(crate) fn saw_closed(&mut self, known_open: Duration, idle: Duration, now: Instant) {
        if idle < NOT_IDLE {
            // Perhaps another program is there now, with other settings.
            self.open = Duration::ZERO;
            return;
        }
        let known = self.closed_after(now).unwrap_or(Duration::MAX);
        self.closed = Some(Closed {
            after: known_open.min(known),
            last_seen: now,
            contradictions: 0,
        });
        self.open = self.open.min(known_open);
    }

    /// For how long a connection that lies idle may be used.
    pub(crate) fn limit(&self, reuse: Reuse, now: Instant) -> Duration {
        let known = match (self.advertised, self.closed_after(now)) {
            (Some(said), Some(seen)) => Some(said.min(seen)),
            (said, seen) => said.or(seen),
        };
        let limit = match (reuse, known) {
            // What was seen may have been a restart, and a repeat costs little: only what the server says counts.
            (Reuse::Repeatable, _) => self.advertised.unwrap_or(MAX_IDLE),
            (Reuse::Once, Some(timeout)) => within(timeout),
            (Reuse::Once, None) => within(self.open).max(ASSUMED_SAFE),
        };
        limit.min(MAX_IDLE)
    }

    fn closed_after(&self, now: Instant) -> Option<Duration> {
        let closed = self.closed.as_ref()?;
        (now.since(closed.last_seen) < REMEMBERED).then_some(closed.after)
    }
}

/// What is well within this time.
fn within(timeout: Duration) -> Duration {
    timeout.saturating_sub(MARGIN.max(timeout / 4))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn limits(timeout: &IdleTimeout, now: Instant) -> (u128, u128) {
        let of = |reuse| timeout.limit(reuse, now).as_millis();
        (of(Reuse::Repeatable), of(Reuse::Once))
    }

    #[test]
    fn with_nothing_known_only_what_was_used_just_now_is_safe() {
        assert_eq!(limits(&IdleTimeout::default(), at(0)), (30_000, 250));
    }

    #[test]
    fn an_advertised_idle_timeout_is_respected() {
        for (said, expected) in [
            (0, (0, 0)),
            (1_000, (1_000, 250)),
            (5_000, (5_000, 3_750)),
            (75_000, (30_000, 30_000)),
        ] {
            let mut timeout = IdleTimeout::default();
            timeout.advertise(ms(said));
            assert_eq!(limits(&timeout, at(0)), expected, "{said}");
        }
    }

    #[test]
    fn it_is_learnt_from_closes_and_forgotten_slowly() {
        let mut timeout = IdleTimeout::default();
        timeout.saw_closed(ms(2_000), ms(2_100), at(5_000));
        assert_eq!(limits(&timeout, at(5_000)), (30_000, 1_250));
        timeout.saw_closed(ms(900), ms(1_010), at(6_000));
        assert_eq!(limits(&timeout, at(6_000)), (30_000, 150));
        timeout.saw_closed(ms(1_900), ms(2_000), at(7_000));
        assert_eq!(limits(&timeout, at(7_000)), (30_000, 150), "the shortest");
        timeout.advertise(ms(5_000));
        assert_eq!(limits(&timeout, at(606_999)), (5_000, 150));
        assert_eq!(limits(&timeout, at(607_000)), (5_000, 3_750));
    }

    #[test]
    fn a_server_that_keeps_connections_open_earns_trust() {
        let mut timeout = IdleTimeout::default();
        timeout.saw_open(ms(600));
        assert_eq!(limits(&timeout, at(0)).1, 250);
        timeout.saw_open(ms(20_000));
        assert_eq!(limits(&timeout, at(0)).1, 15_000);
        // Until a restart, after which it may be another program.
        timeout.saw_closed(ms(0), ms(3), at(1));
        assert_eq!(limits(&timeout, at(1)).1, 250);
    }

    #[test]
    fn one_restart_is_forgotten_when_connections_stay_open_longer() {
        let mut timeout = IdleTimeout::default();
        timeout.saw_closed(ms(0), ms(60), at(0));
        assert_eq!(limits(&timeout, at(0)).1, 0);
        for _ in 0..CONTRADICTIONS {
            assert_eq!(limits(&timeout, at(1)).1, 0);
            timeout.saw_open(ms(751));
        }
        assert_eq!(limits(&timeout, at(1)).1, 250);
    }

    proptest! {
        /// Whatever was seen before: after a close at `close` nothing that is as old is safe for a request that goes once.
        #[test]
        fn nothing_as_old_as_the_last_close_is_safe(
            steps in proptest::collection::vec((0_u8..3, 50_u64..60_000), 0..60),
            close in 50_u64..40_000,
        ) {
            let mut timeout = IdleTimeout::default();
            for (time, (what, millis)) in (0..).zip(steps) {
                match what {
                    0 => timeout.saw_open(ms(millis)),
                    1 => timeout.advertise(ms(millis)),
                    _ => timeout.saw_closed(ms(millis) / 2, ms(millis), at(time)),
                }
            }
            timeout.saw_closed(ms(close), ms(close), at(100));
            let once = timeout.limit(Reuse::Once, at(100));
            prop_assert!(once == Duration::ZERO || once + MARGIN <= ms(close));
            prop_assert!(once <= timeout.limit(Reuse::Repeatable, at(100)) || timeout.advertised.is_some());
        }
    }
}
