//! A worker's accepting tasks: one for each listener of the snapshot that it goes by. They come and go with the listeners.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::accept::{accept, begin};
use super::acceptor::WorkerSocket;
use crate::exchange::runner::Runners;
use crate::exchange::serve::run;
use crate::worker::Worker;
use crate::worker::open_listener::OpenListener;

/// Between two attempts to accept on a listener for which there was no descriptor.
const RETRY: Duration = Duration::from_secs(1);

/// For so long the first request of a client is waited for that connected to a listener just before it was removed.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// The accepting tasks of a worker.
#[derive(Debug)]
pub(crate) struct AcceptTasks {
    worker: Rc<Worker>,
    open: RefCell<Vec<Accepting>>,
}

/// A listener on which a worker accepts.
#[derive(Debug)]
struct Accepting {
    listener: Rc<OpenListener>,
    /// The socket of the task.
    socket: WorkerSocket,
    task: JoinHandle<()>,
}

impl AcceptTasks {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        Self {
            worker: Rc::clone(worker),
            open: RefCell::default(),
        }
    }

    /// Accepts on the listeners that there are by the newest plan, and only on these. Connections of those that are there no more end with
    /// the requests that they are at.
    ///
    /// # Errors
    /// If there was no descriptor left for one; it is tried again with the next call.
    pub(crate) fn follow(&self) -> io::Result<()> {
        let worker = &self.worker;
        let snapshot = worker.snapshot();
        let mut open = self.open.borrow_mut();
        let removed = open.extract_if(.., |one| one.listener.is_removed());
        let removed: Vec<Accepting> = removed.collect();
        if !removed.is_empty() {
            removed.into_iter().for_each(|one| one.end(worker));
            // Connections that wait for a request see that there will be none.
            worker.timers.wake_all();
        }
        for (slot, entry) in snapshot.shared.listeners() {
            if open.iter().any(|one| one.listener.is_same(entry)) {
                continue;
            }
            let socket = worker
                .state
                .sockets
                .of_worker(&entry.clients, worker.index())?;
            // It is closed if there is a newer plan, which will be followed next.
            if let Some(socket) = socket {
                let listener = Rc::new(OpenListener::new(slot, entry));
                open.push(Accepting::begin(worker, listener, socket)?);
            }
        }
        Ok(())
    }

    /// Follows each plan that comes.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut plans = self.worker.state.plans();
        loop {
            match self.follow() {
                // An error means that there will be none any more.
                Ok(()) => {
                    if plans.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "a worker cannot accept on a listener, and tries again");
                    let clock = self.worker.clock;
                    clock.sleep_until(clock.now() + RETRY).await;
                }
            }
        }
    }

    /// Accepts on none any more.
    pub(crate) fn end(&self) {
        let open = std::mem::take(&mut *self.open.borrow_mut());
        open.iter().for_each(|one| one.task.abort());
    }
}

impl Accepting {
    /// The socket stays open if the task panics: clients wait in the kernel's queue until it is started again.
    fn begin(
        worker: &Rc<Worker>,
        listener: Rc<OpenListener>,
        socket: WorkerSocket,
    ) -> io::Result<Self> {
        let accepting = Rc::new(socket.acceptor()?);
        worker.open_listener(Rc::clone(&listener));
        let (tasks, of_task) = (worker.state.tasks(), Rc::clone(worker));
        let (clock, open) = (worker.clock, Rc::clone(&listener));
        let task = tasks.spawn_local("accept", clock, move || {
            accept(Rc::clone(&of_task), Rc::clone(&open), Rc::clone(&accepting))
        });
        Ok(Self {
            listener,
            socket,
            task,
        })
    }

    /// Accepts no more. Clients that have connected before are served: to close a socket resets those that wait in its queue.
    fn end(self, worker: &Rc<Worker>) {
        self.task.abort();
        let runners = Rc::new(Runners::new(Rc::clone(worker), run));
        while let Ok((stream, peer)) = self.socket.accept_waiting() {
            let (worker, listener) = (Rc::clone(worker), Rc::clone(&self.listener));
            let runners = Rc::clone(&runners);
            tokio::task::spawn_local(async move {
                let end = worker.clock.now() + FIRST_REQUEST;
                tokio::select! {
                    _ = poll_fn(|cx| stream.poll_read_ready(cx)) => {}
                    () = worker.clock.sleep_until(end) => {}
                }
                begin(&runners, &listener, stream, peer);
            });
        }
    }
}
