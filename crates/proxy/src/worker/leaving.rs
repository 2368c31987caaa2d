//! Servers that a new plan has taken out of their slots: requests that began by an earlier one may still use them.
//!
//! Apart from the snapshots, which do not know what comes after them: whoever stops the process of such a server asks here whether requests
//! are done with it. A server's state is held by the sets of servers that it is a member of, and a request holds the set with which it
//! began: once the state is gone, nothing is in flight there, and nothing can be sent there any more.

use std::sync::{Arc, Weak};

use evenkeel_balance::ServerState;
use evenkeel_core::{ServerId, ServiceId};
use evenkeel_request::service::ServerSet;

/// A server that is in no slot any more.
#[derive(Debug, Clone)]
pub struct LeavingServer(Weak<ServerState>);

impl LeavingServer {
    /// Whether a request may still be sent to it.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Attempts on it that have begun and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.upgrade().map_or(0, |state| state.in_flight())
    }
}

/// The servers of `before` that are not in `after`, each with the slot that it had. One with another address is another one.
pub(super) fn servers_that_leave(
    service: ServiceId,
    before: &ServerSet,
    after: Option<&ServerSet>,
) -> Vec<(ServerId, LeavingServer)> {
    if after.is_some_and(|after| std::ptr::eq(before, after)) {
        return Vec::new();
    }
    let mut leaving = Vec::new();
    for (index, member) in (0_u32..).zip(before.pool().members()) {
        let next = after.and_then(|after| after.pool().members().get(index as usize));
        let stays = next.is_some_and(|next| Arc::ptr_eq(&next.state, &member.state));
        if !stays && before.address(index).is_some() {
            let slot = ServerId { service, index };
            leaving.push((slot, LeavingServer(Arc::downgrade(&member.state))));
        }
    }
    leaving
}
