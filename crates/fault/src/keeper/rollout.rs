//! Replaces the processes whose configuration a reload has changed: one at a time, each verified before the next, and none after
//! the first that does not come back.
//!
//! Ordered by an operator, who has changed the configuration: it is done in every mode. Unlike a single restart it waits for what
//! is in its way (`keep_serving`, another restart, maintenance) instead of being refused. A process that does not run costs
//! nothing and comes first: what was changed may be its cure.

use std::time::Duration;

use evenkeel_core::{Instant, ServerId};

use crate::contract::Output;
use crate::incident::ActionOutcome;
use crate::kind::FaultKind;
use crate::recover::Author;

use super::phase::CasePhase;
use super::server::WatchedServer;
use super::service::WatchedService;
use super::shown::PlannedKind;
use super::{Keeper, ServerContext};

/// Between two looks whether the next one may be replaced.
const TURN: Duration = Duration::from_millis(500);

impl Keeper {
    /// These servers' processes run by an earlier configuration. A replacement that had stopped begins anew with them.
    pub(super) fn set_outdated(&mut self, now: Instant, outdated: &[ServerId]) {
        for service in &mut self.services {
            for server in &mut service.servers {
                server.is_outdated = server.vacant.is_none() && outdated.contains(&server.id);
            }
            service.rollout.stopped = None;
            service.rollout.waits = None;
            service.rollout.at = now;
        }
    }

    /// Goes on with the replacement of outdated processes.
    pub(super) fn roll_out(&mut self, now: Instant, out: &mut Vec<Output>) {
        for slot in 0..self.services.len() {
            let service = &mut self.services[slot];
            if !service.is_rolling_out() {
                service.rollout.at = Instant::NEVER;
                continue;
            }
            service.rollout.at = now + TURN;
            service.follow_current();
            if service.rollout.current.is_none() && service.rollout.stopped.is_none() {
                self.replace_next(now, slot, out);
            }
        }
    }

    fn replace_next(&mut self, now: Instant, slot: usize, out: &mut Vec<Output>) {
        let mut waits = None;
        for id in self.services[slot].replaceable() {
            let mut done = Ok(());
            self.with(now, id, out, |work| done = work.replace());
            match done {
                Ok(()) => {
                    self.services[slot].rollout.current = Some(id.index);
                    waits = None;
                    break;
                }
                Err(why) => waits = waits.or(Some(why)),
            }
        }
        self.services[slot].rollout.waits = waits;
    }
}

impl WatchedService {
    /// Whether something is left to be done.
    fn is_rolling_out(&self) -> bool {
        let rollout = &self.rollout;
        rollout.current.is_some()
            || rollout.stopped.is_none() && self.servers.iter().any(|one| one.is_outdated)
    }

    /// What has become of the server that is being replaced.
    fn follow_current(&mut self) {
        let Some(index) = self.rollout.current else {
            return;
        };
        let Some(server) = self.servers.get_mut(index as usize) else {
            self.rollout.current = None;
            return;
        };
        if let Some(why) = server.replace_failed.take() {
            self.rollout.stopped = Some(format!("{} did not come back: {why}", server.name));
            self.rollout.current = None;
            return;
        }
        if server.is_at_work() {
            return;
        }
        self.rollout.current = None;
        // Its incident was open before, and goes on.
        if server.case.is_some() && server.held.is_none() {
            self.rollout.stopped = Some(format!("{} did not come back", server.name));
        }
    }

    /// The outdated servers, those first that serve nothing.
    fn replaceable(&self) -> Vec<ServerId> {
        let outdated = self.servers.iter().filter(|one| one.is_outdated);
        let mut outdated: Vec<&WatchedServer> = outdated.collect();
        outdated.sort_by_key(|one| one.serves());
        outdated.into_iter().map(|one| one.id).collect()
    }
}

impl WatchedServer {
    /// Whether its process is being replaced, or that is being verified.
    fn is_at_work(&self) -> bool {
        let of_case = self.case.as_deref().is_some_and(|case| match &case.phase {
            CasePhase::Acting { order, .. } => order.is_some(),
            CasePhase::Verifying { verification, .. } => verification.rules.ends,
            CasePhase::Judged | CasePhase::Examining { .. } => false,
        });
        of_case || self.routine.is_some()
    }
}

impl ServerContext<'_> {
    /// Replaces its process, or says what that waits for.
    fn replace(&mut self) -> Result<(), String> {
        self.may_be_replaced()?;
        let now = self.now;
        self.server.replace_failed = None;
        let Some(case) = self.server.case.as_deref_mut() else {
            let (kind, fault) = (PlannedKind::Replace, FaultKind::Unknown);
            let is_ordered = self.order_routine(kind, Author::Person, fault);
            let vetoed = || format!("{}: the second check refused it", self.server.name);
            return is_ordered.then_some(()).ok_or_else(vetoed);
        };
        let text = "the configuration of its process was changed: it is restarted";
        case.note(now, "action", text.to_owned());
        case.action_ended(now, ActionOutcome::Failed, Some(text.to_owned()));
        self.restart_for_person();
        // What the second check refuses is told in the incident.
        let case = self.server.case.as_deref();
        if case.is_some_and(|case| matches!(case.phase, CasePhase::Acting { .. })) {
            return Ok(());
        }
        Err(format!(
            "{}: its restart was refused, as its incident says",
            self.server.name
        ))
    }

    fn may_be_replaced(&self) -> Result<(), String> {
        let name = &self.server.name;
        if self.is_held() {
            return Err(format!("{name} is in maintenance"));
        }
        let case = self.server.case.as_deref().map(|case| &case.phase);
        let is_busy = match case {
            Some(CasePhase::Acting { .. } | CasePhase::Examining { .. }) => true,
            Some(CasePhase::Judged | CasePhase::Verifying { .. }) | None => false,
        };
        if is_busy || self.server.routine.is_some() {
            return Err(format!("{name} is being examined, repaired or verified"));
        }
        let is_down = self.server.facts.process.down.is_some();
        if !is_down && self.failed_starts > 0 {
            return Err(format!("servers of {} do not start", self.spec.name));
        }
        if !self.server.serves() {
            return Ok(());
        }
        self.is_restarted_alone()?;
        // Nothing else can serve for the only server.
        if self.capacity.servers <= 1 {
            return Ok(());
        }
        self.capacity.allows(self.spec.options.recover.keep_serving)
    }
}
