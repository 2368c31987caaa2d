//! The closed-loop load of the benchmark: each of C connections sends its next request when the last is answered.
//!
//! It measures the capacity of a proxy and the cost of a request; the latency that users would see is measured by the
//! open-loop [`load`].
//!
//! [`load`]: crate::load

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::stat::Histogram;
use evenkeel_runtime::Clock;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::http::find;
use crate::origin::content_length;
use crate::poller::{EVENTS, IoStep, read, skip, write};

/// Read at a time until a head is complete: small answers whole, of large ones little that is copied for nothing.
const HEAD_READ: usize = 4096;
/// Thrown away at a time of a body.
const SKIP_SIZE: usize = 1 << 20;

const HEAD_LIMIT: usize = 16 * 1024;
const TICK: Duration = Duration::from_millis(50);

/// The requests to send, and the number of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedPlan {
    /// The target.
    pub target: SocketAddr,
    /// How many connections, each with one request at a time.
    pub connections: usize,
    /// The path.
    pub path: String,
    /// POST with a body of this length instead of GET.
    pub post: Option<usize>,
    /// A new connection for each request.
    pub reconnect: bool,
    /// The length that every answer's body must have.
    pub expect: usize,
}

/// The counters of a closed-loop load; written by its thread, read by any.
#[derive(Debug, Default)]
pub struct ClosedCounts {
    /// Right answers.
    pub done: AtomicU64,
    /// Wrong answers and broken connections.
    pub failed: AtomicU64,
    /// Set it to end the load.
    pub stop: AtomicBool,
    times: Mutex<Histogram>,
}

impl ClosedCounts {
    /// The times of right answers since the last call.
    pub fn take_times(&self) -> Histogram {
        std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct ClosedConnection {
    stream: TcpStream,
    began: Instant,
    written: usize,
    /// The bytes of an incomplete head.
    head: Vec<u8>,
    /// Body bytes still to come, once the head is complete.
    left: Option<usize>,
}

/// The result of reading a response.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Wait,
    Right,
    Wrong,
}

struct ClosedLoad {
    plan: ClosedPlan,
    request: Vec<u8>,
    poll: Poll,
    clock: Clock,
    counts: Arc<ClosedCounts>,
    /// Times since the last tick: merged into the shared ones each tick, so that no lock is taken per request.
    times: Histogram,
}

/// Runs the load in the calling thread until `counts.stop`.
///
/// # Errors
/// If the poller fails, or no connection can be opened at the start.
pub fn run(plan: ClosedPlan, counts: Arc<ClosedCounts>) -> io::Result<()> {
    let request = request(&plan);
    let clock = Clock::start();
    let mut closed = ClosedLoad {
        plan,
        request,
        poll: Poll::new()?,
        clock,
        counts,
        times: Histogram::default(),
    };
    let mut connections = Vec::with_capacity(closed.plan.connections);
    for number in 0..closed.plan.connections {
        connections.push(closed.open(number)?);
    }
    let mut events = Events::with_capacity(EVENTS);
    let mut bytes = vec![0; SKIP_SIZE];
    let mut ticked = clock.now();
    while !closed.counts.stop.load(Relaxed) {
        if let Err(error) = closed.poll.poll(&mut events, Some(TICK))
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        for event in &events {
            closed.go_on(
                event.token().0,
                &mut connections,
                &mut bytes,
                event.is_read_closed(),
            )?;
        }
        let now = clock.now();
        if now - ticked >= TICK {
            ticked = now;
            closed.publish();
        }
    }
    closed.publish();
    Ok(())
}

fn request(plan: &ClosedPlan) -> Vec<u8> {
    let close = if plan.reconnect {
        "Connection: close\r\n"
    } else {
        ""
    };
    let (path, host) = (&plan.path, plan.target);
    let mut bytes = match plan.post {
        None => format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab\r\nAccept: */*\r\n{close}\r\n"
        ),
        Some(length) => format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab\r\nAccept: */*\r\n{close}\
             Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
        ),
    }
    .into_bytes();
    bytes.resize(bytes.len() + plan.post.unwrap_or(0), b'x');
    bytes
}

impl ClosedLoad {
    /// Opens a connection and sends its first request. On loopback it is established at once, so that the request
    /// mostly leaves here and no event for it is needed.
    fn open(&self, number: usize) -> io::Result<ClosedConnection> {
        let began = self.clock.now();
        let mut stream = TcpStream::connect(self.plan.target)?;
        let written = if let IoStep::Bytes(n) = write(&mut stream, &self.request) {
            n
        } else {
            0
        };
        let interest = if written == self.request.len() && self.plan.reconnect {
            // Closed with a reset: no farewell and no waiting time cost the load anything.
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            Interest::READABLE
        } else {
            stream.set_nodelay(true).ok();
            Interest::READABLE | Interest::WRITABLE
        };
        self.poll
            .registry()
            .register(&mut stream, Token(number), interest)?;
        Ok(ClosedConnection {
            stream,
            began,
            written,
            head: Vec::new(),
            left: None,
        })
    }

    fn publish(&mut self) {
        self.counts
            .times
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .merge(&self.times);
        self.times.clear();
    }

    /// Goes on with one connection as far as it can; `ended` says that the peer sends no more than is here.
    fn go_on(
        &mut self,
        number: usize,
        connections: &mut [ClosedConnection],
        bytes: &mut [u8],
        ended: bool,
    ) -> io::Result<()> {
        let connection = &mut connections[number];
        loop {
            if connection.written < self.request.len() {
                match write(&mut connection.stream, &self.request[connection.written..]) {
                    IoStep::Bytes(n) => connection.written += n,
                    // Not connected yet, or the peer's buffer is full.
                    IoStep::Wait => return Ok(()),
                    IoStep::End => return self.fail(number, connection),
                }
                if connection.written < self.request.len() {
                    continue;
                }
                // The answer cannot be here yet: the next event tells of it.
                return Ok(());
            }
            match connection.read_answer(bytes, self.plan.expect, ended) {
                Read::Wait => return Ok(()),
                Read::Wrong => return self.fail(number, connection),
                Read::Right => {
                    let now = self.clock.now();
                    self.times.add(now - connection.began);
                    self.counts.done.fetch_add(1, Relaxed);
                    if self.plan.reconnect {
                        *connection = self.open(number)?;
                        return Ok(());
                    }
                    connection.began = now;
                    connection.written = 0;
                    connection.left = None;
                }
            }
        }
    }

    /// Counts a failure and begins again with a new connection.
    fn fail(&self, number: usize, connection: &mut ClosedConnection) -> io::Result<()> {
        self.counts.failed.fetch_add(1, Relaxed);
        *connection = self.open(number)?;
        Ok(())
    }
}

impl ClosedConnection {
    fn read_answer(&mut self, bytes: &mut [u8], expect: usize, ended: bool) -> Read {
        loop {
            // The remaining body is not examined: only its length is checked.
            let most = self.left.unwrap_or(HEAD_READ).min(bytes.len());
            let step = match self.left {
                Some(_) => skip(&self.stream, &mut bytes[..most]),
                None => read(&mut self.stream, &mut bytes[..most]),
            };
            let n = match step {
                IoStep::Bytes(n) => n,
                IoStep::Wait => return Read::Wait,
                IoStep::End => return Read::Wrong,
            };
            let body = match self.left {
                Some(_) => n,
                None => match self.take_head(&bytes[..n], expect) {
                    Some(body) => body,
                    None if self.head.len() < HEAD_LIMIT && !ended => return Read::Wait,
                    None => return Read::Wrong,
                },
            };
            let Some(left) = self.left.filter(|&left| body <= left) else {
                return Read::Wrong;
            };
            self.left = Some(left - body);
            if left == body {
                return Read::Right;
            }
            if n < most && !ended {
                return Read::Wait;
            }
        }
    }

    /// Takes in part of a head; once complete, gives how many of the bytes belong to the body, and sets `left` if the
    /// answer is a 200 of the expected length.
    fn take_head(&mut self, bytes: &[u8], expect: usize) -> Option<usize> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let end = find(&self.head, b"\r\n\r\n")? + 4;
        let ok = self.head.starts_with(b"HTTP/1.1 200");
        self.left = content_length(&self.head[..end]).filter(|&length| ok && length == expect);
        self.head.clear();
        Some(before + bytes.len() - end)
    }
}
