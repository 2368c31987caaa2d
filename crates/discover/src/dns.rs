//! Asks a name server: one question over UDP, over TCP if the answer does not fit, the next server if one is silent.
//!
//! Its own instead of a whole resolver, since nothing is to be cached: the answer's time to live says when to ask again,
//! and the name server behind the address is commonly one that caches.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use evenkeel_config::plan::{DiscoverPlan, Family};
use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::membership::Found;

/// How long one name server may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(2);
/// More servers than this are not taken from an answer.
const MOST_SERVERS: usize = 1024;
/// The addresses of no more names than this are asked for, for one set of SRV records.
const MOST_TARGETS: usize = 64;
/// The size of answer that is asked for over UDP: fits into a packet on all common networks.
const PAYLOAD: u16 = 1232;
/// CNAMEs that are followed within an answer.
const MOST_ALIASES: usize = 16;

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The servers.
    pub found: Vec<Found>,
    /// How long it is good for: the shortest time to live of all records that were used.
    pub ttl: Duration,
}

/// Why there is no good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The name does not exist.
    NoSuchName,
    /// The name exists and has no records of the kind.
    Empty,
    /// The name server says that it failed, or that it does not want to.
    Refused,
    /// No name server answered in time.
    Silent,
    /// What came was not an answer to the question.
    Garbled,
}

impl Failure {
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

/// Asks for the servers of `plan`, at the name servers `resolvers`, one after the other.
///
/// # Errors
/// Why there is no good answer; nothing is known then.
pub async fn ask(plan: &DiscoverPlan, resolvers: &[SocketAddr]) -> Result<Answer, Failure> {
    let mut name = Name::from_ascii(&plan.name).map_err(|_| Failure::NoSuchName)?;
    name.set_fqdn(true);
    let (mut found, ttl) = match plan.port {
        Some(port) => {
            let (addresses, ttl) = addresses(&name, plan.family, resolvers).await?;
            let found = addresses.into_iter().map(|ip| Found {
                address: SocketAddr::new(ip, port),
                weight: 1,
                tier: 0,
            });
            (found.collect::<Vec<_>>(), ttl)
        }
        None => of_service(&name, plan.family, resolvers).await?,
    };
    found.truncate(MOST_SERVERS);
    if found.is_empty() {
        return Err(Failure::Empty);
    }
    Ok(Answer {
        found,
        ttl: Duration::from_secs(ttl.into()),
    })
}

/// The servers that SRV records name.
async fn of_service(
    name: &Name,
    family: Family,
    resolvers: &[SocketAddr],
) -> Result<(Vec<Found>, u32), Failure> {
    let Records { records, mut ttl } = question(name, RecordType::SRV, resolvers).await?;
    let services: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(service) if !service.target.is_root() && service.port != 0 => Some(service),
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
        match addresses(&target, family, resolvers).await {
            Ok((found, of_target)) => {
                ttl = ttl.min(of_target);
                known.insert(target, found);
            }
            // A target without an address is a mistake of the zone's, and no reason to know nothing.
            Err(Failure::NoSuchName | Failure::Empty) => {}
            Err(failure) => return Err(failure),
        }
    }
    let mut found = Vec::new();
    for one in services {
        for ip in known.get(&one.target.to_lowercase()).into_iter().flatten() {
            found.push(Found {
                address: SocketAddr::new(*ip, one.port),
                weight: u32::from(one.weight).max(1),
                tier: tier(one.priority),
            });
        }
    }
    Ok((found, ttl))
}

/// The addresses of a host.
async fn addresses(
    name: &Name,
    family: Family,
    resolvers: &[SocketAddr],
) -> Result<(Vec<std::net::IpAddr>, u32), Failure> {
    let kinds: &[RecordType] = match family {
        Family::Any => &[RecordType::A, RecordType::AAAA],
        Family::Ipv4 => &[RecordType::A],
        Family::Ipv6 => &[RecordType::AAAA],
    };
    let (mut found, mut ttl, mut missing) = (Vec::new(), u32::MAX, None);
    for kind in kinds {
        match question(name, *kind, resolvers).await {
            Ok(of_kind) => {
                ttl = ttl.min(of_kind.ttl);
                found.extend(
                    of_kind
                        .records
                        .iter()
                        .filter_map(|record| record.data.ip_addr()),
                );
            }
            // Having no address of one family is usual. A failure is not the same as having none.
            Err(failure @ (Failure::NoSuchName | Failure::Empty)) => missing = Some(failure),
            Err(failure) => return Err(failure),
        }
    }
    match missing {
        Some(failure) if found.is_empty() => Err(failure),
        _ => Ok((found, ttl)),
    }
}

/// One question to each of the name servers until one knows.
async fn question(
    name: &Name,
    kind: RecordType,
    resolvers: &[SocketAddr],
) -> Result<Records, Failure> {
    let mut last = Failure::Silent;
    for resolver in resolvers {
        let asked = exchange(*resolver, name, kind);
        let answer = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                last = Failure::Garbled;
                continue;
            }
            Ok(Err(_)) | Err(_) => continue,
        };
        match answer.metadata.response_code {
            ResponseCode::NoError => return read(name, kind, &answer),
            ResponseCode::NXDomain => return Err(Failure::NoSuchName),
            _ => last = Failure::Refused,
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

/// The records for `name`, by way of aliases too. Records for other names are not asked for and not believed.
fn read(name: &Name, kind: RecordType, answer: &Message) -> Result<Records, Failure> {
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
        return Err(Failure::Empty);
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
