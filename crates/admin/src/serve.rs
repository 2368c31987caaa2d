//! A small HTTP/1.1 server, one request per connection.
//!
//! Separate from the proxy's listeners, so that the status stays visible while traffic is in trouble. Resources are
//! bounded: connections, bytes, time. When the connection limit is reached, the connection that has been waited for the
//! longest is closed (see `connections`). Answers are computed on blocking threads, so that a slow disk does not delay
//! other connections.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use evenkeel_core::WallTime;
use evenkeel_http1::{Framing, Limits, Parsed, RequestHead, write};
use evenkeel_runtime::Clock;
use httpdate::HttpDate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::access::AccessPolicy;
use crate::answer::answer;
use crate::backend::AdminBackend;
use crate::connections::{AdminCounters, ConnectionPhase, ConnectionProgress, Connections};
use crate::exchange::{AdminRequest, AdminResponse};
use crate::listener::{AdminListener, AdminStream};

/// For the request to come as a whole, and for the response to go.
const TIME: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));
/// How much a client may still send after its response, and for how long, so that closing does not destroy the
/// response.
const AFTERWARDS: (usize, Duration) = (64 * 1024, Duration::from_secs(1));
/// The longest body of a request. Most have none, or none that is of use.
const BODY: u64 = 16 * 1024;
const LIMITS: Limits = Limits {
    head_bytes: 16 * 1024,
    headers: 64,
    target_bytes: 8 * 1024,
};
/// After accepting failed (no descriptors left), before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` ends; connections that are open then are cut. Needs a tokio runtime with sockets and time.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(
    listener: impl Into<AdminListener>,
    live: Arc<dyn AdminBackend>,
    guard: AccessPolicy,
    counters: Arc<AdminCounters>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = listener.into().acceptor()?;
    let guard = Arc::new(guard);
    let clock = Clock::start();
    let mut connections = Connections::new(counters);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = connections.one_ended(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.has_room() => match accepted {
                Ok((stream, peer)) => {
                    let (live, guard) = (Arc::clone(&live), Arc::clone(&guard));
                    connections.take(peer, |progress| connection(stream, live, guard, (progress, clock)));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
}

/// One connection: a request, an answer, the end. A client that disconnects is not an error.
async fn connection(
    mut stream: Box<dyn AdminStream>,
    live: Arc<dyn AdminBackend>,
    guard: Arc<AccessPolicy>,
    (progress, clock): (Arc<ConnectionProgress>, Clock),
) {
    let (response, head_only) = match timeout(TIME.0, request(&mut *stream)).await {
        Ok(Ok(Some(request))) => {
            let head_only = request.method == "HEAD";
            progress.set(ConnectionPhase::Answering);
            let answered = spawn_blocking(move || answer(&*live, &request, &guard)).await;
            (
                answered
                    .unwrap_or_else(|_| AdminResponse::error(500, "the answer could not be made")),
                head_only,
            )
        }
        Ok(Ok(None) | Err(ReadError::Connection)) => return,
        Ok(Err(ReadError::Request {
            status,
            why,
            head_only,
        })) => (AdminResponse::error(status, why), head_only),
        Err(_) => (
            AdminResponse::error(408, "the request did not arrive in time"),
            false,
        ),
    };
    progress.set(ConnectionPhase::Sending);
    let bytes = rendered(&response, head_only, clock.wall());
    if let Ok(Ok(())) = timeout(TIME.1, stream.write_all(&bytes)).await {
        timeout(AFTERWARDS.1, part(&mut *stream)).await.ok();
    }
}

/// Why there is no request.
enum ReadError {
    /// The client is gone.
    Connection,
    /// It is not one, or not one to be answered otherwise.
    Request {
        status: u16,
        why: &'static str,
        /// Whether it was a HEAD request: no response to one has content (RFC 9110, section 9.3.2).
        head_only: bool,
    },
}

impl ReadError {
    /// For a request that began with these bytes.
    fn request(status: u16, why: &'static str, bytes: &[u8]) -> Self {
        Self::Request {
            status,
            why,
            head_only: bytes.starts_with(b"HEAD "),
        }
    }
}

/// Reads the request and its body. `None` if the client only came and went.
async fn request(stream: &mut dyn AdminStream) -> Result<Option<AdminRequest>, ReadError> {
    let mut bytes = Vec::with_capacity(1024);
    let mut head = RequestHead::default();
    loop {
        let space = LIMITS.head_bytes + 1 - bytes.len();
        let read = (&mut *stream).take(space as u64).read_buf(&mut bytes).await;
        if read.map_err(|_| ReadError::Connection)? == 0 {
            return if bytes.is_empty() {
                Ok(None)
            } else {
                Err(ReadError::Connection)
            };
        }
        match head.parse(&bytes, &LIMITS) {
            Ok(Parsed::Complete) => break,
            Ok(Parsed::Partial) if bytes.len() <= LIMITS.head_bytes => {}
            Ok(Parsed::Partial) => return Err(ReadError::request(431, "head-too-large", &bytes)),
            Err(error) => return Err(ReadError::request(error.status(), error.word(), &bytes)),
        }
    }
    let refused = |status, why| ReadError::request(status, why, &bytes);
    let body = match head.framing {
        Framing::None => 0,
        Framing::Length(length) if length <= BODY => length,
        Framing::Length(_) => return Err(refused(413, "the body is too long")),
        Framing::Chunked | Framing::UntilClose => {
            return Err(refused(411, "a body needs its Content-Length"));
        }
    };
    if head.expect_continue && body > 0 {
        let go_on = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        go_on.map_err(|_| ReadError::Connection)?;
    }
    let length = usize::try_from(body).unwrap_or(usize::MAX);
    let come = bytes.len().min(head.length.saturating_add(length));
    let mut content = bytes.get(head.length..come).unwrap_or_default().to_vec();
    let missing = (length - content.len()) as u64;
    let mut rest = (&mut *stream).take(missing);
    let read = rest.read_to_end(&mut content).await;
    read.map_err(|_| ReadError::Connection)?;
    if content.len() < length {
        return Err(ReadError::Connection);
    }
    Ok(Some(understood(&head, &bytes, content)))
}

fn understood(head: &RequestHead, bytes: &[u8], body: Vec<u8>) -> AdminRequest {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let target = text(head.target.of(bytes));
    // http://host/path is the same as /path here.
    let rest = if target.starts_with('/') {
        None
    } else {
        target.split_once("://")
    };
    let absolute = rest.map(|(_, rest)| {
        rest.find(['/', '?'])
            .map_or("/", |start| rest.split_at(start).1)
    });
    let target = absolute.unwrap_or(&target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    AdminRequest {
        method: text(head.method_text.of(bytes)),
        path: path.to_owned(),
        query: query.to_owned(),
        host: head.host.map(|host| text(host.of(bytes))),
        origin: head.header(bytes, "origin").map(text),
        authorization: head.header(bytes, "authorization").map(text),
        body,
    }
}

fn rendered(response: &AdminResponse, head_only: bool, WallTime(millis): WallTime) -> Vec<u8> {
    let mut out = Vec::with_capacity(response.body.len() + 256);
    write::status_line(&mut out, response.status);
    // RFC 9110, section 6.6.1.
    let date = HttpDate::from(UNIX_EPOCH + Duration::from_millis(millis));
    write::header_line(&mut out, "Date", date.to_string().as_bytes());
    write::header_line(&mut out, "Content-Type", response.content_type.as_bytes());
    write::number_line(&mut out, "Content-Length", response.body.len() as u64);
    if let Some(allow) = response.allow {
        write::header_line(&mut out, "Allow", allow.as_bytes());
    }
    if response.status == 401 {
        write::header_line(&mut out, "WWW-Authenticate", b"Bearer");
    }
    write::header_line(&mut out, "Cache-Control", b"no-store");
    write::header_line(&mut out, "X-Content-Type-Options", b"nosniff");
    write::header_line(&mut out, "Connection", b"close");
    write::end_line(&mut out);
    if !head_only {
        out.extend_from_slice(response.body.as_bytes());
    }
    out
}

/// Shuts down the write side, and reads what the client still sends: closing a connection with unread bytes resets it,
/// and the response may be lost.
async fn part(stream: &mut dyn AdminStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(AFTERWARDS.0 as u64);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}
