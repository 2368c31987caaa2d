//! Start and end of the program: SIGTERM, SIGKILL, requests in flight, children, examples.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use common::{Program, call, get, lives, now, root, wait_for};
use tempfile::TempDir;

fn children(program: &Program) -> Vec<u32> {
    let pids: Vec<u32> = program
        .servers()
        .iter()
        .filter_map(|server| server.pid)
        .collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| lives(*pid)));
    pids
}

#[test]
fn sigterm_finishes_requests_stops_children_and_exits_0() {
    let mut program = Program::with_children("");
    let pids = children(&program);
    let mut stream = TcpStream::connect(program.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
        .write_all(b"GET /delay/700 HTTP/1.1\r\nHost: shop\r\n\r\n")
        .unwrap();
    // In flight: a server has it.
    wait_for("the request in flight", || {
        let metrics = get(program.admin, "/metrics").ok()?.body;
        let in_flight = metrics
            .lines()
            .filter(|line| line.starts_with("evenkeel_server_in_flight"));
        in_flight
            .into_iter()
            .any(|line| line.ends_with(" 1"))
            .then_some(())
    });
    program.signal("TERM");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    assert!(
        pids.iter().all(|pid| !lives(*pid)),
        "children outlived evenkeel"
    );
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut program = Program::with_children("");
    let pids = children(&program);
    let mut stream = TcpStream::connect(program.address()).unwrap();
    stream
        .write_all(b"GET /delay/20000 HTTP/1.1\r\nHost: shop\r\n\r\n")
        .unwrap();
    wait_for("the request in flight", || {
        let metrics = get(program.admin, "/metrics").ok()?.body;
        let in_flight = metrics
            .lines()
            .filter(|line| line.starts_with("evenkeel_server_in_flight"));
        in_flight
            .into_iter()
            .any(|line| line.ends_with(" 1"))
            .then_some(())
    });
    let begun = now();
    program.signal("INT");
    wait_for("the first signal to be heard", || {
        program.log().contains("stopping").then_some(())
    });
    program.signal("INT");
    program.wait();
    assert!(
        now() - begun < Duration::from_secs(15),
        "it waited for the request"
    );
    wait_for("the children's end", || {
        pids.iter().all(|pid| !lives(*pid)).then_some(())
    });
}

#[test]
fn sigkill_takes_the_children_along() {
    let mut program = Program::with_children("");
    let pids = children(&program);
    program.signal("KILL");
    program.wait();
    wait_for("the children's end", || {
        pids.iter().all(|pid| !lives(*pid)).then_some(())
    });
}

#[test]
fn sighup_reloads() {
    let program = Program::with_children("");
    program.signal("HUP");
    wait_for("the answer to SIGHUP", || {
        program
            .log()
            .contains("the file says what runs already")
            .then_some(())
    });
    assert_eq!(get(program.address(), "/").unwrap().status, 200);
}

#[test]
fn a_state_folder_that_is_removed_is_made_again_with_all_that_was_in_it() {
    let mut program = Program::with_children("");
    let state = program.folder.path().to_owned();
    let token = std::fs::read_to_string(state.join("admin.token")).unwrap();
    std::fs::remove_dir_all(&state).unwrap();
    common::signal(children(&program)[0], "KILL");
    program.wait_for_incident("that is closed", |one| one.closed.is_some());
    wait_for("the token, the same", || {
        let again = std::fs::read_to_string(state.join("admin.token")).ok()?;
        (again == token).then_some(())
    });
    wait_for("the store, which is well", || {
        let metrics = get(program.admin, "/metrics").ok()?.body;
        let has = |line: &str| metrics.lines().any(|one| one == line);
        (has("evenkeel_store_ok 1") && has("evenkeel_store_made_again_total 1")).then_some(())
    });
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    assert!(state.join("evenkeel.db").exists());
    let log = program.log();
    assert!(log.contains("recreated with its whole content"), "{log}");
    assert!(
        log.contains("was written again with the same content"),
        "{log}"
    );
}

#[test]
fn the_proxy_command_serves() {
    let server = Program::with_children("");
    let to = server.servers()[0].address.to_string();
    let folder = TempDir::new().unwrap();
    let proxy = Program::start(folder, &["proxy", "--listen", "127.0.0.1:0", "--to", &to]);
    assert_eq!(get(proxy.address(), "/").unwrap().status, 200);
    assert_eq!(get(proxy.admin, "/health/live").unwrap().status, 200);
}

/// Whether a query of a header only is answered, as it should be, with an error.
fn answers_dns(address: std::net::SocketAddr) -> bool {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let query = [7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    socket.send_to(&query, address).unwrap();
    let mut answer = [0; 64];
    let received = loop {
        match socket.recv(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => break received,
        }
    };
    matches!(received, Ok(12)) && answer[..4] == [7, 7, 0x80, 1]
}

/// Every example is a complete configuration: it is right, and it runs (on free ports).
#[test]
fn examples_run() {
    let mut tried = 0;
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        tried += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(
            folder.path().join("evenkeel.toml"),
            listen_anywhere(&text, folder.path()),
        )
        .unwrap();
        let checked = call(folder.path(), &["check"]);
        assert_eq!(checked.status, Some(0), "{}: {checked:?}", path.display());
        let mut program = Program::start(folder, &["run"]);
        let answers = if text.contains("protocol = \"dns\"") {
            answers_dns(program.address())
        } else {
            get(program.address(), "/").is_ok()
        };
        assert!(answers, "{}\n{}", path.display(), program.log());
        program.signal("TERM");
        assert_eq!(
            program.wait().code(),
            Some(0),
            "{}\n{}",
            path.display(),
            program.log()
        );
    }
    assert!(tried > 0, "there are examples");
}

/// The same configuration with listeners and admin on free ports of loopback, and sockets in this folder.
fn listen_anywhere(text: &str, folder: &Path) -> String {
    let text = text.replace("/run/evenkeel/", &format!("{}/", folder.display()));
    let mut in_listener = false;
    let mut has_admin = false;
    let mut out = String::new();
    for line in text.lines() {
        if let Some(section) = line.trim().strip_prefix('[') {
            in_listener = section.starts_with("listen.") || section.starts_with("admin]");
            has_admin |= section.starts_with("admin]");
        }
        let is_address = line.trim_start().starts_with("address") && !line.contains("\"unix:");
        if in_listener && is_address {
            out.push_str("address = \"127.0.0.1:0\"\n");
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    if !has_admin {
        out.push_str("\n[admin]\naddress = \"127.0.0.1:0\"\n");
    }
    out
}
