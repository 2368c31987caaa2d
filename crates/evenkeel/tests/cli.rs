//! The command line as a user sees it: help, exit statuses, messages, output streams.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use common::{PROGRAM, Program, call, free_ports, wait_for};
use evenkeel_fault::incident::IncidentStatus;
use tempfile::TempDir;

const SMALLEST: &str = r#"
[listen.web]
address = "127.0.0.1:0"
service = "shop"

[service.shop]
servers = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"]

[admin]
address = "127.0.0.1:0"
"#;

fn folder_with(name: &str, text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    folder
}

#[test]
fn every_command_has_help_with_an_example() {
    let folder = TempDir::new().unwrap();
    let commands = [
        "demo",
        "run",
        "proxy",
        "check",
        "show",
        "diff",
        "status",
        "top",
        "incidents",
        "playbooks",
        "drain",
        "restore",
        "eject",
        "restart",
        "maintenance",
        "reload",
        "server",
        "approve",
        "reject",
        "schema",
        "version",
    ];
    let overview = call(folder.path(), &["--help"]);
    assert_eq!(overview.status, Some(0));
    for command in commands {
        assert!(
            overview.out.contains(&format!("\n  {command} ")),
            "{command} is not in the overview:\n{}",
            overview.out
        );
        let help = call(folder.path(), &[command, "--help"]);
        assert_eq!(help.status, Some(0), "{command}");
        assert!(
            help.out.contains("Example") && help.out.contains(&format!("evenkeel {command}")),
            "{command}:\n{}",
            help.out
        );
        assert!(help.err.is_empty(), "{command}: {}", help.err);
    }
    for hidden in ["guardian", "sample-server"] {
        assert!(!overview.out.contains(hidden), "{hidden} is shown");
    }
}

#[test]
fn a_wrong_call_is_2_and_goes_to_standard_error() {
    let folder = TempDir::new().unwrap();
    for arguments in [
        &["no-such-command"][..],
        &["run", "--no-such-option"],
        &["proxy"],
        &["run", "absent.toml"],
        &["check", "absent.toml"],
    ] {
        let called = call(folder.path(), arguments);
        assert_eq!(called.status, Some(2), "{arguments:?}: {called:?}");
        assert!(
            called.out.is_empty() && !called.err.is_empty(),
            "{arguments:?}: {called:?}"
        );
    }
}

#[test]
fn check_accepts_a_valid_file() {
    let folder = folder_with("evenkeel.toml", SMALLEST);
    let called = call(folder.path(), &["check"]);
    assert_eq!(called.status, Some(0), "{called:?}");
    assert!(
        called
            .out
            .contains("evenkeel.toml can be used: 1 listener, 1 service, 3 servers"),
        "{}",
        called.out
    );
    assert!(called.err.is_empty(), "{}", called.err);
}

/// The first thing to check when an application answers 400 to probes only.
#[test]
fn show_prints_a_file_that_means_the_same_with_origins() {
    let folder = folder_with("evenkeel.toml", SMALLEST);
    let shown = call(folder.path(), &["show", "evenkeel.toml"]);
    assert_eq!(shown.status, Some(0), "{}", shown.err);
    assert!(shown.out.contains("[listen.web]"), "{}", shown.out);
    assert!(shown.out.contains("# line 3"), "{}", shown.out);
    assert!(!shown.out.contains("# default"), "{}", shown.out);
    let all = call(folder.path(), &["show", "evenkeel.toml", "--all"]);
    assert!(all.out.contains("connect = \"1s\""), "{}", all.out);
    std::fs::write(folder.path().join("all.toml"), &all.out).unwrap();
    let same = call(folder.path(), &["diff", "evenkeel.toml", "all.toml"]);
    assert_eq!((same.status, same.out.as_str()), (Some(0), ""));
    let json = call(
        folder.path(),
        &["show", "evenkeel.toml", "--format", "json"],
    );
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["settings"][0]["origin"]["from"], "file");
    let absent = call(folder.path(), &["show", "absent.toml"]);
    assert_eq!(absent.status, Some(2));
}

#[test]
fn diff_says_what_differs_in_effect() {
    let folder = folder_with("old.toml", SMALLEST);
    let new = SMALLEST
        .replace("127.0.0.1:9003", "127.0.0.1:9004")
        .replace("[admin]", "[store]\nurl = \"memory:\"\n[admin]");
    std::fs::write(folder.path().join("new.toml"), new).unwrap();
    let called = call(folder.path(), &["diff", "old.toml", "new.toml"]);
    assert_eq!(called.status, Some(1), "{}", called.err);
    let lines: Vec<&str> = called.out.lines().collect();
    assert_eq!(
        lines,
        [
            "store.url sqlite:evenkeel.db → memory: (after a restart)",
            "service shop: server 127-0-0-1-9003 removed",
            "service shop: server 127-0-0-1-9004 added",
        ]
    );
}

#[test]
fn check_says_what_probes_send_as_host() {
    let text = format!(
        "{SMALLEST}\n[service.shop.detect]\nprobe = {{ http = \"/health\", host = \"shop.example\" }}\n"
    );
    let folder = folder_with("evenkeel.toml", &text);
    let called = call(folder.path(), &["check"]);
    assert_eq!(called.status, Some(0), "{called:?}");
    let line = "shop: probes send `GET /health` with `Host: shop.example`";
    assert!(called.out.contains(line), "{}", called.out);
}

#[test]
fn check_shows_all_mistakes_at_once_with_their_places() {
    let text = SMALLEST
        .replace("service = \"shop\"", "servise = \"shop\"")
        .replace("9002", "900002");
    let folder = folder_with("bad.toml", &text);
    let called = call(folder.path(), &["check", "bad.toml"]);
    assert_eq!(called.status, Some(1), "{called:?}");
    for part in [
        "servise",
        "did you mean",
        "bad.toml:4:",
        "bad.toml:7:",
        "900002",
    ] {
        assert!(
            called.out.contains(part),
            "{part} is missing in\n{}",
            called.out
        );
    }
    assert!(
        !called.out.contains('\x1b'),
        "no colours where there is no terminal"
    );
    let json = call(folder.path(), &["check", "bad.toml", "--format", "json"]);
    assert_eq!(json.status, Some(1));
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["valid"], false);
    assert!(
        value["mistakes"].as_array().unwrap().len() >= 2,
        "{}",
        json.out
    );
    let run = call(folder.path(), &["run", "bad.toml"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.contains("servise") && run.out.is_empty(), "{run:?}");
}

#[test]
fn the_schema_is_a_json_schema() {
    let folder = TempDir::new().unwrap();
    let called = call(folder.path(), &["schema"]);
    assert_eq!(called.status, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&called.out).unwrap();
    assert!(schema["$schema"].is_string(), "{}", called.out);
    assert!(called.out.contains("panic_below"));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = Command::new(PROGRAM)
        .arg("schema")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads: the schema does not fit in the pipe once it is closed.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_taken_port_is_named_with_its_holder() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();
    for (what, text) in [
        (
            "web",
            SMALLEST.replacen("127.0.0.1:0", &taken.to_string(), 1),
        ),
        (
            "admin",
            SMALLEST.replace(
                "[admin]\naddress = \"127.0.0.1:0\"",
                &format!("[admin]\naddress = \"{taken}\""),
            ),
        ),
    ] {
        let folder = folder_with("evenkeel.toml", &text);
        let called = call(folder.path(), &["run"]);
        assert_eq!(called.status, Some(1), "{called:?}");
        let holder = format!("process {}", std::process::id());
        for part in [&taken.to_string(), what, &holder] {
            assert!(
                called.err.contains(part),
                "{part} is missing in: {}",
                called.err
            );
        }
    }
}

#[test]
fn a_missing_command_is_reported_and_the_other_servers_run() {
    let ports = free_ports(1);
    let program = Program::run(&format!(
        "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [service.shop.run]\ncommand = [\"/no/such/program\"]\nports = [{}]\n",
        ports[0]
    ));
    let incident = program.wait_for_incident("of the missing command", |incident| {
        incident
            .diagnosis
            .first()
            .is_some_and(|finding| finding.fault.word() == "cannot-start")
    });
    let told = serde_json::to_string(&incident).unwrap();
    assert!(told.contains("/no/such/program"), "{told}");
    assert_eq!(common::get(program.address(), "/").unwrap().status, 503);
}

#[test]
fn an_unwritable_store_leaves_traffic_flowing() {
    let text = format!("{SMALLEST}\n[store]\nurl = \"sqlite:/proc/no/such/place.db\"\n");
    let program = Program::run(&text);
    // Nothing listens at the servers' addresses: the answer is evenkeel's own, but it is an answer.
    assert_eq!(common::get(program.address(), "/").unwrap().status / 100, 5);
    assert!(program.log().contains("place.db"), "{}", program.log());
}

#[test]
fn status_and_incidents_report_that_evenkeel_does_not_run() {
    let folder = folder_with(
        "evenkeel.toml",
        &SMALLEST.replace(
            "[admin]\naddress = \"127.0.0.1:0\"",
            &format!("[admin]\naddress = \"127.0.0.1:{}\"", free_ports(1)[0]),
        ),
    );
    let status = call(folder.path(), &["status"]);
    assert_eq!(status.status, Some(1), "{status:?}");
    assert!(status.err.contains("evenkeel.toml"), "{}", status.err);
    let incidents = call(folder.path(), &["incidents", "list"]);
    assert!(
        incidents.status == Some(0) || incidents.err.contains("store"),
        "{incidents:?}"
    );
}

#[test]
fn status_and_incidents_of_what_runs() {
    let program = Program::run(SMALLEST);
    let admin = format!("http://{}", program.admin);
    let status = call(program.folder.path(), &["status", "--admin", &admin]);
    assert_eq!(status.status, Some(0), "{status:?}");
    assert!(
        status.out.contains("shop") && status.out.contains("127.0.0.1:9001"),
        "{}",
        status.out
    );
    let one = call(
        program.folder.path(),
        &["status", "shop", "--admin", &admin],
    );
    assert!(
        one.status == Some(0) && one.out.contains("127.0.0.1:9003"),
        "{one:?}"
    );
    let none = call(
        program.folder.path(),
        &["status", "shpo", "--admin", &admin],
    );
    assert!(
        none.status == Some(1) && none.err.contains("shpo"),
        "{none:?}"
    );
    let json = call(
        program.folder.path(),
        &["status", "--admin", &admin, "--format", "json"],
    );
    serde_json::from_str::<serde_json::Value>(&json.out).unwrap();
    let list = call(
        program.folder.path(),
        &["incidents", "list", "--admin", &admin, "--format", "json"],
    );
    assert_eq!(list.status, Some(0), "{list:?}");
    serde_json::from_str::<serde_json::Value>(&list.out).unwrap();
    let none = call(
        program.folder.path(),
        &["incidents", "show", "2000-01-01-0001", "--admin", &admin],
    );
    assert_eq!(none.status, Some(1), "{none:?}");
}

#[test]
fn elsewhere_than_at_loopback_reading_takes_the_token() {
    let text = SMALLEST.replace(
        "[admin]\naddress = \"127.0.0.1:0\"",
        "[admin]\naddress = \"0.0.0.0:0\"",
    );
    let program = Program::run(&text);
    let port = program.admin.port();
    let here = format!("http://127.0.0.1:{port}");
    let there = format!("http://0.0.0.0:{port}");
    let without = call(program.folder.path(), &["status", "--admin", &here]);
    assert_eq!(without.status, Some(1), "{without:?}");
    assert!(without.err.contains("token"), "{}", without.err);
    let file = program.folder.path().join("admin.token");
    let file = file.to_str().unwrap();
    let named = ["status", "--admin", &here, "--token-file", file];
    for arguments in [&named[..], &["status", "--admin", &there]] {
        let with = call(program.folder.path(), arguments);
        assert_eq!(with.status, Some(0), "{with:?}");
    }
    let none = [
        "status",
        "--admin",
        &here,
        "--token-file",
        "/no/such/admin.token",
    ];
    let none = call(program.folder.path(), &none);
    assert!(
        none.status == Some(1) && none.err.contains("/no/such/admin.token"),
        "{none:?}"
    );
}

fn order(program: &Program, verb: &str, target: &str) -> common::Called {
    let admin = format!("http://{}", program.admin);
    call(program.folder.path(), &[verb, target, "--admin", &admin])
}

fn order_and_wait(program: &Program, verb: &str, target: &str) -> common::Called {
    let admin = format!("http://{}", program.admin);
    let arguments = [verb, target, "--wait=60s", "--admin", &admin];
    call(program.folder.path(), &arguments)
}

#[test]
fn servers_take_orders() {
    let program = Program::with_children("");
    let standing = |word: &str| {
        wait_for(word, || {
            let api = program.api("/api/services/shop");
            let server = &api["servers"][0];
            (server["standing"] == word).then_some(())
        });
    };
    let drained = order(&program, "drain", "shop/shop-1");
    assert_eq!(drained.status, Some(0), "{drained:?}");
    assert!(drained.out.contains("shop-1"), "{drained:?}");
    standing("draining");
    assert_eq!(order(&program, "restore", "shop/shop-1").status, Some(0));
    standing("in-service");
    let before = program.servers()[0].pid;
    let restarted = order_and_wait(&program, "restart", "shop/shop-1");
    assert_eq!(restarted.status, Some(0), "{restarted:?}");
    assert!(restarted.out.contains("is verified"), "{restarted:?}");
    wait_for("another process", || {
        let now = program.servers()[0].pid;
        (now.is_some() && now != before).then_some(())
    });
    let unknown = order(&program, "eject", "shop/shop-9");
    assert!(
        unknown.status == Some(1) && unknown.err.contains("shop-9"),
        "{unknown:?}"
    );
    let malformed = order(&program, "eject", "shop-1");
    assert!(
        malformed.status == Some(2) && malformed.err.contains("SERVICE/SERVER"),
        "{malformed:?}"
    );
    // Whoever cannot read the token can give no orders.
    let stranger = TempDir::new().unwrap();
    let admin = format!("http://{}", program.admin);
    let refused = call(
        stranger.path(),
        &["drain", "shop/shop-1", "--admin", &admin],
    );
    assert!(
        refused.status == Some(1) && refused.err.contains("token"),
        "{refused:?}"
    );
}

#[test]
fn what_an_incident_proposes_is_done_once_it_is_approved() {
    let program = Program::with_children("[service.shop.recover]\nmode = \"ask\"\n");
    let victim = program.servers().remove(0).pid.unwrap();
    common::signal(victim, "KILL");
    let incident = program.wait_for_incident("awaiting approval", |incident| {
        incident.status == IncidentStatus::AwaitingApproval
    });
    assert_eq!(program.servers()[0].pid, None, "nothing was done yet");
    let approved = order(&program, "approve", &incident.id);
    assert_eq!(approved.status, Some(0), "{approved:?}");
    program.wait_for_incident("closed", |incident| {
        incident.status == IncidentStatus::Closed
    });
    let late = order(&program, "approve", &incident.id);
    assert!(
        late.status == Some(1) && late.err.contains("is closed"),
        "{late:?}"
    );
    program.wait_until_up();
    let unknown = order(&program, "reject", "2000-01-01-0001");
    assert!(
        unknown.status == Some(1) && unknown.err.contains("2000-01-01-0001"),
        "{unknown:?}"
    );
}
