//! No server's response is passed on: the client gets an older one, the configured one, that of the fallback service, or the cause.
//!
//! Another service is asked once, with retries of its own, and only if the request can be sent again as a whole: by its method, or since
//! no server can have seen it. It is counted there as a request of its own.

use evenkeel_core::Instant;

use super::attempts::{Attempts, REMEMBERED};
use super::fallback::FallbackService;
use super::host::{Count, FallbackResult, Host};
use super::next::Next;
use super::state::Exchange;
use super::step::{NoResponse, Reply};
use crate::{Cause, FallbackTo};

impl<'a> Exchange<'a> {
    /// Answers in the service's place, or asks the fallback service.
    pub(super) fn no_response(
        &mut self,
        why: NoResponse,
        now: Instant,
        host: &mut impl Host<'a>,
    ) -> Next {
        let Some(fallback) = &self.policies.fallback else {
            return Next::Reply(Reply::Cause(why.cause().unwrap_or(Cause::NoServer)));
        };
        if fallback.stale.is_some() && host.stale_response(self.service_id, now) {
            self.count_fallback(FallbackResult::Stale, host);
            self.fallen.is_stale = true;
            return Next::Reply(Reply::Stale(why));
        }
        match &fallback.to {
            FallbackTo::Response(_) => {
                self.count_fallback(FallbackResult::Response, host);
                self.fallen.is_configured = true;
                Next::Reply(Reply::Configured(why))
            }
            // What brings these servers down may do so to others.
            FallbackTo::Service(_) if !why.is_quarantine() && self.switch_service(now, host) => {
                Next::AskService
            }
            FallbackTo::Service(_) | FallbackTo::Own => {
                Next::Reply(Reply::Cause(why.cause().unwrap_or(Cause::NoServer)))
            }
        }
    }

    /// Makes it a request of the fallback service, if it can be sent there.
    fn switch_service(&mut self, now: Instant, host: &mut impl Host<'a>) -> bool {
        let Some(next) = self.fallback.take() else {
            return false;
        };
        if !self.may_switch_service(&next, now, host) {
            self.count_fallback(FallbackResult::LeftOut, host);
            return false;
        }
        self.count_fallback(FallbackResult::Service, host);
        host.leaves(self.service_id, self.service, &self.attempts);
        self.fallen.from = Some((self.service_id, self.started));
        (self.service_id, self.service) = (next.id, next.service);
        self.policies = next.service.policies();
        (self.key, self.sticky) = (next.key, next.sticky);
        self.may_repeat = next.may_repeat;
        self.trial = None;
        self.servers = host.servers(next.id);
        (self.started, self.held_since, self.hurried) = (now, None, false);
        self.doubted_since = None;
        let told_end = self.attempts.told_end();
        self.attempts = Attempts::begin(now, &self.policies.timeout);
        self.attempts.shorten(told_end.since(now), now);
        true
    }

    fn may_switch_service(
        &self,
        next: &FallbackService<'_>,
        now: Instant,
        host: &impl Host<'a>,
    ) -> bool {
        let is_unsent = self.attempts.attempts() as usize <= REMEMBERED
            && (self.attempts.records()).all(|record| record.outcome.is_unsent());
        let waits = now < self.attempts.told_end();
        waits && host.is_replayable() && (next.may_repeat || is_unsent)
    }

    fn count_fallback(&self, result: FallbackResult, host: &impl Host<'a>) {
        host.count(self.service_id, Count::Fallback(result));
    }
}
