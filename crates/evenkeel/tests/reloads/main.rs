//! Many reloads of the real program under steady mixed load: no request fails, no stream of an unchanged service is closed, its processes
//! stay, nothing piles up, and metrics and the access log go on.
//!
//! A few dozen in a test run; `cargo xtask reloads` does 200, and 200 more with 10,000 servers, measured.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../common/mod.rs"]
mod common;
mod many;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use common::{PATIENCE, Program, free_ports, get, lives, sample_server, wait_for};
use evenkeel_lab::{LoadPlan, OpenLoad, RequestMix};

/// Set by `cargo xtask reloads`: how many reloads there are.
const RELOADS: &str = "EVENKEEL_RELOADS";
/// How many there are in a test run.
const SHORT: usize = 24;
/// After so many the configuration is the first one again.
const ROUND: usize = 8;
/// What a download reads after each reload.
const PIECE: u64 = 1 << 20;
/// More than the kernel's buffers on its way hold: the download does not end before the last reload.
const BUFFERED: u64 = 48 << 20;

/// Probes that bear with a machine that stalls: no process is restarted because of it.
const CALM: &str = "probe = { tcp = true, every = \"10s\", timeout = \"10s\", fall = 10 }\n";

/// How many reloads there are, and whether that is the long form.
fn reloads() -> (usize, bool) {
    match std::env::var(RELOADS) {
        Ok(number) => (number.parse().unwrap(), true),
        Err(_) => (SHORT, false),
    }
}

/// Puts this text in the place of the file, and has it taken. Says what was done.
fn reload(program: &Program, text: &str) -> String {
    let folder = program.folder.path();
    fs::write(folder.join("next.toml"), text).unwrap();
    fs::rename(folder.join("next.toml"), folder.join("evenkeel.toml")).unwrap();
    let done = program.order(&["reload"]);
    assert_eq!(done.status, Some(0), "{done:?}\n{}", program.log());
    done.out
}

/// What the process holds: memory in KiB, descriptors, threads.
#[derive(Debug, Clone, Copy)]
struct Held {
    memory: u64,
    descriptors: usize,
    threads: usize,
}

impl Held {
    fn by(program: &Program) -> Self {
        let of = |path: &str| format!("/proc/{}/{path}", program.pid());
        let count = |path: &str| fs::read_dir(of(path)).unwrap().count();
        let status = fs::read_to_string(of("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let memory = line.and_then(|line| line.split_whitespace().nth(1));
        Self {
            memory: memory.unwrap().parse().unwrap(),
            descriptors: count("fd"),
            threads: count("task"),
        }
    }
}

/// A connection on which a test writes and reads as it likes.
struct Connection(TcpStream);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn get(address: SocketAddr, path: &str, fields: &str) -> Self {
        let mut connection = Self::open(address);
        connection.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: shop\r\n{fields}\r\n"
        ));
        connection
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Up to the end of the head.
    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads this many bytes.
    fn take(&mut self, length: u64) {
        let mut part = (&mut self.0).take(length);
        let read = std::io::copy(&mut part, &mut std::io::sink()).unwrap();
        assert_eq!(read, length, "it was cut");
    }

    /// All that comes until the other side closes.
    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}

/// What lasts over all reloads, to servers of a service that none of them changes.
struct Streams {
    tunnels: Vec<Connection>,
    downloads: Vec<Connection>,
    left: u64,
}

impl Streams {
    fn open(address: SocketAddr, reloads: usize) -> Self {
        let left = PIECE * reloads as u64 + BUFFERED;
        let upgrade = "Connection: upgrade\r\nUpgrade: echo\r\n";
        let tunnels = (0..3).map(|_| {
            let mut tunnel = Connection::get(address, "/upgrade", upgrade);
            let head = tunnel.head();
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            tunnel
        });
        let downloads = (0..3).map(|_| {
            let mut download = Connection::get(address, &format!("/bytes/{left}"), "");
            let head = download.head();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            download
        });
        Self {
            tunnels: tunnels.collect(),
            downloads: downloads.collect(),
            left,
        }
    }

    /// All of them go on.
    fn go_on(&mut self, number: usize) {
        for tunnel in &mut self.tunnels {
            let message = format!("after reload {number}\n");
            tunnel.send(&message);
            let mut echo = vec![0; message.len()];
            tunnel.0.read_exact(&mut echo).unwrap();
            assert_eq!(echo, message.as_bytes());
        }
        self.left -= PIECE;
        for download in &mut self.downloads {
            download.take(PIECE);
        }
    }

    /// Downloads come to their end, and their connections take another request.
    fn end(self, path: &str) {
        for mut download in self.downloads {
            download.take(self.left);
            download.send(&format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n"));
            assert!(download.head().starts_with("HTTP/1.1 200 "));
        }
    }
}

/// The ports of the servers and listeners.
struct Layout {
    shop: Vec<u16>,
    cart: Vec<u16>,
    web: u16,
    more: u16,
}

impl Layout {
    fn new() -> Self {
        let ports = free_ports(7);
        Self {
            shop: ports[..2].to_vec(),
            cart: ports[2..5].to_vec(),
            web: ports[5],
            more: ports[6],
        }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// The configuration after this many reloads. The service `shop` is in all of them, and is the same.
    fn text(&self, number: usize) -> String {
        let part = number % ROUND;
        let cart = &self.cart[..if part == 1 { 3 } else { 2 }];
        let route = match part {
            // The same twice: nothing changes.
            3 | 4 => "{ path = \"/new/*\", service = \"cart\" },",
            _ => "",
        };
        let more = match part {
            5 => format!(
                "[listen.more]\naddress = \"127.0.0.1:{}\"\nservice = \"shop\"\n",
                self.more
            ),
            _ => String::new(),
        };
        let (limits, level, attempt) = match part {
            6 => (900, "debug", "9s"),
            _ => (1000, "info", "20s"),
        };
        let service = |name: &str, ports: &[u16], options: &str| {
            format!(
                "[service.{name}]\n{options}\n[service.{name}.run]\ncommand = [{}]\nports = {ports:?}\n[service.{name}.detect]\n{CALM}",
                sample_server()
            )
        };
        format!(
            "# {number}\nworkers = 2\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\naccess = true\nlevel = \"{level}\"\n\
             [listen.web]\naddress = \"127.0.0.1:{}\"\nservice = \"shop\"\nlimits.connections = {limits}\n\
             routes = [{route} {{ path = \"/cart/*\", service = \"cart\" }}]\n{more}{}{}",
            self.web,
            service("shop", &self.shop, ""),
            service("cart", cart, &format!("timeout.attempt = \"{attempt}\"")),
        )
    }
}

/// Requests to both services, some that last, some with a body.
fn steady_load(address: SocketAddr) -> OpenLoad {
    let mix = vec![
        RequestMix::get("/").weight(8),
        RequestMix::get("/cart/items").weight(8),
        RequestMix::get("/delay/30").weight(2),
        RequestMix::get("/cart/delay/30").weight(2),
        RequestMix::post("/orders", 200).weight(2),
        RequestMix::post("/cart/orders", 200).weight(2),
        RequestMix::get("/bytes/100000"),
    ];
    let plan = LoadPlan {
        mix,
        timeout: PATIENCE,
        ..LoadPlan::new(address, 100.0)
    };
    OpenLoad::start(plan).unwrap()
}

/// The servers of a service: name, state, process.
fn servers(program: &Program, service: &str) -> Vec<(String, String, Option<u64>)> {
    let answer = program.api("/api/services");
    let services = answer.get("services").unwrap_or(&answer);
    let mut services = services.as_array().unwrap().iter();
    let found = services.find(|one| one["name"] == service).unwrap();
    let servers = found["servers"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let servers = servers.map(|one| (text(&one["name"]), text(&one["state"]), one["pid"].as_u64()));
    servers.collect()
}

/// Metrics and the access log go on: what was counted, and the line of a request of this test.
fn is_exported(program: &Program, number: usize, counted: &mut f64) {
    let path = format!("/mark/{number}");
    let answer = get(program.address(), &path).unwrap();
    assert_eq!(answer.status, 200, "{path}");
    wait_for("the line of the access log", || {
        program.log().contains(&format!("{path}\"")).then_some(())
    });
    let before = std::mem::replace(counted, program.metric("evenkeel_requests_total{"));
    assert!(*counted > before, "{before} requests, then {counted}");
}

/// A request of a listener that is removed meanwhile is answered, and then its connection ends.
fn closes_after_its_request(program: &Program, layout: &Layout, next: &str) {
    let more = Layout::address(layout.more);
    assert_eq!(get(more, "/").unwrap().status, 200);
    let slow = Connection::get(more, "/delay/300", "");
    let mut idle = Connection::get(more, "/cart", "");
    assert!(idle.head().starts_with("HTTP/1.1 200 "));
    reload(program, next);
    let answer = slow.rest();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("after 300 ms\n"), "{answer}");
    idle.rest();
    // Each worker closes its own socket.
    wait_for("the end of the listener", || {
        TcpStream::connect(more).is_err().then_some(())
    });
}

/// Each reload was counted by what became of it.
fn are_counted(program: &Program, reloads: usize) {
    let reload_metric = |result: &str| {
        let name = format!("evenkeel_reloads_total{{result=\"{result}\"}}");
        program.metric(&name) as usize
    };
    // Two parts of a round are what the part before is, but for a comment.
    let is_same = |number: &usize| [0, 4].contains(&(number % ROUND));
    let unchanged = (1..=reloads).filter(is_same).count();
    assert_eq!(reload_metric("unchanged"), unchanged);
    assert_eq!(reload_metric("applied"), reloads - unchanged);
    assert_eq!(reload_metric("refused"), 0);
}

#[test]
fn many_reloads_under_load_lose_nothing_and_leave_nothing_behind() {
    let (reloads, is_long) = reloads();
    let layout = Layout::new();
    let program = Program::up(&layout.text(0));
    let (shop, before) = (servers(&program, "shop"), Held::by(&program));
    let load = steady_load(program.address());
    let mut streams = Streams::open(program.address(), reloads);
    wait_for("answers", || (load.snapshot().ok >= 100).then_some(()));
    let (mut counted, mut third, mut settled) = (0.0, None, None);
    for number in 1..=reloads {
        let text = layout.text(number);
        match number % ROUND {
            0 | 4 => {
                let said = reload(&program, &text);
                assert!(said.contains("nothing was changed"), "{said}");
            }
            6 => closes_after_its_request(&program, &layout, &text),
            _ => {
                reload(&program, &text);
            }
        }
        streams.go_on(number);
        is_exported(&program, number, &mut counted);
        assert_eq!(servers(&program, "shop"), shop, "after reload {number}");
        match number % ROUND {
            // Every other time it is removed while it starts.
            1 if number % (2 * ROUND) == 1 => wait_for("the third server", || {
                let cart = servers(&program, "cart");
                let (_, state, pid) = cart.get(2)?;
                third = *pid;
                (state == "up").then_some(())
            }),
            2 => wait_for("two servers", || {
                (servers(&program, "cart").len() == 2).then_some(())
            }),
            3 => assert_eq!(get(program.address(), "/new/x").unwrap().status, 200),
            _ => {}
        }
        // What is needed for a round has been made once.
        if number == (reloads / 4).next_multiple_of(ROUND) {
            settled = Some(Held::by(&program));
        }
    }
    let numbers = load.stop();
    assert_eq!(numbers.failed, 0, "{:?}", numbers.failures);
    are_counted(&program, reloads);
    assert!(program.incidents_of_services().is_empty());

    streams.end("/after");
    wait_for("the end of all configurations but the last", || {
        let generations = program.metric("evenkeel_reload_generations");
        (generations as usize == 1).then_some(())
    });
    let third = u32::try_from(third.unwrap()).unwrap();
    wait_for("the end of the third", || (!lives(third)).then_some(()));
    assert_eq!(servers(&program, "shop"), shop);
    // Connections to servers are kept for half a minute. One descriptor for each reload would be too many.
    let kept = if is_long { 2 } else { reloads - 1 };
    let held = wait_for("descriptors and threads as before", || {
        let held = Held::by(&program);
        let is_flat =
            held.descriptors <= before.descriptors + kept && held.threads <= before.threads;
        is_flat.then_some(held)
    });
    if is_long {
        let settled = settled.unwrap();
        say(&format!(
            "{reloads} reloads under load: {} requests, none failed; {before:?} before, {settled:?} after a quarter of them, {held:?} at the end",
            numbers.ok
        ));
        assert!(held.memory < settled.memory + settled.memory / 10);
    }
}

#[expect(clippy::print_stdout, reason = "the report of a chore")]
fn say(text: &str) {
    println!("{text}");
}

/// Settings of the log, and limits, hold for what comes next.
#[test]
fn the_access_log_and_limits_follow_a_reload() {
    let port = free_ports(1)[0];
    let text = |access: bool, head_bytes: &str, connections: u32| {
        format!(
            "workers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\naccess = {access}\n\
             [listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
             limits = {{ head_bytes = \"{head_bytes}\", connections = {connections} }}\n\
             [service.shop.run]\ncommand = [{}]\nports = [{port}]\n[service.shop.detect]\n{CALM}",
            sample_server()
        )
    };
    let program = Program::up(&text(true, "2KiB", 100));
    let web = program.address();
    let long = format!("X-Long: {}\r\nConnection: close\r\n", "x".repeat(4000));
    let status = |path: &str| {
        let mut connection = Connection::get(web, path, &long);
        let head = connection.head();
        head.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(get(web, "/said").unwrap().status, 200);
    assert_eq!(status("/long"), "431");

    reload(&program, &text(false, "32KiB", 1));
    // There may be one connection; those before end when evenkeel sees it.
    let hidden = wait_for("an answer", || get(web, "/hidden").ok());
    assert_eq!(hidden.status, 200);
    let held = wait_for("a connection", || {
        let mut stream = TcpStream::connect(web).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            .ok();
        let is_served = matches!(stream.read(&mut [0; 12]), Ok(1..));
        is_served.then_some(stream)
    });
    let mut second = TcpStream::connect(web).unwrap();
    let is_closed = |stream: &mut TcpStream| matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_));
    assert!(is_closed(&mut second), "one too many");

    reload(&program, &text(true, "32KiB", 100));
    assert_eq!(get(web, "/said-again").unwrap().status, 200);
    assert_eq!(status("/long-again"), "200");
    drop(held);
    wait_for("the line of the access log", || {
        program.log().contains("/said-again").then_some(())
    });
    let log = program.log();
    assert!(log.contains("/said\"") && !log.contains("/hidden"), "{log}");
}
