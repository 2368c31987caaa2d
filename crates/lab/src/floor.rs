//! The floor of the benchmark: a bare byte forwarder, the least that a user-space proxy can cost.
//!
//! One thread, one poller, one 64 KiB buffer for all, one server connection per client connection. It knows no HTTP.
//! The difference between a proxy's cost and this one is the part that the proxy can influence.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::poller::{ConnectionSlab, EVENTS, IoStep, READ_SIZE, listen, read, write};

const LISTENER: Token = Token(usize::MAX);

/// A forwarder that listens and waits for [`Floor::run`].
#[derive(Debug)]
pub struct Floor {
    poll: Poll,
    listener: TcpListener,
    servers: Vec<SocketAddr>,
    next_server: usize,
}

/// A client (0) and its server (1).
struct FloorPair {
    streams: [TcpStream; 2],
    /// Read from the other side and not yet written to this one.
    pending: [Vec<u8>; 2],
    /// Which of them will send no more.
    ended: [bool; 2],
}

impl Floor {
    /// Listens on `address`, to forward to `servers` in turn, one connection each.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn bind(address: SocketAddr, servers: Vec<SocketAddr>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = listen(address)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            servers,
            next_server: 0,
        })
    }

    /// Its address.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Forwards for ever.
    ///
    /// # Errors
    /// If waiting for events fails.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut pairs: ConnectionSlab<FloorPair> = ConnectionSlab::new();
        let mut bytes = vec![0; READ_SIZE];
        loop {
            if let Err(error) = self.poll.poll(&mut events, None)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept(&mut pairs)?;
                    continue;
                }
                let (at, side) = (event.token().0 / 2, event.token().0 % 2);
                let Some(pair) = pairs.get(at) else { continue };
                let mut alive = true;
                if event.is_writable() && !pair.pending[side].is_empty() {
                    // With room here, the other side can be read on.
                    alive = pair.flush(side) && pair.forward(1 - side, &mut bytes, true);
                }
                if alive && (event.is_readable() || event.is_error()) {
                    alive = pair.forward(side, &mut bytes, event.is_read_closed());
                }
                if !alive || pair.ended == [true, true] && pair.pending.iter().all(Vec::is_empty) {
                    pairs.remove(at);
                }
            }
        }
    }

    fn accept(&mut self, pairs: &mut ConnectionSlab<FloorPair>) -> io::Result<()> {
        while let Ok((mut client, _)) = self.listener.accept() {
            self.next_server = (self.next_server + 1) % self.servers.len();
            let Ok(mut server) = TcpStream::connect(self.servers[self.next_server]) else {
                continue;
            };
            client.set_nodelay(true).ok();
            server.set_nodelay(true).ok();
            let at = pairs.next();
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut client, Token(at * 2), both)?;
            self.poll
                .registry()
                .register(&mut server, Token(at * 2 + 1), both)?;
            pairs.put(FloorPair {
                streams: [client, server],
                pending: Default::default(),
                ended: [false; 2],
            });
        }
        Ok(())
    }
}

impl FloorPair {
    /// Reads one side and writes what comes to the other; false when the pair has ended. With `to_the_end` it reads on
    /// after a short read: the end that follows had its event already.
    fn forward(&mut self, from: usize, bytes: &mut [u8], to_the_end: bool) -> bool {
        let to = 1 - from;
        while self.pending[to].is_empty() && !self.ended[from] {
            let n = match read(&mut self.streams[from], bytes) {
                IoStep::Bytes(n) => n,
                IoStep::Wait => return true,
                IoStep::End => {
                    self.ended[from] = true;
                    self.streams[to].shutdown(std::net::Shutdown::Write).ok();
                    return true;
                }
            };
            let written = match write(&mut self.streams[to], &bytes[..n]) {
                IoStep::Bytes(written) => written,
                IoStep::Wait => 0,
                IoStep::End => return false,
            };
            self.pending[to].extend_from_slice(&bytes[written..n]);
            if n < bytes.len() && !to_the_end {
                // A short read has emptied the socket: the next event tells of more.
                return true;
            }
        }
        true
    }

    fn flush(&mut self, to: usize) -> bool {
        while !self.pending[to].is_empty() {
            match write(&mut self.streams[to], &self.pending[to]) {
                IoStep::Bytes(n) => drop(self.pending[to].drain(..n)),
                IoStep::Wait => return true,
                IoStep::End => return false,
            }
        }
        if self.ended[1 - to] {
            self.streams[to].shutdown(std::net::Shutdown::Write).ok();
        }
        true
    }
}
