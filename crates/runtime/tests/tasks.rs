//! Long-lived tasks that panic, and that are stopped.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use evenkeel_runtime::spawn::RestartPause;
use evenkeel_runtime::{Clock, Tasks};
use tokio::runtime::{Builder, LocalOptions};

#[tokio::test]
async fn a_task_that_panics_is_started_again_and_counted() {
    let tasks = Tasks::default();
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    let task = tasks.spawn("test", Clock::start(), move || {
        let start = counted.fetch_add(1, Relaxed);
        async move { assert!(start >= 3, "start {start}") }
    });
    task.await.unwrap();
    assert_eq!(starts.load(Relaxed), 4);
    assert_eq!(tasks.restarts("test").value(), 3);
}

#[tokio::test]
async fn a_panic_in_making_a_task_is_one_of_the_task() {
    let tasks = Tasks::default();
    let mut starts = 0;
    let made = tasks.keep("test", Clock::start(), || {
        starts += 1;
        assert!(starts > 1, "start {starts}");
        std::future::ready("made")
    });
    assert_eq!(made.await, "made");
    assert_eq!(tasks.restarts("test").value(), 1);
}

#[tokio::test]
async fn an_aborted_task_is_gone_with_what_it_runs() {
    struct OnDrop(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.take().unwrap().send(()).ok();
        }
    }
    let (dropped, gone) = tokio::sync::oneshot::channel();
    let mut held = Some(OnDrop(Some(dropped)));
    let task = Tasks::default().spawn("test", Clock::start(), move || {
        let held = held.take();
        async move {
            let _held = held;
            std::future::pending::<()>().await;
        }
    });
    tokio::task::yield_now().await;
    task.abort();
    gone.await.unwrap();
}

#[test]
fn a_runtime_whose_work_panics_drops_its_tasks() {
    let tasks = Tasks::default();
    let entry = tasks.entry("test");
    let held = Arc::new(());
    let runtime = || {
        Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap()
    };
    let hold = |held: Arc<()>| {
        tokio::task::spawn_local(async move {
            std::future::pending::<()>().await;
            drop(held);
        })
    };
    let panicked = entry.block_on(runtime(), async {
        let task = hold(Arc::clone(&held));
        tokio::task::yield_now().await;
        assert!(task.is_finished(), "it is held");
    });
    assert!(panicked.is_err());
    assert_eq!((Arc::strong_count(&held), entry.restarts()), (1, 1));
    tasks.inject_panic("test");
    let injected = entry.block_on(runtime(), async {
        hold(Arc::clone(&held));
        std::future::pending::<()>().await;
    });
    assert!(injected.is_err());
    assert_eq!((Arc::strong_count(&held), entry.restarts()), (1, 2));
    assert_eq!(entry.block_on(runtime(), async { 7 }), Ok(7));
}

#[test]
fn pauses_grow_to_a_bound_and_start_anew_after_a_good_time() {
    let mut pause = RestartPause::default();
    let soon = Duration::ZERO;
    let pauses: Vec<Duration> = (0..8).map(|_| pause.after(soon)).collect();
    assert_eq!(pauses[..3], [100, 200, 400].map(Duration::from_millis));
    assert_eq!(pauses[7], Duration::from_secs(5));
    let longest = pauses
        .iter()
        .position(|pause| RestartPause::is_longest(*pause));
    assert_eq!(longest, Some(6));
    assert_eq!(pause.after(Duration::from_secs(60)), pauses[0]);
}
