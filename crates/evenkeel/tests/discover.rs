//! Servers from DNS, with the real program and a name server that says what the test wants.

mod common;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{PROGRAM, Program, get, now, wait_for};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// What the name server says.
#[derive(Debug, Clone, Default)]
enum Says {
    /// Nothing at all.
    #[default]
    Silence,
    /// This code, without records.
    Code(ResponseCode),
    /// These records: the question's name, its kind, the data.
    Records(Vec<(&'static str, RData)>),
}

/// A name server on loopback.
#[derive(Debug)]
struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<(Says, u32)>>,
    asked: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl NameServer {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let says = Arc::new(Mutex::new((Says::Silence, 1)));
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let (mine, counts) = (Arc::clone(&says), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let Ok(question) = Message::from_vec(&buffer[..length]) else {
                    continue;
                };
                let (says, ttl) = mine.lock().unwrap().clone();
                let query = question.queries[0].clone();
                let key = format!("{} {}", query.name, query.query_type);
                *counts.lock().unwrap().entry(key).or_default() += 1;
                let mut answer = Message::response(question.metadata.id, OpCode::Query);
                answer.add_query(query.clone());
                match says {
                    Says::Silence => continue,
                    Says::Code(code) => answer.metadata.response_code = code,
                    Says::Records(records) => {
                        for (name, data) in records {
                            let name = Name::from_ascii(name).unwrap();
                            let record = Record::from_rdata(name, ttl, data);
                            if record.name == query.name
                                && record.record_type() == query.query_type
                            {
                                answer.add_answer(record);
                            }
                        }
                    }
                }
                // The program may be gone.
                socket.send_to(&answer.to_vec().unwrap(), peer).ok();
            }
        });
        Self {
            address,
            says,
            asked,
        }
    }

    fn say(&self, says: Says) {
        self.says.lock().unwrap().0 = says;
    }

    /// Addresses of the name `shop.test.`.
    fn say_hosts(&self, hosts: &[u8]) {
        self.say(Says::Records(
            hosts.iter().map(|host| ("shop.test.", a(*host))).collect(),
        ));
    }

    /// How often it was asked for addresses of `shop.test.` up to now.
    fn asked(&self, kind: RecordType) -> u32 {
        let asked = self.asked.lock().unwrap();
        asked.get(&format!("shop.test. {kind}")).copied().unwrap_or(0)
    }

    /// Waits until answers that were given from now on have been taken.
    fn wait_until_asked_again(&self, kind: RecordType) {
        let before = self.asked(kind);
        wait_for("two more questions", || {
            (self.asked(kind) >= before + 2).then_some(())
        });
    }
}

fn a(host: u8) -> RData {
    RData::A(A(Ipv4Addr::new(127, 0, 0, host)))
}

/// Sample servers on 127.0.0.1, 127.0.0.2 and so on, all at one port; each answers with its own name.
struct Servers {
    port: u16,
    children: BTreeMap<u8, Child>,
}

impl Servers {
    fn start(hosts: &[u8]) -> Self {
        let port = common::free_ports(1)[0];
        let children = hosts.iter().map(|host| (*host, sample(*host, port)));
        let servers = Self {
            port,
            children: children.collect(),
        };
        for host in hosts {
            let address = (Ipv4Addr::new(127, 0, 0, *host), port).into();
            wait_for("a sample server", || get(address, "/").ok());
        }
        servers
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            // It may have ended already.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn sample(host: u8, port: u16) -> Child {
    Command::new(PROGRAM)
        .args(["sample-server", "--port", &port.to_string()])
        .args(["--host", &format!("127.0.0.{host}")])
        .args(["--name", &format!("host-{host}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
