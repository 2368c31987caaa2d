//! The names that are served, and the servers behind them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evenkeel_core::{Random, ServiceId};
use hickory_proto::rr::Name;

/// The names that a listener serves, and its rate limit.
#[derive(Debug, Clone)]
pub struct DnsOptions {
    /// The names.
    pub names: Vec<DnsName>,
    /// Answers per second to clients of the same prefix (/24 of IPv4, /56 of IPv6) over UDP; 0: no limit.
    pub rate: u32,
}

/// A name that is answered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName {
    /// The name. If its first label begins with an underscore it is answered with SRV, else with A and AAAA.
    pub name: Name,
    /// The service.
    pub service: ServiceId,
    /// For how long an answer may be kept.
    pub ttl: Duration,
    /// The most servers in an answer.
    pub answers: usize,
}

/// A server for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRecord {
    /// Its name, which is one label.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// Its weight.
    pub weight: u32,
    /// Its tier.
    pub tier: u8,
}

/// The servers of services as they are now.
pub trait Servers: Send + Sync {
    /// At most `most` servers of the service that take traffic now, in the order in which its policy picks them for `client`
    /// (an address, or the network of which the client is).
    fn select(&self, service: ServiceId, client: IpAddr, most: usize) -> Vec<ServerRecord>;

    /// A server by its name, whether it takes traffic or not.
    fn find(&self, service: ServiceId, server: &str) -> Option<SocketAddr>;
}

/// How a listener matches a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameMatch<'a> {
    /// A configured name.
    Name(&'a DnsName),
    /// The name of one server, as SRV answers have it.
    Server(&'a DnsName, SocketAddr),
    /// Nothing is there, but below it there is.
    Between(&'a DnsName),
    /// Nothing is there, in a zone of ours.
    Nothing(&'a DnsName),
    /// Another's.
    Elsewhere,
}

impl DnsName {
    /// Whether it is answered with SRV.
    #[must_use]
    pub fn is_srv(&self) -> bool {
        self.name
            .iter()
            .next()
            .is_some_and(|label| label.starts_with(b"_"))
    }

    /// The name without its labels that begin with an underscore: what the names of its servers are below of.
    pub(crate) fn base(&self) -> Name {
        let underscored = self.name.iter().take_while(|label| label.starts_with(b"_"));
        let count = underscored.count();
        self.name
            .trim_to(usize::from(self.name.num_labels()) - count)
    }
}

impl DnsOptions {
    /// Matches `name`.
    pub(crate) fn place(&self, name: &Name, servers: &dyn Servers) -> NameMatch<'_> {
        if let Some(found) = self.names.iter().find(|one| one.name == *name) {
            return NameMatch::Name(found);
        }
        let parent = name.base_name();
        let mut zones = self.names.iter().filter(|one| one.base().zone_of(name));
        let Some(zone) = zones.next() else {
            return NameMatch::Elsewhere;
        };
        let label = name.iter().next().map(|label| label.to_ascii_lowercase());
        let label = label.and_then(|label| String::from_utf8(label).ok());
        for one in self.names.iter().filter(|one| one.base() == parent) {
            let found = label
                .as_deref()
                .and_then(|label| servers.find(one.service, label));
            if let Some(address) = found {
                return NameMatch::Server(one, address);
            }
        }
        let above = |one: &&DnsName| name.zone_of(&one.name);
        match self.names.iter().find(above) {
            Some(below) => NameMatch::Between(below),
            None => NameMatch::Nothing(zone),
        }
    }
}

/// The prefix of an address that identifies a client, if nothing more is known: /24 or /56.
pub(crate) fn network(address: IpAddr, v4: u8, v6: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(v4.min(32)))
                .unwrap_or(0);
            std::net::Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(v6.min(128)))
                .unwrap_or(0);
            std::net::Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

/// Puts heavier servers first more often than lighter ones, of the same tier: clients that take the first of the addresses
/// then spread by weight (Efraimidis and Spirakis 2006).
pub(crate) fn shuffle(found: &mut [ServerRecord], random: &mut Random) {
    let mut keyed: Vec<(u8, f64, ServerRecord)> = found
        .iter()
        .map(|one| {
            let key = -(1.0 - random.unit()).ln() / f64::from(one.weight.max(1));
            (one.tier, key, one.clone())
        })
        .collect();
    keyed.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    for (slot, (_, _, one)) in found.iter_mut().zip(keyed) {
        *slot = one;
    }
}
