//! What a request goes by: how long it may take, when it is tried again, and what its client gets if nothing helps.
//!
//! A service has one of these, and a route may have one of its own for each service that it leads to. It is complete in either
//! case: what a route leaves out was put in when the file was read, so nothing is looked up twice for a request. What requests
//! share (the budget, the queue, the servers) is not here: it stays the service's, whatever route they come by.

use evenkeel_tolerate::{HedgeOptions, InjectOptions, RetryOptions, TimeoutOptions};

use crate::{DeadlineHeader, Fallback};

/// What a request goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// Its slot: a number that no other policies of the plan have, and that stays the same while the configuration is
    /// reloaded. In the first plan those of the services come first, in their order, then those of routes.
    pub place: u32,
    /// How long each step may take.
    pub timeout: TimeoutOptions,
    /// Where clients say how long they wait, and servers are told what is left of it, if they are.
    pub deadline: Option<DeadlineHeader>,
    /// When an attempt is tried again. Its budget counts only where these are a service's.
    pub retry: RetryOptions,
    /// When a second attempt is made while the first one is late, if one is.
    pub hedge: Option<HedgeOptions>,
    /// What clients get when no server answers.
    pub fallback: Option<Fallback>,
    /// Which faults are done to them on purpose.
    pub inject: Option<InjectOptions>,
}

impl Policies {
    /// Whether requests with this method may be sent twice.
    #[must_use]
    pub fn may_repeat(&self, method: &[u8]) -> bool {
        let mut methods = self.retry.methods.iter();
        methods.any(|known| known.as_bytes() == method)
    }
}
