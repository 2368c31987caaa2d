//! The access log of the real program: the request, and each attempt made for it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use common::{Program, free_ports, get, wait_for};
use serde_json::Value;

/// How long a server takes to fail.
const SLOW: Duration = Duration::from_millis(80);

/// A server that answers everything with this, after this time.
fn server(answer: &'static str, after: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                if !line.is_empty() {
                    continue;
                }
                std::thread::park_timeout(after);
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    address
}

/// The access log's line for this target.
fn line(program: &Program, target: &str) -> Value {
    wait_for("the line of the access log", || {
        let log = program.log();
        let mut lines = log.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["target_uri"] == target).then_some(line)
        });
        lines.next()
    })
}

#[test]
fn the_access_log_lists_each_attempt_including_those_before_a_fallback() {
    let closed = free_ports(1)[0];
    let bad = server(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        SLOW,
    );
    let good = server(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Duration::ZERO,
    );
    let program = Program::run(&format!(
        "workers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\naccess = true\n\
         [listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\nroutes = [{{ path = \"/spare\", service = \"spare\" }}]\n\
         [service.shop]\nbalance = {{ policy = \"round-robin\" }}\n\
         servers = [{{ name = \"closed\", address = \"127.0.0.1:{closed}\" }}, {{ name = \"bad\", address = \"{bad}\" }}]\n\
         retry = {{ on = [\"connect\", \"503\"], limit = 1 }}\nfallback = {{ service = \"spare\", on = [\"503\"] }}\n\
         [service.shop.detect]\nprobe = {{ fall = 10 }}\nconsecutive_failures = 0\n\
         [service.spare]\nservers = [{{ name = \"good\", address = \"{good}\" }}]"
    ));
    assert_eq!(get(program.address(), "/x?y=1").unwrap().status, 200);
    let fell = line(&program, "/x?y=1");
    assert_eq!(
        (&fell["status"], &fell["service"], &fell["fallback"]),
        (&200.into(), &"shop".into(), &"spare".into()),
        "{fell}"
    );
    let took = fell["milliseconds"].as_f64().unwrap();
    assert!(took >= SLOW.as_secs_f64() * 1e3, "all of it: {fell}");
    let attempts = fell["attempts"].as_str().unwrap();
    let words: Vec<&str> = attempts
        .split(' ')
        .map(|attempt| attempt.rsplit_once(':').unwrap().0)
        .collect();
    assert_eq!(words.last(), Some(&"good:success"), "{attempts}");
    for before in ["closed:connect-refused", "bad:server-error"] {
        assert!(words.contains(&before), "{attempts}");
    }

    assert_eq!(get(program.address(), "/spare").unwrap().status, 200);
    let plain = line(&program, "/spare");
    assert_eq!(
        (&plain["fallback"], &plain["method"]),
        (&"".into(), &"GET".into())
    );
    assert!(
        plain["attempts"]
            .as_str()
            .unwrap()
            .starts_with("good:success:")
    );
    assert!(plain["milliseconds"].as_f64().unwrap() > 0.0, "{plain}");
}
