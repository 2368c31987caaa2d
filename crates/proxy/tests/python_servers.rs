//! uvicorn and gunicorn, which close connections that are idle for a second, and POSTs that come just then.
//!
//! A few seconds of what `cargo xtask keepalive` does at length. `.ci/setup` installs the servers.

#![allow(clippy::print_stdout, reason = "it says what it measured")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::{Client, Rig};
use evenkeel_core::Random;
use libtest_mimic::{Arguments, Failed, Trial};

/// How much is done: POSTs of each client, one about every second; clients, which begin together; runs.
struct Amount {
    rounds: u64,
    clients: u64,
    runs: u64,
}

const SHORT: Amount = Amount {
    rounds: 4,
    clients: 12,
    runs: 1,
};
/// What `cargo xtask keepalive` does: three runs of 1,500.
const AT_LENGTH: Amount = Amount {
    rounds: 30,
    clients: 50,
    runs: 3,
};

fn main() -> ExitCode {
    let tests = [
        ("uvicorn", uvicorn as fn() -> Command),
        ("gunicorn", gunicorn),
    ];
    let is_there = packages().join("uvicorn").is_dir();
    let trials = tests.map(|(name, command)| {
        let kind = if is_there { "" } else { "needs .ci/setup" };
        Trial::test(format!("posts_to_{name}"), move || -> Result<(), Failed> {
            posts(name, command);
            Ok(())
        })
        .with_kind(kind)
        .with_ignored_flag(!is_there)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// Where `.ci/setup` puts Python packages.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/python")
}

fn python(module: &str) -> Command {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let mut command = Command::new("python3");
    command
        .args(["-B", "-m", module])
        .env("PYTHONPATH", packages())
        .current_dir(here)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn uvicorn() -> Command {
    let mut command = python("uvicorn");
    command.args(["echo:asgi", "--port", "0", "--timeout-keep-alive", "1"]);
    command
}

fn gunicorn() -> Command {
    let mut command = python("gunicorn");
    command.args(["echo:wsgi", "--bind", "127.0.0.1:0", "--keep-alive", "1"]);
    // Workers of other kinds do not keep connections.
    command.args(["--worker-class", "gthread", "--threads", "16"]);
    command
}

/// A server that runs; dropping it ends it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts it, and reads on which port it listens from what it logs.
fn start(mut command: Command) -> (Server, SocketAddr) {
    let mut child = command.spawn().expect("python3 is there");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let server = Server(child);
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let (_, after) = line.split_once("http://")?;
            after.split_whitespace().next()?.parse().ok()
        })
        .expect("it says where it listens");
    // It must not be stopped by a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (server, address)
}

fn posts(name: &str, command: fn() -> Command) {
    let amount = match std::env::var_os("EVENKEEL_KEEPALIVE_AT_LENGTH") {
        Some(_) => AT_LENGTH,
        None => SHORT,
    };
    for run in 1..=amount.runs {
        let (_server, address) = start(command());
        let rig = Rig::of(&format!(
            "workers = 2\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
             [service.shop]\nservers = [\"{address}\"]\n"
        ));
        let proxy = rig.address();
        let clients: Vec<_> = (0..amount.clients)
            .map(|id| std::thread::spawn(move || client(proxy, id, amount.rounds)))
            .collect();
        let failed: u64 = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .sum();
        let all = amount.rounds * amount.clients;
        println!("{name} run {run}: {failed} of {all} were not answered 200");
        assert_eq!((failed, rig.totals().failed), (0, 0));
    }
}

/// A client's POSTs on one connection, each 1.000 ± 0.012 s after the last; how many failed.
fn client(proxy: SocketAddr, id: u64, rounds: u64) -> u64 {
    let mut random = Random::seeded(id);
    let mut connection = Client::connect(proxy);
    let mut failed = 0;
    let mut due = now();
    for round in 0..rounds {
        pause(due.saturating_duration_since(now()));
        due = now() + Duration::from_micros(988_000 + random.bits() % 24_000);
        let body = format!("{id} {round}");
        connection.send(format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = connection.response();
        if (answer.status, answer.body.as_slice()) != (200, body.as_bytes()) {
            println!("{id} {round}: {}", answer.head);
            failed += 1;
        }
    }
    failed
}

#[expect(clippy::disallowed_methods, reason = "the server's timeout is real")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[expect(clippy::disallowed_methods, reason = "the server's timeout is real")]
fn now() -> Instant {
    Instant::now()
}
