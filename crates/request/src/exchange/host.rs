//! What an exchange asks of whoever carries it out: what only the worker's thread has, what is kept of the request, and where its
//! observations go.
//!
//! A trait, so that the same exchange runs over sockets and in virtual time. Nothing here waits.

use std::rc::Rc;
use std::time::Duration;

use evenkeel_balance::{Pick, Picker};
use evenkeel_core::{
    ExactShape, ExactText, ExposureEvent, Instant, Outcome, Random, RequestShape, ServerId,
    ServiceId,
};
use evenkeel_tolerate::HedgeDelay;
use evenkeel_tolerate::inject::Injected;

use super::attempts::Attempts;
use crate::Policies;
use crate::service::{CachedServerSet, Service};

/// The services of a plan as a worker knows them.
pub trait Services<'a> {
    /// A service of the plan.
    fn service(&self, id: ServiceId) -> &'a Service;
    /// Its servers as this worker knows them now.
    fn servers(&self, id: ServiceId) -> Rc<CachedServerSet>;
    /// Something has happened that is counted.
    fn count(&self, service: ServiceId, what: Count);
}

/// The surroundings of an exchange.
pub trait Host<'a>: Services<'a> {
    /// With the worker's generator of random numbers.
    fn random<T>(&self, with: impl FnOnce(&mut Random) -> T) -> T;
    /// With the worker's picker of a service.
    fn picker<T>(&self, id: ServiceId, with: impl FnOnce(&mut Picker) -> T) -> T;
    /// With what the worker knows of latencies under the policies at this place, if they hedge.
    fn hedging<T>(&self, place: u32, with: impl FnOnce(&mut HedgeDelay) -> T) -> Option<T>;
    /// The faults that are injected under the policies at this place, if any are.
    fn inject(&self, place: u32) -> Option<Injected>;

    /// Whether another attempt can have the whole body of the request.
    fn is_replayable(&self) -> bool;
    /// Whether every byte of the request has come and was sent.
    fn is_sent(&self) -> bool;
    /// The bytes of the request that are held while it waits for a server.
    fn held_bytes(&self) -> u64;
    /// Exactly what the request asks for.
    fn exact_shape(&self) -> ExactShape;
    /// The same in words.
    fn exact_text(&self) -> ExactText;

    /// Looks up a cached response of a service that may be sent without asking a server, and keeps it at hand; says whether this request
    /// has it fetched anew. `None` if there is none.
    fn fresh_response(
        &mut self,
        id: ServiceId,
        policies: &Policies,
        now: Instant,
    ) -> Option<Revalidate>;
    /// Looks up an older response of a service that may be sent when there is no new one, and keeps it at hand.
    fn stale_response(&mut self, id: ServiceId, now: Instant) -> bool;

    /// A server was selected for an attempt.
    fn selected(&self, server: ServerId, pick: Pick);
    /// An attempt has ended, or the head of its response has come.
    fn attempt_ended(&self, report: &AttemptReport);
    /// How an attempt came out in the end: once for each.
    fn attempt_counted(&self, server: ServerId, outcome: Outcome);
    /// A response has broken off after its head, by the server's doing.
    fn response_broke(&self, report: &AttemptReport);
    /// An attempt of this shape has failed: whoever looks for faults is told what the request is called.
    fn name_shape(&self, shape: RequestShape);
    /// Something was observed of a request that may crash servers.
    fn expose(&self, server: ServerId, at: Instant, shape: ExactShape, what: ExposureEvent);
    /// The request leaves its service, with these attempts on it, for the fallback service.
    fn leaves(&mut self, id: ServiceId, service: &Service, attempts: &Attempts);
}

/// Whether a request that is answered from the cache has the response fetched anew.
pub type Revalidate = bool;

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub struct AttemptReport {
    /// Its server.
    pub server: ServerId,
    /// Which of the servers that have been in this slot it was.
    pub generation: u64,
    /// Whether the service's servers have changed since the request came, so that another one may be in the slot.
    pub has_changed: bool,
    /// When it ended.
    pub at: Instant,
    /// How.
    pub outcome: Outcome,
    /// From the request fully written to the response's head, or to the failure.
    pub latency: Duration,
    /// What the request asks for.
    pub shape: RequestShape,
}

/// What an exchange counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// What the client's deadline was.
    Deadline(ClientDeadline),
    /// What became of a hedged attempt, or of one that was to be made.
    Hedge(HedgeResult),
    /// What took the place of a missing response.
    Fallback(FallbackResult),
    /// A retry after an attempt that ended so, and how long it is put off.
    Retry(Outcome, Duration),
}

/// What a client's deadline was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientDeadline {
    /// Shorter than the service's own time.
    Shorter,
    /// Longer: it changes nothing.
    Longer,
    /// It has passed already.
    Passed,
    /// It is no time, or several.
    Malformed,
}

/// What became of a hedged attempt, or of one that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeResult {
    /// Its response was passed on.
    Won,
    /// Another attempt was quicker.
    Lost,
    /// It failed.
    Failed,
    /// The retry budget did not pay for it.
    DeniedBudget,
    /// No other server could take it, its class's share of the servers was used, the throttle refused it, or requests were waiting.
    NoServer,
}

/// What took the place of a missing response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallbackResult {
    /// The response of the configuration.
    Response,
    /// Another service.
    Service,
    /// Another service was to answer and could not be asked.
    LeftOut,
    /// An older response of the service's own.
    Stale,
}
