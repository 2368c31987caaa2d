//! What clients and servers of one run share: who has sent what, and what went wrong.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::Random;

use crate::bytes::{one_in, pick};

/// One run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// What was not right.
    faults: Mutex<Vec<String>>,
    /// How often each request has come to a server.
    arrivals: Mutex<BTreeMap<u32, u32>>,
    /// What a client has seen of the answer to each request.
    pub(crate) seen: Mutex<BTreeMap<u32, Seen>>,
    /// Numbers of requests that servers may see, with whether each may be repeated.
    pub(crate) sendable: Mutex<BTreeMap<u32, bool>>,
    /// Connections at servers that are open.
    pub(crate) open: AtomicU64,
    /// Bytes that servers have read.
    pub(crate) read: AtomicU64,
    /// Bytes that servers may have written.
    pub(crate) written: AtomicU64,
    /// Answers that clients have seen as a whole.
    pub(crate) whole: AtomicU64,
}

/// What a client has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// Whether it came to its end.
    pub(crate) whole: bool,
    /// How it ended, for the message of a failure.
    #[expect(dead_code, reason = "it is shown only")]
    pub(crate) how: String,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            faults: Mutex::default(),
            arrivals: Mutex::default(),
            seen: Mutex::default(),
            sendable: Mutex::default(),
            open: AtomicU64::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            whole: AtomicU64::new(0),
        }
    }

    /// The path of a request, which names this run.
    pub(crate) fn path(&self, id: u32) -> String {
        format!("{}{id:08x}", self.prefix())
    }

    pub(crate) fn prefix(&self) -> String {
        format!("/run-{:016x}/", self.seed)
    }

    /// Randomness that belongs to `what` of this run, whatever else happens.
    pub(crate) fn random(&self, what: u64) -> Random {
        Random::seeded(self.seed ^ what.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn fault(&self, what: String) {
        self.faults.lock().expect("no panic").push(what);
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().expect("no panic").clone()
    }

    /// A request has come to a server; how often before.
    pub(crate) fn arrives(&self, id: u32) -> u32 {
        let mut arrivals = self.arrivals.lock().expect("no panic");
        let before = arrivals.entry(id).or_default();
        *before += 1;
        *before - 1
    }

    pub(crate) fn arrivals(&self) -> BTreeMap<u32, u32> {
        self.arrivals.lock().expect("no panic").clone()
    }

    pub(crate) fn count(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// A pause of at most so many milliseconds, mostly none.
pub(crate) fn pause(random: &mut Random, most: u64) {
    if one_in(random, 3) {
        wait(random.duration_up_to(Duration::from_millis(most)));
    }
}

/// Does nothing for a while. Nothing is expected to have happened after it.
#[expect(clippy::disallowed_methods, reason = "timing is what is varied here")]
pub(crate) fn wait(duration: Duration) {
    std::thread::sleep(duration);
}

/// `bytes` in random pieces.
pub(crate) fn pieces<'a>(random: &mut Random, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let most = match pick(random, 8) {
        0 => 5,
        1 => 100,
        2 | 3 => 5_000,
        _ => return vec![bytes],
    };
    // Small pieces of long bytes would take for ever.
    let most = most.max(bytes.len() / 20);
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, next) = rest.split_at((1 + pick(random, most)).min(rest.len()));
        pieces.push(piece);
        rest = next;
    }
    pieces
}

/// The other side sees a reset when the connection is dropped.
pub(crate) fn reset_on_drop(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("a socket's option");
}
