//! Copies of requests for another service: which, and when.
//!
//! A copy is made of what the server got, when the first attempt for which the whole request was there has ended. It
//! goes its own way on the same worker ([`crate::copy`]) and comes back to nothing: the request does not know of it.

use std::rc::Rc;

use evenkeel_config::Plan;
use evenkeel_core::ServiceId;
use evenkeel_core::metric::{Counter, Sink};
use evenkeel_request::Mirror;

use crate::client::Client;
use crate::copy::Copy;
use crate::destination::hash_key;
use crate::context::RequestContext;
use crate::state::ProxyState;
use crate::talk::Desk;
use crate::worker::{Worker, Workspace};

/// What became of requests that were to be copied; the place is what is counted with.
const RESULTS: [&str; 4] = ["sent", "failed", "left-out-body", "left-out-busy"];
pub(crate) const SENT: usize = 0;
pub(crate) const FAILED: usize = 1;
const LEFT_OUT_BODY: usize = 2;
const LEFT_OUT_BUSY: usize = 3;

/// What a server of the other service is told by.
const MARK: &[u8] = b"x-evenkeel-mirror: 1\r\n\r\n";

/// One worker's numbers of the copies from one service to another.
pub(crate) type MirrorCounters = [Counter; RESULTS.len()];

/// A request that is to be copied, as soon as it has come as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drawn<'a> {
    mirror: &'a Mirror,
    /// What it is hashed on, if the other service's policy hashes.
    key: Option<u64>,
}

/// From where to where requests are copied, each pair once.
pub(crate) fn pairs(plan: &Plan) -> Vec<(ServiceId, ServiceId)> {
    let mut pairs = Vec::new();
    for (from, service) in (0..).map(ServiceId).zip(&plan.services) {
        pairs.extend(service.mirror.iter().map(|mirror| (from, mirror.to)));
    }
    for route in plan.listeners.iter().flat_map(|listener| &listener.routes) {
        let to = route.mirror.as_ref().map(|mirror| mirror.to);
        pairs.extend(route.services().filter_map(|from| Some((from, to?))));
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

impl<'a> RequestContext<'a> {
    /// Draws whether the request whose head is in `work` is to be copied. An upgrade never is.
    pub(crate) fn draw_mirror(&self, client: &Client, work: &Workspace) -> Option<Drawn<'a>> {
        let of_route = self.route.and_then(|route| route.mirror.as_ref());
        let mirror = of_route.or(self.entry().mirror.as_ref())?;
        let method = work.request.method_text.of(client.buffer.unread());
        let drawn = work.request.upgrade.is_none()
            && mirror.takes(method, &mut self.worker.random.borrow_mut());
        let other = &self.worker.state.services()[mirror.to.0 as usize];
        drawn.then(|| Drawn {
            mirror,
            key: hash_key(other, client, work),
        })
    }

    /// Sends the copy on its way if the whole request is there.
    pub(crate) fn send_copy(&mut self, desk: &Desk<'_>) {
        if !desk.body.is_through() || !desk.body.is_replayable() {
            return;
        }
        let Some(Drawn { mirror, key }) = self.mirror.take() else {
            return;
        };
        let Some(place) = self.pair(mirror) else {
            return;
        };
        let under_way = &self.worker.copies[place];
        if under_way.get() >= mirror.in_flight {
            self.worker.count_copy(place, LEFT_OUT_BUSY);
            return;
        }
        let head = &desk.work.to_server;
        let lines = head.strip_suffix(b"\r\n").unwrap_or(head);
        let mut bytes = Vec::with_capacity(head.len() + MARK.len() + desk.work.replay.len());
        bytes.extend_from_slice(lines);
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&desk.work.replay);
        let copy = Copy::new(Rc::clone(self.worker), place, mirror.to, self.method, key);
        tokio::task::spawn_local(copy.travel(bytes));
    }

    /// Counts a copy that was to be made and was not, since the body was too long or had not come before the answer.
    pub(crate) fn count_left_out(&self) {
        if let Some(place) = self.mirror.and_then(|drawn| self.pair(drawn.mirror))
            && self.exchange.attempts().attempts() > 0
        {
            self.worker.count_copy(place, LEFT_OUT_BODY);
        }
    }

    fn pair(&self, mirror: &Mirror) -> Option<usize> {
        let wanted = (self.exchange.service_id(), mirror.to);
        let pairs = self.worker.state.mirrors();
        pairs.iter().position(|pair| *pair == wanted)
    }
}

impl Worker {
    pub(crate) fn count_copy(&self, place: usize, result: usize) {
        self.counters.mirrors[place][result].add_from_owner(1);
    }
}

impl ProxyState {
    pub(crate) fn collect_mirrors(&self, sink: &mut dyn Sink) {
        let name = |service: ServiceId| self.services()[service.0 as usize].name();
        for (place, (from, to)) in self.mirrors().iter().enumerate() {
            for (index, result) in RESULTS.iter().enumerate() {
                let workers = self.workers().iter();
                let value = workers
                    .map(|worker| worker.mirrors[place][index].value())
                    .sum();
                let labels = [
                    ("service", name(*from)),
                    ("to", name(*to)),
                    ("result", *result),
                ];
                let about = "Requests that were to be copied to another service, by what became of the copy.";
                sink.counter("evenkeel_mirrored_total", about, &labels, value);
            }
        }
    }
}
