//! A proxy in front of scripted servers, on free loopback ports.

#![expect(dead_code, reason = "each test file uses another part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_config::resolve::Environment;
use evenkeel_core::ServiceId;
use evenkeel_core::metric::{DurationSnapshot, Sink, Source};
use evenkeel_proxy::{Proxy, ServiceTotals, SignalReader};
use evenkeel_runtime::Clock;

/// A proxy that runs until the rig is dropped.
pub(crate) struct Rig {
    proxy: Option<Proxy>,
    pub(crate) clock: Clock,
}

impl Rig {
    /// One service `shop` with these servers; `extra` is put after the service's table.
    pub(crate) fn new(servers: &[SocketAddr], extra: &str) -> Self {
        let list: Vec<String> = servers
            .iter()
            .map(|server| format!("\"{server}\""))
            .collect();
        let text = format!(
            "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\nservers = [{}]\n{}",
            list.join(", "),
            extra
        );
        Self::of(&text)
    }

    /// The whole configuration.
    pub(crate) fn of(text: &str) -> Self {
        let clock = Clock::start();
        Self {
            proxy: Some(Proxy::start(&plan(text), clock, 1).expect("free ports")),
            clock,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = &self.proxy().addresses()[0].1;
        address.tcp().expect("an IP address")
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("it runs until it is drained")
    }

    pub(crate) fn take_signals(&mut self) -> SignalReader {
        self.proxy
            .as_mut()
            .and_then(|proxy| proxy.take_signals())
            .expect("they are taken once")
    }

    pub(crate) fn totals(&self) -> ServiceTotals {
        self.proxy().state().totals(ServiceId(0))
    }

    /// Counters are written after the last byte is out: waits until `done` holds.
    pub(crate) fn wait_for(&self, done: impl Fn(&Self) -> bool) {
        let end = self.clock.now() + Duration::from_secs(10);
        while !done(self) {
            assert!(
                self.clock.now() < end,
                "it did not happen within 10 s: {:?}",
                self.totals()
            );
            std::thread::yield_now();
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    pub(crate) fn drain(&mut self, limit: Duration) -> bool {
        self.proxy
            .take()
            .expect("it is drained once")
            .drain(limit, self.clock)
    }
}

/// Why a proxy cannot be started.
pub(crate) fn start_error(text: &str) -> String {
    let started = Proxy::start(&plan(text), Clock::start(), 1);
    started.expect_err("it cannot be started").to_string()
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            let _ = proxy.drain(Duration::from_millis(200), self.clock);
        }
    }
}

/// The plan of a whole configuration.
pub(crate) fn plan(text: &str) -> Plan {
    let around = Environment {
        base_dir: Path::new("."),
        state_dir: Path::new("."),
        cores: 1,
        descriptors: 65_536,
        resolver: &|name| Err(format!("{name} is not to be resolved")),
        socket: &|_, _| Ok(()),
    };
    let loaded = evenkeel_config::load(text, "test.toml", &around);
    loaded.unwrap_or_else(|m| panic!("{m:?}\n{text}")).plan
}

/// A client that writes what it is told and reads whole responses.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// Reads what is there. A read with a timeout also ends early when the process was stopped for a while (signal(7)).
pub(crate) fn read_some(mut stream: &TcpStream, part: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(part) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Waits for so long, not less when the process is stopped meanwhile; `false` as soon as the peer has closed.
pub(crate) fn still_open_after(stream: &TcpStream, wait: Duration) -> bool {
    let clock = Clock::start();
    let end = clock.now() + wait;
    let open = loop {
        let left = end - clock.now();
        if left.is_zero() {
            break true;
        }
        stream.set_read_timeout(Some(left)).expect("a socket");
        match stream.peek(&mut [0]) {
            Ok(0) => break false,
            // The next request is there already: only time is waited for.
            Ok(_) => std::thread::park_timeout(left),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break false,
            Err(_) => {}
        }
    };
    stream.set_read_timeout(None).expect("a socket");
    open
}

/// A response as a client sees it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the proxy listens")
    }

    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the proxy reads");
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response()
    }

    fn more(&mut self) -> usize {
        let mut chunk = [0; 65536];
        let n = read_some(&self.stream, &mut chunk).unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..n]);
        n
    }

    /// The next response to a request that was not HEAD.
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.more() > 0,
                "the connection ended before a head: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).expect("text");
        let status = head
            .get(9..12)
            .and_then(|digits| digits.parse().ok())
            .expect("a status");
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
        };
        let bodiless = method == "HEAD" || status == 204 || status == 304 || status < 200;
        if bodiless {
            return response;
        }
        if response.header("transfer-encoding").is_some() {
            response.body = self.chunked();
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().expect("a number");
            while self.buffer.len() < length {
                assert!(
                    self.more() > 0,
                    "the body ended early at {} of {length}",
                    self.buffer.len()
                );
            }
            response.body = self.buffer.drain(..length).collect();
        } else {
            while self.more() > 0 {}
            response.body = std::mem::take(&mut self.buffer);
        }
        response
    }

    fn chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                    break at;
                }
                assert!(self.more() > 0, "the chunks ended early");
            };
            let text = String::from_utf8(self.buffer[..line].to_vec()).expect("text");
            let size = usize::from_str_radix(&text, 16).expect("a chunk's size");
            while self.buffer.len() < line + 2 + size + 2 {
                assert!(self.more() > 0, "the chunks ended early");
            }
            body.extend_from_slice(&self.buffer[line + 2..line + 2 + size]);
            self.buffer.drain(..line + 2 + size + 2);
            if size == 0 {
                return body;
            }
        }
    }

    /// Reads on until the proxy closes; what came.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() > 0 {}
        std::mem::take(&mut self.buffer)
    }
}

/// What a scripted server saw, in order: each request's head and the part of the body that it read.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

/// A server that handles each connection with `script`, on its own thread. Lives as long as the test.
pub(crate) fn server(
    script: impl Fn(&mut Connection) + Send + Sync + 'static,
) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let seen = Seen::default();
    let (script, all) = (Arc::new(script), Arc::clone(&seen));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (script, seen) = (Arc::clone(&script), Arc::clone(&all));
            std::thread::spawn(move || {
                script(&mut Connection {
                    stream,
                    buffer: Vec::new(),
                    seen,
                });
            });
        }
    });
    (address, seen)
}

/// A server that answers each request with this text, on connections that stay open.
pub(crate) fn always(answer: &'static str) -> (SocketAddr, Seen) {
    server(move |connection| {
        while connection.request().is_some() {
            connection.answer(answer);
        }
    })
}

/// An address at which nothing listens.
pub(crate) fn nowhere() -> SocketAddr {
    evenkeel_lab::ports::refusing().expect("a free port")
}

/// A connection of a scripted server.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    seen: Seen,
}

impl Connection {
    /// The next request with its body (by Content-Length, or chunks as they are); `None` at the end.
    pub(crate) fn request(&mut self) -> Option<String> {
        let head = self.head()?;
        let lower = head.to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let mut body = 0;
        if let Some(length) = length {
            body = length;
            while self.buffer.len() < body {
                self.more()?;
            }
        } else if lower.contains("transfer-encoding: chunked") {
            loop {
                if let Some(at) = self.buffer.windows(5).position(|w| w == b"0\r\n\r\n") {
                    body = at + 5;
                    break;
                }
                self.more()?;
            }
        }
        let body: Vec<u8> = self.buffer.drain(..body).collect();
        let request = head + &String::from_utf8_lossy(&body);
        self.seen.lock().expect("no panic").push(request.clone());
        Some(request)
    }

    /// The next head alone.
    pub(crate) fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                return String::from_utf8(self.buffer.drain(..at + 4).collect()).ok();
            }
            self.more()?;
        }
    }

    pub(crate) fn answer(&mut self, bytes: impl AsRef<[u8]>) {
        // The client may be gone by now, which some tests are about.
        self.stream.write_all(bytes.as_ref()).ok();
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 65536];
        let n = self.stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        self.buffer.extend_from_slice(&chunk[..n]);
        Some(())
    }
}

/// The number of this name whose labels have all these values; 0 if there is none.
pub(crate) fn number(rig: &Rig, name: &str, values: &[&str]) -> f64 {
    let mut wanted = Wanted {
        name,
        values,
        found: 0.0,
    };
    rig.proxy().state().collect(&mut wanted);
    wanted.found
}

/// The same for a counter.
pub(crate) fn counter(rig: &Rig, name: &str, values: &[&str]) -> u64 {
    number(rig, name, values) as u64
}

struct Wanted<'a> {
    name: &'a str,
    values: &'a [&'a str],
    found: f64,
}

impl Wanted<'_> {
    fn look(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let has = |value: &&str| labels.iter().any(|(_, found)| found == value);
        if name == self.name && self.values.iter().all(has) {
            self.found += value;
        }
    }
}

impl Sink for Wanted<'_> {
    fn counter(
        &mut self,
        name: &'static str,
        _: &'static str,
        labels: &[(&str, &str)],
        value: u64,
    ) {
        self.look(name, labels, value as f64);
    }
    fn gauge(&mut self, name: &'static str, _: &'static str, labels: &[(&str, &str)], value: f64) {
        self.look(name, labels, value);
    }
    fn durations(
        &mut self,
        _: &'static str,
        _: &'static str,
        _: &[(&str, &str)],
        _: &DurationSnapshot,
    ) {
    }
}
