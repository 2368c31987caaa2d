//! The thread of a worker: its runtime, what it does besides its connections, its end, and its next start after a panic.

use std::io;
use std::rc::Rc;

use evenkeel_core::{Instant, Random};
use evenkeel_runtime::spawn::RestartPause;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::JoinHandle;

use super::{Worker, WorkerParts};
use crate::listener::follow::AcceptTasks;
use crate::upstream::pool::SWEEP;

/// Runs a worker until it was told to drain and its last connection is closed.
///
/// A panic in the runtime or in the worker's own future ends the worker: its connections are closed, and what their requests held
/// of shared state is given back. It is started again on the same sockets with a new state, after a growing pause in which new
/// clients wait in the kernel's queue. It is lost while it cannot be started, and while the pause is the longest.
pub(crate) fn run(parts: &WorkerParts, seed: u64) {
    let task = parts.state.tasks().entry("worker");
    let mut seeds = Random::seeded(seed);
    let mut pause = RestartPause::default();
    let mut begin = parts.clock.now();
    let mut seed = seed;
    loop {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        let ended = match runtime {
            Ok(runtime) => task.block_on(runtime, work(parts, seed, begin)),
            Err(error) => {
                // Without a runtime there is no timer that could wait.
                std::thread::park_timeout(begin.since(parts.clock.now()));
                Ok(Err(error))
            }
        };
        let (is_lost, why) = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => (true, error.to_string()),
            Err(panicked) => (false, format!("it has panicked at {panicked}")),
        };
        if parts.is_draining() {
            return;
        }
        let now = parts.clock.now();
        let pause = pause.after(now.since(begin));
        begin = now + pause;
        seed = seeds.bits();
        if is_lost || RestartPause::is_longest(pause) {
            parts.state.set_lost(parts.index, true);
        }
        tracing::error!(
            worker = parts.index,
            "a worker has ended with its connections and is started again in {pause:?}: {why}"
        );
    }
}

/// From `begin` on, what a worker does in its life.
///
/// # Errors
/// If it could not be started: descriptors or memory ran out.
async fn work(parts: &WorkerParts, seed: u64, begin: Instant) -> io::Result<()> {
    let mut draining = parts.draining.clone();
    tokio::select! {
        () = parts.clock.sleep_until(begin) => {}
        // An error means that the sender is gone, which is an order to end as well.
        _ = draining.wait_for(|draining| *draining) => return Ok(()),
    }
    let worker = Rc::new(Worker::new(parts, seed)?);
    let accepting = Rc::new(AcceptTasks::new(&worker));
    accepting.follow()?;
    let tasks = start_tasks(&worker, &accepting, parts.index);
    parts.state.set_lost(parts.index, false);
    let _ended = draining.wait_for(|draining| *draining).await.is_err();
    // Before the sockets are closed, so that no plan opens one.
    tasks[0].abort();
    accepting.end();
    parts.state.sockets.close_of_worker(parts.index);
    worker.drain().await;
    tasks.iter().for_each(JoinHandle::abort);
    Ok(())
}

/// What a worker does besides its connections, for as long as it lives. The first one follows the plans.
fn start_tasks(
    worker: &Rc<Worker>,
    accepting: &Rc<AcceptTasks>,
    index: usize,
) -> [JoinHandle<()>; 5] {
    let (tasks, clock) = (worker.state.tasks(), worker.clock);
    let timers = Rc::clone(&worker.timers);
    let watcher = Rc::clone(&worker.watcher);
    let (rescuing, sweeping) = (Rc::clone(worker), Rc::clone(worker));
    let accepting = Rc::clone(accepting);
    [
        tasks.spawn_local("follow", clock, move || Rc::clone(&accepting).run()),
        tasks.spawn_local("timers", clock, move || Rc::clone(&timers).run()),
        tasks.spawn_local("client-watch", clock, move || Rc::clone(&watcher).run()),
        tasks.spawn_local("rescue", clock, move || rescue(Rc::clone(&rescuing), index)),
        tasks.spawn_local("sweep", clock, move || sweep(Rc::clone(&sweeping))),
    ]
}

impl WorkerParts {
    /// Whether it was told to drain, or nobody is left who could tell it.
    fn is_draining(&self) -> bool {
        *self.draining.borrow() || self.draining.has_changed().is_err()
    }
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
