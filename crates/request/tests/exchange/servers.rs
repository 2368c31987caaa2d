//! What the servers of the simulation do: each has a condition that changes now and then, and an attempt on it takes the course that
//! follows from it.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::ServerState;
use evenkeel_core::blame::{
    AttemptPhase, EndContext, EndEvent, Judgement, Peer, Sent, TimeLimit, judge,
};
use evenkeel_core::{Instant, Random};
use evenkeel_tolerate::TimeoutOptions;

/// How a server does at present.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Condition {
    Well,
    Slow,
    Refuses,
    Unreachable,
    Hangs,
    Resets,
    /// Refuses streams before it processes them, as over HTTP/2 a server does that shuts down or has enough of them.
    RefusesStreams,
    Failing,
    /// Answers 429 or 503 and asks to be left alone.
    Busy,
    /// Breaks its responses off.
    Truncates,
    /// Does a little of everything.
    Mixed,
}

/// A server as the simulation knows it, apart from what the exchange says of it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) service: u32,
    pub(crate) state: Arc<ServerState>,
    pub(crate) condition: Condition,
    /// Attempts that hold a place on it.
    pub(crate) in_flight: u32,
    /// Until when it is out of service and being repaired, as was ordered.
    pub(crate) out_until: Instant,
    pub(crate) repaired_until: Instant,
}

/// What happens to an attempt, one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Happening {
    Connected,
    /// All of the request is sent.
    Written,
    /// It has ended so.
    Ended(EndEvent),
    /// The response that was held back is whole.
    Buffered,
    /// The client's body is none.
    BadBody,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) phase: AttemptPhase,
    pub(crate) sent: Sent,
    pub(crate) is_reused: bool,
}

/// The course of one attempt.
pub(crate) struct Course {
    pub(crate) happenings: Vec<(Instant, Happening)>,
    pub(crate) is_reused: bool,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) load: Option<f64>,
}

impl Progress {
    pub(crate) const fn judge(self, event: EndEvent) -> Judgement {
        judge(
            event,
            EndContext {
                phase: self.phase,
                sent: self.sent,
                reused: self.is_reused,
                clean: false,
            },
        )
    }
}

impl Condition {
    pub(crate) fn draw(random: &mut Random) -> Self {
        match random.below(25) {
            0 => Self::Refuses,
            1 => Self::Unreachable,
            2 => Self::Hangs,
            3 => Self::Resets,
            4 => Self::Failing,
            5 => Self::Busy,
            6 => Self::Truncates,
            7 | 8 => Self::Slow,
            9..12 => Self::Mixed,
            24 => Self::RefusesStreams,
            _ => Self::Well,
        }
    }

    /// What it is like for one attempt.
    fn of_attempt(self, random: &mut Random) -> Self {
        match self {
            Self::Mixed if random.below(3) > 0 => Self::Well,
            Self::Mixed => loop {
                let one = Self::draw(random);
                if one != Self::Mixed {
                    return one;
                }
            },
            Self::Resets | Self::RefusesStreams | Self::Failing | Self::Busy
                if random.below(4) == 0 =>
            {
                Self::Well
            }
            other => other,
        }
    }

    /// The course of an attempt that begins at `now` and may last until `deadline`.
    pub(crate) fn course(
        self,
        now: Instant,
        timeout: &TimeoutOptions,
        deadline: Instant,
        random: &mut Random,
    ) -> Course {
        let like = self.of_attempt(random);
        let is_slow = random.below(6) == 0;
        let mut millis = |most: usize| Duration::from_millis(random.below(most + 1) as u64);
        // Of some clients the body comes slowly.
        let (soon, slow) = (millis(4), millis(40));
        let is_busy = like == Self::Busy;
        let retry_after = millis(3_000);
        let load = millis(100).as_secs_f64() * 10.0;
        let connected = now + millis(3);
        let between = millis(if like == Self::Slow { 700 } else { 25 });
        let written = connected + if is_slow { slow } else { soon };
        let answered = written + between;
        let is_reused = random.below(2) == 0;
        let mut happenings = Vec::with_capacity(3);
        let status = match like {
            Self::Failing => [500, 500, 502][random.below(3)],
            Self::Busy => [429, 503][random.below(2)],
            _ => [200, 200, 200, 204, 404, 301][random.below(6)],
        };
        let end = match like {
            Self::Refuses => Some((connected, EndEvent::Refused)),
            Self::Unreachable if random.below(2) == 0 => Some((connected, EndEvent::Unreachable)),
            Self::Unreachable => None,
            _ if random.below(400) == 0 => Some((connected, EndEvent::Exhausted)),
            _ => {
                happenings.push((connected, Happening::Connected));
                let refusal = match like {
                    Self::Resets => Some(EndEvent::Closed(Peer::Server)),
                    Self::RefusesStreams => Some(EndEvent::StreamRefused),
                    _ => None,
                };
                if let Some(event) = refusal.filter(|_| random.below(3) == 0) {
                    Some((connected, event))
                } else {
                    happenings.push((written, Happening::Written));
                    match like {
                        Self::Hangs => None,
                        Self::Resets | Self::RefusesStreams => {
                            refusal.map(|event| (answered, event))
                        }
                        Self::Truncates if random.below(4) == 0 => {
                            Some((answered, EndEvent::Malformed(Peer::Server)))
                        }
                        _ => Some((answered, EndEvent::Answered(status))),
                    }
                }
            }
        };
        let is_connecting = happenings.is_empty();
        happenings.extend(end.map(|(at, event)| (at, Happening::Ended(event))));
        cut_off(&mut happenings, is_connecting, now, timeout, deadline);
        Course {
            happenings,
            is_reused,
            retry_after: (is_busy && random.below(3) > 0).then_some(retry_after),
            load: (random.below(50) == 0).then_some(load),
        }
    }
}

/// Whatever comes too late is replaced by the limit that has passed before.
fn cut_off(
    happenings: &mut Vec<(Instant, Happening)>,
    is_connecting: bool,
    now: Instant,
    timeout: &TimeoutOptions,
    deadline: Instant,
) {
    let own = if is_connecting {
        now + timeout.connect
    } else {
        now + timeout.attempt
    };
    let (end, limit) = if deadline <= own {
        (deadline, TimeLimit::Total)
    } else {
        (own, TimeLimit::Attempt)
    };
    let kept = happenings.iter().take_while(|(at, _)| *at < end).count();
    let is_over = matches!(
        happenings.get(kept.wrapping_sub(1)),
        Some((_, Happening::Ended(_)))
    );
    happenings.truncate(kept);
    if !is_over {
        happenings.push((end, Happening::Ended(EndEvent::Late(limit))));
    }
}

/// Each server has in flight what the simulation has there, and the balancer nothing else.
pub(crate) fn check_in_flight(servers: &[Server], service: u32) {
    for server in servers.iter().filter(|server| server.service == service) {
        assert_eq!(
            server.state.in_flight(),
            server.in_flight,
            "in flight on a server of {service}"
        );
    }
}
