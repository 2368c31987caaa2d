//! One probe: a connection, and for HTTP a request, within one timeout.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_connect::connect;
use evenkeel_core::{Outcome, ProbeOutcome};
use evenkeel_fault::policy::ProbeKind;
use evenkeel_http1::{Body, Limits, Method, Parsed, ResponseHead};
use evenkeel_runtime::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The `Host` header if nothing says which: what applications that check it accept.
const HOST: &str = "localhost";
/// Most bytes of an answer's body that are read, and how long that may take, before the connection is closed.
const BODY_BYTES: usize = 4 * 1024 * 1024;
const BODY_TIME: Duration = Duration::from_secs(2);
/// Most bytes of an answer's head.
const HEAD_BYTES: usize = 16 * 1024;

/// Sends one probe; how it ended and how long it took.
pub(crate) async fn send(
    address: SocketAddr,
    kind: &ProbeKind,
    timeout: Duration,
    clock: Clock,
) -> (ProbeOutcome, Duration) {
    let started = clock.now();
    let outcome = match connect(address, timeout).await {
        Err(outcome) => of_connect(outcome),
        Ok(stream) => match kind {
            ProbeKind::Tcp => ProbeOutcome::Passed,
            ProbeKind::Http { path, host, expect } => {
                let rest = timeout.saturating_sub(clock.now().since(started));
                let host = host.as_deref().unwrap_or(HOST);
                let asked = ask(stream, path, host, *expect);
                tokio::time::timeout(rest, asked)
                    .await
                    .unwrap_or(ProbeOutcome::NoAnswer)
            }
        },
    };
    (outcome, clock.now().since(started))
}

const fn of_connect(outcome: Outcome) -> ProbeOutcome {
    match outcome {
        Outcome::ConnectRefused => ProbeOutcome::Refused,
        Outcome::ConnectTimeout => ProbeOutcome::ConnectTimeout,
        Outcome::Reset { .. } => ProbeOutcome::Reset,
        Outcome::LocalError => ProbeOutcome::LocalError,
        _ => ProbeOutcome::Unreachable,
    }
}

async fn ask(mut stream: TcpStream, path: &str, host: &str, expect: (u16, u16)) -> ProbeOutcome {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: evenkeel-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    if stream.write_all(request.as_bytes()).await.is_err() {
        return ProbeOutcome::Reset;
    }
    let mut bytes = Vec::with_capacity(1024);
    let mut head = ResponseHead::default();
    let limits = Limits {
        head_bytes: HEAD_BYTES,
        ..Limits::default()
    };
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(n) if n > 0 => {}
            _ => return ProbeOutcome::Reset,
        }
        match head.parse_tidied(&mut bytes, Method::Get, &limits) {
            Err(_) => return ProbeOutcome::Invalid,
            Ok(Parsed::Partial) => {}
            // An interim answer is not the answer: wait for what comes after it.
            Ok(Parsed::Complete) if head.status < 200 => drop(bytes.drain(..head.length)),
            Ok(Parsed::Complete) => {
                let rest = bytes.split_off(head.length);
                tokio::spawn(close(stream, Body::new(head.framing), rest));
                return if (expect.0..=expect.1).contains(&head.status) {
                    ProbeOutcome::Passed
                } else {
                    ProbeOutcome::WrongStatus(head.status)
                };
            }
        }
    }
}

/// Reads the body and closes then: with unread bytes the kernel would reset the connection, and the server would log an
/// error of its client. Beside the probe, which has its answer. A body beyond the bounds is cut off.
async fn close(mut stream: TcpStream, mut body: Body, rest: Vec<u8>) {
    let read = async {
        let mut chunk = rest;
        let mut left = BODY_BYTES;
        while let Ok(progress) = body.advance(&chunk)
            && !progress.done
            && left > 0
        {
            chunk.clear();
            match stream.read_buf(&mut chunk).await {
                Ok(n) if n > 0 => left = left.saturating_sub(n),
                _ => return,
            }
        }
    };
    // What is not read in this time comes too slowly to be waited for.
    tokio::time::timeout(BODY_TIME, read).await.ok();
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one probe with a body of so many bytes; what was asked, and how the connection ended.
    async fn serve(
        listener: TcpListener,
        head: String,
        body: usize,
    ) -> (String, std::io::Result<usize>) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut asked).await.unwrap();
        }
        stream.write_all(head.as_bytes()).await.unwrap();
        let sent = stream.write_all(&vec![b'x'; body]).await;
        let ended = match sent {
            Ok(()) => stream.read(&mut [0; 16]).await,
            Err(error) => Err(error),
        };
        (String::from_utf8(asked).unwrap(), ended)
    }

    async fn probe(
        head: &str,
        body: usize,
        host: Option<&str>,
    ) -> (ProbeOutcome, String, std::io::Result<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, head.to_owned(), body));
        let kind = ProbeKind::Http {
            path: "/health".to_owned(),
            host: host.map(str::to_owned),
            expect: (200, 399),
        };
        let (outcome, _) = send(address, &kind, Duration::from_secs(60), Clock::start()).await;
        let (asked, ended) = server.await.unwrap();
        (outcome, asked, ended)
    }

    /// It closed with the body unread, which resets the connection.
    #[tokio::test]
    async fn a_large_page_is_read_and_the_connection_closed_without_a_reset() {
        for (head, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", 300_000),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n",
                3_000_000,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
                0,
            ),
        ] {
            let (outcome, _, ended) = probe(head, body, None).await;
            assert_eq!(outcome, ProbeOutcome::Passed);
            assert!(matches!(ended, Ok(0)), "{head:?} {ended:?}");
        }
    }

    #[tokio::test]
    async fn the_host_is_a_name_that_applications_accept_and_not_the_address() {
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        let (outcome, asked, _) = probe(head, 0, None).await;
        assert_eq!(outcome, ProbeOutcome::WrongStatus(400));
        assert!(asked.contains("\r\nHost: localhost\r\n"), "{asked}");
        let (_, asked, _) = probe(head, 0, Some("shop.example")).await;
        assert!(asked.contains("\r\nHost: shop.example\r\n"), "{asked}");
    }
}
