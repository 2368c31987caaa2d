//! What an exchange asks of its worker and of the request that it is about.

use std::fmt::Write as _;
use std::rc::Rc;

use evenkeel_balance::{Pick, Picker};
use evenkeel_core::{
    ExactShape, ExactText, Exposure, ExposureEvent, Instant, Outcome, Random, RequestShape,
    ServerId, ServiceId, ShapeText,
};
use evenkeel_request::Policies;
use evenkeel_request::cache::StoredValue;
use evenkeel_request::exchange::{
    AttemptReport, Attempts, ClientDeadline, Count, FallbackResult, HedgeResult, Host, Revalidate,
    Services,
};
use evenkeel_request::service::{CachedServerSet, ServerSet, Service};
use evenkeel_tolerate::HedgeDelay;
use evenkeel_tolerate::inject::Injected;

use crate::cache::key::CacheRequest;
use crate::cache::store::Answer;
use crate::exchange::io::ExchangeIo;
use crate::worker::Worker;
use crate::worker::worker_snapshot::{WorkerService, WorkerSnapshot};

/// What the exchange asks for, from the worker and the request.
pub(super) struct RequestHost<'h, 'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) snapshot: &'a WorkerSnapshot,
    pub(super) wanted: Option<&'h CacheRequest>,
    pub(super) cached: &'h mut Option<Box<StoredValue<Answer>>>,
    pub(super) earlier_attempts: &'h mut Option<Box<str>>,
    pub(super) io: &'h ExchangeIo<'h>,
}

impl WorkerSnapshot {
    fn count(&self, id: ServiceId, what: Count) {
        let counters = &self.service(id).counters;
        let counter = match what {
            Count::Deadline(what) => &counters.deadlines[deadline_index(what)],
            Count::Hedge(result) => &counters.hedges[hedge_index(result)],
            Count::Fallback(result) => &counters.fallbacks[fallback_index(result)],
            Count::Retry(outcome, wait) => {
                if !wait.is_zero() {
                    counters.retry_stats.waits(wait);
                }
                &counters.retries[outcome.place()]
            }
        };
        counter.add_from_owner(1);
    }
}

const fn deadline_index(what: ClientDeadline) -> usize {
    match what {
        ClientDeadline::Shorter => 0,
        ClientDeadline::Longer => 1,
        ClientDeadline::Passed => 2,
        ClientDeadline::Malformed => 3,
    }
}

const fn hedge_index(result: HedgeResult) -> usize {
    match result {
        HedgeResult::Won => 0,
        HedgeResult::Lost => 1,
        HedgeResult::Failed => 2,
        HedgeResult::DeniedBudget => 3,
        HedgeResult::NoServer => 4,
    }
}

const fn fallback_index(result: FallbackResult) -> usize {
    match result {
        FallbackResult::Response => 0,
        FallbackResult::Service => 1,
        FallbackResult::LeftOut => 2,
        FallbackResult::Stale => 3,
    }
}

/// The services as a worker knows them, for a request that has no context yet.
pub(crate) struct WorkerServices<'a>(pub(crate) &'a WorkerSnapshot);

impl<'a> Services<'a> for WorkerServices<'a> {
    fn service(&self, id: ServiceId) -> &'a Service {
        self.0.service(id).entry.service()
    }

    fn servers(&self, id: ServiceId) -> Rc<CachedServerSet> {
        self.0.service(id).servers()
    }

    fn count(&self, service: ServiceId, what: Count) {
        self.0.count(service, what);
    }
}

impl<'a> Services<'a> for RequestHost<'_, 'a> {
    fn service(&self, id: ServiceId) -> &'a Service {
        self.snapshot.service(id).entry.service()
    }

    fn servers(&self, id: ServiceId) -> Rc<CachedServerSet> {
        self.snapshot.service(id).servers()
    }

    fn count(&self, service: ServiceId, what: Count) {
        self.snapshot.count(service, what);
    }
}

impl<'a> Host<'a> for RequestHost<'_, 'a> {
    fn random<T>(&self, with: impl FnOnce(&mut Random) -> T) -> T {
        with(&mut self.worker.random.borrow_mut())
    }

    fn picker<T>(&self, id: ServiceId, with: impl FnOnce(&mut Picker) -> T) -> T {
        with(&mut self.snapshot.service(id).picker().borrow_mut())
    }

    fn hedging<T>(&self, place: u32, with: impl FnOnce(&mut HedgeDelay) -> T) -> Option<T> {
        let hedging = self.snapshot.hedging(place)?;
        Some(with(&mut hedging.borrow_mut()))
    }

    fn inject(&self, place: u32) -> Option<Injected> {
        Some(self.snapshot.shared.inject(place)?.decide())
    }

    fn is_replayable(&self) -> bool {
        self.io.body().is_replayable()
    }

    fn is_sent(&self) -> bool {
        self.io.body().is_through()
    }

    fn held_bytes(&self) -> u64 {
        self.io.held_bytes() as u64
    }

    fn exact_shape(&self) -> ExactShape {
        self.worker.state.exact_shape(&self.io.work.to_server)
    }

    fn exact_text(&self) -> ExactText {
        ExactText::of_head(&self.io.work.to_server)
    }

    fn fresh_response(
        &mut self,
        id: ServiceId,
        policies: &Policies,
        now: Instant,
    ) -> Option<Revalidate> {
        let stale = self.snapshot.service(id).entry.stale.as_ref()?;
        let servable = stale.first_answer(self.wanted?, policies, now)?;
        *self.cached = Some(Box::new(servable.stored));
        Some(servable.revalidate)
    }

    fn stale_response(&mut self, id: ServiceId, now: Instant) -> bool {
        let stale = self.snapshot.service(id).entry.stale.as_ref();
        let kept = stale.zip(self.wanted);
        let kept = kept.and_then(|(stale, wanted)| stale.old_answer(wanted, now));
        *self.cached = kept.map(Box::new);
        self.cached.is_some()
    }

    fn selected(&self, server: ServerId, pick: Pick) {
        let picks = &self.snapshot.server_counters(server).picks;
        picks[pick.reason.index()].add_from_owner(1);
    }

    fn attempt_ended(&self, report: &AttemptReport) {
        let counters = self.snapshot.server_counters(report.server);
        counters.durations.add_from_owner(report.latency);
        if matches!(report.outcome, Outcome::Answered(..=499)) {
            let nanos = u64::try_from(report.latency.as_nanos()).unwrap_or(u64::MAX);
            counters.answered.add_from_owner(1);
            counters.answer_nanos.add_from_owner(nanos);
        }
        self.signal_attempt(report);
    }

    fn attempt_counted(&self, server: ServerId, outcome: Outcome) {
        let service = self.snapshot.service(server.service);
        service.count_attempt(server.index, outcome);
    }

    fn response_broke(&self, report: &AttemptReport) {
        self.signal_attempt(report);
    }

    fn name_shape(&self, shape: RequestShape) {
        self.worker.name_shape(shape, || {
            let mut words = self.io.work.to_server.split(|&byte| byte == b' ');
            let method = words.next().unwrap_or_default();
            ShapeText::of(method, words.next().unwrap_or_default())
        });
    }

    fn expose(&self, server: ServerId, at: Instant, shape: ExactShape, what: ExposureEvent) {
        self.worker.expose(Exposure {
            at,
            server,
            shape,
            what,
        });
    }

    fn leaves(&mut self, id: ServiceId, service: &Service, attempts: &Attempts) {
        let entry = self.snapshot.service(id);
        entry.count_attempts_made(attempts);
        entry.count_denied(attempts);
        if self.snapshot.shared.access_log {
            let mut text = String::new();
            write_attempts(&mut text, &service.servers(), attempts);
            *self.earlier_attempts = Some(text.into());
        }
    }
}

impl WorkerService {
    /// Counts how many attempts a request took in this service.
    pub(crate) fn count_attempts_made(&self, attempts: &Attempts) {
        self.counters.retry_stats.took(attempts.attempts());
    }

    /// Counts why there was no further attempt, if one was wanted.
    pub(crate) fn count_denied(&self, attempts: &Attempts) {
        if let Some(reason) = attempts.denied() {
            self.counters.retry_stats.denied(reason);
        }
    }
}

impl RequestHost<'_, '_> {
    /// Says what an attempt has shown of its server, unless another one is in its slot by now.
    fn signal_attempt(&self, report: &AttemptReport) {
        let server = report.server;
        let service = self.snapshot.service(server.service);
        let is_there = || service.servers().generation(server.index) == report.generation;
        if !report.has_changed || is_there() {
            let (outcome, latency) = (report.outcome, report.latency);
            self.worker
                .signal(report.at, server, outcome, latency, report.shape);
        }
    }
}

/// Appends the attempts on these servers.
pub(crate) fn write_attempts(out: &mut String, servers: &ServerSet, attempts: &Attempts) {
    for record in attempts.records() {
        let server = servers.name(record.server);
        let (word, took) = (record.outcome.word(), record.took.as_secs_f64() * 1e3);
        if !out.is_empty() {
            out.push(' ');
        }
        write!(out, "{server}:{word}:{took:.1}ms").expect("a text takes all");
    }
}
