//! What happens when evenkeel's own descriptors run out. The limit is the process's, so this file has one test.

mod common;

use std::fs::File;
use std::time::Duration;

use common::{Client, Rig, counter, server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Opens files until there is no descriptor left.
fn fill(files: &mut Vec<File>) {
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
}

#[test]
fn no_server_is_blamed_and_clients_are_accepted_when_there_are_some_again() {
    let servers: Vec<_> = (0..2)
        .map(|_| {
            server(|connection| {
                if connection.request().is_some() {
                    connection.answer(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
                    );
                }
            })
            .0
        })
        .collect();
    let mut rig = Rig::of(&format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nroutes = [{{ path = \"/\", service = \"shop\" }}]\n\
         [service.shop]\nservers = [\"{}\", \"{}\"]\n",
        servers[0], servers[1]
    ));
    let mut signals = rig.take_signals();
    // Accepted, and nothing has been opened that could be closed later: no server is asked for this.
    let mut client = rig.client();
    assert_eq!(client.get("/elsewhere").status, 404);

    let limit = getrlimit(Resource::Nofile);
    let low = Rlimit {
        current: Some(200),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, low).expect("it may be lowered");
    let mut files = Vec::new();
    fill(&mut files);
    for _ in 0..20 {
        let response = client.get("/");
        assert_eq!(response.status, 503);
        let why = response.header("proxy-status").unwrap_or_default();
        assert!(why.contains("proxy_internal_error") && why.contains("local-error"));
        assert_eq!(response.header("connection"), None);
    }
    let local = |side| counter(&rig, "evenkeel_local_errors_total", &[side]);
    rig.wait_for(|rig| counter(rig, "evenkeel_attempts_total", &["shop", "local-error"]) == 20);
    assert!(local("server") >= 20);

    // One more client: it has a descriptor, and evenkeel has none for it. A server's thread may take one first, which the kernel
    // reserves before it waits in accept.
    let mut second = loop {
        files.pop();
        if let Ok(second) = Client::try_connect(rig.address()) {
            break second;
        }
    };
    rig.wait_for(|_| local("client") > 0);
    drop(files);
    assert_eq!(second.get("/").status, 200);
    assert_eq!(client.get("/").status, 200);

    let mut seen = Vec::new();
    signals.drain(&mut seen);
    assert_eq!(seen.len(), 2, "one for each answer of a server: {seen:?}");
    assert!(rig.drain(Duration::from_secs(30)));
}
