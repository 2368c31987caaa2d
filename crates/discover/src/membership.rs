//! Membership: how an answer, a failed query or the passage of time changes the slots of a service.
//!
//! Separate from the queries and without a clock, since these rules must hold whatever a name server sends:
//!
//! - A failure or an empty answer removes no server. The last known good answer is kept without a time limit.
//! - One update removes at most half of the working servers. Further removals are held back until the same answer has
//!   persisted for `hold`, or until those servers fail their own checks. Additions take effect at once. A group with a
//!   single slot is exempt: there the server has moved.
//! - An address that stays keeps its slot. The slot that has been free the longest is reused first.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_core::{Instant, Random};

/// After a failure it is asked again after so long, then twice as long, …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … and so on up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// While removals are held back, the servers are checked at this interval.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A server as DNS has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveredServer {
    /// Its address.
    pub address: SocketAddr,
    /// How much it takes beside the others, at least 1.
    pub weight: u32,
    /// 0 is used first.
    pub tier: u8,
}

/// Settings that do not change at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembershipRules {
    /// How many slots there are.
    pub slots: u32,
    /// A shorter time to live is taken as this.
    pub least: Duration,
    /// A longer one as this.
    pub most: Duration,
    /// How long the same answer must hold until it may remove more than half of the working servers.
    pub hold: Duration,
}

/// A slot has another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotChange {
    /// Which slot.
    pub slot: u32,
    /// The new server in the slot; none if absent.
    pub found: Option<DiscoveredServer>,
}

/// The state of a group, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MembershipReport {
    /// Servers in the last good answer.
    pub found: usize,
    /// Of these, those for which there is no slot.
    pub surplus: usize,
    /// Servers that are missing in the last good answer but held back.
    pub held_back: usize,
}

/// The members of one discovered group.
#[derive(Debug)]
pub struct Membership {
    rules: MembershipRules,
    slots: Vec<Option<DiscoveredServer>>,
    /// The free slots, the one that has been free for longest first.
    free: VecDeque<u32>,
    /// The last good answer, by address.
    wanted: BTreeMap<SocketAddr, DiscoveredServer>,
    /// When the held-back answer was first seen.
    held_since: Option<Instant>,
    /// When the last good answer is to be renewed, or the failed question asked again.
    ask_at: Instant,
    pause: Duration,
    report: MembershipReport,
}

impl Membership {
    /// Nobody yet, but for those that are `known` by other means, by slot. Is to be asked at once.
    #[must_use]
    pub fn new(rules: MembershipRules, known: &[Option<DiscoveredServer>]) -> Self {
        let mut slots = vec![None; rules.slots as usize];
        for (slot, known) in slots.iter_mut().zip(known) {
            *slot = *known;
        }
        let free = (0..).zip(&slots).filter(|(_, slot)| slot.is_none());
        let free: VecDeque<u32> = free.map(|(slot, _)| slot).collect();
        let wanted = slots.iter().flatten().map(|one| (one.address, *one));
        let wanted = wanted.collect();
        Self {
            rules,
            slots,
            free,
            wanted,
            held_since: None,
            ask_at: Instant::ZERO,
            pause: FIRST_PAUSE,
            report: MembershipReport::default(),
        }
    }

    /// A good answer came: `found` may be in any order, `ttl` is how long it is good for. `works` says which slots hold
    /// servers that work now.
    pub fn answered(
        &mut self,
        now: Instant,
        found: &[DiscoveredServer],
        ttl: Duration,
        works: impl Fn(u32) -> bool,
    ) -> Vec<SlotChange> {
        if found.is_empty() {
            // The caller's generator is not needed: an empty answer is valid for its TTL, and removes no server.
            self.ask_at = now + ttl.clamp(self.rules.least, self.rules.most);
            return Vec::new();
        }
        let mut wanted: BTreeMap<SocketAddr, DiscoveredServer> = BTreeMap::new();
        for one in found {
            let one = DiscoveredServer {
                weight: one.weight.max(1),
                ..*one
            };
            // One address twice: the record that is used first counts.
            let known = wanted.entry(one.address).or_insert(one);
            if (one.tier, std::cmp::Reverse(one.weight))
                < (known.tier, std::cmp::Reverse(known.weight))
            {
                *known = one;
            }
        }
        if !wanted.keys().eq(self.wanted.keys()) {
            self.held_since = None;
        }
        self.wanted = wanted;
        self.pause = FIRST_PAUSE;
        self.ask_at = now + ttl.clamp(self.rules.least, self.rules.most);
        self.settle(now, works)
    }

    /// No good answer came. Nobody is removed; it is asked again after a while.
    pub fn failed(&mut self, now: Instant, random: &mut Random) {
        let pause = self.pause / 2 + random.duration_up_to(self.pause / 2);
        self.ask_at = now + pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Looks again at what is held back; to be called when [`Self::wake`] says so.
    pub fn reconsider(&mut self, now: Instant, works: impl Fn(u32) -> bool) -> Vec<SlotChange> {
        if self.report.held_back == 0 {
            return Vec::new();
        }
        self.settle(now, works)
    }

    /// When it is to be asked again.
    #[must_use]
    pub const fn ask_at(&self) -> Instant {
        self.ask_at
    }

    /// When to ask or to look, whatever comes first.
    #[must_use]
    pub fn wake(&self, now: Instant) -> Instant {
        if self.report.held_back == 0 {
            return self.ask_at;
        }
        self.ask_at.min(now + LOOK_EVERY)
    }

    /// The server in each slot.
    #[must_use]
    pub fn slots(&self) -> &[Option<DiscoveredServer>] {
        &self.slots
    }

    /// The current report.
    #[must_use]
    pub const fn report(&self) -> MembershipReport {
        self.report
    }

    /// Brings the slots as near to what is wanted as the rules allow.
    fn settle(&mut self, now: Instant, works: impl Fn(u32) -> bool) -> Vec<SlotChange> {
        let mut changes = Vec::new();
        let held = self.remove(now, works, &mut changes);
        self.keep(&mut changes);
        let surplus = self.add(&mut changes);
        self.report = MembershipReport {
            found: self.wanted.len(),
            surplus,
            held_back: held,
        };
        changes
    }

    /// Removes servers that are gone, and returns how many are held back.
    fn remove(
        &mut self,
        now: Instant,
        works: impl Fn(u32) -> bool,
        changes: &mut Vec<SlotChange>,
    ) -> usize {
        let occupied =
            |(slot, found): (u32, &Option<DiscoveredServer>)| found.map(|found| (slot, found));
        let (unwanted, kept): (Vec<_>, Vec<_>) = (0_u32..)
            .zip(&self.slots)
            .filter_map(occupied)
            .partition(|(_, found)| !self.wanted.contains_key(&found.address));
        // Whoever does not work is no loss.
        let (working, others): (Vec<_>, Vec<_>) =
            unwanted.into_iter().partition(|(slot, _)| works(*slot));
        let staying = kept.iter().filter(|(slot, _)| works(*slot)).count();
        let too_many = working.len() > staying && self.rules.slots > 1;
        let since = *self.held_since.get_or_insert(now);
        let hold = too_many && now.since(since) < self.rules.hold;
        if !hold {
            self.held_since = None;
        }
        let going = if hold { &[][..] } else { &working[..] };
        for (slot, _) in others.iter().chain(going) {
            self.slots[*slot as usize] = None;
            self.free.push_back(*slot);
            changes.push(SlotChange {
                slot: *slot,
                found: None,
            });
        }
        if hold { working.len() } else { 0 }
    }

    /// Remaining servers may have another weight or tier.
    fn keep(&mut self, changes: &mut Vec<SlotChange>) {
        for (slot, place) in (0_u32..).zip(&mut self.slots) {
            let wanted = place.and_then(|found| self.wanted.get(&found.address).copied());
            if wanted.is_some() && *place != wanted {
                *place = wanted;
                changes.push(SlotChange {
                    slot,
                    found: wanted,
                });
            }
        }
    }

    /// Gives free slots to those who have none, in the order of their addresses, and says how many get none.
    fn add(&mut self, changes: &mut Vec<SlotChange>) -> usize {
        let mut surplus = 0;
        for found in self.wanted.values() {
            let known = self.slots.iter().flatten();
            if known.map(|one| one.address).any(|one| one == found.address) {
                continue;
            }
            let Some(slot) = self.free.pop_front() else {
                surplus += 1;
                continue;
            };
            self.slots[slot as usize] = Some(*found);
            // A slot that was emptied a moment ago has one change, not two.
            changes.retain(|change| change.slot != slot);
            changes.push(SlotChange {
                slot,
                found: Some(*found),
            });
        }
        surplus
    }
}
