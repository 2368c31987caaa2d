//! A running evenkeel takes its changed file: nothing is lost, what is unchanged keeps everything, and a bad file changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::net::SocketAddr;

use common::{Program, free_ports, get, lives, sample_server, wait_for};
use evenkeel_lab::{LoadPlan, OpenLoad};

/// A configuration with servers at these ports; `more` stands before the services.
fn configuration(ports: &[u16], listener: u16, more: &str, service: &str) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:{listener}\"\nservice = \"shop\"\n{more}\n\
         [service.shop.run]\ncommand = [{}]\nports = [{}]\n{service}",
        sample_server(),
        ports.join(", ")
    )
}

/// Servers, listeners and routes come and go a few times while requests go on.
#[test]
fn reloads_lose_nothing_and_leave_alone_what_is_unchanged() {
    let ports = free_ports(5);
    let (listener, second) = (ports[3], ports[4]);
    let text = |servers: &[u16], more: &str| configuration(servers, listener, more, "");
    let program = Program::up(&text(&ports[..2], ""));
    let before = program.pids();
    let load = OpenLoad::start(LoadPlan::new(program.address(), 200.0)).unwrap();
    wait_for("answers", || (load.snapshot().ok >= 100).then_some(()));
    let also = format!("[listen.two]\naddress = \"127.0.0.1:{second}\"\nservice = \"shop\"");
    for _ in 0..5 {
        program.write(&text(&ports[..3], &also));
        let differs = program.order(&["diff"]);
        assert_eq!(differs.status, Some(1), "{differs:?}");
        assert!(differs.out.contains("listener two added"), "{differs:?}");
        let done = program.order(&["reload"]);
        assert_eq!(done.status, Some(0), "{done:?}");
        assert_eq!(program.order(&["diff"]).status, Some(0));
        program.wait_for_servers("the third", |servers| {
            servers.len() == 3 && servers.iter().all(|server| server.state == "up")
        });
        let two = SocketAddr::from(([127, 0, 0, 1], second));
        assert_eq!(get(two, "/").unwrap().status, 200);
        let third = program.pids()[2].unwrap();
        program.write(&text(&ports[..2], ""));
        let done = program.order(&["reload"]);
        assert_eq!(done.status, Some(0), "{done:?}");
        wait_for("the end of the third", || (!lives(third)).then_some(()));
        assert!(get(two, "/").is_err(), "nothing listens there any more");
        let again = program.order(&["reload"]);
        assert!(again.out.contains("nothing was changed"), "{again:?}");
    }
    let numbers = load.stop();
    assert_eq!(numbers.failed, 0, "{:?}", numbers.failures);
    assert_eq!(program.pids(), before);
    assert_eq!(
        program.metric("evenkeel_reloads_total{result=\"applied\"}") as u64,
        10
    );
    assert_eq!(
        program.metric("evenkeel_reloads_total{result=\"unchanged\"}") as u64,
        5
    );
    let incidents = program.incidents_of_services();
    assert!(incidents.is_empty(), "{incidents:#?}");
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing() {
    let ports = free_ports(3);
    let text = configuration(&ports[..1], ports[1], "", "");
    let program = Program::up(&text);
    let before = program.pids();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().port();
    let elsewhere = configuration(
        &[ports[2]],
        ports[1],
        &format!("[listen.two]\naddress = \"127.0.0.1:{taken}\"\nservice = \"shop\""),
        "",
    );
    for (bad, why) in [
        (format!("unknown = 1\n{text}"), "unknown key `unknown`"),
        (elsewhere, "listener two cannot listen on"),
    ] {
        program.write(&bad);
        let refused = program.order(&["reload"]);
        assert_eq!(refused.status, Some(1), "{refused:?}");
        assert!(refused.err.contains(why), "{refused:?}");
        assert_eq!(program.metric("evenkeel_reload_ok") as u64, 0);
        assert_eq!(get(program.address(), "/").unwrap().status, 200);
        assert_eq!(program.pids(), before);
    }
    program.write(&text);
    assert_eq!(program.order(&["reload"]).status, Some(0));
    assert_eq!(program.metric("evenkeel_reload_ok") as u64, 1);
}

/// A changed command replaces the processes one after the other, and clients notice nothing.
#[test]
fn a_changed_command_replaces_the_processes_one_at_a_time() {
    let ports = free_ports(4);
    let text = |service: &str| configuration(&ports[..3], ports[3], "", service);
    let program = Program::up(&text(""));
    let before = program.pids();
    let load = OpenLoad::start(LoadPlan::new(program.address(), 100.0)).unwrap();
    wait_for("answers", || (load.snapshot().ok >= 100).then_some(()));
    program.write(&text("environment = { SHOP = \"new\" }\n"));
    let done = program.order(&["reload"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    wait_for("other processes", || {
        let mut pids = program.pids().into_iter().zip(&before);
        pids.all(|(now, before)| now.is_some() && now != *before)
            .then_some(())
    });
    program.wait_until_up();
    let numbers = load.stop();
    assert_eq!(numbers.failed, 0, "{:?}", numbers.failures);
}

/// The ways of editors and of deployments: written in place, renamed over it, a symbolic link that is swapped.
#[test]
fn a_watched_file_is_taken_by_itself() {
    let ports = free_ports(3);
    let text = |servers: &[u16]| {
        let rest = configuration(servers, ports[2], "", "");
        format!("reload = \"watch\"\n{rest}")
    };
    let program = Program::up(&text(&ports[..1]));
    let (file, next) = (
        program.folder.path().join("evenkeel.toml"),
        program.folder.path().join("next.toml"),
    );
    let servers = |number: usize| {
        program.wait_for_servers("the servers of the file", |servers| servers.len() == number);
    };
    fs::write(&file, text(&ports[..2])).unwrap();
    servers(2);
    fs::write(&next, text(&ports[..1])).unwrap();
    fs::rename(&next, &file).unwrap();
    servers(1);
    fs::write(&next, text(&ports[..2])).unwrap();
    let link = program.folder.path().join("link");
    std::os::unix::fs::symlink(&next, &link).unwrap();
    fs::rename(&link, &file).unwrap();
    servers(2);
}
