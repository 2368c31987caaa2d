//! One open incident as the keeper works on it: the record that is shown, and the phase of the work.

use std::time::Duration;

use evenkeel_core::{Epoch, Instant, RequestShape};

use crate::analyze::ServiceTraffic;
use crate::common_cause::Symptom;
use crate::contract::{OrderId, Totals};
use crate::detect::{Detection, Detector};
use crate::incident::{
    ActionOutcome, ActionRecord, CloseReason, Durations, Finding, Impact, Incident, IncidentStatus,
    RepairedBy, TimelineEntry, VerificationRecord as Outcome,
};
use crate::kind::FaultKind;
use crate::maintenance::stamp;
use crate::outlook::WaitReason;
use crate::policy::{Action, Objective};
use crate::recover::Veto;
use crate::verify::Verification;

use super::phase::{CasePhase, Reexamination};

/// The timeline keeps its beginning and its end; between them entries are dropped above this number.
const ENTRIES: usize = 300;
/// Likewise for actions.
const ACTIONS: usize = 100;
/// The impact of an open incident is written down this often while requests come.
const IMPACT_EVERY: Duration = Duration::from_secs(2);

/// One open incident.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) incident: Incident,
    pub(super) onset: Instant,
    pub(super) detected: Instant,
    pub(super) diagnosed: Option<Instant>,
    pub(super) kind: FaultKind,
    pub(super) joined: Vec<Detector>,
    pub(super) totals: Totals,
    pub(super) steps: Vec<Action>,
    pub(super) phase: CasePhase,
    /// The actions that were recorded instead of taken.
    pub(super) proposal: Option<Proposal>,
    /// An operator approved it.
    pub(super) approved: bool,
    /// Escalated to an operator.
    pub(super) escalated: bool,
    /// A restart, stop or exec was done since the playbook began or went on.
    pub(super) acted: bool,
    /// A restart was done.
    pub(super) repaired: bool,
    /// Bounds are found for the servers while it is open, since a playbook says so.
    pub(super) sheds: bool,
    /// Requests are answered for while it is open, since a playbook says so.
    pub(super) falls_back: bool,
    /// A start of its process has failed.
    pub(super) cannot_start: bool,
    /// A running server was restarted, stopped or changed by a command for it.
    pub(super) costly: bool,
    /// The symptom of the server at the detection: out of rotation it shows nothing new.
    pub(super) symptom: Option<Symptom>,
    /// Its process listens at another place than its address.
    pub(super) listens_elsewhere: bool,
    /// For which part of its last examination its process waited for a processor, in thousandths.
    pub(super) cpu_wait_permille: Option<u32>,
    /// Its process was started and was not ready in time, while it is examined for that.
    pub(super) late_start: Option<LateStart>,
    /// The diagnosis of the latest re-evaluation, while that lasts.
    pub(super) again: Option<FaultKind>,
    /// While it is only watched, whether it shows something else by now is asked at this time.
    pub(super) recheck_at: Instant,
    /// The reason why a costly action waits or last waited.
    pub(super) waits: Option<WaitReason>,
    /// Whose repair is being verified; none if nothing was repaired since the last verification failed.
    pub(super) repaired_by: Option<RepairedBy>,
    /// The action in progress was ordered by an operator.
    pub(super) by_person: bool,
    /// Probes cannot tell whether this fault is over.
    pub(super) only_traffic_tells: bool,
    /// Probes only connect, and an examination's request told the fault: that is repeated, and stands for passing probes.
    pub(super) by_examination: bool,
    pub(super) reexamination: Reexamination,
    /// The last examination found nothing wrong.
    pub(super) passed: bool,
    /// That was believed, and requests or probes failed again: what an examination does not find proves nothing.
    pub(super) fails_nonetheless: bool,
    /// Its latest examination had no answer in time.
    pub(super) was_given_up: bool,
    /// Its process had ended, or was stopped, when it was diagnosed first: that explains why requests failed.
    pub(super) had_ended: bool,
    /// The kinds of requests that failed; empty if that is all the same.
    pub(super) failing: Vec<RequestShape>,
    /// So many successes of them prove that it is over, if requests were what failed.
    pub(super) proof: u32,
    pub(super) slow_limit: Option<Duration>,
    /// The latest refusal by the second check, which is not repeated.
    pub(super) veto: Option<Veto>,
    /// A refusal by the guard was recorded; it is not repeated.
    pub(super) refused: bool,
    /// The request that brought its server down, if that is known.
    pub(super) poisoned: Option<Finding>,
    /// To be shown at the end of the step.
    pub(super) changed: bool,
    /// When the impact is updated next.
    pub(super) impact_at: Instant,
    pub(super) epoch: Epoch,
    /// Of the latest entry of the timeline: entries stand in order.
    pub(super) latest: Instant,
    /// When service returned.
    pub(super) returned: Option<Instant>,
}

/// The proposed actions, from a costly action of the playbook on.
#[derive(Debug)]
pub(super) struct Proposal {
    /// The first action of it, in the playbook.
    pub(super) step: usize,
    pub(super) actions: Vec<Action>,
    /// An operator rejected it.
    pub(super) rejected: bool,
}

/// A started process that lives and was not ready in time.
#[derive(Debug)]
pub(super) struct LateStart {
    /// The next action of the playbook.
    pub(super) next: usize,
    /// What its verification lacked.
    pub(super) why: String,
}

impl Case {
    pub(super) fn new(
        id: String,
        service: String,
        server: String,
        detection: &Detection,
        now: Instant,
        epoch: Epoch,
    ) -> Self {
        let onset = detection.onset.min(now);
        let incident = record((id, service, server), detection, now, epoch);
        let mut case = Self {
            incident,
            onset,
            detected: now,
            diagnosed: None,
            kind: FaultKind::Unknown,
            joined: vec![detection.by],
            totals: Totals::default(),
            steps: Vec::new(),
            phase: CasePhase::Judged,
            proposal: None,
            approved: false,
            escalated: false,
            acted: false,
            repaired: false,
            sheds: false,
            falls_back: false,
            cannot_start: false,
            costly: false,
            symptom: None,
            listens_elsewhere: false,
            cpu_wait_permille: None,
            late_start: None,
            again: None,
            recheck_at: now,
            waits: None,
            repaired_by: None,
            by_person: false,
            only_traffic_tells: false,
            by_examination: false,
            reexamination: Reexamination::from(now),
            passed: false,
            fails_nonetheless: false,
            was_given_up: false,
            had_ended: false,
            failing: Vec::new(),
            proof: 0,
            slow_limit: None,
            refused: false,
            veto: None,
            poisoned: None,
            changed: true,
            impact_at: now + IMPACT_EVERY,
            epoch,
            latest: Instant::ZERO,
            returned: None,
        };
        case.note(
            onset,
            "signal",
            format!(
                "the first sign, {:.1} ms before the detection",
                millis(now - onset)
            ),
        );
        case.note(
            now,
            "detection",
            format!("{}: {}", detection.by.word(), detection.text),
        );
        case
    }

    /// Adds a line to the timeline. Late entries, such as the answer to an order, are placed at the time they became
    /// known.
    pub(super) fn note(&mut self, at: Instant, kind: &str, text: String) {
        self.changed = true;
        let at = at.max(self.latest);
        self.latest = at;
        if self.incident.timeline.len() >= ENTRIES {
            // Without the entry that tells of a clock that was set, those before and behind it would contradict each other.
            let mut later = self.incident.timeline.iter().skip(ENTRIES / 2);
            let slot = later.position(|entry| entry.kind != "clock").unwrap_or(0);
            self.incident.timeline.remove(ENTRIES / 2 + slot);
        }
        self.incident.timeline.push(TimelineEntry {
            at: stamp(self.epoch, at),
            kind: kind.to_owned(),
            text,
        });
    }

    /// Another detector says the same; told once.
    pub(super) fn join(&mut self, now: Instant, detection: &Detection) -> bool {
        if self.joined.contains(&detection.by) {
            return false;
        }
        self.joined.push(detection.by);
        self.note(
            now,
            "detection",
            format!("{} also: {}", detection.by.word(), detection.text),
        );
        true
    }

    pub(super) fn set_status(&mut self, status: IncidentStatus) {
        if self.incident.status != status {
            self.incident.status = status;
            self.changed = true;
        }
    }

    /// An action began.
    pub(super) fn action_began(&mut self, now: Instant, action: &Action) {
        self.began(now, action.word());
    }

    /// Requests of a certain shape are not sent to servers from now on.
    pub(super) fn quarantined(&mut self, now: Instant, detail: String) {
        self.began(now, "quarantine");
        self.action_ended(now, ActionOutcome::Done, Some(detail));
    }

    /// A part of the requests is not sent to servers from now on.
    pub(super) fn sheds(&mut self, now: Instant, detail: String) {
        self.began(now, "shed");
        self.action_ended(now, ActionOutcome::Done, Some(detail));
    }

    fn began(&mut self, now: Instant, word: &str) {
        let record = ActionRecord {
            action: word.to_owned(),
            server: self.incident.servers.first().cloned().unwrap_or_default(),
            started: stamp(self.epoch, now),
            ended: None,
            outcome: None,
            detail: None,
            by_person: self.by_person,
        };
        if self.incident.actions.len() >= ACTIONS {
            self.incident.actions.remove(ACTIONS / 2);
        }
        self.incident.actions.push(record);
        self.changed = true;
    }

    /// The action in progress has ended.
    pub(super) fn action_ended(
        &mut self,
        at: Instant,
        outcome: ActionOutcome,
        detail: Option<String>,
    ) {
        let ended = stamp(self.epoch, at);
        let under_way = self
            .incident
            .actions
            .iter_mut()
            .rev()
            .find(|action| action.outcome.is_none());
        let Some(record) = under_way else {
            return;
        };
        let text = match &detail {
            Some(detail) => format!("{}: {} ({detail})", record.action, outcome.word()),
            None => format!("{}: {}", record.action, outcome.word()),
        };
        record.ended = Some(ended);
        record.outcome = Some(outcome);
        record.detail = detail;
        self.note(at, "action", text);
    }

    /// Whether a roll-back was tried in it, whatever came of it. What was refused may be tried again.
    pub(super) fn has_rolled_back(&self) -> bool {
        self.incident.actions.iter().any(|action| {
            let not_tried = [ActionOutcome::WouldDo, ActionOutcome::Refused];
            action.action == Action::RollBack.word()
                && action
                    .outcome
                    .is_none_or(|outcome| !not_tried.contains(&outcome))
        })
    }

    /// Whether an order is in progress.
    pub(super) const fn awaits_action(&self) -> bool {
        matches!(self.phase, CasePhase::Acting { order: Some(_), .. })
    }

    /// Ends what is still in progress: it is no longer awaited.
    pub(super) fn give_up_actions(&mut self, now: Instant, why: &str) {
        while self
            .incident
            .actions
            .iter()
            .any(|action| action.outcome.is_none())
        {
            self.action_ended(now, ActionOutcome::Failed, Some(why.to_owned()));
        }
    }

    /// An action that takes no time.
    pub(super) fn action(
        &mut self,
        now: Instant,
        action: &Action,
        outcome: ActionOutcome,
        detail: Option<String>,
    ) {
        self.action_began(now, action);
        self.action_ended(now, outcome, detail);
    }

    /// Writes down, now and then, what it has cost so far.
    pub(super) fn keep_impact_up(
        &mut self,
        now: Instant,
        traffic: &ServiceTraffic,
        objective: Option<&Objective>,
    ) {
        if now < self.impact_at {
            return;
        }
        self.impact_at = now + IMPACT_EVERY;
        let impact = traffic.impact(self.totals, now, objective);
        self.changed |= impact != self.incident.impact;
        self.incident.impact = impact;
    }

    /// Escalates to an operator, once. Returns whether it did now.
    pub(super) fn escalate(&mut self, now: Instant, why: &str) -> bool {
        if std::mem::replace(&mut self.escalated, true) {
            return false;
        }
        let detail = Some(why.to_owned());
        self.action(now, &Action::Escalate, ActionOutcome::Done, detail);
        self.note(now, "escalation", format!("an operator is needed: {why}"));
        self.set_status(IncidentStatus::Escalated);
        true
    }

    /// The first diagnosis sets the duration; later ones replace the list.
    pub(super) fn diagnosed(&mut self, now: Instant) {
        let top = self.incident.diagnosis.first();
        let text = top.map_or_else(String::new, |finding| {
            format!(
                "{} ({:.0} % sure)",
                finding.fault,
                finding.confidence * 100.0
            )
        });
        self.note(now, "diagnosis", text);
        if self.diagnosed.is_none() {
            self.diagnosed = Some(now);
            self.incident.diagnosed = Some(stamp(self.epoch, now));
            self.incident.durations_ms.diagnosis = Some(millis(now - self.detected));
        }
    }

    /// The machine's clock was set: what follows is stamped by it, and durations are what they were.
    pub(super) fn clock_set(&mut self, now: Instant, epoch: Epoch, by_millis: i64) {
        self.epoch = epoch;
        let (seconds, way) = (
            by_millis.unsigned_abs() as f64 / 1e3,
            if by_millis < 0 { "back" } else { "forward" },
        );
        let text = format!(
            "the system clock was set {way} by {seconds:.1} s: later timestamps follow it, durations are not affected"
        );
        self.note(now, "clock", text);
    }

    /// The verification ended.
    pub(super) fn verified(&mut self, verification: &Verification, outcome: &str) {
        self.verified_by(verification.probes, verification.succeeded, outcome);
    }

    /// So many probes and requests have come to this.
    pub(super) fn verified_by(&mut self, probes: u32, requests: u32, outcome: &str) {
        self.incident.verification = Some(Outcome {
            repaired_by: self.repaired_by,
            outcome: outcome.to_owned(),
            probes,
            requests,
        });
        self.changed = true;
    }

    /// Service has returned.
    pub(super) fn recovered(&mut self, now: Instant) {
        self.incident.recovered = Some(stamp(self.epoch, now));
        self.returned = Some(now);
        let since = self.diagnosed.unwrap_or(self.detected);
        self.incident.durations_ms.recovery = Some(millis(now - since));
        self.note(now, "recovery", "in service again".to_owned());
    }

    /// The report is written.
    pub(super) fn closed(&mut self, now: Instant, end: CloseReason) -> String {
        let since = self.returned.unwrap_or(now);
        self.incident.end = Some(end);
        let closed = stamp(self.epoch, now);
        self.incident.closed = Some(closed.clone());
        self.incident.durations_ms.analysis = Some(millis(now - since));
        self.set_status(IncidentStatus::Closed);
        closed
    }

    pub(super) const fn awaits_examination(&self, id: OrderId) -> bool {
        matches!(&self.phase, CasePhase::Examining { order, .. } if order.0 == id.0)
    }
}

/// The record of an incident that begins.
fn record(
    (id, service, server): (String, String, String),
    detection: &Detection,
    now: Instant,
    epoch: Epoch,
) -> Incident {
    let onset = detection.onset.min(now);
    Incident {
        id,
        drill: false,
        status: IncidentStatus::Open,
        service,
        servers: vec![server],
        onset: stamp(epoch, onset),
        detected: Some(stamp(epoch, now)),
        diagnosed: None,
        recovered: None,
        closed: None,
        durations_ms: Durations {
            detection: Some(millis(now - onset)),
            ..Durations::default()
        },
        detected_by: detection.by.word().to_owned(),
        diagnosis: Vec::new(),
        actions: Vec::new(),
        verification: None,
        impact: Impact::default(),
        timeline: Vec::new(),
        end: None,
        analysis: None,
    }
}

/// A duration in milliseconds with microsecond resolution.
fn millis(duration: Duration) -> f64 {
    (duration.as_nanos() / 1_000) as f64 / 1e3
}
