//! Servers of a service that cannot start, most likely for one cause: a new version, a changed configuration.
//!
//! One of them, the canary, is started again with exponential back-off. The others belong to its incident and wait:
//! once the canary is verified they are started too. If its incident ends in another way, each is judged by itself
//! again.

use evenkeel_core::Instant;

use crate::contract::{Output, ProbePace};
use crate::kind::FaultKind;
use crate::policy::Mode;
use crate::recover::{Author, ServerChange};

use super::Keeper;
use super::server::WatchedServer;
use super::service::Canary;
use super::shown::PlannedKind;

impl WatchedServer {
    /// Whether it is one more that cannot start, with an incident that may end in the canary's.
    fn may_follow(&self) -> bool {
        let is_untouched = |case: &super::case::Case| !case.awaits_action() && !case.by_person;
        self.cannot_start()
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
            if service.failed_starts < 2
                || service.is_suspended()
                || service.spec.options.recover.mode == Mode::Off
            {
                continue;
            }
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

    /// The first that was found to be unable to start, if there are others.
    fn choose_canary(&mut self, slot: usize) {
        let service = &mut self.services[slot];
        if service.canary.is_some() {
            return;
        }
        let candidates = service.servers.iter().enumerate();
        let candidates = candidates.filter(|(_, server)| server.may_follow());
        let detected = candidates.filter_map(|(index, server)| {
            let case = server.case.as_deref()?;
            Some((case.detected, index, case.incident.id.clone()))
        });
        let mut detected: Vec<_> = detected.collect();
        if detected.len() < 2 {
            return;
        }
        detected.sort_unstable();
        let (_, index, incident) = detected.swap_remove(0);
        service.canary = Some(Canary {
            index,
            incident,
            waiting: Vec::new(),
        });
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
        self.with(now, follower, out, |work| {
            work.merged(&into);
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
            let text = format!("{name} cannot start either, and waits for this one");
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
        let is_well = leader.facts.process.down.is_none();
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
            self.with(now, id, out, |work| {
                let is_at_work = work.server.case.is_some() || work.server.routine.is_some();
                if !work.server.cannot_start() || is_at_work {
                    return;
                }
                let recover = &work.spec.options.recover;
                let is_wanting = work.capacity.allows(recover.keep_serving).is_err();
                let is_allowed = is_wanting || work.server.repairs.within_limit(now, recover.limit);
                let starts = starts && is_allowed && work.server.managed.restarts();
                let kind = FaultKind::CannotStart;
                if starts && work.order_routine(PlannedKind::Restart, Author::Evenkeel, kind) {
                    work.server
                        .repairs
                        .note(now, ServerChange::Start, &recover.backoff);
                    work.server.facts.process.replaced();
                } else {
                    work.process_down();
                }
            });
        }
        true
    }
}
