//! A program that was changed since the processes of it were started: the first of them that has ended is started with it,
//! and the others wait until that one is verified.

use std::time::Duration;

use crate::kind::FaultKind;
use crate::outlook::WaitReason;

use super::ServerContext;
use super::case::Case;
use super::phase::{CasePhase, Retry};
use super::server::WatchedServer;

/// So often it is asked whether another server has been verified.
const ASKED_AGAIN: Duration = Duration::from_millis(100);

impl WatchedServer {
    /// Whether a start has failed in its incident, which may be that of all: it waits to be started, is rolled back or started just now,
    /// or that is being verified.
    pub(super) fn may_lead(&self) -> bool {
        let has_failed = |case: &Case| case.cannot_start && !case.by_person;
        let case = self.case.as_deref().filter(|case| has_failed(case));
        let goes_on = case.is_some_and(|case| self.cannot_start() || case.starts());
        self.is_here() && self.routine.is_none() && !self.follows && goes_on
    }

    /// Whether it has ended and waits until another one is verified with the changed program.
    pub(super) fn awaits_canary(&self) -> bool {
        let waits = |case: &Case| match &case.phase {
            CasePhase::Verifying { retry, .. } => {
                retry.is_some_and(|retry| retry.waits == WaitReason::Canary)
            }
            CasePhase::Judged | CasePhase::Examining { .. } | CasePhase::Acting { .. } => false,
        };
        self.case.as_deref().is_some_and(waits)
    }

    /// Whether it is the first that is started with a changed program, and has not been verified yet; or it cannot be started.
    fn is_canary(&self) -> bool {
        let process = &self.facts.process;
        let has_change =
            process.pending_change.is_some() || process.pid.is_some() && process.changed.is_some();
        let starts = |case: &Case| case.had_ended && case.starts();
        let is_started = self.routine.is_some() || self.case.as_deref().is_some_and(starts);
        // What has its port says nothing about its program.
        let is_of_port = |case: &Case| case.kind == FaultKind::PortTaken;
        let fails = self.may_lead() && !self.case.as_deref().is_some_and(is_of_port);
        self.is_here() && (fails || has_change && is_started)
    }

    fn is_here(&self) -> bool {
        self.held.is_none() && self.vacant.is_none()
    }
}

impl Case {
    /// Whether a process is being started, or one that was is not verified yet.
    fn starts(&self) -> bool {
        match &self.phase {
            CasePhase::Acting { order, .. } => order.is_some(),
            CasePhase::Verifying {
                verification,
                retry,
                ..
            } => {
                let is_slow = retry.is_some_and(|retry| retry.waits == WaitReason::SlowStart);
                verification.rules.ends || is_slow
            }
            CasePhase::Examining { .. } => self.late_start.is_some(),
            CasePhase::Judged => false,
        }
    }
}

impl ServerContext<'_> {
    /// Why its process, which has ended, is not started yet: its program was changed, another server is started with that first,
    /// and none is known to run with it.
    pub(super) fn canary_before(&self) -> Option<String> {
        let process = &self.server.facts.process;
        let change = process.pending_change.as_deref();
        let change = change.filter(|_| process.down.is_some())?;
        let peers = || self.peers.0.iter().chain(self.peers.1);
        let runs_it = |peer: &WatchedServer| {
            peer.is_well() && peer.facts.process.changed.as_deref() == Some(change)
        };
        if peers().any(runs_it) {
            return None;
        }
        let canary = peers().find(|peer| peer.is_canary())?;
        Some(format!(
            "{} was changed, and {} is started with it first",
            change.path, canary.name
        ))
    }

    /// It is started once another one is verified.
    pub(super) fn wait_for_canary(&mut self, step: usize, why: &str) {
        let (now, waits) = (self.now, WaitReason::Canary);
        self.watch(Some(Retry {
            at: now + ASKED_AGAIN,
            step,
            allowed: true,
            waits,
        }));
        if let Some(case) = self.case().filter(|case| case.waits != Some(waits)) {
            case.waits = Some(waits);
            case.note(now, "action", format!("its start waits: {why}"));
        }
    }
}
