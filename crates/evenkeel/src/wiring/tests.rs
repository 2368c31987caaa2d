//! The whole program in this process, with a panic in each of its parts.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::*;
use crate::configuration::parse;

const LONG: Duration = Duration::from_secs(30);

/// Header of a query for `.`, type A.
const QUERY: [u8; 17] = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];

/// A server that answers everything with 200.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(std::io::Result::ok) {
            std::thread::spawn(move || {
                while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether DNS is answered; a query that arrived while the socket was not read is answered later, and one may be lost.
fn resolves(address: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    (0..60).any(|_| {
        socket.send_to(&QUERY, address).unwrap();
        socket.recv(&mut [0; 512]).is_ok_and(|length| length >= 12)
    })
}

fn wait_for(what: &str, clock: Clock, enough: impl Fn() -> bool) {
    let end = clock.now() + LONG;
    while !enough() {
        assert!(
            clock.now() < end,
            "timed out after {LONG:?} waiting for {what}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn started(folder: &std::path::Path) -> RunningEvenkeel {
    let text = format!(
        "workers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [listen.names]\naddress = \"127.0.0.1:0\"\nprotocol = \"dns\"\nnames = [{{ name = \"shop.example\", service = \"shop\" }}]\n\
         [service.shop]\nservers = [\"{}\"]\n[service.shop.detect]\nprobe = {{ http = \"/\", every = \"200ms\" }}\n",
        server()
    );
    let loaded = parse(&text, "a test", folder).unwrap();
    start(loaded, None).unwrap()
}

#[test]
fn a_panic_in_any_part_is_contained_counted_and_the_part_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let running = started(folder.path());
    let (clock, tasks) = (running.clock, running.state.tasks().clone());
    let web = running.addresses[0].1.tcp().unwrap();
    let (names, admin) = (running.dns[0].1, running.admin.tcp().unwrap());
    wait_for("a server in service", clock, || {
        get(admin, "/health/ready").starts_with("HTTP/1.1 200 ")
    });
    for task in [
        "accept",
        "admin",
        "client-watch",
        "control",
        "dns",
        "dns-tcp",
        "dns-udp",
        "measure",
        "probes",
        "reaper",
        "rescue",
        "secrets",
        "sweep",
        "timers",
        "worker",
    ] {
        tasks.inject_panic(task);
        wait_for(task, clock, || tasks.restarts(task).value() == 1);
        let answer = get(web, "/");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{task}: {answer}");
        assert!(resolves(names), "{task}");
        let live = get(admin, "/health/live");
        assert!(live.starts_with("HTTP/1.1 200 "), "{task}: {live}");
        let metrics = get(admin, "/metrics");
        let counted = format!("evenkeel_task_restarts_total{{task=\"{task}\"}} 1\n");
        assert!(metrics.contains(&counted), "{task}: {metrics}");
    }
    // All parts work: probes are sent, and the loop turns.
    let probes = || {
        let metrics = get(admin, "/metrics");
        let line =
            |line: &&str| line.starts_with("evenkeel_probes_total") && line.contains("passed");
        metrics.lines().find(line).map(str::to_owned)
    };
    let before = probes();
    assert!(before.is_some());
    wait_for("another probe", clock, || probes() != before);

    tasks.entry("dns").set_down(true);
    let live = get(admin, "/health/live");
    assert!(
        live.starts_with("HTTP/1.1 503 ") && live.contains("dns"),
        "{live}"
    );
    running.stop(LONG);
}
