//! The benchmark's origin: the cheapest HTTP server that can stand behind a proxy, on any number of addresses.
//!
//! `GET /small` answers 13 bytes, `/64k` and `/1m` bodies of these sizes, a POST anywhere the small answer once its
//! body has been read.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::http::find;
use crate::poller::{ConnectionSlab, EVENTS, IoStep, READ_SIZE, listen, read, write, write_file};

const HEAD_LIMIT: usize = 16 * 1024;
/// Tokens below this are listeners.
const FIRST_CONNECTION: usize = 64;

/// The bodies that the origin answers with: path and length.
pub const PAGES: [(&str, usize); 3] = [("/small", 13), ("/64k", 64 << 10), ("/1m", 1 << 20)];

/// An origin that listens and waits for [`BenchOrigin::run`].
#[derive(Debug)]
pub struct BenchOrigin {
    poll: Poll,
    listeners: Vec<TcpListener>,
    pages: Vec<(&'static str, Arc<OriginPage>)>,
    missing: Arc<OriginPage>,
}

struct OriginConnection {
    stream: TcpStream,
    /// The bytes of an incomplete head.
    head: Vec<u8>,
    /// Body bytes of the current request that are still to come.
    body_left: usize,
    /// The answer that follows the body.
    answer: Option<Arc<OriginPage>>,
    /// The response being written, and how much of it has been written.
    writing: Option<(Arc<OriginPage>, usize)>,
    close: bool,
}

impl BenchOrigin {
    /// Listens on `addresses` (at most 64).
    ///
    /// # Errors
    /// If one of them cannot be listened on.
    pub fn bind(addresses: &[SocketAddr]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        for (number, &address) in addresses.iter().take(FIRST_CONNECTION).enumerate() {
            let mut listener = listen(address)?;
            poll.registry()
                .register(&mut listener, Token(number), Interest::READABLE)?;
            listeners.push(listener);
        }
        let pages = PAGES
            .iter()
            .map(|&(path, length)| Ok((path, page(200, length)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poll,
            listeners,
            pages,
            missing: page(404, 0)?,
        })
    }

    /// Its address.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// If waiting for events fails.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut connections: ConnectionSlab<OriginConnection> = ConnectionSlab::new();
        let mut bytes = vec![0; READ_SIZE];
        loop {
            if let Err(error) = self.poll.poll(&mut events, None)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            for event in &events {
                let token = event.token().0;
                if token < FIRST_CONNECTION {
                    self.accept(token, &mut connections)?;
                    continue;
                }
                let at = token - FIRST_CONNECTION;
                let Some(connection) = connections.get(at) else {
                    continue;
                };
                if !self.serve(connection, &mut bytes, event.is_read_closed()) {
                    connections.remove(at);
                }
            }
        }
    }

    fn accept(
        &self,
        number: usize,
        connections: &mut ConnectionSlab<OriginConnection>,
    ) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listeners[number].accept() {
            stream.set_nodelay(true).ok();
            let token = Token(FIRST_CONNECTION + connections.next());
            self.poll.registry().register(
                &mut stream,
                token,
                Interest::READABLE | Interest::WRITABLE,
            )?;
            connections.put(OriginConnection {
                stream,
                head: Vec::new(),
                body_left: 0,
                answer: None,
                writing: None,
                close: false,
            });
        }
        Ok(())
    }

    /// Goes on with a connection as far as it can; false when it has ended. With `to_the_end` it reads on after a short
    /// read: the end that follows had its event already.
    fn serve(&self, connection: &mut OriginConnection, bytes: &mut [u8], to_the_end: bool) -> bool {
        loop {
            if let Some(go_on) = connection.write_on() {
                return go_on;
            }
            match read(&mut connection.stream, bytes) {
                IoStep::End => return false,
                IoStep::Wait => return true,
                IoStep::Bytes(n) => {
                    if !self.take(connection, &bytes[..n]) {
                        return false;
                    }
                    if n < bytes.len() && !to_the_end {
                        // A short read has emptied the socket: the next event tells of more.
                        return connection.write_on().unwrap_or(true);
                    }
                }
            }
        }
    }

    /// Takes in what was read; false if it is no request. The peer sends one request at a time, never two together.
    fn take(&self, connection: &mut OriginConnection, bytes: &[u8]) -> bool {
        let mut body = bytes.len();
        if connection.answer.is_none() {
            connection.head.extend_from_slice(bytes);
            let Some(end) = find(&connection.head, b"\r\n\r\n") else {
                return connection.head.len() < HEAD_LIMIT;
            };
            let head = &connection.head[..end + 4];
            let Some(path) = head.split(|&byte| byte == b' ').nth(1) else {
                return false;
            };
            let page = if head.starts_with(b"POST ") {
                b"/small"
            } else {
                path
            };
            let found = self.pages.iter().find(|(name, _)| name.as_bytes() == page);
            connection.answer = Some(Arc::clone(found.map_or(&self.missing, |(_, page)| page)));
            connection.body_left = content_length(head).unwrap_or(0);
            connection.close = find(head, b"onnection: close\r\n").is_some();
            body = connection.head.len() - head.len();
            connection.head.clear();
        }
        if body > connection.body_left {
            return false;
        }
        connection.body_left -= body;
        if connection.body_left == 0 {
            connection.writing = connection.answer.take().map(|answer| (answer, 0));
        }
        true
    }
}

impl OriginConnection {
    /// Writes what is to be written; `None` when nothing is left, `Some(false)` when the connection has ended.
    fn write_on(&mut self) -> Option<bool> {
        while let Some((answer, written)) = &mut self.writing {
            let step = match &answer.file {
                None => write(&mut self.stream, &answer.bytes[*written..]),
                Some(file) => {
                    let left = answer.length - *written;
                    write_file(&self.stream, file, *written as u64, left)
                }
            };
            match step {
                IoStep::Bytes(n) => *written += n,
                IoStep::Wait => return Some(true),
                IoStep::End => return Some(false),
            }
            if *written == answer.length {
                self.writing = None;
                if self.close {
                    return Some(false);
                }
            }
        }
        None
    }
}

/// The number in the field Content-Length of a head, in any case.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut lines = head.split(|&byte| byte == b'\n');
    let line = lines
        .find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))?;
    std::str::from_utf8(&line[NAME.len()..])
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// An answer with its head.
#[derive(Debug)]
struct OriginPage {
    length: usize,
    bytes: Vec<u8>,
    /// The same in memory that a socket can send without a copy, if it is worth it.
    file: Option<File>,
}

/// An answer from this length on is sent from a file.
const LARGE: usize = 16 << 10;

/// As real servers do; otherwise each proxy that follows RFC 9110 section 6.6.1 would have to add one.
const DATE: &str = "Date: Sun, 29 Nov 2026 08:00:00 GMT\r\n";

fn page(status: u16, length: usize) -> io::Result<Arc<OriginPage>> {
    let head = format!(
        "HTTP/1.1 {status} OK\r\n{DATE}Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + length, b'o');
    let file = if length >= LARGE {
        let mut file: File =
            rustix::fs::memfd_create("page", rustix::fs::MemfdFlags::CLOEXEC)?.into();
        file.write_all(&bytes)?;
        Some(file)
    } else {
        None
    };
    Ok(Arc::new(OriginPage {
        length: bytes.len(),
        bytes,
        file,
    }))
}
