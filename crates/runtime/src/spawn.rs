//! Starts the threads and the lasting tasks of the program, each under a name.
//!
//! One thread, one current-thread runtime: nothing on the way of a request is shared but atomics. A task that is to last as
//! long as the program is started again when it has panicked: said, counted, and with a growing pause.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use evenkeel_core::metric::{Counter, Sink, Source};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::clock::Clock;

/// Before a task that has panicked is started again, at first and at most.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A task that has run for so long is taken for well: its next pause is the first again.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// A current-thread runtime with timers and sockets, for whoever has a thread already.
///
/// # Errors
/// If the operating system refuses the descriptors that it needs.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Starts a thread called `name` (Linux shows the first 15 bytes) which runs the future that `work` makes. The thread
/// ends when the future does; its result is what `join` gives.
///
/// # Errors
/// If the runtime or the thread cannot be made; `work` has not run then.
pub fn thread<F, Fut>(name: &str, work: F) -> io::Result<JoinHandle<Fut::Output>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future,
    Fut::Output: Send + 'static,
{
    let runtime = runtime()?;
    Builder::new()
        .name(name.to_owned())
        .spawn(move || runtime.block_on(async move { work().await }))
}

/// The lasting tasks of the program, and how often each was started again. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Mutex<BTreeMap<&'static str, Arc<Counter>>>>);

impl Tasks {
    /// Starts the task `name` on the runtime that this is called in: what `make` gives, and again each time that it
    /// panics. It ends when that ends by itself, or when the handle is aborted. `make` must not panic.
    pub fn spawn<F, Fut>(
        &self,
        name: &'static str,
        clock: Clock,
        mut make: F,
    ) -> tokio::task::JoinHandle<()>
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let restarts = self.restarts(name);
        tokio::spawn(async move {
            let mut pause = Pause::default();
            loop {
                let begun = clock.now();
                // A set aborts what it holds when this task is aborted.
                let mut one = JoinSet::new();
                one.spawn(make());
                if !matches!(one.join_next().await, Some(Err(error)) if error.is_panic()) {
                    return;
                }
                restarts.add_one();
                let pause = pause.after(clock.now().since(begun));
                tracing::error!(
                    task = name,
                    "a task has panicked and is started again in {pause:?}"
                );
                clock.sleep_until(clock.now() + pause).await;
            }
        })
    }

    /// How often the task `name` was started again; for tasks that do it by themselves.
    #[must_use]
    pub fn restarts(&self, name: &'static str) -> Arc<Counter> {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tasks.entry(name).or_default())
    }
}

impl Source for Tasks {
    fn collect(&self, sink: &mut dyn Sink) {
        let help = "Times that a task was started again because it had panicked.";
        for (name, restarts) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels = [("task", *name)];
            sink.counter(
                "evenkeel_task_restarts_total",
                help,
                &labels,
                restarts.value(),
            );
        }
    }
}

/// The pause before the next start: doubled from one panic to the next, and short again after a good time.
#[derive(Debug)]
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(RESTART.0)
    }
}

impl Pause {
    /// After a panic of what has run for `ran`.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= WELL_AFTER {
            self.0 = RESTART.0;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(RESTART.1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_thread_has_its_name_and_gives_back_its_result() {
        let handle = thread("keel-test", || async {
            let local = Rc::new(41);
            tokio::task::yield_now().await;
            (std::thread::current().name().map(str::to_owned), *local + 1)
        })
        .unwrap();
        assert_eq!(handle.join().unwrap(), (Some("keel-test".to_owned()), 42));
    }
}
