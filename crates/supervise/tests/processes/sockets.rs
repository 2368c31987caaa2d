//! Servers at Unix domain sockets: stale files, and the owner of a socket.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use evenkeel_core::ProbeOutcome;

use super::stage::{SERVER, Stage};

const SCRIPT: &str = "echo ready; exec sleep 1000";

pub(super) async fn stranger() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.sock");
    let listener = UnixListener::bind(&path).expect("a free path");
    let mut stage = Stage::at_socket(&path, SCRIPT).await;
    stage.start_until("ready").await;
    stage.supervisor.begin_probes(1);
    assert_eq!(stage.probed().await, ProbeOutcome::PortTaken);
    let found = (stage.supervisor)
        .examine(SERVER, Duration::from_millis(300))
        .await;
    let process = found.process.expect("it is a child");
    assert_eq!(
        (process.listening, process.accept_queue),
        (Some(true), None)
    );
    let holder = process.port_holder.expect("somebody holds the socket");
    let own = format!("process {} (", std::process::id());
    assert!(holder.starts_with(&own), "{holder}");
    assert!(path.exists());
    drop(listener);
}

pub(super) async fn stale() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.sock");
    drop(UnixListener::bind(&path).expect("a free path"));
    let mut stage = Stage::at_socket(&path, SCRIPT).await;
    stage.start_until("ready").await;
    assert!(!path.exists());
    stage.supervisor.begin_probes(1);
    assert_eq!(stage.probed().await, ProbeOutcome::Refused);
    let found = (stage.supervisor)
        .examine(SERVER, Duration::from_millis(300))
        .await;
    let process = found.process.expect("it is a child");
    assert_eq!(process.listening, Some(false));
}
