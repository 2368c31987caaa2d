//! The whole program over Unix domain sockets: a listener, servers that it runs, the admin API, and the command line.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use common::{PROGRAM, Program, call, signal, wait_for};
use serde_json::Value;
use tempfile::TempDir;

/// Answers every connection with one response. Lives as long as the test.
fn origin() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                    stream.write_all(answer).ok();
                }
            });
        }
    });
    port
}

/// Servers at sockets that evenkeel runs: small proxies of their own.
fn configuration(origin: u16) -> String {
    format!(
        r#"
workers = 2
[admin]
address = "unix:{{folder}}/admin.sock"
socket = {{ mode = "0600" }}
[store]
url = "memory:"
[log]
access = true
[listen.web]
address = "unix:{{folder}}/web.sock"
service = "shop"
[service.shop.run]
command = ["{PROGRAM}", "proxy", "--listen", "{{address}}", "--to", "127.0.0.1:{origin}"]
environment = {{ SHOP_SOCKET = "{{socket}}" }}
sockets = ["unix:{{folder}}/shop-1.sock", "unix:{{folder}}/shop-2.sock"]
[service.shop.detect]
probe = {{ http = "/", every = "500ms" }}
[service.shop.recover.verify]
within = "50s"
"#
    )
}

/// Status and body, over a Unix domain socket.
fn ask(socket: &Path, target: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.get(9..12)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

fn servers(admin: &Path) -> Vec<Value> {
    let services = ask(admin, "/api/services").map(|(_, body)| body);
    let services: Option<Value> = services.and_then(|body| serde_json::from_str(&body).ok());
    let servers = services.and_then(|services| services[0]["servers"].as_array().cloned());
    servers.unwrap_or_default()
}

fn wait_until_up(admin: &Path) -> Vec<Value> {
    wait_for("both servers", || {
        let servers = servers(admin);
        let are_up = servers.iter().all(|server| server["state"] == "up");
        (servers.len() == 2 && are_up).then_some(servers)
    })
}

#[test]
fn everything_works_over_sockets_and_a_killed_server_comes_back() {
    let mut program = Program::run(&configuration(origin()));
    let at = |name: &str| program.folder.path().join(name);
    let (web, admin) = (at("web.sock"), at("admin.sock"));
    let before = wait_until_up(&admin);
    let first = format!("unix:{}", at("shop-1.sock").display());
    assert_eq!(before[0]["address"], *first);
    assert_eq!(ask(&web, "/").unwrap(), (200, "hello".to_owned()));
    wait_for("the access log", || {
        program.log().contains("peer=unix").then_some(())
    });

    // The command line, by address and by configuration.
    let address = format!("unix:{}", admin.display());
    let status = call(program.folder.path(), &["status", "--admin", &address]);
    assert_eq!(status.status, Some(0), "{}", status.err);
    assert!(status.out.contains("shop-1"), "{}", status.out);
    let order = call(program.folder.path(), &["restart", "shop/shop-2"]);
    assert_eq!(order.status, Some(0), "{order:?}");
    if let Ok(curl) = Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(&web)
        .arg("http://shop/")
        .output()
    {
        assert_eq!(curl.stdout, b"hello");
    }

    let before = wait_until_up(&admin);
    let pid = before[0]["pid"].as_u64().unwrap();
    signal(u32::try_from(pid).unwrap(), "KILL");
    let after = wait_for("another process", || {
        let servers = wait_until_up(&admin);
        (servers[0]["pid"].as_u64() != Some(pid)).then_some(servers)
    });
    assert!(after[0]["pid"].is_u64());
    let log = program.log();
    assert!(
        log.contains("the file of its earlier socket was removed"),
        "{log}"
    );
    assert_eq!(ask(&web, "/").unwrap().0, 200);

    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
    for name in ["web.sock", "admin.sock", "shop-1.sock", "shop-2.sock"] {
        assert!(!program.folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_socket_in_use_is_refused_by_name_and_a_stale_one_is_replaced() {
    let text = configuration(origin());
    let program = Program::run(&text);
    let second = call(program.folder.path(), &["run"]);
    let held = format!("in use; process {} (evenkeel) listens there", program.pid());
    assert_eq!(second.status, Some(1));
    assert!(second.err.contains(&held), "{}", second.err);

    let folder = TempDir::new().unwrap();
    let web = folder.path().join("web.sock");
    drop(UnixListener::bind(&web).unwrap());
    let text = text.replace("{folder}", &folder.path().display().to_string());
    std::fs::write(folder.path().join("evenkeel.toml"), text).unwrap();
    let _program = Program::start(folder, &["run"]);
    assert!(ask(&web, "/").is_some());
}

#[test]
fn it_is_checked_what_sockets_cannot_be() {
    let folder = TempDir::new().unwrap();
    let here = folder.path().display().to_string();
    std::fs::write(folder.path().join("data"), "precious").unwrap();
    let checked = |listener: &str| {
        let text = format!(
            "[listen.web]\n{listener}\nservice = \"shop\"\n[service.shop]\n\
             servers = [\"unix:{here}/1.sock\", \"unix:{here}/2.sock\"]\n"
        );
        std::fs::write(folder.path().join("evenkeel.toml"), text).unwrap();
        let called = call(folder.path(), &["check"]);
        (called.status, called.out + &called.err)
    };
    let path = |path: &str| format!("address = \"unix:{here}/{path}\"");
    for (listener, status, words) in [
        (path("web.sock"), 0, "1 listener"),
        (path("data"), 0, "not a socket"),
        (path("no/web.sock"), 0, "there is no folder"),
        (
            path("web.sock") + "\nsocket = { group = \"no such group\" }",
            0,
            "there is no group",
        ),
        (path(&"x".repeat(107)), 1, "bytes; the most is 107"),
        (
            path("web.sock") + "\nsocket = { mode = \"660\" }",
            1,
            "octal",
        ),
    ] {
        let (found, text) = checked(&listener);
        assert_eq!(found, Some(status), "{listener}: {text}");
        assert!(text.contains(words), "{listener}: {text}");
    }
    assert_eq!(
        std::fs::read_to_string(folder.path().join("data")).unwrap(),
        "precious"
    );
}
