//! Load reports of servers, with the real program: a busy server gets less.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use common::{Program, get, wait_for};

/// A server that says of each request how busy it is.
fn server(utilization: f64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(&stream, utilization));
        }
    });
    address
}

fn serve(mut stream: &TcpStream, utilization: f64) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        let answer =
            format!("HTTP/1.1 200 OK\r\nX-Load: {utilization}\r\nContent-Length: 2\r\n\r\nok");
        if line.is_empty() && stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The first report counts after 10 s, so this takes a little longer than that.
#[test]
fn a_server_that_reports_load_gets_less() {
    let (idle, busy) = (server(0.2), server(0.8));
    let program = Program::run(&format!(
        "workers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n\
         [service.shop]\nservers = [{{ name = \"idle\", address = \"{idle}\" }}, {{ name = \"busy\", address = \"{busy}\" }}]\n\
         balance = {{ policy = \"random\", load_header = \"x-load\" }}"
    ));
    let metric = |name: &str, server: &str| -> f64 {
        let metrics = get(program.admin, "/metrics").unwrap().body;
        let start = format!("{name}{{service=\"shop\",server=\"{server}\"");
        let lines = metrics.lines().filter(|line| line.starts_with(&start));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    };
    let ask = |times: u32| {
        for _ in 0..times {
            let answer = get(program.address(), "/").unwrap();
            assert_eq!(answer.status, 200);
            assert!(!answer.head.to_lowercase().contains("x-load"));
        }
    };
    ask(20);
    assert!((metric("evenkeel_server_load_share", "busy") - 1.0).abs() < 1e-9);
    // Each server is weighted by its requests per reported load, so the busy one's weight falls further as it gets
    // fewer requests, down to a bound.
    wait_for("its share", || {
        ask(20);
        (metric("evenkeel_server_load_share", "busy") < 0.5).then_some(())
    });
    let picks = |server: &str| metric("evenkeel_picks_total", server);
    let before = (picks("idle"), picks("busy"));
    ask(200);
    let (idle, busy) = (picks("idle") - before.0, picks("busy") - before.1);
    assert!(busy > 0.0 && busy < 0.6 * idle, "{idle} and {busy}");
    assert!((metric("evenkeel_server_load_share", "idle") - 1.0).abs() < 1e-9);
}
