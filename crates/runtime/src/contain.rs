//! Panics: each is counted, and a caught panic is passed with its location to whoever restarts the part.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Poll, Waker};

/// All panics of this process that reached the hook, caught or not.
static PANICS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The location of this thread's panic that has not been caught yet.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked {
    /// File, line and column, if the program's panic hook calls [`note_panic`].
    pub place: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.place.as_deref().unwrap_or("an unknown place"))
    }
}

/// Counts a panic and remembers its place. For the panic hook.
pub fn note_panic(info: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Relaxed);
    let place = info.location().map(ToString::to_string);
    PLACE.with_borrow_mut(|last| *last = place);
}

/// The number of panics that reached the hook since the start.
pub fn panics() -> u64 {
    PANICS.load(Relaxed)
}

/// Runs `work` and catches a panic in it. State that `work` may have left half changed is the caller's to discard or rebuild.
///
/// # Errors
/// The panic.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked {
        place: PLACE.with_borrow_mut(Option::take),
    })
}

/// The same for a future, which is not polled again after a panic.
///
/// # Errors
/// The panic.
pub async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(|cx| match catch(|| work.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// Wakes all of them. A panic in one waker is caught and logged, so that the others are still woken.
pub fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        if let Err(panicked) = catch(|| waker.wake()) {
            tracing::error!("a waker has panicked at {panicked}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let before = self.0.fetch_add(1, Relaxed);
            assert!(before != 1, "the second wake panics");
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_no_other_from_being_woken() {
        let woken = Arc::new(Woken(AtomicU64::new(0)));
        wake_all((0..4).map(|_| Waker::from(Arc::clone(&woken))));
        assert_eq!(woken.0.load(Relaxed), 4);
    }

    #[tokio::test]
    async fn a_panic_is_caught_with_its_place_and_counted() {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(note_panic));
        let counted = panics();
        let line = line!() + 2;
        let ended: Result<(), Panicked> = catch_panic(async {
            panic!("as the test wants it");
        })
        .await;
        std::panic::set_hook(before);
        let place = ended.expect_err("it panicked").to_string();
        let start = format!("{}:{line}:", file!());
        assert!(place.starts_with(&start), "{place} {start}");
        assert!(panics() > counted);
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
    }
}
