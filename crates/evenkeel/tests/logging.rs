//! Log lines, and the program's behaviour when its log or its results cannot be written.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use common::{PATIENCE, PROGRAM, Program, call, children, get, lives, signal, wait_for};
use serde_json::Value;
use tempfile::TempDir;

/// An access log; and probes that bear with a machine that stalls, so that nothing is restarted but what has died.
const ACCESS: &str = "[service.shop.detect]\nprobe = { tcp = true, every = \"10s\", timeout = \"10s\", fall = 10 }\n\
                      [log]\naccess = true\n";

/// The program with two servers, its standard error at `errors`, once both are up.
fn start(more: &str, errors: Stdio) -> Program {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("evenkeel.toml"), children(more)).unwrap();
    let program = Program::start_with_errors_to(folder, &["run", "evenkeel.toml"], errors);
    program.wait_until_up();
    program
}

/// Sends this many requests on one connection; each must be answered.
fn requests(program: &Program, number: usize) {
    let mut stream = TcpStream::connect(program.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let path = "x".repeat(200);
    for _ in 0..number {
        let request = format!("HEAD /{path} HTTP/1.1\r\nHost: shop\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(answers.read_line(&mut head).unwrap() > 0, "cut: {head}");
        }
    }
}

/// Serves, repairs, and ends when told, whatever becomes of its log.
fn works(mut program: Program) {
    // More than a pipe holds.
    requests(&program, 1000);
    let before = program.servers();
    signal(before[0].pid.unwrap(), "KILL");
    wait_for("the restart of the one that was killed", || {
        let now = program.servers();
        let back = now[0].pid.is_some() && now[0].pid != before[0].pid;
        (back && now[0].state == "up").then_some(())
    });
    assert_eq!(
        program.servers()[1].pid,
        before[1].pid,
        "the other lives on"
    );
    requests(&program, 10);
    let metrics = get(program.admin, "/metrics").unwrap().body;
    assert!(metrics.contains("\nevenkeel_log_lines_dropped_total "));
    let pids: Vec<u32> = program.servers().iter().filter_map(|one| one.pid).collect();
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
    assert!(!pids.into_iter().any(lives));
}

#[test]
fn a_log_whose_reader_is_gone_stops_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    works(start(ACCESS, writer.into()));
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    works(start(ACCESS, writer.into()));
    drop(reader);
}

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    works(start(ACCESS, full.into()));
}

#[test]
fn results_that_nobody_reads_stop_nothing() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("evenkeel.toml"), children("")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = Command::new(PROGRAM)
        .args(["run", "evenkeel.toml"])
        .current_dir(folder.path())
        .env("STATE_DIRECTORY", folder.path())
        .env_remove("EVENKEEL_LOG")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    // It has written its results long before its servers say that they listen, and goes on.
    let listens = log
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("listens on"));
    assert!(listens, "it ended");
    signal(child.id(), "TERM");
    let ending = log
        .map_while(Result::ok)
        .any(|line| line.contains("stopping"));
    assert!(ending, "it did not live to be told");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_command_whose_reader_is_gone_ends_quietly() {
    let program = Program::with_children("");
    let admin = format!("http://{}", program.admin);
    for arguments in [
        vec!["status", "--admin", &admin],
        vec!["status", "--admin", &admin, "--format", "json"],
        vec!["incidents", "list", "--admin", &admin],
        vec!["top", "--admin", &admin, "--count", "1"],
        vec!["schema"],
        vec!["version"],
        vec!["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(PROGRAM)
            .args(&arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

/// Each line as JSON.
fn events(log: &str) -> Vec<Value> {
    let event =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    log.lines().map(event).collect()
}

#[test]
fn with_json_everything_is_json_and_one_event_is_one_line() {
    let port = common::free_ports(1)[0];
    // What the server prints first: escape sequences, a carriage return, a change of direction.
    let prints = r"printf 'evil \033[2J \342\200\256 \r one\n'";
    let serves = format!("exec '{PROGRAM}' sample-server --port {port}");
    let mut program = Program::run(&format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
         [listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [service.shop.run]\ncommand = ['sh', '-c', '''{prints}; {serves}''']\nports = [{port}]\n\
         [service.unused]\nservers = [\"127.0.0.1:9\"]\n"
    ));
    wait_for("the line of the server", || {
        program.log().contains("evil").then_some(())
    });
    for (name, line) in [
        ("USR1", "SIGUSR1 is ignored"),
        ("USR2", "SIGUSR2 is ignored"),
        ("HUP", "nothing was changed"),
    ] {
        program.signal(name);
        wait_for("the line about the signal", || {
            program.log().contains(line).then_some(())
        });
    }
    let servers = program.servers();
    signal(servers[0].pid.unwrap(), "KILL");
    let named = wait_for("an incident's line", || {
        let events = events(&program.log());
        let mut about = events
            .into_iter()
            .filter(|event| event["incident"].is_string());
        about.find(|event| event["message"].as_str().unwrap().contains("signal 9"))
    });
    assert_eq!(
        (&named["service"], &named["server"]),
        (&Value::from("shop"), &Value::from(servers[0].name.as_str()))
    );
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
    let log = program.log();
    let (lines, events) = (log.lines().count(), events(&log));
    let unused = events.iter().find(|event| event["code"].is_string());
    assert!(
        unused.is_some_and(|event| event["line"].is_u64()),
        "the warning: {log}"
    );
    let evil = events.iter().find(|event| {
        event["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("evil"))
    });
    assert_eq!(evil.unwrap()["message"], "evil \u{1b}[2J \u{202e} \r one");
    assert!(!log.contains('\u{202e}') && !log.contains('\r') && lines == events.len());
}

#[test]
fn mistakes_of_a_file_that_asks_for_json_are_json() {
    let folder = TempDir::new().unwrap();
    let text = "[log]\nformat = \"json\"\n[listen.web]\nadress = \"127.0.0.1:0\"\n";
    std::fs::write(folder.path().join("evenkeel.toml"), text).unwrap();
    let called = call(folder.path(), &["run"]);
    assert_eq!(called.status, Some(1));
    let events = events(&called.err);
    assert!(events.iter().any(|event| event["line"] == 4), "{events:?}");
}

#[test]
fn a_filter_that_means_nothing_is_refused() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("evenkeel.toml"), children("")).unwrap();
    let output = Command::new(PROGRAM)
        .arg("run")
        .current_dir(folder.path())
        .env("STATE_DIRECTORY", folder.path())
        .env("EVENKEEL_LOG", "garbage")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("EVENKEEL_LOG") && said.contains("garbage"),
        "{said}"
    );
}
