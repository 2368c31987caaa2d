//! Ten thousand servers in one service: what each costs in memory, and that their probes do not come all at once.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Program, now};

const MANY: usize = 10_000;
/// A round of probes.
const ROUND: Duration = Duration::from_secs(4);
/// A round is counted in so many parts.
const SLOTS: usize = 20;
/// So many rounds are looked at.
const TRIES: usize = 5;

/// A program with so many servers at 127.a.b.c, all of them behind one port.
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

/// Takes all connections and says when each came.
fn listen() -> (u16, mpsc::Receiver<Instant>) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (times, came) = mpsc::channel();
    std::thread::spawn(move || {
        for _stream in listener.incoming().map_while(Result::ok) {
            if times.send(now()).is_err() {
                return;
            }
        }
    });
    (port, came)
}

/// Connections by the part of a round that they came in, for a whole round from now.
fn a_round(came: &mpsc::Receiver<Instant>) -> Vec<usize> {
    let start = now();
    let mut slots = vec![0; SLOTS];
    while let Some(left) = ROUND.checked_sub(now() - start) {
        let Ok(time) = came.recv_timeout(left) else {
            break;
        };
        let part = time.saturating_duration_since(start).as_secs_f64() / ROUND.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let slot = (part * SLOTS as f64) as usize;
        if let Some(count) = slots.get_mut(slot) {
            *count += 1;
        }
    }
    slots
}

/// The release takes 4.1 KB for each; the program under test is not optimised, so there is head room.
#[test]
fn each_of_very_many_costs_little_and_is_probed_in_its_turn() {
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

    // A machine with much else to do puts probes off and makes up for them. What the program does by itself, it does each time.
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    while rounds.len() < TRIES && !rounds.last().is_some_and(|slots| is_even(slots)) {
        rounds.push(a_round(&came));
    }
    assert!(
        rounds.last().is_some_and(|slots| is_even(slots)),
        "probes by {SLOTS}ths of a round: {rounds:?}"
    );
}

/// Whether everybody was probed about once, and never many at the same time.
fn is_even(slots: &[usize]) -> bool {
    let total: usize = slots.iter().sum();
    let most = slots.iter().max().copied().unwrap_or_default();
    (MANY * 8 / 10..=MANY * 12 / 10).contains(&total) && most < 2 * MANY / SLOTS
}
