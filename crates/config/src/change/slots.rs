//! Which slots a new name may take: all but those in use, and those that somebody may still hold.
//!
//! A request keeps the snapshot with which it began, and a signal may be on its way when a server is removed. So a slot is
//! given to another name only when nobody holds a snapshot any more in which it had its old one: nothing that is late ever
//! reaches the next owner. A snapshot from before that, which a tunnel may hold for weeks, does not know the name and holds
//! nothing up: there are never more slots than in the snapshots that are held, all together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use evenkeel_core::ServiceId;

use crate::plan::Plan;

/// A slot of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PlanSlot {
    /// A [`ServiceId`].
    Service(u32),
    /// The index of a server of a service.
    Server(ServiceId, u32),
    /// The place of a route.
    Route(u32),
    /// The place of policies.
    Policies(u32),
}

/// The slots that were vacated and may still be held. All others that are not in use are free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreeSlots {
    /// The first generation in which each slot in use has its present name; those of the first plan are not listed.
    since: BTreeMap<PlanSlot, u64>,
    /// The generations in which each slot had its last name.
    held: BTreeMap<PlanSlot, RangeInclusive<u64>>,
}

impl FreeSlots {
    /// `after` takes the place of `before`, which is the plan of this generation: what only `before` uses is held.
    pub fn vacate(&mut self, before: &Plan, after: &Plan, generation: u64) {
        let (before, after) = (used(before), used(after));
        for slot in before.difference(&after) {
            let since = self.since.remove(slot).unwrap_or(0);
            self.held.insert(*slot, since..=generation);
        }
        let new = after.difference(&before);
        self.since.extend(new.map(|slot| (*slot, generation + 1)));
    }

    /// Nobody holds snapshots of other generations than these any more.
    pub fn release(&mut self, live: &[u64]) {
        self.held
            .retain(|_, generations| live.iter().any(|one| generations.contains(one)));
    }

    /// How many slots wait for being released.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// Hands out slots that are neither in use nor held.
#[derive(Debug)]
pub(super) struct SlotAllocator<'a> {
    taken: BTreeSet<PlanSlot>,
    free: &'a FreeSlots,
}

impl<'a> SlotAllocator<'a> {
    pub(super) fn new(running: &Plan, free: &'a FreeSlots) -> Self {
        Self {
            taken: used(running),
            free,
        }
    }

    /// The slots of one kind, the smallest free ones first. Each one that is taken stays taken.
    pub(super) fn of_kind(&self, slot: impl Fn(u32) -> PlanSlot) -> impl Iterator<Item = u32> {
        (0..).filter(move |number| {
            let slot = slot(*number);
            !self.taken.contains(&slot) && !self.free.held.contains_key(&slot)
        })
    }
}

/// All slots that a plan uses.
fn used(plan: &Plan) -> BTreeSet<PlanSlot> {
    let mut used = BTreeSet::new();
    for service in &plan.services {
        used.insert(PlanSlot::Service(service.id.0));
        used.insert(PlanSlot::Policies(service.policies.place));
        let servers = service.servers.iter();
        used.extend(servers.map(|server| PlanSlot::Server(service.id, server.index)));
    }
    for route in plan.listeners.iter().flat_map(|all| &all.routes) {
        used.insert(PlanSlot::Route(route.place));
        let policies = route.policies.iter();
        used.extend(policies.map(|(_, policies)| PlanSlot::Policies(policies.place)));
    }
    used
}
