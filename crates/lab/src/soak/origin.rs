//! The servers of the soak test. The path of a request determines the server's behaviour: `/SERVICE?/KIND/ID/LENGTH`.
//!
//! The healthy ones are often awkward and never at fault: they pause, close, answer early and write malformed but
//! repairable heads. The faulty one breaks off, resets or stalls one request in five.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use evenkeel_core::Random;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use crate::http::{Wire, WireFraming, WireRequest, reset};

use super::configuration::{Addresses, IDLE_SECONDS};
use super::pattern::{self, PatternCheck, random};

/// Longest body that a request may ask for.
const LONGEST: usize = 4 << 20;
const GOOD_SERVERS: usize = 3;

/// The servers; they end with the process.
#[derive(Debug)]
pub(super) struct Origins {
    addresses: Addresses,
    mixed: Arc<AtomicU64>,
}

/// State shared by one server's connections.
#[derive(Debug)]
struct OriginServer {
    faulty: bool,
    random: RefCell<Random>,
    mixed: Arc<AtomicU64>,
}

/// How a connection continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterResponse {
    Keep,
    Close,
    Reset,
}

impl Origins {
    pub(super) fn start(seed: u64) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listeners = (0..=GOOD_SERVERS)
            .map(|_| evenkeel_runtime::listen(any, false, 1024))
            .collect::<io::Result<Vec<_>>>()?;
        let mut good = listeners
            .iter()
            .map(std::net::TcpListener::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        let faulty = good.pop().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mixed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&mixed);
        evenkeel_runtime::spawn::thread("soak-origins", move || async move {
            LocalSet::new()
                .run_until(serve_all(listeners, seed, counter))
                .await
        })?;
        Ok(Self {
            addresses: Addresses { good, faulty },
            mixed,
        })
    }

    pub(super) const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Requests whose body held bytes of something else.
    pub(super) fn mixed_up(&self) -> u64 {
        self.mixed.load(Relaxed)
    }
}

async fn serve_all(
    listeners: Vec<std::net::TcpListener>,
    seed: u64,
    mixed: Arc<AtomicU64>,
) -> io::Result<()> {
    for (index, listener) in listeners.into_iter().enumerate() {
        let server = Rc::new(OriginServer {
            faulty: index == GOOD_SERVERS,
            random: RefCell::new(random(seed, index as u64)),
            mixed: Arc::clone(&mixed),
        });
        let listener = TcpListener::from_std(listener)?;
        tokio::task::spawn_local(accept(server, listener));
    }
    std::future::pending().await
}

async fn accept(server: Rc<OriginServer>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Rc::clone(&server);
                tokio::task::spawn_local(async move {
                    let mut wire = Wire::new(stream);
                    // Errors of the peer's connection are expected.
                    let end = connection(&server, &mut wire).await;
                    if matches!(end, Ok(AfterResponse::Reset)) {
                        reset(wire.stream());
                    }
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(server: &Rc<OriginServer>, wire: &mut Wire) -> io::Result<AfterResponse> {
    while let Some(head) = wire.read_request().await? {
        match server.answer(wire, &head).await? {
            AfterResponse::Keep => {}
            then => return Ok(then),
        }
    }
    Ok(AfterResponse::Close)
}

impl OriginServer {
    fn up_to(&self, millis: u64) -> Duration {
        self.random
            .borrow_mut()
            .duration_up_to(Duration::from_millis(millis))
    }

    fn one_in(&self, number: usize) -> bool {
        self.random.borrow_mut().below(number) == 0
    }

    async fn answer(&self, wire: &mut Wire, head: &WireRequest) -> io::Result<AfterResponse> {
        let mut parts = head.target.rsplit('/');
        let length = parts.next().and_then(|text| text.parse::<usize>().ok());
        let (id, kind) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let length = length.unwrap_or(0).min(LONGEST);
        if self.faulty && kind != "health" && self.one_in(5) {
            return self.misbehave(wire, id, length).await;
        }
        match kind {
            "early" => {
                wire.write(&plain(200, id, length, "")).await?;
                self.read_body(wire, head, id).await?;
                return Ok(AfterResponse::Keep);
            }
            "refuse" => {
                wire.write(&plain(413, id, length, "Connection: close\r\n"))
                    .await?;
                return Ok(AfterResponse::Close);
            }
            _ => {}
        }
        self.read_body(wire, head, id).await?;
        self.respond(wire, kind, id, length).await
    }

    async fn respond(
        &self,
        wire: &mut Wire,
        kind: &str,
        id: &str,
        length: usize,
    ) -> io::Result<AfterResponse> {
        match kind {
            "chunked" => self.chunked(wire, id, length, "", "").await?,
            "untidy-chunks" => {
                self.chunked(wire, id, length, "  ", "Set-Cookie: trailing=1\r\n")
                    .await?;
            }
            "untidy" => {
                let untidy =
                    format!("X-Space : 1\r\nX-Fold: a\r\n b\r\nContent-Length: {length}\r\n");
                wire.write(&plain(200, id, length, &untidy)).await?;
            }
            "pause" => {
                let answer = plain(200, id, length, "");
                let half = answer.len() - length / 2;
                wire.write(&answer[..half]).await?;
                tokio::time::sleep(self.up_to(1000)).await;
                wire.write(&answer[half..]).await?;
            }
            "slow" => {
                tokio::time::sleep(self.up_to(800)).await;
                wire.write(&plain(200, id, length, "")).await?;
            }
            "close" => {
                wire.write(&plain(200, id, length, "Connection: close\r\n"))
                    .await?;
                return Ok(AfterResponse::Close);
            }
            "close-later" => {
                wire.write(&plain(200, id, length, "Keep-Alive: timeout=1\r\n"))
                    .await?;
                return match tokio::time::timeout(Duration::from_secs(1), wire.stream().readable())
                    .await
                {
                    Ok(_) => Ok(AfterResponse::Keep),
                    Err(_) => Ok(AfterResponse::Close),
                };
            }
            "until-close" => {
                wire.write(b"HTTP/1.0 200 OK\r\n\r\n").await?;
                wire.write(&pattern::body(id, length)).await?;
                return Ok(AfterResponse::Close);
            }
            "events" => {
                wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                wire.write(&chunk(&pattern::body(id, 32), "")).await?;
                tokio::time::sleep(Duration::from_secs(IDLE_SECONDS + 1)).await;
                wire.write(b"0\r\n\r\n").await?;
            }
            _ => wire.write(&plain(200, id, length, "")).await?,
        }
        Ok(AfterResponse::Keep)
    }

    async fn misbehave(
        &self,
        wire: &mut Wire,
        id: &str,
        length: usize,
    ) -> io::Result<AfterResponse> {
        let which = self.random.borrow_mut().below(4);
        match which {
            0 => Ok(AfterResponse::Reset),
            1 => {
                let answer = plain(200, id, length.max(64), "");
                wire.write(&answer[..answer.len() - 32]).await?;
                Ok(AfterResponse::Close)
            }
            2 => {
                tokio::time::sleep(Duration::from_secs(15)).await;
                Ok(AfterResponse::Close)
            }
            _ => {
                wire.write(b"not HTTP at all\r\n\r\n").await?;
                Ok(AfterResponse::Close)
            }
        }
    }

    async fn read_body(&self, wire: &mut Wire, head: &WireRequest, id: &str) -> io::Result<()> {
        let mut check = PatternCheck::new(id);
        let framing = head.framing()?;
        if framing != WireFraming::Empty && head.fields.has_token("expect", "100-continue") {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        wire.read_body(framing, |part| check.add(part)).await?;
        if !check.is_right() {
            self.mixed.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    async fn chunked(
        &self,
        wire: &mut Wire,
        id: &str,
        length: usize,
        blanks: &str,
        trailer: &str,
    ) -> io::Result<()> {
        wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await?;
        let body = pattern::body(id, length);
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            let n = 1 + self.random.borrow_mut().below(rest.len().min(16 * 1024));
            wire.write(&chunk(&rest[..n], blanks)).await?;
            rest = &rest[n..];
        }
        wire.write(format!("0{blanks}\r\n{trailer}\r\n").as_bytes())
            .await
    }
}

fn chunk(bytes: &[u8], blanks: &str) -> Vec<u8> {
    let mut chunk = format!("{:x}{blanks}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn plain(status: u16, id: &str, length: usize, fields: &str) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\n{fields}\r\n")
            .into_bytes();
    answer.extend_from_slice(&pattern::body(id, length));
    answer
}
