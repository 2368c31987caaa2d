//! A configuration that changes while requests are under way: what is the same keeps everything, and nobody is refused.

mod common;

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use common::{Client, Connection, Rig, Seen, always, counter, plan, server, still_open_after};
use evenkeel_balance::Availability;
use evenkeel_config::Plan;
use evenkeel_config::change::{FreeSlots, difference, lay_out};
use evenkeel_core::{Directive, EjectionReason, Instant, ServerId, ServiceId};
use evenkeel_proxy::{LeavingServer, ServiceEntry, StartError};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A rig that is reloaded.
struct Reloaded {
    rig: Rig,
    plan: RefCell<Plan>,
    free: RefCell<FreeSlots>,
}

impl Reloaded {
    fn of(text: &str) -> Self {
        Self {
            rig: Rig::of(text),
            plan: RefCell::new(plan(text)),
            free: RefCell::default(),
        }
    }

    fn reload(&self, text: &str) {
        self.try_reload(text).expect("what it listens on is free");
    }

    fn try_reload(&self, text: &str) -> Result<(), StartError> {
        self.apply(plan(text))
    }

    fn apply(&self, next: Plan) -> Result<(), StartError> {
        let (proxy, free) = (self.rig.proxy(), &mut *self.free.borrow_mut());
        let before = &mut *self.plan.borrow_mut();
        free.release(&proxy.live_generations());
        let generation = proxy.state().generation();
        let next = lay_out(before, next, free);
        proxy.apply(&next, &difference(before, &next))?;
        free.vacate(before, &next, generation);
        *before = next;
        Ok(())
    }

    fn listener(&self, name: &str) -> SocketAddr {
        let addresses = self.rig.proxy().addresses();
        let found = addresses.iter().find(|(found, _)| found == name);
        let (_, found) = found.expect("there is this listener");
        found.tcp().expect("an IP address")
    }

    fn service(&self, id: u32) -> Arc<ServiceEntry> {
        let service = self.rig.proxy().state().service(ServiceId(id));
        service.expect("there is this service")
    }

    /// Waits until all requests and workers go by the newest plan.
    fn settle(&self) {
        let is_settled = |rig: &Rig| rig.proxy().live_generations().len() == 1;
        self.rig.wait_for(is_settled);
    }
}

/// One listener and one service with these servers; `more` is put after the service's servers.
fn shop(servers: &[SocketAddr], more: &str) -> String {
    format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\nservers = {}\n{more}",
        list(servers)
    )
}

fn list(servers: &[SocketAddr]) -> String {
    let servers: Vec<String> = servers.iter().map(|one| format!("\"{one}\"")).collect();
    format!("[{}]", servers.join(", "))
}

/// A server that answers `/held` when it is told to, and all else at once.
fn holding() -> (SocketAddr, Seen, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let (address, seen) = server(move |connection| {
        while let Some(request) = connection.request() {
            if request.starts_with("GET /held ") {
                released.lock().expect("no panic").recv().ok();
            }
            connection.answer(OK);
        }
    });
    (address, seen, release)
}

fn wait_until_seen(rig: &Rig, seen: &Seen, number: usize) {
    rig.wait_for(|_| seen.lock().expect("no panic").len() >= number);
}

#[test]
fn a_server_that_stays_keeps_its_state_and_one_that_goes_takes_no_request() {
    let ((a, _), (b, seen)) = (always(OK), always(OK));
    let rig = Reloaded::of(&shop(&[a, b], ""));
    let mut client = rig.rig.client();
    let state = |index: usize| Arc::clone(&rig.service(0).servers().pool().members()[index].state);
    for _ in 0..4 {
        assert_eq!(client.get("/").status, 200);
    }
    let (first, second) = (state(0), state(1));
    rig.reload(&shop(&[a], ""));
    assert!(Arc::ptr_eq(&first, &state(0)));
    assert_eq!(rig.service(0).servers().address(1), None);
    let before = seen.lock().expect("no panic").len();
    for _ in 0..8 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(seen.lock().expect("no panic").len(), before);
    rig.reload(&shop(&[a, b], ""));
    assert!(!Arc::ptr_eq(&second, &state(1)), "it is a new server");
    let mut requests = 12;
    // It starts slowly.
    while seen.lock().expect("no panic").len() == before {
        assert_eq!(client.get("/").status, 200);
        requests += 1;
    }
    let total = || rig.rig.totals().requests;
    rig.rig.wait_for(|_| total() == requests);
}

/// What is kept of connections to a server that is removed is closed, while a request that it still has ends as it began.
#[test]
fn a_request_on_a_server_that_is_removed_ends_as_it_began() {
    let ((a, _), (b, seen, release)) = (always(OK), holding());
    let rig = Reloaded::of(&shop(&[b], ""));
    let mut client = rig.rig.client();
    client.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_until_seen(&rig.rig, &seen, 1);
    rig.reload(&shop(&[a], ""));
    let (proxy, generation) = (rig.rig.proxy(), rig.rig.proxy().state().generation());
    assert_eq!(rig.rig.client().get("/").status, 200);
    let slot = ServerId::new(0, 0);
    assert_eq!(
        proxy.live_generations(),
        [generation - 1, generation],
        "the request holds the plan before"
    );
    let in_flight = |leaving: Vec<LeavingServer>| -> Vec<u32> {
        leaving.iter().map(LeavingServer::in_flight).collect()
    };
    // It has the address of another one, under the same name: what is in flight there is not in flight here.
    assert_eq!(in_flight(proxy.state().leaving(slot)), [1]);
    assert_eq!(proxy.state().loads(slot.service)[0].in_flight, 0);
    release.send(()).expect("the server waits");
    assert_eq!(client.response().status, 200);
    rig.settle();
    assert_eq!(proxy.live_generations(), [generation]);
    rig.rig
        .wait_for(|rig| rig.proxy().state().leaving(slot).is_empty());
}

/// Its process is started first. One that is run elsewhere is used at once, as at the start of the program.
#[test]
fn a_new_server_that_evenkeel_runs_takes_nothing_before_it_is_said_to_be_ready() {
    let ((a, _), (b, seen)) = (always(OK), always(OK));
    let run = |mode: &str| {
        let port = b.port();
        let more = format!(
            "recover.mode = \"{mode}\"\n[service.shop.run]\ncommand = [\"true\"]\nports = [{port}]\n"
        );
        shop(&[a], &more)
    };
    let rig = Reloaded::of(&shop(&[a], ""));
    let mut client = rig.rig.client();
    let now = || rig.rig.clock.now();
    let state = |index: usize| Arc::clone(&rig.service(0).servers().pool().members()[index].state);
    let out = Availability::Ejected {
        verdict: EjectionReason::Known,
    };
    rig.reload(&run("automatic"));
    let child = state(1);
    assert_eq!(child.standing(now()), out);
    assert!(child.is_being_repaired(now()), "requests may wait for it");
    for _ in 0..16 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(seen.lock().expect("no panic").is_empty());
    // Nobody says anything: the fault path has stopped, and evenkeel is a plain balancer.
    assert_eq!(
        child.standing(now() + Duration::from_secs(6)),
        Availability::InService
    );
    // It is the same server by the next plan, and stays what it is.
    rig.reload(&run("ask"));
    assert!(Arc::ptr_eq(&child, &state(1)));
    rig.reload(&shop(&[a], ""));
    rig.reload(&run("off"));
    while seen.lock().expect("no panic").is_empty() {
        assert_eq!(client.get("/").status, 200);
    }
}

/// What is taken out by an operator is so by its name, also in the moment before the fault path says it again.
#[test]
fn a_server_in_maintenance_stays_out_with_another_address() {
    let ((a, _), (b, seen)) = (always(OK), always(OK));
    let named = |second: SocketAddr| {
        shop(&[a], "").replace(
            &list(&[a]),
            &format!("[\"{a}\", {{ name = \"two\", address = \"{second}\" }}]"),
        )
    };
    let rig = Reloaded::of(&named(common::nowhere()));
    let server = ServerId::new(0, 1);
    for directive in [
        Directive::Drain { server },
        Directive::Eject {
            server,
            verdict: EjectionReason::Known,
            until: Instant::NEVER,
        },
    ] {
        let state = rig.rig.proxy().state();
        state.apply(&directive, rig.rig.clock.now());
        rig.reload(&named(b));
        let mut client = rig.rig.client();
        for _ in 0..8 {
            assert_eq!(client.get("/").status, 200);
        }
        assert!(seen.lock().expect("no panic").is_empty());
        let slowly = false;
        let restore = Directive::Restore { server, slowly };
        state.apply(&restore, rig.rig.clock.now());
        rig.reload(&named(common::nowhere()));
    }
}

/// One old tunnel, and 200 plans each with another server, another service and another route. How much memory they take is only said.
#[test]
fn a_tunnel_of_an_old_plan_keeps_no_more_than_its_own_plan() {
    let ((a, _), (b, _)) = (always(OK), always(OK));
    let is_over = AtomicBool::new(false);
    let (calm, _) = server(move |connection| mixed(connection, &is_over));
    let text = |n: usize| {
        format!(
            "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
             routes = [{{ path = \"/tunnel\", service = \"calm\" }}, {{ path = \"/r{n}\", service = \"s{n}\", timeout.total = \"9s\" }}]\n\
             [service.calm]\nservers = [\"{calm}\"]\n[service.s{n}]\nservers = [\"{b}\"]\n\
             [service.shop]\nservers = [{{ address = \"{a}\", name = \"stays\" }}, {{ address = \"{b}\", name = \"n{n}\" }}]\n"
        )
    };
    let rig = Reloaded::of(&text(0));
    let web = rig.listener("web");
    let mut tunnel = Load::upgraded(web);
    let mut client = Client::connect(web);
    let first = rig.rig.proxy().generation();
    let mut before = 0;
    for n in 1..=200 {
        rig.reload(&text(n));
        assert_eq!(client.get(&format!("/r{n}")).status, 200);
        let newest = rig.rig.proxy().generation();
        let live = || rig.rig.proxy().live_generations();
        rig.rig.wait_for(|_| live() == [first, newest]);
        if n == 20 {
            before = memory();
        }
    }
    let after = memory();
    println!("180 reloads beside one old tunnel: from {before} to {after} KiB");
    let state = rig.rig.proxy().state();
    let ids = state.services().into_iter().map(|entry| entry.id().0);
    let services = ids.max().expect("there are services");
    let plan = rig.plan.borrow();
    let shop = plan.services.iter().find(|one| one.name == "shop");
    let shop = state.service(shop.expect("it is there").id);
    let servers = shop.expect("it is there").servers().pool().members().len();
    let routes = plan.listeners[0].routes.iter().map(|route| route.place);
    let (routes, held) = (routes.max(), rig.free.borrow().held());
    // Those of the first plan, of the present one, and of the one before it when the next one came.
    assert!(
        services <= 4 && servers <= 4 && routes <= Some(4) && held <= 16,
        "{services} {servers} {routes:?} {held}"
    );
    tunnel.send("ping");
    assert_eq!(echo(&mut tunnel), "ping");
    drop(tunnel);
    rig.settle();
}

/// What this process holds in memory, in KiB.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn connections_to_a_removed_server_are_closed() {
    let (ended, end) = mpsc::channel();
    let (a, _) = always(OK);
    let (b, _) = server(move |connection| {
        while connection.request().is_some() {
            connection.answer(OK);
        }
        ended.send(()).expect("the test waits");
    });
    let rig = Reloaded::of(&shop(&[b], ""));
    assert_eq!(rig.rig.client().get("/").status, 200);
    rig.reload(&shop(&[a], ""));
    end.recv_timeout(Duration::from_secs(10))
        .expect("it is closed");
}

#[test]
fn a_service_that_is_removed_answers_the_requests_that_it_has() {
    let ((a, _), (b, seen, release)) = (always(OK), holding());
    let text = |routes: &str, more: &str| {
        format!(
            "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\nroutes = [{routes}]\n\
             [service.shop]\nservers = [\"{a}\"]\n{more}"
        )
    };
    let other = format!("[service.other]\nservers = [\"{b}\"]\n");
    let both = text("{ path = \"/held\", service = \"other\" }", &other);
    let rig = Reloaded::of(&both);
    let mut client = rig.rig.client();
    client.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_until_seen(&rig.rig, &seen, 1);
    assert_eq!(counter(&rig.rig, "evenkeel_picks_total", &["other"]), 1);
    rig.reload(&text("", ""));
    assert_eq!(rig.rig.client().get("/held").status, 200, "now the shop's");
    assert_eq!(counter(&rig.rig, "evenkeel_picks_total", &["other"]), 0);
    release.send(()).expect("the server waits");
    assert_eq!(client.response().status, 200);
    assert_eq!(client.get("/held").status, 200, "the same connection");
    assert_eq!(seen.lock().expect("no panic").len(), 1);
    rig.settle();
    rig.reload(&both);
    release.send(()).expect("the server waits");
    assert_eq!(client.get("/held").status, 200);
    assert_eq!(
        counter(&rig.rig, "evenkeel_picks_total", &["other"]),
        1,
        "it is another one"
    );
}

/// What is behind a service and a server that go keeps its connections, and what comes in their slots is another one.
#[test]
fn services_and_servers_go_from_the_middle_and_others_come() {
    let opened = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&opened);
    let (last, _) = server(move |connection| {
        count.fetch_add(1, Ordering::Relaxed);
        while connection.request().is_some() {
            connection.answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast");
        }
    });
    let ((a, _), (b, seen)) = (always(OK), always(OK));
    let text = |services: &[(&str, &[SocketAddr])]| {
        let route =
            |(name, _): &(&str, _)| format!("{{ path = \"/{name}\", service = \"{name}\" }}");
        let routes: Vec<String> = services.iter().map(route).collect();
        let service = |(name, servers): &(&str, &[SocketAddr])| {
            format!("[service.{name}]\nservers = {}\n", list(servers))
        };
        let services: String = services.iter().map(service).collect();
        let routes = routes.join(", ");
        format!(
            "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nroutes = [{routes}]\n{services}"
        )
    };
    let rig = Reloaded::of(&text(&[("a", &[a]), ("b", &[b]), ("c", &[a, b, last])]));
    let mut client = rig.rig.client();
    let mut body = |path: &str| {
        let response = client.get(path);
        (
            response.status,
            String::from_utf8_lossy(&response.body).into_owned(),
        )
    };
    let answered = |text: &str| (200, text.to_owned());
    while body("/c") != answered("last") {}
    rig.reload(&text(&[("a", &[a]), ("c", &[last])]));
    rig.settle();
    let before = seen.lock().expect("no panic").len();
    assert_eq!(body("/b").0, 404);
    for _ in 0..4 {
        assert_eq!(body("/c"), answered("last"));
    }
    assert_eq!(opened.load(Ordering::Relaxed), 1, "the same connection");
    rig.reload(&text(&[("d", &[b]), ("c", &[b, last]), ("a", &[a])]));
    rig.settle();
    assert_eq!((body("/a"), body("/d")), (answered("ok"), answered("ok")));
    assert_eq!(counter(&rig.rig, "evenkeel_picks_total", &["d"]), 1);
    while body("/c") != answered("last") {}
    assert_eq!(opened.load(Ordering::Relaxed), 1, "the same connection");
    assert!(seen.lock().expect("no panic").len() > before);
}

#[test]
fn requests_that_wait_in_the_queue_go_on_waiting() {
    let (a, seen, release) = holding();
    let limit = |length: u32, more: &str| {
        shop(
            &[a],
            &format!(
                "[service.shop.limit]\nconcurrency = 1\nqueue = {{ length = {length}, wait = \"30s\" }}\n{more}"
            ),
        )
    };
    let rig = Reloaded::of(&limit(4, ""));
    let mut first = rig.rig.client();
    first.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_until_seen(&rig.rig, &seen, 1);
    let mut second = rig.rig.client();
    second.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let waiting = || rig.service(0).waiting();
    rig.rig.wait_for(|_| waiting() == 1);
    rig.reload(&limit(1, "[service.shop.timeout]\nattempt = \"7s\"\n"));
    assert_eq!(waiting(), 1);
    assert_eq!(
        rig.rig.client().get("/").status,
        503,
        "the queue is shorter"
    );
    release.send(()).expect("the server waits");
    assert_eq!(
        (first.response().status, second.response().status),
        (200, 200)
    );
    rig.settle();
}

/// Its requests end, its idle connections close, its port is free; the other listener and its connections stay.
#[test]
fn a_removed_listener_closes_after_its_requests() {
    let (a, seen, release) = holding();
    let text = |more: &str| format!("{}{more}", shop(&[a], ""));
    let rig = Reloaded::of(&text(
        "[listen.more]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n",
    ));
    let (web, more) = (rig.listener("web"), rig.listener("more"));
    let mut stays = Client::connect(web);
    assert_eq!(stays.get("/").status, 200);
    let (mut idle, mut busy) = (Client::connect(more), Client::connect(more));
    assert_eq!(idle.get("/").status, 200);
    busy.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_until_seen(&rig.rig, &seen, 3);
    rig.reload(&text(""));
    assert!(idle.rest().is_empty(), "it is closed");
    rig.rig.wait_for(|_| TcpStream::connect(more).is_err());
    drop(TcpListener::bind(more).expect("nobody listens there"));
    release.send(()).expect("the server waits");
    let response = busy.response();
    assert_eq!(
        (response.status, response.header("connection")),
        (200, Some("close"))
    );
    assert!(busy.rest().is_empty(), "it is closed");
    assert_eq!(stays.get("/").status, 200, "the same connection");
    assert_eq!(
        rig.rig.proxy().addresses(),
        [("web".to_owned(), web.into())]
    );
    rig.settle();
}

/// Its task has panicked and is not yet started again, so the client waits in the queue of the socket.
#[test]
fn a_client_that_was_not_accepted_yet_is_served_when_its_listener_is_removed() {
    let (a, _) = always(OK);
    let rig = Reloaded::of(&shop(&[a], ""));
    let web = rig.listener("web");
    let state = rig.rig.proxy().state();
    state.tasks().inject_panic("accept");
    let restarts = state.tasks().restarts("accept");
    rig.rig.wait_for(|_| restarts.value() == 1);
    let mut client = Client::connect(web);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    rig.reload(&shop(&[a], "").replace(
        "[listen.web]\naddress = \"127.0.0.1:0\"",
        "[listen.front]\naddress = \"127.0.0.2:0\"",
    ));
    let response = client.response();
    assert_eq!(response.status, 200);
    assert!(client.rest().is_empty());
    assert!(TcpStream::connect(web).is_err());
    assert_eq!(rig.rig.client().get("/").status, 200);
}

#[test]
fn a_listener_comes_and_another_one_takes_over_the_sockets_of_one_that_goes() {
    let (a, _) = always(OK);
    let rig = Reloaded::of(&shop(&[a], ""));
    let web = rig.listener("web");
    let mut client = Client::connect(web);
    assert_eq!(client.get("/").status, 200);
    let second = "[listen.more]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n";
    let fixed = |name: &str| shop(&[a], second).replace("listen.web", &format!("listen.{name}"));
    let fixed = |name: &str| fixed(name).replacen("127.0.0.1:0", &web.to_string(), 1);
    // The address as it is written is another one, so the listener is another one, whose address is in use.
    let refused = rig.try_reload(&fixed("web")).expect_err("it is in use");
    assert_eq!(refused.listener.as_deref(), Some("web"));
    assert_eq!(client.get("/").status, 200);
    rig.reload(&format!("{}{second}", shop(&[a], "")));
    assert_eq!(Client::connect(rig.listener("more")).get("/").status, 200);
    // With another name for the same address its sockets stay, and so does the port.
    let renamed = format!("{}{second}", shop(&[a], "")).replace("listen.web", "listen.front");
    rig.reload(&renamed);
    assert_eq!(rig.listener("front"), web);
    assert!(client.rest().is_empty(), "it was the other listener's");
    assert_eq!(Client::connect(web).get("/").status, 200);
}

/// Nothing of the plan holds if one of its listeners cannot be opened.
#[test]
fn a_listener_that_cannot_be_opened_changes_nothing() {
    let ((a, _), (b, seen)) = (always(OK), always(OK));
    let rig = Reloaded::of(&shop(&[a], ""));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address));
    let (_taken, address) = taken.expect("an address");
    let second = "[listen.free]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n";
    let third = format!("[listen.taken]\naddress = \"{address}\"\nservice = \"shop\"\n");
    let generation = rig.rig.proxy().state().generation();
    let refused = rig.try_reload(&format!("{}{second}{third}", shop(&[b], "")));
    let refused = refused.expect_err("it is in use");
    assert_eq!(refused.listener.as_deref(), Some("taken"));
    assert_eq!(rig.rig.proxy().state().generation(), generation);
    assert_eq!(rig.rig.proxy().addresses().len(), 1);
    for _ in 0..4 {
        assert_eq!(rig.rig.client().get("/").status, 200);
    }
    assert!(seen.lock().expect("no panic").is_empty());
}

#[test]
fn a_worker_that_is_started_again_accepts_on_the_listeners_of_the_newest_plan() {
    let (a, _) = always(OK);
    let with = |name: &str| {
        let more = format!("[listen.{name}]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n");
        format!("{}{more}", shop(&[a], ""))
    };
    let rig = Reloaded::of(&with("old"));
    rig.reload(&with("new"));
    let state = rig.rig.proxy().state();
    state.tasks().inject_panic("worker");
    let restarts = state.tasks().restarts("worker");
    rig.rig.wait_for(|_| restarts.value() == 1);
    for name in ["web", "new"] {
        assert_eq!(
            Client::connect(rig.listener(name)).get("/").status,
            200,
            "{name}"
        );
    }
    rig.reload(&shop(&[a], ""));
    assert_eq!(rig.rig.client().get("/").status, 200);
    rig.settle();
}

/// A rate that is used up stays so, and a changed one keeps its debts.
#[test]
fn a_rate_keeps_its_tokens() {
    let (a, _) = always(OK);
    let rate = |rate: &str, retries: u32| {
        shop(
            &[a],
            &format!("retry.limit = {retries}\n[service.shop.limit]\nrate = {{ {rate} }}\n"),
        )
    };
    let slow = "per_second = 0.001, burst = 2";
    let rig = Reloaded::of(&rate(slow, 2));
    let mut client = rig.rig.client();
    let mut statuses = || [(); 3].map(|()| client.get("/").status);
    assert_eq!(statuses(), [200, 200, 429]);
    rig.reload(&rate(slow, 1));
    assert_eq!(statuses(), [429; 3]);
    rig.reload(&rate("per_second = 0.001, burst = 3", 1));
    assert_eq!(statuses(), [429; 3]);
    rig.reload(&shop(&[a], ""));
    assert_eq!(statuses(), [200; 3]);
}

/// 10,000 servers, of which one has another weight each time. How long it takes is only said.
#[test]
fn reloads_of_many_servers_leave_nothing_behind() {
    let servers: Vec<SocketAddr> = (0..10_000_u32)
        .map(|n| SocketAddr::from(([127, 1, (n >> 8) as u8, n as u8], 9)))
        .collect();
    let text = shop(&servers, "");
    let rig = Reloaded::of(&text);
    let entry = rig.service(0);
    let first = Arc::clone(&entry.servers().pool().members()[0].state);
    drop(entry);
    let mut next = plan(&text);
    let began = rig.rig.clock.now();
    for n in 0..200_u32 {
        next.services[0].servers[n as usize].weight = 2 + n;
        rig.apply(next.clone()).expect("no listener comes");
    }
    let took = (rig.rig.clock.now() - began) / 200;
    println!("a reload that changes one of 10,000 servers took {took:?}");
    rig.settle();
    let entry = rig.service(0);
    let servers = entry.servers();
    assert_eq!(servers.pool().members()[199].weight, 201);
    let state = &servers.pool().members()[0].state;
    assert!(Arc::ptr_eq(&first, state));
    // Here, in the set, and what holds the set: nothing of the sets before.
    rig.rig.wait_for(|_| Arc::strong_count(state) == 2);
    // Here, in the snapshot, and in the worker's.
    rig.rig.wait_for(|_| Arc::strong_count(&entry) == 3);
}

/// What clients do while the configuration changes.
struct Load {
    is_over: AtomicBool,
    requests: AtomicU64,
}

impl Load {
    fn goes_on(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed);
        !self.is_over.load(Ordering::Relaxed)
    }

    fn gets(&self, address: SocketAddr, path: &str) {
        let mut client = Client::connect(address);
        while self.goes_on() {
            let response = client.get(path);
            assert_eq!(
                (response.status, &*response.body),
                (200, &b"ok"[..]),
                "{path}"
            );
        }
    }

    fn posts(&self, address: SocketAddr) {
        let mut client = Client::connect(address);
        while self.goes_on() {
            client.send("POST /p HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
            assert_eq!(client.response().status, 200);
        }
    }

    fn connects(&self, address: SocketAddr) {
        while self.goes_on() {
            assert_eq!(Client::connect(address).get("/").status, 200);
        }
    }

    fn upgraded(address: SocketAddr) -> Client {
        let mut client = Client::connect(address);
        client.send(
            "GET /tunnel HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        );
        assert_eq!(client.response().status, 101);
        client
    }
}

/// Answers requests, becomes a tunnel that echoes, and sends a long download in pieces while the test says so.
fn mixed(connection: &mut Connection, is_over: &AtomicBool) {
    while let Some(request) = connection.request() {
        if request.starts_with("GET /tunnel ") {
            connection.answer(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            );
            let mut bytes = [0; 64];
            while let Ok(n @ 1..) = common::read_some(&connection.stream, &mut bytes) {
                connection.answer(&bytes[..n]);
            }
            return;
        }
        if request.starts_with("GET /download ") {
            connection.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while !is_over.load(Ordering::Relaxed) {
                connection.answer("4\r\nmore\r\n");
                std::thread::park_timeout(Duration::from_millis(2));
            }
            connection.answer("0\r\n\r\n");
            continue;
        }
        connection.answer(OK);
    }
}

/// The plan with this number.
fn text_of(n: usize, servers: &[SocketAddr], calm: SocketAddr) -> String {
    let servers = &servers[..if n % 5 == 1 { 3 } else { 2 }];
    let route = if n % 5 == 2 {
        "{ path = \"/p\", service = \"calm\" },"
    } else {
        ""
    };
    let attempt = 5 + n % 7;
    let listener = match n % 5 {
        3 => "[listen.more]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n",
        _ => "",
    };
    let calm_paths = ["/calm", "/tunnel", "/download"];
    let calm_routes = calm_paths.map(|path| format!("{{ path = \"{path}\", service = \"calm\" }}"));
    format!(
        "workers = 2\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\nroutes = [{route}{}]\n\
     [service.shop]\nservers = {}\ntimeout.attempt = \"{attempt}s\"\n[service.calm]\nservers = [\"{calm}\"]\n{listener}",
        calm_routes.join(", "),
        list(servers)
    )
}

/// 100 plans: servers, routes, policies and listeners come, change and go, or nothing does.
#[test]
fn reloads_under_load_fail_no_request_and_close_no_stream() {
    let load = Arc::new(Load {
        is_over: AtomicBool::new(false),
        requests: AtomicU64::new(0),
    });
    let connections = Arc::new(AtomicU64::new(0));
    let (of_load, opened) = (Arc::clone(&load), Arc::clone(&connections));
    let (calm, calm_seen) = server(move |connection| {
        opened.fetch_add(1, Ordering::Relaxed);
        mixed(connection, &of_load.is_over);
    });
    let servers = [(); 3].map(|()| always(OK).0);
    let text = |n: usize| text_of(n, &servers, calm);
    let rig = Reloaded::of(&text(0));
    let web = rig.listener("web");
    let mut tunnel = Load::upgraded(web);
    let mut download = Client::connect(web);
    download.send("GET /download HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_until_seen(&rig.rig, &calm_seen, 2);
    let clients: Vec<_> = (0..6)
        .map(|n| {
            let load = Arc::clone(&load);
            std::thread::spawn(move || match n {
                0 | 1 => load.gets(web, "/"),
                2 => load.gets(web, "/calm"),
                3 | 4 => load.posts(web),
                _ => load.connects(web),
            })
        })
        .collect();
    let mut before = 0;
    for n in 1..=100 {
        let is_moving = || load.requests.load(Ordering::Relaxed) >= before + 50;
        rig.rig
            .wait_for(|_| is_moving() || clients.iter().any(|it| it.is_finished()));
        before = load.requests.load(Ordering::Relaxed);
        rig.reload(&text(n));
        if n % 5 == 3 {
            assert_eq!(Client::connect(rig.listener("more")).get("/").status, 200);
        }
        tunnel.send("ping");
        assert_eq!(echo(&mut tunnel), "ping");
    }
    load.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("each request was answered");
    }
    assert_eq!(download.response().status, 200, "it came to its end");
    assert!(still_open_after(&tunnel.stream, Duration::ZERO));
    assert_eq!(rig.rig.totals().failed, 0);
    // The service `calm` was the same all the time: the tunnel, the download, and what each client's worker kept.
    let connections = connections.load(Ordering::Relaxed);
    assert!(connections <= 8, "{connections} connections");
    drop(tunnel);
    drop(download);
    rig.settle();
}

fn echo(tunnel: &mut Client) -> String {
    let mut bytes = [0; 4];
    let n = common::read_some(&tunnel.stream, &mut bytes).expect("it is open");
    String::from_utf8_lossy(&bytes[..n]).into_owned()
}
