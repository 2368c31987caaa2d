//! Roll-back to the previous version, with real processes: a program that worked is replaced by one that cannot start.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::{Path, PathBuf};

use common::{GOOD, Program, signal, wait_for};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::{FaultKind, Incident};

const BAD: &str = "echo no such module\nexit 1\n";

struct Case {
    program: Program,
    script: PathBuf,
}

impl Case {
    /// Three servers that are started by a script; `how` says how it is rolled back.
    fn start(how: impl FnOnce(&Path) -> String) -> Self {
        let (program, script) = Program::scripted(how);
        wait_for("the copy of what runs well", || {
            let kept = std::fs::read_to_string(copy_of_script(&program)?).ok()?;
            (kept == GOOD).then_some(())
        });
        Self { program, script }
    }

    /// The new version is there, and two of three servers end.
    fn deploy_a_bad_one(&self) {
        std::fs::write(&self.script, BAD).unwrap();
        for server in self.program.servers().iter().take(2) {
            signal(server.pid.unwrap(), "KILL");
        }
    }

    /// Evenkeel is ended, and started again in the same folder.
    fn again(mut self) -> Self {
        self.program.signal("TERM");
        self.program.wait();
        let folder = std::mem::replace(&mut self.program.folder, tempfile::tempdir().unwrap());
        self.program = Program::start(folder, &["run", "evenkeel.toml"]);
        self
    }

    /// The incident, once it is over and the service is whole.
    fn ended(&self) -> Incident {
        let incident = self
            .program
            .wait_for_incident("rolled back and closed", |one| {
                let kind = one.diagnosis.first().map(|finding| finding.fault);
                let mut actions = one.actions.iter();
                kind == Some(FaultKind::BadDeploy)
                    && actions.any(|action| action.action == "roll-back")
                    && one.status == IncidentStatus::Closed
                    && one.end == Some(CloseReason::Recovered)
            });
        self.program.wait_until_up();
        incident
    }
}

fn copy_of_script(program: &Program) -> Option<PathBuf> {
    let copies = program.folder.path().join("previous").join("shop");
    let mut places = std::fs::read_dir(copies).ok()?.flatten();
    places.find_map(|place| {
        let copy = place.path().join("start.sh");
        copy.is_file().then_some(copy)
    })
}

fn what_it_went_back_to(incident: &Incident) -> String {
    let actions = incident.actions.iter();
    let mut done = actions.filter(|action| action.action == "roll-back");
    let detail = done.next().and_then(|action| action.detail.clone());
    assert!(done.next().is_none(), "once: {:#?}", incident.actions);
    detail.unwrap_or_else(|| panic!("not rolled back: {:#?}", incident.actions))
}

#[test]
fn the_copy_of_what_ran_well_is_started_in_place_of_what_cannot_start() {
    let case = Case::start(|_| "keep_previous = true".to_owned());
    case.deploy_a_bad_one();
    let incident = case.ended();
    let detail = what_it_went_back_to(&incident);
    assert!(
        detail.contains("start.sh that ran well, changed at 20"),
        "{detail}"
    );
    let timeline = incident.timeline.iter();
    let mut told = timeline.filter(|entry| entry.text.contains("rolled back to the copy"));
    assert!(told.next().is_some(), "{:#?}", incident.timeline);
    let there = std::fs::read_to_string(&case.script).unwrap();
    assert_eq!(there, BAD, "the user's file is left alone");

    // It holds for as long as that file is there: another end is no trouble.
    let pid = case.program.servers()[0].pid.unwrap();
    signal(pid, "KILL");
    wait_for("another process of the copy", || {
        let server = case.program.servers().remove(0);
        (server.state == "up" && server.pid.is_some_and(|other| other != pid)).then_some(())
    });
    // The next version is started itself.
    let mark = case.program.folder.path().join("newer");
    let newer = format!("touch {}\n{GOOD}", mark.display());
    std::fs::write(&case.script, newer).unwrap();
    signal(case.program.servers()[1].pid.unwrap(), "KILL");
    wait_for("the next version", || mark.exists().then_some(()));
    case.program.wait_until_up();
}

#[test]
fn it_holds_when_evenkeel_is_started_again() {
    let case = Case::start(|_| "keep_previous = true".to_owned());
    case.deploy_a_bad_one();
    case.ended();
    let printed = "no such module";
    assert!(case.program.log().contains(printed), "it was started once");

    let case = case.again();
    case.program.wait_until_up();
    let log = case.program.log();
    assert!(!log.contains(printed), "it was started again: {log}");
    assert!(log.contains("it is started from the copy of"), "{log}");
    let there = std::fs::read_to_string(&case.script).unwrap();
    assert_eq!(there, BAD, "the user's file is left alone");

    // The next version is started itself, also when it was put there while evenkeel did not run.
    let mark = case.program.folder.path().join("newer");
    let newer = format!("touch {}\n{GOOD}", mark.display());
    std::fs::write(&case.script, newer).unwrap();
    let case = case.again();
    case.program.wait_until_up();
    assert!(mark.exists(), "{}", case.program.log());
}

#[test]
fn the_command_of_the_user_gets_the_copy() {
    let case = Case::start(|script| {
        format!(
            r#"roll_back = ["cp", "{{previous}}", "{}"]"#,
            script.display()
        )
    });
    case.deploy_a_bad_one();
    let detail = what_it_went_back_to(&case.ended());
    assert!(detail.starts_with("rolled back by cp /"), "{detail}");
    let there = std::fs::read_to_string(&case.script).unwrap();
    assert_eq!(there, GOOD);
}
