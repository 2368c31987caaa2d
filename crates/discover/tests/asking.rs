//! Queries to a name server on loopback: aliases, truncated answers, forged answers, a first server that does not
//! answer.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use evenkeel_config::plan::{AddressFamily, DiscoverPlan};
use evenkeel_discover::dns::{DnsAnswer, LastGood, LookupFailure, ask};
use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record};

fn plan() -> DiscoverPlan {
    DiscoverPlan {
        name: "shop.test".to_owned(),
        port: Some(80),
        label: "dns".to_owned(),
        servers: (0..4).collect(),
        resolver: Vec::new(),
        family: AddressFamily::Ipv4,
        least: Duration::from_secs(1),
        most: Duration::from_secs(60),
        hold: Duration::from_secs(300),
        fixed: None,
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(owner: &str, ttl: u32, host: u8) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(Ipv4Addr::new(10, 0, 0, host))))
}

fn answer_to(question: &[u8], records: Vec<Record>) -> Message {
    let question = Message::from_vec(question).unwrap();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.add_query(question.queries[0].clone());
    answer.add_answers(records);
    answer
}

fn asked(resolvers: &[SocketAddr]) -> Result<DnsAnswer, LookupFailure> {
    let runtime = evenkeel_runtime::spawn::runtime().unwrap();
    runtime.block_on(ask(&plan(), resolvers, &mut LastGood::default()))
}

fn hosts(answer: &DnsAnswer) -> Vec<String> {
    let found = answer.found.iter();
    found.map(|found| found.address.to_string()).collect()
}

#[test]
fn aliases_are_followed_and_strangers_are_not_believed() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        let (length, peer) = socket.recv_from(&mut buffer).unwrap();
        let question = &buffer[..length];
        // Bytes that are no message, an answer with another number, then the right one.
        socket.send_to(b"hello", peer).unwrap();
        let mut other = answer_to(question, vec![record("shop.test.", 9, 66)]);
        other.metadata.id = other.metadata.id.wrapping_add(1);
        socket.send_to(&other.to_vec().unwrap(), peer).unwrap();
        let alias = RData::CNAME(CNAME(name("Real.test.")));
        let records = vec![
            record("stranger.test.", 1, 67),
            Record::from_rdata(name("SHOP.test."), 20, alias),
            record("real.TEST.", 30, 1),
            record("real.test.", 40, 2),
        ];
        let answer = answer_to(question, records);
        socket.send_to(&answer.to_vec().unwrap(), peer).unwrap();
    });
    let answer = asked(&[address]).unwrap();
    assert_eq!(hosts(&answer), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(answer.ttl, Duration::from_secs(20), "the alias's");
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        let (length, peer) = socket.recv_from(&mut buffer).unwrap();
        let mut answer = answer_to(&buffer[..length], Vec::new());
        answer.metadata.truncation = true;
        socket.send_to(&answer.to_vec().unwrap(), peer).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question).unwrap();
        let records = (1..=200).map(|host| record("shop.test.", 7, host));
        let answer = answer_to(&question, records.collect()).to_vec().unwrap();
        let length = u16::try_from(answer.len()).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        stream.write_all(&answer).unwrap();
    });
    let answer = asked(&[address]).unwrap();
    assert_eq!(answer.found.len(), 200);
    assert_eq!(answer.ttl, Duration::from_secs(7));
}

#[test]
fn the_next_name_server_is_asked_when_one_is_silent() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let resolvers = [silent.local_addr().unwrap(), socket.local_addr().unwrap()];
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        let (length, peer) = socket.recv_from(&mut buffer).unwrap();
        let answer = answer_to(&buffer[..length], vec![record("shop.test.", 7, 3)]);
        socket.send_to(&answer.to_vec().unwrap(), peer).unwrap();
    });
    assert_eq!(hosts(&asked(&resolvers).unwrap()), ["10.0.0.3:80"]);
    assert_eq!(asked(&resolvers[..1]), Err(LookupFailure::Silent));
    assert_eq!(asked(&[]), Err(LookupFailure::Silent));
}
