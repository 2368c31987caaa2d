//! What must hold of requests that wait: none is forgotten in the queue while a server has room for it, and none is held for a server that
//! nobody repairs.

use std::time::Duration;

use evenkeel_core::{Instant, ServiceId};

use crate::world::World;

/// A request that waits although a server has had room for so long, or although nothing is to be waited for, was forgotten.
const FORGOTTEN: Duration = Duration::from_millis(100);
/// For so long after a change requests may know other servers than those of now.
const CHANGING: Duration = Duration::from_secs(2);

/// Since when those that wait at a service have nothing to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// The version of the service's servers, and since when it is known.
    version: (u64, Instant),
    /// Requests wait in the queue although a server has room.
    has_room: Option<Instant>,
    /// Requests are held although a server is in service, or none is being repaired.
    holds_for_nothing: Option<Instant>,
}

impl Idle {
    /// Nobody waits.
    pub(crate) const NEVER: Self = Self {
        version: (0, Instant::ZERO),
        has_room: None,
        holds_for_nothing: None,
    };
}

impl World<'_> {
    /// Checks those that wait at a service, in the queue or for a server to come back.
    pub(crate) fn check_waiting(&mut self, service: usize) {
        let now = self.now;
        let shared = &self.services[service];
        let idle = &mut self.idle[service];
        if idle.version.0 != shared.version() {
            idle.version = (shared.version(), now);
        }
        if now.since(idle.version.1) < CHANGING {
            (idle.has_room, idle.holds_for_nothing) = (None, None);
            return;
        }
        self.check_queue(service);
        self.check_held(service);
    }

    /// A server's room is not left unused while somebody waits for it.
    fn check_queue(&mut self, service: usize) {
        let now = self.now;
        let shared = &self.services[service];
        let has_room = &mut self.idle[service].has_room;
        if shared.waiting() == 0 || !shared.servers().pool().has_room(now) {
            *has_room = None;
            return;
        }
        let since = *has_room.get_or_insert(now);
        assert!(
            !self.has_forgotten(service, since),
            "one waits at {} although a server has room: {:?}",
            shared.name(),
            self.members(service)
        );
    }

    /// Whether one waits there for so long while a server has had room and its worker was not stuck, and may go to any. Who has been on the
    /// server with room waits for another.
    fn has_forgotten(&self, service: usize, room_since: Instant) -> bool {
        let requests = self.requests.iter().flatten();
        let on_it = requests.filter(|it| it.exchange.service_id().0 as usize == service);
        let mut new = on_it.filter(|it| it.books.attempts.is_empty());
        new.any(|it| {
            let since = it.books.queued_since();
            let could = room_since.max(self.stuck_until[it.worker]);
            since.is_some_and(|since| self.now.since(since.max(could)) >= FORGOTTEN)
        })
    }

    /// Only so many are held, and none that has met no server while one serves or none is being repaired.
    fn check_held(&mut self, service: usize) {
        let now = self.now;
        let shared = &self.services[service];
        let most = crate::plan::held_at_most(ServiceId(service as u32));
        assert!(shared.held() <= most, "{} are held", shared.held());
        let for_nothing = &mut self.idle[service].holds_for_nothing;
        let set = shared.servers();
        let is_due = set.pool().in_service(now) == 0 && set.pool().is_being_repaired(now);
        if shared.held() == 0 || is_due {
            *for_nothing = None;
            return;
        }
        let since = *for_nothing.get_or_insert(now);
        let requests = self.requests.iter().flatten();
        let mut on_it = requests.filter(|it| it.exchange.service_id().0 as usize == service);
        let forgotten = on_it.find(|it| {
            let held = it.books.held_new_since();
            let could = since.max(self.stuck_until[it.worker]);
            held.is_some_and(|held| now.since(held.max(could)) >= FORGOTTEN)
        });
        assert!(
            forgotten.is_none(),
            "{:?} is held at {}: {:?}",
            forgotten.map(|it| &it.books),
            shared.name(),
            self.members(service)
        );
    }

    /// Checks whether anybody still waits for a server to come back where no request does any more, or not for now.
    pub(crate) fn check_ended_holds(&self, service: usize) {
        let books = &self.books[service];
        for ended in [books.holds_ended, books.maintenance_since] {
            let stuck = self.stuck_until.iter().copied().max().unwrap_or_default();
            let is_over = ended.is_some_and(|ended| self.now.since(ended.max(stuck)) >= FORGOTTEN);
            assert!(!is_over || self.services[service].held() == 0, "still held");
        }
    }

    /// How the servers of a service stand, what they have in flight, at most how much, and their breakers.
    fn members(&self, service: usize) -> Vec<impl std::fmt::Debug + use<>> {
        let set = self.services[service].servers();
        let members = (0..).zip(set.pool().members());
        let shown = members.map(|(index, member)| {
            let standing = member.state.standing(self.now);
            let breaker = set.breaker(index, self.now);
            (standing, member.state.in_flight(), member.bound(), breaker)
        });
        shown.collect()
    }
}
