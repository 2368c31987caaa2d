//! A DNS client: one query over UDP, over TCP if the answer was truncated, then the next name server if one does not
//! answer.
//!
//! Not a full resolver, since nothing is cached here: the answer's TTL says when to ask again, and the name server
//! usually caches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use evenkeel_config::plan::{AddressFamily, DiscoverPlan};
use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::membership::DiscoveredServer;

/// How long one name server may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(2);
/// More servers than this are not taken from an answer.
const MOST_SERVERS: usize = 1024;
/// The maximum number of names resolved for one set of SRV records.
const MOST_TARGETS: usize = 64;
/// The UDP answer size in queries: fits into a packet on all common networks.
const PAYLOAD: u16 = 1232;
/// An answer to only a part of the questions is good for no longer than this: the rest is asked again soon.
const PARTIAL: Duration = Duration::from_secs(30);
/// CNAMEs that are followed within an answer.
const MOST_ALIASES: usize = 16;

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsAnswer {
    /// The servers.
    pub found: Vec<DiscoveredServer>,
    /// How long it is good for: the shortest time to live of all records that were used.
    pub ttl: Duration,
    /// A question that failed although others were answered. What it said last, if anything, is in `found`.
    pub unanswered: Option<FailedQuery>,
}

/// A question that failed although others were answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedQuery {
    /// The name.
    pub name: String,
    /// The kind of record, `A` or `AAAA`.
    pub kind: RecordType,
    /// How it failed.
    pub failure: LookupFailure,
}

impl fmt::Display for FailedQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            kind,
            failure,
        } = self;
        write!(f, "the {kind} query for {name} fails ({})", failure.word())
    }
}

/// The last good answers to the single questions of a plan. One that fails later keeps what it said last, so that trouble
/// with one family or one target costs no server.
#[derive(Debug, Default)]
pub struct LastGood(BTreeMap<(Name, u16), Vec<IpAddr>>);

/// Why there is no good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LookupFailure {
    /// The name does not exist.
    NoSuchName,
    /// The name exists and has no records of the kind.
    Empty,
    /// The name server says that it failed, or that it does not want to.
    Refused,
    /// No name server answered in time.
    Silent,
    /// The response was not an answer to the query.
    Garbled,
}

impl LookupFailure {
    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoSuchName => "no-such-name",
            Self::Empty => "empty",
            Self::Refused => "server-failure",
            Self::Silent => "no-answer",
            Self::Garbled => "invalid",
        }
    }
}

/// Records of one kind for one name.
struct Records {
    records: Vec<Record>,
    ttl: u32,
}

/// One round of questions about a plan.
struct QueryRound<'a> {
    family: AddressFamily,
    resolvers: &'a [SocketAddr],
    last_good: &'a LastGood,
    /// The good answers of this round.
    good: LastGood,
    /// The shortest time to live so far.
    ttl: u32,
    /// The first question that failed.
    unanswered: Option<FailedQuery>,
    /// Whether any address is from this round.
    is_fresh: bool,
}

/// Asks for the servers of `plan`, at the name servers `resolvers`, one after the other. `last_good` is of the round
/// before, and then of this one if it is good.
///
/// # Errors
/// Why there is no good answer; nothing is known then.
pub async fn ask(
    plan: &DiscoverPlan,
    resolvers: &[SocketAddr],
    last_good: &mut LastGood,
) -> Result<DnsAnswer, LookupFailure> {
    let mut name = Name::from_ascii(&plan.name).map_err(|_| LookupFailure::NoSuchName)?;
    name.set_fqdn(true);
    let mut round = QueryRound {
        family: plan.family,
        resolvers,
        last_good,
        good: LastGood::default(),
        ttl: u32::MAX,
        unanswered: None,
        is_fresh: false,
    };
    let mut found = match plan.port {
        Some(port) => {
            let addresses = round.addresses(&name).await?;
            let found = addresses.into_iter().map(|ip| DiscoveredServer {
                address: SocketAddr::new(ip, port),
                weight: 1,
                tier: 0,
            });
            found.collect::<Vec<_>>()
        }
        None => round.of_service(&name).await?,
    };
    let QueryRound {
        good,
        ttl,
        unanswered,
        is_fresh,
        ..
    } = round;
    found.truncate(MOST_SERVERS);
    // An answer that only repeats what was known is none.
    if found.is_empty() || !is_fresh {
        return Err(unanswered.map_or(LookupFailure::Empty, |question| question.failure));
    }
    *last_good = good;
    let ttl = Duration::from_secs(ttl.into());
    Ok(DnsAnswer {
        found,
        ttl: if unanswered.is_some() {
            ttl.min(PARTIAL)
        } else {
            ttl
        },
        unanswered,
    })
}

impl QueryRound<'_> {
    /// The servers that SRV records name.
    async fn of_service(&mut self, name: &Name) -> Result<Vec<DiscoveredServer>, LookupFailure> {
        let Records { records, ttl } = question(name, RecordType::SRV, self.resolvers).await?;
        self.ttl = self.ttl.min(ttl);
        let services: Vec<_> = records
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(service) if !service.target.is_root() && service.port != 0 => {
                    Some(service)
                }
                _ => None,
            })
            .take(MOST_SERVERS)
            .collect();
        // The priorities are any numbers; tiers are counted.
        let priorities: BTreeSet<u16> = services.iter().map(|one| one.priority).collect();
        let tier = |priority: u16| {
            let place = priorities.iter().position(|one| *one == priority);
            u8::try_from(place.unwrap_or(0)).unwrap_or(u8::MAX)
        };
        let targets: BTreeSet<Name> = services
            .iter()
            .map(|one| one.target.to_lowercase())
            .collect();
        let mut known = BTreeMap::new();
        for target in targets.into_iter().take(MOST_TARGETS) {
            // A target without an address, or whose question fails, is no reason to know nothing of the others.
            if let Ok(addresses) = self.addresses(&target).await {
                known.insert(target, addresses);
            }
        }
        let mut found = Vec::new();
        for one in services {
            for ip in known.get(&one.target.to_lowercase()).into_iter().flatten() {
                found.push(DiscoveredServer {
                    address: SocketAddr::new(*ip, one.port),
                    weight: u32::from(one.weight).max(1),
                    tier: tier(one.priority),
                });
            }
        }
        Ok(found)
    }

    /// The addresses of a host, for each queried family: from this round, or from the last successful one if the query
    /// failed.
    async fn addresses(&mut self, name: &Name) -> Result<Vec<IpAddr>, LookupFailure> {
        let ask = |kind| question(name, kind, self.resolvers);
        let (ipv4, ipv6) = match self.family {
            // Both at the same time, so that a family that is never answered costs its own time only.
            AddressFamily::Any => {
                let (ipv4, ipv6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
                (Some(ipv4), Some(ipv6))
            }
            AddressFamily::Ipv4 => (Some(ask(RecordType::A).await), None),
            AddressFamily::Ipv6 => (None, Some(ask(RecordType::AAAA).await)),
        };
        let (mut found, mut failed, mut missing) = (Vec::new(), None, None);
        for (kind, answer) in [(RecordType::A, ipv4), (RecordType::AAAA, ipv6)] {
            let key = (name.clone(), u16::from(kind));
            let addresses: Vec<IpAddr> = match answer {
                Some(Ok(Records { records, ttl })) => {
                    self.ttl = self.ttl.min(ttl);
                    self.is_fresh = true;
                    let records = records.iter();
                    records.filter_map(|record| record.data.ip_addr()).collect()
                }
                // Having no address of one family is usual. A failure is not the same as having none.
                Some(Err(failure @ (LookupFailure::NoSuchName | LookupFailure::Empty))) => {
                    missing = Some(failure);
                    continue;
                }
                Some(Err(failure)) => {
                    failed = Some(failure);
                    self.unanswered.get_or_insert_with(|| FailedQuery {
                        name: name.to_string(),
                        kind,
                        failure,
                    });
                    self.last_good.0.get(&key).cloned().unwrap_or_default()
                }
                None => continue,
            };
            found.extend_from_slice(&addresses);
            self.good.0.insert(key, addresses);
        }
        match failed.or(missing) {
            Some(failure) if found.is_empty() => Err(failure),
            _ => Ok(found),
        }
    }
}

/// One question to each of the name servers until one knows.
async fn question(
    name: &Name,
    kind: RecordType,
    resolvers: &[SocketAddr],
) -> Result<Records, LookupFailure> {
    let mut last = LookupFailure::Silent;
    for resolver in resolvers {
        let asked = exchange(*resolver, name, kind);
        let answer = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                last = LookupFailure::Garbled;
                continue;
            }
            Ok(Err(_)) | Err(_) => continue,
        };
        match answer.metadata.response_code {
            ResponseCode::NoError => return read(name, kind, &answer),
            ResponseCode::NXDomain => return Err(LookupFailure::NoSuchName),
            _ => last = LookupFailure::Refused,
        }
    }
    Err(last)
}

async fn exchange(resolver: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    message
        .add_query(Query::query(name.clone(), kind))
        .set_edns(edns);
    let bytes = message.to_vec().map_err(io::Error::other)?;

    // A socket of its own for each question: another port each time is hard to guess.
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; usize::from(PAYLOAD)];
    let answer = loop {
        let length = socket.recv(&mut buffer).await?;
        // Whatever is no answer to this question may come from anybody: the right one may follow.
        if let Some(answer) = is_answer(&message, &buffer[..length]) {
            break answer;
        }
    };
    if !answer.metadata.truncation {
        return Ok(answer);
    }

    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&bytes).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    is_answer(&message, &buffer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The message in `bytes`, if it answers `question`.
fn is_answer(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let asked = question.queries.first()?;
    let same = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries.first().is_some_and(|query| {
            query.name.eq_ignore_root(&asked.name) && query.query_type == asked.query_type
        });
    same.then_some(answer)
}

/// The records for `name`, following aliases. Records for other names are ignored.
fn read(name: &Name, kind: RecordType, answer: &Message) -> Result<Records, LookupFailure> {
    let mut name = name.clone();
    let mut ttl = u32::MAX;
    for _ in 0..MOST_ALIASES {
        let alias = answer.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(alias) if is_of(record, &name) => {
                Some((alias.0.to_lowercase(), record.ttl))
            }
            _ => None,
        });
        let Some((alias, of_alias)) = alias else {
            break;
        };
        name = alias;
        ttl = ttl.min(of_alias);
    }
    let records = answer.answers.iter();
    let records: Vec<Record> = records
        .filter(|record| record.record_type() == kind && is_of(record, &name))
        .take(MOST_SERVERS)
        .cloned()
        .collect();
    if records.is_empty() {
        return Err(LookupFailure::Empty);
    }
    let ttl = records.iter().map(|record| record.ttl).fold(ttl, u32::min);
    Ok(Records { records, ttl })
}

fn is_of(record: &Record, name: &Name) -> bool {
    record.name.eq_ignore_root(name)
}

/// The name servers that a `resolv.conf` lists, at most three as everywhere.
#[must_use]
pub fn resolvers(resolv_conf: &str) -> Vec<SocketAddr> {
    let addresses = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    addresses
        .filter_map(|address| address.parse().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .take(3)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read() {
        let text = "# nameserver 192.0.2.1\nsearch internal\nnameserver 192.0.2.7\nnameserver 2001:db8::1\nnameserver x\n";
        let expected: [SocketAddr; 2] = [
            "192.0.2.7:53".parse().unwrap(),
            "[2001:db8::1]:53".parse().unwrap(),
        ];
        assert_eq!(resolvers(text), expected);
        assert_eq!(resolvers(""), []);
    }
}
