//! Diagnosis of a case: the server is examined, the findings are ranked, and the playbook begins.

use std::time::Duration;

use evenkeel_core::EjectionReason;

use crate::contract::{Examination, Output, ProbePace};
use crate::diagnose::{Evidence, diagnose};
use crate::kind::FaultKind;
use crate::policy::ProbeKind;
use crate::recover::serves_nothing;

use super::ServerContext;
use super::case::{Case, LateStart};
use super::phase::{CasePhase, Reexamination};

/// An examination that is not answered so long after its time was over is given up.
pub(super) const SLACK: Duration = Duration::from_millis(250);

/// So long it is looked at whether a process is stopped.
const GLANCE: Duration = Duration::from_millis(200);

impl ServerContext<'_> {
    pub(super) fn examine(&mut self) {
        self.examine_within(self.spec.options.diagnose_timeout);
    }

    /// A process that was started lives and was not ready in time: action `next` would follow.
    pub(super) fn examine_late_start(&mut self, next: usize, why: &str) {
        let why = why.to_owned();
        if let Some(case) = self.case() {
            case.late_start = Some(LateStart { next, why });
        }
        self.examine();
    }

    /// A wait for a process that was found stopped is over: whether it still is.
    pub(super) fn examine_whether_stopped(&mut self) {
        self.examine_within(self.spec.options.diagnose_timeout.min(GLANCE));
    }

    fn examine_within(&mut self, timeout: Duration) {
        let (order, now) = (self.order(), self.now);
        self.server.set_pace(ProbePace::Fast, self.out);
        self.out.push(Output::Examine {
            id: order,
            server: self.server.id,
            timeout,
        });
        if let Some(case) = self.case() {
            case.phase = CasePhase::Examining {
                order,
                until: now + timeout + SLACK,
            };
        }
    }

    /// Ranks what explains the signals, and goes on to recovery.
    pub(super) fn diagnose(&mut self, examination: Option<&Examination>) {
        if let Some(late) = self.case().and_then(|case| case.late_start.take()) {
            self.judge_late_start(&late, examination);
            return;
        }
        if self.is_examined_once_more(examination) {
            return;
        }
        let before = self.case().and_then(|case| case.again.take());
        let was_over = self.case().is_some_and(|case| case.passed);
        self.judge(examination);
        if before.is_some() && before == self.case().map(|case| case.kind) && !was_over {
            // It is what it was, and what can be done for that is done.
            self.watch(None);
            return;
        }
        let bad_probe = self
            .server
            .case
            .as_ref()
            .is_some_and(|case| case.kind == FaultKind::BadProbe);
        let is_down = self.server.facts.process.down.is_some();
        // A server that was out for the examination only returns if the diagnosis clears it.
        let passed = self.case().is_some_and(|case| case.passed);
        let cleared = bad_probe || passed;
        if cleared && self.server.shown.is_suspicion() {
            self.server.restore(false, self.out);
        }
        if is_down && !self.is_off() {
            self.server.eject(self.now, EjectionReason::Known, self.out);
        } else if self.server.shown.is_suspicion() {
            // By now it may be known that it answers nothing.
            let verdict = self.server.suspicion();
            self.server.eject(self.now, verdict, self.out);
        }
        self.begin_playbook(passed);
        self.rescue_if_dead_or_hung();
    }

    /// An examination of a known fault that was given up, as on a machine that is short of CPU, says nothing: it is done once more, with
    /// all the time that one may take. Whether that is so.
    fn is_examined_once_more(&mut self, examination: Option<&Examination>) -> bool {
        let Some(case) = self.case().filter(|case| case.is_known()) else {
            return false;
        };
        let was_given_up = std::mem::replace(&mut case.was_given_up, examination.is_none());
        if examination.is_some() || was_given_up {
            return false;
        }
        self.examine();
        true
    }

    /// A process that was started lives and was not ready in time. It may be slow; or it is another fault by now, with a playbook
    /// of its own: it listens elsewhere, its port is taken, it answers errors.
    fn judge_late_start(&mut self, late: &LateStart, examination: Option<&Examination>) {
        let process = &self.server.facts.process;
        let is_down = process.down.is_some();
        if !is_down && process.ready.is_some() {
            // It has become ready in the meantime.
            self.verify(late.next);
            return;
        }
        let kind = |work: &Self| work.server.case.as_deref().map(|case| case.kind);
        let before = kind(self);
        self.judge(examination);
        let after = kind(self);
        let goes_on = after == before || after == Some(FaultKind::CannotStart);
        if !is_down && goes_on {
            self.next_rung(Some(late.next), &late.why);
        } else {
            self.begin_playbook(false);
        }
    }

    /// Requests that wait for a server without any answers are retried elsewhere. One that only fails or is slow may
    /// still answer.
    fn rescue_if_dead_or_hung(&mut self) {
        let kind = self.server.case.as_ref().map(|case| case.kind);
        if kind.is_some_and(serves_nothing) {
            self.server.rescue(self.out);
        }
    }

    /// It was examined and nothing was found any more, and it fails again: examined once more, which is not believed a second time.
    /// Whether that is so.
    pub(super) fn fails_nonetheless(&mut self) -> bool {
        let is_off = self.is_off();
        let case = self.case().filter(|case| case.passed && !is_off);
        let Some(case) = case else {
            return false;
        };
        (case.passed, case.fails_nonetheless) = (false, true);
        self.examine();
        true
    }

    /// Writes the diagnosis into the case.
    pub(super) fn judge(&mut self, examination: Option<&Examination>) {
        let now = self.now;
        let followers = self.followers();
        let findings = diagnose(&Evidence {
            followers: &followers,
            now,
            facts: &self.server.facts,
            options: &self.spec.options.detect,
            managed: self.server.managed,
            examination,
            slow: self.server.slow.as_deref(),
        });
        let slow_limit = self.server.slow.as_ref().map(|slow| slow.limit);
        if let Some(examination) = examination.filter(|one| one.process.is_some()) {
            self.server.facts.process.stopped = examination.is_stopped();
        }
        let cannot_start = self.server.cannot_start();
        let probes_pass = self.server.facts.probes.failed_in_row == 0;
        let probes_connect_only = self.spec.options.detect.probe.kind == ProbeKind::Tcp;
        let is_stopped = self.server.facts.process.stopped;
        let is_down = self.server.facts.process.down.is_some();
        let Some(case) = self.server.case.as_deref_mut() else {
            return;
        };
        case.had_ended |= case.diagnosed.is_none() && (is_down || is_stopped);
        let top = findings.first();
        let kind = top.map_or(FaultKind::Unknown, |finding| finding.fault);
        let nothing = kind == FaultKind::Unknown && examination.is_some_and(finds_nothing);
        case.passed = nothing && !case.fails_nonetheless;
        let is_unanswered = kind == FaultKind::Unknown && examination.is_none();
        if nothing && case.is_known() {
            case.is_over();
        } else if !(is_unanswered && case.is_known()) {
            case.kind = kind;
            case.incident.diagnosis = findings;
        }
        case.cannot_start |= cannot_start;
        case.name_poison();
        case.slow_limit = slow_limit.filter(|_| case.kind == FaultKind::SlowServer);
        let process = examination.and_then(|examination| examination.process.as_ref());
        case.listens_elsewhere = process.is_some_and(|process| !process.listens_at.is_empty());
        case.cpu_wait_permille = process.and_then(|process| process.cpu_wait_permille);
        // The kernel takes connections for a process that hangs.
        let unanswered = examination.and_then(|examination| examination.http);
        let unanswered = unanswered.is_some_and(|(outcome, _)| !outcome.passed());
        let is_unseen = case.kind == FaultKind::ProcessHung || unanswered && probes_pass;
        case.by_examination = probes_connect_only && is_unseen;
        case.reexamination = Reexamination::from(now + self.spec.options.detect.probe.fast);
        case.only_traffic_tells = case.fails_nonetheless
            || probes_pass && matches!(case.kind, FaultKind::SlowServer | FaultKind::ErrorBurst);
        case.diagnosed(now);
        let why = self.lacks_processor();
        let first = self
            .case()
            .and_then(|case| case.incident.diagnosis.first_mut());
        if let Some((first, why)) = first.zip(why) {
            first.evidence.push(why);
        }
    }

    /// Those whose incidents have ended in this one, as far as they cannot start either.
    fn followers(&self) -> Vec<String> {
        let case = self.server.case.as_deref();
        let servers = case.map_or(&[][..], |case| &case.incident.servers);
        let (before, after) = self.peers;
        let cannot_start = |name: &&String| {
            let mut peers = before.iter().chain(after);
            peers.any(|peer| peer.name == **name && peer.cannot_start())
        };
        servers.iter().filter(cannot_start).cloned().collect()
    }
}

impl Case {
    /// Whether it has a diagnosis that another one has to refute.
    fn is_known(&self) -> bool {
        self.diagnosed.is_some() && !matches!(self.kind, FaultKind::Unknown | FaultKind::BadProbe)
    }

    /// It was examined again, and nothing is found any more: what was found first is what it was.
    fn is_over(&mut self) {
        let hung = self.kind == FaultKind::ProcessHung;
        let what = if hung { " (a pause)" } else { "" };
        if let Some(first) = self.incident.diagnosis.first_mut() {
            let text = format!("it was over{what} when it was examined again");
            if !first.evidence.contains(&text) {
                first.evidence.push(text);
            }
        }
    }
}

/// Whether all that was tried in it succeeded.
fn finds_nothing(examination: &Examination) -> bool {
    let outcomes = [examination.tcp, examination.http];
    let mut tried = outcomes.iter().flatten().peekable();
    tried.peek().is_some() && tried.all(|(outcome, _)| outcome.passed())
}
