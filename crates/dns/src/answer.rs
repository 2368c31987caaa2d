//! From a query to an answer, without sockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evenkeel_core::Random;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::{A, AAAA, HINFO, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use crate::zone::{DnsName, DnsOptions, NameMatch, ServerRecord, Servers, shuffle};

/// A header.
const HEADER: usize = 12;
/// Without EDNS no more fits into UDP (RFC 1035, section 2.3.4).
const PLAIN_UDP: u16 = 512;
/// The size that avoids IP fragmentation everywhere (DNS flag day 2020).
const MOST_UDP: u16 = 1_232;
/// The additional records of a query that are examined; one is usual.
const MOST_ADDITIONAL: u16 = 4;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// The inputs of answers.
pub(crate) struct Responder<'a> {
    pub(crate) options: &'a DnsOptions,
    pub(crate) servers: &'a dyn Servers,
    pub(crate) random: &'a mut Random,
}

/// The sender of a query, as far as it matters.
struct Querier {
    /// The client, or its network.
    client: IpAddr,
    subnet: Option<ClientSubnet>,
}

impl Responder<'_> {
    /// The answer to a query from `source`; nothing if it is none.
    pub(crate) fn answer(
        &mut self,
        query: &[u8],
        source: IpAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let field = |at: usize| Some(u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]));
        let (id, flags) = (field(0)?, field(2)?);
        if query.len() < HEADER || flags & 0x8000 != 0 {
            return None;
        }
        let op_code = OpCode::from_u8(((flags >> 11) & 15) as u8);
        let mut reply = Message::response(id, op_code);
        reply.metadata.recursion_desired = flags & 0x0100 != 0;
        if op_code != OpCode::Query {
            return bare(reply, ResponseCode::NotImp);
        }
        // Looked at before anything is read, which would make room for as many as it says.
        let plain = field(4) == Some(1) && field(6) == Some(0) && field(8) == Some(0);
        let parsed = (plain && field(10)? <= MOST_ADDITIONAL)
            .then(|| Message::from_vec(query).ok())
            .flatten();
        let Some(parsed) = parsed else {
            return bare(reply, ResponseCode::FormErr);
        };
        let [question] = parsed.queries.as_slice() else {
            return bare(reply, ResponseCode::FormErr);
        };
        reply.add_query(question.clone());
        let most = match transport {
            Transport::Tcp => u16::MAX,
            Transport::Udp => parsed.edns.as_ref().map_or(PLAIN_UDP, |edns| {
                edns.max_payload().clamp(PLAIN_UDP, MOST_UDP)
            }),
        };
        let Some(querier) = self.edns(&parsed, &mut reply, source) else {
            return encode(&reply, most);
        };
        self.fill(&mut reply, question, &querier);
        if let Some(subnet) = querier.subnet {
            let (v4, v6) = (24, 56);
            let scope = match subnet.addr() {
                IpAddr::V4(_) => subnet.source_prefix().min(v4),
                IpAddr::V6(_) => subnet.source_prefix().min(v6),
            };
            let told = ClientSubnet::new(subnet.addr(), subnet.source_prefix(), scope);
            if let Some(edns) = &mut reply.edns {
                edns.options_mut().insert(EdnsOption::Subnet(told));
            }
        }
        encode(&reply, most)
    }

    /// The EDNS options of a query (RFC 6891, RFC 7871); nothing if they are invalid, which the reply reports.
    fn edns(&self, query: &Message, reply: &mut Message, source: IpAddr) -> Option<Querier> {
        let direct = Querier {
            client: source.to_canonical(),
            subnet: None,
        };
        let Some(asked) = &query.edns else {
            return Some(direct);
        };
        let mut edns = Edns::new();
        edns.set_version(0).set_max_payload(MOST_UDP);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.set_edns(edns);
        if asked.version() > 0 {
            reply.metadata.response_code = ResponseCode::BADVERS;
            return None;
        }
        let Some(EdnsOption::Subnet(subnet)) = asked.option(EdnsCode::Subnet) else {
            return Some(direct);
        };
        if !is_sound(subnet) {
            reply.metadata.response_code = ResponseCode::FormErr;
            return None;
        }
        let told = *subnet;
        Some(Querier {
            client: if told.source_prefix() == 0 {
                direct.client
            } else {
                told.addr()
            },
            subnet: Some(told),
        })
    }

    fn fill(&mut self, reply: &mut Message, question: &Query, querier: &Querier) {
        let kind = question.query_type();
        if question.query_class() != DNSClass::IN
            || matches!(kind, RecordType::AXFR | RecordType::IXFR)
        {
            reply.metadata.response_code = ResponseCode::Refused;
            return;
        }
        let name = question.name();
        let place = self.options.place(name, self.servers);
        reply.metadata.authoritative = place != NameMatch::Elsewhere;
        match place {
            NameMatch::Elsewhere => reply.metadata.response_code = ResponseCode::Refused,
            NameMatch::Nothing(zone) => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.add_authority(soa(zone));
            }
            NameMatch::Between(zone) => {
                match kind {
                    RecordType::SOA if zone.base() == *name => reply.add_answer(soa(zone)),
                    _ => reply.add_authority(soa(zone)),
                };
            }
            NameMatch::Server(zone, address) => {
                let record = address_record(name, zone.ttl, address);
                if record.record_type() == kind {
                    reply.add_answer(record);
                } else {
                    reply.add_authority(soa(zone));
                }
            }
            NameMatch::Name(zone) => self.fill_name(reply, zone, question, querier),
        }
    }

    fn fill_name(
        &mut self,
        reply: &mut Message,
        zone: &DnsName,
        question: &Query,
        querier: &Querier,
    ) {
        let kind = question.query_type();
        let name = question.name();
        let is_srv = zone.is_srv();
        match kind {
            // RFC 8482: one small record instead of all.
            RecordType::ANY => {
                let little = HINFO::new("RFC8482".to_owned(), String::new());
                reply.add_answer(record(name, zone.ttl, RData::HINFO(little)));
                return;
            }
            RecordType::SOA if zone.base() == *name => {
                reply.add_answer(soa(zone));
                return;
            }
            RecordType::A | RecordType::AAAA if !is_srv => {}
            RecordType::SRV if is_srv => {}
            _ => {
                reply.add_authority(soa(zone));
                return;
            }
        }
        let mut found = self
            .servers
            .select(zone.service, querier.client, zone.answers);
        if found.is_empty() {
            // Resolvers then go on with what they have (RFC 8767), which an empty answer would take from them.
            reply.metadata.response_code = ResponseCode::ServFail;
            return;
        }
        if is_srv {
            add_services(reply, zone, name, &found);
            return;
        }
        found.retain(|one| match kind {
            RecordType::A => one.address.is_ipv4(),
            _ => one.address.is_ipv6(),
        });
        // The first one is the policy's; most clients take it. The rest is for those that try the next.
        if let Some(rest) = found.get_mut(1..) {
            shuffle(rest, self.random);
        }
        for one in &found {
            let record = address_record(name, zone.ttl, one.address);
            // Several servers may be at one address.
            if !reply.answers.contains(&record) {
                reply.add_answer(record);
            }
        }
        if reply.answers.is_empty() {
            reply.add_authority(soa(zone));
        }
    }
}

/// SRV records (RFC 2782), with the addresses of their targets.
fn add_services(reply: &mut Message, zone: &DnsName, name: &Name, found: &[ServerRecord]) {
    let base = zone.base();
    for one in found {
        let Ok(target) = base.prepend_label(one.name.as_bytes()) else {
            continue;
        };
        let weight = u16::try_from(one.weight).unwrap_or(u16::MAX);
        let data = SRV::new(
            u16::from(one.tier),
            weight,
            one.address.port(),
            target.clone(),
        );
        reply.add_answer(record(name, zone.ttl, RData::SRV(data)));
        reply.add_additional(address_record(&target, zone.ttl, one.address));
    }
}

/// Whether a client subnet is as RFC 7871 wants it in a query: a scope of 0, and no bits beyond its prefix.
fn is_sound(subnet: &ClientSubnet) -> bool {
    let prefix = u32::from(subnet.source_prefix());
    let clear = match subnet.addr() {
        IpAddr::V4(ip) => prefix <= 32 && ip.to_bits().checked_shl(prefix).unwrap_or(0) == 0,
        IpAddr::V6(ip) => prefix <= 128 && ip.to_bits().checked_shl(prefix).unwrap_or(0) == 0,
    };
    clear && subnet.scope_prefix() == 0
}

fn record(name: &Name, ttl: Duration, data: RData) -> Record {
    let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
    Record::from_rdata(name.clone(), ttl, data)
}

fn address_record(name: &Name, ttl: Duration, address: SocketAddr) -> Record {
    let data = match address.ip() {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    record(name, ttl, data)
}

/// The SOA that says for how long "there is nothing" may be kept (RFC 2308).
fn soa(zone: &DnsName) -> Record {
    let base = zone.base();
    let of = |label: &str| {
        base.prepend_label(label.as_bytes())
            .unwrap_or_else(|_| base.clone())
    };
    let seconds = i32::try_from(zone.ttl.as_secs()).unwrap_or(i32::MAX);
    let minimum = u32::try_from(zone.ttl.as_secs()).unwrap_or(u32::MAX);
    let data = SOA::new(
        of("ns"),
        of("hostmaster"),
        1,
        3_600,
        seconds.max(60),
        86_400,
        minimum,
    );
    record(&base, zone.ttl, RData::SOA(data))
}

/// A reply of a header only.
fn bare(mut reply: Message, code: ResponseCode) -> Option<Vec<u8>> {
    reply.metadata.response_code = code;
    encode(&reply, PLAIN_UDP)
}

/// An empty answer that says "truncated": come by TCP.
pub(crate) fn cut_off(query: &[u8]) -> Option<Vec<u8>> {
    let parsed = Message::from_vec(query).ok()?;
    let mut reply = Message::response(parsed.metadata.id, parsed.metadata.op_code);
    if parsed.metadata.message_type != MessageType::Query {
        return None;
    }
    reply.metadata.recursion_desired = parsed.metadata.recursion_desired;
    reply.metadata.truncation = true;
    reply.add_queries(parsed.queries.into_iter().take(1));
    encode(&reply, PLAIN_UDP)
}

/// The reply in at most `most` bytes: additional records are left out before it is called truncated, and records are
/// there as a whole or not at all.
fn encode(reply: &Message, most: u16) -> Option<Vec<u8>> {
    let whole = reply.to_vec().ok()?;
    if whole.len() <= usize::from(most) {
        return Some(whole);
    }
    let mut smaller = reply.clone();
    smaller.additionals.clear();
    let mut bytes = smaller.to_vec().ok()?;
    while bytes.len() > usize::from(most) {
        smaller.metadata.truncation = true;
        smaller.authorities.clear();
        smaller.answers.pop()?;
        bytes = to_bytes(&smaller)?;
    }
    Some(bytes)
}

fn to_bytes(message: &Message) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    message.emit(&mut BinEncoder::new(&mut bytes)).ok()?;
    Some(bytes)
}
