//! Queries and answers in wire format.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::time::Duration;

use evenkeel_core::{Random, ServiceId};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use crate::answer::{Responder, Transport, cut_off};
use crate::zone::{DnsName, DnsOptions, ServerRecord, Servers};

/// `count` servers of both families; the client decides who is first.
struct Fixed {
    count: u8,
}

impl Servers for Fixed {
    fn select(&self, _: ServiceId, client: IpAddr, most: usize) -> Vec<ServerRecord> {
        let found = |n: u8| ServerRecord {
            name: format!("s{n}"),
            address: if n.is_multiple_of(2) {
                SocketAddr::from((Ipv4Addr::new(10, 0, 0, n), 80))
            } else {
                SocketAddr::from_str(&format!("[2001:db8::{n}]:80")).unwrap()
            },
            weight: u32::from(n) + 1,
            tier: 0,
        };
        let mut all: Vec<ServerRecord> = (0..self.count).map(found).collect();
        if client == IpAddr::from([192, 0, 2, 0]) {
            all.reverse();
        }
        all.truncate(most);
        all
    }

    fn find(&self, _: ServiceId, server: &str) -> Option<SocketAddr> {
        (server == "s0").then(|| SocketAddr::from((Ipv4Addr::new(10, 0, 0, 0), 80)))
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn options() -> DnsOptions {
    let one = |text: &str| DnsName {
        name: name(text),
        service: ServiceId(0),
        ttl: Duration::from_secs(5),
        answers: 64,
    };
    DnsOptions {
        names: vec![one("shop.example."), one("_http._tcp.shop.example.")],
        rate: 0,
    }
}

fn raw(query: &[u8], transport: Transport, count: u8) -> Option<Vec<u8>> {
    let (options, servers) = (options(), Fixed { count });
    let mut random = Random::seeded(1);
    let mut responder = Responder {
        options: &options,
        servers: &servers,
        random: &mut random,
    };
    responder.answer(query, IpAddr::from([127, 0, 0, 1]), transport)
}

fn query(text: &str, kind: RecordType) -> Message {
    let mut message = Message::new(77, hickory_proto::op::MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), kind));
    message
}

fn ask(message: &Message, transport: Transport, count: u8) -> Message {
    let bytes = raw(&message.to_vec().unwrap(), transport, count).unwrap();
    Message::from_vec(&bytes).unwrap()
}

fn udp(text: &str, kind: RecordType) -> Message {
    ask(&query(text, kind), Transport::Udp, 4)
}

#[test]
fn a_name_is_answered_with_the_addresses_of_its_family() {
    for (kind, expected) in [(RecordType::A, 2), (RecordType::AAAA, 2)] {
        let answer = udp("ShOp.eXample.", kind);
        assert_eq!(answer.metadata.id, 77);
        assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
        assert!(!answer.metadata.recursion_available && !answer.metadata.truncation);
        assert_eq!(answer.answers.len(), expected);
        assert!(
            answer
                .answers
                .iter()
                .all(|one| one.ttl == 5 && one.record_type() == kind)
        );
        let echoed = answer.queries[0].name().to_string();
        assert_eq!(
            echoed, "ShOp.eXample.",
            "the letters are as they were asked"
        );
        assert!(answer.edns.is_none());
    }
}

#[test]
fn services_are_answered_with_targets_and_their_addresses() {
    let answer = udp("_http._tcp.shop.example.", RecordType::SRV);
    assert_eq!((answer.answers.len(), answer.additionals.len()), (4, 4));
    let RData::SRV(first) = &answer.answers[0].data else {
        panic!("{answer:?}")
    };
    assert_eq!((first.port, first.weight, first.priority), (80, 1, 0));
    assert_eq!(first.target, name("s0.shop.example."));
    let target = udp("s0.shop.example.", RecordType::A);
    assert_eq!(target.answers.len(), 1);
}

#[test]
fn missing_names_and_types_get_nxdomain_or_nodata() {
    use ResponseCode::{NXDomain, NoError, Refused};
    for (text, kind, code, answers, authorities) in [
        ("shop.example.", RecordType::MX, NoError, 0, 1),
        ("shop.example.", RecordType::SOA, NoError, 1, 0),
        ("shop.example.", RecordType::ANY, NoError, 1, 0),
        ("_tcp.shop.example.", RecordType::A, NoError, 0, 1),
        ("_http._tcp.shop.example.", RecordType::A, NoError, 0, 1),
        ("nobody.shop.example.", RecordType::A, NXDomain, 0, 1),
        ("a.b.shop.example.", RecordType::A, NXDomain, 0, 1),
        ("s0.shop.example.", RecordType::AAAA, NoError, 0, 1),
        ("example.", RecordType::A, Refused, 0, 0),
        ("other.example.", RecordType::A, Refused, 0, 0),
        (".", RecordType::NS, Refused, 0, 0),
        ("shop.example.", RecordType::AXFR, Refused, 0, 0),
    ] {
        let answer = udp(text, kind);
        assert_eq!(answer.metadata.response_code, code, "{text} {kind}");
        assert_eq!(answer.answers.len(), answers, "{text} {kind}");
        assert_eq!(answer.authorities.len(), authorities, "{text} {kind}");
    }
    let nobody = ask(&query("shop.example.", RecordType::A), Transport::Udp, 0);
    assert_eq!(nobody.metadata.response_code, ResponseCode::ServFail);
    let mut chaos = query("shop.example.", RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(
        ask(&chaos, Transport::Udp, 4).metadata.response_code,
        Refused
    );
    let mut notify = query("shop.example.", RecordType::A);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(
        ask(&notify, Transport::Udp, 4).metadata.response_code,
        ResponseCode::NotImp
    );
}

#[test]
fn what_does_not_fit_is_cut_at_a_record_and_comes_whole_by_tcp() {
    let asked = query("shop.example.", RecordType::A);
    let bytes = raw(&asked.to_vec().unwrap(), Transport::Udp, 128).unwrap();
    assert!(bytes.len() <= 512);
    let cut = Message::from_vec(&bytes).unwrap();
    assert!(
        cut.metadata.truncation && cut.answers.len() > 20,
        "{}",
        cut.answers.len()
    );
    let whole = ask(&asked, Transport::Tcp, 128);
    assert!(!whole.metadata.truncation && whole.answers.len() == 32);
    let mut large = asked;
    let mut edns = Edns::new();
    edns.set_max_payload(4_096);
    large.set_edns(edns);
    let bytes = raw(&large.to_vec().unwrap(), Transport::Udp, 128).unwrap();
    assert!(bytes.len() > 512 && bytes.len() <= 1_232, "{}", bytes.len());
    let fits = Message::from_vec(&bytes).unwrap();
    assert!(!fits.metadata.truncation && fits.edns.is_some());
    // Additional records are left out before an answer is called truncated.
    let services = ask(
        &query("_http._tcp.shop.example.", RecordType::SRV),
        Transport::Udp,
        10,
    );
    assert!(!services.metadata.truncation);
    assert_eq!(
        (services.answers.len(), services.additionals.len()),
        (10, 0)
    );
}

fn with_subnet(subnet: ClientSubnet) -> Message {
    let mut message = query("shop.example.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(1_232);
    edns.options_mut().insert(EdnsOption::Subnet(subnet));
    message.set_edns(edns);
    message
}

#[test]
fn the_clients_network_counts_if_it_is_said() {
    let subnet = ClientSubnet::new(IpAddr::from([192, 0, 2, 0]), 24, 0);
    let answer = ask(&with_subnet(subnet), Transport::Udp, 4);
    let RData::A(first) = &answer.answers[0].data else {
        panic!("{answer:?}")
    };
    assert_eq!(
        first.0,
        Ipv4Addr::new(10, 0, 0, 2),
        "the order is that of this client"
    );
    let edns = answer.edns.unwrap();
    let Some(EdnsOption::Subnet(told)) = edns.option(EdnsCode::Subnet) else {
        panic!("{edns:?}")
    };
    assert_eq!((told.source_prefix(), told.scope_prefix()), (24, 24));
    for wrong in [
        ClientSubnet::new(IpAddr::from([192, 0, 17, 0]), 20, 0),
        ClientSubnet::new(IpAddr::from([192, 0, 2, 0]), 24, 24),
    ] {
        let answer = ask(&with_subnet(wrong), Transport::Udp, 4);
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    }
}

#[test]
fn another_version_of_edns_is_refused() {
    let mut message = query("shop.example.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    message.set_edns(edns);
    let answer = ask(&message, Transport::Udp, 4);
    // The same number is BADSIG elsewhere.
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    assert!(answer.answers.is_empty() && answer.edns.is_some());
}

#[test]
fn non_queries_get_no_response_and_malformed_queries_get_formerr() {
    let good = query("shop.example.", RecordType::A).to_vec().unwrap();
    for length in 0..12 {
        assert_eq!(raw(&good[..length], Transport::Udp, 4), None, "{length}");
    }
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(raw(&response, Transport::Udp, 4), None);
    let code = |bytes: &[u8]| raw(bytes, Transport::Udp, 4).unwrap()[3] & 15;
    assert_eq!(code(&good[..20]), 1, "cut off");
    for (at, count) in [(5, 0), (5, 2), (4, 255), (7, 1), (9, 1), (11, 9)] {
        let mut counts = good.clone();
        counts[at] = count;
        assert_eq!(code(&counts), 1, "{at}");
    }
    let told = Message::from_vec(&cut_off(&good).unwrap()).unwrap();
    assert!(told.metadata.truncation && told.answers.is_empty() && told.queries.len() == 1);
    assert_eq!(cut_off(&good[..11]), None);
}

/// Whatever comes, there is an answer that is one, or none.
#[test]
fn any_packet_gets_a_valid_response_or_none() {
    let mut random = Random::seeded(20_261_123);
    let subnet = ClientSubnet::new(IpAddr::from([192, 0, 2, 0]), 24, 0);
    let seeds = [
        query("shop.example.", RecordType::A),
        query("_http._tcp.shop.example.", RecordType::SRV),
        with_subnet(subnet),
    ]
    .map(|message| message.to_vec().unwrap());
    let mut answered = 0;
    for round in 0..50_000_usize {
        let mut packet = if round.is_multiple_of(10) {
            (0..random.below(600))
                .map(|_| random.bits() as u8)
                .collect()
        } else {
            seeds[round % seeds.len()].clone()
        };
        for _ in 0..=random.below(4) {
            if packet.is_empty() {
                break;
            }
            let at = random.below(packet.len());
            match random.below(4) {
                0 => packet[at] = random.bits() as u8,
                1 => packet[at] ^= 1 << random.below(8),
                2 => packet.truncate(at),
                _ => packet.insert(at, random.bits() as u8),
            }
        }
        let transport = if round.is_multiple_of(2) {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        if let Some(answer) = raw(&packet, transport, 4) {
            answered += 1;
            assert!(answer.len() >= 12 && answer[2] & 0x80 != 0, "{packet:?}");
            assert_eq!(answer[..2], packet[..2]);
            Message::from_vec(&answer).unwrap();
        }
        drop(cut_off(&packet));
    }
    assert!(answered > 10_000, "{answered}");
}
