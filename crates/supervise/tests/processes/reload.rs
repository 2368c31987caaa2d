//! Another plan while processes run.

use std::future::{pending, ready};

use evenkeel_config::Plan;
use evenkeel_core::{Observation, ServerId};
use tokio::sync::oneshot;

use super::stage::{LONG, SERVER, Stage, lives, plan, until};

/// Servers that run `script`, one at each port, which is its name.
fn shop(script: &str, ports: &[u16], more: &str) -> Plan {
    let mut made = plan(&format!(
        "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop.run]\ncommand = [\"/bin/sh\", \"-c\", \
         {script:?}]\nports = {ports:?}\nstop = {{ signal = \"TERM\", wait = \"300ms\" }}\n{more}[service.shop.detect]\nprobe = \
         {{ tcp = true, every = \"100ms\", timeout = \"200ms\" }}\n"
    ));
    for (server, port) in made.services[0].servers.iter_mut().zip(ports) {
        server.name = port.to_string();
    }
    made
}

fn ports(number: usize) -> Vec<u16> {
    evenkeel_lab::ports::hold(number).expect("ports")
}

/// The next `number` starts: of which server, as which process.
async fn starts(stage: &mut Stage, number: usize) -> Vec<(u32, u32)> {
    let mut all = Vec::new();
    while all.len() < number {
        let signal = tokio::time::timeout(LONG, stage.signals.recv()).await;
        let signal = signal.expect("in time").expect("the supervisor lives");
        if let Observation::Started { pid, .. } = signal.observation {
            all.push((signal.server.index, pid));
        }
    }
    all.sort_unstable();
    all
}

pub(super) async fn come_and_go() {
    let ports = ports(3);
    let script = "exec sleep 1000";
    let mut stage = Stage::of(&shop(script, &ports[..2], ""), ports[0]).await;
    stage.supervisor.start_children().await;
    stage.supervisor.begin_probes(1);
    let began = starts(&mut stage, 2).await;
    // The first goes, the second stays, another comes.
    let mut next = shop(script, &ports[1..], "");
    next.services[0].servers[0].index = 1;
    next.services[0].servers[1].index = 2;
    stage.supervisor.apply(&next, |_| ready(()));
    assert_eq!(starts(&mut stage, 1).await[0].0, 2);
    until("the first ends", || !lives(began[0].1)).await;
    assert_eq!(stage.supervisor.pid(ServerId::new(0, 0)), None);
    let second = ServerId::new(0, 1);
    assert_eq!(stage.supervisor.pid(second), Some(began[1].1));
    assert!(stage.supervisor.outdated().is_empty());
    // The slot of the first is taken again. Probes are of the new one only.
    let mut again = shop(script, &ports, "");
    again.services[0].servers[2].address = again.services[0].servers[1].address.clone();
    stage.supervisor.apply(&again, |_| ready(()));
    let (server, pid) = starts(&mut stage, 1).await[0];
    assert_eq!(server, 0);
    assert!(lives(pid));
    assert_eq!(
        stage.supervisor.outdated(),
        [ServerId::new(0, 2)],
        "it has another address"
    );
    assert_eq!(stage.supervisor.pid(second), Some(began[1].1));
    loop {
        let signal = stage.signals.recv().await.expect("the supervisor lives");
        if matches!(signal.observation, Observation::Probe { .. }) && signal.server.index == 0 {
            break;
        }
    }
    stage.supervisor.shutdown().await;
    assert!(!lives(pid) && !lives(began[1].1));
}

pub(super) async fn drains() {
    let ports = ports(2);
    let script = "exec sleep 1000";
    let mut stage = Stage::of(&shop(script, &ports, ""), ports[0]).await;
    stage.supervisor.start_children().await;
    let began = starts(&mut stage, 2).await;
    let (drained, waits) = oneshot::channel::<()>();
    let waits = std::sync::Mutex::new(Some(waits));
    stage
        .supervisor
        .apply(&shop(script, &ports[..1], ""), |server| {
            assert_eq!(server.index, 1);
            let waits = waits.lock().expect("no panic").take().expect("once");
            async move { waits.await.unwrap_or_default() }
        });
    assert_eq!(
        stage.supervisor.pid(ServerId::new(0, 1)),
        None,
        "nobody asks for it any more"
    );
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(lives(began[1].1), "a request is in flight");
    drained.send(()).expect("it waits");
    until("it ends", || !lives(began[1].1)).await;
    assert!(lives(began[0].1));
    // One that is still draining when everything ends goes with it.
    let none = "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\nservers = [\"127.0.0.1:9\"]\n";
    let mut none = plan(none);
    none.services[0].servers[0].index = 7;
    stage.supervisor.apply(&none, |_| pending());
    assert!(lives(began[0].1));
    stage.supervisor.shutdown().await;
    assert!(!lives(began[0].1));
}

pub(super) async fn changed_command() {
    let ports = ports(1);
    let old = "echo old; exec sleep 1000";
    let mut stage = Stage::of(&shop(old, &ports, ""), ports[0]).await;
    let first = stage.start_until("old").await;
    let next = shop("echo new; exec sleep 1000", &ports, "");
    stage.supervisor.apply(&next, |_| ready(()));
    assert_eq!(stage.supervisor.outdated(), [SERVER]);
    assert_eq!(stage.supervisor.pid(SERVER), Some(first), "it goes on");
    // A restart for a fault.
    restarts(&mut stage, false, "old").await;
    assert_eq!(stage.supervisor.outdated(), [SERVER]);
    restarts(&mut stage, true, "new").await;
    assert!(stage.supervisor.outdated().is_empty());
    restarts(&mut stage, false, "new").await;
    // Back to what it was, before that was started.
    stage
        .supervisor
        .apply(&shop(old, &ports, ""), |_| ready(()));
    assert_eq!(stage.supervisor.outdated(), [SERVER]);
    stage.supervisor.apply(&next, |_| ready(()));
    assert!(stage.supervisor.outdated().is_empty());
}

async fn restarts(stage: &mut Stage, reconfigures: bool, line: &str) {
    let restarted = stage.supervisor.restart(SERVER, true, reconfigures, LONG);
    restarted.await.expect("it restarts");
    let supervisor = stage.supervisor.clone();
    until(line, || {
        supervisor.last_lines(SERVER).iter().any(|one| one == line)
    })
    .await;
}

pub(super) async fn rolls_back() {
    let ports = ports(1);
    let roll_back = "roll_back = [\"/bin/true\"]\n";
    let old = shop("echo old; exec sleep 1000", &ports, roll_back);
    let new = shop("echo new; exec sleep 1000", &ports, roll_back);
    let mut stage = Stage::of(&old, ports[0]).await;
    stage.start_until("old").await;
    stage.supervisor.apply(&new, |_| ready(()));
    restarts(&mut stage, true, "new").await;
    let said = stage.supervisor.roll_back(SERVER, LONG).await;
    assert!(said.is_ok_and(|said| said.contains("before the reload")));
    assert_eq!(stage.supervisor.outdated(), [SERVER]);
    restarts(&mut stage, false, "old").await;
    // Once verified there is nothing to go back to but what the command does.
    restarts(&mut stage, true, "new").await;
    stage.supervisor.keep_program(SERVER);
    tokio::task::yield_now().await;
    let said = stage.supervisor.roll_back(SERVER, LONG).await;
    assert!(said.is_ok_and(|said| said.contains("/bin/true")));
}

pub(super) async fn first_child() {
    let ports = ports(1);
    let none = "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\nservers = [\"127.0.0.1:9\"]\n";
    let mut stage = Stage::of(&plan(none), ports[0]).await;
    stage.supervisor.start_children().await;
    let mut next = shop("exec sleep 1000", &ports, "");
    next.services[0].servers[0].index = 1;
    stage.supervisor.apply(&next, |_| ready(()));
    let (server, pid) = starts(&mut stage, 1).await[0];
    assert_eq!(server, 1);
    assert!(lives(pid));
    stage.supervisor.shutdown().await;
    assert!(!lives(pid));
}
