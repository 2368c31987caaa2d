//! A scorecard, not a test: what clients see of one bad server out of three, by the clock: hung with hedging on, and ten times
//! slower with the defaults. Open loop, so that a late answer does not keep the next request from being made. It means something on
//! a quiet machine only; `cargo xtask scorecards` runs it.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an experiment in real time with clients and servers of its own, and a report"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use evenkeel_core::Random;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

const PER_SECOND: f64 = 200.0;
/// Until the policy and the quantile know what is usual; then without a fault; then with it.
const WARM: u64 = 3;
const QUIET: u64 = 6;
const FAULT: u64 = 20;

/// A server that takes 10 to 30 ms, times a factor; 0 never answers.
#[derive(Debug)]
struct Server {
    factor: AtomicU32,
    random: Mutex<Random>,
    asked: AtomicU64,
}

impl Server {
    async fn start(seed: u64) -> (Arc<Self>, SocketAddr) {
        let server = Arc::new(Self {
            factor: AtomicU32::new(1),
            random: Mutex::new(Random::seeded(seed)),
            asked: AtomicU64::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let all = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&all).serve(stream));
            }
        });
        (server, address)
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut bytes = [0; 1024];
        while let Ok(1..) = stream.read(&mut bytes).await {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let draw = self.random.lock().expect("no panic").unit();
            let factor = self.factor.load(Ordering::SeqCst);
            if factor == 0 {
                sleep(Duration::from_secs(60)).await;
            }
            sleep(Duration::from_secs_f64(0.01 + 0.02 * draw) * factor).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// One request; how long it took from its time on, if it was answered well.
async fn ask(proxy: SocketAddr, from: Instant) -> Option<Duration> {
    let mut stream = TcpStream::connect(proxy).await.ok()?;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    answer.starts_with(b"HTTP/1.1 200").then(|| from.elapsed())
}

#[derive(Debug)]
struct Seen {
    quiet: Duration,
    fault: Duration,
    failed: usize,
    /// What servers were asked for each request during the fault.
    load: f64,
}

/// Load for `seconds`; the 99th percentile of what was answered, and how many were not.
async fn load(proxy: SocketAddr, seconds: u64) -> (Duration, usize) {
    let start = Instant::now();
    let mut requests = Vec::new();
    let number = (PER_SECOND * seconds as f64) as u32;
    for index in 0..number {
        let at = start + Duration::from_secs_f64(f64::from(index) / PER_SECOND);
        sleep_until(at).await;
        requests.push(tokio::spawn(ask(proxy, at)));
    }
    let mut times = Vec::new();
    for request in requests {
        times.extend(request.await.expect("no panic"));
    }
    times.sort();
    let failed = number as usize - times.len();
    (times[times.len() * 99 / 100], failed)
}

fn run(settings: &str, factor: u32) -> Seen {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (bad, one) = Server::start(1).await;
        let (first, two) = Server::start(2).await;
        let (second, three) = Server::start(3).await;
        let rig = Rig::new(&[one, two, three], settings);
        let asked = || -> u64 {
            let all = [&bad, &first, &second];
            all.iter()
                .map(|server| server.asked.load(Ordering::SeqCst))
                .sum()
        };
        load(rig.address(), WARM).await;
        let (quiet, _) = load(rig.address(), QUIET).await;
        let before = asked();
        bad.factor.store(factor, Ordering::SeqCst);
        let (fault, failed) = load(rig.address(), FAULT).await;
        let requests = PER_SECOND * FAULT as f64;
        let seen = Seen {
            quiet,
            fault,
            failed,
            load: (asked() - before) as f64 / requests,
        };
        tokio::task::spawn_blocking(move || drop(rig))
            .await
            .expect("no panic");
        seen
    })
}

/// Prints a row; whether it is as good as it has to be.
fn card(name: &str, seen: &Seen, most_times_quiet: u32, most_load: f64) -> bool {
    let good =
        seen.failed == 0 && seen.fault <= seen.quiet * most_times_quiet && seen.load < most_load;
    println!(
        "{name:<22} p99 quiet {:>7.1?}, with the fault {:>7.1?} (at most {most_times_quiet} times); {} failed; {:.3} attempts per request{}",
        seen.quiet,
        seen.fault,
        seen.failed,
        seen.load,
        if good { "" } else { "   NOT GOOD ENOUGH" }
    );
    good
}

fn main() -> ExitCode {
    let hung = run("[service.shop.hedge]\nafter = \"p95\"", 0);
    let hung = card("hung, hedged", &hung, 3, 1.07);
    let slow = run("", 10);
    let slow = card("ten times slower", &slow, 2, 2.0);
    if hung && slow {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
