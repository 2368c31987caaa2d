//! A configuration that changes while requests are under way: what is the same keeps everything, and nobody is refused.

#[path = "../common/mod.rs"]
mod common;
mod listeners;
mod load;

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
