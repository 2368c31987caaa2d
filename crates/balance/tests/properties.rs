//! Properties of every policy, pool and history.

mod common;

use common::*;
use evenkeel_balance::{Availability, BalanceOptions, Member, PickReason, Picker, Policy, Pool};
use evenkeel_core::{Directive, EjectionReason, Outcome};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Pick {
        avoid: Vec<u32>,
    },
    End {
        slot: usize,
        outcome: Outcome,
        millis: u64,
    },
    Order {
        server: usize,
        directive: Directive,
    },
    Wait {
        millis: u64,
    },
}

fn directive() -> impl Strategy<Value = Directive> {
    let server = SERVER;
    prop_oneof![
        (any::<bool>(), 0_u64..5_000).prop_map(move |(known, until)| Directive::Eject {
            server,
            verdict: if known {
                EjectionReason::Known
            } else {
                EjectionReason::Suspected
            },
            until: at(until),
        }),
        (0.01..1.0_f64, 0_u64..5_000).prop_map(move |(share, until)| Directive::Trial {
            server,
            share,
            until: at(until)
        }),
        Just(Directive::Drain { server }),
        any::<bool>().prop_map(move |slowly| Directive::Restore { server, slowly }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        Just(Outcome::Answered(200)),
        Just(Outcome::Answered(500)),
        Just(Outcome::ConnectRefused),
        Just(Outcome::Cancelled),
        Just(Outcome::LocalError),
        Just(Outcome::StreamRefused),
    ];
    prop_oneof![
        4 => vec(0_u32..8, 0..5).prop_map(|avoid| Step::Pick { avoid }),
        2 => (0_usize..8, outcome, 0_u64..1_000)
            .prop_map(|(slot, outcome, millis)| Step::End { slot, outcome, millis }),
        2 => (0_usize..8, directive()).prop_map(|(server, directive)| Step::Order { server, directive }),
        1 => (0_u64..800).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// What the rules allow, worked out the slow way: who may be picked, and whether it is panic.
fn allowed(pool: &Pool, now: u64) -> (Vec<u32>, bool) {
    let standing = |index: usize| pool.members()[index].state.standing(at(now));
    let all = 0..pool.members().len();
    let usable: Vec<u32> = all
        .clone()
        .filter(|&i| standing(i).is_usable())
        .map(|i| i as u32)
        .collect();
    let is_enough = |tier: u8| {
        let of_tier = all.clone().filter(|&i| pool.members()[i].tier == tier);
        let (mut total, mut here) = (0.0, 0.0);
        for index in of_tier {
            total += 1.0;
            here += f64::from(u8::from(standing(index).is_usable()));
        }
        here > 0.0 && here + 1e-6 >= pool.options().panic_below * total
    };
    let carries = |tier: u8| {
        let of_tier = || all.clone().filter(|&i| pool.members()[i].tier == tier);
        let here = of_tier().filter(|&i| standing(i).is_usable()).count() as f64;
        (1.4 * here / (of_tier().count().max(1)) as f64).min(1.0)
    };
    let total: f64 = (0..=2).map(carries).sum();
    if (0..=2).any(is_enough) || total >= 1.0 - 1e-6 || pool.options().panic_below <= 0.0 {
        return (usable, false);
    }
    let suspected = Availability::Ejected {
        verdict: EjectionReason::Suspected,
    };
    let any = all
        .filter(|&i| standing(i).is_usable() || standing(i) == suspected)
        .map(|i| i as u32)
        .collect();
    (any, true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Never a drained or known-down server; never an ejected one except in panic; never one tried before while another
    /// is available; never none while one is usable.
    #[test]
    fn picks_keep_to_the_rules(
        policy in 0_usize..ALL.len(), seed: u64,
        servers in vec((0_u32..6, 0_u8..3), 1..8),
        panic_below in prop_oneof![Just(0.0), Just(0.5), Just(1.0)],
        steps in vec(step(), 1..60),
    ) {
        let options = BalanceOptions { panic_below, ..options(ALL[policy]) };
        let members: Vec<Member> = servers.iter().map(|&(weight, tier)| member(weight, tier)).collect();
        let pool = Pool::new(options, members);
        let mut picker = Picker::new(&pool, seed);
        let mut now = 0;
        for step in steps {
            match step {
                Step::Wait { millis } => now += millis,
                Step::Order { server, directive } => {
                    pool.members()[server % servers.len()].state.apply(&directive, at(now));
                }
                Step::End { slot, outcome, millis } => {
                    let state = &pool.members()[slot % servers.len()].state;
                    answer(state, at(now), outcome, millis, picker.typical_latency());
                }
                Step::Pick { avoid } => {
                    let (may, panic) = allowed(&pool, now);
                    let Some(pick) = picker.pick(&pool, at(now), &avoid) else {
                        prop_assert!(may.is_empty());
                        continue;
                    };
                    prop_assert!(may.contains(&pick.index), "{pick:?} of {may:?}");
                    let is_ejected = !pool.members()[pick.index as usize].state.standing(at(now)).is_usable();
                    prop_assert!(!is_ejected || panic);
                    let again = avoid.contains(&pick.index);
                    prop_assert_eq!(again, pick.reason == PickReason::Again);
                    prop_assert!(!again || may.iter().all(|index| avoid.contains(index)));
                    pool.members()[pick.index as usize].state.begin();
                }
            }
        }
    }

    /// The same seed and history give the same picks.
    #[test]
    fn picks_replay(policy in 0_usize..ALL.len(), seed: u64, size in 1_usize..20) {
        let pool = pool(ALL[policy], size);
        let run = || {
            let mut picker = Picker::new(&pool, seed);
            (0..50).map(|n| picker.pick(&pool, at(n), &[]).map(|pick| pick.index)).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    /// Smooth weighted round robin gives each its weight in each round, from any place in it.
    #[test]
    fn weighted_rounds_are_exact(weights in vec(1_u32..20, 1..8), seed: u64) {
        let pool = weighted(Policy::WeightedRoundRobin, &weights);
        let round: u32 = weights.iter().sum();
        let counts = counts(&mut Picker::new(&pool, seed), &pool, at(1), &[], round as usize);
        prop_assert_eq!(counts, weights.iter().map(|&weight| weight as usize).collect::<Vec<_>>());
    }
}
