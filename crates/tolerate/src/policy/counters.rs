//! The counters of a policy.
//!
//! They count the same events that a listener gets, so what they say and what was decided cannot differ. A call that succeeds at
//! once costs two additions.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{PolicyEvent, Repaired, Stopped};
use crate::Verdict;
use crate::breaker::Transition;

/// Calls are counted by their number of attempts up to this; the last counter is for this many and more.
pub const ATTEMPTS_COUNTED: usize = 8;
/// One counter for each reason to stop.
const STOPS: usize = Stopped::ALL.len();

/// The counters of a policy, since it was built.
#[derive(Debug, Default)]
pub struct Counters {
    stopped: [AtomicU64; STOPS],
    attempts_per_call: [AtomicU64; ATTEMPTS_COUNTED + 1],
    retries: AtomicU64,
    free_retries: AtomicU64,
    timeouts: AtomicU64,
    retries_after_timeout: AtomicU64,
    denied: [AtomicU64; STOPS],
    hedges: AtomicU64,
    hedges_won: AtomicU64,
    hedges_denied: AtomicU64,
    cancelled: AtomicU64,
    repairs: AtomicU64,
    repairs_failed: AtomicU64,
    fallbacks: AtomicU64,
    fallbacks_failed: AtomicU64,
    abandoned: AtomicU64,
    waited_nanos: AtomicU64,
    queued: AtomicU64,
    queue_refused: AtomicU64,
    queued_nanos: AtomicU64,
    paced: AtomicU64,
    paced_nanos: AtomicU64,
    delays_injected: AtomicU64,
    aborts_injected: AtomicU64,
    breakers_opened: AtomicU64,
    breakers_closed: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct CounterSnapshot {
    /// Calls that ended.
    pub calls: u64,
    /// By the reason why they stopped, in the order of [`Stopped::ALL`].
    pub stopped: [u64; STOPS],
    /// Calls by how many attempts they made: none, 1, 2, …; the last place is for [`ATTEMPTS_COUNTED`] and more.
    pub attempts_per_call: [u64; ATTEMPTS_COUNTED + 1],
    /// Retries, including those that cost nothing.
    pub retries: u64,
    /// Retries that cost nothing.
    pub free_retries: u64,
    /// Attempts that timed out.
    pub timeouts: u64,
    /// Retries after such attempts.
    pub retries_after_timeout: u64,
    /// Calls that were denied a retry, by reason, in the order of [`Stopped::ALL`].
    pub denied: [u64; STOPS],
    /// Hedged attempts.
    pub hedges: u64,
    /// Of these, those that answered first.
    pub hedges_won: u64,
    /// Hedged attempts that were due and not made.
    pub hedges_denied: u64,
    /// Attempts that were cancelled because another one decided the call.
    pub cancelled: u64,
    /// Repairs.
    pub repairs: u64,
    /// Of these, those that failed or ran into the deadline.
    pub repairs_failed: u64,
    /// Fallbacks that were used.
    pub fallbacks: u64,
    /// Of these, those that failed.
    pub fallbacks_failed: u64,
    /// Calls that were dropped before their end.
    pub abandoned: u64,
    /// Time spent waiting between attempts.
    pub waited: Duration,
    /// Attempts that waited in the queue.
    pub queued: u64,
    /// Of these, those that left it without a slot. For the reasons see [`CounterSnapshot::stopped`].
    pub queue_refused: u64,
    /// Time that attempts spent in the queue.
    pub queued_for: Duration,
    /// Attempts that waited for a token of the rate.
    pub paced: u64,
    /// Time that they waited for it.
    pub paced_for: Duration,
    /// Attempts that were delayed by an injected fault.
    pub delays_injected: u64,
    /// Attempts that failed by an injected fault.
    pub aborts_injected: u64,
    /// How often a breaker of the policy opened.
    pub breakers_opened: u64,
    /// How often one closed again.
    pub breakers_closed: u64,
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn add(counter: &AtomicU64, time: Duration) {
    if !time.is_zero() {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        counter.fetch_add(nanos, Ordering::Relaxed);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    /// Counts one event.
    pub fn count(&self, event: &PolicyEvent) {
        match *event {
            PolicyEvent::Began(attempt) => {
                if attempt.hedge {
                    one(&self.hedges);
                }
            }
            PolicyEvent::Ended { verdict, .. } => {
                if verdict == Verdict::Timeout {
                    one(&self.timeouts);
                }
            }
            PolicyEvent::Cancelled { .. } => one(&self.cancelled),
            PolicyEvent::HedgeWon => one(&self.hedges_won),
            PolicyEvent::HedgeDenied(_) => one(&self.hedges_denied),
            PolicyEvent::Retry { verdict, free, .. } => {
                one(&self.retries);
                if free {
                    one(&self.free_retries);
                }
                if verdict == Verdict::Timeout {
                    one(&self.retries_after_timeout);
                }
            }
            PolicyEvent::Denied(why) => one(&self.denied[Stopped::from(why).index()]),
            PolicyEvent::Repair { outcome, .. } => {
                one(&self.repairs);
                if matches!(outcome, None | Some(Repaired::Failed)) {
                    one(&self.repairs_failed);
                }
            }
            PolicyEvent::Fallback { good } => {
                one(&self.fallbacks);
                if !good {
                    one(&self.fallbacks_failed);
                }
            }
            PolicyEvent::Stopped {
                why,
                attempts,
                waited,
            } => {
                one(&self.stopped[why.index()]);
                one(&self.attempts_per_call[(attempts as usize).min(ATTEMPTS_COUNTED)]);
                add(&self.waited_nanos, waited);
            }
            PolicyEvent::Abandoned => one(&self.abandoned),
            PolicyEvent::Paced { .. }
            | PolicyEvent::Queued { .. }
            | PolicyEvent::Injected { .. }
            | PolicyEvent::Breaker { .. } => self.count_mechanism(event),
        }
    }

    /// The events of mechanisms that a policy may not have.
    fn count_mechanism(&self, event: &PolicyEvent) {
        match *event {
            PolicyEvent::Paced { waited } => {
                one(&self.paced);
                add(&self.paced_nanos, waited);
            }
            PolicyEvent::Queued { waited, refused } => {
                one(&self.queued);
                add(&self.queued_nanos, waited);
                if refused.is_some() {
                    one(&self.queue_refused);
                }
            }
            PolicyEvent::Injected { delay, abort, .. } => {
                if delay.is_some() {
                    one(&self.delays_injected);
                }
                if abort {
                    one(&self.aborts_injected);
                }
            }
            PolicyEvent::Breaker { change, .. } => one(match change {
                Transition::Opened(..) => &self.breakers_opened,
                Transition::Closed => &self.breakers_closed,
            }),
            _ => {}
        }
    }

    /// All counters at this moment.
    #[must_use]
    pub fn snapshot(&self) -> CounterSnapshot {
        let stopped = self.stopped.each_ref().map(read);
        CounterSnapshot {
            calls: stopped.iter().sum(),
            stopped,
            attempts_per_call: self.attempts_per_call.each_ref().map(read),
            retries: read(&self.retries),
            free_retries: read(&self.free_retries),
            timeouts: read(&self.timeouts),
            retries_after_timeout: read(&self.retries_after_timeout),
            denied: self.denied.each_ref().map(read),
            hedges: read(&self.hedges),
            hedges_won: read(&self.hedges_won),
            hedges_denied: read(&self.hedges_denied),
            cancelled: read(&self.cancelled),
            repairs: read(&self.repairs),
            repairs_failed: read(&self.repairs_failed),
            fallbacks: read(&self.fallbacks),
            fallbacks_failed: read(&self.fallbacks_failed),
            abandoned: read(&self.abandoned),
            waited: Duration::from_nanos(read(&self.waited_nanos)),
            queued: read(&self.queued),
            queue_refused: read(&self.queue_refused),
            queued_for: Duration::from_nanos(read(&self.queued_nanos)),
            paced: read(&self.paced),
            paced_for: Duration::from_nanos(read(&self.paced_nanos)),
            delays_injected: read(&self.delays_injected),
            aborts_injected: read(&self.aborts_injected),
            breakers_opened: read(&self.breakers_opened),
            breakers_closed: read(&self.breakers_closed),
        }
    }
}

impl CounterSnapshot {
    /// Appends them to `text` in the Prometheus text format, under the policy's name.
    pub fn prometheus(&self, policy: &str, text: &mut String) {
        let policy: String = policy.chars().flat_map(char::escape_default).collect();
        let mut add = |name: &str, label: &str, value: String| {
            let comma = if label.is_empty() { "" } else { "," };
            // Writing into a string cannot fail.
            let _: std::fmt::Result = writeln!(
                text,
                "evenkeel_recovery_{name}{{policy=\"{policy}\"{comma}{label}}} {value}"
            );
        };
        for why in Stopped::ALL {
            let label = format!("stopped=\"{}\"", why.word());
            add("calls_total", &label, self.stopped[why.index()].to_string());
        }
        for (attempts, calls) in self.attempts_per_call.iter().enumerate() {
            let label = format!("attempts=\"{attempts}\"");
            add("calls_by_attempts_total", &label, calls.to_string());
        }
        for why in Stopped::ALL {
            let denied = self.denied[why.index()];
            if denied > 0 {
                let label = format!("by=\"{}\"", why.word());
                add("retries_denied_total", &label, denied.to_string());
            }
        }
        for (name, value) in [
            ("retries_total", self.retries),
            ("retries_free_total", self.free_retries),
            ("timeouts_total", self.timeouts),
            ("retries_after_timeout_total", self.retries_after_timeout),
            ("hedges_total", self.hedges),
            ("hedges_won_total", self.hedges_won),
            ("hedges_denied_total", self.hedges_denied),
            ("attempts_cancelled_total", self.cancelled),
            ("repairs_total", self.repairs),
            ("repairs_failed_total", self.repairs_failed),
            ("fallbacks_total", self.fallbacks),
            ("fallbacks_failed_total", self.fallbacks_failed),
            ("calls_abandoned_total", self.abandoned),
            ("attempts_queued_total", self.queued),
            ("attempts_queue_refused_total", self.queue_refused),
            ("attempts_paced_total", self.paced),
            ("delays_injected_total", self.delays_injected),
            ("aborts_injected_total", self.aborts_injected),
            ("breakers_opened_total", self.breakers_opened),
            ("breakers_closed_total", self.breakers_closed),
        ] {
            add(name, "", value.to_string());
        }
        for (name, time) in [
            ("waited_seconds_total", self.waited),
            ("queued_seconds_total", self.queued_for),
            ("paced_seconds_total", self.paced_for),
        ] {
            add(name, "", format!("{:.6}", time.as_secs_f64()));
        }
    }
}
