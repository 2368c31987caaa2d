//! Fetching an answer anew while all who ask are shown the old one (`stale-while-revalidate`, RFC 5861, section 3).
//!
//! The request that has the turn is answered like the others, and the fetch goes its own way on the same worker ([`BackgroundRequest`]).
//! It asks for nobody in particular, without the client's credentials and conditions: what comes is shown to all. Credentials that
//! the configuration sets are evenkeel's own, and stay.

use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_core::blame::TimeLimit;
use evenkeel_request::ResponseView as _;

use crate::background::request::{Answered, BackgroundRequest};
use crate::cache::key::OwnedCacheKey;
use crate::cache::store::{Answer, Stale, response_facts};
use crate::downstream::h1::head::H1Response;
use crate::upstream::client::BodyEnd;

/// At most so many of a service's at once: what becomes stale together is not fetched together.
pub(crate) const MOST: u32 = 32;
/// How long an answer's body is read.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Indices in [`RENEWALS`](crate::cache::store::RENEWALS).
const KEPT: usize = 0;
const NOT_KEPT: usize = 1;
const FAILED: usize = 2;
pub(crate) const LEFT_OUT_BUSY: usize = 3;

/// One under way. Counted in when it is made and out when it is dropped.
#[derive(Debug)]
pub(crate) struct Revalidation {
    pub(crate) request: BackgroundRequest,
    pub(crate) key: OwnedCacheKey,
    /// When it was asked for.
    pub(crate) asked: Instant,
}

impl Revalidation {
    /// Makes the attempt, and keeps what has come.
    pub(crate) async fn travel(self, bytes: Vec<u8>) {
        let request = &self.request;
        let Some(stale) = request.service.entry.stale.as_ref() else {
            return;
        };
        let servers = request.service.servers();
        let result = match request.ask(&servers, bytes).await {
            Err(_) => FAILED,
            Ok(answered) => self.take(stale, answered).await,
        };
        stale.renewals[result].add(1);
    }

    /// Keeps what has come, if it may be.
    async fn take(&self, stale: &Stale, mut answered: Answered<'_>) -> usize {
        let (head, bytes) = (&answered.line.head, answered.line.incoming.unread());
        let most = stale.most();
        let fits = H1Response { head, bytes }.body_extent().is_bounded(most);
        let Some(lifetimes) = stale.lifetimes(
            self.key.borrow(),
            &response_facts((false, false), head, bytes),
        ) else {
            let result = if head.status < 500 { NOT_KEPT } else { FAILED };
            self.request.over(answered, BodyEnd::Enough);
            return result;
        };
        if !fits {
            self.request.over(answered, BodyEnd::Enough);
            return NOT_KEPT;
        }
        let mut answer = Answer::of(head, bytes, &self.request.worker.date(answered.at));
        answered
            .line
            .until((answered.at + BODY_TIME, TimeLimit::Attempt));
        let came = answered.at;
        let end = answered.line.read_body(most, Some(&mut answer.body)).await;
        self.request.over(answered, end);
        match end {
            BodyEnd::Whole { .. } if answer.body.len() <= most => {
                let times = (self.asked, came);
                stale.put(self.key.borrow(), answer, times, lifetimes);
                KEPT
            }
            BodyEnd::Whole { .. } | BodyEnd::Enough => NOT_KEPT,
            BodyEnd::Broken(_) | BodyEnd::Late => FAILED,
        }
    }
}

impl Drop for Revalidation {
    fn drop(&mut self) {
        if let Some(stale) = &self.request.service.entry.stale {
            stale.renewing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
