//! Servers are added, removed and weighted while evenkeel runs: traffic follows at once, a reload keeps it, a restart only if that was
//! wanted, and what is not in the file is shown.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../common/mod.rs"]
mod common;
mod named_server;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use common::{Program, free_ports, get, wait_for};
use evenkeel_lab::{LoadPlan, OpenLoad};
use named_server::NamedServer;
use serde_json::Value;
use tempfile::TempDir;

fn done(program: &Program, arguments: &[&str]) -> String {
    let called = program.order(arguments);
    assert_eq!(
        called.status,
        Some(0),
        "{arguments:?}: {called:?}\n{}",
        program.log()
    );
    called.out
}

/// Servers `a` and more as listed, spread by weight.
fn configuration(servers: &str, more: &str) -> String {
    format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [service.shop]\nbalance = {{ policy = \"weighted-round-robin\" }}\nservers = [{servers}]\n{more}"
    )
}

fn listed(name: &str, server: &NamedServer) -> String {
    format!(
        "{{ name = \"{name}\", address = \"127.0.0.1:{}\" }}",
        server.port()
    )
}

/// How many of `requests` were answered by the server of this name.
fn answered_by(program: &Program, name: &str, requests: usize) -> usize {
    let answers = (0..requests).map(|_| get(program.address(), "/").unwrap().body);
    answers.filter(|body| body == name).count()
}

/// A connection with a request that is under way at `server`.
fn hold_at(program: &Program, server: &NamedServer, other: &NamedServer) -> TcpStream {
    wait_for("a request at the server", || {
        let address = program.address();
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET /hold HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        wait_for("the request at one of both", || {
            if server.held.try_recv().is_ok() {
                return Some(Some(()));
            }
            other.held.try_recv().is_ok().then(|| {
                other.let_go.send(()).unwrap();
                None
            })
        })
        .map(|()| stream)
    })
}

fn names(program: &Program) -> Vec<String> {
    let servers = program.servers().into_iter();
    servers.map(|server| server.name).collect()
}

fn weight(program: &Program, name: &str) -> u64 {
    let view = program.api("/api/services/shop");
    let servers = view["servers"].as_array().unwrap();
    let found = servers.iter().find(|server| server["name"] == name);
    found.unwrap()["weight"].as_u64().unwrap()
}

/// The log is read by a thread of its own.
fn wait_for_log(program: &Program, text: &str) {
    wait_for(text, || program.log().contains(text).then_some(()));
}

/// What is changed at run time, as the API shows it.
fn changes(program: &Program) -> Vec<Value> {
    let status = program.api("/api/status");
    status["runtime_changes"].as_array().unwrap().clone()
}

#[test]
fn traffic_follows_a_server_that_is_added_weighted_and_removed() {
    let (a, b) = (NamedServer::start("a"), NamedServer::start("b"));
    let program = Program::up(&configuration(&listed("a", &a), ""));
    assert_eq!(answered_by(&program, "a", 20), 20);
    let address = b.address.to_string();
    let added = done(&program, &["server", "add", "shop/b", &address]);
    assert!(
        added.contains("server b added") && added.contains("until evenkeel is restarted"),
        "{added}"
    );
    wait_for("the first answer of b", || {
        (answered_by(&program, "b", 1) == 1).then_some(())
    });
    // Its slow start has to end before its share is that of its weight.
    done(&program, &["server", "weight", "shop/b", "9"]);
    assert_eq!(weight(&program, "b"), 9);
    wait_for("nine of ten answers by b", || {
        ((85..=95).contains(&answered_by(&program, "b", 100))).then_some(())
    });
    done(&program, &["server", "max-requests", "shop/b", "7"]);
    let view = program.api("/api/services/shop");
    assert_eq!(view["servers"][1]["limit"], 7, "{view:#}");

    // It goes while a request is under way there.
    let mut held = hold_at(&program, &b, &a);
    done(&program, &["server", "remove", "shop/b"]);
    assert_eq!(names(&program), ["a"]);
    assert_eq!(answered_by(&program, "a", 50), 50);
    b.let_go.send(()).unwrap();
    let mut answer = String::new();
    held.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("b"),
        "{answer}"
    );
    assert!(changes(&program).is_empty());
    for word in [
        "add-server",
        "remove-server",
        "set-weight",
        "set-max-requests",
    ] {
        let metric = format!("evenkeel_orders_total{{order=\"{word}\",outcome=\"done\"}}");
        assert_eq!(program.metric(&metric) as u64, 1, "{word}");
    }
    wait_for_log(&program, "operator's order: service shop: server b removed");
}

#[test]
fn nothing_is_lost_while_servers_come_and_go() {
    let (a, b) = (NamedServer::start("a"), NamedServer::start("b"));
    let program = Program::up(&configuration(&listed("a", &a), ""));
    let load = OpenLoad::start(LoadPlan::new(program.address(), 200.0)).unwrap();
    wait_for("answers", || (load.snapshot().ok >= 50).then_some(()));
    let address = b.address.to_string();
    for _ in 0..5 {
        done(&program, &["server", "add", "shop/b", &address]);
        done(&program, &["server", "weight", "shop/b", "3"]);
        done(&program, &["server", "remove", "shop/b"]);
    }
    let numbers = load.stop();
    assert_eq!(numbers.failed, 0, "{:?}", numbers.failures);
}

#[test]
fn changes_live_through_reloads_until_the_file_says_otherwise() {
    let (a, b, c) = (
        NamedServer::start("a"),
        NamedServer::start("b"),
        NamedServer::start("c"),
    );
    let (listed_a, listed_b) = (listed("a", &a), listed("b", &b));
    let two = format!("{listed_a}, {listed_b}");
    let program = Program::up(&configuration(&two, ""));
    assert_eq!(program.order(&["diff"]).status, Some(0));
    let address = c.address.to_string();
    done(
        &program,
        &["server", "add", "shop/c", &address, "--persist"],
    );
    done(&program, &["server", "weight", "shop/a", "5"]);
    done(&program, &["server", "remove", "shop/b"]);

    let differs = program.order(&["diff"]);
    assert_eq!(differs.status, Some(1), "{differs:?}");
    for part in [
        "~ service shop: server c added at run time: ",
        "kept over restarts",
        "~ service shop: server b removed at run time (API, ",
        "~ service shop: server a: weight 1 → 5 at run time",
        "until evenkeel is restarted",
    ] {
        assert!(differs.out.contains(part), "{part}: {}", differs.out);
    }
    let lines = differs.out.lines();
    assert_eq!(lines.filter(|line| !line.starts_with("~ ")).count(), 0);
    assert_eq!(program.metric("evenkeel_runtime_changes") as u64, 3);

    // The reload changes something else, and they stay.
    program.write(&configuration(
        &two,
        "[service.shop.timeout]\ntotal = \"7s\"\n",
    ));
    let differs = program.order(&["diff"]);
    assert!(
        differs
            .out
            .contains("\nservice shop: timeout.total 60s → 7s\n~ "),
        "{differs:?}"
    );
    let file = program.folder.path().join("evenkeel.toml");
    let of_file = program.order(&["diff", &file.display().to_string()]);
    assert_eq!(of_file.status, Some(1), "{of_file:?}");
    assert_eq!(of_file.out, differs.out, "whoever compares");
    let reloaded = done(&program, &["reload"]);
    assert!(!reloaded.contains("server"), "{reloaded}");
    assert_eq!(names(&program), ["a", "c"]);
    assert_eq!(weight(&program, "a"), 5);

    // Now the file names c, gives a another weight, and b another address.
    let with_c = format!(
        "{}, {}, {}",
        listed_a.replace(" }", ", weight = 2 }"),
        listed("b", &c),
        listed("c", &b),
    );
    program.write(&configuration(&with_c, ""));
    let reloaded = done(&program, &["reload"]);
    for part in [
        "server c: the change made at run time no longer holds: the file has this server now",
        "server a: the change made at run time no longer holds: the file has changed since",
        "server b: the change made at run time no longer holds: the file has changed since",
    ] {
        assert!(reloaded.contains(part), "{part}: {reloaded}");
    }
    assert_eq!(names(&program), ["a", "b", "c"]);
    assert_eq!(weight(&program, "a"), 2);
    assert!(changes(&program).is_empty());
    assert_eq!(program.order(&["diff"]).status, Some(0));
}

#[test]
fn after_a_restart_only_what_was_kept_holds() {
    let (a, b, c) = (
        NamedServer::start("a"),
        NamedServer::start("b"),
        NamedServer::start("c"),
    );
    let two = format!("{}, {}", listed("a", &a), listed("b", &b));
    let program = Program::up(&configuration(&two, ""));
    let (kept, gone) = (
        c.address.to_string(),
        format!("127.0.0.1:{}", free_ports(1)[0]),
    );
    done(&program, &["server", "add", "shop/c", &kept, "--persist"]);
    done(&program, &["server", "weight", "shop/c", "3"]);
    done(&program, &["server", "add", "shop/d", &gone]);
    done(&program, &["server", "remove", "shop/a", "--persist"]);
    let unkept = program.order(&["server", "weight", "shop/d", "3", "--persist"]);
    assert!(
        unkept.status == Some(1)
            && unkept
                .err
                .contains("cannot be kept over a restart: the service has no server `d`"),
        "{unkept:?}"
    );
    assert_eq!(weight(&program, "d"), 1, "nothing was changed");

    let program = program.again();
    assert_eq!(names(&program), ["b", "c"]);
    assert_eq!(weight(&program, "c"), 1, "its weight was not kept");
    wait_for_log(
        &program,
        "kept from an earlier run: service shop: server c added",
    );
    let all = changes(&program);
    assert!(
        all.len() == 2 && all.iter().all(|change| change["kept"] == true),
        "{all:#?}"
    );
    program.wait_until_up();
    assert_eq!(answered_by(&program, "a", 20), 0);

    // Taken back without --persist, it is there again after the next restart, and that is shown.
    done(&program, &["server", "remove", "shop/c"]);
    let differs = program.order(&["diff"]);
    assert!(
        differs
            .out
            .contains("not in force now, but again after a restart"),
        "{differs:?}"
    );
    // a is used again, for good; the file says so already.
    let used = done(
        &program,
        &[
            "server",
            "add",
            "shop/a",
            &a.address.to_string(),
            "--persist",
        ],
    );
    assert!(used.contains("server a added"), "{used}");
    let program = program.again();
    assert_eq!(names(&program), ["a", "b", "c"]);
}

/// At a start as at a reload: the file holds where it says otherwise.
#[test]
fn what_was_kept_gives_way_to_a_file_that_was_changed_meanwhile() {
    let (a, c) = (NamedServer::start("a"), NamedServer::start("c"));
    let mut program = Program::up(&configuration(&listed("a", &a), ""));
    let kept = c.address.to_string();
    done(&program, &["server", "add", "shop/c", &kept, "--persist"]);
    done(&program, &["server", "weight", "shop/a", "4", "--persist"]);
    program.signal("TERM");
    program.wait();
    let both = format!("{}, {}", listed("a", &a), listed("c", &c));
    program.write(&configuration(&both, ""));
    let folder = std::mem::replace(&mut program.folder, TempDir::new().unwrap());
    let program = Program::start(folder, &["run", "evenkeel.toml"]);
    let overruled =
        "server c: the change made at run time no longer holds: the file has this server now";
    wait_for_log(&program, overruled);
    assert_eq!(weight(&program, "a"), 4, "what the file has not changed");
    assert_eq!(changes(&program).len(), 1);
    let program = program.again();
    assert!(
        !program.log().contains("no longer holds"),
        "it is said once: {}",
        program.log()
    );
}

#[test]
fn what_cannot_be_is_refused_and_nothing_changes() {
    let (a, b) = (NamedServer::start("a"), NamedServer::start("b"));
    let more = format!(
        "[service.api]\nservers = [{}]\n[service.run.run]\ncommand = [{}]\nports = [{}]\n",
        listed("alone", &b),
        common::sample_server(),
        free_ports(1)[0]
    );
    let both = format!("{}, {}", listed("a", &a), listed("b", &b));
    let program = Program::up(&configuration(&both, &more));
    let at_a = a.address.to_string();
    for (arguments, why) in [
        (
            vec!["server", "add", "none/c", "127.0.0.1:1"],
            "there is no service \"none\"",
        ),
        (
            vec!["server", "add", "shop/a", "127.0.0.1:1"],
            "the server `a` has this name",
        ),
        (
            vec!["server", "add", "shop/c", &at_a],
            "the server `a` has this name or this address",
        ),
        (
            vec!["server", "add", "shop/C", "127.0.0.1:1"],
            "cannot be a name",
        ),
        (
            vec!["server", "add", "shop", "127.0.0.1:0"],
            "a port other than 0",
        ),
        (
            vec!["server", "add", "shop", "127.0.0.1:1", "--weight", "0"],
            "from 1 to 1000",
        ),
        (vec!["server", "weight", "shop/a", "1001"], "from 1 to 1000"),
        (
            vec!["server", "max-requests", "shop/a", "1000001"],
            "from 0 to 1000000",
        ),
        (
            vec!["server", "weight", "shop/c", "1"],
            "there is no server \"c\" in service \"shop\"",
        ),
        (
            vec!["server", "remove", "api/alone"],
            "is the only server of the service",
        ),
        (
            vec!["server", "weight", "run/run-1", "2"],
            "evenkeel runs the server `run-1`",
        ),
        (vec!["server", "remove", "run/run-1"], "`run-1`"),
    ] {
        let refused = program.order(&arguments);
        assert!(
            refused.status == Some(1) && refused.err.contains(why),
            "{arguments:?}: {refused:?}"
        );
    }
    for wrong in [
        vec!["server", "add", "shop/", "127.0.0.1:1"],
        vec!["server", "add", "shop", "shop.internal:80"],
        vec!["server", "remove", "a"],
    ] {
        assert_eq!(program.order(&wrong).status, Some(2), "{wrong:?}");
    }
    assert_eq!(names(&program), ["a", "b"]);
    assert!(changes(&program).is_empty());
    assert_eq!(program.order(&["diff"]).status, Some(0));
}

#[test]
fn without_a_file_servers_can_be_changed_but_nothing_is_kept() {
    let (a, b) = (NamedServer::start("a"), NamedServer::start("b"));
    let (at_a, at_b) = (a.address.to_string(), b.address.to_string());
    let program = Program::start(
        TempDir::new().unwrap(),
        &["proxy", "--listen", "127.0.0.1:0", "--to", &at_a],
    );
    let kept = program.order(&["server", "add", "servers/b", &at_b, "--persist"]);
    assert!(
        kept.status == Some(1) && kept.err.contains("the incident store is in memory"),
        "{kept:?}"
    );
    done(&program, &["server", "add", "servers/b", &at_b]);
    wait_for("the first answer of b", || {
        (answered_by(&program, "b", 1) == 1).then_some(())
    });
    let shown = done(&program, &["show"]);
    assert!(
        shown.contains("# command line") && shown.contains("# API"),
        "{shown}"
    );
    let differs = program.order(&["diff"]);
    assert!(
        differs.status == Some(1) && differs.out.starts_with("~ service servers: server b added"),
        "{differs:?}"
    );
    let reload = program.order(&["reload"]);
    assert!(
        reload.status == Some(1) && reload.err.contains("was not started with a file"),
        "{reload:?}"
    );
    let status = done(&program, &["status"]);
    assert!(
        !status.contains("refused") && status.contains("~ service servers: server b added"),
        "{status}"
    );
}

#[test]
fn show_says_where_each_value_of_what_runs_comes_from() {
    let (a, b) = (NamedServer::start("a"), NamedServer::start("b"));
    let both = format!("{}, {}", listed("a", &a), listed("b", &b));
    let program = Program::up(&configuration(&both, ""));
    done(&program, &["server", "weight", "shop/b", "4"]);
    // The file is another one by now, and is not what runs.
    program.write("# nothing");
    let shown = done(&program, &["show"]);
    let line = |key: &str| {
        let found = shown.lines().find(|line| line.starts_with(key));
        found.unwrap_or_else(|| panic!("{key}: {shown}")).to_owned()
    };
    assert!(line("# lines: ").ends_with("evenkeel.toml"), "{shown}");
    assert!(line("weight = 4").ends_with("# API"), "{shown}");
    assert!(line("service = ").ends_with("# line 5"), "{shown}");
    assert!(
        line("# service shop: server b: weight 1 → 4").contains("API"),
        "{shown}"
    );
    let all = done(&program, &["show", "--all"]);
    assert!(all.contains("# default"), "{all}");
    // What is shown is a file that evenkeel takes, and means what runs.
    let path = program.folder.path().join("shown.toml");
    fs::write(&path, &shown).unwrap();
    let same = program.order(&["diff", &path.display().to_string()]);
    let pending = same.out.lines().filter(|line| !line.starts_with("~ "));
    assert_eq!(
        pending.collect::<Vec<_>>(),
        [
            "service shop: server b: the change made at run time no longer holds: the file says the same now"
        ],
        "{same:?}"
    );
    let json = done(&program, &["show", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let settings = json["settings"].as_array().unwrap();
    let of = |path: &str| {
        let found = settings.iter().find(|setting| setting["path"] == path);
        found.unwrap()["origin"]["from"].clone()
    };
    assert_eq!(of("service.shop.servers[1].weight"), "api");
    assert_eq!(of("service.shop.servers[1].address"), "file");
}

#[test]
fn status_shows_the_last_reload_that_was_refused_until_one_succeeds() {
    let a = NamedServer::start("a");
    let text = configuration(&listed("a", &a), "");
    let program = Program::up(&text);
    assert!(!done(&program, &["status"]).contains("refused"));
    program.write(&format!("unknown = 1\n{text}"));
    let refused = program.order(&["reload"]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    let status = done(&program, &["status"]);
    for part in [
        "! the last reload was refused at ",
        "cannot be used: 1 mistake; line 1: unknown key `unknown`",
        "evenkeel check ",
    ] {
        assert!(status.contains(part), "{part}: {status}");
    }
    let view = program.api("/api/status");
    assert!(
        view["refused_reload"]["reason"]
            .as_str()
            .unwrap()
            .contains("unknown key"),
        "{view:#}"
    );
    program.write(&text);
    done(&program, &["reload"]);
    assert!(!done(&program, &["status"]).contains("refused"));
    assert_eq!(program.api("/api/status").get("refused_reload"), None);
}
