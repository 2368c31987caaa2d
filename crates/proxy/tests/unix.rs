//! Unix domain sockets on both sides: requests, tunnels and their ends, and the socket's file.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::Rig;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);

/// A proxy that listens at a Unix domain socket, in front of a server at another one.
struct Scene {
    folder: TempDir,
    server: UnixServer,
}

/// A server that echoes bodies, and what it saw.
#[derive(Clone)]
struct UnixServer {
    path: PathBuf,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl UnixServer {
    fn start(path: &Path, script: impl Fn(&Self, UnixStream) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).expect("a free path");
        let server = Self {
            path: path.to_owned(),
            connections: Arc::default(),
            heads: Arc::default(),
        };
        let (running, script) = (server.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                running.connections.fetch_add(1, Ordering::SeqCst);
                let (server, script) = (running.clone(), Arc::clone(&script));
                std::thread::spawn(move || script(&server, stream));
            }
        });
        server
    }

    fn echo(&self, stream: UnixStream) {
        let mut stream = BufReader::new(stream);
        while let Some((head, body)) = read_message(&mut stream) {
            self.heads.lock().expect("no panic").push(head);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let answer = [answer.as_bytes(), &body].concat();
            stream
                .get_mut()
                .write_all(&answer)
                .expect("the proxy reads");
        }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

/// A head and its body by Content-Length; nothing at the end of the connection.
fn read_message(stream: &mut BufReader<UnixStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn scene(script: impl Fn(&UnixServer, UnixStream) + Send + Sync + 'static) -> Scene {
    let folder = tempfile::tempdir().expect("a folder");
    let server = UnixServer::start(&folder.path().join("server.sock"), script);
    Scene { folder, server }
}

impl Scene {
    fn path(&self) -> PathBuf {
        self.folder.path().join("web.sock")
    }

    fn text(&self, workers: u32) -> String {
        format!(
            "workers = {workers}\n[listen.web]\naddress = \"unix:{}\"\nservice = \"shop\"\n\
             socket = {{ mode = \"0600\" }}\n[service.shop]\nservers = [\"unix:{}\"]\n",
            self.path().display(),
            self.server.path.display()
        )
    }

    fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.path()).expect("the proxy listens");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        BufReader::new(stream)
    }
}

fn exchange(client: &mut BufReader<UnixStream>, request: &str) -> (String, Vec<u8>) {
    let stream = client.get_mut();
    stream
        .write_all(request.as_bytes())
        .expect("the proxy reads");
    read_message(client).expect("a response")
}

#[test]
fn requests_go_from_socket_to_socket_on_connections_that_stay_open() {
    let scene = scene(UnixServer::echo);
    let rig = Rig::of(&scene.text(1));
    let mode = fs::metadata(scene.path()).expect("a file").permissions();
    assert_eq!(mode.mode() & 0o7777, 0o600);
    let mut client = scene.connect();
    let get = "GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
    assert!(exchange(&mut client, get).0.starts_with("HTTP/1.1 200 "));
    let large = "x".repeat(300_000);
    let post = format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 300000\r\n\r\n{large}");
    assert_eq!(exchange(&mut client, &post).1, large.as_bytes());
    // A client of HTTP/1.0 may leave the host out.
    let old = "GET / HTTP/1.0\r\n\r\n";
    assert!(exchange(&mut client, old).0.starts_with("HTTP/1.1 200 "));
    let heads = scene.server.heads().join("").to_lowercase();
    assert!(heads.contains("host: shop\r\n") && heads.contains("host: localhost\r\n"));
    assert!(!heads.contains("x-forwarded-for"), "{heads}");
    assert_eq!(scene.server.connections.load(Ordering::SeqCst), 1);
    rig.wait_for(|rig| rig.totals().requests == 3);
}

#[test]
fn a_tunnel_carries_both_directions_and_a_half_close() {
    let scene = scene(|_, stream| {
        let mut stream = BufReader::new(stream);
        read_message(&mut stream).expect("a request");
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";
        stream.get_mut().write_all(switch).expect("the proxy reads");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("a half-close");
        all.reverse();
        stream.get_mut().write_all(&all).expect("the proxy reads");
    });
    let _rig = Rig::of(&scene.text(1));
    let mut client = scene.connect();
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n";
    assert!(
        exchange(&mut client, upgrade)
            .0
            .starts_with("HTTP/1.1 101 ")
    );
    client.get_mut().write_all(b"abc").expect("the proxy reads");
    client
        .get_ref()
        .shutdown(Shutdown::Write)
        .expect("a socket");
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("an answer");
    assert_eq!(rest, "cba");
}

#[test]
fn a_client_that_goes_away_ends_its_attempt() {
    let (sender, ended) = mpsc::channel();
    let scene = scene(move |_, stream| {
        let mut stream = BufReader::new(stream);
        let seen = read_message(&mut stream);
        sender.send(seen.is_some()).expect("the test waits");
        // No answer: this returns when the proxy closes.
        let next = read_message(&mut stream);
        sender.send(next.is_none()).expect("the test waits");
    });
    let _rig = Rig::of(&scene.text(1));
    let mut client = scene.connect();
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.get_mut().write_all(get).expect("the proxy reads");
    assert_eq!(ended.recv_timeout(LONG), Ok(true));
    drop(client);
    assert_eq!(ended.recv_timeout(LONG), Ok(true));
}

#[test]
fn workers_share_the_socket_and_its_file_is_gone_at_the_end() {
    let scene = scene(UnixServer::echo);
    drop(UnixListener::bind(scene.path()).expect("a free path"));
    let mut rig = Rig::of(&scene.text(4));
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut clients: Vec<_> = (0..64).map(|_| scene.connect()).collect();
    for client in clients.iter_mut().rev() {
        assert!(exchange(client, get).0.starts_with("HTTP/1.1 200 "));
    }
    drop(clients);
    assert!(rig.drain(LONG));
    assert!(!scene.path().exists());
}

#[test]
fn a_socket_in_use_is_an_error_and_stays() {
    let scene = scene(UnixServer::echo);
    let _rig = Rig::of(&scene.text(1));
    let error = common::start_error(&scene.text(1));
    let expected = format!(
        "listener web cannot listen on unix:{}: the address is in use",
        scene.path().display()
    );
    assert_eq!(error, expected);
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(
        exchange(&mut scene.connect(), get)
            .0
            .starts_with("HTTP/1.1 200 ")
    );
}

#[test]
fn a_server_that_is_gone_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone = folder.path().join("gone.sock");
    let there = UnixServer::start(&folder.path().join("there.sock"), UnixServer::echo);
    let text = format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\n\
         servers = [\"unix:{}\", \"unix:{}\"]\nbalance = {{ policy = \"round-robin\" }}\n",
        gone.display(),
        there.path.display()
    );
    let rig = Rig::of(&text);
    for _ in 0..4 {
        assert_eq!(rig.client().get("/").status, 200);
    }
    // The file of a server that has ended is no server.
    drop(UnixListener::bind(&gone).expect("a free path"));
    assert_eq!(rig.client().get("/").status, 200);
}
