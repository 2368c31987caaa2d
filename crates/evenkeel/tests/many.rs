//! Ten thousand servers in one service: the memory per server, and that all of them are probed repeatedly. That probes
//! are spread evenly is tested on the schedule in virtual time: in real time it depends on the machine.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use common::Program;

const MANY: usize = 10_000;
/// A round of probes.
const ROUND: Duration = Duration::from_secs(4);

/// A program with this many servers at 127.a.b.c, all of them on one port.
fn with_servers(number: usize, port: u16) -> Program {
    let servers: Vec<String> = (0..number)
        .map(|n| {
            let (a, b, c) = (1 + n / 62_500, (n / 250) % 250, 1 + n % 250);
            format!("\"127.{a}.{b}.{c}:{port}\"")
        })
        .collect();
    Program::run(&format!(
        "workers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [service.shop]\nservers = [{}]\n[service.shop.detect]\nprobe = {{ every = \"{}s\" }}",
        servers.join(","),
        ROUND.as_secs(),
    ))
}

/// Resident memory, in bytes.
fn memory(program: &Program) -> u64 {
    let path = format!("/proc/{}/status", program.pid());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.unwrap().parse::<u64>().unwrap() * 1024
}

/// Takes all connections and tells of each.
fn listen() -> (u16, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, came) = mpsc::channel();
    std::thread::spawn(move || {
        for _stream in listener.incoming().map_while(Result::ok) {
            if told.send(()).is_err() {
                return;
            }
        }
    });
    (port, came)
}

/// The release takes 4.1 KB for each; the program under test is not optimised, so there is head room.
#[test]
fn each_of_very_many_costs_little_and_is_probed() {
    let (port, came) = listen();
    let few = with_servers(2, port);
    let beside = memory(&few);
    drop(few);

    let many = with_servers(MANY, port);
    // Everybody has been probed once.
    for _ in 0..MANY {
        came.recv_timeout(common::PATIENCE).unwrap();
    }
    let each = memory(&many).saturating_sub(beside) / u64::try_from(MANY).unwrap();
    println!("{each} bytes for each server");
    assert!((1_000..6_000).contains(&each), "{each} bytes for each");

    // And again.
    for _ in 0..2 * MANY {
        came.recv_timeout(common::PATIENCE).unwrap();
    }
}
