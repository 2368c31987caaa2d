//! The servers of a service at one moment: the balancer's pool, and where each member is.
//!
//! Apart from the service because it is replaced as a whole when DNS says something new, while requests go on with the
//! one that they began with. A worker looks at one number per request to see whether there is a newer one, so servers that
//! never change cost a load of a line that nobody writes, and no request ever counts a reference that workers share.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use evenkeel_balance::{BalanceOptions, Member, Pool, ServerState};
use evenkeel_config::plan::{ServicePlan, StickyPlan};
use evenkeel_core::{Instant, LimitHint};
use evenkeel_tolerate::BreakerSnapshot;
use evenkeel_tolerate::limit::LimitSnapshot;

use crate::observe::{Watch, Watching};
use crate::sticky::Sticky;

/// The servers of a service at one moment. Immutable.
#[derive(Debug)]
pub struct Roster {
    /// Grows with each roster of the service.
    pub(crate) version: u64,
    pool: Pool,
    places: Vec<Place>,
    /// Which values clients have that belong to a server, if the service is sticky.
    pub(crate) sticky: Option<Sticky>,
    making: Option<Arc<Making>>,
    watching: Watching,
}

/// What the values of servers are made of.
#[derive(Debug)]
struct Making {
    service: String,
    plan: StickyPlan,
}

/// Where a member is.
#[derive(Debug, Clone)]
struct Place {
    /// The service and the name of the place in it, for the log.
    name: Arc<str>,
    /// Nowhere, if it is a place that is vacant.
    address: Option<SocketAddr>,
    /// The version with which this server came: tells its connections from those of the one before.
    generation: u64,
    /// What watches its attempts, if anything does.
    watch: Option<Arc<Watch>>,
    /// While its bound is found for the time of an overload: how many it may have otherwise, as the balancer has it.
    relieved: Option<u32>,
}

/// A server as DNS has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Where it is.
    pub address: SocketAddr,
    /// How much it takes beside the others.
    pub weight: u32,
    /// 0 is used first.
    pub tier: u8,
}

/// A worker's hold on a roster: one shared reference for all of its requests, which count theirs in the worker only.
#[derive(Debug)]
pub(crate) struct Seen(pub(crate) Arc<Roster>);

impl Deref for Seen {
    type Target = Roster;
    fn deref(&self) -> &Roster {
        &self.0
    }
}

impl Roster {
    pub(crate) fn new(plan: &ServicePlan, now: Instant) -> Self {
        let watching = Watching::of(plan);
        let members = plan.servers.iter().map(|server| Member {
            identity: identity(server.address),
            state: Arc::new(ServerState::new()),
            weight: server.weight,
            tier: server.tier,
            near: server.near,
            max_requests: watching.most(server.max_requests),
        });
        let making = plan.sticky.as_ref().map(|sticky| Making {
            service: plan.name.clone(),
            plan: sticky.clone(),
        });
        let members: Vec<Member> = members.collect();
        let places = plan.servers.iter().zip(&members);
        let places = places.map(|(server, member)| {
            let name = format!("{}/{}", plan.name, server.name).into();
            Place {
                address: server.address,
                generation: 0,
                watch: watching.begin(now, &name, member),
                name,
                relieved: None,
            }
        });
        let places = places.collect();
        Self::build(
            0,
            plan.balance.clone(),
            members,
            places,
            (making.map(Arc::new), watching),
        )
    }

    /// The next one, with `changes` by the place in the list. Who comes to a place is a new server, and starts slowly if
    /// others serve already; who stays keeps its state.
    pub(crate) fn with(&self, changes: &[(u32, Option<Joined>)], now: Instant) -> Self {
        let version = self.version + 1;
        let is_warm = self.pool.in_service(now) > 0;
        let (mut members, mut places) = (self.pool.members().to_vec(), self.places.clone());
        for (index, joined) in changes {
            let place = *index as usize;
            let (Some(member), Some(place)) = (members.get_mut(place), places.get_mut(place))
            else {
                continue;
            };
            let address = joined.map(|joined| joined.address);
            if let Some(joined) = joined {
                (member.weight, member.tier) = (joined.weight, joined.tier);
                if place.address != address {
                    member.identity = identity(address);
                    member.state = Arc::new(ServerState::new());
                    if is_warm {
                        member.state.join(now);
                    }
                }
            }
            if place.address != address {
                // What comes in an overload is bounded when there is one the next time.
                if let Some(bound) = place.relieved.take() {
                    member.max_requests = bound;
                }
                let watching = self.watching;
                place.watch = address.and_then(|_| watching.begin(now, &place.name, member));
                (place.address, place.generation) = (address, version);
            }
        }
        self.next(members, places, self.pool.fails_over())
    }

    /// The next one, in which the bound of each server that has none is found, for the time of an overload: beginning with these
    /// hints, by the place in the list. Without hints, the next one in which that is over. It fails over, or not any more.
    pub(crate) fn ordered(&self, hints: &[LimitHint], fails_over: bool, now: Instant) -> Self {
        let (mut members, mut places) = (self.pool.members().to_vec(), self.places.clone());
        for (index, (member, place)) in members.iter_mut().zip(&mut places).enumerate() {
            match (place.relieved, hints.get(index)) {
                (None, Some(hint)) if place.address.is_some() && self.is_unbounded(member) => {
                    let watch = Watch::relieving(place.watch.as_deref(), member, *hint, now);
                    place.watch = Some(watch);
                    place.relieved = Some(member.max_requests);
                    member.max_requests = u32::MAX;
                }
                (Some(bound), None) => {
                    place.watch = (place.watch.as_ref()).and_then(|watch| watch.relieved(member));
                    place.relieved = None;
                    member.max_requests = bound;
                }
                _ => {}
            }
        }
        self.next(members, places, fails_over)
    }

    fn next(&self, members: Vec<Member>, places: Vec<Place>, fails_over: bool) -> Self {
        let options = self.pool.options().clone();
        let parts = (self.making.clone(), self.watching);
        let mut next = Self::build(self.version + 1, options, members, places, parts);
        next.pool = next.pool.failing_over(fails_over);
        next
    }

    /// A server with a breaker and nothing else has the greatest number for a bound.
    const fn is_unbounded(&self, member: &Member) -> bool {
        !self.watching.finds_bounds() && matches!(member.max_requests, 0 | u32::MAX)
    }

    fn build(
        version: u64,
        options: BalanceOptions,
        members: Vec<Member>,
        places: Vec<Place>,
        (making, watching): (Option<Arc<Making>>, Watching),
    ) -> Self {
        let vacant: Vec<u32> = (0_u32..)
            .zip(&places)
            .filter(|(_, place)| place.address.is_none())
            .map(|(index, _)| index)
            .collect();
        let sticky = making.as_ref().map(|making| {
            let identities = members.iter().map(|member| &*member.identity);
            Sticky::new(&making.plan, &making.service, identities)
        });
        Self {
            version,
            pool: Pool::with_vacant(options, members, &vacant),
            places,
            sticky,
            making,
            watching,
        }
    }

    /// The servers as the balancer sees them, each at its place in the service's list.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Where a server is; nowhere if its place is vacant.
    #[must_use]
    pub fn address(&self, index: u32) -> Option<SocketAddr> {
        self.places.get(index as usize)?.address
    }

    /// The address of the first server that has one.
    pub(crate) fn first_address(&self) -> Option<SocketAddr> {
        self.places.iter().find_map(|place| place.address)
    }

    /// What watches a server's attempts, if anything does.
    pub(crate) fn watch(&self, index: u32) -> Option<&Watch> {
        self.places.get(index as usize)?.watch.as_deref()
    }

    /// A server's bound as it was found, and why it is what it is; nothing if it is not to be found.
    #[must_use]
    pub fn limit(&self, index: u32) -> Option<LimitSnapshot> {
        let in_flight = self.pool.members().get(index as usize)?.state.in_flight();
        Some(self.watch(index)?.adaptive.as_ref()?.snapshot(in_flight))
    }

    /// What a server's breaker knows, if it has one.
    #[must_use]
    pub fn breaker(&self, index: u32, now: Instant) -> Option<BreakerSnapshot> {
        Some(self.watch(index)?.breaker.as_ref()?.breaker.snapshot(now))
    }

    /// Tells the server that is at this place from those that were before.
    pub(crate) fn generation(&self, index: u32) -> u64 {
        self.places
            .get(index as usize)
            .map_or(0, |place| place.generation)
    }
}

fn identity(address: Option<SocketAddr>) -> Arc<str> {
    address
        .map_or_else(String::new, |address| address.to_string())
        .into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_balance::{Policy, Standing};

    use super::*;

    fn roster(addresses: &[Option<u16>]) -> Roster {
        let member = |address: &Option<SocketAddr>| Member {
            identity: identity(*address),
            state: Arc::new(ServerState::new()),
            weight: 1,
            tier: 0,
            near: false,
            max_requests: 0,
        };
        let addresses: Vec<_> = addresses.iter().map(|port| port.map(at)).collect();
        let place = |address: &Option<SocketAddr>| Place {
            name: "shop/a".into(),
            address: *address,
            generation: 0,
            watch: None,
            relieved: None,
        };
        let options = BalanceOptions {
            policy: Policy::RoundRobin,
            panic_below: 0.5,
            slow_start: Duration::from_secs(10),
            bounded_load: None,
            maglev_table: 251,
            overprovisioning: 1.4,
            subset: None,
        };
        Roster::build(
            0,
            options,
            addresses.iter().map(member).collect(),
            addresses.iter().map(place).collect(),
            (None, Watching::default()),
        )
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
    fn who_stays_keeps_its_state_and_who_comes_is_new() {
        let now = Instant::from_millis(5);
        let first = roster(&[Some(1), Some(2), None]);
        let next = first.with(
            &[(0, joined(1, 7)), (1, joined(3, 1)), (2, joined(4, 1))],
            now,
        );
        let state =
            |roster: &Roster, place: usize| Arc::clone(&roster.pool().members()[place].state);
        assert!(Arc::ptr_eq(&state(&first, 0), &state(&next, 0)));
        assert!(!Arc::ptr_eq(&state(&first, 1), &state(&next, 1)));
        assert_eq!(next.pool().members()[0].weight, 7);
        assert_eq!((next.generation(0), next.generation(1)), (0, 1));
        assert_eq!(state(&next, 0).standing(now), Standing::InService);
        assert_eq!(state(&next, 1).standing(now), Standing::Warming);
        assert_eq!(&*next.pool().members()[1].identity, "127.0.0.1:3");

        let last = next.with(&[(1, None)], now);
        assert_eq!(last.address(1), None);
        assert_eq!(last.generation(1), 2, "its connections are nobody's");
        assert_eq!(last.pool().in_service(now), 2);
    }

    #[test]
    fn the_first_ones_do_not_start_slowly() {
        let now = Instant::from_millis(5);
        let next = roster(&[None, None]).with(&[(0, joined(1, 1)), (1, joined(2, 1))], now);
        for member in next.pool().members() {
            assert_eq!(member.state.standing(now), Standing::InService);
        }
    }
}
