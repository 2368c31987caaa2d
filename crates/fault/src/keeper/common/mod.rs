//! Incidents of a whole service: one cause that servers share. Evaluated before a server is judged alone, and while
//! such an incident is open.
//!
//! Its servers stay in rotation: taking them out does not repair what they share, and requests that reach them show at
//! once when it works again. Nothing costly is done. The incident ends when requests of the kind that failed succeed.
//!
//! This file holds the state. `mitigation` executes the user's playbook, `close` ends the incident, `open` begins it
//! and merges those of single servers, `reevaluate` looks at it until it is over; `judge`, `burn` and `across` find the
//! causes: those of a detection, slow burns, and causes shared by several services.

mod burn_watch;
mod mitigation;
mod close;
mod open;
mod reevaluate;
mod judge;
mod burn;
mod change;
mod across;

pub(in crate::keeper) use burn_watch::BurnWatch;

use std::time::Duration;

use evenkeel_core::stat::SlidingWindow;
use evenkeel_core::{ClosedRoute, Instant, LimitHint, Outcome, RequestShape};

use crate::analyze::ServiceTraffic;
use crate::common_cause::{CommonCause, Failing, Symptom};
use crate::contract::{OrderId, Totals};
use crate::detect::Detection;
use crate::incident::Finding;
use crate::kind::FaultKind;
use crate::outlook::{NextStep, RecoveryOutlook, WaitReason};
use crate::policy::Action;
use crate::recover::Veto;
use crate::signal::RouteTally;
use crate::verify::UNPROVEN;

use super::case::Case;
use super::names::RouteNames;

/// Between two looks while an incident of the service is open.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The requests that show whether it is over.
const WINDOW: Duration = Duration::from_secs(3);
/// So many of them, at least, prove something.
const PROOF: u64 = 3;
/// It must have been well for so long.
const QUIET: Duration = Duration::from_secs(2);
/// A success after this many consecutive failures is a return …
const ROW: u32 = 10;
/// … of which this many are reported.
const RETURNS: u32 = 20;
/// A limit stays until hardly anything has been shed for so long …
const CALM: Duration = Duration::from_secs(10);
/// … which is less than one in so many …
const SHED: u64 = 20;
/// … and most have not had to wait: at most one in so many.
const QUEUED: u64 = 4;
/// So many routes are named.
const NAMED: usize = 3;
/// How sure a change just before is, beside the cause that the evidence speaks for.
const SUSPECTED: f64 = 0.5;
/// After so long the first diagnosis stands unless something graver is seen.
const SETTLED: Duration = Duration::from_secs(3);
/// So many failures in a row, and nothing is served.
const FAILED: u32 = 10;
/// The number of consecutive successes that show the return of a first tier that gets only a few requests.
const RETURN: u32 = 10;

/// An incident of a whole service.
#[derive(Debug)]
pub(in crate::keeper) struct CommonIncident {
    pub(in crate::keeper) case: Case,
    cause: CommonCause,
    /// The ends of the requests that it is about.
    ends: SlidingWindow,
    succeeded: u32,
    /// Successes in a row.
    row: u32,
    well_since: Option<Instant>,
    last_failure: Instant,
    last_success: Instant,
    /// Failures in a row.
    failed_in_row: u32,
    /// Refusals by the second check that are not counted yet.
    vetoes: Vec<Veto>,
    /// It began as an overload, or was one: its limits stay.
    was_overload: bool,
    /// The consecutive failures of each failing server: the first success after several is reported.
    failing: Vec<(u32, u32)>,
    /// Returns that were told.
    returns: u32,
    /// The progress of the user's playbook.
    mitigation: Mitigation,
    /// The initial limits of the servers, if they are to be limited.
    limits: Vec<LimitHint>,
    /// Requests that were shed as of its beginning.
    shed_before: u64,
    /// The service's totals as of the last look.
    looked: Totals,
    /// Hardly any of them were shed lately, and most did not have to wait.
    is_calm: bool,
    /// The closed routes that the incident tells of.
    published_closed: Vec<ClosedRoute>,
    /// Servers that are being examined: one that was stopped (SIGSTOP) is no sign of a shared cause.
    examined: Vec<(OrderId, usize)>,
    pub(in crate::keeper) recheck_at: Instant,
    /// The incident of another service that this one was merged into: its own is no longer shown.
    pub(in crate::keeper) follows: Option<String>,
    /// It holds other services, too.
    holds_others: bool,
    /// The sentences about them.
    across: Vec<String>,
    /// What was changed just before its servers were started.
    change: Option<String>,
}

/// How far the playbook has come.
#[derive(Debug, Default)]
struct Mitigation {
    steps: Vec<Action>,
    step: usize,
    /// When the next step is due.
    at: Instant,
    /// The servers behind have taken over.
    fails_over: bool,
    /// Bounds are found for the servers.
    sheds: bool,
    /// Requests are answered for.
    falls_back: bool,
}

impl CommonIncident {
    /// An attempt has ended.
    pub(in crate::keeper) fn attempt(
        &mut self,
        at: Instant,
        server: u32,
        name: &str,
        shape: RequestShape,
        outcome: Outcome,
    ) {
        let failed = outcome.is_failure();
        let is_elsewhere = self.cause.by_statistics
            && self.cause.failing.is_some()
            && !self.cause.servers.contains(&(server as usize));
        if !(failed || outcome.is_success()) || is_elsewhere || !self.is_about(shape) {
            return;
        }
        self.ends.add(at, failed);
        if failed {
            self.last_failure = at;
            self.failed_in_row = self.failed_in_row.saturating_add(1);
            self.row = 0;
            self.well_since = None;
            match self.failing.iter_mut().find(|(one, _)| *one == server) {
                Some((_, row)) => *row += 1,
                None => self.failing.push((server, 1)),
            }
            return;
        }
        self.succeeded = self.succeeded.saturating_add(1);
        (self.last_success, self.failed_in_row) = (at, 0);
        self.row = self.row.saturating_add(1);
        let slot = self.failing.iter().position(|(one, _)| *one == server);
        let row = slot.map_or(0, |slot| self.failing.swap_remove(slot).1);
        if row >= ROW && self.returns < RETURNS {
            self.returns += 1;
            self.case
                .note(at, "signal", format!("{name} answers again"));
        }
    }

    /// Whether it may be why such a request fails on any server: while it is open, such requests prove nothing about one of them.
    pub(in crate::keeper) fn explains_requests(&self, shape: RequestShape) -> bool {
        self.is_shared() && self.cause.kind != FaultKind::BadProbe && self.is_about(shape)
    }

    /// Whether it is about what servers share, and no slow burn.
    pub(in crate::keeper) const fn is_shared(&self) -> bool {
        !self.cause.by_statistics
    }

    /// The initial limits of the servers, during an overload or if a playbook says so.
    pub(in crate::keeper) fn limits(&self) -> &[LimitHint] {
        if self.has_too_much() || self.mitigation.sheds {
            &self.limits
        } else {
            &[]
        }
    }

    pub(in crate::keeper) fn is_overload(&self) -> bool {
        self.cause.kind == FaultKind::Overload
    }

    /// Whether nothing has been served for so long, however much was asked.
    fn serves_nothing(&self, now: Instant, lasted: Duration) -> bool {
        self.failed_in_row >= FAILED && now.since(self.last_success) >= lasted
    }

    /// Whether an overload has become something graver. Servers that have too much to do go on serving what they can, and answer the rest
    /// late, not with errors.
    fn is_dead(&self, cause: &CommonCause, now: Instant) -> bool {
        let lasted = match cause.symptom {
            Some(Symptom::Errs | Symptom::BreaksOff) => SETTLED,
            // A server with a long backlog may answer nothing in time until its limit has been found.
            Some(Symptom::Hangs) => CALM,
            Some(
                Symptom::Sheds
                | Symptom::Refuses
                | Symptom::Unreachable
                | Symptom::FailsProbes
                | Symptom::Lags,
            )
            | None => return false,
        };
        self.is_overload()
            && cause.kind == FaultKind::DependencyFailure
            && self.serves_nothing(now, lasted)
    }

    /// Whether its limits are those of an overload.
    pub(in crate::keeper) const fn has_too_much(&self) -> bool {
        matches!(self.cause.kind, FaultKind::Overload) || self.was_overload
    }

    fn is_about(&self, shape: RequestShape) -> bool {
        let failing = self.cause.failing.as_ref();
        failing.is_none_or(|failing| failing.covers(shape))
    }

    /// Whether what opened it is gone, and whether that is proven.
    fn is_over(&mut self, now: Instant, still_there: bool) -> Option<bool> {
        if self.mitigation.fails_over && self.has_returned(now) {
            return Some(true);
        }
        let tally = self.ends.clone().tally(now);
        // Where few requests come, those in a row tell as much.
        let in_row = tally.hits == 0 && u64::from(self.row) >= PROOF;
        let is_proven = in_row || tally.total >= PROOF && tally.hits * 10 <= tally.total;
        let is_overload = self.cause.kind == FaultKind::Overload;
        let is_well = match self.cause.kind == FaultKind::BadProbe {
            true => !still_there,
            // Late answers are not failures.
            false => is_proven && !(is_overload && still_there),
        };
        let is_calm = self.limits().is_empty() || self.is_calm;
        if !is_well || !is_calm {
            self.well_since = None;
            let silent = tally.total == 0 && !still_there;
            return (silent && now.since(self.last_failure) >= UNPROVEN).then_some(false);
        }
        let since = *self.well_since.get_or_insert(now);
        (now.since(since) >= QUIET).then_some(true)
    }

    /// Whether an attempt at a server of this tier tells of what failed.
    pub(in crate::keeper) const fn concerns_tier(&self, tier: u8) -> bool {
        tier == 0 || !self.mitigation.fails_over
    }

    /// Whether the servers behind have taken over.
    pub(in crate::keeper) const fn fails_over(&self) -> bool {
        self.mitigation.fails_over
    }

    /// Whether the first tier, which gets a few requests only, has recovered.
    fn has_returned(&self, now: Instant) -> bool {
        self.row >= RETURN && now.since(self.last_failure) >= QUIET
    }
}

impl CommonIncident {
    /// Next: it closes once requests of the kind that failed succeed, or after a long time without any.
    pub(in crate::keeper) fn outlook(&self, now: Instant) -> RecoveryOutlook {
        // A symptom shared with other services continues in the incident of one of them.
        let id = self.follows.as_ref().unwrap_or(&self.case.incident.id);
        if let Some(since) = self.well_since {
            let out = RecoveryOutlook::new(NextStep::Close, WaitReason::Verification);
            return out
                .at(Some(since + QUIET))
                .because(format!("incident {id}"));
        }
        let is_silent = self.ends.clone().tally(now).total == 0;
        let waits = if is_silent {
            WaitReason::Proof
        } else {
            WaitReason::Shared
        };
        let until = self.last_failure + UNPROVEN;
        RecoveryOutlook::new(NextStep::Close, waits)
            .at(is_silent.then_some(until))
            .because(format!("incident {id}: {}", self.cause.kind))
    }

    fn joins(&mut self, now: Instant, index: u32, name: String, detection: &Detection) {
        if !self.case.incident.servers.contains(&name) {
            self.case
                .note(now, "detection", format!("{name}, too: {}", detection.text));
            self.case.incident.servers.push(name);
            self.cause.servers.push(index as usize);
        }
    }

    /// Another server is in this slot.
    pub(in crate::keeper) fn forget_server(&mut self, index: u32) {
        let slot = index as usize;
        self.cause.servers.retain(|one| *one != slot);
        self.examined.retain(|(_, one)| *one != slot);
        self.failing.retain(|(one, _)| *one != index);
    }

    /// The result of a later evaluation of the same routes.
    fn take_in(&mut self, cause: &CommonCause) {
        if let (Some(failing), Some(later)) = (&mut self.cause.failing, &cause.failing)
            && cause.kind == self.cause.kind
        {
            failing.take_in(later);
        }
    }

    /// Whether a later look tells more: soon after the first; if what was only the probes' or some routes' is that of most requests by
    /// now; or if all but some routes are well again. What servers show since a route fails is no other cause, also when most of its
    /// requests succeed again.
    fn is_overruled_by(&self, cause: &CommonCause, routes: &[RouteTally], now: Instant) -> bool {
        let failing = self.cause.failing.as_ref();
        let by_load =
            |cause: &CommonCause| cause.kind == FaultKind::Overload && cause.symptom.is_none();
        if self.is_dead(cause, now) {
            return !self.holds_others;
        }
        if by_load(&self.cause)
            || self.was_overload && by_load(cause) && self.serves_nothing(now, SETTLED)
        {
            return false;
        }
        let outgrown = failing.is_some_and(|failing| failing.is_outgrown(routes));
        let is_narrower = self.cause.kind == FaultKind::DependencyFailure
            && failing.is_none()
            && cause.failing.is_some();
        cause.kind != self.cause.kind
            && !self.holds_others
            && !failing.is_some_and(|failing| failing.is_all(routes))
            && (now.since(self.case.detected) < SETTLED
                || self.cause.kind == FaultKind::BadProbe
                || self.cause.by_statistics
                || outgrown
                || is_narrower
                || by_load(cause))
    }

    /// The routes of which only a few requests reach servers: those that hang. What is answered, be it with errors, costs no capacity.
    pub(in crate::keeper) fn closed(&self) -> Vec<ClosedRoute> {
        let failing = self.cause.failing.as_ref();
        // Others serve what hangs on one server.
        let failing = failing.filter(|_| !self.cause.by_statistics);
        if failing.is_some_and(Failing::hangs) {
            self.failing_routes()
        } else {
            Vec::new()
        }
    }

    fn failing_routes(&self) -> Vec<ClosedRoute> {
        let Some(failing) = &self.cause.failing else {
            return Vec::new();
        };
        match failing.shapes.first() {
            Some(first) if failing.is_method => vec![ClosedRoute::Method(first.method)],
            _ => {
                let shapes = failing.shapes.iter();
                shapes
                    .map(|shape| ClosedRoute::Route(shape.route))
                    .collect()
            }
        }
    }

    /// Their names.
    pub(in crate::keeper) fn closed_names(&self, names: &RouteNames) -> Vec<String> {
        let Some(failing) = &self.cause.failing else {
            return Vec::new();
        };
        let shown = if failing.is_method { 1 } else { NAMED };
        let shapes = failing.shapes.iter().take(shown);
        shapes
            .map(|shape| names.of(*shape, failing.is_method))
            .collect()
    }

    /// A few are shed, or have to wait, also when the limit is measured anew.
    fn note_shed(&mut self, now: Instant, traffic: &ServiceTraffic) {
        self.looked = traffic.latest;
        let before = traffic.at(now.before(CALM));
        let shed = self.looked.shed.saturating_sub(before.shed);
        let queued = self.looked.queued.saturating_sub(before.queued);
        let came = self.looked.requests.saturating_sub(before.requests);
        let has_room = shed * SHED <= came && queued * QUEUED <= came;
        self.is_calm = has_room && now.since(self.case.detected) >= CALM;
    }

    /// How many requests were shed since it began.
    pub(in crate::keeper) const fn shed(&self) -> u64 {
        self.looked.shed.saturating_sub(self.shed_before)
    }

    /// Records routes that are closed or opened.
    fn report_closed(&mut self, now: Instant, names: &RouteNames) {
        let closed = self.closed();
        if closed == self.published_closed {
            return;
        }
        if closed.is_empty() {
            let text =
                "the hanging route is answered again: its requests reach the servers as usual";
            self.case.note(now, "action", text.to_owned());
        } else {
            let routes = self.closed_names(names).join(", ");
            let detail = format!(
                "{routes}: answered with 503 at once, except for trials, while it hangs on all servers"
            );
            self.case.sheds(now, detail);
        }
        self.published_closed = closed;
    }

    fn diagnose(&mut self, now: Instant, names: &RouteNames) {
        let mut evidence = self.across.clone();
        evidence.extend(self.cause.evidence.iter().cloned());
        if let Some(failing) = &self.cause.failing {
            let named = failing.shapes.iter().take(NAMED);
            let named: Vec<String> = named
                .map(|shape| names.of(*shape, failing.is_method))
                .collect();
            evidence.insert(0, format!("what fails is {}", named.join(", ")));
        }
        if let Some(first) = self.case.incident.servers.first()
            && self.cause.failing.is_none()
            && !self.cause.by_statistics
        {
            evidence.push(format!("{first} showed it first"));
        }
        self.case.kind = self.cause.kind;
        self.case.incident.diagnosis = vec![Finding {
            fault: self.cause.kind,
            confidence: self.cause.confidence,
            evidence,
        }];
        let change = self.change.as_ref().map(|change| Finding {
            fault: FaultKind::BadDeploy,
            confidence: SUSPECTED,
            evidence: vec![change.clone()],
        });
        self.case.incident.diagnosis.extend(change);
        self.case.diagnosed(now);
    }
}
