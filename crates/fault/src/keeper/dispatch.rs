//! Dispatches signals, results and timers of one server to the detectors and to its case.

use std::time::Duration;

use evenkeel_core::{EjectionReason, Instant, ProbeOutcome, ProgramChange};

use crate::contract::{Managed, OrderId, ProbePace};
use crate::detect;
use crate::incident::ActionOutcome;
use crate::policy::Mode;
use crate::signal::{AttemptVerdict, ObservedAttempt};
use crate::verify::VerifyProgress;

use super::ServerContext;
use super::server::WatchedServer;
use super::transition::CaseEvent;

impl WatchedServer {
    /// Whether it is a child whose first start is still to be judged.
    pub(super) fn awaits_start(&self) -> bool {
        self.managed == Managed::Child && self.starting.is_none()
    }
}

impl ServerContext<'_> {
    /// The first step. A child takes traffic once it has passed a probe, or if it is not probed.
    pub(super) fn begin(&mut self) {
        let verify = self.spec.options.recover.verify;
        self.server.starting = Some(self.now + verify.within);
        if self.mode() != Mode::Off {
            self.server.eject(self.now, EjectionReason::Known, self.out);
        }
        self.server
            .set_pace(ProbePace::Every(verify.every), self.out);
    }

    /// An attempt has ended. It tells nothing about a repair if the whole service may be why it failed.
    pub(super) fn attempt(
        &mut self,
        said: AttemptVerdict,
        ended: &ObservedAttempt,
        is_shared: bool,
    ) {
        if said == AttemptVerdict::Failure {
            self.doubt();
        }
        let case = self.server.case.as_deref();
        let is_kind = case.is_none_or(|case| case.is_about(ended.shape));
        let verification = self.verification().filter(|_| !is_shared);
        if let Some(progress) = verification.map(|verification| {
            verification.attempt(ended.at, ended.outcome, ended.latency, is_kind)
        }) {
            self.progress(progress);
        }
        match said {
            AttemptVerdict::Failure => {
                let (facts, options) = (&self.server.facts, &self.spec.options.detect);
                let found = detect::consecutive(facts, options)
                    .or_else(|| detect::ratio(facts, options, self.now))
                    .or_else(|| detect::thin_hang(facts, options, self.now));
                if let Some(detection) = found {
                    self.detected(&detection);
                }
            }
            AttemptVerdict::Success if self.server.starting.is_some() => self.ready(),
            AttemptVerdict::Success | AttemptVerdict::Nothing => {}
        }
    }

    pub(super) fn probe(&mut self, at: Instant, outcome: ProbeOutcome, latency: Duration) {
        if !self.server.facts.probe(at, outcome, latency) {
            return;
        }
        if outcome.passed() {
            self.server.starts.passed(at);
        } else {
            self.doubt();
        }
        if self.server.starting.is_some() {
            if outcome.passed() {
                self.ready();
            } else if outcome == ProbeOutcome::PortTaken {
                self.port_is_taken();
            }
            return;
        }
        let passed = outcome.passed();
        // One that only connects passed while the fault went on, too.
        let case = self.server.case.as_deref();
        let tells = !passed || case.is_none_or(|case| !case.by_examination);
        if let Some(progress) = self
            .verification()
            .filter(|_| tells)
            .map(|verification| verification.probe(at, passed))
        {
            self.progress(progress);
        }
        if let Some(detection) = detect::probe(&self.server.facts, &self.spec.options.detect) {
            self.detected(&detection);
        }
        if tells && self.server.facts.probes.passed_in_row >= self.server.rise {
            self.happened(CaseEvent::ProbesPass);
        }
    }

    /// A stranger has the port of a process that starts: waiting for it to be ready is of no use.
    fn port_is_taken(&mut self) {
        if let Some(detection) = detect::probe(&self.server.facts, &self.spec.options.detect) {
            self.server.starting = None;
            self.detected(&detection);
        }
    }

    pub(super) fn started(&mut self, at: Instant, pid: u32, changed: Option<Box<ProgramChange>>) {
        self.server.facts.process.started(at, pid, changed);
        self.server.facts.process.served_before = self.server.facts.attempts.succeeded;
        self.server.starts.began(at);
        self.server.follows = false;
        self.server.facts.forget(at);
        if let Some(verification) = self.verification() {
            verification.started();
        }
        let text = format!("process {pid} was started");
        let now = self.now;
        if let Some(case) = &mut self.server.case {
            case.note(now, "signal", text);
        }
    }

    /// The process is ready for the first time.
    fn ready(&mut self) {
        self.server.starting = None;
        // Those of the first plan begin together, all with their full share.
        let slowly = self.server.starts.take_joined();
        self.server.restore(slowly, self.out);
        self.server.doubt_until = None;
        self.server.set_pace(ProbePace::Normal, self.out);
    }

    /// Handles the passage of time.
    pub(super) fn tick(&mut self) {
        self.server.renew(self.now, self.out);
        self.tick_held();
        self.tick_start();
        self.tick_doubt();
        self.tick_case();
        self.tick_unproven();
        self.tick_routine();
        self.tick_impact();
        if let Some(case) = self.server.case.as_mut().filter(|case| case.changed) {
            case.changed = false;
            let incident = Box::new(case.incident.clone());
            self.record(incident);
        }
    }

    /// Keeps the impact of an open incident up.
    fn tick_impact(&mut self) {
        let objective = self.spec.options.objective.as_ref();
        if let Some(case) = self.server.case.as_deref_mut() {
            case.keep_impact_up(self.now, self.traffic, objective);
        }
    }

    fn tick_start(&mut self) {
        let Some(until) = self.server.starting.filter(|until| self.now >= *until) else {
            return;
        };
        self.server.starting = None;
        let grace = self.spec.options.recover.verify.within;
        self.server.starts.too_late(grace);
        match detect::late_start(
            &self.server.facts,
            &self.spec.options.detect,
            until.before(grace),
            grace,
        ) {
            Some(detection) => self.detected(&detection),
            None => self.ready(),
        }
    }

    fn tick_doubt(&mut self) {
        if self
            .server
            .doubt_ends()
            .is_some_and(|until| self.now >= until)
        {
            self.server.doubt_until = None;
            self.server.set_pace(ProbePace::Normal, self.out);
        }
    }

    /// A verification got somewhere.
    fn progress(&mut self, progress: VerifyProgress) {
        if self.server.case.is_some() {
            self.happened(CaseEvent::Verified(progress));
        } else {
            self.routine_progress(progress);
        }
    }

    fn tick_case(&mut self) {
        let now = self.now;
        if self.server.case.is_none() {
            return;
        }
        if let Some(verification) = self.verification() {
            verification.judged = now;
        }
        let shows_another = self.shows_another();
        self.happened(CaseEvent::Tick { now, shows_another });
        self.reexamine();
    }

    /// An order was answered.
    pub(super) fn action_ended(
        &mut self,
        id: OrderId,
        at: Instant,
        outcome: ActionOutcome,
        detail: Option<String>,
    ) {
        if self
            .server
            .routine
            .as_ref()
            .is_some_and(|routine| routine.order == Some(id))
        {
            self.routine_ended(outcome, detail);
            return;
        }
        if let Some(event) = self.order_ended(at, outcome, detail) {
            self.happened(event);
        }
    }
}
