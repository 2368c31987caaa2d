//! What a pick costs, and what a change of membership costs. See `README.md` beside this file.

use std::sync::Arc;
use std::time::Duration;

use divan::{AllocProfiler, Bencher, black_box};
use evenkeel_balance::{BalanceOptions, Member, Picker, Policy, Pool, ServerState};
use evenkeel_core::{Directive, EjectionReason, Instant, Outcome, Random, ServerId};

/// Counts allocations; costs nothing where there are none.
#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const POLICIES: [Policy; 10] = [
    Policy::Random,
    Policy::RoundRobin,
    Policy::WeightedRoundRobin,
    Policy::WeightedRandom,
    Policy::LeastRequests,
    Policy::PowerOfTwo,
    Policy::LeastResponseTime,
    Policy::Prequal,
    Policy::RingHash,
    Policy::Maglev,
];
const SIZES: [u32; 3] = [3, 10, 1_000];
/// Between two picks: a worker with 50,000 requests per second. The median of 100 ms is renewed as often as then.
const BETWEEN: Duration = Duration::from_micros(20);

fn main() {
    divan::main();
}

#[derive(Debug, Clone, Copy)]
struct Case {
    policy: Policy,
    servers: u32,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {}", self.policy, self.servers)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    POLICIES
        .into_iter()
        .flat_map(|policy| SIZES.map(|servers| Case { policy, servers }))
}

/// Servers with weights of 1 to `heaviest`, up to seven attempts in flight, and estimates of 5 to 15 ms.
fn members(servers: u32, heaviest: u32) -> Vec<Member> {
    let mut rng = Random::seeded(7);
    let member = |slot| {
        let state = Arc::new(ServerState::new());
        let took = Duration::from_micros(5_000 + rng.below(10_000) as u64);
        state.begin();
        state.end(Instant::ZERO, Outcome::Answered(200), took, Duration::ZERO);
        (0..rng.below(8)).for_each(|_| state.begin());
        Member {
            identity: format!("10.0.{}.{}:80", slot / 256, slot % 256).into(),
            state,
            weight: 1 + slot % heaviest,
            tier: 0,
            near: false,
            max_requests: 0,
        }
    };
    (0..servers).map(member).collect()
}

fn pool(policy: Policy, members: Vec<Member>) -> Pool {
    let options = BalanceOptions {
        policy,
        panic_below: 0.5,
        slow_start: Duration::from_secs(10),
        bounded_load: None,
        maglev_table: 65_537,
        overprovisioning: 1.4,
        subset: None,
    };
    Pool::new(options, members)
}

fn measure(bencher: Bencher<'_, '_>, pool: &Pool, avoid: &[u32], between: Duration) {
    let mut picker = Picker::new(pool, 1);
    let mut now = Instant::ZERO;
    bencher.bench_local(|| {
        now += between;
        picker.pick(black_box(pool), now, black_box(avoid))
    });
}

/// All servers in service, first attempt.
#[divan::bench(args = cases(), sample_size = 1_024, sample_count = 200)]
fn a_pick(bencher: Bencher<'_, '_>, case: Case) {
    let pool = pool(case.policy, members(case.servers, 4));
    measure(bencher, &pool, &[], BETWEEN);
}

/// The second attempt: one server was tried.
#[divan::bench(args = cases(), sample_size = 1_024, sample_count = 200)]
fn b_retry(bencher: Bencher<'_, '_>, case: Case) {
    let pool = pool(case.policy, members(case.servers, 4));
    measure(bencher, &pool, &[1], BETWEEN);
}

/// One server is ejected for good.
#[divan::bench(args = cases(), sample_size = 1_024, sample_count = 200)]
fn c_one_ejected(bencher: Bencher<'_, '_>, case: Case) {
    let pool = pool(case.policy, members(case.servers, 4));
    let directive = Directive::Eject {
        server: ServerId::new(0, 1),
        verdict: EjectionReason::Known,
        until: Instant::NEVER,
    };
    pool.members()[1].state.apply(&directive, Instant::ZERO);
    measure(bencher, &pool, &[], BETWEEN);
}

/// One server takes a tenth of its share.
#[divan::bench(args = cases(), sample_size = 1_024, sample_count = 200)]
fn d_one_on_trial(bencher: Bencher<'_, '_>, case: Case) {
    let pool = pool(case.policy, members(case.servers, 4));
    let directive = Directive::Trial {
        server: ServerId::new(0, 1),
        share: 0.1,
        until: Instant::NEVER,
    };
    pool.members()[1].state.apply(&directive, Instant::ZERO);
    measure(bencher, &pool, &[], BETWEEN);
}

/// A directive for any server, and the first pick after it: all servers are re-evaluated.
#[divan::bench(args = cases(), sample_size = 128, sample_count = 200)]
fn e_directive_and_pick(bencher: Bencher<'_, '_>, case: Case) {
    let pool = pool(case.policy, members(case.servers, 4));
    let mut picker = Picker::new(&pool, 1);
    let elsewhere = ServerState::new();
    let directive = Directive::Drain {
        server: ServerId::new(1, 0),
    };
    bencher.bench_local(|| {
        elsewhere.apply(&directive, Instant::ZERO);
        picker.pick(black_box(&pool), Instant::ZERO, &[])
    });
}

/// Weights of 1 to 100, where the sequence of smooth weighted round robin is too long to be computed in advance.
#[divan::bench(
    args = POLICIES.map(|policy| Case { policy, servers: 1_000 }),
    sample_size = 1_024,
    sample_count = 200,
)]
fn f_wide_weights(bencher: Bencher<'_, '_>, case: Case) {
    let pool = pool(case.policy, members(case.servers, 100));
    measure(bencher, &pool, &[], BETWEEN);
}

/// Estimates younger than 100 ms, as in a busy pool; in the other benchmarks no attempt ends, so that all of them are
/// older.
#[divan::bench(
    args = SIZES.map(|servers| Case { policy: Policy::LeastResponseTime, servers }),
    sample_size = 1_024,
    sample_count = 200,
)]
fn f_fresh_estimates(bencher: Bencher<'_, '_>, case: Case) {
    let pool = pool(case.policy, members(case.servers, 4));
    measure(bencher, &pool, &[], Duration::from_nanos(100));
}

/// A change of membership: a new pool of servers that are known, and the first pick from it by a worker.
#[divan::bench(args = POLICIES.map(|policy| Case { policy, servers: 10_000 }), sample_size = 1)]
fn g_membership_change(bencher: Bencher<'_, '_>, case: Case) {
    change(bencher, case, 4);
}

/// The same with the longest sequence that smooth weighted round robin computes in advance: equal weights.
#[divan::bench(
    args = [4_000, 8_192].map(|servers| Case { policy: Policy::WeightedRoundRobin, servers }),
    sample_size = 1,
    sample_count = 20,
)]
fn h_membership_change_equal_weights(bencher: Bencher<'_, '_>, case: Case) {
    change(bencher, case, 1);
}

fn change(bencher: Bencher<'_, '_>, case: Case, heaviest: u32) {
    let members = members(case.servers, heaviest);
    let mut picker = Picker::new(&pool(case.policy, members.clone()), 1);
    bencher
        .with_inputs(|| members.clone())
        .bench_local_values(|members| {
            let pool = pool(case.policy, members);
            let pick = picker.pick(&pool, Instant::ZERO, &[]);
            (pool, pick)
        });
}
