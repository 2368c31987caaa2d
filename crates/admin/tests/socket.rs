//! The API over real sockets: our own client, malformed requests, idle connections, shutdown.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[expect(dead_code, reason = "other tests use the rest of it")]
mod fake;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_admin::{
    AccessPolicy, AdminBackend, AdminCounters, Order, ServiceView, escaped, serve, text,
};
use evenkeel_connect::{ClientDeadlines, ClientRequest, send_request};
use evenkeel_core::metric::{Sink, Source as _};
use evenkeel_runtime::{Clock, spawn};
use fake::{Fake, TOKEN};
use tokio::sync::oneshot;

struct Server {
    address: SocketAddr,
    live: Arc<Fake>,
    counters: Arc<AdminCounters>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let live = Arc::new(Fake::with_proposal());
        let (stop, stopped) = oneshot::channel::<()>();
        let guard = AccessPolicy {
            token: TOKEN.to_owned(),
            address: address.into(),
        };
        let counters = Arc::new(AdminCounters::default());
        let counted = Arc::clone(&counters);
        let shared: Arc<dyn AdminBackend> = Arc::clone(&live) as Arc<dyn AdminBackend>;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(listener, shared, guard, counted, async move {
                stopped.await.ok();
            }))
        });
        Self {
            address,
            live,
            counters,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Connections that were closed to make room.
    fn dropped(&self) -> u64 {
        struct First(u64);
        impl Sink for First {
            fn counter(&mut self, _: &str, _: &str, _: &[(&str, &str)], value: u64) {
                self.0 = value;
            }
            fn gauge(&mut self, _: &str, _: &str, _: &[(&str, &str)], _: f64) {}
            fn durations(
                &mut self,
                _: &str,
                _: &str,
                _: &[(&str, &str)],
                _: &evenkeel_core::metric::DurationSnapshot,
            ) {
            }
        }
        let mut first = First(0);
        self.counters.collect(&mut first);
        first.0
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// What comes back for these bytes until the connection ends; an end by force after an answer counts as an end.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // It may be refused before it was sent as a whole.
        stream.write_all(bytes).ok();
        stream.shutdown(Shutdown::Write).ok();
        rest(stream)
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    ask(address, path, None, None)
}

fn post(address: SocketAddr, path: &str, token: Option<&str>) -> Result<(u16, String), String> {
    ask(address, path, Some(b""), token)
}

/// Status and body of a request with the client of the command line.
fn ask(
    address: SocketAddr,
    path: &str,
    body: Option<&[u8]>,
    token: Option<&str>,
) -> Result<(u16, String), String> {
    const TIME: Duration = Duration::from_secs(20);
    let credentials = token.map(|token| format!("Bearer {token}"));
    let fields = credentials.as_deref().map(|text| ("Authorization", text));
    let request = ClientRequest {
        target: path,
        host: &address.to_string(),
        fields: fields.as_slice(),
        body,
    };
    let deadlines = ClientDeadlines {
        connect: TIME,
        write: TIME,
        head: TIME,
        body: TIME,
    };
    let exchange = async {
        let response = send_request(&address.into(), &request, deadlines, Clock::start()).await?;
        Ok((response.status(), response.read_body(usize::MAX).await?))
    };
    let (status, body) = (spawn::runtime().unwrap().block_on(exchange))
        .map_err(|error: evenkeel_connect::ClientError| error.to_string())?;
    Ok((status, String::from_utf8(body).unwrap()))
}

fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => answer.extend_from_slice(&buffer[..length]),
            // The process was stopped for a while, which ends a read with a timeout.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
        }
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn our_own_client_reads_and_orders() {
    let server = Server::start();
    let (status, body) = get(server.address, "/api/services").unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<Vec<ServiceView>>(&body).unwrap(),
        fake::services()
    );
    let drain = format!(
        "/api/services/shop/servers/{}/drain",
        escaped("a long name")
    );
    let (status, body) = post(server.address, &drain, None).unwrap();
    assert_eq!(status, 401);
    assert!(
        text::error_of(status, &body).contains("token is required"),
        "{body}"
    );
    assert_eq!(post(server.address, &drain, Some("wrong")).unwrap().0, 401);
    let (status, body) = post(server.address, &drain, Some(TOKEN)).unwrap();
    assert_eq!(
        (status, body.as_str()),
        (200, "{\"message\":\"drain shop/a long name: done\"}")
    );
    let order = Order::Drain {
        service: "shop".to_owned(),
        server: "a long name".to_owned(),
    };
    assert_eq!(*server.live.orders.lock().unwrap(), [order]);
}

#[test]
fn response_header_fields_are_correct() {
    let server = Server::start();
    let host = server.address;
    let head = |method: &str, target: &str| {
        server.raw(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
    };
    let answer = head("GET", "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in [
        "Content-Type: text/plain; version=0.0.4",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    ] {
        assert!(answer.contains(&format!("\r\n{line}")), "{answer}");
    }
    assert!(
        !answer.to_ascii_lowercase().contains("access-control"),
        "no page may read: {answer}"
    );
    assert!(head("POST", "/metrics").contains("\r\nAllow: GET, HEAD\r\n"));
    assert!(
        head("POST", "/api/incidents/2026-11-22-0007/close")
            .contains("\r\nWWW-Authenticate: Bearer\r\n")
    );
    let (head_only, whole) = (head("HEAD", "/health/live"), head("GET", "/health/live"));
    assert_eq!(format!("{head_only}live\n"), whole);
}

#[test]
fn absolute_targets_are_held_to_the_same_rules() {
    let server = Server::start();
    let host = server.address;
    let own = server.raw(
        format!("GET http://{host}/health/live?x=1 HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
    );
    assert!(own.starts_with("HTTP/1.1 200 "), "{own}");
    let other = server.raw(
        format!("GET http://evil.example/api/services HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
    );
    assert!(other.starts_with("HTTP/1.1 403 "), "{other}");
    let misleading =
        server.raw(format!("GET /x://y/metrics HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    assert!(misleading.starts_with("HTTP/1.1 404 "), "{misleading}");
}

#[test]
fn malformed_requests_do_not_stop_the_server() {
    let server = Server::start();
    let host = server.address;
    let long = format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(9000));
    let large = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
        "X: y\r\n".repeat(1000)
    );
    let body = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999\r\n\r\n");
    let both = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "400"),
        (b"hello\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        (b"GET /metrics HTTP/1.0\r\n\r\n", "403"),
        (
            b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "403",
        ),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", "505"),
        (long.as_bytes(), "414"),
        (large.as_bytes(), "431"),
        (many.as_bytes(), "431"),
        (body.as_bytes(), "413"),
        (both.as_bytes(), "400"),
    ] {
        let answer = server.raw(bytes);
        let shown = String::from_utf8_lossy(bytes.get(..40).unwrap_or(bytes)).into_owned();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{shown:?}: {answer}"
        );
    }
    for silent in [&b""[..], b"GET /metr", b"\r\n"] {
        let answer = server.raw(silent);
        assert!(answer.is_empty(), "{silent:?}: {answer}");
    }
    assert_eq!(get(server.address, "/health/live").unwrap().0, 200);
}

#[test]
fn a_small_body_of_an_order_is_read_and_let_fall() {
    let server = Server::start();
    let host = server.address;
    let answer = server.raw(
        format!(
            "POST /api/incidents/2026-11-22-0007/close HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\
             Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{{}}"
        )
        .as_bytes(),
    );
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{answer}"
    );
    assert_eq!(
        *server.live.orders.lock().unwrap(),
        [Order::Close("2026-11-22-0007".to_owned())]
    );
}

#[test]
fn a_client_that_does_not_finish_its_request_gets_an_answer_and_is_closed() {
    let server = Server::start();
    let mut slow = server.connect();
    slow.write_all(b"GET /metrics HT").unwrap();
    // The read's own limit is far above the server's.
    assert!(rest(slow).starts_with("HTTP/1.1 408 "));
}

#[test]
fn half_open_connections_do_not_block_others() {
    let server = Server::start();
    let half_open = || {
        let mut silent = server.connect();
        silent.write_all(b"GET /api/services HT").unwrap();
        silent
    };
    let mut silent: Vec<TcpStream> = (0..200).map(|_| half_open()).collect();
    let (status, _) = get(server.address, "/api/services").unwrap();
    assert_eq!(status, 200);
    // It was not answered because they had timed out: room was made.
    assert!(server.dropped() > 0);
    let mut answer = Vec::new();
    let read = silent.remove(0).read_to_end(&mut answer);
    assert!(answer.is_empty(), "{read:?} {answer:?}");
}

#[test]
fn a_panic_in_a_response_affects_no_other_request() {
    let server = Server::start();
    let (status, body) = get(server.address, "/api/incidents/panic").unwrap();
    assert_eq!(status, 500, "{body}");
    assert_eq!(get(server.address, "/health/live").unwrap().0, 200);
}

#[test]
fn it_shuts_down_with_an_idle_client_connected() {
    let mut server = Server::start();
    let silent = server.connect();
    assert_eq!(get(server.address, "/health/live").unwrap().0, 200);
    server.end();
    assert_eq!(rest(silent), "");
    let why = get(server.address, "/health/live").unwrap_err();
    assert!(why.contains("cannot connect"), "{why}");
}

/// RFC 9110, sections 6.6.1 and 9.3.2.
#[test]
fn each_response_has_a_date_and_none_to_head_has_content() {
    let server = Server::start();
    for (request, status) in [
        ("GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (
            "HEAD /health/live HTTP/1.1\r\nHost: localhost.\r\n\r\n",
            200,
        ),
        (
            "HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n",
            413,
        ),
        (
            "HEAD / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
            411,
        ),
        ("HEAD / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n",
            413,
        ),
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, content) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        let dates = head.lines().filter_map(|line| line.strip_prefix("Date: "));
        let dates: Vec<_> = dates.map(httpdate::parse_http_date).collect();
        assert!(matches!(dates[..], [Ok(_)]), "{head}");
        assert_eq!(
            content.is_empty(),
            request.starts_with("HEAD "),
            "{request}"
        );
    }
}
