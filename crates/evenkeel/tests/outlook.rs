//! `status --why` while a fault is repaired, plans that the second check refuses, and success rates that survive a
//! restart of evenkeel.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Program, ask, call, get, sample_server, shop, wait_for};
use evenkeel_fault::FaultKind;
use evenkeel_fault::incident::{ActionOutcome, Incident, IncidentStatus};
use evenkeel_lab::{LoadPlan, OpenLoad};
use serde_json::Value;
use tempfile::TempDir;

const MORE: &str = r#"
[service.shop.detect]
failure_ratio = { above = 0.1, window = "2s", minimum_attempts = 20 }
"#;

fn why(program: &Program) -> Value {
    program.api("/api/services/shop/why")
}

fn waits_for(why: &Value) -> &str {
    why["servers"][0]["recovery"]["waits_for"].as_str().unwrap()
}

fn is_over(incident: &Incident) -> bool {
    let kind = incident.diagnosis.first().map(|finding| finding.fault);
    kind == Some(FaultKind::ErrorBurst) && incident.status == IncidentStatus::Closed
}

/// The same folder for another run of the program.
fn copy_of(folder: &std::path::Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

/// Its only server answers with errors: it is not ejected, since nothing would be left, but restarted where it stands.
#[test]
fn a_person_sees_what_comes_next_and_what_has_helped() {
    let mut program = Program::up(&shop(1, &sample_server(), MORE));
    let load = OpenLoad::start(LoadPlan::new(program.address(), 100.0)).unwrap();
    wait_for("answers", || (load.snapshot().ok > 100).then_some(()));
    assert_eq!(waits_for(&why(&program)), "nothing");
    let server = program.servers().remove(0);
    ask(server.address, "POST", "/mode", "status 500").unwrap();
    let shown = wait_for("the guard of capacity", || {
        Some(why(&program)).filter(|why| waits_for(why) == "capacity")
    });
    let recovery = &shown["servers"][0]["recovery"];
    assert_eq!(recovery["next"], "eject", "{recovery}");
    assert!(recovery["in_ms"].as_f64().unwrap() <= 5_000.0, "{recovery}");
    let admin = format!("http://{}", program.admin);
    let arguments = ["status", "--why", "--admin", &admin];
    let text = call(program.folder.path(), &arguments);
    assert!(text.out.contains("recovery  "), "{text:?}");

    let incident = program.wait_for_incident("the restart has helped", is_over);
    let refused = incident.actions.iter();
    let mut refused = refused.filter(|action| action.outcome == Some(ActionOutcome::Refused));
    let is_told = |detail: &str| detail.starts_with("second check: ");
    assert!(
        refused.any(|action| action.detail.as_deref().is_some_and(is_told)),
        "{:#?}",
        incident.actions
    );
    let metrics = get(program.admin, "/metrics").unwrap().body;
    let line = "evenkeel_vetoes_total{service=\"shop\",reason=\"capacity\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let learnt = wait_for("what has helped", || {
        let why = why(&program);
        let is_shown = waits_for(&why) == "nothing" && why["success"][0]["tried"] == 1;
        is_shown.then(|| why["success"].clone())
    });
    assert_eq!(learnt[0]["action"], "restart", "{learnt}");
    assert_eq!(learnt[0]["verified"], 1, "{learnt}");
    drop(load);

    program.signal("TERM");
    program.wait();
    let again = Program::start(copy_of(program.folder.path()), &["run", "evenkeel.toml"]);
    wait_for("what was learnt before", || {
        (why(&again)["success"] == learnt).then_some(())
    });
}
