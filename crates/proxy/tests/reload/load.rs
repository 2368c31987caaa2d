//! Many reloads, of many servers and under load.

use super::*;

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
