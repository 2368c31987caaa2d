//! Probes and examinations, and the owner of a port.

use std::time::Duration;

use evenkeel_core::{Observation, ProbeOutcome};
use evenkeel_fault::contract::ProbePace;
use rustix::process::kill_process;

use super::stage::{LONG, PROBE, SERVER, Stage, absent, listening, pid};

pub(super) async fn probes() {
    let file = absent("probes");
    let command = listening(&file);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let mut stage = Stage::with(&command, PROBE).await;
    stage.start_until("ready").await;
    stage.supervisor.begin_probes(1);
    assert_eq!(stage.probed().await, ProbeOutcome::Passed);
    std::fs::write(&file, "").expect("a file");
    stage
        .supervisor
        .set_pace(SERVER, ProbePace::Every(Duration::from_millis(5)));
    while stage.probed().await != ProbeOutcome::Refused {}
    stage
        .supervisor
        .stop(SERVER, true, LONG)
        .await
        .expect("it stops");
    stage.exited().await;
    std::fs::remove_file(&file).ok();
    while stage.signals.try_recv().is_ok() {}
    // The one in flight may still arrive; at this pace twenty more would follow it.
    let mut late = 0;
    let pause = Duration::from_millis(100);
    while let Ok(signal) = tokio::time::timeout(pause, stage.signals.recv()).await {
        late += 1;
        assert!(late <= 1, "nothing that does not run is probed: {signal:?}");
    }
}

pub(super) async fn examination() {
    // The port accepts connections without answering, as in a process that hangs.
    let command = listening(&absent("examination"));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let mut stage = Stage::with(&command, PROBE).await;
    let child = stage.start_until("ready").await;
    kill_process(pid(child), rustix::process::Signal::STOP).expect("it runs");
    // It stops when it is scheduled next.
    let stat = || std::fs::read_to_string(format!("/proc/{child}/stat")).expect("it lives");
    while !stat().contains(") T ") {
        tokio::task::yield_now().await;
    }
    let found = stage
        .supervisor
        .examine(SERVER, Duration::from_millis(300))
        .await;
    assert_eq!(
        found.tcp.map(|(outcome, _)| outcome),
        Some(ProbeOutcome::Passed)
    );
    assert_eq!(
        found.http.map(|(outcome, _)| outcome),
        Some(ProbeOutcome::NoAnswer)
    );
    let process = found.process.expect("it is a child");
    assert_eq!(
        (process.pid, process.state, process.listening),
        (Some(child), Some('T'), Some(true))
    );
}

pub(super) async fn stranger() {
    let mut stage = Stage::new("echo ready; exec sleep 1000").await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", stage.port))
        .await
        .expect("the port is free");
    stage.start_until("ready").await;
    stage.supervisor.begin_probes(1);
    assert_eq!(stage.probed().await, ProbeOutcome::PortTaken);
    let found = stage
        .supervisor
        .examine(SERVER, Duration::from_millis(300))
        .await;
    assert_eq!(
        found.tcp.map(|(outcome, _)| outcome),
        Some(ProbeOutcome::PortTaken)
    );
    let holder = found.process.and_then(|process| process.port_holder);
    let holder = holder.expect("somebody holds the port");
    let own = format!("process {} (", std::process::id());
    assert!(holder.starts_with(&own), "{holder}");
    drop(listener);
}

pub(super) async fn inherited() {
    let file = absent("inherited");
    let command = listening(&file).join(" ");
    let mut stage = Stage::new(&format!("{command} & wait")).await;
    stage.start_until("ready").await;
    stage.supervisor.begin_probes(1);
    assert_eq!(stage.probed().await, ProbeOutcome::Passed);
}

/// Each lasting task of the supervisor panics once. Nothing of what it does ends with that, and the guardian is the same.
pub(super) async fn panics() {
    let file = absent("panics");
    let command = listening(&file).join(" ");
    let mut stage = Stage::new(&format!("exec {command}")).await;
    stage.start_until("ready").await;
    stage.supervisor.begin_probes(1);
    assert_eq!(stage.probed().await, ProbeOutcome::Passed);
    for task in ["probes", "probe-follow", "processes", "reaper"] {
        stage.tasks.inject_panic(task);
        let restarts = stage.tasks.restarts(task);
        let again = async {
            while restarts.value() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let again = tokio::time::timeout(LONG, again).await;
        again.unwrap_or_else(|_| panic!("{task} is not started again"));
    }
    let before = stage.supervisor.pid(SERVER);
    assert!(before.is_some(), "no process died of it");
    let restarted = stage.supervisor.restart(SERVER, true, false, LONG).await;
    assert!(restarted.is_ok(), "{restarted:?}");
    assert_ne!(stage.supervisor.pid(SERVER), before);
    let mut left = (true, true);
    while left != (false, false) {
        match stage.next("probe of the new process").await {
            Observation::Exited(exit) => {
                assert!(exit.asked && exit.guardian.is_none(), "{exit:?}");
                left.0 = false;
            }
            Observation::Probe {
                outcome: ProbeOutcome::Passed,
                ..
            } if !left.0 => left.1 = false,
            _ => {}
        }
    }
    stage.supervisor.shutdown().await;
}
