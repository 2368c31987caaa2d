//! A relay that stands in for a bad network: forwards bytes to an address, and breaks them on command.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc as answers;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::http::reset;

/// How the relay treats connections. Changes apply to open connections, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayFault {
    /// Forwards both ways.
    None,
    /// The listening socket is closed, open connections are reset: new ones are refused.
    Refuse,
    /// Connections are accepted and nothing is read or forwarded.
    BlackHole,
    /// Every connection is reset.
    Reset,
    /// Each piece is held back this long in each direction.
    Delay(Duration),
    /// A connection is reset after this many bytes towards the client, counted from its start.
    CutAfter(u64),
}

/// A running relay. Dropping it ends it.
#[derive(Debug)]
pub struct FaultRelay {
    address: SocketAddr,
    orders: Option<mpsc::Sender<(RelayFault, answers::Sender<io::Result<()>>)>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultRelay {
    /// Starts forwarding from a free port of 127.0.0.1 to `to`.
    ///
    /// # Errors
    /// If the port or the thread cannot be had.
    pub fn start(to: SocketAddr) -> io::Result<Self> {
        let listener = evenkeel_runtime::listen((Ipv4Addr::LOCALHOST, 0).into(), false, 1024)?;
        let address = listener.local_addr()?;
        let (orders, received) = mpsc::channel(16);
        let thread = evenkeel_runtime::spawn::thread("relay", move || async move {
            LocalSet::new()
                .run_until(relay(listener, address, to, received))
                .await;
        })?;
        Ok(Self {
            address,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// The address for clients.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the fault. When it returns, the listening socket is open or closed as the fault says.
    ///
    /// # Errors
    /// If the port cannot be had again after [`RelayFault::Refuse`].
    pub fn set(&self, fault: RelayFault) -> io::Result<()> {
        let (answer, answered) = answers::channel();
        let ended = || io::Error::other("the relay has ended");
        let orders = self.orders.as_ref().ok_or_else(ended)?;
        orders.try_send((fault, answer)).map_err(|_| ended())?;
        answered.recv().map_err(|_| ended())?
    }
}

impl Drop for FaultRelay {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn relay(
    listener: std::net::TcpListener,
    address: SocketAddr,
    to: SocketAddr,
    mut orders: mpsc::Receiver<(RelayFault, answers::Sender<io::Result<()>>)>,
) {
    let mut listener = TcpListener::from_std(listener).ok();
    let fault = Rc::new(watch::Sender::new(RelayFault::None));
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => {
                let Some((wanted, answer)) = order else { return };
                fault.send_replace(wanted);
                let outcome = set_listening(&mut listener, address, wanted);
                // The caller no longer waits for the answer.
                answer.send(outcome).ok();
            }
            accepted = accept(listener.as_ref()) => {
                if let Ok(stream) = accepted {
                    tokio::task::spawn_local(connection(stream, to, fault.subscribe()));
                }
            }
        }
    }
}

fn set_listening(
    listener: &mut Option<TcpListener>,
    address: SocketAddr,
    fault: RelayFault,
) -> io::Result<()> {
    if fault == RelayFault::Refuse {
        *listener = None;
    } else if listener.is_none() {
        *listener = Some(TcpListener::from_std(evenkeel_runtime::listen(
            address, false, 1024,
        )?)?);
    }
    Ok(())
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

async fn connection(client: TcpStream, to: SocketAddr, mut fault: watch::Receiver<RelayFault>) {
    client.set_nodelay(true).ok();
    if breaks(&fault.borrow()) {
        return reset(&client);
    }
    open_gate(&mut fault).await;
    let Ok(server) = TcpStream::connect(to).await else {
        return reset(&client);
    };
    server.set_nodelay(true).ok();
    let up = copy(&client, &server, fault.clone(), false);
    let down = copy(&server, &client, fault, true);
    tokio::pin!(up, down);
    let (mut up_ended, mut down_ended) = (false, false);
    while !(up_ended && down_ended) {
        let ended = tokio::select! {
            ended = &mut up, if !up_ended => { up_ended = true; ended }
            ended = &mut down, if !down_ended => { down_ended = true; ended }
        };
        if ended == DirectionEnd::Broken {
            return;
        }
    }
}

/// How one direction ended.
#[derive(Debug, PartialEq, Eq)]
enum DirectionEnd {
    Closed,
    Broken,
}

/// Forwards one direction until its end. The streams are shared and not split into halves, since tokio's write half
/// ends the stream properly when it is dropped, which would come before a reset.
async fn copy(
    from: &TcpStream,
    to: &TcpStream,
    mut fault: watch::Receiver<RelayFault>,
    towards_client: bool,
) -> DirectionEnd {
    let mut bytes = vec![0; 64 * 1024];
    let mut passed = 0_u64;
    loop {
        open_gate(&mut fault).await;
        let n = match unless_broken(&mut fault, read(from, &mut bytes)).await {
            Some(Ok(0)) => {
                // A peer that is gone already needs no end.
                socket2::SockRef::from(to).shutdown(Shutdown::Write).ok();
                return DirectionEnd::Closed;
            }
            Some(Ok(n)) => n,
            Some(Err(_)) | None => return broken(from, to),
        };
        open_gate(&mut fault).await;
        let now = *fault.borrow();
        if let RelayFault::Delay(delay) = now {
            tokio::time::sleep(delay).await;
        }
        let room = match now {
            RelayFault::CutAfter(limit) if towards_client => limit.saturating_sub(passed),
            _ => u64::MAX,
        };
        let allowed = usize::try_from(room).unwrap_or(usize::MAX).min(n);
        let written = unless_broken(&mut fault, write_all(to, &bytes[..allowed])).await;
        if !matches!(written, Some(Ok(()))) || allowed < n {
            return broken(from, to);
        }
        passed += allowed as u64;
    }
}

const fn breaks(fault: &RelayFault) -> bool {
    matches!(fault, RelayFault::Refuse | RelayFault::Reset)
}

/// The output of `io`, or `None` as soon as the fault breaks connections.
async fn unless_broken<T>(
    fault: &mut watch::Receiver<RelayFault>,
    io: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = fault.wait_for(breaks) => None,
        done = io => Some(done),
    }
}

fn broken(from: &TcpStream, to: &TcpStream) -> DirectionEnd {
    reset(from);
    reset(to);
    DirectionEnd::Broken
}

async fn read(from: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn open_gate(fault: &mut watch::Receiver<RelayFault>) {
    // The sender lives as long as the relay, and this task does not outlive it.
    fault
        .wait_for(|fault| *fault != RelayFault::BlackHole)
        .await
        .ok();
}
