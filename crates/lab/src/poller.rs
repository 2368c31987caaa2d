//! Shared by the benchmark's three tight loops (origin, floor, closed load): a slab of connections, and non-blocking
//! sockets.
//!
//! They use mio directly rather than tokio, so that the instruments cost as little as possible compared with what they
//! measure.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;
use rustix::net::RecvFlags;

/// Events taken from the kernel at a time.
pub(crate) const EVENTS: usize = 1024;
/// Bytes read at a time.
pub(crate) const READ_SIZE: usize = 64 * 1024;

/// Connections by number; numbers of closed ones are used again.
#[derive(Debug)]
pub(crate) struct ConnectionSlab<T> {
    items: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> ConnectionSlab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The number that the next [`ConnectionSlab::put`] uses.
    pub(crate) fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.items.len())
    }

    pub(crate) fn put(&mut self, item: T) {
        if let Some(at) = self.free.pop() {
            self.items[at] = Some(item);
        } else {
            self.items.push(Some(item));
        }
    }

    pub(crate) fn get(&mut self, at: usize) -> Option<&mut T> {
        self.items.get_mut(at).and_then(Option::as_mut)
    }

    pub(crate) fn remove(&mut self, at: usize) {
        if self
            .items
            .get_mut(at)
            .is_some_and(|item| item.take().is_some())
        {
            self.free.push(at);
        }
    }
}

/// The result of a non-blocking read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IoStep {
    /// So many bytes.
    Bytes(usize),
    /// Not now.
    Wait,
    /// The connection has ended.
    End,
}

pub(crate) fn read(stream: &mut TcpStream, bytes: &mut [u8]) -> IoStep {
    loop {
        match stream.read(bytes) {
            Ok(0) => return IoStep::End,
            Ok(n) => return IoStep::Bytes(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return IoStep::Wait,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return IoStep::End,
        }
    }
}

/// Reads as many bytes as `bytes` has at most, and throws them away: the kernel copies nothing (`MSG_TRUNC`, tcp(7)).
pub(crate) fn skip(stream: &TcpStream, bytes: &mut [u8]) -> IoStep {
    loop {
        match rustix::net::recv(stream, &mut *bytes, RecvFlags::TRUNC) {
            Ok((_, 0)) => return IoStep::End,
            Ok((_, n)) => return IoStep::Bytes(n),
            Err(Errno::AGAIN) => return IoStep::Wait,
            Err(Errno::INTR) => {}
            Err(_) => return IoStep::End,
        }
    }
}

/// Writes from `file` at `offset`, at most `length` bytes, which are not copied on the way to the socket (sendfile(2)).
pub(crate) fn write_file(stream: &TcpStream, file: &File, offset: u64, length: usize) -> IoStep {
    loop {
        let mut from = offset;
        match rustix::fs::sendfile(stream, file, Some(&mut from), length) {
            Ok(0) => return IoStep::End,
            Ok(n) => return IoStep::Bytes(n),
            Err(Errno::AGAIN) => return IoStep::Wait,
            Err(Errno::INTR) => {}
            Err(_) => return IoStep::End,
        }
    }
}

pub(crate) fn write(stream: &mut TcpStream, bytes: &[u8]) -> IoStep {
    loop {
        match stream.write(bytes) {
            Ok(n) => return IoStep::Bytes(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return IoStep::Wait,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return IoStep::End,
        }
    }
}

pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    Ok(TcpListener::from_std(evenkeel_runtime::listen(
        address, false, 4096,
    )?))
}
