//! Slow restarts of real processes, and restarts by others: never two copies, and no more restarts than wanted.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Called, GOOD, PROGRAM, Program, call, free_ports, now, pause, signal, wait_for};
use evenkeel_fault::FaultKind;
use evenkeel_lab::{LoadPlan, OpenLoad};

/// A configuration of two servers that evenkeel runs by this shell script; `$0` is the port.
fn scripted(script: &str, more: &str) -> String {
    let ports = free_ports(2);
    format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [service.shop.run]\ncommand = [\"sh\", \"-c\", '''{script}''', \"{{port}}\"]\nports = [{}, {}]\n{more}",
        ports[0], ports[1]
    )
}

fn restart(program: &Program, server: &str) {
    let ordered = order(program, server, &["--wait"]);
    assert_eq!(ordered.status, Some(0), "{ordered:?}\n{}", program.log());
}

/// The answer to `evenkeel restart` with these options.
fn order(program: &Program, server: &str, options: &[&str]) -> Called {
    let admin = format!("http://{}", program.admin);
    let mut arguments = vec!["restart", server, "--admin", &admin];
    arguments.extend(options);
    call(program.folder.path(), &arguments)
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// It was taken for a server that does not listen, and a second restart killed the process that was starting.
#[test]
fn an_ordered_restart_of_a_server_that_starts_slowly_is_one_restart_and_no_incident() {
    let script =
        format!("echo $$ >> {{folder}}/starts-$0; sleep 3; exec {PROGRAM} sample-server --port $0");
    // A start takes 3 s, and longer on a busy machine.
    let within = "[service.shop.recover.verify]\nwithin = \"50s\"";
    let program = Program::run(&scripted(&script, within));
    program.wait_until_up();
    let before = program.servers()[0].clone();
    let starts = program
        .folder
        .path()
        .join(format!("starts-{}", before.address.port()));
    assert_eq!(lines(&starts), 1);
    restart(&program, "shop/shop-1");
    program.wait_until_up();
    assert_eq!(lines(&starts), 2, "{}", program.log());
    assert_ne!(program.servers()[0].pid, before.pid);
    let incidents = program.incidents_of_services();
    assert!(incidents.is_empty(), "{incidents:#?}");
}

/// The order was given up before the process had the time that it may take to stop, and another order started a second one.
#[test]
fn a_process_that_may_take_long_to_stop_is_replaced_once_it_has_stopped() {
    // Longer than anything but its own limit would wait.
    let script = format!(
        "mkdir {{folder}}/alive-$0 || echo two >> {{folder}}/two; echo $$ >> {{folder}}/starts-$0; \
         trap 'sleep 12; rmdir {{folder}}/alive-$0; exit 0' TERM; {PROGRAM} sample-server --port $0 & wait"
    );
    let program = Program::run(&scripted(
        &script,
        "stop = { signal = \"TERM\", wait = \"60s\" }\n",
    ));
    program.wait_until_up();
    let before = program.servers()[0].clone();
    restart(&program, "shop/shop-1");
    program.wait_until_up();
    let folder = program.folder.path();
    let starts = folder.join(format!("starts-{}", before.address.port()));
    assert_eq!(lines(&starts), 2, "{}", program.log());
    assert!(!folder.join("two").exists(), "{}", program.log());
    assert_ne!(program.servers()[0].pid, before.pid);
}

/// A server that evenkeel does not run; dropping it kills it.
struct Server(Child);

impl Server {
    fn start(port: u16) -> Self {
        let port = port.to_string();
        let child = Command::new(PROGRAM)
            .args(["sample-server", "--port", &port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// After a second evenkeel started a copy beside the one that the other was about to start.
#[test]
fn servers_that_somebody_else_restarts_one_after_the_other_are_not_started_a_second_time() {
    const AWAY: Duration = Duration::from_millis(2_500);
    let ports = free_ports(2);
    let mut servers: Vec<Server> = ports.iter().map(|port| Server::start(*port)).collect();
    let restart = "managed_by = { exec = { restart = [\"sh\", \"-c\", \"echo restarted >> {folder}/restarts\"] } }";
    let program = Program::run(&format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\n\
         servers = [\n{{ address = \"127.0.0.1:{}\", name = \"a\", {restart} }},\n{{ address = \"127.0.0.1:{}\", name = \"b\", {restart} }},\n]\n\
         [service.shop.detect]\nprobe = {{ tcp = true, every = \"200ms\" }}\n",
        ports[0], ports[1]
    ));
    program.wait_until_up();
    for (place, port) in ports.into_iter().enumerate() {
        signal(servers[place].0.id(), "KILL");
        wait_for("its end to be noticed", || {
            (program.servers()[place].state != "up").then_some(())
        });
        let back = now() + AWAY;
        while now() < back {
            pause();
        }
        servers[place] = Server::start(port);
        program.wait_until_up();
    }
    let restarts = program.folder.path().join("restarts");
    assert_eq!(lines(&restarts), 0, "{}", program.log());
}

/// An operator restarts one server after the other with a version that cannot start: it costs the first, and clients nothing.
fn a_rolling_restart_stops_at_the_first(options: &[&str]) {
    let (program, script) = Program::scripted(|_| String::new());
    let load = OpenLoad::start(LoadPlan::new(program.address(), 60.0)).unwrap();
    wait_for("answers", || (load.snapshot().ok >= 60).then_some(()));
    let before = program.pids();
    std::fs::write(&script, "echo no such module\nexit 1\n").unwrap();
    let first = order(&program, "shop/shop-1", options);
    if options.contains(&"--wait") {
        assert_eq!(first.status, Some(1), "{first:?}");
    }
    for server in ["shop/shop-2", "shop/shop-3"] {
        let refused = order(&program, server, options);
        assert_eq!(refused.status, Some(1), "{refused:?}");
    }
    wait_for("its start has failed", || {
        let incidents = program.incidents_of_services();
        let mut kinds = incidents.iter().filter_map(|one| one.diagnosis.first());
        kinds
            .any(|one| one.fault == FaultKind::BadDeploy)
            .then_some(())
    });
    for server in ["shop/shop-2", "shop/shop-3"] {
        let refused = order(&program, server, options);
        assert_eq!(refused.status, Some(1), "{refused:?}");
        // The first is tried again meanwhile.
        let why = ["not start", "shop/shop-1 is being restarted"];
        assert!(
            why.iter().any(|why| refused.err.contains(why)),
            "{refused:?}"
        );
    }
    assert_eq!(program.pids()[1..], before[1..]);
    std::fs::write(&script, GOOD).unwrap();
    program.wait_until_up();
    assert_eq!(program.pids()[1..], before[1..]);
    let numbers = load.stop();
    assert_eq!(numbers.failed, 0, "{:?}", numbers.failures);
}

#[test]
fn a_rolling_restart_that_waits_stops_at_the_first_that_does_not_start() {
    a_rolling_restart_stops_at_the_first(&["--wait"]);
}

#[test]
fn a_rolling_restart_that_does_not_wait_stops_at_the_first_that_does_not_start() {
    a_rolling_restart_stops_at_the_first(&[]);
}
