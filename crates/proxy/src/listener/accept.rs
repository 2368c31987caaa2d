//! Accepting clients: as many as the listener may have, over all workers, and never so many that there is no descriptor left
//! to reach a server with.
//!
//! One client too many is accepted and closed at once, so that it knows. If descriptors run out all the same, accepting pauses,
//! longer each time, and clients wait in the kernel's queue.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use evenkeel_connect::{Stream, is_local};

use crate::downstream::h1::Client;
use crate::exchange::runner::Runners;
use crate::exchange::serve::{run, serve};
use crate::listener::acceptor::Acceptor;
use crate::listener::next::next_connection;
use crate::worker::open_listener::OpenListener;
use crate::worker::{MissingOn, Worker};

/// Pauses when no connection can be accepted, so that the loop does not spin.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts a listener's connections for ever.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Rc<OpenListener>, socket: Rc<Acceptor>) {
    let runners = Rc::new(Runners::new(Rc::clone(&worker), run));
    let mut pause = FIRST_PAUSE;
    loop {
        match next_connection(&socket, &worker).await {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                begin(&runners, &listener, stream, peer);
            }
            // It was gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if is_local(&error) {
                    worker.lacks(MissingOn::Client, &error);
                    worker.close_idle();
                } else {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                worker.clock.sleep_until(worker.clock.now() + pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Begins to serve a connection, if there may be one more.
pub(super) fn begin<F>(
    runners: &Rc<Runners<F>>,
    listener: &Rc<OpenListener>,
    stream: Stream,
    peer: Option<IpAddr>,
) where
    F: Future<Output = Infallible> + 'static,
{
    let worker = runners.worker();
    let Some(open) = OpenConnection::new(worker, listener) else {
        worker.counters.connections_refused.add_from_owner(1);
        return;
    };
    // Boxed, since it is handed over with each request.
    let client = Box::new(Client::new(worker, Rc::clone(listener), stream, peer));
    let runners = Rc::clone(runners);
    tokio::task::spawn_local(async move {
        serve(&runners, client).await;
        drop(open);
    });
}

/// Counts a client connection for as long as it lives, whatever ends it.
struct OpenConnection {
    worker: Rc<Worker>,
    listener: Rc<OpenListener>,
}

impl OpenConnection {
    /// One more, if there may be one more.
    fn new(worker: &Rc<Worker>, listener: &Rc<OpenListener>) -> Option<Self> {
        if !worker.state.clients.try_take(&listener.clients) {
            return None;
        }
        worker.counters.connections_opened.add_from_owner(1);
        worker.connections.set(worker.connections.get() + 1);
        Some(Self {
            worker: Rc::clone(worker),
            listener: Rc::clone(listener),
        })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.state.clients.give_back(&self.listener.clients);
        worker.counters.connections_closed.add_from_owner(1);
        worker.connections.set(worker.connections.get() - 1);
        if worker.draining.get() && worker.connections.get() == 0 {
            worker.all_closed.notify_one();
        }
    }
}
