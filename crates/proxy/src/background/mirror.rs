//! A copy of a request for another service: one attempt on one of its servers, whose answer is read and thrown away.
//!
//! It goes its own way on the same worker, and counts as a request of the other service. The request that is copied does not know of it.

use std::rc::Rc;
use std::time::Duration;

use evenkeel_core::blame::TimeLimit;
use evenkeel_core::{Instant, ServiceId};
use evenkeel_http1::Method;

use super::request::BackgroundRequest;
use crate::worker::Worker;

/// Indices in [`MIRRORED`](crate::stats::counters::MIRRORED).
const SENT: usize = 0;
const FAILED: usize = 1;
pub(crate) const LEFT_OUT_BODY: usize = 2;
pub(crate) const LEFT_OUT_BUSY: usize = 3;

/// How long an answer's body is read; then the connection is closed.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How much of an answer's body is read; then the connection is closed.
const BODY_BYTES: usize = 1024 * 1024;

/// A copy under way. Counted in when it is made and out when it is dropped.
#[derive(Debug)]
pub(crate) struct Copy {
    request: BackgroundRequest,
    /// Its pair of services.
    place: usize,
}

impl Copy {
    pub(crate) fn new(
        worker: Rc<Worker>,
        place: usize,
        to: ServiceId,
        method: Method,
        key: Option<u64>,
    ) -> Self {
        let under_way = &worker.copies[place];
        under_way.set(under_way.get() + 1);
        let timeout = worker.state.services()[to.0 as usize].policies().timeout;
        let request = BackgroundRequest {
            worker,
            to,
            method,
            key,
            timeout,
        };
        Self { request, place }
    }

    /// Makes the attempt, and counts it.
    pub(crate) async fn travel(self, bytes: Vec<u8>) {
        let request = &self.request;
        let started = request.worker.clock.now();
        let servers = request.worker.server_set(request.to);
        match request.ask(&servers, bytes).await {
            Err(status) => self.finish(started, status, true, FAILED),
            Ok(mut answered) => {
                let status = answered.line.head.status;
                answered
                    .line
                    .until((answered.at + BODY_TIME, TimeLimit::Attempt));
                let end = answered.line.read_body(BODY_BYTES, None).await;
                let broken = request.over(answered, end);
                self.finish(started, status, broken, SENT);
            }
        }
    }

    /// Counts it as a request of the other service, and as a copy.
    fn finish(&self, started: Instant, status: u16, broken: bool, result: usize) {
        let counters = self
            .request
            .worker
            .service_counters(self.request.to.0 as usize);
        counters.statuses.add_one(status);
        let took = self.request.worker.clock.now().since(started);
        counters.durations.add_from_owner(took);
        if status >= 500 || broken {
            counters.failed.add_from_owner(1);
        }
        self.request.worker.count_copy(self.place, result);
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let under_way = &self.request.worker.copies[self.place];
        under_way.set(under_way.get() - 1);
    }
}

impl Worker {
    pub(crate) fn count_copy(&self, place: usize, result: usize) {
        self.counters.mirrors[place][result].add_from_owner(1);
    }
}
