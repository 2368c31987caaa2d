//! A reload while something is under way: an incident, a restart, a start, a slow start, a drain, a maintenance. With real processes; what
//! should happen is the table in `docs/operate/reload.md`. A change in DNS is in `discover.rs`, beside its name server.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Called, PROBED, Program, ask, free_ports, get, lives, sample_server, wait_for};
use evenkeel_fault::incident::{CloseReason, IncidentStatus};
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, LoadStats, OpenLoad};

/// An evenkeel that runs sample servers, and the file that it reads.
struct Shop {
    program: Program,
    ports: Vec<u16>,
    listener: u16,
    /// The words that start a server.
    command: String,
    /// What is always said of the service.
    more: String,
}

impl Shop {
    /// So many servers that are up, started by this command.
    fn up(servers: usize, command: &str, more: &str) -> Self {
        let mut ports = free_ports(servers + 2);
        let listener = ports.pop().unwrap();
        let spare = ports.pop().unwrap();
        let mut shop = Self {
            program: Program::run(&text(&ports, listener, command, more)),
            ports,
            listener,
            command: command.to_owned(),
            more: more.to_owned(),
        };
        shop.program.wait_until_up();
        shop.ports.push(spare);
        shop
    }

    /// Three servers that do nothing without being asked, so that an incident stays open for as long as the test wants it to.
    fn asks() -> Self {
        let more =
            "[service.shop.recover]\nmode = \"ask\"\n[service.shop.timeout]\nattempt = \"1s\"\n";
        Self::up(3, &sample_server(), &format!("{PROBED}\n{more}"))
    }

    /// Reloads a file with so many of the servers; `change` is added to the service.
    fn reload(&self, servers: usize, change: &str) {
        self.reload_with(servers, &self.command, change);
    }

    fn reload_with(&self, servers: usize, command: &str, change: &str) {
        let more = format!("{}\n{change}", self.more);
        let text = text(&self.ports[..servers], self.listener, command, &more);
        let folder = self.program.folder.path();
        let text = text.replace("{folder}", &folder.display().to_string());
        fs::write(folder.join("evenkeel.toml"), text).unwrap();
        let done = self.order(&["reload"]);
        assert_eq!(done.status, Some(0), "{done:?}");
        assert!(!done.out.contains("nothing was changed"), "{done:?}");
    }

    fn order(&self, arguments: &[&str]) -> Called {
        self.program.order(arguments)
    }

    fn ordered(&self, arguments: &[&str]) {
        let done = self.order(arguments);
        assert_eq!(done.status, Some(0), "{done:?}\n{}", self.program.log());
    }

    fn web(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.listener))
    }

    fn load(&self) -> OpenLoad {
        let load = OpenLoad::start(LoadPlan::new(self.web(), 60.0)).unwrap();
        answers(&load, 60);
        load
    }

    /// This server hangs: its incident, once a restart is proposed and the server is out.
    fn hangs(&self, server: usize) -> Incident {
        let server = self.program.servers().swap_remove(server);
        ask(server.address, "POST", "/mode", "hang").unwrap();
        let waits = |one: &Incident| {
            let first = one.diagnosis.first();
            first.is_some_and(|finding| finding.fault == FaultKind::ProcessHung)
                && one.status == IncidentStatus::AwaitingApproval
                && one.servers.contains(&server.name)
        };
        self.program.wait_for_incident("that waits", waits)
    }

    fn closed(&self, id: &str) -> Incident {
        let is_closed = |one: &Incident| one.id == id && one.status == IncidentStatus::Closed;
        self.program.wait_for_incident("closed", is_closed)
    }

    fn status(&self, id: &str) -> IncidentStatus {
        let incidents = self.program.incidents();
        let found = incidents.iter().find(|one| one.id == id);
        found.expect("it is kept").status
    }

    /// How a server takes part in balancing.
    fn standing(&self, server: usize) -> String {
        let view = self.program.api("/api/services/shop");
        let standing = view["servers"][server]["standing"].as_str();
        standing.unwrap().to_owned()
    }

    /// How often a server's process was started by a command of [`slowly`].
    fn starts(&self, server: usize) -> usize {
        let file = format!("starts-{}", self.ports[server]);
        lines(&self.program.folder.path().join(file)).len()
    }
}

fn text(ports: &[u16], listener: u16, command: &str, more: &str) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:{listener}\"\nservice = \"shop\"\n\
         [service.shop.run]\ncommand = [{command}]\nports = [{}]\n{more}\n",
        ports.join(", ")
    )
}

/// A command that takes this many seconds to start, and notes each start with the variable `VERSION`.
fn slowly(seconds: u32) -> String {
    let script = format!(
        "echo $$ $VERSION >> {{folder}}/starts-{{port}}; sleep {seconds}; exec \\\"$0\\\" \\\"$@\\\""
    );
    format!(r#""sh", "-c", "{script}", {}"#, sample_server())
}

/// Starts take long here, and longer on a busy machine.
const PATIENT: &str = "[service.shop.recover.verify]\nwithin = \"50s\"\n";

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn answers(load: &OpenLoad, number: u64) {
    let before = load.snapshot().ok;
    wait_for("answers", || {
        (load.snapshot().ok >= before + number).then_some(())
    });
}

fn none_failed(load: OpenLoad) -> LoadStats {
    let numbers = load.stop();
    assert_eq!(numbers.failed, 0, "{:?}", numbers.failures);
    numbers
}

/// A request that is under way.
fn posted(address: SocketAddr, path: &str) -> JoinHandle<std::io::Result<common::Answer>> {
    let path = path.to_owned();
    std::thread::spawn(move || ask(address, "POST", &path, "once"))
}

/// How many requests a server is at.
fn in_flight(server: SocketAddr) -> u64 {
    let load = get(server, "/load").unwrap().body;
    let value: serde_json::Value = serde_json::from_str(&load).unwrap();
    value["in_flight"].as_u64().unwrap()
}

#[test]
fn an_incident_of_a_server_that_stays_goes_on() {
    let shop = Shop::asks();
    let load = shop.load();
    let before = shop.program.pids();
    let incident = shop.hangs(2);
    let failed = load.snapshot().failed;
    shop.reload(3, "[service.shop.retry]\nlimit = 3\n");
    shop.reload(4, "[service.shop.retry]\nlimit = 3\n");
    shop.program.wait_for_servers("the fourth", |servers| {
        servers.len() == 4 && servers[3].state == "up"
    });
    answers(&load, 120);
    assert_eq!(shop.status(&incident.id), IncidentStatus::AwaitingApproval);
    assert_eq!(shop.standing(2), "ejected");
    assert_eq!(load.snapshot().failed, failed, "others serve all");
    let server = shop.program.servers().swap_remove(2);
    ask(server.address, "POST", "/mode", "ok").unwrap();
    let incident = shop.closed(&incident.id);
    assert_eq!(incident.end, Some(CloseReason::Recovered));
    shop.program.wait_until_up();
    assert_eq!(shop.program.pids()[..3], before);
    assert_eq!(load.stop().failed, failed);
}

#[test]
fn an_incident_of_a_server_that_is_removed_is_closed() {
    let shop = Shop::asks();
    let load = shop.load();
    let incident = shop.hangs(2);
    let victim = shop.program.pids()[2].unwrap();
    let failed = load.snapshot().failed;
    shop.reload(2, "");
    let incident = shop.closed(&incident.id);
    assert_eq!(incident.end, Some(CloseReason::Removed));
    wait_for("the end of its process", || (!lives(victim)).then_some(()));
    answers(&load, 60);
    // Under its old name it is a new server, without that past.
    shop.reload(3, "");
    shop.program.wait_for_servers("a new third", |servers| {
        servers.len() == 3 && servers[2].state == "up"
    });
    assert_eq!(load.stop().failed, failed);
    assert_eq!(shop.program.incidents_of_services().len(), 1);
}

/// What was changed may be its cure, so it comes first, and nobody has to approve it.
#[test]
fn a_changed_command_during_an_incident_restarts_that_server_first() {
    let shop = Shop::asks();
    let load = shop.load();
    let before = shop.program.pids();
    let incident = shop.hangs(2);
    let failed = load.snapshot().failed;
    shop.reload(3, "[service.shop.run.environment]\nSHOP = \"new\"\n");
    let first = wait_for("another process", || {
        let mut pids = shop.program.pids().into_iter().zip(&before);
        pids.position(|(now, before)| now != *before)
    });
    assert_eq!(first, 2, "{}", shop.program.log());
    let incident = shop.closed(&incident.id);
    assert_eq!(incident.end, Some(CloseReason::Recovered));
    let mut told = incident.timeline.iter();
    assert!(
        told.any(|entry| entry
            .text
            .contains("configuration of its process was changed")),
        "{:#?}",
        incident.timeline
    );
    wait_for("other processes", || {
        let mut pids = shop.program.pids().into_iter().zip(&before);
        pids.all(|(now, before)| now.is_some() && now != *before)
            .then_some(())
    });
    shop.program.wait_until_up();
    assert_eq!(load.stop().failed, failed);
}

/// Ordered by an operator; the process is still starting when the file changes.
#[test]
fn a_restart_goes_on_and_a_changed_command_is_started_after_it() {
    let shop = Shop::up(2, &slowly(2), PATIENT);
    let load = shop.load();
    shop.ordered(&["restart", "shop/shop-1"]);
    wait_for("the second start", || (shop.starts(0) == 2).then_some(()));
    shop.reload(2, "[service.shop.retry]\nlimit = 3\n");
    shop.program.wait_until_up();
    assert_eq!((shop.starts(0), shop.starts(1)), (2, 1));

    shop.ordered(&["restart", "shop/shop-1"]);
    wait_for("the third start", || (shop.starts(0) == 3).then_some(()));
    shop.reload(2, "[service.shop.run.environment]\nVERSION = \"new\"\n");
    wait_for("the new version of both", || {
        let last = |server: usize| {
            let file = format!("starts-{}", shop.ports[server]);
            let lines = lines(&shop.program.folder.path().join(file));
            lines.last().is_some_and(|line| line.ends_with(" new"))
        };
        (last(0) && last(1)).then_some(())
    });
    shop.program.wait_until_up();
    assert_eq!((shop.starts(0), shop.starts(1)), (4, 2));
    let incidents = shop.program.incidents_of_services();
    assert!(incidents.is_empty(), "{incidents:#?}");
    none_failed(load);
}

#[test]
fn a_server_that_is_removed_while_it_restarts_leaves_no_process() {
    let shop = Shop::up(2, &slowly(3), PATIENT);
    let load = shop.load();
    shop.ordered(&["restart", "shop/shop-2"]);
    wait_for("the second start", || (shop.starts(1) == 2).then_some(()));
    shop.reload(1, "");
    let file = shop
        .program
        .folder
        .path()
        .join(format!("starts-{}", shop.ports[1]));
    wait_for("the end of both", || {
        let lines = lines(&file);
        let mut pids = lines.iter().map(|line| line.trim().parse().unwrap());
        pids.all(|pid| !lives(pid)).then_some(())
    });
    assert_eq!(shop.starts(1), 2);
    let incidents = shop.program.incidents_of_services();
    assert!(incidents.is_empty(), "{incidents:#?}");
    none_failed(load);
}

/// A server that is not up yet by the first reload; the next one leaves it alone, and another one removes it.
#[test]
fn a_start_goes_on_and_sends_no_request_to_what_is_not_ready() {
    let shop = Shop::up(1, &slowly(2), PATIENT);
    let load = shop.load();
    shop.reload(2, "");
    wait_for("its start", || (shop.starts(1) == 1).then_some(()));
    shop.reload(2, "[service.shop.retry]\nlimit = 3\n");
    shop.program.wait_for_servers("both", |servers| {
        servers.len() == 2 && servers.iter().all(|server| server.state == "up")
    });
    assert_eq!((shop.starts(0), shop.starts(1)), (1, 1));
    let refused = || {
        let metrics = get(shop.program.admin, "/metrics").unwrap().body;
        let lines = metrics.lines().filter(|line| {
            line.starts_with("evenkeel_attempts_total{") && line.contains("connect-refused")
        });
        let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        values.sum::<f64>() as u64
    };
    assert_eq!(refused(), 0, "it was sent requests before it was ready");
    shop.reload(1, "");
    none_failed(load);
    // With many short gaps between the request path and the fault path.
    let load = OpenLoad::start(LoadPlan::new(shop.web(), 400.0)).unwrap();
    for _ in 0..10 {
        shop.reload(2, "");
        wait_for("its state", || {
            let servers = shop.program.servers();
            (servers.len() == 2 && servers[1].state == "starting").then_some(())
        });
        answers(&load, 20);
        assert_eq!(refused(), 0, "it was sent requests before it was ready");
        shop.reload(1, "");
    }
    none_failed(load);
}

/// It began to take requests a moment ago. Reloads neither end that nor begin it again.
#[test]
fn a_slow_start_goes_on() {
    let shop = Shop::up(
        1,
        &sample_server(),
        "[service.shop.balance]\nslow_start = \"6s\"\n",
    );
    shop.reload(2, "");
    let becomes = |standing: &str| {
        let mut n = 2;
        wait_for(standing, || {
            n += 1;
            shop.reload(2, &format!("[service.shop.retry]\nlimit = {}\n", 1 + n % 5));
            (shop.standing(1) == standing).then_some(())
        });
    };
    becomes("warming");
    becomes("in-service");
}

/// Its requests may end, it gets none, and the reload changes nothing of that.
#[test]
fn a_drain_by_a_person_lasts_until_the_server_is_removed() {
    let shop = Shop::up(2, &sample_server(), "");
    let servers = shop.program.servers();
    let requests: Vec<_> = (0..2).map(|_| posted(shop.web(), "/delay/4000")).collect();
    wait_for("a request on each", || {
        let mut each = servers.iter();
        each.all(|server| in_flight(server.address) == 1)
            .then_some(())
    });
    shop.ordered(&["drain", "shop/shop-2", "--reason", "a new disk"]);
    shop.reload(2, "[service.shop.retry]\nlimit = 3\n");
    let view = shop.program.api("/api/services/shop");
    assert_eq!(view["servers"][1]["maintenance"]["reason"], "a new disk");
    assert_eq!(shop.standing(1), "draining");
    for request in requests {
        assert_eq!(request.join().unwrap().unwrap().status, 200);
    }
    let drained = shop.program.pids()[1].unwrap();
    shop.reload(1, "");
    // It has the port until it has ended.
    wait_for("its end", || (!lives(drained)).then_some(()));
    shop.reload(2, "");
    shop.program.wait_for_servers("a new one", |servers| {
        servers.len() == 2 && servers[1].state == "up"
    });
    let view = shop.program.api("/api/services/shop");
    assert!(view["servers"][1]["maintenance"].is_null(), "{view:#}");
    let incidents = shop.program.incidents_of_services();
    assert!(incidents.is_empty(), "{incidents:#?}");
}

#[test]
fn a_server_in_maintenance_is_replaced_when_it_comes_back() {
    // Half of them keep serving.
    let shop = Shop::up(4, &sample_server(), "");
    let load = shop.load();
    let before = shop.program.pids();
    shop.ordered(&["drain", "shop/shop-2", "--wait"]);
    shop.reload(4, "[service.shop.run.environment]\nSHOP = \"new\"\n");
    wait_for("the others", || {
        let now = shop.program.pids();
        let is_new = |server: usize| now[server].is_some() && now[server] != before[server];
        (is_new(0) && is_new(2) && is_new(3)).then_some(())
    });
    assert_eq!(shop.program.pids()[1], before[1], "it is left alone");
    assert_eq!(shop.program.servers()[1].state, "maintenance");
    shop.ordered(&["restore", "shop/shop-2"]);
    wait_for("it", || {
        let now = shop.program.pids()[1];
        (now.is_some() && now != before[1]).then_some(())
    });
    shop.program.wait_until_up();
    none_failed(load);
}

#[test]
fn a_service_in_maintenance_stays_there_with_its_new_servers() {
    let shop = Shop::up(1, &sample_server(), "");
    let before = shop.program.pids()[0];
    shop.ordered(&["maintenance", "shop", "on", "--reason", "a new schema"]);
    shop.reload(2, "[service.shop.run.environment]\nSHOP = \"new\"\n");
    shop.program.wait_for_servers("the second", |servers| {
        servers.len() == 2 && servers[1].pid.is_some()
    });
    for _ in 0..10 {
        assert_eq!(get(shop.web(), "/").unwrap().status, 503);
    }
    let view = shop.program.api("/api/services/shop");
    assert_eq!(view["maintenance"]["reason"], "a new schema");
    assert_eq!(shop.program.pids()[0], before, "it is left alone");
    shop.ordered(&["maintenance", "shop", "off", "--wait"]);
    wait_for("its new process", || {
        let now = shop.program.pids()[0];
        (now.is_some() && now != before).then_some(())
    });
    shop.program.wait_until_up();
    assert_eq!(get(shop.web(), "/").unwrap().status, 200);
}

/// Its process ends without mercy when it is told to, so it must not be told before its requests have ended.
#[test]
fn the_process_of_a_removed_server_is_stopped_when_its_requests_have_ended() {
    let shop = Shop::up(
        2,
        &sample_server(),
        "[service.shop.run.stop]\nsignal = \"KILL\"\n",
    );
    let servers = shop.program.servers();
    let victim = servers[1].pid.unwrap();
    let requests: Vec<_> = (0..2).map(|_| posted(shop.web(), "/delay/3000")).collect();
    wait_for("a request on each", || {
        let mut each = servers.iter();
        each.all(|server| in_flight(server.address) == 1)
            .then_some(())
    });
    shop.reload(1, "");
    for request in requests {
        let answer = request.join().unwrap().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    wait_for("its end", || (!lives(victim)).then_some(()));
}

/// The file has another command and, while its processes are replaced, the one of before again.
#[test]
fn a_replacement_that_is_taken_back_ends_with_the_command_of_before() {
    let shop = Shop::up(3, &slowly(1), PATIENT);
    let load = shop.load();
    shop.reload(3, "[service.shop.run.environment]\nVERSION = \"new\"\n");
    wait_for("the first to be replaced", || {
        (0..3).any(|server| shop.starts(server) == 2).then_some(())
    });
    shop.reload(3, "");
    let version = |server: usize| {
        let file = format!("starts-{}", shop.ports[server]);
        let lines = lines(&shop.program.folder.path().join(file));
        lines.last().is_some_and(|line| line.ends_with(" new"))
    };
    wait_for("the command of before", || {
        let is_up = shop.program.servers().iter().all(|one| one.state == "up");
        (is_up && (0..3).all(|server| !version(server))).then_some(())
    });
    let starts: usize = (0..3).map(|server| shop.starts(server)).sum();
    assert!(
        starts >= 5 && starts % 2 == 1,
        "some of them there and back: {starts}"
    );
    let pause = Duration::from_millis(1500);
    let until = common::now() + pause;
    while common::now() < until {
        answers(&load, 10);
    }
    let after: usize = (0..3).map(|server| shop.starts(server)).sum();
    assert_eq!(after, starts, "{}", shop.program.log());
    none_failed(load);
}
