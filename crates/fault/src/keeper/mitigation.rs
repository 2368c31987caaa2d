//! What a playbook does for the whole service when one server fails alone: fail over, shed requests, or serve the
//! fallback. These measures end with the server's incident.

use evenkeel_core::EjectionReason;

use crate::incident::ActionOutcome;
use crate::policy::Action;

use super::ServerContext;
use super::case::Case;
use super::refuse::AfterAction;
use super::server::WatchedServer;

/// So many failures in a row, and nothing succeeds.
const ROW: u32 = 20;

impl WatchedServer {
    /// Whether it is answered for now: a playbook says so, and none of its requests succeeds, if requests are what it fails.
    pub(super) fn is_answered_for(&self) -> bool {
        let fails =
            |case: &Case| !case.is_about_requests() || self.facts.attempts.failed_in_row >= ROW;
        let case = self.case.as_deref().filter(|case| case.falls_back);
        case.is_some_and(fails)
    }
}

impl ServerContext<'_> {
    /// Takes the server out for those behind it, also if fewer stay than `keep_serving` says.
    pub(super) fn fail_over(&mut self) -> AfterAction {
        let action = Action::FailOver;
        if !self.later_tiers_carry() {
            return self.impossible(&action, "no server in a later tier is healthy");
        }
        let now = self.now;
        if self.server.serves() {
            if let Err(veto) = self.second_check(&action) {
                self.record_veto(&action, veto);
                return AfterAction::On;
            }
            self.server.eject(now, self.server.suspicion(), self.out);
        } else if self.server.facts.process.down.is_some() {
            self.server.eject(now, EjectionReason::Known, self.out);
        }
        if !self.has_done(action.word()) {
            self.done(&action);
        }
        AfterAction::On
    }

    /// The same while what comes before it in the playbook is only proposed.
    pub(super) fn fail_over_beside(&mut self) {
        if self.server.serves() {
            self.fail_over();
        }
    }

    /// Sheds, or answers for the service.
    pub(super) fn mitigate(&mut self, action: &Action) -> AfterAction {
        let is_limited = *action == Action::Shed && !self.spec.is_unlimited;
        let is_served = *action == Action::FallBack && self.others().any(WatchedServer::serves);
        if is_limited {
            let why = "every server has a configured limit already, which sheds requests";
            return self.impossible(action, why);
        }
        if is_served {
            return self.impossible(action, "other servers serve");
        }
        if let Err(veto) = self.second_check(action) {
            self.record_veto(action, veto);
            return AfterAction::On;
        }
        let now = self.now;
        if let Some(case) = self.case() {
            let is_new = if *action == Action::Shed {
                !std::mem::replace(&mut case.sheds, true)
            } else {
                !std::mem::replace(&mut case.falls_back, true)
            };
            if is_new {
                case.action(now, action, ActionOutcome::Done, None);
            }
        }
        AfterAction::On
    }

    fn others(&self) -> impl Iterator<Item = &WatchedServer> {
        let (before, after) = self.peers;
        before.iter().chain(after)
    }

    /// Whether a server of a later tier is in rotation and shows nothing.
    fn later_tiers_carry(&self) -> bool {
        let tier = |server: &WatchedServer| {
            let spec = self.spec.servers.get(server.id.index as usize);
            spec.map_or(0, |spec| spec.tier)
        };
        let own = tier(self.server);
        let mut behind = self.others().filter(|one| tier(one) > own);
        behind.any(|one| {
            let facts = &one.facts;
            one.is_well() && facts.probes.failed_in_row == 0 && facts.attempts.failed_in_row == 0
        })
    }
}
