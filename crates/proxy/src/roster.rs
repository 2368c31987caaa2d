//! The servers of a service at one moment: the balancer's pool, and where each member is.
//!
//! Apart from the service because it is replaced as a whole when DNS says something new, while requests go on with the
//! one that they began with. A worker looks at one number per request to see whether there is a newer one, so servers that
//! never change cost a load of a line that nobody writes, and no request ever counts a reference that workers share.

use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel_balance::{BalanceOptions, Member, Pool, ServerState};
use evenkeel_config::plan::ServicePlan;
use evenkeel_core::Instant;

/// The servers of a service at one moment. Immutable.
#[derive(Debug)]
pub struct Roster {
    /// Grows with each roster of the service.
    pub(crate) version: u64,
    pool: Pool,
    places: Vec<Place>,
}

/// Where a member is.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Nowhere, if it is a place that is vacant.
    address: Option<SocketAddr>,
    /// The version with which this server came: tells its connections from those of the one before.
    generation: u64,
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

impl Roster {
    pub(crate) fn new(plan: &ServicePlan) -> Self {
        let members = plan.servers.iter().map(|server| Member {
            identity: identity(server.address),
            state: Arc::new(ServerState::new()),
            weight: server.weight,
            tier: server.tier,
        });
        let places = plan.servers.iter().map(|server| Place {
            address: server.address,
            generation: 0,
        });
        Self::build(0, plan.balance.clone(), members.collect(), places.collect())
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
                *place = Place {
                    address,
                    generation: version,
                };
            }
        }
        Self::build(version, self.pool.options().clone(), members, places)
    }

    fn build(
        version: u64,
        options: BalanceOptions,
        members: Vec<Member>,
        places: Vec<Place>,
    ) -> Self {
        let vacant: Vec<u32> = (0_u32..)
            .zip(&places)
            .filter(|(_, place)| place.address.is_none())
            .map(|(index, _)| index)
            .collect();
        Self {
            version,
            pool: Pool::with_vacant(options, members, &vacant),
            places,
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

    /// Tells the server that is at this place from those that were before.
    pub(crate) fn generation(&self, index: u32) -> u64 {
        self.places
            .get(index as usize)
            .map_or(0, |place| place.generation)
    }
}

fn identity(address: Option<SocketAddr>) -> Arc<str> {
    address.map_or_else(String::new, |address| address.to_string()).into()
}
