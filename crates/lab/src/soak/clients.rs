//! The clients of the soak: ordinary ones, and those that reset, half-close, dribble, pipeline, read slowly or just go away.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_core::Random;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::http::{Wire, reset};

use super::pattern::{self, PatternCheck, random};

/// Clients at the same time, of each habit.
const OF_EACH: u64 = 6;
/// Longest time for one exchange. Evenkeel's own limits end it long before.
const PATIENCE: Duration = Duration::from_secs(60);

/// The behaviour of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ClientBehaviour {
    Ordinary,
    Poster,
    Pipelines,
    Resets,
    HalfCloses,
    Dribbles,
    ReadsSlowly,
    Abandons,
    Faulty,
}

const HABITS: [ClientBehaviour; 9] = [
    ClientBehaviour::Ordinary,
    ClientBehaviour::Poster,
    ClientBehaviour::Pipelines,
    ClientBehaviour::Resets,
    ClientBehaviour::HalfCloses,
    ClientBehaviour::Dribbles,
    ClientBehaviour::ReadsSlowly,
    ClientBehaviour::Abandons,
    ClientBehaviour::Faulty,
];

/// Kinds of answers that an ordinary request may ask for.
const KINDS: [&str; 11] = [
    "plain",
    "plain",
    "plain",
    "chunked",
    "untidy",
    "untidy-chunks",
    "pause",
    "slow",
    "close",
    "close-later",
    "until-close",
];

/// The clients' observations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClientCounts {
    /// By habit, disturbed or not, and what came of the exchange.
    by: BTreeMap<(ClientBehaviour, bool, String), u64>,
    /// Answers that held bytes of another exchange.
    pub(super) mixed: u64,
}

impl ClientCounts {
    /// Exchanges that failed in calm times, of clients that did nothing to deserve it, on servers that are not at fault, and
    /// all such exchanges. What may not be repeated is left out: a server may close a kept connection at any moment.
    pub(super) fn undeserved(&self) -> (u64, u64) {
        let calm = |habit: ClientBehaviour| {
            matches!(
                habit,
                ClientBehaviour::Ordinary
                    | ClientBehaviour::Pipelines
                    | ClientBehaviour::HalfCloses
                    | ClientBehaviour::ReadsSlowly
            )
        };
        let mine = self
            .by
            .iter()
            .filter(|((habit, disturbed, _), _)| calm(*habit) && !disturbed);
        let all = mine.clone().map(|(_, n)| n).sum();
        let failed = mine
            .filter(|((_, _, word), _)| word != "ok")
            .map(|(_, n)| n)
            .sum();
        (failed, all)
    }

    /// One row for each.
    pub(super) fn rows(&self) -> Vec<String> {
        let row = |((habit, disturbed, word), n): (&(ClientBehaviour, bool, String), &u64)| {
            let when = if *disturbed { "disturbed" } else { "calm" };
            format!(
                "  {:<12} {when:<10} {word:<28} {n:>9}",
                format!("{habit:?}")
            )
        };
        self.by.iter().map(row).collect()
    }

    pub(super) fn total(&self) -> u64 {
        self.by.values().sum()
    }
}

/// The running clients.
#[derive(Debug)]
pub(super) struct SoakClients {
    shared: Arc<ClientTotals>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct ClientTotals {
    counts: Mutex<ClientCounts>,
    disturbed: AtomicBool,
    stop: AtomicBool,
}

impl SoakClients {
    pub(super) fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let shared = Arc::new(ClientTotals::default());
        let for_thread = Arc::clone(&shared);
        let thread = evenkeel_runtime::spawn::thread("soak-clients", move || async move {
            let local = LocalSet::new();
            for (index, habit) in (0..OF_EACH).flat_map(|_| HABITS).enumerate() {
                let client = SoakClient {
                    target,
                    habit,
                    random: RefCell::new(random(seed, 1000 + index as u64)),
                    name: format!("c{index}"),
                    shared: Arc::clone(&for_thread),
                };
                local.spawn_local(Rc::new(client).run());
            }
            local.await;
        })?;
        Ok(Self { shared, thread })
    }

    /// The clients' observations so far.
    pub(super) fn counts(&self) -> ClientCounts {
        self.shared.counts().clone()
    }

    /// Whether what happens now may be the disturbance's doing.
    pub(super) fn disturbed(&self, disturbed: bool) {
        self.shared.disturbed.store(disturbed, Relaxed);
    }

    /// Lets each client finish its exchange.
    pub(super) fn stop(self) -> ClientCounts {
        self.shared.stop.store(true, Relaxed);
        // A client that panicked is missed in the counts.
        self.thread.join().ok();
        self.shared.counts().clone()
    }
}

impl ClientTotals {
    fn counts(&self) -> std::sync::MutexGuard<'_, ClientCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client, which opens one connection after the other.
struct SoakClient {
    target: SocketAddr,
    habit: ClientBehaviour,
    random: RefCell<Random>,
    name: String,
    shared: Arc<ClientTotals>,
}

/// A request that was sent, as its answer is checked.
struct SentRequest {
    id: String,
    length: usize,
}

impl SoakClient {
    async fn run(self: Rc<Self>) {
        let mut number = 0_u64;
        while !self.shared.stop.load(Relaxed) {
            number += 1;
            let before = self.shared.disturbed.load(Relaxed);
            let end = tokio::time::timeout(PATIENCE, self.visit(number)).await;
            let word = match end {
                Ok(Ok(word)) => word.to_owned(),
                Ok(Err(error)) => format!("error: {:?}", error.kind()),
                Err(_) => "hung".to_owned(),
            };
            let disturbed = before || self.shared.disturbed.load(Relaxed);
            *self
                .shared
                .counts()
                .by
                .entry((self.habit, disturbed, word))
                .or_default() += 1;
            tokio::time::sleep(self.up_to(40)).await;
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().below(bound)
    }

    fn up_to(&self, millis: u64) -> Duration {
        self.random
            .borrow_mut()
            .duration_up_to(Duration::from_millis(millis))
    }

    async fn visit(&self, number: u64) -> io::Result<&'static str> {
        let stream = TcpStream::connect(self.target).await?;
        let id = format!("{}x{number}", self.name);
        match self.habit {
            ClientBehaviour::Ordinary => self.ordinary(stream, &id, "").await,
            ClientBehaviour::Faulty => self.ordinary(stream, &id, "/faulty").await,
            ClientBehaviour::Poster => self.posts(stream, &id).await,
            ClientBehaviour::Pipelines => self.pipelines(stream, &id).await,
            ClientBehaviour::Resets => self.resets(stream, &id).await,
            ClientBehaviour::HalfCloses => self.half_closes(stream, &id).await,
            ClientBehaviour::Dribbles => self.dribbles(stream, &id).await,
            ClientBehaviour::ReadsSlowly => self.reads_slowly(stream, &id).await,
            ClientBehaviour::Abandons => self.abandons(stream, &id).await,
        }
    }

    fn get(&self, service: &str, id: &str) -> (SentRequest, String) {
        let kind = KINDS[self.below(KINDS.len())];
        let length = self.below(1 << (4 + self.below(14)));
        let head = format!("GET {service}/{kind}/{id}/{length} HTTP/1.1\r\nHost: soak\r\n\r\n");
        (
            SentRequest {
                id: id.to_owned(),
                length,
            },
            head,
        )
    }

    /// Reads one answer to its end and checks it.
    async fn answer(
        &self,
        wire: &mut Wire,
        asked: &SentRequest,
    ) -> io::Result<(&'static str, bool)> {
        let head = wire.read_response().await?;
        let mut check = PatternCheck::new(&asked.id);
        let mut seen = Vec::new();
        let length = wire
            .read_body(head.framing("GET")?, |part| {
                check.add(part);
                if seen.len() < 200 {
                    seen.extend_from_slice(part);
                }
            })
            .await?;
        let keeps = head.keeps_alive();
        if head.fields.get("proxy-status").is_some() {
            return Ok((local_reply(head.status), keeps));
        }
        if head.status == 413 {
            return Ok(("ok", keeps));
        }
        if !check.is_right() || length != asked.length as u64 {
            self.shared.counts().mixed += 1;
            return Ok(("mixed", false));
        }
        Ok(("ok", keeps))
    }

    async fn ordinary(
        &self,
        stream: TcpStream,
        id: &str,
        service: &str,
    ) -> io::Result<&'static str> {
        let mut wire = Wire::new(stream);
        let service = match (service, self.below(4)) {
            ("", 0) => "/busy",
            ("", 1) => "/hedged",
            _ => service,
        };
        for part in 0..=self.below(12) {
            let (asked, head) = self.get(service, &format!("{id}p{part}"));
            wire.write(head.as_bytes()).await?;
            let (word, keeps) = self.answer(&mut wire, &asked).await?;
            if word != "ok" || !keeps {
                return Ok(word);
            }
            tokio::time::sleep(self.up_to(30)).await;
        }
        Ok("ok")
    }

    async fn posts(&self, stream: TcpStream, id: &str) -> io::Result<&'static str> {
        let mut wire = Wire::new(stream);
        let kind = ["plain", "plain", "early", "refuse"][self.below(4)];
        let (length, answer) = (self.below(256 * 1024), self.below(2000));
        let head = format!(
            "POST /{kind}/{id}/{answer} HTTP/1.1\r\nHost: soak\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&pattern::body(id, length));
        // An early response can arrive before everything is written; it is read nevertheless.
        let written = wire.write(&bytes).await;
        let asked = SentRequest {
            id: id.to_owned(),
            length: answer,
        };
        let (word, _) = self.answer(&mut wire, &asked).await?;
        Ok(match written {
            Err(_) if word == "ok" && kind == "plain" => "answered while it wrote",
            _ => word,
        })
    }

    async fn pipelines(&self, stream: TcpStream, id: &str) -> io::Result<&'static str> {
        let mut wire = Wire::new(stream);
        let (mut all, mut heads) = (Vec::new(), String::new());
        for part in 0..3 {
            let (id, length) = (format!("{id}p{part}"), self.below(3000));
            let kind = ["plain", "chunked", "slow"][self.below(3)];
            heads.push_str(&format!(
                "GET /{kind}/{id}/{length} HTTP/1.1\r\nHost: soak\r\n\r\n"
            ));
            all.push(SentRequest { id, length });
        }
        wire.write(heads.as_bytes()).await?;
        for asked in &all {
            let (word, _) = self.answer(&mut wire, asked).await?;
            if word != "ok" {
                return Ok(word);
            }
        }
        Ok("ok")
    }

    async fn resets(&self, mut stream: TcpStream, id: &str) -> io::Result<&'static str> {
        let service = ["", "/busy", "/hedged"][self.below(3)];
        let length = self.below(100_000);
        let head = format!("GET {service}/slow/{id}/{length} HTTP/1.1\r\nHost: soak\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        tokio::time::sleep(self.up_to(400)).await;
        reset(&stream);
        Ok("ok")
    }

    async fn half_closes(&self, stream: TcpStream, id: &str) -> io::Result<&'static str> {
        let (asked, head) = self.get("", id);
        let mut stream = stream;
        stream.write_all(head.as_bytes()).await?;
        stream.shutdown().await?;
        Ok(self.answer(&mut Wire::new(stream), &asked).await?.0)
    }

    async fn dribbles(&self, mut stream: TcpStream, id: &str) -> io::Result<&'static str> {
        let length = self.below(400);
        let head = format!(
            "POST /plain/{id}/40 HTTP/1.1\r\nHost: soak\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&pattern::body(id, length));
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let n = 1 + self.below(rest.len().min(80));
            stream.write_all(&rest[..n]).await?;
            tokio::time::sleep(self.up_to(60)).await;
            rest = &rest[n..];
        }
        let asked = SentRequest {
            id: id.to_owned(),
            length: 40,
        };
        Ok(self.answer(&mut Wire::new(stream), &asked).await?.0)
    }

    async fn reads_slowly(&self, stream: TcpStream, id: &str) -> io::Result<&'static str> {
        socket2::SockRef::from(&stream).set_recv_buffer_size(16 * 1024)?;
        let mut wire = Wire::new(stream);
        let length = 100_000 + self.below(500_000);
        wire.write(
            format!(
                "GET /chunked/{id}/{length} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n"
            )
            .as_bytes(),
        )
        .await?;
        tokio::time::sleep(self.up_to(1500)).await;
        Ok(self
            .answer(
                &mut wire,
                &SentRequest {
                    id: id.to_owned(),
                    length,
                },
            )
            .await?
            .0)
    }

    async fn abandons(&self, mut stream: TcpStream, id: &str) -> io::Result<&'static str> {
        match self.below(4) {
            0 => stream.write_all(b"GET /plain/half HT").await?,
            1 => {
                let head = format!(
                    "POST /plain/{id}/9 HTTP/1.1\r\nHost: soak\r\nContent-Length: 5000\r\n\r\nhalf"
                );
                stream.write_all(head.as_bytes()).await?;
            }
            2 => {
                // Its server pauses for longer than evenkeel waits for a byte.
                let head = format!("GET /events/{id}/0 HTTP/1.1\r\nHost: soak\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                tokio::time::sleep(Duration::from_secs(6)).await;
            }
            _ => {}
        }
        tokio::time::sleep(self.up_to(500)).await;
        Ok("ok")
    }
}

const fn local_reply(status: u16) -> &'static str {
    match status {
        400 => "refused: 400",
        408 => "refused: 408",
        502 => "refused: 502",
        503 => "refused: 503",
        504 => "refused: 504",
        _ => "refused: another status",
    }
}
