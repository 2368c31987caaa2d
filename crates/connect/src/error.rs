//! What an error of the operating system says about the server, the network, or evenkeel itself.

use std::io;

use evenkeel_core::Outcome;
use evenkeel_core::blame::{EndContext, EndEvent, Peer, TimeLimit, judge};
use rustix::io::Errno;

/// What a connect error says about the server.
#[must_use]
pub fn outcome_of(error: &io::Error) -> Outcome {
    judge(event_of(error), EndContext::CONNECTING).outcome
}

/// The event for a connect error; [`judge`] decides who is to blame.
#[must_use]
pub fn event_of(error: &io::Error) -> EndEvent {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => EndEvent::Refused,
        io::ErrorKind::TimedOut => EndEvent::Late(TimeLimit::Attempt),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => EndEvent::Closed(Peer::Server),
        _ if is_local(error) => EndEvent::Exhausted,
        // No route, no network: the request cannot have left this machine.
        _ => EndEvent::Unreachable,
    }
}

/// The event for a read or write error: the server ended the connection, unless evenkeel's machine is out of memory.
#[must_use]
pub fn stream_event(error: &io::Error) -> EndEvent {
    if is_local(error) {
        EndEvent::Exhausted
    } else {
        EndEvent::Closed(Peer::Server)
    }
}

/// What a read from a server's connection came to: the number of bytes, or the event that ended the connection. All that read
/// from servers ask it here, so that none of them blames a server for what evenkeel lacked.
///
/// # Errors
/// [`EndEvent::Closed`] for the end of the stream, otherwise as [`stream_event`].
pub fn read_event(read: io::Result<usize>) -> Result<usize, EndEvent> {
    match read {
        Ok(0) => Err(EndEvent::Closed(Peer::Server)),
        Ok(n) => Ok(n),
        Err(error) => Err(stream_event(&error)),
    }
}

/// Whether an error of opening or accepting a socket says that there is no descriptor or no memory for one more: what closing
/// another one mends.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// A resource of evenkeel's own process or machine that is exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExhaustedResource {
    /// Descriptors.
    Descriptors,
    /// Local ports.
    Ports,
    /// Memory.
    Memory,
}

/// The exhausted resource, for an error for which [`is_local`] holds.
#[must_use]
pub fn lack_of(error: &io::Error) -> ExhaustedResource {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE) => ExhaustedResource::Descriptors,
        Some(Errno::NOBUFS | Errno::NOMEM) => ExhaustedResource::Memory,
        _ => ExhaustedResource::Ports,
    }
}

/// Whether an error of opening, connecting or accepting a socket says that evenkeel's own process or machine has run out of
/// something (descriptors, local ports, socket memory), and so nothing about the other side.
#[must_use]
pub fn is_local(error: &io::Error) -> bool {
    is_out_of_descriptors(error)
        || matches!(
            Errno::from_io_error(error),
            // The last is what connect(2) says when there is no free local port.
            Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AGAIN)
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_exhaustion_is_not_the_servers_fault() {
        let outcome = |errno: Errno| outcome_of(&io::Error::from(errno));
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::ADDRNOTAVAIL,
            Errno::ADDRINUSE,
            Errno::AGAIN,
        ] {
            assert_eq!(outcome(errno), Outcome::LocalError, "{errno}");
        }
        for errno in [Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::NETDOWN] {
            assert_eq!(outcome(errno), Outcome::Unreachable, "{errno}");
        }
        assert_eq!(outcome(Errno::CONNREFUSED), Outcome::ConnectRefused);
        assert_eq!(outcome(Errno::TIMEDOUT), Outcome::ConnectTimeout);
        assert_eq!(outcome(Errno::CONNRESET), Outcome::Reset { sent: false });
    }

    #[test]
    fn what_ends_an_open_connection_is_the_servers_unless_evenkeel_lacks_something() {
        let read = |errno: Errno| read_event(Err(io::Error::from(errno)));
        for errno in [Errno::NOBUFS, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            assert_eq!(read(errno), Err(EndEvent::Exhausted), "{errno}");
        }
        let closed = Err(EndEvent::Closed(Peer::Server));
        for errno in [Errno::CONNRESET, Errno::PIPE, Errno::TIMEDOUT] {
            assert_eq!(read(errno), closed, "{errno}");
        }
        assert_eq!(read_event(Ok(0)), closed);
        assert_eq!(read_event(Ok(7)), Ok(7));
    }

    #[test]
    fn exhausted_local_resources_are_distinguished() {
        for (errno, lack) in [
            (Errno::MFILE, ExhaustedResource::Descriptors),
            (Errno::NFILE, ExhaustedResource::Descriptors),
            (Errno::NOMEM, ExhaustedResource::Memory),
            (Errno::NOBUFS, ExhaustedResource::Memory),
            (Errno::ADDRNOTAVAIL, ExhaustedResource::Ports),
            (Errno::ADDRINUSE, ExhaustedResource::Ports),
            (Errno::AGAIN, ExhaustedResource::Ports),
        ] {
            assert_eq!(lack_of(&io::Error::from(errno)), lack, "{errno}");
        }
    }
}
