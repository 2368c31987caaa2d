//! The thread of a worker: its runtime, what it does besides its connections, and its end.

use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::JoinHandle;

use super::{Worker, WorkerParts};
use crate::listener::accept::accept;
use crate::upstream::pool::SWEEP;

/// Runs a worker until it was told to drain and its last connection is closed.
///
/// # Errors
/// If its runtime cannot be made.
pub(crate) fn run(parts: WorkerParts) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let mut parts = parts;
        let (index, listeners) = (parts.index, std::mem::take(&mut parts.listeners));
        let mut draining = parts.draining.clone();
        let worker = Rc::new(Worker::new(parts)?);
        let tasks = start_tasks(&worker, index);
        let accepting = start_accepting(&worker, listeners)?;
        // An error means that the sender is gone, which is an order to end as well.
        let _ended = draining.wait_for(|draining| *draining).await.is_err();
        accepting.iter().for_each(JoinHandle::abort);
        worker.drain().await;
        tasks.iter().for_each(JoinHandle::abort);
        Ok(())
    })
}

/// What a worker does besides its connections, for as long as it lives.
fn start_tasks(worker: &Rc<Worker>, index: usize) -> [JoinHandle<()>; 4] {
    let (tasks, clock) = (worker.state.tasks(), worker.clock);
    let timers = Rc::clone(&worker.timers);
    let watcher = Rc::clone(&worker.watcher);
    let (rescuing, sweeping) = (Rc::clone(worker), Rc::clone(worker));
    [
        tasks.spawn_local("timers", clock, move || Rc::clone(&timers).run()),
        tasks.spawn_local("client-watch", clock, move || Rc::clone(&watcher).run()),
        tasks.spawn_local("rescue", clock, move || rescue(Rc::clone(&rescuing), index)),
        tasks.spawn_local("sweep", clock, move || sweep(Rc::clone(&sweeping))),
    ]
}

/// The listeners stay open if their task panics: clients wait in the kernel's queue until it is started again.
fn start_accepting(
    worker: &Rc<Worker>,
    listeners: Vec<StdListener>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let start = |(index, listener)| {
        let listener = Rc::new(TcpListener::from_std(listener)?);
        let (tasks, worker) = (worker.state.tasks(), Rc::clone(worker));
        Ok(tasks.spawn_local("accept", worker.clock, move || {
            accept(Rc::clone(&worker), index, Rc::clone(&listener))
        }))
    };
    listeners.into_iter().enumerate().map(start).collect()
}

async fn rescue(worker: Rc<Worker>, index: usize) {
    while let Some(inbox) = worker.state.rescues().get(index) {
        worker.watcher.servers_out(&inbox.take().await);
    }
}

async fn sweep(worker: Rc<Worker>) {
    loop {
        let due = worker.clock.now() + SWEEP;
        worker.clock.sleep_until(due).await;
        worker.state.timer_was_late(worker.clock.now().since(due));
        worker.sweep_connections();
        worker.state.exhaustion.report(worker.clock.now());
    }
}
