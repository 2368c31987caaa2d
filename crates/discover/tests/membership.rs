//! Properties of the membership rules, for any answers and any set of working servers.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_core::{Instant, Random};
use evenkeel_discover::membership::{DiscoveredServer, Membership, MembershipRules, SlotChange};
use proptest::prelude::*;

const RULES: MembershipRules = MembershipRules {
    slots: 6,
    least: Duration::from_secs(1),
    most: Duration::from_secs(60),
    hold: Duration::from_secs(300),
};

fn found(host: u8) -> DiscoveredServer {
    DiscoveredServer {
        address: SocketAddr::from(([10, 0, 0, host], 80)),
        weight: 1,
        tier: 0,
    }
}

fn all(hosts: &[u8]) -> Vec<DiscoveredServer> {
    hosts.iter().map(|host| found(*host)).collect()
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

const TTL: Duration = Duration::from_secs(5);

/// The hosts by slot, 0 for an empty slot.
fn hosts(membership: &Membership) -> Vec<u8> {
    let host = |found: &Option<DiscoveredServer>| match found.map(|found| found.address) {
        Some(SocketAddr::V4(address)) => address.ip().octets()[3],
        _ => 0,
    };
    membership.slots().iter().map(host).collect()
}

#[test]
fn a_slot_keeps_its_server_and_the_longest_free_one_is_taken_first() {
    let mut members = Membership::new(RULES, &[]);
    members.answered(at(0), &all(&[3, 1, 2]), TTL, |_| true);
    assert_eq!(hosts(&members), [1, 2, 3, 0, 0, 0], "by address");
    let changes = members.answered(at(5), &all(&[1, 3]), TTL, |_| true);
    assert_eq!(
        changes,
        [SlotChange {
            slot: 1,
            found: None
        }]
    );
    members.answered(at(10), &all(&[1, 3, 4, 5, 6, 7]), TTL, |_| true);
    assert_eq!(hosts(&members), [1, 7, 3, 4, 5, 6], "slot 1 was freed last");
    members.answered(at(15), &all(&[1, 3, 4, 5, 6, 7, 8, 2]), TTL, |_| true);
    assert_eq!(hosts(&members), [1, 7, 3, 4, 5, 6]);
    assert_eq!(members.report().surplus, 2);
    members.answered(at(20), &all(&[1, 3, 4, 5, 6, 8, 2]), TTL, |_| true);
    assert_eq!(
        hosts(&members),
        [1, 2, 3, 4, 5, 6],
        "the lowest of the surplus"
    );
}

#[test]
fn more_than_half_is_held_back_until_it_has_held() {
    let mut members = Membership::new(RULES, &[]);
    members.answered(at(0), &all(&[1, 2, 3, 4]), TTL, |_| true);
    // Half of them is not more than half.
    let mut half = Membership::new(RULES, &[]);
    half.answered(at(0), &all(&[1, 2, 3, 4]), TTL, |_| true);
    half.answered(at(5), &all(&[1, 2]), TTL, |_| true);
    assert_eq!(hosts(&half), [1, 2, 0, 0, 0, 0]);

    members.answered(at(5), &all(&[1, 9]), TTL, |_| true);
    assert_eq!(hosts(&members), [1, 2, 3, 4, 9, 0], "additions are taken");
    assert_eq!(members.report().held_back, 3);
    assert!(members.wake(at(5)) < at(6), "it is looked at often");
    // Another answer begins anew.
    members.answered(at(200), &all(&[1]), TTL, |_| true);
    assert_eq!(hosts(&members), [1, 2, 3, 4, 9, 0]);
    // A failure between is not another answer.
    members.failed(at(300), &mut Random::seeded(1));
    assert_eq!(members.reconsider(at(499), |_| true), []);
    assert_eq!(members.reconsider(at(500), |_| true).len(), 4);
    assert_eq!(hosts(&members), [1, 0, 0, 0, 0, 0]);
    assert_eq!(members.report().held_back, 0);
    assert_eq!(members.reconsider(at(501), |_| true), []);
}

#[test]
fn a_member_that_is_kept_despite_dns_leaves_when_it_fails() {
    let mut members = Membership::new(RULES, &[]);
    members.answered(at(0), &all(&[1, 2, 3, 4]), TTL, |_| true);
    members.answered(at(5), &all(&[1]), TTL, |_| true);
    assert_eq!(members.report().held_back, 3);
    // Slot 3 fails: it is no loss. Two of the three that work would still be too many.
    members.reconsider(at(6), |slot| slot != 3);
    assert_eq!(hosts(&members), [1, 2, 3, 0, 0, 0]);
    // Then slot 2 fails, and what is left is one of two.
    members.reconsider(at(7), |slot| slot < 2);
    assert_eq!(hosts(&members), [1, 0, 0, 0, 0, 0]);
    assert_eq!(members.report().held_back, 0);
}

#[test]
fn a_single_slot_follows_its_name() {
    let one = MembershipRules { slots: 1, ..RULES };
    let mut members = Membership::new(one, &[Some(found(1))]);
    assert_eq!(hosts(&members), [1]);
    let changes = members.answered(at(0), &all(&[2]), TTL, |_| true);
    let moved = SlotChange {
        slot: 0,
        found: Some(found(2)),
    };
    assert_eq!(changes, [moved], "one change, not two");
}

#[test]
fn it_is_asked_again_when_the_time_to_live_is_over() {
    let mut members = Membership::new(RULES, &[]);
    assert_eq!(members.ask_at(), Instant::ZERO);
    for (ttl, expected) in [(0, 1), (7, 7), (86_400, 60)] {
        members.answered(at(100), &all(&[1]), Duration::from_secs(ttl), |_| true);
        assert_eq!(members.ask_at(), at(100 + expected));
    }
    let mut random = Random::seeded(7);
    let mut longest = Duration::ZERO;
    for exponent in 0..12 {
        members.failed(at(100), &mut random);
        let pause = members.ask_at() - at(100);
        let most = Duration::from_secs(1 << exponent.min(5)).min(Duration::from_secs(30));
        assert!(most / 2 <= pause && pause <= most, "{exponent}: {pause:?}");
        longest = longest.max(pause);
    }
    assert!(longest > Duration::from_secs(15), "{longest:?}");
}

#[derive(Debug, Clone)]
enum Event {
    Answer(BTreeSet<u8>),
    Failure,
    Look,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => proptest::collection::btree_set(1..12_u8, 0..10).prop_map(Event::Answer),
        1 => Just(Event::Failure),
        1 => Just(Event::Look),
    ]
}

proptest! {
    #[test]
    fn membership_keeps_its_invariants_under_any_events(
        events in proptest::collection::vec((event(), 0..400_u64, any::<u8>()), 1..60),
        slots in 2..8_u32,
    ) {
        let mut members = Membership::new(MembershipRules { slots, ..RULES }, &[]);
        let mut random = Random::seeded(3);
        let (mut now, mut shadow) = (0, vec![0; slots as usize]);
        // The last good answer, and since when it has been the same.
        let (mut last, mut since) = (BTreeSet::new(), 0);
        for (event, pause, working) in events {
            now += pause;
            let works = |slot: u32| working >> (slot % 8) & 1 == 1;
            let before = hosts(&members);
            let serving = |hosts: &[u8]| (0..slots).filter(|slot| hosts[*slot as usize] != 0 && works(*slot)).count();
            let changes = match &event {
                Event::Answer(answer) => {
                    if !answer.is_empty() && *answer != last {
                        (last, since) = (answer.clone(), now);
                    }
                    let answer: Vec<u8> = answer.iter().copied().collect();
                    members.answered(at(now), &all(&answer), TTL, works)
                }
                Event::Failure => {
                    members.failed(at(now), &mut random);
                    Vec::new()
                }
                Event::Look => members.reconsider(at(now), works),
            };
            let after = hosts(&members);

            // The changes say all that changed, one for each slot.
            for change in &changes {
                shadow[change.slot as usize] = change.found.map_or(0, |found| match found.address {
                    SocketAddr::V4(address) => address.ip().octets()[3],
                    SocketAddr::V6(_) => 0,
                });
            }
            prop_assert_eq!(&shadow, &after);
            let named: BTreeSet<u32> = changes.iter().map(|change| change.slot).collect();
            prop_assert_eq!(named.len(), changes.len());

            // Nobody is there twice.
            let there: Vec<u8> = after.iter().copied().filter(|host| *host != 0).collect();
            let distinct: BTreeSet<u8> = there.iter().copied().collect();
            prop_assert_eq!(distinct.len(), there.len());

            // Who stays keeps its slot.
            for (slot, host) in before.iter().enumerate() {
                if *host != 0 && distinct.contains(host) {
                    prop_assert_eq!(after[slot], *host);
                }
            }

            // A failure, or an answer without servers, changes nothing.
            if matches!(&event, Event::Failure) || matches!(&event, Event::Answer(answer) if answer.is_empty()) {
                prop_assert_eq!(&before, &after);
            }

            // Of those that work, at most half go at once, unless the answer has held for long.
            let gone = (0..slots).filter(|slot| {
                let place = *slot as usize;
                before[place] != 0 && works(*slot) && !distinct.contains(&before[place])
            });
            let gone = gone.count();
            if now - since < RULES.hold.as_secs() {
                prop_assert!(gone * 2 <= serving(&before), "{} of {}", gone, serving(&before));
            }

            // Everybody is there who is in the answer, as far as there are slots.
            if !matches!(event, Event::Failure) && members.report().held_back == 0 && !last.is_empty()
                && matches!(&event, Event::Answer(answer) if !answer.is_empty())
            {
                prop_assert_eq!(there.len(), last.len().min(slots as usize));
                prop_assert!(distinct.is_subset(&last));
            }
            prop_assert_eq!(
                members.report().surplus,
                last.difference(&distinct).count()
            );
        }
    }
}

/// A reload gives the name more slots, or another one asks for the servers: those that are known stay where they are.
#[test]
fn what_was_known_before_keeps_its_slots_until_an_answer_says_otherwise() {
    let known = [None, Some(found(2)), Some(found(3))];
    let mut members = Membership::new(RULES, &known);
    let at = Instant::from_millis(0);
    assert_eq!(members.slots()[..3], known);
    let changes = members.answered(at, &[found(3), found(4)], RULES.least, |_| true);
    let slots: Vec<u32> = changes.iter().map(|change| change.slot).collect();
    assert_eq!(
        slots,
        [1, 0],
        "one has gone, and one came to the first free slot"
    );
    assert_eq!(members.slots()[2], Some(found(3)));
}
