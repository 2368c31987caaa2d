//! The client against servers that send fixed bytes, valid and invalid.

use std::pin::Pin;
use std::task::{Context, Poll};

use evenkeel_core::Outcome;
use rustix::io::Errno;
use tokio::io::ReadBuf;
use tokio::net::{TcpListener, UnixListener};

use super::*;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

const DEADLINES: ClientDeadlines = ClientDeadlines {
    connect: LONG,
    write: LONG,
    head: LONG,
    body: LONG,
};

const GET: ClientRequest<'_> = ClientRequest {
    target: "/health?x=1",
    host: "shop.example",
    fields: &[("User-Agent", "test"), ("Accept", "*/*")],
    body: None,
};

/// The behaviour of a server after it has sent its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    StayOpen,
}

/// Answers one request with these bytes; what was asked. Waits for the client to close.
async fn serve<S: AsyncRead + tokio::io::AsyncWrite + Unpin>(
    mut stream: S,
    answer: Vec<u8>,
    then: Then,
) -> String {
    let mut asked = Vec::new();
    while !asked.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        stream.read_buf(&mut asked).await.unwrap();
    }
    // The client may refuse it before all of it is written.
    stream.write_all(&answer).await.ok();
    if then == Then::Close {
        stream.shutdown().await.ok();
    }
    stream.read_to_end(&mut asked).await.ok();
    String::from_utf8(asked).unwrap()
}

/// Status and body of an exchange with a server that answers like this.
async fn exchange(
    request: ClientRequest<'_>,
    answer: &[u8],
    then: Then,
    deadlines: ClientDeadlines,
) -> (Result<(u16, Vec<u8>), ClientError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().into();
    let answer = answer.to_vec();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, answer, then).await
    });
    let result = async {
        let response = send_request(&endpoint, &request, deadlines, Clock::start()).await?;
        Ok((response.status(), response.read_body(100).await?))
    };
    let result = result.await;
    (result, server.await.unwrap())
}

async fn failure(answer: &[u8], then: Then, deadlines: ClientDeadlines) -> ClientError {
    exchange(GET, answer, then, deadlines).await.0.unwrap_err()
}

#[tokio::test]
async fn a_request_is_written_with_its_parts() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (result, asked) = exchange(GET, answer, Then::StayOpen, DEADLINES).await;
    assert_eq!(result.unwrap(), (200, b"ok".to_vec()));
    let expected = "GET /health?x=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\nAccept: */*\r\n\
                    Connection: close\r\n\r\n";
    assert_eq!(asked, expected);
    let post = ClientRequest {
        body: Some(b"slow 10"),
        fields: &[],
        ..GET
    };
    let (result, asked) = exchange(post, answer, Then::StayOpen, DEADLINES).await;
    assert_eq!(result.unwrap().0, 200);
    assert!(
        asked.ends_with("\r\nContent-Length: 7\r\nConnection: close\r\n\r\nslow 10"),
        "{asked}"
    );
}

#[tokio::test]
async fn the_end_of_a_body_is_found_in_each_way() {
    for (answer, then, status, body) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", Then::StayOpen, 204, ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            Then::StayOpen,
            200,
            "abc",
        ),
        (
            "HTTP/1.1 500 No\r\n\r\nuntil close",
            Then::Close,
            500,
            "until close",
        ),
        // Deviations that the proxy repairs: a folded line, the same length twice.
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            Then::StayOpen,
            200,
            "ok",
        ),
        // Interim responses are not the response, whether it comes with them or later.
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Then::StayOpen,
            200,
            "ok",
        ),
    ] {
        let (result, _) = exchange(GET, answer.as_bytes(), then, DEADLINES).await;
        let result = result.unwrap_or_else(|error| panic!("{answer:?}: {error}"));
        assert_eq!(result, (status, body.as_bytes().to_vec()), "{answer:?}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_a_rule_is_refused_in_its_step() {
    let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(17);
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(101));
    let head = "HTTP/1.1 200 OK\r\n";
    let (in_head, in_body) = (ClientStep::Head, ClientStep::Body);
    let (bad, cut) = (Outcome::BadResponse, Outcome::Truncated);
    let reset = Outcome::Reset { sent: true };
    for (answer, step, outcome) in [
        ("SSH-2.0-OpenSSH\r\n".to_owned(), in_head, bad),
        ("hello\r\n\r\n".to_owned(), in_head, bad),
        (String::new(), in_head, reset),
        ("HTTP/1.1 204 No".to_owned(), in_head, reset),
        (many, in_head, bad),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
            in_head,
            bad,
        ),
        (large, in_head, bad),
        (
            format!("{head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            in_head,
            bad,
        ),
        (
            format!("{head}Content-Length: 10\r\n\r\nshort"),
            in_body,
            cut,
        ),
        (
            format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
            in_body,
            cut,
        ),
        (
            format!("{head}Transfer-Encoding: chunked\r\n\r\nx\r\n"),
            in_body,
            bad,
        ),
        (format!("{head}Content-Length: 2\r\n\r\nokay"), in_body, bad),
        (long, in_body, bad),
    ] {
        let error = failure(answer.as_bytes(), Then::Close, DEADLINES).await;
        assert_eq!(error.step, step, "{answer:.60}: {error}");
        assert_eq!(error.outcome(), outcome, "{answer:.60}: {error}");
    }
}

#[tokio::test]
async fn each_step_ends_at_its_deadline() {
    let late = ClientDeadlines {
        head: SHORT,
        ..DEADLINES
    };
    let error = failure(b"HTTP/1.1 200", Then::StayOpen, late).await;
    assert_eq!(error.outcome(), Outcome::AttemptTimeout);
    assert_eq!(error.to_string(), "no response: timed out after 100ms");
    let late = ClientDeadlines {
        body: SHORT,
        ..DEADLINES
    };
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no";
    let error = failure(begun, Then::StayOpen, late).await;
    assert_eq!(
        error.to_string(),
        "no whole response body: timed out after 100ms"
    );
    // A server that does not read: its socket buffers fill up.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().into();
    let body = vec![b'x'; 64 * 1024 * 1024];
    let request = ClientRequest {
        body: Some(&body),
        ..GET
    };
    let late = ClientDeadlines {
        write: SHORT,
        ..DEADLINES
    };
    let error = send_request(&endpoint, &request, late, Clock::start()).await;
    let error = error.unwrap_err();
    assert_eq!(error.step, ClientStep::Write, "{error}");
    assert_eq!(error.outcome(), Outcome::AttemptTimeout);
}

#[tokio::test]
async fn an_invalid_request_is_not_sent_and_is_no_servers_fault() {
    let nowhere: Endpoint = Endpoint::Tcp(([127, 0, 0, 1], 1).into());
    let field: &[(&'static str, &str)] = &[("X", "a\r\nY: b")];
    for request in [
        ClientRequest { target: "", ..GET },
        ClientRequest {
            target: "api",
            ..GET
        },
        ClientRequest {
            target: "/a b",
            ..GET
        },
        ClientRequest {
            target: "/a\r\nX: y",
            ..GET
        },
        ClientRequest {
            host: "a\nb",
            ..GET
        },
        ClientRequest {
            fields: field,
            ..GET
        },
    ] {
        let error = send_request(&nowhere, &request, DEADLINES, Clock::start()).await;
        let error = error.unwrap_err();
        assert_eq!(error.step, ClientStep::Encode, "{request:?}");
        assert_eq!(error.outcome(), Outcome::LocalError);
    }
    let error = send_request(&nowhere, &GET, DEADLINES, Clock::start()).await;
    let error = error.unwrap_err();
    assert_eq!(error.step, ClientStep::Connect);
    assert_eq!(error.outcome(), Outcome::ConnectRefused);
}

#[tokio::test]
async fn a_unix_domain_socket_is_as_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
        serve(stream, answer, Then::StayOpen).await
    });
    let response = send_request(
        &Endpoint::Unix(path.as_path().into()),
        &GET,
        DEADLINES,
        Clock::start(),
    )
    .await;
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.read_body(2).await.unwrap(), b"ok");
    server.await.unwrap();
}

/// A connection whose reads end with this.
#[derive(Debug)]
struct Scripted(Result<&'static [u8], Errno>);

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Ok(bytes) => into.put_slice(std::mem::take(bytes)),
            Err(errno) => return Poll::Ready(Err((*errno).into())),
        }
        Poll::Ready(Ok(()))
    }
}

/// Shortages of evenkeel itself blame nobody, at any step; the server's own failures are blamed on it, as with
/// requests.
#[tokio::test]
async fn a_failure_is_judged_like_that_of_an_attempt() {
    let reset = Outcome::Reset { sent: true };
    for (read, outcome) in [
        (Ok(&b"HTTP/1.1 2"[..]), reset),
        (Err(Errno::CONNRESET), reset),
        (Err(Errno::NOMEM), Outcome::LocalError),
    ] {
        let failure = read_head(&mut Scripted(read)).await.unwrap_err();
        let step = ClientStep::Head;
        let error = ClientError { step, failure };
        assert_eq!(error.outcome(), outcome, "{read:?}");
    }
    for (step, errno, outcome) in [
        (ClientStep::Connect, Errno::MFILE, Outcome::LocalError),
        (
            ClientStep::Connect,
            Errno::ADDRNOTAVAIL,
            Outcome::LocalError,
        ),
        (
            ClientStep::Connect,
            Errno::CONNREFUSED,
            Outcome::ConnectRefused,
        ),
        (
            ClientStep::Connect,
            Errno::HOSTUNREACH,
            Outcome::Unreachable,
        ),
        (
            ClientStep::Connect,
            Errno::CONNRESET,
            Outcome::Reset { sent: false },
        ),
        (ClientStep::Write, Errno::PIPE, reset),
        (ClientStep::Write, Errno::NOBUFS, Outcome::LocalError),
    ] {
        let failure = ClientFailure::Io(errno.into());
        let error = ClientError { step, failure };
        assert_eq!(error.outcome(), outcome, "{errno}");
    }
}
