//! A scorecard, not a test: the overload that does not end by itself (Bronson et al., "Metastable failures in distributed systems", HotOS 2021): 280 requests a
//! second for a server that can do 300, clients that give up after a second, one retry, and a stall of ten seconds. Done with real
//! sockets, side by side: with what evenkeel has against it, and without. It means something on a quiet machine only;
//! `cargo xtask scorecards` runs it. In virtual time the same is a test of `tolerate`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an experiment in real time with clients and a server of its own, and a report"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Rig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, sleep_until, timeout};

const OFFERED: f64 = 280.0;
const CAPACITY: f64 = 300.0;
const HANDS: u32 = 10;
/// A client's patience.
const PATIENCE: Duration = Duration::from_secs(1);
/// Seconds before the stall, of the stall, and after it.
const QUIET: usize = 4;
const STALL: usize = 10;
const AFTER: usize = 8;
const ALL: usize = QUIET + STALL + AFTER;

/// A server that works at what came first, whether or not anybody waits for it any more.
#[derive(Default)]
struct Server {
    jobs: Mutex<VecDeque<oneshot::Sender<()>>>,
    came: Notify,
    stalled: AtomicBool,
    done: AtomicU32,
}

impl Server {
    async fn hand(self: Arc<Self>) {
        let takes = Duration::from_secs_f64(f64::from(HANDS) / CAPACITY);
        let mut free = tokio::time::Instant::now();
        loop {
            let job = self.jobs.lock().expect("no panic").pop_front();
            let Some(job) = job else {
                self.came.notified().await;
                continue;
            };
            while self.stalled.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(5)).await;
            }
            // By the clock and not by naps, so that it is exactly as quick as it should be.
            let now = tokio::time::Instant::now();
            free = free.max(now - Duration::from_millis(20)) + takes;
            sleep_until(free).await;
            self.done.fetch_add(1, Ordering::SeqCst);
            // Whoever asked may have gone.
            job.send(()).ok();
        }
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut bytes = [0; 1024];
        while let Ok(1..) = stream.read(&mut bytes).await {
            let (sender, answer) = oneshot::channel();
            self.jobs.lock().expect("no panic").push_back(sender);
            self.came.notify_one();
            if answer.await.is_err() {
                return;
            }
            let sent = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
            if sent.is_err() {
                return;
            }
        }
    }

    async fn start() -> (Arc<Self>, SocketAddr) {
        let server = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        for _ in 0..HANDS {
            tokio::spawn(Arc::clone(&server).hand());
        }
        let all = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&all).serve(stream));
            }
        });
        (server, address)
    }
}

/// One request; whether a good answer came in time.
async fn ask(proxy: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(proxy).await.ok()?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        answer.starts_with(b"HTTP/1.1 200").then_some(())
    };
    timeout(PATIENCE, asked).await.ok().flatten().is_some()
}

/// Good answers by the second in which they were asked for.
async fn run(settings: &str) -> Vec<u32> {
    let (server, address) = Server::start().await;
    let rig = Rig::new(&[address], settings);
    let proxy = rig.address();
    let good: Arc<Vec<AtomicU32>> = Arc::new((0..ALL).map(|_| AtomicU32::new(0)).collect());
    let start = tokio::time::Instant::now();
    let mut requests = Vec::new();
    for number in 0..(OFFERED * ALL as f64) as u32 {
        let at = Duration::from_secs_f64(f64::from(number) / OFFERED);
        sleep_until(start + at).await;
        let second = at.as_secs() as usize;
        server
            .stalled
            .store((QUIET..QUIET + STALL).contains(&second), Ordering::SeqCst);
        let good = Arc::clone(&good);
        requests.push(tokio::spawn(async move {
            if ask(proxy).await {
                good[second].fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    for request in requests {
        request.await.expect("no panic");
    }
    // The rig ends the proxy, which waits for its threads.
    tokio::task::spawn_blocking(move || drop(rig))
        .await
        .expect("no panic");
    good.iter()
        .map(|count| count.load(Ordering::SeqCst))
        .collect()
}

const GUARDED: &str = "[service.shop.timeout]\nattempt = \"500ms\"\ntotal = \"1s\"\n\
    [service.shop.retry]\nlimit = 1\n\
    [service.shop.limit]\nconcurrency = \"adaptive\"\nqueue = { length = 128, wait = \"500ms\" }";
const NAIVE: &str = "[service.shop.timeout]\nattempt = \"500ms\"\ntotal = \"1s\"\n\
    [service.shop.retry]\nlimit = 1\nbudget = { ratio = 1.0, floor_per_second = 1000, burst = 1000 }";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (guarded, naive) = runtime.block_on(async {
        let naive = tokio::spawn(run(NAIVE));
        let guarded = run(GUARDED).await;
        (guarded, naive.await.expect("no panic"))
    });
    println!(
        "good answers of {OFFERED} a second; the server stalls from second {QUIET} to {}",
        QUIET + STALL
    );
    println!("second    guarded   naive");
    for (second, (guarded, naive)) in guarded.iter().zip(&naive).enumerate() {
        println!("{second:6} {guarded:10} {naive:7}");
    }

    let enough = (OFFERED * 0.9) as u32;
    let quiet = |good: &[u32]| good[1..QUIET - 1].iter().all(|count| *count >= enough);
    let back = QUIET + STALL + 2;
    let cards = [
        (
            "both work without a stall",
            quiet(&guarded) && quiet(&naive),
        ),
        (
            "guarded, 90 % are good again two seconds after the stall",
            guarded[back..].iter().all(|count| *count >= enough),
        ),
        (
            "without a guard the overload stays",
            naive[back..].iter().all(|count| *count < enough / 2),
        ),
    ];
    for (what, holds) in cards {
        println!("{} {what}", if holds { "yes" } else { "NO " });
    }
    if cards.iter().all(|(_, holds)| *holds) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
