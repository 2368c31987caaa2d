//! The access log: one event for each request, with its attempts. Off unless the configuration turns it on.

use std::net::IpAddr;
use std::time::Duration;

use evenkeel_core::Outcome;
use evenkeel_http1::FieldKind;
use evenkeel_request::Cause;
use evenkeel_request::forward::HeaderEdits;

use super::context::RequestContext;
use super::host::write_attempts;
use crate::downstream::h1::Client;
use crate::downstream::violation::Violation;
use crate::exchange::finish::Finish;
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
    pub(crate) fn new(context: &RequestContext<'_>, client: &Client, work: &Workspace) -> Self {
        let bytes = client.buffer.unread();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // Where the client's id does not reach servers, evenkeel's is the one to look for.
        let changes = &context.entry().request_headers;
        let edits = HeaderEdits::of_request(changes, context.route, None);
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
        context: &RequestContext<'_>,
        finish: &Finish,
        violation: Option<Violation>,
    ) {
        let mut id = Vec::with_capacity(24);
        context.id.write(&mut id);
        let id = self
            .client_id
            .clone()
            .unwrap_or_else(|| String::from_utf8_lossy(&id).into_owned());
        let earlier = context.earlier_attempts.as_deref();
        let mut attempts = earlier.unwrap_or_default().to_owned();
        let exchange = &context.exchange;
        write_attempts(&mut attempts, exchange.servers(), exchange.attempts());
        tracing::info!(
            target: "access",
            peer = %self.peer,
            method = self.method,
            target_uri = self.target,
            status = finish.status,
            service = context.home_name(),
            cause = finish.cause.map_or("", Cause::word),
            fallback = context.fallback_name(),
            injected = context.injected_name(),
            violation = violation.map(tracing::field::display),
            aborted = finish.aborted,
            broken = finish.broken_off.map_or("", Outcome::word),
            milliseconds = context.took().as_secs_f64() * 1e3,
            attempts,
            request_id = id,
            "request"
        );
    }
}

impl RequestContext<'_> {
    /// The time since the request's head, also if another service answers it in the end.
    fn took(&self) -> Duration {
        let from = self.exchange.fallen().from;
        let came = from.map_or(self.exchange.started(), |(_, started)| started);
        self.worker.clock.now().since(came)
    }

    /// What was done to the request on purpose.
    const fn injected_name(&self) -> &'static str {
        let injected = self.exchange.injected();
        match (injected.delay.is_some(), injected.abort.is_some()) {
            (false, false) => "",
            (true, false) => "delay",
            (false, true) => "abort",
            (true, true) => "delay abort",
        }
    }

    /// The service that the request came for.
    fn home_name(&self) -> &str {
        let from = self.exchange.fallen().from;
        let id = from.map_or(self.exchange.service_id(), |(service, _)| service);
        self.snapshot.service(id).entry.name()
    }

    /// What took the place of a missing answer, for the access log.
    fn fallback_name(&self) -> &str {
        let fallen = self.exchange.fallen();
        if fallen.is_stale {
            return "stale";
        }
        match (fallen.is_configured, fallen.from) {
            (true, _) => "response",
            (false, Some(_)) => self.exchange.service().name(),
            (false, None) => "",
        }
    }
}
