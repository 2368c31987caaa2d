//! The servers of a service at one moment: the balancer's pool, and the address of each member.
//!
//! Apart from the service because it is replaced as a whole when DNS has a new answer, while a request keeps the set that it
//! began with. A worker compares one version number per request to see whether there is a newer set, so servers that never
//! change cost a load of a cache line that nobody writes, and no request counts a reference that workers share.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::{BalanceOptions, Member, Pool, ServerState};
use evenkeel_core::{Endpoint, Instant, LimitHint};
use evenkeel_tolerate::BreakerSnapshot;
use evenkeel_tolerate::limit::LimitSnapshot;

use super::sticky::{Sticky, StickyOptions};
use super::watch::{Watch, WatchOptions};

/// For so long a server whose process is started is left alone before anybody says more about it: as long as a directive lasts, so that
/// without a fault path it is used as any other.
const STARTS: Duration = Duration::from_secs(5);

/// One server of a service, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Its slot: what knows it by index goes on knowing it while others come and go.
    pub index: u32,
    /// Its name, unique in the service and not empty.
    pub name: String,
    /// Its address, if it is known now; one from DNS may come, change and go.
    pub address: Option<Endpoint>,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Its tier: 0 is primary, 1 is backup.
    pub tier: u8,
    /// Whether it is in the zone in which evenkeel runs.
    pub near: bool,
    /// The most requests that it has at once; 0: no bound.
    pub max_requests: u32,
    /// Whether its process has to be started first: as a new server it takes nothing until it is said to be ready, or for 5 s if
    /// nobody says anything.
    pub starts: bool,
}

impl ServerOptions {
    /// A server for tests, of weight 1 and without a bound. Its name is that of its group with its index.
    #[doc(hidden)]
    #[must_use]
    pub fn plain(index: u32, group: &str, address: Endpoint) -> Self {
        Self {
            index,
            name: format!("{group}-{index}"),
            address: Some(address),
            weight: 1,
            tier: 0,
            near: false,
            max_requests: 0,
            starts: false,
        }
    }
}

/// What a set of servers is made with, beside the servers.
#[derive(Debug, Clone)]
pub(super) struct SetOptions {
    pub(super) service: String,
    pub(super) balance: BalanceOptions,
    pub(super) sticky: Option<StickyOptions>,
    pub(super) watch: WatchOptions,
}

/// The servers of a service at one moment. Immutable.
#[derive(Debug)]
pub struct ServerSet {
    version: u64,
    pool: Pool,
    slots: Vec<ServerSlot>,
    /// Which values of clients belong to which server, if the service is sticky.
    sticky: Option<Sticky>,
    options: Arc<SetOptions>,
}

/// The address of a member.
#[derive(Debug, Clone)]
struct ServerSlot {
    /// The names of the service and of the server, for the log: `service/server`. Nothing behind the stroke if the slot is free.
    name: Arc<str>,
    /// The address that is configured; `None` if it is DNS that fills the slot.
    configured: Option<Endpoint>,
    /// `None` while the slot is vacant.
    address: Option<Endpoint>,
    /// The version with which this server came: tells its connections from those of its predecessor.
    generation: u64,
    /// What watches its attempts, if anything does.
    watch: Option<Arc<Watch>>,
    /// While its limit is found for the time of an overload: its configured limit, as the balancer has it.
    relieved: Option<u32>,
}

/// A server as DNS has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Its address.
    pub address: SocketAddr,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Its tier: 0 is used first.
    pub tier: u8,
}

/// A worker's reference to a set of servers: one shared reference for all of its requests, which count theirs in the worker only.
#[derive(Debug)]
pub struct CachedServerSet(pub Arc<ServerSet>);

impl Deref for CachedServerSet {
    type Target = ServerSet;
    fn deref(&self) -> &ServerSet {
        &self.0
    }
}

impl ServerSet {
    pub(super) fn new(servers: &[ServerOptions], options: &SetOptions, now: Instant) -> Self {
        let none = Self::build(0, Vec::new(), Vec::new(), Arc::new(options.clone()));
        let (members, slots) = none.reconfigured_slots(servers, (options.watch, 0), now);
        Self::build(0, members, slots, none.options)
    }

    /// The next one, with these servers and options. A server that keeps its name and its address keeps its state; one from DNS keeps what
    /// DNS says of it as well. Another one is new, and starts slowly if others serve already; one whose process has yet to be started takes
    /// nothing. A slot without a server is free.
    pub(super) fn reconfigured(
        &self,
        servers: &[ServerOptions],
        options: SetOptions,
        now: Instant,
    ) -> Self {
        let version = self.version + 1;
        let (members, slots) = self.reconfigured_slots(servers, (options.watch, version), now);
        let next = Self::build(version, members, slots, Arc::new(options));
        Self {
            pool: next.pool.failing_over(self.pool.fails_over()),
            ..next
        }
    }

    fn reconfigured_slots(
        &self,
        servers: &[ServerOptions],
        (watch, version): (WatchOptions, u64),
        now: Instant,
    ) -> (Vec<Member>, Vec<ServerSlot>) {
        let is_warm = self.pool.in_service(now) > 0;
        let last = servers.iter().map(|server| server.index as usize + 1).max();
        let length = last.unwrap_or(0).max(self.slots.len());
        let mut configured = vec![None; length];
        for server in servers {
            configured[server.index as usize] = Some(server);
        }
        let slots = configured.iter().enumerate().map(|(index, server)| {
            let known = self.slots.get(index).zip(self.pool.members().get(index));
            match (server, known) {
                (Some(server), Some(known)) if self.is_same(known.0, server) => {
                    self.kept(known, server, watch, now)
                }
                (Some(server), known) => {
                    let (member, slot) = self.joined(server, (watch, version), now);
                    if server.starts {
                        member.state.starts(now + STARTS);
                    } else if is_warm && slot.address.is_some() {
                        member.state.join(now);
                    }
                    if let Some((before, known)) = known
                        && self.name_in(before) == server.name
                    {
                        member.state.stays_out_with(&known.state);
                    }
                    (member, slot)
                }
                (None, _) => self.free(version),
            }
        });
        slots.unzip()
    }

    /// Whether the slot has this server already.
    fn is_same(&self, slot: &ServerSlot, server: &ServerOptions) -> bool {
        self.name_in(slot) == server.name && slot.configured == server.address
    }

    /// A server that stays.
    fn kept(
        &self,
        (slot, member): (&ServerSlot, &Member),
        server: &ServerOptions,
        watch: WatchOptions,
        now: Instant,
    ) -> (Member, ServerSlot) {
        let (mut member, mut slot) = (member.clone(), slot.clone());
        if slot.configured.is_some() || slot.address.is_none() {
            (member.weight, member.tier) = (server.weight, server.tier);
        }
        member.near = server.near;
        let limit = watch.max_requests(server.max_requests);
        let stays_unlimited = !watch.finds_limits() && matches!(limit, 0 | u32::MAX);
        if slot.relieved.is_some() && !stays_unlimited {
            slot.watch = (slot.watch.as_ref()).and_then(|watch| watch.relieved(&member));
            slot.relieved = None;
        }
        member.max_requests = match &mut slot.relieved {
            Some(relieved) => {
                *relieved = limit;
                u32::MAX
            }
            None => limit,
        };
        if slot.address.is_some() {
            let before = (self.options.watch, slot.watch.as_ref());
            let is_relieved = slot.relieved.is_some();
            slot.watch = watch.follow(before, is_relieved, now, (&slot.name, &member));
        }
        (member, slot)
    }

    /// A server that is new in its slot.
    fn joined(
        &self,
        server: &ServerOptions,
        (watch, version): (WatchOptions, u64),
        now: Instant,
    ) -> (Member, ServerSlot) {
        let member = Member {
            identity: identity(server.address.as_ref()),
            state: Arc::new(ServerState::new()),
            weight: server.weight,
            tier: server.tier,
            near: server.near,
            max_requests: watch.max_requests(server.max_requests),
        };
        let name = format!("{}/{}", self.options.service, server.name).into();
        let slot = ServerSlot {
            configured: server.address.clone(),
            address: server.address.clone(),
            generation: version,
            watch: watch.begin(now, &name, &member),
            name,
            relieved: None,
        };
        (member, slot)
    }

    /// A slot that no server is configured for.
    fn free(&self, version: u64) -> (Member, ServerSlot) {
        let member = Member {
            identity: identity(None),
            state: Arc::new(ServerState::new()),
            weight: 1,
            tier: 0,
            near: false,
            max_requests: 0,
        };
        let slot = ServerSlot {
            name: format!("{}/", self.options.service).into(),
            configured: None,
            address: None,
            generation: version,
            watch: None,
            relieved: None,
        };
        (member, slot)
    }

    /// The next one, with `changes` by the slot. A server that joins is new, and starts slowly if others serve already; one that
    /// stays keeps its state.
    pub(super) fn with(&self, changes: &[(u32, Option<Joined>)], now: Instant) -> Self {
        let version = self.version + 1;
        let is_warm = self.pool.in_service(now) > 0;
        let (mut members, mut slots) = (self.pool.members().to_vec(), self.slots.clone());
        for (index, joined) in changes {
            let index = *index as usize;
            let (Some(member), Some(slot)) = (members.get_mut(index), slots.get_mut(index)) else {
                continue;
            };
            let address = joined.map(|joined| Endpoint::Tcp(joined.address));
            if let Some(joined) = joined {
                (member.weight, member.tier) = (joined.weight, joined.tier);
                if slot.address != address {
                    member.identity = identity(address.as_ref());
                    member.state = Arc::new(ServerState::new());
                    if is_warm {
                        member.state.join(now);
                    }
                }
            }
            if slot.address != address {
                // A server that joins during an overload gets its limit with the next one.
                if let Some(limit) = slot.relieved.take() {
                    member.max_requests = limit;
                }
                let watch = self.options.watch;
                slot.watch = (address.as_ref()).and_then(|_| watch.begin(now, &slot.name, member));
                (slot.address, slot.generation) = (address, version);
            }
        }
        self.next(members, slots, self.pool.fails_over())
    }

    /// The next one, in which the limit of each server that has none is found, for the time of an overload, beginning with these
    /// hints; without hints the overload is over. `fails_over`: the first tier gives way to those behind it.
    pub(super) fn ordered(&self, hints: &[LimitHint], fails_over: bool, now: Instant) -> Self {
        let (mut members, mut slots) = (self.pool.members().to_vec(), self.slots.clone());
        for (index, (member, slot)) in members.iter_mut().zip(&mut slots).enumerate() {
            match (slot.relieved, hints.get(index)) {
                (None, Some(hint)) if slot.address.is_some() && self.is_unlimited(member) => {
                    let watch = Watch::relieving(slot.watch.as_deref(), member, *hint, now);
                    slot.watch = Some(watch);
                    slot.relieved = Some(member.max_requests);
                    member.max_requests = u32::MAX;
                }
                (Some(limit), None) => {
                    slot.watch = (slot.watch.as_ref()).and_then(|watch| watch.relieved(member));
                    slot.relieved = None;
                    member.max_requests = limit;
                }
                (None, Some(_) | None) | (Some(_), Some(_)) => {}
            }
        }
        self.next(members, slots, fails_over)
    }

    fn next(&self, members: Vec<Member>, slots: Vec<ServerSlot>, fails_over: bool) -> Self {
        let options = Arc::clone(&self.options);
        let mut next = Self::build(self.version + 1, members, slots, options);
        next.pool = next.pool.failing_over(fails_over);
        next
    }

    /// A server with a breaker and nothing else has the greatest number as its limit.
    fn is_unlimited(&self, member: &Member) -> bool {
        !self.options.watch.finds_limits() && matches!(member.max_requests, 0 | u32::MAX)
    }

    fn build(
        version: u64,
        members: Vec<Member>,
        slots: Vec<ServerSlot>,
        options: Arc<SetOptions>,
    ) -> Self {
        let vacant: Vec<u32> = (0_u32..)
            .zip(&slots)
            .filter(|(_, slot)| slot.address.is_none())
            .map(|(index, _)| index)
            .collect();
        let sticky = options.sticky.as_ref().map(|sticky| {
            let identities = members.iter().map(|member| &*member.identity);
            Sticky::new(sticky, &options.service, identities)
        });
        Self {
            version,
            pool: Pool::with_vacant(options.balance.clone(), members, &vacant),
            slots,
            sticky,
            options,
        }
    }

    /// Grows with each set of the service.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Which values of clients belong to which server, if the service is sticky.
    #[must_use]
    pub const fn sticky(&self) -> Option<&Sticky> {
        self.sticky.as_ref()
    }

    /// The name of the server in this slot; empty if the slot is free.
    #[must_use]
    pub fn name(&self, index: u32) -> &str {
        let slot = self.slots.get(index as usize);
        slot.map_or("", |slot| self.name_in(slot))
    }

    fn name_in<'s>(&self, slot: &'s ServerSlot) -> &'s str {
        slot.name
            .get(self.options.service.len() + 1..)
            .unwrap_or("")
    }

    /// The servers that are configured, by their slots; those from DNS also while they are absent.
    pub fn names(&self) -> impl Iterator<Item = (u32, &str)> {
        let names = (0..).zip(self.slots.iter().map(|slot| self.name_in(slot)));
        names.filter(|(_, name)| !name.is_empty())
    }

    /// The servers as the balancer sees them, each at its slot.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A server's address; `None` if its slot is vacant.
    #[must_use]
    pub fn address(&self, index: u32) -> Option<&Endpoint> {
        self.slots.get(index as usize)?.address.as_ref()
    }

    /// The address of the first server that has one.
    #[must_use]
    pub fn first_address(&self) -> Option<&Endpoint> {
        self.slots.iter().find_map(|slot| slot.address.as_ref())
    }

    /// What watches a server's attempts, if anything does.
    pub(crate) fn watch(&self, index: u32) -> Option<&Watch> {
        self.slots.get(index as usize)?.watch.as_deref()
    }

    /// A server's concurrency limit as it was found, and why it is what it is; `None` if it is not to be found.
    #[must_use]
    pub fn limit(&self, index: u32) -> Option<LimitSnapshot> {
        let in_flight = self.pool.members().get(index as usize)?.state.in_flight();
        self.watch(index)?.limit(in_flight)
    }

    /// The state of a server's circuit breaker, if it has one.
    #[must_use]
    pub fn breaker(&self, index: u32, now: Instant) -> Option<BreakerSnapshot> {
        self.watch(index)?.breaker(now)
    }

    /// Tells the server in this slot from its predecessors.
    #[must_use]
    pub fn generation(&self, index: u32) -> u64 {
        self.slots
            .get(index as usize)
            .map_or(0, |slot| slot.generation)
    }
}

fn identity(address: Option<&Endpoint>) -> Arc<str> {
    address.map_or_else(String::new, Endpoint::to_string).into()
}

#[cfg(test)]
mod tests {
    use evenkeel_balance::Availability;

    use super::super::tests::{options, server};
    use super::*;

    fn set(addresses: &[Option<u16>]) -> ServerSet {
        let options = options(0);
        let with_port = |(index, port): (u16, &Option<u16>)| ServerOptions {
            address: port.map(|port| at(port).into()),
            ..server(index)
        };
        let servers: Vec<_> = (0..).zip(addresses).map(with_port).collect();
        let options = SetOptions {
            service: options.name,
            balance: options.balance,
            sticky: None,
            watch: options.watch,
        };
        ServerSet::new(&servers, &options, Instant::ZERO)
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn joined(port: u16, weight: u32) -> Option<Joined> {
        Some(Joined {
            address: at(port),
            weight,
            tier: 1,
        })
    }

    #[test]
    fn a_server_that_stays_keeps_its_state_and_one_that_joins_is_new() {
        let now = Instant::from_millis(5);
        let first = set(&[Some(1), Some(2), None]);
        let next = first.with(
            &[(0, joined(1, 7)), (1, joined(3, 1)), (2, joined(4, 1))],
            now,
        );
        let state = |set: &ServerSet, index: usize| Arc::clone(&set.pool().members()[index].state);
        assert!(Arc::ptr_eq(&state(&first, 0), &state(&next, 0)));
        assert!(!Arc::ptr_eq(&state(&first, 1), &state(&next, 1)));
        assert_eq!(next.pool().members()[0].weight, 7);
        assert_eq!((next.generation(0), next.generation(1)), (0, 1));
        assert_eq!(state(&next, 0).standing(now), Availability::InService);
        assert_eq!(state(&next, 1).standing(now), Availability::Warming);
        assert_eq!(&*next.pool().members()[1].identity, "127.0.0.1:3");

        let last = next.with(&[(1, None)], now);
        assert_eq!(last.address(1), None);
        assert_eq!(last.generation(1), 2, "its connections are nobody's");
        assert_eq!(last.pool().in_service(now), 2);
    }

    #[test]
    fn the_first_ones_do_not_start_slowly() {
        let now = Instant::from_millis(5);
        let next = set(&[None, None]).with(&[(0, joined(1, 1)), (1, joined(2, 1))], now);
        for member in next.pool().members() {
            assert_eq!(member.state.standing(now), Availability::InService);
        }
    }
}
