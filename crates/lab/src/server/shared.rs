//! State shared by the connections of one sample server, and changes of its mode.

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::mode::ServerMode;
use super::seen::RequestLog;

/// State shared by all connections of one server.
#[derive(Debug)]
pub(super) struct SampleServerState {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) base_delay: Duration,
    pub(super) mode: watch::Sender<ServerMode>,
    pub(super) stopping: watch::Sender<bool>,
    pub(super) connections: watch::Sender<usize>,
    pub(super) seen: RefCell<RequestLog>,
    /// Collects the share of `status CODE SHARE`; a request fails when it reaches 1.
    pub(super) share: Cell<f64>,
    /// The concurrency limit, if there is one.
    pub(super) slots: RefCell<Option<Rc<Semaphore>>>,
    /// Requests that are being answered, those about the server itself not counted.
    pub(super) in_flight: Cell<u32>,
}

/// Changes the mode; every connection and the listener notice.
pub(super) fn set_mode(shared: &Rc<SampleServerState>, mode: ServerMode) {
    if mode != *shared.mode.borrow() {
        say(&format!("{} is now in mode {mode}", shared.name));
    }
    *shared.slots.borrow_mut() = match mode {
        ServerMode::Slots(slots) => Some(Rc::new(Semaphore::new(slots as usize))),
        _ => None,
    };
    shared.mode.send_replace(mode);
    if let ServerMode::Drop { seconds } = mode {
        let shared = Rc::clone(shared);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            if *shared.mode.borrow() == mode {
                set_mode(&shared, ServerMode::Ok);
            }
        });
    }
    if let ServerMode::Exit { code, after_ms } = mode {
        let name = shared.name.clone();
        tokio::task::spawn_local(async move {
            // A moment for the answer to leave.
            tokio::time::sleep(Duration::from_millis(after_ms.max(5))).await;
            leave(&name, code);
        });
    }
}

#[expect(
    clippy::exit,
    reason = "the sample server is a process whose task is to exit as told"
)]
pub(super) fn leave(name: &str, code: i32) -> ! {
    writeln!(
        io::stderr(),
        "fatal: {name} was told to exit with status {code}"
    )
    .ok();
    std::process::exit(code);
}

pub(super) fn say(line: &str) {
    // Whoever started the server may have closed the pipe; that is no reason to die.
    writeln!(io::stdout(), "{line}").ok();
}
