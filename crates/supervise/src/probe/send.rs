//! One probe: a connection, and for HTTP a request, within one timeout.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_connect::{event_of, open, stream_event};
use evenkeel_core::blame::{Event, Facts, Limit, Peer, Phase, Sent, judge};
use evenkeel_core::{Outcome, ProbeOutcome};
use evenkeel_fault::policy::ProbeKind;
use evenkeel_http1::{Body, Limits, Method, Parsed, ResponseHead};
use evenkeel_runtime::Clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

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
    let outcome = match open(address, timeout).await {
        Err(error) => outcome(event_of(&error), Facts::CONNECTING, ANY),
        Ok(mut stream) => match kind {
            ProbeKind::Tcp => ProbeOutcome::Passed,
            ProbeKind::Http { path, host, expect } => {
                let rest = timeout.saturating_sub(clock.now().since(started));
                let host = host.as_deref().unwrap_or(ProbeKind::DEFAULT_HOST);
                let request = request(path, host);
                let asked = tokio::time::timeout(rest, ask(&mut stream, request.as_bytes()));
                let (event, sent) = match asked.await {
                    Ok(Ok(answer)) => {
                        let status = answer.status;
                        tokio::spawn(close(stream, answer));
                        (Event::Answered(status), Sent::Whole)
                    }
                    Ok(Err(failed)) => failed,
                    Err(_) => (Event::Late(Limit::Attempt), Sent::Whole),
                };
                outcome(event, awaiting_head(sent), *expect)
            }
        },
    };
    (outcome, clock.now().since(started))
}

/// Any status.
const ANY: (u16, u16) = (100, 599);

/// What a probe says of the server: as with requests, whose fault it is is for [`judge`] to say, and what is nobody's on the
/// other side says nothing.
const fn outcome(event: Event, facts: Facts, expect: (u16, u16)) -> ProbeOutcome {
    match judge(event, facts).outcome {
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
        | Outcome::IdleTimeout
        | Outcome::Cancelled
        | Outcome::Rescued => ProbeOutcome::LocalError,
    }
}

const fn awaiting_head(sent: Sent) -> Facts {
    Facts {
        phase: Phase::AwaitingHead,
        sent,
        ..Facts::CONNECTING
    }
}

/// An answer to a probe, whose body is not read yet.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Body,
    /// What came behind the head.
    rest: Vec<u8>,
}

fn request(path: &str, host: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: evenkeel-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
}

/// Asks, and reads the head of the answer.
///
/// # Errors
/// What happened instead, and how much was sent until then.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
) -> Result<Answer, (Event, Sent)> {
    let failed = |error: &io::Error, sent| (stream_event(error), sent);
    stream
        .write_all(request)
        .await
        .map_err(|error| failed(&error, Sent::Part))?;
    let mut bytes = Vec::with_capacity(1024);
    let mut head = ResponseHead::default();
    let limits = Limits {
        head_bytes: HEAD_BYTES,
        ..Limits::default()
    };
    loop {
        let read = stream.read_buf(&mut bytes).await;
        if read.map_err(|error| failed(&error, Sent::Whole))? == 0 {
            return Err((Event::Closed(Peer::Server), Sent::Whole));
        }
        match head.parse_tidied(&mut bytes, Method::Get, &limits) {
            Err(_) => return Err((Event::Malformed(Peer::Server), Sent::Whole)),
            Ok(Parsed::Partial) => {}
            // An interim answer is not the answer: wait for what comes after it.
            Ok(Parsed::Complete) if head.status < 200 => drop(bytes.drain(..head.length)),
            Ok(Parsed::Complete) => {
                return Ok(Answer {
                    status: head.status,
                    rest: bytes.split_off(head.length),
                    body: Body::new(head.framing),
                });
            }
        }
    }
}

/// Reads the body and closes then: with unread bytes the kernel would reset the connection, and the server would log an
/// error of its client. Beside the probe, which has its answer. A body beyond the bounds is cut off.
async fn close(mut stream: TcpStream, answer: Answer) {
    let read = async {
        let (mut chunk, mut body) = (answer.rest, answer.body);
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
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use rustix::io::Errno;
    use tokio::io::ReadBuf;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one probe with a body of so many bytes; what was asked, and how the connection ended.
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
        let (outcome, _) = send(address, &kind, Duration::from_secs(60), Clock::start()).await;
        let (asked, ended) = server.await.unwrap();
        (outcome, asked, ended)
    }

    /// A connection whose writes and reads end with these.
    #[derive(Debug)]
    struct Scripted {
        write: Option<Errno>,
        read: Result<&'static [u8], Errno>,
    }

    impl AsyncWrite for Scripted {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(
                self.write
                    .map_or(Ok(bytes.len()), |errno| Err(errno.into())),
            )
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Scripted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match &mut self.read {
                Ok(bytes) => into.put_slice(std::mem::take(bytes)),
                Err(errno) => return Poll::Ready(Err((*errno).into())),
            }
            Poll::Ready(Ok(()))
        }
    }

    /// What evenkeel itself lacks blames nobody, whenever it is missed; what the server did is blamed on it, as with requests.
    #[tokio::test]
    async fn a_probe_is_judged_like_an_attempt() {
        for (errno, expected) in [
            (Errno::MFILE, ProbeOutcome::LocalError),
            (Errno::ADDRNOTAVAIL, ProbeOutcome::LocalError),
            (Errno::NOBUFS, ProbeOutcome::LocalError),
            (Errno::CONNREFUSED, ProbeOutcome::Refused),
            (Errno::HOSTUNREACH, ProbeOutcome::Unreachable),
            (Errno::TIMEDOUT, ProbeOutcome::ConnectTimeout),
            (Errno::CONNRESET, ProbeOutcome::Reset),
        ] {
            let event = event_of(&errno.into());
            assert_eq!(outcome(event, Facts::CONNECTING, ANY), expected, "{errno}");
        }
        let answer: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
        for (write, read, expected) in [
            (None, Ok(answer), ProbeOutcome::WrongStatus(204)),
            (None, Ok(&b"hello\r\n\r\n"[..]), ProbeOutcome::Invalid),
            (None, Ok(&answer[..10]), ProbeOutcome::Reset),
            (None, Err(Errno::CONNRESET), ProbeOutcome::Reset),
            (None, Err(Errno::NOMEM), ProbeOutcome::LocalError),
            (Some(Errno::PIPE), Ok(answer), ProbeOutcome::Reset),
            (Some(Errno::NOBUFS), Ok(answer), ProbeOutcome::LocalError),
        ] {
            let mut stream = Scripted { write, read };
            let asked = ask(&mut stream, b"GET / HTTP/1.1\r\n\r\n").await;
            let (event, sent) = match asked {
                Ok(answer) => (Event::Answered(answer.status), Sent::Whole),
                Err(failed) => failed,
            };
            let facts = awaiting_head(sent);
            let seen = outcome(event, facts, (200, 200));
            assert_eq!(seen, expected, "{write:?} {read:?}");
            let blamed = judge(event, facts).outcome.is_failure();
            let is_said = !matches!(
                seen,
                ProbeOutcome::LocalError | ProbeOutcome::WrongStatus(_)
            );
            assert_eq!(blamed, is_said, "{write:?} {read:?}");
        }
        let late = outcome(Event::Late(Limit::Attempt), awaiting_head(Sent::Whole), ANY);
        assert_eq!(late, ProbeOutcome::NoAnswer);
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
