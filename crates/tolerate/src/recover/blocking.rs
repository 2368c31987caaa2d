//! Runs a call on a thread: the same decisions, with the thread asleep between attempts.
//!
//! A thread cannot be cancelled, so two things are left out. There is no hedging: a second attempt would need a second thread that
//! nobody can stop. And an attempt's timeout is not enforced from outside: the attempt is told how long it may take
//! ([`Attempt::timeout`]) and passes it on to its socket; one that fails later than that counts as timed out.

use super::course::Course;
use super::{Attempt, Classify, Event, Pick, Recovered, RepairBlocking, Run, Stopped};
use crate::clock::Pause;
use crate::{Decision, Verdict};

impl<C: Pause, K, P: Pick, R> Run<'_, C, K, P, R> {
    /// Makes the call on this thread.
    pub fn run_blocking<T, E, F>(mut self, mut attempt: F) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> Result<T, E>,
        K: Classify<T, E>,
        R: RepairBlocking<E>,
    {
        let mut course = Course::begin(&self.recovery.shared, self.call);
        let mut last = None;
        let mut now = course.started();
        let why = loop {
            let begun = match course.start(&mut self.pick, false, now) {
                Ok(begun) => begun,
                Err(why) => break why,
            };
            let made = begun.attempt;
            let result = attempt(made);
            now = course.clock().now();
            let mut verdict = self.classify.verdict(&result);
            let late = now >= made.ends;
            if late && matches!(verdict, Verdict::Transient { .. } | Verdict::Lost) {
                verdict = Verdict::Timeout;
            }
            course.ended(begun, verdict, now);
            let result = last.insert(result);
            if verdict.is_good() {
                break Stopped::Good;
            }
            match course.decide(&made, verdict, now) {
                Decision::Stop(why) => break why.into(),
                Decision::Retry { after, .. } => {
                    let ended = now;
                    if course.may_repair()
                        && let Some(outcome) = self.repair.repair(result.as_ref().err(), made)
                    {
                        let now = course.clock().now();
                        course.repaired(ended, Some(outcome), now);
                    }
                    course.clock().pause_until(ended + after);
                    now = course.clock().now();
                    course.waited(now.since(ended));
                }
            }
        };
        course.finish(why, last, now)
    }

    /// The same with something to fall back to, if the call did not work. If it fails, too, the call's own error is returned.
    pub fn run_blocking_or_else<T, E, F>(
        self,
        attempt: F,
        fallback: impl FnOnce(Stopped) -> Result<T, E>,
    ) -> Recovered<T, E>
    where
        F: FnMut(Attempt) -> Result<T, E>,
        K: Classify<T, E>,
        R: RepairBlocking<E>,
    {
        let (recovery, call) = (self.recovery, self.call);
        let mut recovered = self.run_blocking(attempt);
        if !recovered.is_good() {
            let other = fallback(recovered.stopped);
            let now = recovery.shared.clock.now();
            let good = other.is_ok();
            recovery.shared.tell(&call, now, &Event::Fallback { good });
            if good {
                recovered.report.fell_back = true;
                recovered.result = Some(other);
            }
        }
        recovered
    }
}
