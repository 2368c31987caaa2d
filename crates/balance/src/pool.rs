//! The servers of a service as one immutable snapshot, with everything that a policy can precompute.

use evenkeel_core::Instant;

use crate::BalanceOptions;
use crate::group::{Group, groups};
use crate::member::Member;
use crate::server::note_change;

/// The share of attempts that the first tier gets while a service fails over: enough to notice its recovery.
pub const FAILED_OVER_SHARE: f64 = 0.02;

/// An immutable snapshot of a service's servers and balancing options.
#[derive(Debug)]
pub struct Pool {
    id: u64,
    options: BalanceOptions,
    members: Vec<Member>,
    groups: Vec<Group>,
    /// Whether any member has a bound on its attempts in flight.
    limited: bool,
    fails_over: bool,
}

impl Pool {
    /// A pool of `members`; a member's index is its place in this list.
    #[must_use]
    pub fn new(options: BalanceOptions, members: Vec<Member>) -> Self {
        Self::with_vacant(options, members, &[])
    }

    /// The same with currently empty slots (ascending), which are never picked and never counted.
    #[must_use]
    pub fn with_vacant(options: BalanceOptions, members: Vec<Member>, vacant: &[u32]) -> Self {
        for member in &members {
            member.state.set_slow_start(options.slow_start);
        }
        Self {
            id: note_change(),
            groups: groups(&options, &members, vacant),
            limited: members.iter().any(|member| member.max_requests > 0),
            fails_over: false,
            options,
            members,
        }
    }

    /// The same, in which the first tier carries [`FAILED_OVER_SHARE`] of the attempts and what those behind it cannot carry: for the
    /// time of a fault that its members share.
    #[must_use]
    pub const fn failing_over(mut self, fails_over: bool) -> Self {
        self.fails_over = fails_over;
        self
    }

    /// Whether the first tier carries a small part only.
    #[must_use]
    pub const fn fails_over(&self) -> bool {
        self.fails_over
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

    /// Whether a member takes new attempts that is none of `but`.
    #[must_use]
    pub fn has_other(&self, now: Instant, but: &[u32]) -> bool {
        let mut all = self.groups.iter().flat_map(|group| &group.members);
        all.any(|index| !but.contains(index) && self.member(*index).state.standing(now).is_usable())
    }

    /// Whether a member is out of service and being repaired.
    #[must_use]
    pub fn is_being_repaired(&self, now: Instant) -> bool {
        let mut all = self.groups.iter().flat_map(|group| &group.members);
        all.any(|index| self.member(*index).state.is_being_repaired(now))
    }

    /// When a standing of a member changes next by itself, or a repair ends of which nobody says more.
    #[must_use]
    pub fn next_change_of_any(&self, now: Instant) -> Instant {
        let all = self.groups.iter().flat_map(|group| &group.members);
        let changes = all.map(|index| {
            let state = &self.member(*index).state;
            state.next_change(now).min(state.repair_ends(now))
        });
        changes.min().unwrap_or(Instant::NEVER)
    }

    /// Whether a member that takes new attempts, or any if none does, has fewer in flight than it may have.
    #[must_use]
    pub fn has_room(&self, now: Instant) -> bool {
        self.has_room_beside(now, 0)
    }

    /// Whether the members that take new attempts, or all if none does, may have more than this many besides those in flight.
    #[must_use]
    pub fn has_room_beside(&self, now: Instant, others: u32) -> bool {
        let (mut is_any_usable, mut usable, mut unusable) = (false, 0_u32, 0_u32);
        for index in self.groups.iter().flat_map(|group| &group.members) {
            let member = self.member(*index);
            if member.state.standing(now).is_usable() {
                is_any_usable = true;
                usable = usable.saturating_add(member.room());
                if usable > others {
                    return true;
                }
            } else {
                unusable = unusable.saturating_add(member.room());
            }
        }
        !is_any_usable && unusable > others
    }

    /// How many attempts are in flight on the members that take new ones, and how many may be; nothing for the latter if one of
    /// them has no bound. Looks at all of them.
    #[must_use]
    pub fn used(&self, now: Instant) -> (u32, Option<u32>) {
        let members = self.groups.iter().flat_map(|group| &group.members);
        let members = members.map(|index| self.member(*index));
        let usable = members.filter(|member| member.state.standing(now).is_usable());
        usable.fold(
            (0, Some(0)),
            |(used, bounds): (u32, Option<u32>), member| {
                let sum = bounds.zip(member.bound());
                (
                    used.saturating_add(member.state.in_flight()),
                    sum.map(|(bounds, bound)| bounds.saturating_add(bound)),
                )
            },
        )
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
