//! The one small HTTP/1.1 client, for everything that is not a forwarded request: probes, the command line, the demo.
//!
//! One request per connection. Each step has a deadline counted from the start of the exchange, so that a slow step
//! leaves less time to the next. Head, interim responses and body are bounded. Responses are parsed as the proxy parses
//! them: the same deviations are repaired, and the same ones are rejected.

mod error;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::time::Duration;

use evenkeel_core::{Endpoint, Instant};
use evenkeel_http1::{Body, BodyProgress, Limits, Method, Parsed, ResponseHead, write};
use evenkeel_runtime::Clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

pub use error::{ClientError, ClientFailure, ClientStep};

use crate::stream::Stream;

/// Limits on a response's head, and on each interim one.
const LIMITS: Limits = Limits {
    head_bytes: 16 * 1024,
    headers: 100,
    target_bytes: 0,
};
/// Interim responses (1xx) before the final one.
const INTERIM_MAX: u32 = 16;
/// Bytes of a body that are read at a time.
const READ_BYTES: usize = 16 * 1024;

/// A request: `POST` with a body, `GET` without.
#[derive(Debug, Clone, Copy)]
pub struct ClientRequest<'a> {
    /// The request target: a path, and a query if there is one.
    pub target: &'a str,
    /// `Host`.
    pub host: &'a str,
    /// Further fields. Host, Connection and those of framing are not among them.
    pub fields: &'a [(&'static str, &'a str)],
    /// The body of a `POST`.
    pub body: Option<&'a [u8]>,
}

/// When each step must be over, counted from the beginning of the first.
#[derive(Debug, Clone, Copy)]
pub struct ClientDeadlines {
    /// The connection is established.
    pub connect: Duration,
    /// The request is written.
    pub write: Duration,
    /// The response's head has come.
    pub head: Duration,
    /// The response's body has come.
    pub body: Duration,
}

/// A response whose head has come. Dropping it closes the connection.
#[derive(Debug)]
pub struct ClientResponse {
    status: u16,
    stream: Stream,
    body: Body,
    /// The received part of the body.
    received: Vec<u8>,
    timer: StepTimer,
    deadline: Duration,
}

/// Sends `request` to `endpoint`, and reads the response up to its body. Needs a tokio runtime with sockets and time.
///
/// # Errors
/// The step that failed, and how.
pub async fn send_request(
    endpoint: &Endpoint,
    request: &ClientRequest<'_>,
    deadlines: ClientDeadlines,
    clock: Clock,
) -> Result<ClientResponse, ClientError> {
    let method = if request.body.is_some() {
        "POST"
    } else {
        "GET"
    };
    send_with_method(method, endpoint, request, deadlines, clock).await
}

/// As [`send_request`], with this method, whether there is a body or not.
///
/// # Errors
/// The step that failed, and how.
pub async fn send_with_method(
    method: &'static str,
    endpoint: &Endpoint,
    request: &ClientRequest<'_>,
    deadlines: ClientDeadlines,
    clock: Clock,
) -> Result<ClientResponse, ClientError> {
    let bytes = request.encode(method)?;
    let timer = StepTimer {
        clock,
        started: clock.now(),
    };
    let connected = Stream::connect(endpoint, deadlines.connect).await;
    let mut stream = connected.map_err(|error| ClientError {
        step: ClientStep::Connect,
        failure: match error.kind() {
            io::ErrorKind::TimedOut => ClientFailure::TimedOut(deadlines.connect),
            _ => ClientFailure::Io(error),
        },
    })?;
    let writing = async { Ok(stream.write_all(&bytes).await?) };
    timer
        .run(ClientStep::Write, deadlines.write, writing)
        .await?;
    let (head, received) = timer
        .run(ClientStep::Head, deadlines.head, read_head(&mut stream))
        .await?;
    Ok(ClientResponse {
        status: head.status,
        stream,
        body: Body::of_response(head.framing),
        received,
        timer,
        deadline: deadlines.body,
    })
}

impl ClientRequest<'_> {
    fn encode(&self, method: &str) -> Result<Vec<u8>, ClientError> {
        let is_field = |text: &str| !text.bytes().any(|byte| byte.is_ascii_control());
        let is_target =
            |text: &str| text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_valid = is_target(self.target)
            && is_field(self.host)
            && self.fields.iter().all(|(_, value)| is_field(value));
        if !is_valid {
            return Err(ClientError {
                step: ClientStep::Encode,
                failure: ClientFailure::InvalidRequest,
            });
        }
        let mut out = format!("{method} {} HTTP/1.1\r\n", self.target).into_bytes();
        write::header_line(&mut out, "Host", self.host.as_bytes());
        for (name, value) in self.fields {
            write::header_line(&mut out, name, value.as_bytes());
        }
        if let Some(body) = self.body {
            write::number_line(&mut out, "Content-Length", body.len() as u64);
        }
        write::header_line(&mut out, "Connection", b"close");
        write::end_line(&mut out);
        out.extend_from_slice(self.body.unwrap_or_default());
        Ok(out)
    }
}

impl ClientResponse {
    /// The status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Reads the body, of at most `most` bytes.
    ///
    /// # Errors
    /// If it is longer, ends early, is malformed, is followed by anything, or does not come in time.
    pub async fn read_body(mut self, most: usize) -> Result<Vec<u8>, ClientError> {
        let (timer, deadline) = (self.timer, self.deadline);
        let reading = async {
            let mut content = Vec::new();
            loop {
                let progress = self.body.advance_decoded(&self.received, &mut content)?;
                if content.len() > most {
                    return Err(ClientFailure::TooLarge(most));
                }
                if progress.taken < self.received.len() {
                    return Err(ClientFailure::Malformed("nothing follows the body"));
                }
                if progress.done || !self.receive().await? {
                    return Ok(content);
                }
            }
        };
        timer.run(ClientStep::Body, deadline, reading).await
    }

    /// Reads about `most` bytes of the body at most, lets them fall, and closes the connection: with unread bytes the kernel
    /// would reset it, and the server would log an error of its client. What cannot be read is not missed.
    pub async fn discard(mut self, most: usize) {
        let (timer, deadline) = (self.timer, self.deadline);
        let reading = async {
            let mut left = most;
            while let Ok(BodyProgress { done: false, .. }) = self.body.advance(&self.received)
                && left > 0
                && self.receive().await?
            {
                left = left.saturating_sub(self.received.len());
            }
            Ok(())
        };
        timer.run(ClientStep::Body, deadline, reading).await.ok();
    }

    /// The next bytes of the body, in place of the last ones. Nothing if it ended where it may.
    async fn receive(&mut self) -> Result<bool, ClientFailure> {
        self.received.clear();
        self.received.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.received).await? > 0 {
            return Ok(true);
        }
        self.body.end_of_stream()?;
        Ok(false)
    }
}

/// Reads the head of the response, past interim ones; and what came behind it.
async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<(ResponseHead, Vec<u8>), ClientFailure> {
    let mut bytes = Vec::with_capacity(1024);
    let mut head = ResponseHead::default();
    let mut interim = 0;
    loop {
        match head.parse_tidied(&mut bytes, Method::Get, &LIMITS)? {
            Parsed::Partial => {
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(ClientFailure::Closed);
                }
            }
            Parsed::Complete if head.status == 101 => {
                return Err(ClientFailure::Malformed(
                    "it changes to another protocol unasked",
                ));
            }
            Parsed::Complete if head.status < 200 => {
                interim += 1;
                if interim > INTERIM_MAX {
                    return Err(ClientFailure::Malformed("too many interim responses"));
                }
                bytes.drain(..head.length);
            }
            Parsed::Complete => {
                let received = bytes.split_off(head.length);
                return Ok((head, received));
            }
        }
    }
}

/// Holds the steps of one exchange to their deadlines.
#[derive(Debug, Clone, Copy)]
struct StepTimer {
    clock: Clock,
    started: Instant,
}

impl StepTimer {
    async fn run<T>(
        self,
        step: ClientStep,
        deadline: Duration,
        work: impl Future<Output = Result<T, ClientFailure>>,
    ) -> Result<T, ClientError> {
        let end = self.clock.to_tokio(self.started + deadline);
        let done = tokio::time::timeout_at(end, work).await;
        let failure = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(failure)) => failure,
            Err(_) => ClientFailure::TimedOut(deadline),
        };
        Err(ClientError { step, failure })
    }
}
