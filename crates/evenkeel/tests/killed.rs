//! evenkeel is killed in the middle of each action: its servers end with it, a user's command continues, the incident
//! ends as interrupted, and the next evenkeel runs all servers.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Program, ask, get, lives, sample_server, shop, signal, wait_for};
use evenkeel_fault::Incident;
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_lab::{LoadPlan, OpenLoad};

/// So many seconds nothing else sleeps.
const LENGTH: &str = "4711";

/// One of three servers fails; the playbook for it is `actions`, and `more` is added to how servers are run.
fn killed_in(word: &str, actions: &str, more: &str) {
    let more = format!("{more}\n{}", playbook("verify.within = \"50s\"", actions));
    let program = with_three(&more);
    let load = OpenLoad::start(LoadPlan::new(program.address(), 60.0)).unwrap();
    fail(&program);
    let incident = program.wait_for_incident(&format!("in the middle of {word}"), |incident| {
        let mut actions = incident.actions.iter();
        actions.any(|action| action.action == word && action.outcome.is_none())
    });
    drop(load);
    let is_command = matches!(word, "exec" | "roll-back");
    if is_command {
        // The record says that the action has begun; its process comes a moment later.
        let has_begun = || (!commands(&program).is_empty()).then_some(());
        wait_for("the action's command", has_begun);
    }
    killed_during(program, &incident, is_command);
}

fn playbook(recover: &str, actions: &str) -> String {
    format!(
        "[service.shop.recover]\n{recover}\n\
         [[service.shop.recover.playbook]]\nwhen = [\"error-burst\"]\ndo = [{actions}]"
    )
}

/// Three servers that do not hear one of the signals.
fn with_three(more: &str) -> Program {
    let deaf = r#""sh", "-c", "trap '' USR1; exec \"$0\" \"$@\"""#;
    let command = format!("{deaf}, {}", sample_server());
    Program::up(&shop(3, &command, more))
}

fn fail(program: &Program) {
    let victim = program.servers()[0].address;
    let told = ask(victim, "POST", "/mode", "status 500").unwrap();
    assert_eq!(told.status, 200);
}

/// evenkeel is killed while this incident is open, and started again. The program that runs then.
fn killed_during(mut program: Program, incident: &Incident, is_command: bool) -> Program {
    let before = program.servers();
    program.signal("KILL");
    program.wait();
    wait_for("the end of all processes", || {
        let mut pids = before.iter().filter_map(|server| server.pid);
        pids.all(|pid| !lives(pid)).then_some(())
    });
    let commands = commands(&program);
    assert_eq!(!commands.is_empty(), is_command, "{commands:?}");
    commands.iter().for_each(|pid| signal(*pid, "KILL"));

    let folder = std::mem::replace(&mut program.folder, tempfile::tempdir().unwrap());
    let program = Program::start(folder, &["run", "evenkeel.toml"]);
    program.wait_until_up();
    let after = program.servers();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.address, after.address);
        assert_ne!(before.pid, after.pid);
    }
    let is_it = |one: &Incident| one.id == incident.id && one.status == IncidentStatus::Closed;
    let ended = program.wait_for_incident("that was open", is_it);
    assert_eq!(ended.end, Some(CloseReason::EvenkeelEnded), "{ended:#?}");
    let mut actions = ended.actions.iter();
    assert!(actions.all(|action| action.outcome.is_some()), "{ended:#?}");
    for _ in 0..20 {
        assert_eq!(get(program.address(), "/").unwrap().status, 200);
    }
    program
}

/// The processes of a command of that playbook.
fn commands(program: &Program) -> Vec<u32> {
    let folder = program.folder.path().canonicalize().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let is_it = |process: &std::fs::DirEntry| {
        let place = std::fs::read_link(process.path().join("cwd"));
        let words = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        place.is_ok_and(|place| place == folder) && String::from_utf8_lossy(&words).contains(LENGTH)
    };
    let found = all.filter(is_it);
    let pid = |process: std::fs::DirEntry| process.file_name().to_str()?.parse().ok();
    found.filter_map(pid).collect()
}

/// A command that takes long, and has started another one that does.
fn long_command() -> String {
    format!(r#"["sh", "-c", "sleep {LENGTH}; true"]"#)
}

#[test]
fn evenkeel_can_be_killed_during_a_drain() {
    killed_in("drain", r#""drain""#, "");
}

#[test]
fn evenkeel_can_be_killed_during_a_wait() {
    killed_in("wait", r#""eject", { wait = "10m" }, "restart""#, "");
}

#[test]
fn evenkeel_can_be_killed_during_a_restart() {
    // It is asked in a way that it does not hear.
    let stop = "stop = { signal = \"USR1\", wait = \"10m\" }";
    killed_in("restart", r#""eject", "restart""#, stop);
}

#[test]
fn evenkeel_can_be_killed_during_a_stop() {
    let stop = "stop = { signal = \"USR1\", wait = \"10m\" }";
    killed_in("stop", r#""eject", "stop""#, stop);
}

#[test]
fn evenkeel_can_be_killed_during_a_command() {
    let actions = format!("\"eject\", {{ exec = {} }}", long_command());
    killed_in("exec", &actions, "");
}

#[test]
fn evenkeel_can_be_killed_during_a_roll_back() {
    let more = format!("roll_back = {}", long_command());
    killed_in("roll-back", r#""eject", "roll-back", "restart""#, &more);
}

/// Its many probes take a minute and more.
#[test]
fn a_verification() {
    let long = "verify = { probes = 900, within = \"10m\" }";
    let program = with_three(&playbook(long, r#""eject", "restart""#));
    let load = OpenLoad::start(LoadPlan::new(program.address(), 60.0)).unwrap();
    fail(&program);
    let incident = program.wait_for_incident("that is being verified", |incident| {
        incident.status == IncidentStatus::Verifying
    });
    drop(load);
    killed_during(program, &incident, false);
}

/// A quarantine ends with evenkeel: what the servers do with the request now is seen by its next victims.
#[test]
fn a_quarantine() {
    const POISON: &str = "/exit/3";
    let program = with_three("");
    let end_two = |program: &Program| {
        // It is tried once more.
        assert_eq!(get(program.address(), POISON).unwrap().status, 502);
        wait_for("the quarantine", || {
            let services = program.api("/api/services").to_string();
            services.contains("is in quarantine").then_some(())
        });
        program.wait_until_up();
    };
    end_two(&program);
    let incident = program.wait_for_incident("of the request", |incident| {
        let mut actions = incident.actions.iter();
        actions.any(|action| action.action == "quarantine") && incident.end.is_none()
    });
    let program = killed_during(program, &incident, false);
    end_two(&program);
}
