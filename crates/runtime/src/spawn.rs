//! Starts the threads and long-lived tasks of the program, each under a name.
//!
//! One current-thread runtime per thread: workers share nothing but atomics. A long-lived task that panics is
//! restarted: logged, counted, and with exponential back-off.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder};
use std::time::Duration;

use evenkeel_core::metric::{Counter, Sink, Source};
use tokio::runtime::{LocalRuntime, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::contain::{Panicked, catch, catch_panic};

/// Before a task that has panicked is started again, at first and at most.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A task that has run for so long is taken for well: its next pause is the first again.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// A current-thread runtime with timers and sockets, for the calling thread.
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
pub fn thread<F, Fut>(name: &str, work: F) -> io::Result<thread::JoinHandle<Fut::Output>>
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
pub struct Tasks(Arc<Mutex<BTreeMap<&'static str, TaskEntry>>>);

/// The entry shared by all tasks of one name.
#[derive(Debug, Clone, Default)]
pub struct TaskEntry {
    restarts: Arc<Counter>,
    /// It cannot be started again for now.
    down: Arc<AtomicBool>,
    /// A test wants one of them to panic.
    fault: Arc<Notify>,
}

impl TaskEntry {
    /// How often such a task was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.value()
    }

    /// The output of `work`. A panic in it is counted; the caller restarts it.
    ///
    /// # Errors
    /// The panic.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Panicked> {
        let ended = catch_panic(self.or_injected(work)).await;
        self.count(&ended);
        ended
    }

    /// The same on a runtime that ends with `work`. A panic in the runtime itself is caught and counted as well. In either case all
    /// tasks of the runtime have been dropped on return, with everything that they held.
    ///
    /// # Errors
    /// The panic.
    pub fn block_on<T>(
        &self,
        runtime: LocalRuntime,
        work: impl Future<Output = T>,
    ) -> Result<T, Panicked> {
        let work = self.or_injected(work);
        let ended = catch(|| runtime.block_on(work));
        // Dropped only after the unwinding has ended: while a thread unwinds, a runtime whose scheduler has panicked forgets its
        // tasks instead of dropping them.
        let dropped = catch(|| drop(runtime));
        let ended = ended.and_then(|done| dropped.map(|()| done));
        self.count(&ended);
        ended
    }

    /// `work`, which panics when a test wants it to.
    async fn or_injected<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.fault.notified() => std::panic::panic_any("injected by a test"),
        }
    }

    fn count<T>(&self, ended: &Result<T, Panicked>) {
        if ended.is_err() {
            self.restarts.add_one();
        }
    }

    /// Returns whether it cannot be restarted for now, so that its work is not done.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Relaxed);
    }

    /// Lets one such task panic, for tests of what comes of that.
    #[doc(hidden)]
    pub fn inject_panic(&self) {
        self.fault.notify_one();
    }
}

impl Tasks {
    /// Starts the task `name` on the runtime that this is called in: what `make` gives, and again each time that it
    /// panics. It ends when that ends by itself, or when the handle is aborted. What `make` hands to each start should not
    /// be what the one before has left half done.
    pub fn spawn<F, Fut>(&self, name: &'static str, clock: Clock, make: F) -> JoinHandle<()>
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(self.keep(name, clock, make))
    }

    /// The same for a task that stays on the thread of its runtime, which must be one for such tasks.
    pub fn spawn_local<F, Fut>(&self, name: &'static str, clock: Clock, make: F) -> JoinHandle<()>
    where
        F: FnMut() -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(self.keep(name, clock, make))
    }

    /// The same in place, for what a thread runs. Gives what `make`'s work gives when it ends by itself.
    pub fn keep<F, Fut>(
        &self,
        name: &'static str,
        clock: Clock,
        mut make: F,
    ) -> impl Future<Output = Fut::Output> + use<F, Fut>
    where
        F: FnMut() -> Fut,
        Fut: Future,
    {
        let task = self.entry(name);
        async move {
            let mut pause = RestartPause::default();
            loop {
                let begun = clock.now();
                // Making it is caught as well.
                let work = async { make().await };
                let panicked = match task.run(work).await {
                    Ok(done) => return done,
                    Err(panicked) => panicked,
                };
                let pause = pause.after(clock.now().since(begun));
                tracing::error!(
                    task = name,
                    "a task panicked at {panicked} and will be restarted in {pause:?}"
                );
                clock.sleep_until(clock.now() + pause).await;
            }
        }
    }

    /// The entry of this name, for a task that restarts itself.
    #[must_use]
    pub fn entry(&self, name: &'static str) -> TaskEntry {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.entry(name).or_default().clone()
    }

    /// A task that cannot be started again for now, if there is one.
    #[must_use]
    pub fn down(&self) -> Option<&'static str> {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut down = tasks.iter().filter(|(_, task)| task.down.load(Relaxed));
        down.next().map(|(name, _)| *name)
    }

    /// How often the task `name` was started again.
    #[must_use]
    pub fn restarts(&self, name: &'static str) -> Arc<Counter> {
        self.entry(name).restarts
    }

    /// Lets one task `name` panic, for tests of what comes of that.
    #[doc(hidden)]
    pub fn inject_panic(&self, name: &'static str) {
        self.entry(name).inject_panic();
    }
}

impl Source for Tasks {
    fn collect(&self, sink: &mut dyn Sink) {
        let help = "Restarts of tasks after a panic.";
        for (name, task) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels = [("task", *name)];
            sink.counter(
                "evenkeel_task_restarts_total",
                help,
                &labels,
                task.restarts.value(),
            );
        }
    }
}

/// The pause before the next start: doubled from one panic to the next, and short again after a good time.
#[derive(Debug)]
pub struct RestartPause(Duration);

impl Default for RestartPause {
    fn default() -> Self {
        Self(RESTART.0)
    }
}

impl RestartPause {
    /// After a panic of what has run for `ran`.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= WELL_AFTER {
            self.0 = RESTART.0;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(RESTART.1);
        pause
    }

    /// Whether a pause is the longest: what is started again after it has panicked about seven times in a row.
    #[must_use]
    pub fn is_longest(pause: Duration) -> bool {
        pause >= RESTART.1
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
            (thread::current().name().map(str::to_owned), *local + 1)
        })
        .unwrap();
        assert_eq!(handle.join().unwrap(), (Some("keel-test".to_owned()), 42));
    }
}
