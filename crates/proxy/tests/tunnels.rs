//! How tunnels end: by both sides, by a reset of one, while the other side reads or not.

mod common;

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{Client, Rig, counter, read_some, server};

const LONG: Duration = Duration::from_secs(30);

/// A tunnel through a proxy, both ends of it in the hands of the test. An idle timeout ends none of them.
struct Tunnel {
    rig: Rig,
    client: Client,
    server: TcpStream,
}

fn tunnel() -> Tunnel {
    let (sender, servers) = channel();
    let (address, _) = server(move |connection| {
        if connection.head().is_some() {
            connection.answer(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n",
            );
            let stream = connection.stream.try_clone().expect("a descriptor");
            sender.send(stream).expect("the test waits");
        }
    });
    let rig = Rig::new(&[address], "timeout = { idle = \"1h\" }\n");
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n");
    assert_eq!(client.response().status, 101);
    let server = servers.recv_timeout(LONG).expect("a tunnel");
    for stream in [&client.stream, &server] {
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
    }
    Tunnel {
        rig,
        client,
        server,
    }
}

/// Writes until nothing more is taken: everything on the way is full.
fn fill(stream: &TcpStream) {
    let mut writer = stream;
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    while writer.write(&[0; 65_536]).is_ok() {}
}

/// Closes with a reset. The kernel does it when the last descriptor is closed.
fn reset(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
}

/// Reads to the end; whether that was a reset.
fn ends_by_reset(stream: &TcpStream) -> bool {
    let mut bytes = vec![0; 65_536];
    loop {
        match read_some(stream, &mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => {
                let kind = error.kind();
                assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "it must end");
                return true;
            }
        }
    }
}

fn requests(rig: &Rig, name: &str) -> u64 {
    counter(rig, name, &["shop"])
}

#[test]
fn a_reset_of_the_client_ends_the_servers_side_at_once() {
    for full in [false, true] {
        let tunnel = tunnel();
        if full {
            // The server does not read, so that nothing of the client is read either.
            fill(&tunnel.client.stream);
        }
        reset(&tunnel.client.stream);
        drop(tunnel.client);
        let aborted = |rig: &Rig| requests(rig, "evenkeel_requests_aborted_total") == 1;
        tunnel.rig.wait_for(aborted);
        // Only now: reading would let the tunnel go on, and find the reset by that.
        assert!(ends_by_reset(&tunnel.server), "full: {full}");
        let cancelled = counter(&tunnel.rig, "evenkeel_attempts_total", &["cancelled"]);
        assert_eq!(cancelled, 1, "full: {full}");
    }
}

#[test]
fn a_reset_of_the_client_is_noticed_after_its_half_close() {
    let tunnel = tunnel();
    let client = &tunnel.client.stream;
    client.shutdown(Shutdown::Write).expect("it is open");
    let mut byte = [0];
    let read = read_some(&tunnel.server, &mut byte).expect("an end");
    assert_eq!(read, 0, "a half-close is passed on");
    reset(client);
    drop(tunnel.client);
    // The server has read an end already, and reads no other.
    let aborted = |rig: &Rig| requests(rig, "evenkeel_requests_aborted_total") == 1;
    tunnel.rig.wait_for(aborted);
}

#[test]
fn a_reset_of_the_server_ends_the_clients_side_at_once_and_is_not_held_against_it() {
    for full in [false, true] {
        let mut tunnel = tunnel();
        let mut signals = tunnel.rig.take_signals();
        if full {
            fill(&tunnel.server);
        }
        reset(&tunnel.server);
        drop(tunnel.server);
        let failed = |rig: &Rig| requests(rig, "evenkeel_requests_failed_total") == 1;
        tunnel.rig.wait_for(failed);
        assert!(ends_by_reset(&tunnel.client.stream), "full: {full}");
        let mut seen = Vec::new();
        signals.drain(&mut seen);
        let seen = format!("{seen:?}");
        assert!(
            !seen.contains("Reset") && !seen.contains("Truncated"),
            "{seen}"
        );
    }
}

/// When both sides have closed, the kernel reports a hang-up of the client. What is still on its way to the server arrives.
#[test]
fn a_hang_up_after_both_sides_have_closed_is_no_reset() {
    const BYTES: usize = 64 * 1024 * 1024;
    let tunnel = tunnel();
    let mut client = tunnel.client.stream;
    let server = tunnel.server;
    // The server's end first: it is through to the client before the client sends what the server does not read yet.
    server.shutdown(Shutdown::Write).expect("it is open");
    let mut byte = [0];
    assert_eq!(read_some(&client, &mut byte).expect("an end"), 0);
    client.set_write_timeout(None).expect("no timeout");
    let sender = std::thread::spawn(move || {
        let sent = (0..BYTES / 65_536).try_for_each(|_| client.write_all(&[7; 65_536]));
        sent.expect("the server reads in the end");
        // The last part of it lies in the proxy's and the kernel's buffers now.
        drop(client);
    });
    let (mut read, mut bytes) = (0, vec![0; 65_536]);
    loop {
        match read_some(&server, &mut bytes).expect("no reset") {
            0 => break,
            n => read += n,
        }
    }
    assert_eq!(read, BYTES);
    sender.join().expect("it has sent all");
    drop(server);
    let done = |rig: &Rig| rig.totals().requests == 1;
    tunnel.rig.wait_for(done);
    assert_eq!(requests(&tunnel.rig, "evenkeel_requests_aborted_total"), 0);
    assert_eq!(requests(&tunnel.rig, "evenkeel_requests_failed_total"), 0);
}
