//! Verification: whether a repair held. Probes pass in a row, then a trickle of real requests succeeds.
//!
//! Probes alone do not prove it (a server may answer `/health` and nothing else), and full traffic at once is too much
//! to bet on a repair. Where a process had ended or probes had failed and no traffic comes, probes have to do. Where requests had
//! failed, requests of that kind have to succeed, so many that it is no chance; if too few come, the server goes back into rotation and
//! is not proven.

use std::time::Duration;

use evenkeel_core::stat::wilson_lower_bound;
use evenkeel_core::{Instant, Outcome};

use crate::detect::Detector;
use crate::policy::VerifyOptions;
use crate::signal::ServerHistory;

/// The part of its normal share that a server gets in the trickle.
pub const TRICKLE_SHARE: f64 = 0.1;
/// So many successes end the trickle at once.
const ENOUGH: u32 = 5;
/// More are never asked for.
const MOST: u32 = 30;
/// How likely they may be by chance on a server that fails as often as it did.
const CHANCE: f64 = 0.05;
/// So long an incident stays open that no request proves to be over.
pub const UNPROVEN: Duration = Duration::from_secs(600);
/// After this it ends if nothing failed, whatever came.
const SHORT: Duration = Duration::from_millis(300);
/// After this it ends if few enough failed.
const LONG: Duration = Duration::from_secs(1);
/// So long it waits for requests where only they can tell.
const PATIENT: Duration = Duration::from_secs(10);
/// So long it waits in the trickle for requests of the kind that failed.
const PROOF: Duration = Duration::from_secs(2);
/// A server that stayed in service must do well for this long.
const QUIET: Duration = Duration::from_secs(2);

/// The inputs of a verification.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerifyRules {
    /// The user's options.
    pub options: VerifyOptions,
    /// Whether it ends as failed when its time is over, or goes on for ever.
    pub ends: bool,
    /// Nothing counts before this moment.
    pub from: Instant,
    /// Nothing was repaired and probes cannot tell: wait longer for real requests.
    pub patient: bool,
    /// The server is in service all the while.
    pub in_service: bool,
    /// Failed requests were what was noticed: so many of their kind have to succeed to prove that it is over. 0 if probes prove it.
    pub proof: u32,
    /// Median latency above which the repair did not hold.
    pub slow_limit: Option<Duration>,
}

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyProgress {
    /// On.
    Pending,
    /// Enough probes passed: let the trickle begin.
    Trickle,
    /// The repair held.
    Passed,
    /// Nothing speaks against it, but too few requests of the kind that failed have come to prove it.
    Unproven,
    /// It did not, for this reason.
    Failed(String),
}

/// How many requests of the kind that failed have to succeed, without a failure, to prove that the fault is over.
///
/// As many as would succeed with a probability of 5 % if the server still failed as often as when that was detected:
/// `ln 0.05 / ln(1 − share)`, from 5 to 30 (J. A. Hanley and A. Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249,
/// 1983).
#[must_use]
pub fn proof(by: Detector, facts: &ServerHistory, now: Instant) -> u32 {
    match by {
        Detector::FailureRatio => {
            let tally = facts.attempts.tally(now);
            needed(wilson_lower_bound(tally.hits, tally.total))
        }
        Detector::ConsecutiveFailures
        | Detector::Slow
        | Detector::Statistics
        | Detector::Supervisor
        | Detector::Probe
        | Detector::SelfCheck
        | Detector::Load => ENOUGH,
    }
}

fn needed(share: f64) -> u32 {
    let count = CHANCE.ln() / (1.0 - share.clamp(1e-3, 0.99)).ln();
    (count.ceil() as u32).clamp(ENOUGH, MOST)
}

/// Whether so many successes prove it: each failure asks for as many again.
#[must_use]
pub const fn is_proof(needed: u32, succeeded: u32, failed: u32) -> bool {
    succeeded >= needed.saturating_mul(failed.saturating_add(1))
}

/// One verification.
#[derive(Debug, Clone)]
pub struct Verification {
    /// Its inputs.
    pub rules: VerifyRules,
    /// Probes that passed in a row.
    pub probes: u32,
    /// Requests that succeeded in the trickle; where requests have to prove it, those of the kind that failed.
    pub succeeded: u32,
    /// Requests that failed in it, likewise.
    pub failed: u32,
    /// When [`Self::tick`] was last asked.
    pub judged: Instant,
    slow: u32,
    /// Requests of other kinds that ended in it, and those of them that failed.
    others: (u32, u32),
    trickle_since: Option<Instant>,
}

impl Verification {
    /// Begins one.
    #[must_use]
    pub const fn new(rules: VerifyRules) -> Self {
        Self {
            rules,
            probes: 0,
            succeeded: 0,
            judged: Instant::ZERO,
            failed: 0,
            slow: 0,
            others: (0, 0),
            trickle_since: None,
        }
    }

    /// Begins again, with nothing counted before `from`.
    pub fn again(&mut self, from: Instant) {
        *self = Self::new(VerifyRules { from, ..self.rules });
    }

    /// Whether real requests are being tried.
    #[must_use]
    pub const fn in_trickle(&self) -> bool {
        self.trickle_since.is_some()
    }

    /// Whether a request has succeeded in the trickle, and was not slow where that is what counts.
    #[must_use]
    pub const fn shows_good(&self) -> bool {
        self.succeeded > self.slow
    }

    /// Nobody could look for so long: it has as much more time.
    pub fn postpone(&mut self, by: Duration) {
        match &mut self.trickle_since {
            Some(since) => *since += by,
            None => self.rules.from += by,
        }
    }

    /// The process was started anew: what passed before says nothing.
    pub fn started(&mut self) {
        self.probes = 0;
    }

    /// A probe ended.
    pub fn probe(&mut self, at: Instant, passed: bool) -> VerifyProgress {
        if at < self.rules.from {
            return VerifyProgress::Pending;
        }
        if !passed {
            self.probes = 0;
            return match self.trickle_since {
                Some(_) => VerifyProgress::Failed(
                    "a probe failed during its trial with real requests".to_owned(),
                ),
                None => VerifyProgress::Pending,
            };
        }
        self.probes = self.probes.saturating_add(1);
        if self.trickle_since.is_none() && self.probes >= self.rules.options.probes.max(1) {
            self.trickle_since = Some(at);
            return VerifyProgress::Trickle;
        }
        VerifyProgress::Pending
    }

    /// An attempt ended, `is_kind` if it was of the kind that failed.
    pub fn attempt(
        &mut self,
        at: Instant,
        outcome: Outcome,
        latency: Duration,
        is_kind: bool,
    ) -> VerifyProgress {
        // What began before the trickle says how it was before.
        let Some(since) = self
            .trickle_since
            .filter(|since| at.before(latency) >= *since)
        else {
            return VerifyProgress::Pending;
        };
        let failed = outcome.is_failure();
        if !is_kind && self.rules.proof > 0 {
            let (ended, bad) = &mut self.others;
            *ended = ended.saturating_add(u32::from(failed || outcome.is_success()));
            *bad = bad.saturating_add(u32::from(failed));
        } else if failed {
            self.failed = self.failed.saturating_add(1);
        } else if outcome.is_success() {
            self.succeeded = self.succeeded.saturating_add(1);
            if self.rules.slow_limit.is_some_and(|limit| latency > limit) {
                self.slow = self.slow.saturating_add(1);
            }
        }
        self.judge(at, since)
    }

    /// Time has passed.
    #[must_use]
    pub fn tick(&self, now: Instant) -> VerifyProgress {
        match self.trickle_since {
            Some(since) => self.judge(now, since),
            None if self.deadline().is_some_and(|deadline| now >= deadline) => {
                VerifyProgress::Failed(format!(
                    "{} of {} probes passed within {} ms",
                    self.probes,
                    self.rules.options.probes.max(1),
                    self.rules.options.within.as_millis()
                ))
            }
            None => VerifyProgress::Pending,
        }
    }

    /// When [`Self::tick`] could say something new after `now`.
    #[must_use]
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        match self.trickle_since {
            Some(since) => [SHORT, QUIET, LONG, PROOF, PATIENT]
                .into_iter()
                .map(|after| since + after)
                .filter(|at| *at > now)
                .min(),
            None => self.deadline(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.rules
            .ends
            .then(|| self.rules.from + self.rules.options.within)
    }

    fn judge(&self, now: Instant, since: Instant) -> VerifyProgress {
        let (ok, failed) = (self.succeeded, self.failed);
        let (others, others_failed) = self.others;
        let too_many = |failed: u32, all: u32| failed * 5 > all;
        let fails = failed >= 2 && too_many(failed, ok + failed);
        let all_failed = failed + others_failed;
        if fails || all_failed >= 2 && too_many(all_failed, ok + failed + others) {
            return self.fails();
        }
        let (proof, passed) = (self.rules.proof, now.since(since));
        let (short, long) = match (self.rules.in_service, self.rules.patient) {
            (true, _) => (QUIET, QUIET),
            (false, true) => (PATIENT, PATIENT),
            (false, false) if proof > 0 => (PROOF, PROOF),
            (false, false) => (SHORT, LONG),
        };
        let enough = is_proof(proof.max(ENOUGH), ok, failed);
        let is_early = enough && !self.rules.in_service;
        let is_over = is_early || passed >= short && failed == 0 || passed >= long;
        if !is_over {
            return VerifyProgress::Pending;
        }
        if self.slow * 2 > ok {
            return VerifyProgress::Failed(format!(
                "{} of {ok} requests of the trickle were slow",
                self.slow
            ));
        }
        match proof {
            0 if too_many(failed, ok + failed) => self.fails(),
            0 => VerifyProgress::Passed,
            _ if enough => VerifyProgress::Passed,
            _ if failed >= 2 => self.fails(),
            _ => VerifyProgress::Unproven,
        }
    }

    fn fails(&self) -> VerifyProgress {
        let (ok, failed) = (self.succeeded, self.failed);
        let (others, others_failed) = self.others;
        let (failed, all) = if others_failed > failed {
            (failed + others_failed, ok + failed + others)
        } else {
            (failed, ok + failed)
        };
        VerifyProgress::Failed(format!("{failed} of {all} requests of the trickle failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarer_the_failures_were_the_more_successes_prove_that_they_are_over() {
        for (share, count) in [(1.0, 5), (0.5, 5), (0.3, 9), (0.1, 29), (0.01, 30)] {
            assert_eq!(needed(share), count, "{share}");
        }
        assert!(is_proof(5, 5, 0) && !is_proof(5, 4, 0));
        assert!(is_proof(5, 10, 1) && !is_proof(5, 9, 1));
        assert!(is_proof(0, 0, 0));
    }
}
