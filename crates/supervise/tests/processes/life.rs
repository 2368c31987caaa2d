//! Starts, exits, orders, output.

use std::time::Duration;

use evenkeel_core::Observation;
use evenkeel_runtime::Clock;
use rustix::process::kill_process;

use super::stage::{LONG, SERVER, Stage, absent, lives, pid, until};

pub(super) async fn exits() {
    let mut stage = Stage::new("echo one; echo two >&2; exit 7").await;
    stage.supervisor.start_children().await;
    stage.started().await;
    let exit = stage.exited().await;
    assert_eq!((exit.code, exit.signal, exit.asked), (Some(7), None, false));
    assert!(
        exit.last_lines.contains(&"one".to_owned()) && exit.last_lines.contains(&"two".to_owned()),
        "{exit:?}"
    );
    assert_eq!(stage.supervisor.pid(SERVER), None);
}

pub(super) async fn signals() {
    let mut stage = Stage::new("exec sleep 1000").await;
    stage.supervisor.start_children().await;
    let child = stage.started().await;
    kill_process(pid(child), rustix::process::Signal::KILL).expect("it runs");
    let exit = stage.exited().await;
    assert_eq!((exit.code, exit.signal, exit.asked), (None, Some(9), false));
}

pub(super) async fn not_there() {
    let mut stage = Stage::with(&["/no/such/program"], "{ tcp = true }").await;
    stage.supervisor.start_children().await;
    loop {
        if let Observation::StartFailed(failure) = stage.next("start failure").await {
            assert!(failure.reason.contains("/no/such/program"), "{failure:?}");
            assert!(failure.reason.contains("No such file"), "{failure:?}");
            break;
        }
    }
    assert_eq!(stage.supervisor.pid(SERVER), None);
}

pub(super) async fn stops() {
    let mut polite =
        Stage::new("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done").await;
    polite.start_until("ready").await;
    let how = polite
        .supervisor
        .stop(SERVER, false, LONG)
        .await
        .expect("it stops");
    assert!(how.contains("signal 15"), "{how}");
    let exit = polite.exited().await;
    assert!(exit.asked && exit.code == Some(0), "{exit:?}");

    let mut deaf = Stage::new("trap '' TERM; echo ready; while :; do sleep 0.01; done").await;
    deaf.start_until("ready").await;
    assert_eq!(
        deaf.supervisor.stop(SERVER, false, LONG).await.as_deref(),
        Ok("killed")
    );
    assert_eq!(deaf.exited().await.signal, Some(9));
}

pub(super) async fn stopped_process() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    let child = stage.start_until("ready").await;
    kill_process(pid(child), rustix::process::Signal::STOP).expect("it runs");
    let clock = Clock::start();
    stage
        .supervisor
        .restart(SERVER, true, false, LONG)
        .await
        .expect("it restarts");
    assert!(
        clock.now().since(evenkeel_core::Instant::ZERO) < Duration::from_secs(5),
        "without waiting for TERM"
    );
    assert!(!lives(child));
    assert!(stage.exited().await.asked);
}

pub(super) async fn grandchildren() {
    let mut stage = Stage::new("sleep 1000 & echo $!; echo ready; wait").await;
    let child = stage.start_until("ready").await;
    let grandchild: u32 = stage.supervisor.last_lines(SERVER)[0]
        .parse()
        .expect("a pid");
    assert!(lives(grandchild));
    kill_process(pid(child), rustix::process::Signal::KILL).expect("it runs");
    stage.exited().await;
    until("the grandchild is gone", || !lives(grandchild)).await;
}

pub(super) async fn evenkeel_dies() {
    use tokio::io::AsyncBufReadExt;
    let exe = std::env::current_exe().expect("this program");
    let mut evenkeel = tokio::process::Command::new(exe)
        .arg("short-lived")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = tokio::io::BufReader::new(evenkeel.stdout.take().expect("a pipe")).lines();
    let child: u32 = lines
        .next_line()
        .await
        .expect("a line")
        .expect("a line")
        .parse()
        .expect("a pid");
    assert!(lives(child));
    evenkeel.kill().await.expect("it runs");
    until("the child is gone", || !lives(child)).await;
}

pub(super) async fn guardian_dies() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    let child = stage.start_until("ready").await;
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).expect("it runs");
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .expect("a parent");
    let guardian: u32 = parent.trim().parse().expect("a pid");
    kill_process(pid(guardian), rustix::process::Signal::KILL).expect("it runs");
    let exit = stage.exited().await;
    assert!(!exit.asked);
    let guardian = exit.guardian.expect("it ended with the guardian");
    assert!(guardian.contains("signal: 9"), "{guardian}");
    until("the child is gone", || !lives(child)).await;
    stage
        .supervisor
        .restart(SERVER, false, false, LONG)
        .await
        .expect("the next guardian starts it");
    let next = stage.started().await;
    assert!(lives(next) && next != child);
}

pub(super) async fn restarts() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    let first = stage.start_until("ready").await;
    stage
        .supervisor
        .restart(SERVER, false, false, LONG)
        .await
        .expect("it restarts");
    assert!(stage.exited().await.asked);
    let second = stage.started().await;
    assert!(first != second && !lives(first) && lives(second));
    assert_eq!(stage.supervisor.pid(SERVER), Some(second));
}

pub(super) async fn shutdown() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    let child = stage.start_until("ready").await;
    stage.supervisor.shutdown().await;
    assert!(!lives(child));
    assert!(
        stage
            .supervisor
            .restart(SERVER, false, false, LONG)
            .await
            .is_err()
    );
}

pub(super) async fn escaped() {
    let mut stage = Stage::new("setsid sleep 1000 & echo $!; echo ready; wait").await;
    stage.start_until("ready").await;
    let escaped: u32 = stage.supervisor.last_lines(SERVER)[0]
        .parse()
        .expect("a pid");
    assert!(lives(escaped));
    stage.supervisor.shutdown().await;
    until("what left its group is gone", || !lives(escaped)).await;
}

pub(super) async fn flood() {
    let script = "yes a-line-of-output | head -n 300000; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo bye; exit 3";
    let mut stage = Stage::new(script).await;
    stage.supervisor.start_children().await;
    stage.started().await;
    let exit = stage.exited().await;
    assert_eq!(exit.last_lines.last().map(String::as_str), Some("bye"));
    let mut dropped = DroppedOutput(0);
    evenkeel_core::metric::Source::collect(&stage.supervisor, &mut dropped);
    assert!(dropped.0 > 100_000, "{}", dropped.0);
}

/// The value of one counter.
pub(super) struct DroppedOutput(u64);

impl evenkeel_core::metric::Sink for DroppedOutput {
    fn counter(&mut self, name: &'static str, _: &'static str, _: &[(&str, &str)], value: u64) {
        if name == "evenkeel_process_output_dropped_lines_total" {
            self.0 = value;
        }
    }

    fn gauge(&mut self, _: &'static str, _: &'static str, _: &[(&str, &str)], _: f64) {}

    fn durations(
        &mut self,
        _: &'static str,
        _: &'static str,
        _: &[(&str, &str)],
        _: &evenkeel_core::metric::DurationSnapshot,
    ) {
    }
}

pub(super) async fn two_orders() {
    let script = "trap 'sleep 0.1; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut stage = Stage::new(script).await;
    let first = stage.start_until("ready").await;
    let (one, two) = tokio::join!(
        stage.supervisor.restart(SERVER, false, false, LONG),
        stage.supervisor.restart(SERVER, true, false, LONG)
    );
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    let (second, third) = (stage.started().await, stage.started().await);
    let living = [first, second, third].into_iter().filter(|pid| lives(*pid));
    assert_eq!(living.collect::<Vec<_>>(), [third]);
}

pub(super) async fn removed() {
    let exe = std::env::current_exe().expect("this program");
    let copy = absent("removed");
    std::fs::copy(exe, &copy).expect("a copy");
    let status = tokio::process::Command::new(&copy).arg("replaced").status();
    assert!(status.await.expect("it starts").success());
    assert!(!copy.exists());
}

pub(super) async fn directory() {
    let mut stage = Stage::in_directory("/no/such/directory").await;
    stage.supervisor.start_children().await;
    loop {
        if let Observation::StartFailed(failure) = stage.next("start failure").await {
            assert!(
                failure.reason.contains("in directory /no/such/directory"),
                "{failure:?}"
            );
            break;
        }
    }
}

pub(super) async fn reaps() {
    let exe = std::env::current_exe().expect("this program");
    let status = tokio::process::Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(exe)
        .arg("first")
        .status();
    assert!(status.await.expect("unshare runs").success());
}
