//! Servers that answer rightly, early, untidily, wrongly or not at all, as the seed and the request's number say.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel_core::Random;
use evenkeel_http1::{Body, Framing, Limits, Method, Parsed, RequestHead};

use crate::answer::{Answer, End};
use crate::bytes::{REQUEST, TOKEN, ids, is_content, one_in};
use crate::world::{World, pause, pieces, reset_on_drop, wait};

/// Starts one; it lives as long as the program.
pub(crate) fn start(world: &Arc<World>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let world = Arc::clone(world);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let world = Arc::clone(&world);
            world.open.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let mut connection = Connection {
                    world: &world,
                    stream,
                    buffer: Vec::new(),
                };
                while connection.exchange().is_some() {}
                drop(connection);
                world.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    address
}

struct Connection<'a> {
    world: &'a World,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) id: u32,
    pub(crate) method: Method,
    pub(crate) framing: Framing,
    pub(crate) expects: bool,
    /// Bytes of its content, if it comes as a whole.
    pub(crate) length: usize,
}

impl Connection<'_> {
    /// One request and what is said to it; `None` when the connection is over.
    fn exchange(&mut self) -> Option<()> {
        let request = self.head()?;
        let before = self.world.arrives(request.id);
        let may = self.world.sendable.lock().expect("no panic");
        let may_repeat = may.get(&request.id).copied();
        drop(may);
        if may_repeat.is_none() || (before > 0 && may_repeat == Some(false)) {
            let fault = format!("server: request {:x} for the {before}th time", request.id);
            self.world.fault(fault);
        }
        let what = u64::from(request.id) << 8 | u64::from(before) << 1 | 1;
        let mut random = self.world.random(what);
        let answer = Answer::draw(&mut random, request);
        if request.expects && one_in(&mut random, 2) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if !answer.early {
            self.body(request)?;
        }
        pause(&mut random, 2);
        wait(answer.pause);
        let pieces = match answer.one_piece {
            true => vec![&answer.bytes[..]],
            false => pieces(&mut random, &answer.bytes),
        };
        for piece in pieces {
            self.write(piece)?;
            pause(&mut random, 2);
        }
        match answer.end {
            End::Keep => {
                if answer.early {
                    self.body(request)?;
                }
                self.later(&mut random, &answer)
            }
            End::Close => None,
            End::Reset => {
                reset_on_drop(&self.stream);
                None
            }
        }
    }

    /// What it does before the next request comes.
    fn later(&mut self, random: &mut Random, answer: &Answer) -> Option<()> {
        if answer.garbage_later {
            pause(random, 3);
            self.write(b"this was not asked for\r\n\r\n")?;
        }
        if one_in(random, 12) {
            // It closes just when it may be used again.
            pause(random, 4);
            return None;
        }
        Some(())
    }

    fn head(&mut self) -> Option<Request> {
        let mut head = RequestHead::default();
        loop {
            match head.parse(&self.buffer, &Limits::default()) {
                Ok(Parsed::Complete) => break,
                Ok(Parsed::Partial) => self.more()?,
                Err(error) => {
                    let text = String::from_utf8_lossy(&self.buffer);
                    let text: String = text.chars().take(200).collect();
                    self.world
                        .fault(format!("server: no request ({error}): {text:?}"));
                    return None;
                }
            }
        }
        let bytes: Vec<u8> = self.buffer.drain(..head.length).collect();
        let target = String::from_utf8_lossy(head.target.of(&bytes)).into_owned();
        let id = target.strip_prefix(&self.world.prefix());
        let id = id.and_then(|id| u32::from_str_radix(id, 16).ok());
        let Some(id) = id.filter(|id| ids(REQUEST, &bytes).all(|other| other == *id)) else {
            let text = String::from_utf8_lossy(&bytes);
            self.world
                .fault(format!("server: not one request: {text:?}"));
            return None;
        };
        let length = bytes.windows(7).position(|name| name == b"X-Len: ");
        let length = length.and_then(|at| {
            let digits = bytes[at + 7..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit());
            String::from_utf8(digits.copied().collect())
                .ok()?
                .parse()
                .ok()
        });
        Some(Request {
            id,
            method: head.method,
            framing: head.framing,
            expects: head.expect_continue,
            length: length.unwrap_or(0),
        })
    }

    /// Reads the body, which must be that of this request.
    fn body(&mut self, request: Request) -> Option<()> {
        let mut body = Body::new(request.framing);
        let mut content = Vec::new();
        let mut raw = Vec::new();
        loop {
            let (seen, raw_seen) = (content.len(), raw.len().saturating_sub(TOKEN - 1));
            let progress = body.advance_decoded(&self.buffer, &mut content);
            let Ok(progress) = progress else {
                self.world
                    .fault(format!("server: {:x} has no body", request.id));
                return None;
            };
            raw.extend(self.buffer.drain(..progress.taken));
            let own = is_content(REQUEST, request.id, seen, &content[seen..])
                && ids(REQUEST, &raw[raw_seen..]).all(|id| id == request.id);
            if !own || (progress.done && content.len() != request.length) {
                let fault = format!(
                    "server: the body of {:x} is not its own: {} of {} bytes",
                    request.id,
                    content.len(),
                    request.length
                );
                self.world.fault(fault);
                return None;
            }
            if progress.done {
                return Some(());
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        let n = self.stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        World::count(&self.world.read, n);
        self.buffer.extend_from_slice(&piece[..n]);
        Some(())
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        World::count(&self.world.written, bytes.len());
        self.stream.write_all(bytes).ok()
    }
}

/// Longer than an attempt may take.
pub(crate) const HANG: Duration = Duration::from_millis(700);
