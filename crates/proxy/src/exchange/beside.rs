//! What a request sets off beside its own way: a copy for another service, and an old answer that is fetched anew.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use evenkeel_http1::Method;
use evenkeel_request::forward::{HeaderEdits, is_left_out_of_revalidation};
use evenkeel_request::{DeadlineHeader, Mirror};

use super::context::{PlannedMirror, RequestContext};
use super::destination::hash_key;
use crate::background::mirror::{Copy, LEFT_OUT_BODY, LEFT_OUT_BUSY};
use crate::background::request::BackgroundRequest;
use crate::background::revalidate::{self, MOST, Revalidation};
use crate::downstream::h1::Client;
use crate::downstream::h1::head::{without_fields, write_mirrored};
use crate::exchange::io::ExchangeIo;
use crate::worker::Workspace;
use crate::worker::worker_snapshot::WorkerMirror;

/// Room for the line that marks a copy.
const MARK_BYTES: usize = 32;

impl<'a> RequestContext<'a> {
    /// Draws whether the request whose head is in `work` is to be copied. An upgrade never is.
    pub(crate) fn draw_mirror(
        &self,
        client: &Client,
        work: &Workspace,
    ) -> Option<PlannedMirror<'a>> {
        let of_route = self.route.and_then(|route| route.mirror.as_ref());
        let mirror = of_route.or(self.entry().mirror.as_ref())?;
        let method = work.request.method_text.of(client.buffer.unread());
        let drawn = work.request.upgrade.is_none()
            && mirror.takes(method, &mut self.worker.random.borrow_mut());
        let other = &self.snapshot.service(mirror.to).entry;
        drawn.then(|| PlannedMirror {
            mirror,
            key: hash_key(other, client, work),
        })
    }

    /// Sends the copy on its way if the whole request is there.
    pub(crate) fn send_copy(&mut self, io: &ExchangeIo<'_>) {
        if !io.body().is_through() || !io.body().is_replayable() {
            return;
        }
        let Some(PlannedMirror { mirror, key }) = self.mirror.take() else {
            return;
        };
        let Some(pair) = self.pair(mirror) else {
            return;
        };
        if pair.under_way.get() >= mirror.in_flight {
            pair.count(LEFT_OUT_BUSY);
            return;
        }
        let head = &io.work.to_server;
        let mut bytes = Vec::with_capacity(head.len() + MARK_BYTES + io.work.replay.len());
        write_mirrored(&mut bytes, head);
        bytes.extend_from_slice(&io.work.replay);
        let to = self.snapshot.service(mirror.to);
        let request = BackgroundRequest {
            worker: Rc::clone(self.worker),
            service: Rc::clone(to),
            method: self.method,
            key,
            timeout: to.entry.policies().timeout,
        };
        let copy = Copy::new(request, Rc::clone(pair));
        tokio::task::spawn_local(copy.travel(bytes));
    }

    /// Counts a copy that was to be made and was not, since the body was too long or had not come before the answer.
    pub(crate) fn count_left_out(&self) {
        if let Some(pair) = self.mirror.and_then(|drawn| self.pair(drawn.mirror))
            && self.exchange.attempts().attempts() > 0
        {
            pair.count(LEFT_OUT_BODY);
        }
    }

    fn pair(&self, mirror: &Mirror) -> Option<&'a Rc<WorkerMirror>> {
        self.snapshot.mirror(self.exchange.service_id(), mirror.to)
    }

    /// Has the answer to the request whose prepared head is `to_server` fetched anew.
    pub(crate) fn renew(&self, to_server: &[u8]) {
        let Some((stale, wanted)) = self.entry().stale.as_ref().zip(self.wanted.as_ref()) else {
            return;
        };
        let Some(key) = wanted.key() else {
            return;
        };
        if stale.renewing.fetch_add(1, Ordering::Relaxed) >= MOST {
            stale.renewing.fetch_sub(1, Ordering::Relaxed);
            stale.renewals[revalidate::LEFT_OUT_BUSY].add(1);
            return;
        }
        let request = BackgroundRequest {
            worker: Rc::clone(self.worker),
            service: Rc::clone(self.service()),
            method: Method::Get,
            key: self.exchange.key(),
            timeout: self.policies().timeout,
        };
        let revalidation = Revalidation {
            request,
            key: key.to_owned(),
            asked: self.latest,
        };
        let deadline = self.policies().deadline.as_ref();
        let deadline = deadline.map(DeadlineHeader::name);
        let changes = &self.entry().request_headers;
        let edits = HeaderEdits::of_request(changes, self.route, None);
        let bytes = without_fields(to_server, |name| {
            is_left_out_of_revalidation(name, edits, deadline)
        });
        tokio::task::spawn_local(revalidation.travel(bytes));
    }
}
