//! One probe: a connection, and for HTTP a request, within one timeout.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_connect::connect;
use evenkeel_core::{Outcome, ProbeOutcome};
use evenkeel_fault::policy::ProbeKind;
use evenkeel_http1::{Limits, Method, Parsed, ResponseHead};
use evenkeel_runtime::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
                let asked = ask(stream, path, host.as_deref(), address, *expect);
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

async fn ask(
    mut stream: TcpStream,
    path: &str,
    host: Option<&str>,
    address: SocketAddr,
    expect: (u16, u16),
) -> ProbeOutcome {
    let host = host.map_or_else(|| address.to_string(), str::to_owned);
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
        match head.parse(&bytes, Method::Get, &limits) {
            Err(_) => return ProbeOutcome::Invalid,
            Ok(Parsed::Partial) => {}
            // An interim answer is not the answer: wait for what comes after it.
            Ok(Parsed::Complete) if head.status < 200 => drop(bytes.drain(..head.length)),
            Ok(Parsed::Complete) if (expect.0..=expect.1).contains(&head.status) => {
                return ProbeOutcome::Passed;
            }
            Ok(Parsed::Complete) => return ProbeOutcome::WrongStatus(head.status),
        }
    }
}
