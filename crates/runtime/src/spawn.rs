//! Starts the threads of the program: each has a name and runs one future on a runtime of its own.
//!
//! One thread, one current-thread runtime: nothing on the way of a request is shared but atomics.

use std::future::Future;
use std::io;
use std::thread::{Builder, JoinHandle};

use tokio::runtime::Runtime;

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
