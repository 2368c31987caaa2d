//! A real worker between clients and servers that do whatever HTTP/1.1 allows and much of what it does not, with random bytes
//! and random timing on both sides. All of it follows from a seed but the timing of threads.
//!
//! Another run: `EVENKEEL_TEST_SEED=0x1234 cargo test --workspace --test random`. Runs with new seeds for as long as
//! one wants: `EVENKEEL_TEST_SECONDS=600`.

mod access;
mod answer;
mod bytes;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod message;
mod server;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use evenkeel_core::Outcome;
use evenkeel_runtime::Clock;

use crate::access::Line;
use crate::client::HANG_GUARD;
use crate::common::{Rig, counter, number};
use crate::world::World;

const CLIENTS: u32 = 6;
const CONNECTIONS: u32 = 18;

#[test]
fn streams_of_random_bytes_are_never_mixed_and_come_to_an_end() {
    access::listen();
    let given = |name| std::env::var(name).ok();
    if let Some(text) = given("EVENKEEL_TEST_SEED") {
        let digits = text.trim_start_matches("0x");
        run(u64::from_str_radix(digits, 16).expect("a hexadecimal seed"));
        return;
    }
    std::thread::scope(|scope| {
        // The new one is of the plain configuration.
        for seed in [1, 2, 3, new_seed() & !3] {
            scope.spawn(move || run(seed));
        }
    });
    let seconds = given("EVENKEEL_TEST_SECONDS").map_or(0, |text| text.parse().expect("a number"));
    let clock = Clock::start();
    let end = clock.now() + Duration::from_secs(seconds);
    while clock.now() < end {
        run(new_seed());
    }
}

fn new_seed() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    since.as_nanos() as u64
}

/// One of four configurations, by the seed.
fn rig(world: &Arc<World>) -> Rig {
    let servers: Vec<_> = (0..3)
        .map(|_| format!("\"{}\"", server::start(world)))
        .collect();
    let (more, tables) = match world.seed % 4 {
        0 => ("", ""),
        1 => ("retry = { response_buffer = \"16KiB\" }\n", ""),
        2 => ("hedge = { after = \"10ms\" }\n", ""),
        _ => (
            "",
            "[service.shop.limit]\nconcurrency = 1\nqueue = { length = 100, wait = \"2s\" }\n",
        ),
    };
    Rig::of(&format!(
        "workers = 1\nlog.access = true\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [service.shop]\nservers = [{}]\ntimeout = {{ attempt = \"400ms\", total = \"5s\", idle = \"1s\" }}\n{more}{tables}",
        servers.join(", ")
    ))
}

#[expect(clippy::print_stdout, reason = "the seed is said also if it hangs")]
fn run(seed: u64) {
    println!("EVENKEEL_TEST_SEED=0x{seed:016x}");
    let world = Arc::new(World::new(seed));
    let mut rig = rig(&world);
    let address = rig.address();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let world = &world;
            scope.spawn(move || {
                let mut random = world.random(u64::from(client) << 48 | 1 << 47);
                for connection in 0..CONNECTIONS {
                    let first = (client * CONNECTIONS + connection) * 8;
                    client::connection(world, &mut random, address, first);
                }
            });
        }
    });
    let state = rig.proxy().state();
    let clock = rig.clock;
    let end = clock.now() + HANG_GUARD;
    while state.connections() > 0 && clock.now() < end {
        world::wait(Duration::from_millis(1));
    }
    check_nothing_is_left(&world, &rig);
    check_log(&world, &rig, &access::take(&world.prefix()));
    if !rig.drain(HANG_GUARD) {
        world.fault("proxy: it does not end".to_owned());
    }
    while world.open.load(Ordering::Relaxed) > 0 && clock.now() < end {
        world::wait(Duration::from_millis(1));
    }
    let open = world.open.load(Ordering::Relaxed);
    if open > 0 {
        world.fault(format!("proxy: {open} connections to servers are left"));
    }
    let whole = world.whole.load(Ordering::Relaxed);
    if whole < u64::from(CLIENTS * CONNECTIONS) / 4 {
        world.fault(format!("only {whole} answers came to their end"));
    }
    let faults = world.faults();
    assert!(
        faults.is_empty(),
        "EVENKEEL_TEST_SEED=0x{seed:016x}\n{}",
        faults.join("\n")
    );
}

/// All clients are gone: no connection, place or attempt is counted any more.
fn check_nothing_is_left(world: &World, rig: &Rig) {
    let state = rig.proxy().state();
    let left = [
        ("connections", state.connections() as f64),
        (
            "attempts in flight",
            number(rig, "evenkeel_server_in_flight", &["shop"]),
        ),
        (
            "waiting requests",
            number(rig, "evenkeel_queue_waiting", &["shop"]),
        ),
    ];
    for (what, number) in left {
        if number > 0.0 {
            world.fault(format!("proxy: {number} {what} are left"));
        }
    }
    let sent = counter(rig, "evenkeel_server_sent_bytes_total", &["shop"]);
    let read = world.read.load(Ordering::Relaxed);
    if read > sent {
        world.fault(format!(
            "proxy: servers have read {read} bytes, counted were {sent}"
        ));
    }
    let received = counter(rig, "evenkeel_server_received_bytes_total", &["shop"]);
    let written = world.written.load(Ordering::Relaxed);
    if received > written {
        world.fault(format!(
            "proxy: servers wrote {written} bytes, counted were {received}"
        ));
    }
}

/// The log, the counters, the clients and the servers tell the same story.
fn check_log(world: &World, rig: &Rig, lines: &[Line]) {
    let fault = |what: String| world.fault(format!("log: {what}"));
    let totals = rig.totals();
    if totals.requests != lines.len() as u64 {
        fault(format!(
            "{} lines for {} requests",
            lines.len(),
            totals.requests
        ));
    }
    let mut attempts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut by_id = BTreeMap::new();
    for line in lines {
        let id = line["target_uri"].rsplit('/').next().expect("a path");
        let id = u32::from_str_radix(id, 16).expect("a number");
        if by_id.insert(id, line).is_some() {
            fault(format!("{id:x} has two lines"));
        }
        for attempt in line["attempts"].split_whitespace() {
            let word = attempt.rsplit(':').nth(1).expect("server:outcome:time");
            *attempts.entry(word).or_default() += 1;
        }
    }
    for word in Outcome::WORDS {
        let counted = counter(rig, "evenkeel_attempts_total", &["shop", word]);
        let logged = attempts.get(word).copied().unwrap_or(0);
        if counted != logged {
            fault(format!("{logged} attempts {word}, counted were {counted}"));
        }
    }
    for (id, arrived) in world.arrivals() {
        let made = by_id
            .get(&id)
            .map_or(0, |line| line["attempts"].split_whitespace().count());
        if made < arrived as usize {
            fault(format!(
                "{id:x} came to servers {arrived} times, in {made} attempts"
            ));
        }
    }
    for (id, seen) in world.seen.lock().expect("no panic").iter() {
        let Some(line) = by_id.get(id) else {
            fault(format!("{id:x} has no line"));
            continue;
        };
        // The reset that tells of a broken answer without a length takes those before it along, if they are still on their way.
        let of_connection = by_id.range(id..&(id / 8 * 8 + 8));
        let is_broken = of_connection
            .map(|(_, line)| line)
            .take(if seen.whole { 1 } else { 8 })
            .any(|line| !line["broken"].is_empty());
        let truly = line["status"] == seen.status.to_string()
            && is_broken != seen.whole
            && line["aborted"] == "false";
        if !truly {
            fault(format!("{id:x}: {seen:?}, but {line:?}"));
        }
    }
}
