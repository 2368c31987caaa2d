//! DNS answers of the real program, queried with common tools: dig, delv and dnsperf.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, and says what it measured"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use common::{PROGRAM, Program, free_ports, signal, wait_for};
use libtest_mimic::{Arguments, Failed, Trial};

/// A test's name, the tools that it needs, and the test.
type Case = (&'static str, &'static [&'static str], fn());

fn main() -> ExitCode {
    let tests: [Case; 7] = [
        (
            "addresses_services_and_nothing",
            &["dig"],
            addresses_services_and_nothing,
        ),
        ("delv_believes_it", &["delv"], delv_believes_it),
        (
            "a_large_answer_comes_by_tcp",
            &["dig"],
            a_large_answer_comes_by_tcp,
        ),
        (
            "a_dead_server_leaves_the_answer",
            &["dig"],
            a_dead_server_leaves_the_answer,
        ),
        ("rubbish_by_the_thousand", &["dig"], rubbish_by_the_thousand),
        ("dnsperf_loses_nothing", &["dnsperf"], dnsperf_loses_nothing),
        (
            "too_many_are_sent_to_tcp",
            &["dig"],
            too_many_are_sent_to_tcp,
        ),
    ];
    let trials = tests.map(|(name, needs, test)| {
        let missing = needs.iter().find(|tool| !is_there(tool));
        let kind = missing.map_or_else(String::new, |tool| format!("needs {tool}"));
        let ignored = missing.is_some();
        Trial::test(name, move || -> Result<(), Failed> {
            test();
            Ok(())
        })
        .with_kind(kind)
        .with_ignored_flag(ignored)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn is_there(tool: &str) -> bool {
    let called = Command::new(tool)
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let or_help = || {
        Command::new(tool)
            .arg("-h")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    called.or_else(|_| or_help()).is_ok()
}

/// A program that answers for three servers of its own, and `more` names.
fn start(more: &str, service: &str) -> (Program, SocketAddr) {
    let program = Program::run(&format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listen.names]\naddress = \"127.0.0.1:0\"\nprotocol = \"dns\"\n{more}\n\
         names = [{{ name = \"shop.example\", service = \"shop\" }}, {{ name = \"_http._tcp.shop.example\", service = \"shop\" }}]\n{service}",
    ));
    let address = program.listeners[0].1;
    (program, address)
}

fn children() -> String {
    let ports = free_ports(3);
    format!(
        "[service.shop.run]\ncommand = [\"{PROGRAM}\", \"sample-server\", \"--port\", \"{{port}}\"]\nports = [{}, {}, {}]",
        ports[0], ports[1], ports[2]
    )
}

fn listed(servers: usize) -> String {
    let list: Vec<String> = (1..=servers)
        .map(|n| format!("\"127.9.0.{n}:9\""))
        .collect();
    format!("[service.shop]\nservers = [{}]", list.join(", "))
}

fn tool(program: &str, address: SocketAddr, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .arg("@127.0.0.1")
        .args(["-p", &address.port().to_string()])
        .args(arguments)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn dig(address: SocketAddr, arguments: &[&str]) -> String {
    tool(
        "dig",
        address,
        &[&["+time=2", "+tries=2"], arguments].concat(),
    )
}

fn short(address: SocketAddr, arguments: &[&str]) -> Vec<String> {
    let text = dig(address, &[&["+short"], arguments].concat());
    text.lines().map(str::to_owned).collect()
}

fn addresses_services_and_nothing() {
    let (program, address) = start("", &children());
    program.wait_until_up();
    let full = dig(address, &["shop.example", "A"]);
    assert!(
        full.contains("flags: qr aa rd;") && full.contains("status: NOERROR"),
        "{full}"
    );
    assert!(!full.contains("WARNING: Message parser"), "{full}");
    // All three are at one address.
    assert_eq!(short(address, &["shop.example", "A"]), ["127.0.0.1"]);
    let mut services = short(address, &["_http._tcp.shop.example", "SRV"]);
    services.sort();
    let mut expected: Vec<String> = program
        .servers()
        .iter()
        .map(|server| {
            format!(
                "0 1 {} {}.shop.example.",
                server.address.port(),
                server.name
            )
        })
        .collect();
    expected.sort();
    assert_eq!(services, expected);
    assert_eq!(short(address, &["shop-2.shop.example", "A"]), ["127.0.0.1"]);
    assert!(dig(address, &["nobody.shop.example", "A"]).contains("NXDOMAIN"));
    assert!(dig(address, &["example.com", "A"]).contains("REFUSED"));
    assert!(dig(address, &["shop.example", "AAAA"]).contains("ANSWER: 0, AUTHORITY: 1"));
    assert!(
        dig(address, &["+subnet=192.0.2.0/24", "shop.example"])
            .contains("CLIENT-SUBNET: 192.0.2.0/24/24")
    );
    assert!(dig(address, &["+edns=1", "+noednsnegotiation", "shop.example"]).contains("BADVERS"));
    assert!(
        dig(
            address,
            &["+tcp", "+keepopen", "shop.example", "shop.example"]
        )
        .matches("status: NOERROR")
        .count()
            == 2
    );
    let metrics = common::get(program.admin, "/metrics").unwrap().body;
    assert!(
        metrics.contains("evenkeel_dns_answers_total{listener=\"names\",rcode=\"nxdomain\"} 1"),
        "{metrics}"
    );
}

fn delv_believes_it() {
    let (program, address) = start("", &children());
    program.wait_until_up();
    let text = tool("delv", address, &["-i", "shop.example", "A"]);
    assert!(
        text.contains("127.0.0.1") && text.contains("authoritative"),
        "{text}"
    );
    let text = tool("delv", address, &["-i", "_http._tcp.shop.example", "SRV"]);
    assert!(text.contains("shop-1.shop.example."), "{text}");
}

fn a_large_answer_comes_by_tcp() {
    let (_program, address) = start(
        "",
        &(listed(60).replace(
            "[service.shop]",
            "[service.shop]\nrecover = { mode = \"off\" }\ndetect = { probe = { every = \"1h\" } }",
        )),
    );
    // dig asks again by TCP when an answer was cut off; eight answers fit without that.
    assert_eq!(short(address, &["+noedns", "shop.example", "A"]).len(), 8);
    drop(_program);
    let (_program, address) = many();
    let cut = dig(address, &["+noedns", "+ignore", "shop.example", "A"]);
    assert!(cut.contains("flags: qr aa tc rd"), "{cut}");
    assert_eq!(short(address, &["+noedns", "shop.example", "A"]).len(), 60);
    let fits = dig(address, &["+bufsize=1232", "+ignore", "shop.example", "A"]);
    assert!(
        !fits.contains(" tc ") && fits.contains("ANSWER: 60"),
        "{fits}"
    );
}

/// All sixty in one answer.
fn many() -> (Program, SocketAddr) {
    let program = Program::run(&format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listen.names]\naddress = \"127.0.0.1:0\"\nprotocol = \"dns\"\n\
         names = [{{ name = \"shop.example\", service = \"shop\", answers = 60 }}]\n{}",
        listed(60).replace(
            "[service.shop]",
            "[service.shop]\nrecover = { mode = \"off\" }\ndetect = { probe = { every = \"1h\" } }"
        )
    ));
    let address = program.listeners[0].1;
    (program, address)
}

fn a_dead_server_leaves_the_answer() {
    let servers = children().replace(
        "\"{port}\"]",
        "\"{port}\", \"--mode-file\", \"{folder}/mode-{port}\"]",
    );
    let (program, address) = start("", &servers);
    program.wait_until_up();
    let all = program.servers();
    let victim = &all[1];
    // None of them comes back.
    for server in &all {
        let file = format!("mode-{}", server.address.port());
        std::fs::write(program.folder.path().join(file), "exit 3").unwrap();
    }
    let answered = |name: &str| {
        let services = short(address, &["_http._tcp.shop.example", "SRV"]);
        services.iter().any(|line| line.contains(name))
    };
    assert!(answered("shop-2"));
    signal(victim.pid.unwrap(), "KILL");
    wait_for("it to leave the answer", || {
        (!answered("shop-2")).then_some(())
    });
    assert!(answered("shop-1") && answered("shop-3"));
    for server in [&all[0], &all[2]] {
        signal(server.pid.unwrap(), "KILL");
    }
    wait_for("nobody to be left", || {
        dig(address, &["shop.example", "A"])
            .contains("SERVFAIL")
            .then_some(())
    });
}

fn rubbish_by_the_thousand() {
    let (program, address) = start("rate = 0", &children());
    program.wait_until_up();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = evenkeel_core::Random::seeded(7);
    let query =
        b"\x00\x4d\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04shop\x07example\x00\x00\x01\x00\x01";
    for round in 0..20_000_usize {
        let mut packet = query.to_vec();
        if round.is_multiple_of(3) {
            packet = (0..random.below(700))
                .map(|_| random.bits() as u8)
                .collect();
        }
        for _ in 0..random.below(5) {
            if !packet.is_empty() {
                let at = random.below(packet.len());
                packet[at] = random.bits() as u8;
            }
        }
        socket.send_to(&packet, address).unwrap();
    }
    for _ in 0..200 {
        let mut stream = TcpStream::connect(address).unwrap();
        let bytes: Vec<u8> = (0..random.below(300))
            .map(|_| random.bits() as u8)
            .collect();
        stream.write_all(&bytes).ok();
    }
    assert_eq!(short(address, &["shop.example", "A"]), ["127.0.0.1"]);
    let mut stream = TcpStream::connect(address).unwrap();
    let mut framed = vec![0, query.len() as u8];
    framed.extend_from_slice(query);
    // Two queries in one piece, answered in order.
    stream
        .write_all(&[&framed[..], &framed[..]].concat())
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    for _ in 0..2 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..2], query[..2]);
    }
}

fn dnsperf_loses_nothing() {
    let (program, address) = start("rate = 0", &children());
    program.wait_until_up();
    let queries = program.folder.path().join("queries");
    std::fs::write(
        &queries,
        "shop.example A\n_http._tcp.shop.example SRV\nshop.example AAAA\nnobody.shop.example A\n",
    )
    .unwrap();
    let output = Command::new("dnsperf")
        .args([
            "-s",
            "127.0.0.1",
            "-p",
            &address.port().to_string(),
            "-l",
            "2",
            "-c",
            "4",
            "-q",
            "20",
            "-d",
        ])
        .arg(&queries)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |label: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.contains(label))
            .unwrap_or_else(|| panic!("{text}"));
        let rest = line.split(':').nth(1).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    assert!(number("Queries completed") > 1_000.0, "{text}");
    assert!(number("Queries lost") < 1.0, "{text}");
    println!("{text}");
}

fn too_many_are_sent_to_tcp() {
    let (program, address) = start("rate = 1", &children());
    program.wait_until_up();
    wait_for("an answer that was cut off", || {
        dig(
            address,
            &["+ignore", "+tries=1", "+time=1", "shop.example", "A"],
        )
        .contains(" tc ")
        .then_some(())
    });
    for _ in 0..20 {
        assert_eq!(
            short(address, &["+tcp", "shop.example", "A"]),
            ["127.0.0.1"]
        );
    }
    let metrics = common::get(program.admin, "/metrics").unwrap().body;
    assert!(
        metrics.contains("evenkeel_dns_truncated_total{listener=\"names\"}"),
        "{metrics}"
    );
}
