//! Empty slots: never picked and not counted, whatever the policy.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::{Availability, BalanceOptions, Member, Picker, Policy, Pool, ServerState};
use evenkeel_core::{Directive, EjectionReason, Instant, ServerId};

const POLICIES: [Policy; 9] = [
    Policy::Random,
    Policy::RoundRobin,
    Policy::WeightedRoundRobin,
    Policy::WeightedRandom,
    Policy::LeastResponseTime,
    Policy::LeastRequests,
    Policy::PowerOfTwo,
    Policy::RingHash,
    Policy::Maglev,
];

fn members(number: usize) -> Vec<Member> {
    let member = |slot| Member {
        identity: format!("10.0.0.{slot}:80").into(),
        state: Arc::new(ServerState::new()),
        weight: 1,
        tier: 0,
        near: false,
        max_requests: 0,
    };
    (0..number).map(member).collect()
}

fn options(policy: Policy) -> BalanceOptions {
    BalanceOptions {
        policy,
        panic_below: 0.5,
        slow_start: Duration::from_secs(10),
        bounded_load: None,
        maglev_table: 251,
        overprovisioning: 1.4,
        subset: None,
    }
}

#[test]
fn no_request_is_sent_to_a_vacant_slot() {
    let now = Instant::from_millis(1000);
    for policy in POLICIES {
        let pool = Pool::with_vacant(options(policy), members(6), &[0, 2, 5]);
        assert_eq!(pool.in_service(now), 3, "{policy:?}");
        let mut picker = Picker::new(&pool, 1);
        let mut counts = [0; 6];
        for key in 0..600_u32 {
            let pick = picker.pick_for(
                &pool,
                now,
                &[],
                Some(evenkeel_balance::key(&key.to_le_bytes())),
            );
            counts[pick.map_or(0, |pick| pick.index as usize)] += 1;
        }
        assert_eq!((counts[0], counts[2], counts[5]), (0, 0, 0), "{policy:?}");
        // Another pool, the same picker: the one that was vacant takes its part.
        let next = Pool::with_vacant(options(policy), pool.members().to_vec(), &[2, 5]);
        let picks =
            (0..200).filter_map(|key| picker.pick_for(&next, now, &[1, 3, 4], Some(key)).ok());
        assert!(picks.into_iter().all(|pick| pick.index == 0), "{policy:?}");
        let empty = Pool::with_vacant(options(policy), members(2), &[0, 1]);
        assert_eq!(picker.pick(&empty, now, &[]), None, "{policy:?}");
    }
}

/// Three of eight that are there is less than half; two of three is not, whatever the number of vacant places.
#[test]
fn vacant_slots_do_not_count_for_panic_mode() {
    let now = Instant::from_millis(1000);
    let pool = Pool::with_vacant(options(Policy::RoundRobin), members(8), &[3, 4, 5, 6, 7]);
    let eject = Directive::Eject {
        server: ServerId::new(0, 0),
        verdict: EjectionReason::Suspected,
        until: Instant::NEVER,
    };
    pool.members()[0].state.apply(&eject, now);
    let mut picker = Picker::new(&pool, 1);
    for _ in 0..20 {
        let pick = picker.pick(&pool, now, &[]).expect("two are usable");
        assert_ne!(pick.index, 0, "no panic");
    }
}

#[test]
fn a_server_that_joins_starts_slowly() {
    let now = Instant::from_millis(1000);
    let pool = Pool::new(options(Policy::RoundRobin), members(1));
    let state = &pool.members()[0].state;
    state.join(now);
    assert_eq!(state.standing(now), Availability::Warming);
    let restore = Directive::Restore {
        server: ServerId::new(0, 0),
        slowly: true,
    };
    state.apply(&restore, now);
    assert_eq!(state.standing(now), Availability::Warming, "it goes on");
}
