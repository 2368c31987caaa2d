//! How many clients a listener takes.

mod common;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use common::{Rig, always, counter};

/// Connects, asks, and says whether there was an answer; an end of the connection is none.
fn ask(rig: &Rig) -> (TcpStream, bool) {
    let mut stream = TcpStream::connect(rig.address()).expect("the kernel accepts");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut answer = [0; 16];
    let answered = sent.is_ok() && common::read_some(&stream, &mut answer).is_ok_and(|n| n > 0);
    (stream, answered)
}

/// The limit is the listener's: however the kernel shares connections out, each worker has what the others leave.
#[test]
fn a_listener_takes_exactly_as_many_as_it_may_over_all_workers() {
    const LIMIT: usize = 40;
    let (address, _) = always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let rig = Rig::of(&format!(
        "workers = 3\n[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\nlimits = {{ connections = {LIMIT} }}\n\
         [service.shop]\nservers = [\"{address}\"]\n"
    ));
    for round in 1..=4 {
        let open: Vec<_> = (0..LIMIT).map(|_| ask(&rig)).collect();
        assert!(open.iter().all(|(_, answered)| *answered), "all places");
        let more: Vec<_> = (0..5).map(|_| ask(&rig)).collect();
        assert!(more.iter().all(|(_, answered)| !answered), "and no more");
        let refused = counter(&rig, "evenkeel_connections_refused_total", &[]);
        assert_eq!(refused, 5 * round);
        drop((open, more));
        rig.wait_for(|rig| rig.proxy().state().connections() == 0);
    }
}
