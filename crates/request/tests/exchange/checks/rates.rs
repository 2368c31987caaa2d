//! Rate limits, counted another way: a bucket for each limit and key, in billionths of a token. Exact for rates that divide a billion or
//! twice that, as those of the simulation do.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_core::{Instant, ServiceId};
use evenkeel_request::route::RateRule;
use evenkeel_request::{Cause, HashOn};

use crate::host::Facts;

const TOKEN: u64 = 1_000_000_000;

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Route(usize),
    Service(ServiceId),
}

#[derive(Debug)]
struct Bucket {
    tokens: u64,
    at: Instant,
}

/// The rate limits of all services and routes.
#[derive(Debug)]
pub(crate) struct RateBooks {
    rules: BTreeMap<Owner, RateRule>,
    buckets: BTreeMap<(Owner, String), Bucket>,
}

impl RateBooks {
    /// By the rules of services and routes, in their orders.
    pub(crate) fn new(
        services: impl Iterator<Item = Option<RateRule>>,
        routes: impl Iterator<Item = Option<RateRule>>,
    ) -> Self {
        let services = (0..).map(|id| Owner::Service(ServiceId(id))).zip(services);
        let routes = (0..).map(Owner::Route).zip(routes);
        let all = services.chain(routes);
        Self {
            rules: all
                .filter_map(|(owner, rule)| Some((owner, rule?)))
                .collect(),
            buckets: BTreeMap::new(),
        }
    }

    /// A request takes its tokens: first of its route, then of its service. What it is told if there is none.
    pub(crate) fn take(
        &mut self,
        service: ServiceId,
        facts: &Facts,
        now: Instant,
    ) -> Option<Cause> {
        let route = facts.route.map(Owner::Route);
        let mut owners = route.into_iter().chain([Owner::Service(service)]);
        let wait = owners.find_map(|owner| self.take_one(owner, facts, now).err())?;
        let up = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Some(Cause::RateLimited {
            seconds: up.clamp(1, 3_600) as u32,
        })
    }

    /// How long it takes until there is a token, if there is none.
    fn take_one(&mut self, owner: Owner, facts: &Facts, now: Instant) -> Result<(), Duration> {
        let Some(rule) = self.rules.get(&owner) else {
            return Ok(());
        };
        let (per_second, burst) = (rule.rate.per_second as u64, u64::from(rule.rate.burst));
        assert_eq!(2 * TOKEN % per_second, 0, "it is not counted exactly");
        let full = Bucket {
            tokens: burst * TOKEN,
            at: now,
        };
        let key = key(rule.by.as_ref(), facts);
        let bucket = self.buckets.entry((owner, key)).or_insert(full);
        let earned = now.since(bucket.at).as_nanos() as u64 * per_second;
        bucket.tokens = (bucket.tokens + earned).min(burst * TOKEN);
        bucket.at = now;
        let Some(left) = bucket.tokens.checked_sub(TOKEN) else {
            let missing = TOKEN - bucket.tokens;
            return Err(Duration::from_nanos(missing.div_ceil(per_second)));
        };
        bucket.tokens = left;
        Ok(())
    }
}

/// What those have in common that share a bucket.
fn key(by: Option<&HashOn>, facts: &Facts) -> String {
    match by {
        None => String::new(),
        Some(HashOn::Header(name)) => facts.field(name).unwrap_or_default().to_owned(),
        Some(HashOn::SourceIp { v4, .. }) => match facts.peer {
            std::net::IpAddr::V4(peer) => (peer.to_bits() >> (32 - v4)).to_string(),
            std::net::IpAddr::V6(peer) => panic!("no client has the address {peer}"),
        },
        Some(other) => panic!("no limit is by {other:?}"),
    }
}
