//! One probe: a connection, and for HTTP a request, within one timeout.

use std::time::Duration;

use evenkeel_connect::{
    ClientDeadlines, ClientError, ClientRequest, ClientResponse, Stream, outcome_of, send_request,
};
use evenkeel_core::{Endpoint, Outcome, ProbeOutcome};
use evenkeel_fault::policy::ProbeKind;
use evenkeel_runtime::Clock;

/// Most bytes of an answer's body that are read, and how long that may take, before the connection is closed.
const BODY_BYTES: usize = 4 * 1024 * 1024;
const BODY_TIME: Duration = Duration::from_secs(2);

/// Sends one probe; how it ended and how long it took.
pub(crate) async fn send(
    address: &Endpoint,
    kind: &ProbeKind,
    timeout: Duration,
    clock: Clock,
) -> (ProbeOutcome, Duration) {
    let started = clock.now();
    let outcome = match kind {
        ProbeKind::Tcp => match Stream::connect(address, timeout).await {
            Ok(_) => ProbeOutcome::Passed,
            Err(error) => probe_outcome(outcome_of(&error), ANY),
        },
        ProbeKind::Http { path, host, expect } => {
            let host = host.as_deref().unwrap_or(ProbeKind::DEFAULT_HOST);
            let outcome = match get(address, (path, host), timeout, clock).await {
                Ok(response) => {
                    let status = response.status();
                    // Beside the probe, which has its answer.
                    tokio::spawn(response.discard(BODY_BYTES));
                    Outcome::Answered(status)
                }
                Err(error) => error.outcome(),
            };
            probe_outcome(outcome, *expect)
        }
    };
    (outcome, clock.now().since(started))
}

/// Any status.
const ANY: (u16, u16) = (100, 599);

/// Asks, and reads the head of the answer, all within `timeout`.
async fn get(
    address: &Endpoint,
    (path, host): (&str, &str),
    timeout: Duration,
    clock: Clock,
) -> Result<ClientResponse, ClientError> {
    let request = ClientRequest {
        target: path,
        host,
        fields: &[("User-Agent", "evenkeel-probe"), ("Accept", "*/*")],
        body: None,
    };
    let deadlines = ClientDeadlines {
        connect: timeout,
        write: timeout,
        head: timeout,
        body: timeout + BODY_TIME,
    };
    send_request(address, &request, deadlines, clock).await
}

/// What a probe says about the server: blame was decided as for requests, and a failure that is not the server's says
/// nothing.
const fn probe_outcome(outcome: Outcome, expect: (u16, u16)) -> ProbeOutcome {
    match outcome {
        Outcome::Answered(status) if expect.0 <= status && status <= expect.1 => {
            ProbeOutcome::Passed
        }
        Outcome::Answered(status) => ProbeOutcome::WrongStatus(status),
        Outcome::ConnectRefused => ProbeOutcome::Refused,
        Outcome::ConnectTimeout => ProbeOutcome::ConnectTimeout,
        Outcome::Unreachable => ProbeOutcome::Unreachable,
        Outcome::Reset { .. } | Outcome::Truncated => ProbeOutcome::Reset,
        Outcome::AttemptTimeout => ProbeOutcome::NoAnswer,
        Outcome::BadResponse => ProbeOutcome::Invalid,
        Outcome::LocalError
        | Outcome::Stale
        | Outcome::StreamRefused
        | Outcome::IdleTimeout
        | Outcome::Cancelled
        | Outcome::Superseded
        | Outcome::Rescued => ProbeOutcome::LocalError,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one probe with a body of this many bytes; returns the request, and how the connection ended.
    async fn serve(
        listener: TcpListener,
        head: String,
        body: usize,
    ) -> (String, io::Result<usize>) {
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
    ) -> (ProbeOutcome, String, io::Result<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, head.to_owned(), body));
        let kind = ProbeKind::Http {
            path: "/health".to_owned(),
            host: host.map(str::to_owned),
            expect: (200, 399),
        };
        let (outcome, _) = send(
            &address.into(),
            &kind,
            Duration::from_secs(60),
            Clock::start(),
        )
        .await;
        let (asked, ended) = server.await.unwrap();
        (outcome, asked, ended)
    }

    /// A probe has no words for what only requests can end with.
    #[test]
    fn an_outcome_becomes_the_probes_own() {
        for (outcome, expected) in [
            (Outcome::Answered(200), ProbeOutcome::Passed),
            (Outcome::Answered(204), ProbeOutcome::WrongStatus(204)),
            (Outcome::ConnectRefused, ProbeOutcome::Refused),
            (Outcome::ConnectTimeout, ProbeOutcome::ConnectTimeout),
            (Outcome::Unreachable, ProbeOutcome::Unreachable),
            (Outcome::Reset { sent: false }, ProbeOutcome::Reset),
            (Outcome::Reset { sent: true }, ProbeOutcome::Reset),
            (Outcome::AttemptTimeout, ProbeOutcome::NoAnswer),
            (Outcome::BadResponse, ProbeOutcome::Invalid),
            (Outcome::LocalError, ProbeOutcome::LocalError),
        ] {
            let seen = probe_outcome(outcome, (200, 200));
            assert_eq!(seen, expected, "{outcome:?}");
            let is_said = !matches!(
                seen,
                ProbeOutcome::LocalError | ProbeOutcome::WrongStatus(_) | ProbeOutcome::Passed
            );
            assert_eq!(outcome.is_failure(), is_said, "{outcome:?}");
        }
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
