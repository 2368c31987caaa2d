//! The servers of a service as one immutable snapshot, with what a policy can compute once for all picks.

use std::sync::Arc;

use evenkeel_core::Instant;

use crate::BalanceOptions;
use crate::group::{Group, groups};
use crate::server::{ServerState, note_change};

/// A server as a member of a pool.
#[derive(Debug, Clone)]
pub struct Member {
    /// What tells it from every other server, the same wherever and whenever it is used: its address, commonly.
    pub identity: Arc<str>,
    /// Shared by all pools that this server is in.
    pub state: Arc<ServerState>,
    /// How much it takes compared with others; 0 counts as 1.
    pub weight: u32,
    /// 0 is used first, the next one when that is not enough.
    pub tier: u8,
    /// Whether it is used before others of its tier: in the same zone, commonly. Where all are alike it says nothing.
    pub near: bool,
    /// The most attempts that it may have in flight; 0: no bound.
    pub max_requests: u32,
}

impl Member {
    pub(crate) fn weight(&self) -> u32 {
        self.weight.max(1)
    }

    /// Whether it has as many attempts in flight as it may have.
    pub(crate) fn is_full(&self) -> bool {
        self.max_requests > 0 && self.state.in_flight() >= self.max_requests
    }

    /// Counts an attempt in that begins, unless the server has as many in flight as it may have.
    #[must_use]
    pub fn begin(&self) -> bool {
        if self.max_requests == 0 {
            self.state.begin();
            return true;
        }
        self.state.begin_below(self.max_requests)
    }
}

/// An immutable snapshot of a service's servers and balancing options.
#[derive(Debug)]
pub struct Pool {
    id: u64,
    options: BalanceOptions,
    members: Vec<Member>,
    groups: Vec<Group>,
    /// Whether any member has a bound on its attempts in flight.
    limited: bool,
}

impl Pool {
    /// A pool of `members`; a member's index is its place in this list.
    #[must_use]
    pub fn new(options: BalanceOptions, members: Vec<Member>) -> Self {
        Self::with_vacant(options, members, &[])
    }

    /// The same with places (ascending) at which nobody is at present: they are never picked, and count nowhere.
    #[must_use]
    pub fn with_vacant(options: BalanceOptions, members: Vec<Member>, vacant: &[u32]) -> Self {
        for member in &members {
            member.state.set_slow_start(options.slow_start);
        }
        Self {
            id: note_change(),
            groups: groups(&options, &members, vacant),
            limited: members.iter().any(|member| member.max_requests > 0),
            options,
            members,
        }
    }

    /// The members, in the order given.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The options.
    #[must_use]
    pub const fn options(&self) -> &BalanceOptions {
        &self.options
    }

    /// How many members take new attempts at `now`, all of their share or a part.
    #[must_use]
    pub fn in_service(&self, now: Instant) -> usize {
        self.groups
            .iter()
            .flat_map(|group| &group.members)
            .filter(|index| self.member(**index).state.standing(now).is_usable())
            .count()
    }

    /// Tells this snapshot from every other.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(crate) const fn limited(&self) -> bool {
        self.limited
    }

    pub(crate) fn member(&self, index: u32) -> &Member {
        &self.members[index as usize]
    }
}
