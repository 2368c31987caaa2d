//! A server as one service sees it: its weight, its tier, and the bound on its attempts in flight.

use std::sync::Arc;

use crate::server::ServerState;

/// A server as a member of a pool.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its stable identity, usually its address.
    pub identity: Arc<str>,
    /// Shared by all pools that this server is in.
    pub state: Arc<ServerState>,
    /// How much it takes compared with others; 0 counts as 1.
    pub weight: u32,
    /// 0 is used first, the next one when that is not enough.
    pub tier: u8,
    /// Whether it is used before others of its tier: in the same zone, commonly. Where all are alike it says nothing.
    pub near: bool,
    /// The most attempts that it may ever have in flight; 0: no bound. [`ServerState::set_bound`] and [`ServerState::open_breaker`] lower
    /// it; `u32::MAX` is no bound but what these say.
    pub max_requests: u32,
}

impl Member {
    pub(crate) fn weight(&self) -> u32 {
        self.weight.max(1)
    }

    /// The most attempts that it may have in flight now, if there is a bound.
    #[must_use]
    pub fn bound(&self) -> Option<u32> {
        if self.max_requests == 0 {
            return None;
        }
        let found = self.state.bound().unwrap_or(u32::MAX);
        Some(self.max_requests.min(found)).filter(|bound| *bound < u32::MAX)
    }

    /// Whether it has as many attempts in flight as it may have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bound()
            .is_some_and(|bound| self.state.in_flight() >= bound)
    }

    /// How many more attempts it may have in flight; [`u32::MAX`] if nothing limits them.
    pub(crate) fn room(&self) -> u32 {
        self.bound().map_or(u32::MAX, |bound| {
            bound.saturating_sub(self.state.in_flight())
        })
    }

    /// Counts an attempt in that begins, unless the server has as many in flight as it may have.
    #[must_use]
    pub fn begin(&self) -> bool {
        match self.bound() {
            None => {
                self.state.begin();
                true
            }
            Some(bound) => self.state.begin_below(bound),
        }
    }
}
