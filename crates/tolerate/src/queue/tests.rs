//! Turns, ends and bounds of the queue, in virtual time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn plain(length: u32) -> QueueOptions {
    QueueOptions {
        length,
        codel: CodelRule::Off,
        ..QueueOptions::default()
    }
}

fn push(queue: &mut Queue<u32>, millis: u64, class: Class, item: u32) {
    let pushed = queue.push(at(millis), class, Instant::NEVER, item);
    assert!(matches!(pushed, PushResult::Queued(_)), "{pushed:?}");
}

fn popped(queue: &mut Queue<u32>, millis: u64) -> Option<(u32, DequeueReason)> {
    queue.pop(at(millis)).map(|left| (left.item, left.reason))
}

#[test]
fn classes_before_each_other_and_each_in_order() {
    let mut queue = Queue::new(plain(10));
    for (item, class) in [
        (1, Class::Sheddable),
        (2, Class::Critical),
        (3, Class::CriticalPlus),
        (4, Class::Critical),
        (5, Class::SheddablePlus),
    ] {
        push(&mut queue, 0, class, item);
    }
    assert_eq!(queue.snapshot().waiting, [1, 1, 2, 1]);
    let order: Vec<u32> = std::iter::from_fn(|| queue.pop(at(1)))
        .map(|left| left.item)
        .collect();
    assert_eq!(order, [3, 2, 4, 5, 1]);
    assert!(queue.is_empty());
}

#[test]
fn what_finds_no_place_after_all_stands_where_it_stood_or_behind_the_others() {
    let mut queue = Queue::new(plain(10));
    let PushResult::Queued(ticket) = queue.push(at(0), Class::Critical, Instant::NEVER, 1) else {
        panic!("it is empty");
    };
    push(&mut queue, 1, Class::Critical, 2);
    assert_eq!(popped(&mut queue, 2), Some((1, DequeueReason::Served)));
    let back = |ticket, behind| ReturnedEntry {
        ticket,
        came: at(0),
        until: at(1_000),
        behind,
    };
    let ticket = queue.put_back(at(2), back(ticket, false), 1);
    assert_eq!(queue.snapshot().left[0], 0);
    assert_eq!(popped(&mut queue, 3), Some((1, DequeueReason::Served)));
    let ticket = queue.put_back(at(3), back(ticket, true), 1);
    let taken_back = queue.cancel(at(4), ticket).expect("it waits");
    assert_eq!(taken_back.waited, Duration::from_millis(4));
    assert_eq!(popped(&mut queue, 4), Some((2, DequeueReason::Served)));
    queue.put_back(at(4), back(ticket, true), 1);
    push(&mut queue, 4, Class::Critical, 3);
    assert_eq!(popped(&mut queue, 5), Some((1, DequeueReason::Served)));
    assert_eq!(popped(&mut queue, 5), Some((3, DequeueReason::Served)));
}

#[test]
fn what_is_past_its_deadline_is_not_served() {
    let mut queue = Queue::new(plain(10));
    assert!(matches!(
        queue.push(at(0), Class::Critical, at(50), 1),
        PushResult::Queued(_)
    ));
    push(&mut queue, 0, Class::Critical, 2);
    push(&mut queue, 0, Class::Sheddable, 3);
    push(&mut queue, 100, Class::Critical, 4);
    assert_eq!(
        popped(&mut queue, 50),
        Some((1, DequeueReason::Expired)),
        "at the moment itself"
    );
    assert_eq!(popped(&mut queue, 999), Some((2, DequeueReason::Served)));
    assert_eq!(
        popped(&mut queue, 1_000),
        Some((3, DequeueReason::Expired)),
        "the queue's own second"
    );
    assert_eq!(popped(&mut queue, 1_000), Some((4, DequeueReason::Served)));
    assert_eq!(popped(&mut queue, 1_000), None);
    assert_eq!(queue.snapshot().left, [2, 2, 0, 0, 0]);
}

#[test]
fn one_behind_with_an_earlier_deadline_expires_when_its_turn_comes() {
    let mut queue = Queue::new(plain(10));
    push(&mut queue, 0, Class::Critical, 1);
    assert!(matches!(
        queue.push(at(0), Class::Critical, at(5), 2),
        PushResult::Queued(_)
    ));
    assert_eq!(queue.next_deadline(), Some(at(5)));
    assert_eq!(popped(&mut queue, 10), Some((1, DequeueReason::Served)));
    assert_eq!(popped(&mut queue, 10), Some((2, DequeueReason::Expired)));
    push(&mut queue, 10, Class::Critical, 3);
    assert!(matches!(
        queue.push(at(10), Class::Critical, at(15), 4),
        PushResult::Queued(_)
    ));
    assert_eq!(queue.expire(at(14)), None);
    assert_eq!(queue.expire(at(15)).map(|left| left.item), Some(4));
}

#[test]
fn an_entry_waits_for_half_of_what_its_deadline_leaves() {
    let mut queue: Queue<u32> = Queue::new(plain(10));
    let until = |queue: &Queue<u32>, deadline| queue.waits_until(at(100), at(deadline));
    assert_eq!(until(&queue, 400), at(400), "nothing is known");
    queue.expect(Duration::from_millis(20));
    assert_eq!(until(&queue, 400), at(240));
    assert_eq!(until(&queue, 60_000), at(1_100), "the queue's own second");
    queue.expect(Duration::from_millis(200));
    assert_eq!(until(&queue, 400), at(150));
    assert_eq!(until(&queue, 300), at(100), "not at all");
    assert_eq!(until(&queue, 50), at(100));
    assert_eq!(queue.waits_until(at(0), Instant::NEVER), at(1_000));
}

/// With a deadline of 300 ms a target of 200 ms would never be reached.
#[test]
fn the_target_follows_the_deadlines() {
    let rule = CodelState::new(QueueOptions::default().codel);
    let millis = Duration::from_millis;
    let target = |most, service| rule.target(millis(1_000), millis(most), millis(service));
    assert_eq!(target(1_000, 0), millis(200));
    assert_eq!(target(5_000, 0), millis(200));
    assert_eq!(target(150, 0), millis(30));
    assert_eq!(target(150, 50), millis(50), "not less than a request takes");
    assert_eq!(
        target(500, 900),
        millis(200),
        "and never more than the option"
    );
}

#[test]
fn a_full_queue_sheds_the_newest_of_the_least_class() {
    let mut queue = Queue::new(plain(3));
    push(&mut queue, 0, Class::Sheddable, 1);
    push(&mut queue, 0, Class::Sheddable, 2);
    push(&mut queue, 0, Class::SheddablePlus, 3);
    let PushResult::Rejected(4) = queue.push(at(1), Class::Sheddable, Instant::NEVER, 4) else {
        panic!("nothing matters less");
    };
    let PushResult::Displaced(_, left) = queue.push(at(1), Class::Critical, Instant::NEVER, 5)
    else {
        panic!("there are lesser ones");
    };
    assert_eq!((left.item, left.reason), (2, DequeueReason::ShedFull));
    // Past a deadline goes before all of that.
    let PushResult::Displaced(_, left) = queue.push(at(1_000), Class::Sheddable, Instant::NEVER, 6)
    else {
        panic!("1 has expired");
    };
    assert_eq!((left.item, left.reason), (1, DequeueReason::Expired));
    let snapshot = queue.snapshot();
    assert_eq!((snapshot.refused, snapshot.left), (1, [0, 1, 0, 1, 0]));
}

#[test]
fn a_ticket_takes_back_once() {
    let mut queue = Queue::new(plain(3));
    let PushResult::Queued(ticket) = queue.push(at(0), Class::Critical, Instant::NEVER, 1) else {
        panic!("there is room");
    };
    push(&mut queue, 0, Class::Critical, 2);
    let left = queue.cancel(at(7), ticket).expect("it waits");
    assert_eq!(
        (left.reason, left.waited),
        (DequeueReason::Cancelled, Duration::from_millis(7))
    );
    assert_eq!(queue.cancel(at(7), ticket), None);
    assert_eq!(popped(&mut queue, 8), Some((2, DequeueReason::Served)));
}

#[test]
fn the_newest_first_only_while_the_queue_stands() {
    let mut queue = Queue::new(QueueOptions {
        newest_first_after: Some(Duration::from_millis(100)),
        ..plain(10)
    });
    for item in 0..4 {
        push(&mut queue, u64::from(item), Class::Critical, item);
    }
    assert_eq!(popped(&mut queue, 100), Some((0, DequeueReason::Served)));
    assert_eq!(popped(&mut queue, 101), Some((3, DequeueReason::Served)));
    assert_eq!(
        popped(&mut queue, 1_001),
        Some((1, DequeueReason::Expired)),
        "the old ones first"
    );
    assert_eq!(popped(&mut queue, 1_001), Some((2, DequeueReason::Served)));
    push(&mut queue, 1_002, Class::Critical, 7);
    push(&mut queue, 1_003, Class::Critical, 8);
    assert_eq!(
        popped(&mut queue, 1_004),
        Some((7, DequeueReason::Served)),
        "it was empty"
    );
}

/// Two come for each that can be served, with 100 ms to wait.
fn overloaded(options: QueueOptions) -> QueueSnapshot {
    let mut queue = Queue::new(options);
    for millis in 0..5_000 {
        for item in 0..2 {
            let _: PushResult<u32> =
                queue.push(at(millis), Class::Critical, at(millis + 100), item);
        }
        queue.serve(at(millis), |_| {});
    }
    queue.snapshot()
}

#[test]
fn codel_refuses_early_what_would_only_expire() {
    let without = overloaded(plain(1_000));
    let with = overloaded(QueueOptions {
        codel: CodelRule::MinimumDelay(CodelOptions::default()),
        ..plain(1_000)
    });
    // Each served one is served either way; but with CoDel they have waited less, so fewer wait.
    assert_eq!((without.left[0], without.left[2]), (5_000, 0));
    assert!(without.waiting[2] >= 90, "{without:?}");
    assert!(with.left[0] >= 4_900 && with.left[2] > 4_000, "{with:?}");
    assert!(with.waiting[2] <= 40, "{with:?}");
}

#[test]
fn dequeue_reasons_are_indexed_by_their_position() {
    let words = DequeueReason::ALL.map(DequeueReason::word);
    assert_eq!(
        words,
        ["served", "expired", "shed-codel", "shed-full", "cancelled"]
    );
    assert!(
        DequeueReason::ALL
            .iter()
            .enumerate()
            .all(|(index, reason)| *reason as usize == index)
    );
}

#[derive(Debug, Clone)]
enum Step {
    Push { class: usize, deadline: u64 },
    Pop,
    Cancel(usize),
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        4 => (0_usize..4, 0_u64..400).prop_map(|(class, deadline)| Step::Push { class, deadline }),
        3 => Just(Step::Pop),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => Just(Step::Expire),
    ];
    proptest::collection::vec((0_u64..30, step), 0..400)
}

fn rules() -> impl Strategy<Value = CodelRule> {
    let codel = CodelOptions::default();
    prop_oneof![
        Just(CodelRule::Off),
        Just(CodelRule::MinimumDelay(codel)),
        Just(CodelRule::Rfc8289(codel))
    ]
}

proptest! {
    #[test]
    fn every_entry_leaves_once_and_with_the_right_reason(
        steps in steps(), length in 0_u32..12, codel in rules(), newest_first in any::<bool>(),
    ) {
        let newest_first_after = newest_first.then_some(Duration::from_millis(100));
        let options = QueueOptions { length, codel, newest_first_after, wait: Duration::from_millis(200) };
        let mut queue = Queue::new(options);
        let mut waiting: BTreeMap<u32, (Class, Instant, Ticket)> = BTreeMap::new();
        let (mut now, mut next, mut left_count, mut refused) = (Instant::ZERO, 0_u32, 0_u64, 0_u64);
        for (wait, step) in steps {
            now += Duration::from_millis(wait);
            let mut left = None;
            match step {
                Step::Push { class, deadline } => {
                    let class = Class::ALL[class];
                    let deadline = now + Duration::from_millis(deadline);
                    let ticket = match queue.push(now, class, deadline, next) {
                        PushResult::Queued(ticket) => Some(ticket),
                        PushResult::Displaced(ticket, instead) => {
                            let late = instead.reason == DequeueReason::Expired;
                            prop_assert!(late || instead.reason == DequeueReason::ShedFull && instead.class < class);
                            left = Some(instead);
                            Some(ticket)
                        }
                        PushResult::Rejected(item) => {
                            prop_assert_eq!(item, next);
                            prop_assert!(waiting.values().all(|(other, ..)| *other >= class));
                            refused += 1;
                            None
                        }
                    };
                    let deadline = deadline.min(now + Duration::from_millis(200));
                    if let Some(ticket) = ticket { waiting.insert(next, (class, deadline, ticket)); }
                    next += 1;
                }
                Step::Pop => {
                    left = queue.pop(now);
                    prop_assert_eq!(left.is_none(), waiting.is_empty());
                    if let Some(left) = &left && left.reason == DequeueReason::Served {
                        prop_assert!(waiting.values().all(|(class, ..)| *class <= left.class));
                        let older = |(item, (class, ..)): (&u32, &(Class, Instant, Ticket))| *class == left.class && *item < left.item;
                        prop_assert!(newest_first || !waiting.iter().any(older), "out of order");
                    }
                }
                Step::Cancel(which) => if !waiting.is_empty() {
                    let ticket = waiting.values().nth(which % waiting.len()).expect("not empty").2;
                    left = queue.cancel(now, ticket);
                    prop_assert!(left.is_some());
                }
                Step::Expire => left = queue.expire(now),
            }
            if let Some(left) = left {
                let (class, deadline, ticket) = waiting.remove(&left.item).expect("it was in");
                prop_assert_eq!(class, left.class);
                prop_assert_eq!(left.reason == DequeueReason::Expired, now >= deadline);
                prop_assert!(queue.cancel(now, ticket).is_none(), "left twice");
                left_count += 1;
            }
            prop_assert_eq!(queue.len(), waiting.len());
            prop_assert!(queue.len() <= length as usize);
        }
        let snapshot = queue.snapshot();
        prop_assert_eq!(snapshot.left.iter().sum::<u64>(), left_count);
        prop_assert_eq!(left_count + refused + waiting.len() as u64, u64::from(next));
    }
}
