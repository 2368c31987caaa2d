//! A copy of a request for another service: one attempt on one of its servers, whose answer is read and thrown away.
//!
//! It goes its own way on the same worker, and counts as a request of the other service. The request that is copied does not know of it.

use std::rc::Rc;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::blame::TimeLimit;

use super::request::BackgroundRequest;
use crate::worker::worker_snapshot::WorkerMirror;

/// Indices in [`MIRRORED`](crate::stats::counters::MIRRORED).
const SENT: usize = 0;
const FAILED: usize = 1;
pub(crate) const LEFT_OUT_BODY: usize = 2;
pub(crate) const LEFT_OUT_BUSY: usize = 3;

/// How long an answer's body is read; then the connection is closed.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How much of an answer's body is read; then the connection is closed, which the server sees as a reset. It is read for the
/// server's sake only and takes no memory, so there is no reason to cut off answers of usual sizes.
const BODY_BYTES: usize = 16 * 1024 * 1024;

/// A copy under way. Counted in when it is made and out when it is dropped.
#[derive(Debug)]
pub(crate) struct Copy {
    request: BackgroundRequest,
    /// Its pair of services.
    pair: Rc<WorkerMirror>,
}

impl Copy {
    pub(crate) fn new(request: BackgroundRequest, pair: Rc<WorkerMirror>) -> Self {
        pair.under_way.set(pair.under_way.get() + 1);
        Self { request, pair }
    }

    /// Makes the attempt, and counts it.
    pub(crate) async fn travel(self, bytes: Vec<u8>) {
        let request = &self.request;
        let started = request.worker.clock.now();
        let servers = request.service.servers();
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
        let counters = &self.request.service.counters;
        counters.statuses.add_one(status);
        let took = self.request.worker.clock.now().since(started);
        counters.durations.add_from_owner(took);
        if status >= 500 || broken {
            counters.failed.add_from_owner(1);
        }
        self.pair.count(result);
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.pair.under_way.set(self.pair.under_way.get() - 1);
    }
}
