//! Servers that were taken out as dead or hung, whose requests in flight are tried elsewhere.
//!
//! The order reaches each worker by its inbox; the worker wakes what waits on that server. Whether a request may leave is
//! decided by [`evenkeel_request::Exchange::may_rescue`], once, by whoever waits. Nothing of it costs a request anything.

use std::sync::{Mutex, PoisonError};

use evenkeel_core::ServerId;
use tokio::sync::Notify;

/// Servers whose requests in flight a worker is to send elsewhere. It has at most one entry per server.
#[derive(Debug, Default)]
pub(crate) struct RescueInbox {
    servers: Mutex<Vec<ServerId>>,
    filled: Notify,
}

impl RescueInbox {
    /// Called by the control loop.
    pub(crate) fn push(&self, server: ServerId) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if !servers.contains(&server) {
            servers.push(server);
        }
        drop(servers);
        self.filled.notify_one();
    }

    /// Waits until there is one, and takes all.
    pub(crate) async fn take(&self) -> Vec<ServerId> {
        loop {
            self.filled.notified().await;
            let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            if !servers.is_empty() {
                return std::mem::take(&mut *servers);
            }
        }
    }
}
