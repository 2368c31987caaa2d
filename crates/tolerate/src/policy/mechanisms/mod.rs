//! The mechanisms that the calls of a policy share: throttle, circuit breakers, rate, limit with its queue, fault injection. Made
//! from the options, and carried over when these are replaced.

mod breakers;
mod limit_queue;
mod permits;
mod rate_queue;

use std::sync::Arc;

use evenkeel_core::Instant;

pub(crate) use breakers::ServerBreakers;
pub(crate) use limit_queue::{LimitEntry, LimitPermit, LimitQueue, LimitRequest, QueuedAttempt};
pub(crate) use permits::{AttemptPermits, ServerPermits, ThrottlePermit};
pub(crate) use rate_queue::{RateEntry, RateQueue, RateTicket, RateToken};

use super::RecoveryOptions;
use crate::{Inject, Throttle};

/// The mechanisms that the options have.
#[derive(Debug)]
pub(crate) struct Mechanisms {
    pub(crate) throttle: Option<Arc<Throttle>>,
    pub(crate) breakers: Option<Arc<ServerBreakers>>,
    pub(crate) rate: Option<Arc<RateQueue>>,
    pub(crate) limit: Option<Arc<LimitQueue>>,
    pub(crate) inject: Option<Arc<Inject>>,
    disabled: DisabledMechanisms,
}

/// Mechanisms that earlier options had and the present ones do not.
#[derive(Debug, Default)]
struct DisabledMechanisms {
    throttle: Option<Arc<Throttle>>,
    breakers: Option<Arc<ServerBreakers>>,
    rate: Option<Arc<RateQueue>>,
    limit: Option<Arc<LimitQueue>>,
}

impl Mechanisms {
    pub(crate) fn new(options: &RecoveryOptions, now: Instant, seed: u64) -> Self {
        let limit = |limit| Arc::new(LimitQueue::new(limit, options, now, seed));
        let breakers = |breaker| Arc::new(ServerBreakers::new(breaker, seed));
        Self {
            throttle: options.throttle.map(|it| Arc::new(Throttle::new(it))),
            breakers: options.breaker.map(breakers),
            rate: options.rate.map(|it| Arc::new(RateQueue::new(it))),
            limit: options.limit.as_ref().map(limit),
            inject: options.inject.map(|it| Arc::new(Inject::new(it))),
            disabled: DisabledMechanisms::default(),
        }
    }

    /// Keeps the state of `before` under the options of now: attempts in flight and waiting, what breakers and throttle have
    /// counted, tokens that are available or owed. A mechanism that is disabled now keeps its state until it is enabled again.
    pub(crate) fn carry_over(
        &mut self,
        before: &Self,
        options: &RecoveryOptions,
        now: Instant,
        seed: u64,
    ) {
        let disabled = &before.disabled;
        let (existing, unused) =
            carry_over_one(&mut self.throttle, &before.throttle, &disabled.throttle);
        if let (Some(throttle), Some(options)) = (existing, options.throttle)
            && *throttle.options() != options
        {
            self.throttle = Some(Arc::new(throttle.continued(options, now)));
        }
        self.disabled.throttle = unused;
        let (existing, unused) =
            carry_over_one(&mut self.breakers, &before.breakers, &disabled.breakers);
        if let (Some(breakers), Some(options)) = (existing, options.breaker) {
            breakers.reconfigure(options);
        }
        self.disabled.breakers = unused;
        let (existing, unused) = carry_over_one(&mut self.rate, &before.rate, &disabled.rate);
        if let (Some(rate), Some(options)) = (existing, options.rate) {
            rate.reconfigure(options, now);
        }
        self.disabled.rate = unused;
        let (existing, unused) = carry_over_one(&mut self.limit, &before.limit, &disabled.limit);
        if let (Some(queue), Some(limit)) = (existing, &options.limit) {
            queue.reconfigure(limit, options, now, seed);
        }
        self.disabled.limit = unused;
        if let (Some(inject), Some(earlier)) = (&self.inject, &before.inject)
            && inject.options() == earlier.options()
        {
            self.inject = Some(Arc::clone(earlier));
        }
    }
}

/// Puts the mechanism that existed before, enabled or disabled, in the place of a new one. Returns it to be reconfigured, or to
/// be kept as disabled.
fn carry_over_one<T>(
    new: &mut Option<Arc<T>>,
    before: &Option<Arc<T>>,
    disabled: &Option<Arc<T>>,
) -> (Option<Arc<T>>, Option<Arc<T>>) {
    let existing = before.as_ref().or(disabled.as_ref()).cloned();
    match new {
        None => (None, existing),
        Some(mechanism) => {
            if let Some(existing) = &existing {
                *mechanism = Arc::clone(existing);
            }
            (existing, None)
        }
    }
}
