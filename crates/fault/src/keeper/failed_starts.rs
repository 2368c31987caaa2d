//! Servers of a service that cannot start, most likely for one cause: a new version, a changed configuration; and those that have
//! ended and would be started with the same change.
//!
//! One of them, the canary, is started again in a growing back-off. The others belong to its incident and wait: once the canary
//! is verified they are started, too. If its incident ends in another way, each is judged by itself again. A start that was
//! ordered before that and fails only then belongs to the same incident, though it is closed.

use evenkeel_core::Instant;

use crate::contract::{Output, ProbePace};
use crate::kind::FaultKind;
use crate::policy::Mode;
use crate::recover::{Author, ServerChange};

use super::Keeper;
use super::ServerContext;
use super::case::Case;
use super::server::WatchedServer;
use super::service::Canary;
use super::shown::PlannedKind;

impl WatchedServer {
    /// Whether it is one more that cannot start, or waits to be started, with an incident that may end in the canary's.
    fn may_follow(&self) -> bool {
        let is_untouched = |case: &Case| !case.awaits_action() && !case.by_person;
        (self.cannot_start() || self.awaits_canary())
            && self.routine.is_none()
            && !self.follows
            && self.case.as_deref().is_some_and(is_untouched)
    }
}

impl Keeper {
    /// Puts the servers of a service that cannot start together, and lets them go when their canary is done. Whether anything
    /// was changed by that.
    pub(super) fn gather_failed_starts(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        let mut has_changed = false;
        for slot in 0..self.services.len() {
            has_changed |= self.release_followers(now, slot, out);
            let service = &self.services[slot];
            if service.failed_starts == 0
                || service.is_suspended()
                || service.spec.options.recover.mode == Mode::Off
            {
                continue;
            }
            has_changed |= self.start_late_comers(now, slot, out);
            self.choose_canary(slot);
            let Some(canary) = &self.services[slot].canary else {
                continue;
            };
            let servers = self.services[slot].servers.iter().enumerate();
            let followers =
                servers.filter(|(index, server)| *index != canary.index && server.may_follow());
            let followers: Vec<usize> = followers.map(|(index, _)| index).collect();
            for index in followers {
                has_changed = true;
                self.follow_canary(now, slot, index, out);
            }
        }
        has_changed
    }

    /// If several have failed to start, or wait for the one that has: the one that has rolled back, else one that is at work, else the first that was found.
    fn choose_canary(&mut self, slot: usize) {
        let service = &mut self.services[slot];
        if service.canary.is_some() {
            return;
        }
        let candidates = service.servers.iter().enumerate();
        let candidates = candidates.filter(|(_, server)| server.may_lead());
        let ranked = candidates.filter_map(|(index, server)| {
            let case = server.case.as_deref()?;
            let rank = (!case.has_rolled_back(), server.may_follow(), case.detected);
            Some((rank, index, case.incident.id.clone()))
        });
        let mut ranked: Vec<_> = ranked.collect();
        let waiting = service.servers.iter();
        let waiting = waiting.filter(|server| server.awaits_canary()).count();
        if ranked.is_empty() || ranked.len() + waiting < 2 {
            return;
        }
        ranked.sort_unstable();
        let (_, index, incident) = ranked.swap_remove(0);
        service.canary = Some(Canary {
            index,
            incident,
            waiting: Vec::new(),
        });
    }

    /// Those that had ended and been started before the incident of the others was over, and whose starts have failed since.
    fn start_late_comers(&mut self, now: Instant, slot: usize, out: &mut Vec<Output>) -> bool {
        let service = &self.services[slot];
        let Some((closed, into)) = service.started_again.clone() else {
            return false;
        };
        let is_late = |server: &&WatchedServer| {
            let case = server.case.as_deref();
            let detected = case
                .filter(|_| server.may_follow())
                .map(|case| case.detected);
            let ordered = server.repairs.last_restart();
            detected.max(ordered).is_some_and(|at| at < closed) && detected.is_some()
        };
        let late = service.servers.iter().filter(is_late);
        let late: Vec<_> = late.map(|server| server.id).collect();
        let starts = service.spec.options.recover.mode == Mode::Automatic;
        for id in &late {
            self.with(now, *id, out, |work| {
                work.merged(&into);
                work.start_or_judge(starts);
            });
        }
        !late.is_empty()
    }

    /// The incident of a server ends in the canary's, for which it waits.
    fn follow_canary(&mut self, now: Instant, slot: usize, index: usize, out: &mut Vec<Output>) {
        let service = &mut self.services[slot];
        let Some(canary) = &mut service.canary else {
            return;
        };
        if !canary.waiting.contains(&index) {
            canary.waiting.push(index);
        }
        let (leader, into) = (canary.index, canary.incident.clone());
        let (first, follower) = (service.servers[leader].id, service.servers[index].id);
        let name = service.servers[index].name.clone();
        let (mut merged, mut what) = (None, "");
        self.with(now, follower, out, |work| {
            what = if work.server.cannot_start() {
                "cannot start either"
            } else {
                "has ended, too"
            };
            merged = work.merged(&into);
            work.server.follows = true;
            work.server.set_pace(ProbePace::Paused, work.out);
        });
        self.with(now, first, out, |work| {
            let is_tried = !work.server.cannot_start();
            let Some(case) = work.case() else {
                return;
            };
            if case.incident.servers.contains(&name) {
                return;
            }
            let mut text = format!("{name} {what}, and waits for this one");
            if let Some(merged) = merged {
                text.push_str(&format!(": its incident {merged} ends in this one"));
            }
            case.note(now, "detection", text);
            case.incident.servers.push(name);
            // While it is being started nothing is known of its process.
            if !is_tried {
                work.judge(None);
            }
        });
    }

    /// The canary's incident is over: the waiting servers are started if it is healthy, or judged individually.
    fn release_followers(&mut self, now: Instant, slot: usize, out: &mut Vec<Output>) -> bool {
        let service = &mut self.services[slot];
        let Some(canary) = &service.canary else {
            return false;
        };
        let leader = &service.servers[canary.index];
        let case = leader.case.as_deref();
        if case.is_some_and(|case| case.incident.id == canary.incident) {
            return false;
        }
        let is_well = leader.facts.process.down.is_none() && leader.vacant.is_none();
        let starts = is_well && service.spec.options.recover.mode == Mode::Automatic;
        let waiting = service.canary.take().map(|canary| canary.waiting);
        let servers = &mut service.servers;
        let ids = waiting.into_iter().flatten().filter_map(|index| {
            let server = servers.get_mut(index)?;
            server.follows = false;
            Some(server.id)
        });
        let ids: Vec<_> = ids.collect();
        for id in ids {
            self.with(now, id, out, |work| work.start_or_judge(starts));
        }
        true
    }
}

impl ServerContext<'_> {
    /// The incident that it belonged to is over: it is started, or judged by itself.
    fn start_or_judge(&mut self, starts: bool) {
        let is_at_work = self.server.case.is_some() || self.server.routine.is_some();
        let is_out = self.server.held.is_some() || self.server.vacant.is_some();
        if !self.server.facts.process.has_failed() || is_at_work || is_out {
            return;
        }
        let (now, recover) = (self.now, &self.spec.options.recover);
        let is_wanting = self.capacity.allows(recover.keep_serving).is_err();
        let is_allowed = is_wanting || self.server.repairs.within_limit(now, recover.limit);
        let starts = starts && is_allowed && self.server.managed.restarts();
        let kind = FaultKind::CannotStart;
        if starts && self.order_routine(PlannedKind::Restart, Author::Evenkeel, kind) {
            self.server
                .repairs
                .note(now, ServerChange::Start, &recover.backoff);
            self.server.facts.process.replaced();
        } else {
            self.process_down();
        }
    }
}
