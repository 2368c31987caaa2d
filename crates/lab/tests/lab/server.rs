//! The sample server as a real process: its answers, its faults, its exit.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::common::{Process, ask, body_of, eventually};

#[test]
fn it_answers_what_the_paths_promise() {
    let server = Process::server("one", &[]);
    let text = ask(
        server.address,
        "GET /a/b?c=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nX-Server: one\r\n"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(body_of(&text)).unwrap();
    assert_eq!(
        (json["name"].as_str(), json["path"].as_str()),
        (Some("one"), Some("/a/b?c=1"))
    );
    let long = server.get("/bytes/100000").unwrap();
    assert_eq!(body_of(&long).len(), 100_000);
    assert!(long.contains("Content-Length: 100000\r\n"));
    assert!(
        server
            .get("/chunked/70000")
            .unwrap()
            .ends_with("\r\n0\r\n\r\n")
    );
    assert!(
        server
            .get("/trailers/5")
            .unwrap()
            .ends_with("0\r\nX-Length: 5\r\n\r\n")
    );
    assert!(
        server
            .get("/status/404")
            .unwrap()
            .starts_with("HTTP/1.1 404 ")
    );
    assert!(server.get("/delay/1").unwrap().ends_with("after 1 ms\n"));
    assert!(
        server
            .get("/garbage")
            .unwrap()
            .starts_with("This is no HTTP")
    );
    let head = ask(
        server.address,
        "HEAD /bytes/9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    assert!(
        head.contains("Content-Length: 9\r\n") && body_of(&head).is_empty(),
        "{head}"
    );
}

#[test]
fn it_echoes_length_and_checksum_and_remembers_each_arrival() {
    let server = Process::server("one", &[]);
    let post = "POST /echo HTTP/1.1\r\nHost: x\r\nX-Request-Id: r1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na\
                POST /echo HTTP/1.1\r\nHost: x\r\nX-Request-Id: r2\r\nTransfer-Encoding: chunked\r\n\
                Connection: close\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let text = ask(server.address, post).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{text}"
    );
    assert_eq!(
        text.matches("{\"length\":1,\"checksum\":\"af63dc4c8601ec8c\"}")
            .count(),
        2,
        "{text}"
    );
    server.get("/x").unwrap();
    assert_eq!(
        body_of(&server.get("/count").unwrap()),
        "{\"GET\":1,\"POST\":2}"
    );
    assert_eq!(
        body_of(&server.get("/seen").unwrap()),
        "POST r1 /echo\nPOST r2 /echo\nGET - /x\n"
    );
    assert_eq!(
        body_of(&server.get("/seen/POST").unwrap()),
        "POST r1 /echo\nPOST r2 /echo\n"
    );
}

#[test]
fn status_spares_health_and_sick_does_not() {
    let server = Process::server("one", &[]);
    server.mode("status 500");
    assert!(server.get("/").unwrap().starts_with("HTTP/1.1 500 "));
    assert!(server.get("/health").unwrap().starts_with("HTTP/1.1 200 "));
    server.mode("status 503 0.5");
    let spoiled = (0..10)
        .filter(|_| server.get("/").unwrap().starts_with("HTTP/1.1 503 "))
        .count();
    assert_eq!(spoiled, 5);
    server.mode("sick");
    assert!(server.get("/health").unwrap().starts_with("HTTP/1.1 500 "));
    server.mode("unhealthy");
    assert!(server.get("/health").unwrap().starts_with("HTTP/1.1 500 "));
    assert!(server.get("/").unwrap().starts_with("HTTP/1.1 200 "));
    server.mode("ok");
    assert!(server.get("/health").unwrap().starts_with("HTTP/1.1 200 "));
    let wrong = ask(server.address, &crate::common::post("/mode", "odd")).unwrap();
    assert!(
        wrong.starts_with("HTTP/1.1 400 ") && wrong.contains("there are: ok"),
        "{wrong}"
    );
}

#[test]
fn slow_takes_its_multiple_and_hang_never_answers() {
    let server = Process::server("one", &["--base-delay-ms", "20"]);
    let clock = evenkeel_runtime::Clock::start();
    server.get("/").unwrap();
    let normal = clock.now();
    server.mode("slow 10");
    let before = clock.now();
    server.get("/health").unwrap();
    assert!(clock.now() - before >= Duration::from_millis(200));
    assert!(normal.as_nanos() >= 20_000_000);
    server.mode("hang");
    assert!(server.get_within("/", Duration::from_millis(200)).is_err());
    assert!(
        server
            .get_within("/health", Duration::from_millis(200))
            .is_err()
    );
    server.mode("ok");
    assert!(server.get("/").is_ok());
    assert!(
        body_of(&server.get("/count").unwrap()).contains("\"GET\":3"),
        "arrivals count in mode hang, too"
    );
}

#[test]
fn stop_listening_refuses_and_lives_and_close_gives_nothing() {
    let mut server = Process::server("one", &[]);
    server.mode("stop-listening");
    eventually("the port is closed", || {
        server
            .get("/")
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    assert!(
        server.child.try_wait().unwrap().is_none(),
        "the process lives"
    );
    let closing = Process::server("two", &[]);
    closing.mode("close");
    assert_eq!(closing.get("/").unwrap_or_default(), "");
}

#[test]
fn stop_accepting_refuses_what_is_new_and_serves_what_is_there() {
    let server = Process::server("one", &[]);
    let mut kept = std::net::TcpStream::connect(server.address).unwrap();
    let mut answers = || {
        let mut start = [0; 12];
        kept.write_all(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        kept.read_exact(&mut start).unwrap();
        let mut rest = [0; 1024];
        let read = kept.read(&mut rest).unwrap();
        assert!(rest[..read].ends_with(b"\r\n\r\n"), "{:?}", &rest[..read]);
        start == *b"HTTP/1.1 200"
    };
    assert!(answers());
    server.mode("stop-accepting");
    eventually("the port is closed", || {
        server
            .get("/")
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    assert!(answers());
}

#[test]
fn the_server_exits_on_command_and_on_sigterm() {
    let mut server = Process::server("one", &[]);
    server.mode("exit 3");
    assert_eq!(server.child.wait().unwrap().code(), Some(3));
    let mut later = Process::server("one", &[]);
    later.mode("exit 4 after 50");
    assert!(later.get("/").is_ok());
    assert_eq!(later.child.wait().unwrap().code(), Some(4));
    let mut polite = Process::server("one", &[]);
    polite.terminate();
    assert_eq!(polite.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_mode_file_decides_how_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mode");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "exit 7\n").unwrap();
    assert_eq!(Process::server_that_fails(&["--mode-file", path]), Some(7));
    std::fs::write(&file, "nonsense").unwrap();
    assert_eq!(Process::server_that_fails(&["--mode-file", path]), Some(1));
    std::fs::write(&file, "status 503").unwrap();
    let server = Process::server("one", &["--mode-file", path]);
    assert!(server.get("/").unwrap().starts_with("HTTP/1.1 503 "));
    std::fs::remove_file(&file).unwrap();
    let server = Process::server("one", &["--mode-file", path]);
    assert!(server.get("/").unwrap().starts_with("HTTP/1.1 200 "));
    assert_eq!(
        Process::server_that_fails(&["--exit-at-start", "9"]),
        Some(9)
    );
}

#[test]
fn a_tunnel_sends_back_every_byte() {
    use std::io::{Read as _, Write as _};
    let server = Process::server("one", &[]);
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello").unwrap();
    let mut text = Vec::new();
    let mut bytes = [0; 1024];
    while !text.ends_with(b"\r\n\r\nhello") {
        match stream.read(&mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => {
                let n = read.unwrap();
                assert!(n > 0, "ended early");
                text.extend_from_slice(&bytes[..n]);
            }
        }
    }
    assert!(text.starts_with(b"HTTP/1.1 101 "));
}
