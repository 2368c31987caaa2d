//! One of 10,000 servers changes.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::{PROGRAM, Program, call, free_ports, get, now, wait_for};
use crate::{Connection, Held, Layout, reload, reloads, say};

/// How many servers there are in the test of many.
const MANY: usize = 10_000;
/// A turn of a worker's timers.
const TICK: Duration = Duration::from_nanos(1 << 23);

/// A server at all addresses of this machine. Dropping it ends it.
struct Everywhere(Child);

impl Everywhere {
    fn start(port: u16) -> Self {
        let port_text = port.to_string();
        let mut server = Command::new(PROGRAM);
        server.args(["sample-server", "--ip", "0.0.0.0", "--port", &port_text]);
        let server = Self(server.stdout(Stdio::null()).spawn().unwrap());
        wait_for("the server", || get(Layout::address(port), "/").ok());
        server
    }
}

impl Drop for Everywhere {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A configuration with that many servers; the weight of one of them is `weight`.
fn many(port: u16, weight: usize) -> String {
    let servers = (0..MANY).map(|n| {
        let (a, b) = (n / 250, 1 + n % 250);
        let weight = if n == 77 { weight } else { 1 };
        format!("{{ name = \"n{n}\", address = \"127.9.{a}.{b}:{port}\", weight = {weight} }}")
    });
    let servers: Vec<String> = servers.collect();
    format!(
        "workers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"calm\"\n\
         routes = [{{ path = \"/many\", service = \"many\" }}]\n[service.calm]\nservers = [\"127.0.0.1:{port}\"]\n\
         [service.many]\nservers = [\n{}]\n[service.many.detect]\nprobe = {{ every = \"10s\" }}\n",
        servers.join(",\n")
    )
}

/// A steady stream of requests on one connection, and how long each took.
struct Pulse {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, Duration)>>,
}

impl Pulse {
    fn start(address: SocketAddr) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let told = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut connection = Connection::open(address);
            let mut times = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let began = now();
                connection.send("GET /bytes/10 HTTP/1.1\r\nHost: shop\r\n\r\n");
                let head = connection.head();
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                connection.take(10);
                times.push((began, began.elapsed()));
                std::thread::park_timeout(Duration::from_millis(1));
            }
            times
        });
        Self { is_over, thread }
    }

    fn stop(self) -> Vec<(Instant, Duration)> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What reloads of many servers took.
#[derive(Default)]
struct Measured {
    checks: Vec<Duration>,
    /// When each reload began, and how long it took.
    reloads: Vec<(Instant, Duration)>,
    settled: Option<Held>,
}

impl Measured {
    /// At length, on a quiet machine: a reload takes at most twice as long as a check, stops the worker for at most a turn of its timers,
    /// and leaves no memory behind.
    fn judge(self, pulse: &[(Instant, Duration)], held: Held) {
        let longest = |(began, took): &(Instant, Duration)| {
            let within =
                |(at, time): &&(Instant, Duration)| *at + *time >= *began && *at <= *began + *took;
            let times = pulse.iter().filter(within).map(|(_, time)| *time);
            times.max().unwrap_or_default()
        };
        let longest: Vec<Duration> = self.reloads.iter().map(longest).collect();
        let (number, settled) = (self.reloads.len(), self.settled.unwrap());
        let reload = median(self.reloads.iter().map(|(_, took)| *took).collect());
        let (check, longest, all) = (
            median(self.checks),
            median(longest),
            median(pulse.iter().map(|(_, time)| *time).collect()),
        );
        say(&format!(
            "{MANY} servers, {number} reloads that change one, medians: {reload:?}, `evenkeel check` {check:?}, the slowest of the requests \
             beside a reload {longest:?}, each of these {all:?}; {settled:?} after a quarter of them, {held:?} at the end"
        ));
        assert!(held.memory < settled.memory + settled.memory / 10);
        // What is not optimised says nothing about how long it takes.
        assert!(cfg!(debug_assertions) || reload <= 2 * check);
        assert!(cfg!(debug_assertions) || longest <= TICK);
    }
}

/// One of 10,000 servers changes: that and nothing else is said to be changed, no request fails, and nothing of the configuration before
/// stays.
#[test]
fn one_of_very_many_servers_changes() {
    let (reloads, is_long) = reloads();
    let reloads = if is_long { reloads } else { 3 };
    let port = free_ports(1)[0];
    let _server = Everywhere::start(port);
    let program = Program::run(&many(port, 1));
    let pulse = Pulse::start(program.address());
    let mut measured = Measured::default();
    for number in 1..=reloads {
        let weight = 1 + number % 2;
        let text = many(port, weight);
        if is_long {
            fs::write(program.folder.path().join("check.toml"), &text).unwrap();
            let began = now();
            call(program.folder.path(), &["check", "check.toml"]);
            measured.checks.push(began.elapsed());
        }
        let began = now();
        let said = reload(&program, &text);
        // It makes the worker take the new set of servers.
        assert_eq!(get(program.address(), "/many").unwrap().status, 200);
        measured.reloads.push((began, began.elapsed()));
        let line = format!("service many: server n77: weight {} → {weight}", 3 - weight);
        assert_eq!(said.trim(), line);
        if number == reloads / 4 {
            measured.settled = Some(Held::by(&program));
        }
    }
    let pulse = pulse.stop();
    wait_for("the end of all configurations but the last", || {
        let generations = program.metric("evenkeel_reload_generations");
        (generations as usize == 1).then_some(())
    });
    if is_long {
        measured.judge(&pulse, Held::by(&program));
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
