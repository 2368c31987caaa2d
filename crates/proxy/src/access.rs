//! The access log: one event for each request, with its attempts. Off unless the configuration turns it on.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use evenkeel_core::Outcome;
use evenkeel_http1::FieldKind;
use evenkeel_request::Cause;

use crate::client::Client;
use crate::drive::Journey;
use crate::edit::Edits;
use crate::finish::Finish;
use crate::violation::Violation;
use crate::worker::Workspace;

/// What the access log says of a request, remembered while its head is still there. Only made when the log is on.
#[derive(Debug)]
pub(crate) struct AccessLine {
    peer: IpAddr,
    method: String,
    target: String,
    client_id: Option<String>,
}

impl AccessLine {
    pub(crate) fn new(journey: &Journey<'_>, client: &Client, work: &Workspace) -> Self {
        let bytes = client.buffer.unread();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // Where the client's id does not reach servers, evenkeel's is the one to look for.
        let edits = Edits::of_request(journey.service, journey.route, None);
        let passes = !edits.is_some_and(|edits| edits.drops(b"x-request-id"));
        let id = work
            .request
            .fields
            .iter()
            .find(|field| field.kind == FieldKind::XRequestId && passes);
        Self {
            peer: client.peer,
            method: text(work.request.method_text.of(bytes)),
            target: text(work.request.target.of(bytes)),
            client_id: id.map(|field| text(field.value.of(bytes))),
        }
    }

    pub(crate) fn write(
        &self,
        journey: &Journey<'_>,
        finish: &Finish,
        violation: Option<Violation>,
    ) {
        let mut id = Vec::with_capacity(24);
        journey.id.write(&mut id);
        let id = self
            .client_id
            .clone()
            .unwrap_or_else(|| String::from_utf8_lossy(&id).into_owned());
        let mut attempts = journey.fallen.attempts.clone();
        journey.tell_attempts(&mut attempts);
        tracing::info!(
            target: "access",
            peer = %self.peer,
            method = self.method,
            target_uri = self.target,
            status = finish.status,
            service = journey.home_name(),
            cause = finish.cause.map_or("", Cause::word),
            fallback = journey.fallback_name(),
            injected = journey.injected_name(),
            violation = violation.map(tracing::field::display),
            aborted = finish.aborted,
            broken = finish.broken_off.map_or("", Outcome::word),
            milliseconds = journey.took().as_secs_f64() * 1e3,
            attempts,
            request_id = id,
            "request"
        );
    }
}

impl Journey<'_> {
    /// Appends the attempts on the service that is asked now.
    pub(crate) fn tell_attempts(&self, out: &mut String) {
        for record in self.exchange.records() {
            let server = self.service.servers().get(record.server as usize);
            let server = server.map_or("", |server| server.name());
            let (word, took) = (record.outcome.word(), record.took.as_secs_f64() * 1e3);
            if !out.is_empty() {
                out.push(' ');
            }
            write!(out, "{server}:{word}:{took:.1}ms").expect("a text takes all");
        }
    }

    /// The time since the request's head, also if another service answers it in the end.
    fn took(&self) -> Duration {
        let came = (self.fallen.from).map_or(self.started, |(_, started)| started);
        self.worker.clock.now().since(came)
    }
}
