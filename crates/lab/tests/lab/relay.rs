//! The fault relay between a client and a real server process.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use evenkeel_lab::{FaultRelay, RelayFault};

use crate::common::{Process, ask, ask_within, eventually};

const GET: &str = "GET /bytes/1000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn the_relay_forwards_and_breaks_connections_on_command() {
    let server = Process::server("one", &[]);
    let relay = FaultRelay::start(server.address).unwrap();
    assert!(
        ask(relay.address(), GET)
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
    relay.set(RelayFault::Refuse).unwrap();
    // A connection that was in the kernel's queue when the port was closed is reset.
    eventually("connections are refused", || {
        ask(relay.address(), GET).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    relay.set(RelayFault::Reset).unwrap();
    assert!(ask(relay.address(), GET).is_err());
    relay.set(RelayFault::BlackHole).unwrap();
    let error = ask_within(relay.address(), GET, Duration::from_millis(100)).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::WouldBlock,
        "nothing comes and nothing ends"
    );
    relay.set(RelayFault::CutAfter(500)).unwrap();
    assert_eq!(read_until_broken(&relay), 500);
    let clock = evenkeel_runtime::Clock::start();
    relay
        .set(RelayFault::Delay(Duration::from_millis(100)))
        .unwrap();
    assert!(ask(relay.address(), GET).is_ok());
    assert!(
        clock.now().as_nanos() >= 200_000_000,
        "both directions are delayed"
    );
    relay.set(RelayFault::None).unwrap();
    assert!(ask(relay.address(), GET).is_ok());
}

fn read_until_broken(relay: &FaultRelay) -> usize {
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(GET.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    assert!(
        stream.read_to_end(&mut bytes).is_err(),
        "a reset, not a proper end"
    );
    bytes.len()
}

#[test]
fn open_connections_feel_a_change() {
    let server = Process::server("one", &[]);
    let relay = FaultRelay::start(server.address).unwrap();
    for fault in [RelayFault::Reset, RelayFault::Refuse] {
        relay.set(RelayFault::None).unwrap();
        let mut stream = TcpStream::connect(relay.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut bytes = [0; 1];
        stream.read_exact(&mut bytes).unwrap();
        let mut bytes = [0; 4096];
        relay.set(fault).unwrap();
        eventually("the reset arrives", || {
            stream
                .read(&mut bytes)
                .is_err_and(|e| e.kind() == ErrorKind::ConnectionReset)
        });
    }
}
