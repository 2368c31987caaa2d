//! The sample server's endpoints, and how its mode spoils their responses.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::http::{Checksum, Wire, WireFraming, WireRequest};

use super::mode::ServerMode;
use super::shared::{SampleServerState, leave, set_mode};

/// Longest body that is sent.
const BODY_LIMIT: u64 = 1 << 30;
/// Longest body of `POST /mode` that is kept.
const MODE_LIMIT: usize = 256;

/// How the connection continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterAnswer {
    NextRequest,
    Close,
    Reset,
}

/// The response of an endpoint.
#[derive(Debug)]
enum Payload {
    Text {
        status: u16,
        kind: &'static str,
        body: String,
    },
    Bytes {
        length: u64,
    },
    Chunked {
        length: u64,
        trailer: bool,
    },
    /// Promises `length` bytes and breaks off after half of them.
    Cut {
        length: u64,
    },
    Garbage,
    Reset,
    /// Switches protocols and sends back every byte.
    Tunnel,
}

/// Counts a request in flight for as long as it lives.
struct BusyGuard(Rc<SampleServerState>);

impl BusyGuard {
    fn new(shared: &Rc<SampleServerState>) -> Self {
        shared.in_flight.set(shared.in_flight.get() + 1);
        Self(Rc::clone(shared))
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

/// Reads the rest of the request and answers it.
pub(super) async fn answer(
    shared: &Rc<SampleServerState>,
    wire: &mut Wire,
    head: &WireRequest,
) -> io::Result<AfterAnswer> {
    let path = head.target.split('?').next().unwrap_or("");
    let mut parts = path.trim_start_matches('/').split('/');
    let (first, second) = (parts.next().unwrap_or(""), parts.next());
    let control = matches!(first, "mode" | "count" | "seen");
    let counts = !control && !matches!(first, "health" | "load");
    if counts {
        shared.seen.borrow_mut().add(head);
    }
    let _busy = counts.then(|| BusyGuard::new(shared));
    let mode = *shared.mode.borrow();
    match mode {
        ServerMode::Hang if !control => return std::future::pending().await,
        ServerMode::HangPost if !control && head.method == "POST" => {
            return std::future::pending().await;
        }
        ServerMode::Close => return Ok(AfterAnswer::Close),
        // As what is sent again until it gets through.
        ServerMode::Drop { .. } => {
            let mut modes = shared.mode.subscribe();
            let drops = |mode: &ServerMode| matches!(mode, ServerMode::Drop { .. });
            modes.wait_for(|mode| !drops(mode)).await.ok();
        }
        _ => {}
    }
    let (body, length, sum) = read_body(wire, head).await?;
    let answer = match (first, second) {
        ("mode", _) => mode_answer(shared, head, &body),
        ("count", _) => Payload::Text {
            status: 200,
            kind: "application/json",
            body: shared.seen.borrow().counts_json(),
        },
        // No delay: it reports the current state.
        ("load", _) => Payload::Text {
            status: 200,
            kind: "application/json",
            body: format!("{{\"in_flight\":{}}}\n", shared.in_flight.get()),
        },
        ("seen", method) => plain(200, shared.seen.borrow().lines(method)),
        ("health", _) if matches!(mode, ServerMode::Sick | ServerMode::Unhealthy) => {
            plain(500, "sick\n".to_owned())
        }
        _ => {
            let factor = match mode {
                ServerMode::Slow(times) => times,
                ServerMode::Cold { times, .. } if first != "health" => {
                    warm_up(shared);
                    times
                }
                _ => 1.0,
            };
            let slots = shared.slots.borrow().clone();
            let _slot = match &slots {
                Some(slots) => slots.acquire().await.ok(),
                None => None,
            };
            pause(shared.base_delay.mul_f64(factor)).await;
            if first == "health" {
                plain(200, "ok\n".to_owned())
            } else if let Some(status) = spoiled(shared, mode) {
                plain(
                    status,
                    format!("{} answers {status} in mode {mode}\n", shared.name),
                )
            } else {
                endpoint(shared, head, first, second, length, sum).await
            }
        }
    };
    write(shared, wire, head, answer).await
}

async fn read_body(wire: &mut Wire, head: &WireRequest) -> io::Result<(Vec<u8>, u64, Checksum)> {
    let framing = head.framing()?;
    if framing != WireFraming::Empty && head.fields.has_token("expect", "100-continue") {
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let (mut start, mut sum) = (Vec::new(), Checksum::default());
    let length = wire
        .read_body(framing, |part| {
            sum.add(part);
            let room = MODE_LIMIT.saturating_sub(start.len()).min(part.len());
            start.extend_from_slice(&part[..room]);
        })
        .await?;
    Ok((start, length, sum))
}

fn mode_answer(shared: &Rc<SampleServerState>, head: &WireRequest, body: &[u8]) -> Payload {
    if head.method == "GET" {
        return plain(200, format!("{}\n", *shared.mode.borrow()));
    }
    match String::from_utf8_lossy(body).parse::<ServerMode>() {
        Ok(mode) => {
            set_mode(shared, mode);
            plain(200, format!("{mode}\n"))
        }
        Err(why) => plain(400, format!("{why}\n")),
    }
}

/// The status that the mode puts in place of the true answer to this request, if any.
fn spoiled(shared: &SampleServerState, mode: ServerMode) -> Option<u16> {
    match mode {
        ServerMode::Sick => Some(500),
        ServerMode::Status { status, share } => falls_to(shared, share).then_some(status),
        ServerMode::Shed { share, .. } => falls_to(shared, share).then_some(503),
        _ => None,
    }
}

/// One more request of those that are slow after a start.
fn warm_up(shared: &SampleServerState) {
    shared.mode.send_modify(|mode| {
        if let ServerMode::Cold { requests, .. } = mode {
            *requests = requests.saturating_sub(1);
            if *requests == 0 {
                *mode = ServerMode::Ok;
            }
        }
    });
}

/// Whether this request is one of such a share, evenly spread.
fn falls_to(shared: &SampleServerState, share: f64) -> bool {
    let sum = shared.share.get() + share;
    shared.share.set(if sum >= 1.0 { sum - 1.0 } else { sum });
    sum >= 1.0
}

async fn endpoint(
    shared: &SampleServerState,
    head: &WireRequest,
    first: &str,
    second: Option<&str>,
    length: u64,
    sum: Checksum,
) -> Payload {
    let number = second.and_then(|text| text.parse::<u64>().ok());
    match (first, number) {
        ("bytes", Some(length)) => Payload::Bytes {
            length: length.min(BODY_LIMIT),
        },
        ("chunked", Some(length)) => Payload::Chunked {
            length: length.min(BODY_LIMIT),
            trailer: false,
        },
        ("trailers", Some(length)) => Payload::Chunked {
            length: length.min(BODY_LIMIT),
            trailer: true,
        },
        ("cut", Some(length)) => Payload::Cut {
            length: length.min(BODY_LIMIT),
        },
        ("status", Some(status @ 200..1000)) => plain(
            u16::try_from(status).unwrap_or(500),
            format!("status {status}, as asked\n"),
        ),
        ("delay", Some(ms)) => {
            pause(Duration::from_millis(ms.min(600_000))).await;
            plain(200, format!("after {ms} ms\n"))
        }
        ("echo", _) => Payload::Text {
            status: 200,
            kind: "application/json",
            body: format!("{{\"length\":{length},\"checksum\":\"{:016x}\"}}\n", sum.0),
        },
        ("headers", _) => plain(
            200,
            head.fields
                .0
                .iter()
                .map(|(name, value)| format!("{name}: {value}\n"))
                .collect(),
        ),
        // Without an answer: what a request does that its server cannot bear.
        ("exit", Some(code)) => leave(&shared.name, i32::try_from(code).unwrap_or(1)),
        ("garbage", _) => Payload::Garbage,
        ("reset", _) => Payload::Reset,
        ("upgrade", _) => Payload::Tunnel,
        _ => {
            let body = serde_json::json!({
                "server": shared.address.to_string(), "name": shared.name, "path": head.target,
            });
            Payload::Text {
                status: 200,
                kind: "application/json",
                body: format!("{body}\n"),
            }
        }
    }
}

fn plain(status: u16, body: String) -> Payload {
    Payload::Text {
        status,
        kind: "text/plain",
        body,
    }
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

async fn write(
    shared: &SampleServerState,
    wire: &mut Wire,
    head: &WireRequest,
    answer: Payload,
) -> io::Result<AfterAnswer> {
    let again = head.keeps_alive() && !*shared.stopping.borrow();
    let connection = match (again, head.old) {
        (true, true) => "Connection: keep-alive\r\n",
        (true, false) => "",
        (false, _) => "Connection: close\r\n",
    };
    let wait = match *shared.mode.borrow() {
        ServerMode::Shed { seconds, .. } => format!("Retry-After: {seconds}\r\n"),
        _ => String::new(),
    };
    let start = |status: u16| {
        let wait = if status == 503 { wait.as_str() } else { "" };
        format!(
            "HTTP/1.1 {status} {}\r\nX-Server: {}\r\n{wait}{connection}",
            reason(status),
            shared.name
        )
    };
    let bodiless = head.method == "HEAD";
    match answer {
        Payload::Text { status, kind, body } => {
            let mut text = if matches!(status, 204 | 304) {
                format!("{}\r\n", start(status))
            } else {
                format!(
                    "{}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                    start(status),
                    body.len()
                )
            };
            if !bodiless && !matches!(status, 204 | 304) {
                text.push_str(&body);
            }
            wire.write(text.as_bytes()).await?;
        }
        Payload::Bytes { length } => {
            wire.write(format!("{}Content-Length: {length}\r\n\r\n", start(200)).as_bytes())
                .await?;
            if !bodiless {
                write_pattern(wire, length, false).await?;
            }
        }
        Payload::Chunked { length, trailer } => {
            wire.write(format!("{}Transfer-Encoding: chunked\r\n\r\n", start(200)).as_bytes())
                .await?;
            if !bodiless {
                write_pattern(wire, length, true).await?;
                let end = if trailer {
                    "0\r\nX-Length: "
                } else {
                    "0\r\n\r\n"
                };
                wire.write(end.as_bytes()).await?;
                if trailer {
                    wire.write(format!("{length}\r\n\r\n").as_bytes()).await?;
                }
            }
        }
        Payload::Cut { .. } | Payload::Garbage | Payload::Reset | Payload::Tunnel => {
            return write_last(wire, &start(200), answer).await;
        }
    }
    Ok(if again {
        AfterAnswer::NextRequest
    } else {
        AfterAnswer::Close
    })
}

/// Writes an answer after which the connection carries no other request.
async fn write_last(wire: &mut Wire, start: &str, answer: Payload) -> io::Result<AfterAnswer> {
    match answer {
        Payload::Cut { length } => {
            wire.write(format!("{start}Content-Length: {length}\r\n\r\n").as_bytes())
                .await?;
            write_pattern(wire, length / 2, false).await?;
        }
        Payload::Tunnel => {
            wire.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            )
            .await?;
            let mut bytes = Vec::new();
            while wire.read_some(&mut bytes).await? > 0 {
                wire.write(&bytes).await?;
                bytes.clear();
            }
        }
        Payload::Reset => return Ok(AfterAnswer::Reset),
        Payload::Garbage
        | Payload::Text { .. }
        | Payload::Bytes { .. }
        | Payload::Chunked { .. } => {
            wire.write(b"This is no HTTP.\r\n\r\n").await?;
        }
    }
    Ok(AfterAnswer::Close)
}

/// Byte `i` of every long body is `32 + i % 89` (printable), so that a lost or repeated part shows.
fn pattern() -> Vec<u8> {
    (0..89 * 736_u32)
        .map(|i| 32 + u8::try_from(i % 89).expect("below 89"))
        .collect()
}

async fn write_pattern(wire: &mut Wire, length: u64, chunked: bool) -> io::Result<()> {
    let pattern = pattern();
    let mut left = length;
    while left > 0 {
        let n = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(pattern.len());
        if chunked {
            wire.write(format!("{n:x}\r\n").as_bytes()).await?;
        }
        wire.write(&pattern[..n]).await?;
        if chunked {
            wire.write(b"\r\n").await?;
        }
        left -= n as u64;
    }
    Ok(())
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "As Asked",
    }
}
