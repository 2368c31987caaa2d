//! Updates in which some queries fail and others are answered: known servers stay, and new answers are used.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_config::plan::{AddressFamily, DiscoverPlan};
use evenkeel_discover::dns::{DnsAnswer, LastGood, LookupFailure, ask};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// What a question is answered with.
#[derive(Debug, Clone)]
enum Reply {
    Records(Vec<RData>),
    Code(ResponseCode),
    Nothing,
}

/// A name server, and what it has been told to say.
struct NameServer {
    address: SocketAddr,
    replies: Arc<Mutex<BTreeMap<(String, u16), Reply>>>,
    last_good: LastGood,
}

impl NameServer {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let replies: Arc<Mutex<BTreeMap<(String, u16), Reply>>> = Arc::default();
        let told = Arc::clone(&replies);
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let query = question.queries[0].clone();
                let key = (query.name.to_string(), u16::from(query.query_type));
                let reply = told.lock().unwrap().get(&key).cloned();
                let mut answer = Message::response(question.metadata.id, OpCode::Query);
                let owner = query.name.clone();
                answer.add_query(query);
                match reply.unwrap_or(Reply::Code(ResponseCode::NXDomain)) {
                    Reply::Records(records) => {
                        let records = records.into_iter();
                        answer.add_answers(
                            records.map(|data| Record::from_rdata(owner.clone(), 3600, data)),
                        );
                    }
                    Reply::Code(code) => answer.metadata.response_code = code,
                    Reply::Nothing => continue,
                }
                socket.send_to(&answer.to_vec().unwrap(), peer).unwrap();
            }
        });
        Self {
            address,
            replies,
            last_good: LastGood::default(),
        }
    }

    fn log_change(&self, name: &str, kind: RecordType, reply: Reply) {
        let key = (name.to_owned(), u16::from(kind));
        self.replies.lock().unwrap().insert(key, reply);
    }

    fn ask(&mut self, port: Option<u16>) -> Result<DnsAnswer, LookupFailure> {
        let plan = DiscoverPlan {
            name: "shop.test".to_owned(),
            port,
            label: "dns".to_owned(),
            servers: (0..8).collect(),
            resolver: Vec::new(),
            family: AddressFamily::Any,
            least: Duration::from_secs(1),
            most: Duration::from_secs(60),
            hold: Duration::from_secs(300),
            fixed: None,
        };
        let runtime = evenkeel_runtime::spawn::runtime().unwrap();
        runtime.block_on(ask(&plan, &[self.address], &mut self.last_good))
    }
}

fn v4(host: u8) -> RData {
    RData::A(A(Ipv4Addr::new(10, 0, 0, host)))
}

fn v6(host: u16) -> RData {
    RData::AAAA(AAAA(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)))
}

fn servers(answer: &DnsAnswer) -> Vec<String> {
    let found = answer.found.iter();
    found.map(|found| found.address.to_string()).collect()
}

const SHOP: &str = "shop.test.";
const NO_DATA: Reply = Reply::Records(Vec::new());
const BROKEN: Reply = Reply::Code(ResponseCode::ServFail);

#[test]
fn one_family_is_used_although_the_other_fails_in_any_way() {
    for (reply, failure) in [
        (BROKEN, LookupFailure::Refused),
        (Reply::Code(ResponseCode::NotImp), LookupFailure::Refused),
        (Reply::Nothing, LookupFailure::Silent),
    ] {
        let mut dns = NameServer::start();
        dns.log_change(SHOP, RecordType::A, Reply::Records(vec![v4(1), v4(2)]));
        dns.log_change(SHOP, RecordType::AAAA, reply.clone());
        let answer = dns.ask(Some(80)).unwrap();
        assert_eq!(
            servers(&answer),
            ["10.0.0.1:80", "10.0.0.2:80"],
            "{reply:?}"
        );
        let unanswered = answer.unanswered.unwrap();
        assert_eq!(
            (unanswered.kind, unanswered.failure),
            (RecordType::AAAA, failure)
        );
        assert!(
            answer.ttl <= Duration::from_secs(30),
            "it is asked again soon"
        );
    }
}

#[test]
fn having_no_address_of_one_family_is_no_failure() {
    for none in [NO_DATA, Reply::Code(ResponseCode::NXDomain)] {
        let mut dns = NameServer::start();
        dns.log_change(SHOP, RecordType::A, none);
        dns.log_change(SHOP, RecordType::AAAA, Reply::Records(vec![v6(1)]));
        let answer = dns.ask(Some(80)).unwrap();
        assert_eq!(servers(&answer), ["[2001:db8::1]:80"]);
        assert_eq!(
            (answer.unanswered, answer.ttl),
            (None, Duration::from_secs(3600))
        );
    }
}

#[test]
fn a_failing_address_family_keeps_its_last_answer() {
    let mut dns = NameServer::start();
    dns.log_change(SHOP, RecordType::A, Reply::Records(vec![v4(1)]));
    dns.log_change(SHOP, RecordType::AAAA, Reply::Records(vec![v6(1)]));
    assert_eq!(servers(&dns.ask(Some(80)).unwrap()).len(), 2);
    dns.log_change(SHOP, RecordType::A, Reply::Records(vec![v4(2)]));
    dns.log_change(SHOP, RecordType::AAAA, BROKEN);
    // Also when it fails for longer than one round.
    for _ in 0..2 {
        let answer = dns.ask(Some(80)).unwrap();
        assert_eq!(servers(&answer), ["10.0.0.2:80", "[2001:db8::1]:80"]);
    }
    dns.log_change(SHOP, RecordType::AAAA, NO_DATA);
    assert_eq!(servers(&dns.ask(Some(80)).unwrap()), ["10.0.0.2:80"]);
    dns.log_change(SHOP, RecordType::AAAA, BROKEN);
    assert_eq!(servers(&dns.ask(Some(80)).unwrap()), ["10.0.0.2:80"]);
}

#[test]
fn no_answer_at_all_is_a_failure_and_forgets_nothing() {
    let mut dns = NameServer::start();
    dns.log_change(SHOP, RecordType::A, Reply::Records(vec![v4(1)]));
    dns.log_change(SHOP, RecordType::AAAA, Reply::Records(vec![v6(1)]));
    dns.ask(Some(80)).unwrap();
    for other in [BROKEN, NO_DATA] {
        dns.log_change(SHOP, RecordType::A, BROKEN);
        dns.log_change(SHOP, RecordType::AAAA, other);
        assert_eq!(dns.ask(Some(80)), Err(LookupFailure::Refused));
    }
    dns.log_change(SHOP, RecordType::AAAA, Reply::Records(vec![v6(2)]));
    let answer = dns.ask(Some(80)).unwrap();
    assert_eq!(servers(&answer), ["10.0.0.1:80", "[2001:db8::2]:80"]);
    dns.log_change(SHOP, RecordType::A, NO_DATA);
    dns.log_change(SHOP, RecordType::AAAA, NO_DATA);
    assert_eq!(dns.ask(Some(80)), Err(LookupFailure::Empty));
}

#[test]
fn one_target_of_srv_records_that_fails_costs_only_itself() {
    let service = |target: &str| {
        let target = Name::from_ascii(target).unwrap();
        RData::SRV(SRV::new(0, 5, 8080, target))
    };
    let mut dns = NameServer::start();
    let services = vec![service("one.test."), service("two.test.")];
    dns.log_change(SHOP, RecordType::SRV, Reply::Records(services));
    dns.log_change("one.test.", RecordType::A, Reply::Records(vec![v4(1)]));
    dns.log_change("two.test.", RecordType::A, BROKEN);
    let answer = dns.ask(None).unwrap();
    assert_eq!(servers(&answer), ["10.0.0.1:8080"]);
    assert_eq!(answer.unanswered.unwrap().name, "two.test.");
    dns.log_change("two.test.", RecordType::A, Reply::Records(vec![v4(2)]));
    assert_eq!(servers(&dns.ask(None).unwrap()).len(), 2);
    dns.log_change("two.test.", RecordType::A, Reply::Nothing);
    let answer = dns.ask(None).unwrap();
    assert_eq!(servers(&answer), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    dns.log_change(SHOP, RecordType::SRV, BROKEN);
    assert_eq!(dns.ask(None), Err(LookupFailure::Refused));
}
