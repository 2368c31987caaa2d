//! Verification: whether a repair held. Probes pass in a row, then a trickle of real requests succeeds.
//!
//! Probes alone do not prove it (a server may answer `/health` and nothing else), and full traffic at once risks too
//! much on a repair. Without traffic, probes have to suffice.

use std::time::Duration;

use evenkeel_core::{Instant, Outcome};

use crate::policy::VerifyOptions;

/// The part of its normal share that a server gets in the trickle.
pub const TRICKLE_SHARE: f64 = 0.1;
/// So many successes end the trickle at once.
const ENOUGH: u32 = 5;
/// After this it ends if nothing failed, whatever came.
const SHORT: Duration = Duration::from_millis(300);
/// After this it ends if few enough failed.
const LONG: Duration = Duration::from_secs(1);
/// So long it waits for requests where only they can tell.
const PATIENT: Duration = Duration::from_secs(10);
/// So long it waits for a first request where failed requests were what was noticed: without one nothing is proven.
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
    /// Failed requests were what was noticed: only a request that succeeds proves that it is over.
    pub needs_request: bool,
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
    /// It did not, for this reason.
    Failed(String),
}

/// One verification.
#[derive(Debug, Clone)]
pub struct Verification {
    /// Its inputs.
    pub rules: VerifyRules,
    /// Probes that passed in a row.
    pub probes: u32,
    /// Requests that succeeded in the trickle.
    pub succeeded: u32,
    /// When [`Self::tick`] was last asked.
    pub judged: Instant,
    failed: u32,
    slow: u32,
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

    /// An attempt ended.
    pub fn attempt(&mut self, at: Instant, outcome: Outcome, latency: Duration) -> VerifyProgress {
        // Attempts that began before the trial describe the earlier state.
        let Some(since) = self
            .trickle_since
            .filter(|since| at.before(latency) >= *since)
        else {
            return VerifyProgress::Pending;
        };
        if outcome.is_failure() {
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
        let passed = now.since(since);
        let few_failed = failed * 5 <= ok + failed;
        if failed >= 2 {
            return VerifyProgress::Failed(format!(
                "{failed} of {} requests of the trickle failed",
                ok + failed
            ));
        }
        let (short, long) = match (self.rules.in_service, self.rules.patient) {
            (true, _) => (QUIET, QUIET),
            (false, true) => (PATIENT, PATIENT),
            (false, false) if self.rules.needs_request && ok + failed == 0 => (PROOF, PROOF),
            (false, false) => (SHORT, LONG),
        };
        let enough = ok >= ENOUGH && few_failed && !self.rules.in_service;
        let is_over = enough || passed >= short && failed == 0 || passed >= long;
        if !is_over {
            return VerifyProgress::Pending;
        }
        if !few_failed {
            return VerifyProgress::Failed(format!(
                "{failed} of {} requests of the trickle failed",
                ok + failed
            ));
        }
        if self.slow * 2 > ok {
            return VerifyProgress::Failed(format!(
                "{} of {ok} requests of the trickle were slow",
                self.slow
            ));
        }
        VerifyProgress::Passed
    }
}
