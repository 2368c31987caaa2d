//! Planned changes: a restart ordered by an operator while nothing was wrong, or a return from maintenance, from the
//! order to the verification.

use crate::contract::{OrderAnswer, ProbePace};
use crate::detect::{Detection, Detector};
use crate::incident::ActionOutcome;
use crate::verify::{Verification, VerifyProgress};

use super::ServerContext;
use super::shown::PlannedKind;

impl ServerContext<'_> {
    pub(super) fn tick_routine(&mut self) {
        let now = self.now;
        if self.server.case.is_some() {
            return;
        }
        let routine = self.server.routine.as_deref();
        if routine.is_some_and(|routine| routine.order.is_some() && now >= routine.until) {
            let why = "no answer to the order".to_owned();
            self.routine_ended(ActionOutcome::TimedOut, Some(why));
            return;
        }
        if let Some(verification) = self.verification() {
            verification.judged = now;
            let progress = verification.tick(now);
            self.routine_progress(progress);
        }
    }

    /// Its verification got somewhere.
    pub(super) fn routine_progress(&mut self, progress: VerifyProgress) {
        match progress {
            VerifyProgress::Pending => {}
            VerifyProgress::Trickle => self.try_with_requests(),
            VerifyProgress::Passed | VerifyProgress::Unproven => self.routine_passed(),
            VerifyProgress::Failed(why) => self.routine_failed(&why),
        }
    }

    /// An operator's restart was executed.
    pub(super) fn routine_ended(&mut self, outcome: ActionOutcome, detail: Option<String>) {
        if outcome != ActionOutcome::Done {
            let why = detail.unwrap_or_else(|| outcome.word().to_owned());
            self.server.start_order_failed(self.now, &why);
            self.routine_failed(&why);
            return;
        }
        if self.is_held() {
            self.routine_held();
            return;
        }
        self.server.starts.began(self.now);
        let rules = self.rules(true);
        if let Some(routine) = &mut self.server.routine {
            routine.order = None;
            routine.verification = Verification::new(rules);
        }
        self.server
            .set_pace(ProbePace::Every(rules.options.every), self.out);
    }

    fn routine_passed(&mut self) {
        let kind = self.server.routine.take().map(|routine| routine.kind);
        // Failures during the replacement say nothing about the new process.
        self.server.facts.forget(self.now);
        self.server.restore(true, self.out);
        self.server.doubt_until = None;
        self.server.set_pace(ProbePace::Normal, self.out);
        let name = self.full_name();
        let done = match kind {
            Some(PlannedKind::Return) => "is verified and takes requests again",
            Some(PlannedKind::Replace) => "runs by the changed configuration and is verified",
            Some(PlannedKind::Restart) | None => "was restarted and is verified",
        };
        self.server
            .answer(OrderAnswer::Done(format!("{name} {done}")), self.out);
    }

    /// A restart during maintenance: the server stays in maintenance.
    fn routine_held(&mut self) {
        self.server.routine = None;
        self.server.restore(true, self.out);
        self.server.set_pace(ProbePace::Normal, self.out);
        let text = format!("{} was restarted; it is in maintenance", self.full_name());
        self.server.answer(OrderAnswer::Done(text), self.out);
    }

    fn routine_failed(&mut self, why: &str) {
        self.starts_too_late();
        let kind = self.server.routine.take().map(|routine| routine.kind);
        let text = match kind {
            Some(PlannedKind::Return) => {
                format!("it did not come back from maintenance: {why}")
            }
            Some(PlannedKind::Replace) => {
                self.server.replace_failed = Some(why.to_owned());
                format!("the restart for the changed configuration failed: {why}")
            }
            Some(PlannedKind::Restart) | None => {
                format!("the ordered restart failed: {why}")
            }
        };
        self.server
            .answer(OrderAnswer::Failed(text.clone()), self.out);
        if self.is_held() {
            self.server.restore(true, self.out);
            self.server.set_pace(ProbePace::Normal, self.out);
        }
        self.detected(&Detection {
            by: Detector::Supervisor,
            onset: self.now,
            text,
        });
    }
}
