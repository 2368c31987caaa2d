//! Servers from DNS, with the real program and a scripted name server.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Program, get, now, wait_for};
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
                            if record.name == query.name && record.record_type() == query.query_type
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

    /// The number of address queries for `shop.test.` so far.
    fn asked(&self, kind: RecordType) -> u32 {
        let asked = self.asked.lock().unwrap();
        asked
            .get(&format!("shop.test. {kind}"))
            .copied()
            .unwrap_or(0)
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

/// HTTP servers on 127.0.0.1, 127.0.0.2 and so on, all at one port; each answers with its number.
#[derive(Debug)]
struct Servers {
    port: u16,
    /// Those that close every connection without an answer.
    broken: Arc<Mutex<BTreeSet<u8>>>,
}

impl Servers {
    fn start(hosts: &[u8]) -> Self {
        let mut port = 0;
        let broken = Arc::new(Mutex::new(BTreeSet::new()));
        for host in hosts {
            let address = (Ipv4Addr::new(127, 0, 0, *host), port);
            let listener = TcpListener::bind(address).unwrap();
            port = listener.local_addr().unwrap().port();
            let (host, broken) = (*host, Arc::clone(&broken));
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let broken = Arc::clone(&broken);
                    std::thread::spawn(move || serve(&stream, host, &broken));
                }
            });
        }
        Self { port, broken }
    }

    fn break_down(&self, host: u8) {
        self.broken.lock().unwrap().insert(host);
    }
}

fn serve(stream: &TcpStream, host: u8, broken: &Mutex<BTreeSet<u8>>) {
    let (mut reader, mut stream) = (BufReader::new(stream), stream);
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line == "\r\n" => {
                if broken.lock().unwrap().contains(&host) {
                    return;
                }
                let body = host.to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            Ok(_) => {}
        }
    }
}

/// A program whose service finds its servers at the name server.
fn program(names: &NameServer, dns: &str, more: &str) -> Program {
    Program::run(&format!(
        "workers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [service.shop]\nbalance = {{ policy = \"weighted-round-robin\", slow_start = \"0s\" }}\n\
         detect = {{ probe = {{ http = \"/\", every = \"200ms\", timeout = \"200ms\" }} }}\n\
         [service.shop.discover]\ndns = \"{dns}\"\nresolver = [\"{}\"]\n{more}",
        names.address
    ))
}

/// Who answers that many requests, which all must succeed.
fn answers(program: &Program, requests: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..requests {
        let answer = get(program.address(), "/").unwrap();
        assert_eq!(answer.status, 200, "{}\n{}", answer.body, program.log());
        *answers.entry(answer.body).or_default() += 1;
    }
    answers
}

/// Waits until exactly these answer.
fn wait_for_hosts(program: &Program, hosts: &[&str]) {
    let mut last = BTreeMap::new();
    wait_for(&format!("answers of {hosts:?}"), || {
        if get(program.address(), "/").ok()?.status != 200 {
            return None;
        }
        last = answers(program, 12);
        last.keys().eq(hosts).then_some(())
    });
}

/// Name and state of the servers that status shows.
fn shown(program: &Program) -> Vec<(String, String)> {
    let services = program.api("/api/services");
    let servers = services.get("services").unwrap_or(&services)[0]["servers"].clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let servers = servers.as_array().unwrap().iter();
    servers
        .map(|server| (text(&server["name"]), text(&server["state"])))
        .collect()
}

#[test]
fn servers_come_and_go_with_the_answers() {
    let (names, servers) = (NameServer::start(), Servers::start(&[1, 2, 3]));
    names.say(Says::Code(ResponseCode::NXDomain));
    let program = program(&names, &format!("shop.test:{}", servers.port), "");

    // It starts nevertheless.
    let unresolved = ("dns-1".to_owned(), "down: unresolved".to_owned());
    wait_for("the state", || {
        (shown(&program) == [unresolved.clone()]).then_some(())
    });
    assert_eq!(get(program.address(), "/").unwrap().status, 503);
    wait_for("the warning", || {
        let log = program.log();
        log.contains("does not resolve (no-such-name): there is no server yet")
            .then_some(())
    });

    names.say_hosts(&[1, 2]);
    wait_for_hosts(&program, &["1", "2"]);
    assert!(program.log().contains("resolves again"));

    names.say_hosts(&[1, 2, 3]);
    wait_for_hosts(&program, &["1", "2", "3"]);

    names.say_hosts(&[1, 2]);
    wait_for("two servers", || (shown(&program).len() == 2).then_some(()));
    let counts = answers(&program, 40);
    assert!(counts.keys().eq(["1", "2"]), "{counts:?}");
}

/// The new server takes the place of the one that went, and must not get its kept connections.
#[test]
fn no_request_is_sent_to_a_server_that_has_left() {
    let (names, servers) = (NameServer::start(), Servers::start(&[1, 2, 3]));
    names.say_hosts(&[1, 2]);
    let program = program(&names, &format!("shop.test:{}", servers.port), "");
    wait_for_hosts(&program, &["1", "2"]);
    answers(&program, 20);
    names.say_hosts(&[2, 3]);
    wait_for_hosts(&program, &["2", "3"]);
    let counts = answers(&program, 60);
    assert!(counts.keys().eq(["2", "3"]), "{counts:?}");
}

#[test]
fn the_last_known_good_is_kept() {
    let (names, servers) = (NameServer::start(), Servers::start(&[1, 2]));
    names.say_hosts(&[1, 2]);
    let dns = format!("shop.test:{}", servers.port);
    let program = program(&names, &dns, "family = \"ipv4\"");
    let failures = [
        (Says::Code(ResponseCode::NXDomain), "no-such-name"),
        (Says::Code(ResponseCode::ServFail), "server-failure"),
        (Says::Records(Vec::new()), "empty"),
        (Says::Silence, "no-answer"),
    ];
    for (says, word) in failures {
        names.say_hosts(&[1, 2]);
        wait_for_hosts(&program, &["1", "2"]);
        names.wait_until_asked_again(RecordType::A);
        names.say(says);
        names.wait_until_asked_again(RecordType::A);
        let kept = format!("does not resolve ({word}): the 2 servers known are kept");
        wait_for(&kept, || program.log().contains(&kept).then_some(()));
        let counts = answers(&program, 20);
        assert!(counts.keys().eq(["1", "2"]), "{word}: {counts:?}");
        let counter = format!(
            "evenkeel_discover_answers_total{{service=\"shop\",name=\"{dns}\",result=\"{word}\"}}"
        );
        assert!(program.metric(&counter) > 0.0);
    }
}

#[test]
fn a_removal_of_most_servers_is_held_back_for_a_while() {
    let (names, servers) = (NameServer::start(), Servers::start(&[1, 2, 3, 4, 5]));
    names.say_hosts(&[1, 2, 3, 4]);
    let dns = format!("shop.test:{}", servers.port);
    let program = program(&names, &dns, "hold = \"6s\"");
    wait_for_hosts(&program, &["1", "2", "3", "4"]);
    program.wait_until_up();

    let since = now();
    names.say_hosts(&[1, 5]);
    let is_held = || program.metric("evenkeel_discover_held_back{") > 0.0;
    wait_for("the metric", || is_held().then_some(()));
    let note = format!("{dns}: the removal of 3 working servers is held back");
    let services = program.api("/api/services").to_string();
    assert!(services.contains(&note), "{services}");
    // The new one has been added nevertheless.
    let counts = answers(&program, 50);
    assert!(counts.keys().eq(["1", "2", "3", "4", "5"]), "{counts:?}");
    wait_for("its end", || (!is_held()).then_some(()));
    assert!(
        since.elapsed() > Duration::from_secs(4),
        "{:?}",
        since.elapsed()
    );
    let counts = answers(&program, 20);
    assert!(counts.keys().eq(["1", "5"]), "{counts:?}");
    let log = program.log();
    let told = log.matches("more than half of them").count();
    assert_eq!(told, 1, "{log}");
}

#[test]
fn a_server_that_is_kept_despite_dns_leaves_when_it_fails() {
    let (names, servers) = (NameServer::start(), Servers::start(&[1, 2, 3, 4]));
    names.say_hosts(&[1, 2, 3, 4]);
    let dns = format!("shop.test:{}", servers.port);
    let program = program(&names, &dns, "hold = \"1h\"");
    wait_for_hosts(&program, &["1", "2", "3", "4"]);
    program.wait_until_up();
    names.say_hosts(&[1]);
    wait_for("the metric", || {
        (program.metric("evenkeel_discover_held_back{") > 0.0).then_some(())
    });
    for host in [2, 3, 4] {
        servers.break_down(host);
    }
    wait_for("one server", || (shown(&program).len() == 1).then_some(()));
    let counts = answers(&program, 20);
    assert!(counts.keys().eq(["1"]), "{counts:?}");
}

#[test]
fn srv_records_have_ports_weights_and_tiers() {
    let (names, servers) = (NameServer::start(), Servers::start(&[1, 2, 3]));
    let service = |priority, weight, target: &str| {
        let target = Name::from_ascii(target).unwrap();
        let data = RData::SRV(SRV::new(priority, weight, servers.port, target));
        ("_http._tcp.shop.test.", data)
    };
    names.say(Says::Records(vec![
        service(10, 3, "one.shop.test."),
        service(10, 1, "two.shop.test."),
        service(20, 0, "three.shop.test."),
        ("one.shop.test.", a(1)),
        ("two.shop.test.", a(2)),
        ("three.shop.test.", a(3)),
        (
            "one.shop.test.",
            RData::AAAA(AAAA("::ffff:0:0".parse().unwrap())),
        ),
    ]));
    let program = program(&names, "_http._tcp.shop.test", "family = \"ipv4\"");
    wait_for_hosts(&program, &["1", "2"]);
    let counts = answers(&program, 400);
    assert_eq!(counts["1"], 300, "{counts:?}");
    assert_eq!(counts["2"], 100, "{counts:?}");
    let servers = program.api("/api/services");
    let servers = servers.get("services").unwrap_or(&servers)[0]["servers"].clone();
    let of = |key: &str| -> Vec<u64> {
        let servers = servers.as_array().unwrap().iter();
        servers
            .map(|server| server[key].as_u64().unwrap())
            .collect()
    };
    assert_eq!(of("weight"), [3, 1, 1]);
    assert_eq!(of("tier"), [0, 0, 1]);
}

#[test]
fn a_listed_name_that_does_not_resolve_is_down_and_no_error() {
    let servers = Servers::start(&[1]);
    let program = Program::run(&format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [service.shop]\nservers = [\"127.0.0.1:{}\", \"nowhere.invalid:80\"]",
        servers.port
    ));
    assert!(program.log().contains("EK-125"), "{}", program.log());
    let state = (
        "nowhere-invalid-80".to_owned(),
        "down: unresolved".to_owned(),
    );
    wait_for("the state", || {
        shown(&program).contains(&state).then_some(())
    });
    assert!(answers(&program, 20).keys().eq(["1"]));
}

/// A program with a listener for DNS, too, and these listed servers before those from DNS; `more` is added to the name.
fn text_with_listed(names: &NameServer, servers: &Servers, listed: &[u8], more: &str) -> String {
    let port = servers.port;
    let one = |host: &u8| format!("{{ name = \"s{host}\", address = \"127.0.0.{host}:{port}\" }}");
    let listed: Vec<String> = listed.iter().map(one).collect();
    format!(
        "workers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [listen.names]\naddress = \"127.0.0.1:0\"\nprotocol = \"dns\"\nrate = 0\nnames = [{{ name = \"shop.example\", service = \"shop\" }}]\n\
         [service.shop]\nservers = [{}]\nbalance = {{ policy = \"weighted-round-robin\", slow_start = \"0s\" }}\n\
         detect = {{ probe = {{ http = \"/\", every = \"200ms\", timeout = \"5s\" }} }}\n\
         [service.shop.discover]\ndns = \"shop.test:{port}\"\nresolver = [\"{}\"]\n{more}",
        listed.join(", "),
        names.address
    )
}

fn reload(program: &Program, text: &str) {
    std::fs::write(program.folder.path().join("evenkeel.toml"), text).unwrap();
    let admin = format!("http://{}", program.admin);
    let done = common::call(program.folder.path(), &["reload", "--admin", &admin]);
    assert_eq!(done.status, Some(0), "{done:?}");
}

/// The hosts by which the program answers for `shop.example`.
fn answered(program: &Program) -> Option<BTreeSet<String>> {
    let mut listeners = program.listeners.iter();
    let (_, address) = listeners.find(|(name, _)| name == "names").unwrap();
    let mut query = Message::query();
    let name = Name::from_ascii("shop.example.").unwrap();
    query.add_query(hickory_proto::op::Query::query(name, RecordType::A));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket.send_to(&query.to_vec().unwrap(), address).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    let hosts = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(A(address)) => Some(address.octets()[3].to_string()),
            _ => None,
        });
    Some(hosts.collect())
}

/// Waits until exactly these take requests and are named.
fn wait_for_both(program: &Program, hosts: &[&str]) {
    wait_for_hosts(program, hosts);
    wait_for(&format!("names of {hosts:?}"), || {
        let answered = answered(program)?;
        answered.iter().eq(hosts).then_some(())
    });
}

/// Listed servers come and go before a name, a name changes its addresses, and its options are others: each at the same time.
#[test]
fn a_reload_during_a_change_in_dns_leaves_everybody_in_place() {
    let (names, servers) = (NameServer::start(), Servers::start(&[1, 2, 3, 4, 5]));
    names.say_hosts(&[1, 2]);
    let text = |listed: &[u8], more: &str| text_with_listed(&names, &servers, listed, more);
    let program = Program::run(&text(&[5], ""));
    wait_for_both(&program, &["1", "2", "5"]);
    reload(&program, &text(&[4, 5], ""));
    wait_for_both(&program, &["1", "2", "4", "5"]);
    names.say_hosts(&[2, 3]);
    reload(&program, &text(&[4], ""));
    wait_for_both(&program, &["2", "3", "4"]);
    // Another loop asks from now on, and the servers of the one before stay until it has an answer.
    let asked = names.asked(RecordType::A);
    names.say(Says::Silence);
    reload(&program, &text(&[4], "hold = \"7s\"\n"));
    wait_for("its question", || {
        (names.asked(RecordType::A) > asked).then_some(())
    });
    let counts = answers(&program, 30);
    assert!(counts.keys().eq(["2", "3", "4"]), "{counts:?}");
    names.say_hosts(&[1, 3]);
    wait_for_both(&program, &["1", "3", "4"]);
    // The service goes, and others that are not it have its name in DNS: the second one its place, too.
    for (name, policy) in [("other", "random"), ("third", "round-robin")] {
        let other = text(&[4], "").replace("shop\"", &format!("{name}\""));
        let other = other.replace("service.shop", &format!("service.{name}"));
        reload(&program, &other.replace("weighted-round-robin", policy));
        wait_for_both(&program, &["1", "3", "4"]);
    }
}
