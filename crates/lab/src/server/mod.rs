//! The sample server: a small HTTP/1.1 service that misbehaves on command, for the demo and the tests.
//!
//! It runs as a process of its own ([`run`]), so that it can be killed, stopped and restarted for real. `POST /mode`
//! changes how it behaves ([`ServerMode`]); a restarted process is in the mode of its mode file, else in mode `ok`.

pub mod mode;
mod seen;
mod shared;
mod answer;

pub use mode::ServerMode;

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::http::Wire;
use shared::{SampleServerState, leave, say, set_mode};

/// How long requests in flight may still take after SIGTERM.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a sample server starts.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleServerOptions {
    /// The address to listen on; with port 0 a free port is used and printed.
    pub address: SocketAddr,
    /// Its name in responses and messages.
    pub name: String,
    /// A file with the mode to start in; one that is absent or empty means `ok`. With `exit 3` the process cannot start.
    pub mode_file: Option<PathBuf>,
    /// Exit with this status instead of starting.
    pub exit_at_start: Option<i32>,
    /// How long an ordinary request takes in mode `ok`; `slow 10` takes ten times that.
    pub base_delay: Duration,
}

impl SampleServerOptions {
    /// A server called `name` at `address`, with 2 ms per request.
    #[must_use]
    pub fn new(address: SocketAddr, name: &str) -> Self {
        Self {
            address,
            name: name.to_owned(),
            mode_file: None,
            exit_at_start: None,
            base_delay: Duration::from_millis(2),
        }
    }
}

/// Runs the server in the calling thread until SIGTERM (or forever). Mode `exit` ends the whole process.
///
/// # Errors
/// If the address cannot be listened on, or the mode file holds something that is no mode.
pub fn run(options: &SampleServerOptions) -> io::Result<()> {
    if let Some(code) = options.exit_at_start {
        leave(&options.name, code);
    }
    let mode = starting_mode(options)?;
    if let ServerMode::Exit { code, after_ms: 0 } = mode {
        leave(&options.name, code);
    }
    let listener = evenkeel_runtime::listen(options.address, false, 1024)?;
    let runtime = evenkeel_runtime::spawn::runtime()?;
    LocalSet::new().block_on(&runtime, serve(listener, options, mode))
}

fn starting_mode(options: &SampleServerOptions) -> io::Result<ServerMode> {
    let Some(path) = &options.mode_file else {
        return Ok(ServerMode::Ok);
    };
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(ServerMode::Ok),
        Ok(text) => text.parse().map_err(|why| {
            io::Error::new(ErrorKind::InvalidData, format!("{}: {why}", path.display()))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(ServerMode::Ok),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        )),
    }
}

/// Serves on `listener` within a `LocalSet` until SIGTERM.
async fn serve(
    listener: std::net::TcpListener,
    options: &SampleServerOptions,
    mode: ServerMode,
) -> io::Result<()> {
    let mut listener = Some(TcpListener::from_std(listener)?);
    let address = listener
        .as_ref()
        .map_or(Ok(options.address), TcpListener::local_addr)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shared = Rc::new(SampleServerState {
        name: options.name.clone(),
        address,
        base_delay: options.base_delay,
        mode: watch::Sender::new(ServerMode::Ok),
        stopping: watch::Sender::new(false),
        connections: watch::Sender::new(0),
        seen: RefCell::default(),
        in_flight: Cell::new(0),
        slots: RefCell::default(),
        share: Cell::new(0.0),
    });
    let mut modes = shared.mode.subscribe();
    let mut filters = false;
    say(&format!("{} listens on {address}", shared.name));
    set_mode(&shared, mode);
    loop {
        tokio::select! {
            accepted = accept(listener.as_ref()) => match accepted {
                Ok(stream) => welcome(&shared, stream),
                // Out of descriptors: the queue waits until a connection closes.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            _ = modes.changed() => {
                let mode = *modes.borrow_and_update();
                if matches!(mode, ServerMode::StopListening | ServerMode::StopAccepting) {
                    listener = None;
                }
                if let Some(listener) = &listener {
                    let drops = matches!(mode, ServerMode::Drop { .. });
                    if drops != std::mem::replace(&mut filters, drops) {
                        filter(listener, drops)?;
                    }
                }
            }
            _ = terminate.recv() => break,
        }
    }
    drop(listener);
    say(&format!("{} stops", shared.name));
    shared.stopping.send_replace(true);
    let mut connections = shared.connections.subscribe();
    // Whatever is not finished by then is cut off: that is what a farewell with a limit means.
    let _finished = tokio::time::timeout(FAREWELL, connections.wait_for(|count| *count == 0)).await;
    Ok(())
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

fn welcome(shared: &Rc<SampleServerState>, stream: TcpStream) {
    if matches!(*shared.mode.borrow(), ServerMode::Close) {
        return;
    }
    stream.set_nodelay(true).ok();
    let shared = Rc::clone(shared);
    shared.connections.send_modify(|count| *count += 1);
    tokio::task::spawn_local(async move {
        // A client that breaks off is its own business.
        let _ended = connection(&shared, stream).await;
        shared.connections.send_modify(|count| *count -= 1);
    });
}

/// Answers the requests of one connection, one after the other.
async fn connection(shared: &Rc<SampleServerState>, stream: TcpStream) -> io::Result<()> {
    let mut modes = shared.mode.subscribe();
    let mut stopping = shared.stopping.subscribe();
    let mut wire = Wire::new(stream);
    loop {
        let head = tokio::select! {
            biased;
            head = wire.read_request() => head?,
            _ = modes.wait_for(|mode| *mode == ServerMode::StopListening) => return Ok(()),
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
        };
        let Some(head) = head else { return Ok(()) };
        let again = tokio::select! {
            biased;
            again = answer::answer(shared, &mut wire, &head) => again?,
            _ = modes.wait_for(|mode| *mode == ServerMode::StopListening) => return Ok(()),
        };
        match again {
            answer::AfterAnswer::NextRequest if !*stopping.borrow() => {}
            answer::AfterAnswer::NextRequest | answer::AfterAnswer::Close => return Ok(()),
            answer::AfterAnswer::Reset => {
                wire.reset();
                return Ok(());
            }
        }
    }
}

/// Whether the kernel throws away what comes for new connections.
fn filter(listener: &TcpListener, drops: bool) -> io::Result<()> {
    /// Returns a constant: the number of bytes to keep (`BPF_RET | BPF_K`).
    const RETURN: u16 = 0x06;
    let socket = SockRef::from(listener);
    if drops {
        socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])
    } else {
        socket.detach_filter()
    }
}
