//! The wheel held against a plain map of deadlines, and the task that turns it on a clock that only jumps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use super::*;

fn wheel() -> Wheel {
    Wheel {
        slots: vec![],
        free: vec![],
        ticks: (0..RIM).map(|_| Vec::new()).collect(),
        now: 0,
        planned: NEVER,
    }
}

/// Advances tick by tick and says when the slot expired.
fn expiry(wheel: &mut Wheel, place: usize, until: u64) -> Option<u64> {
    (wheel.now + 1..until).find(|&now| {
        wheel.advance(now);
        wheel.slots[place].expired
    })
}

#[test]
fn a_deadline_is_met_in_the_next_tick_and_never_early() {
    for deadline in [1, 2, 100, RIM - 1, RIM, 3 * RIM + 7] {
        let mut wheel = wheel();
        let place = wheel.open();
        wheel.set(place, deadline);
        assert_eq!(expiry(&mut wheel, place, 10 * RIM), Some(deadline + 1));
    }
}

#[test]
fn a_deadline_that_moves_on_is_met_at_its_last_place() {
    let mut wheel = wheel();
    let place = wheel.open();
    for now in 1..500 {
        wheel.set(place, now + 50);
        wheel.advance(now);
        assert!(!wheel.slots[place].expired);
    }
    assert_eq!(expiry(&mut wheel, place, 10_000), Some(550));
}

#[test]
fn a_deadline_that_moves_forward_is_met_early_enough() {
    let mut wheel = wheel();
    let place = wheel.open();
    wheel.set(place, 5_000);
    wheel.set(place, 20);
    assert_eq!(expiry(&mut wheel, place, 6_000), Some(21));
}

#[test]
fn a_reused_slot_does_not_inherit_a_deadline() {
    let mut wheel = wheel();
    let place = wheel.open();
    wheel.set(place, 10);
    wheel.close(place);
    assert_eq!(wheel.open(), place);
    assert_eq!(expiry(&mut wheel, place, 100), None);
}

#[test]
fn a_long_pause_of_the_worker_loses_nothing() {
    let mut wheel = wheel();
    let (a, b) = (wheel.open(), wheel.open());
    wheel.set(a, 10);
    wheel.set(b, 900);
    wheel.advance(100_000);
    assert!(wheel.slots[a].expired && wheel.slots[b].expired);
}

/// What was lost: a deadline beyond the rim that comes due during a pause, and is entered again at a place of the wheel that
/// the same walk has yet to pass.
#[test]
fn a_deadline_that_is_entered_again_during_a_pause_is_not_lost() {
    let mut wheel = wheel();
    let place = wheel.open();
    wheel.set(place, 3_580);
    // Entered at the rim, 1023. That comes due in the middle of the 29 ticks of a pause.
    wheel.advance(1_001);
    wheel.advance(1_030);
    assert_eq!(expiry(&mut wheel, place, 10_000), Some(3_581));
}

/// Something that happens to the wheel.
#[derive(Debug, Clone)]
enum Step {
    Open,
    /// Moves the deadline of one of the timers to so many ticks from now; some are in the past.
    Set(prop::sample::Index, i64),
    Drop(prop::sample::Index),
    /// So many ticks pass until the wheel is turned.
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let rim = RIM.cast_signed();
    let delay = prop_oneof![
        4 => -3..60_i64,
        4 => 0..2 * rim,
        1 => rim - 3..rim + 3,
        2 => 0..5 * rim,
        1 => Just(NEVER_DELAY),
    ];
    let ticks = prop_oneof![
        8 => 0..4_u64,
        4 => 1..60_u64,
        2 => 1..RIM,
        1 => RIM - 2..RIM + 3,
        1 => 1..4 * RIM,
    ];
    prop_oneof![
        2 => Just(Step::Open),
        6 => (any::<prop::sample::Index>(), delay).prop_map(|(of, delay)| Step::Set(of, delay)),
        1 => any::<prop::sample::Index>().prop_map(Step::Drop),
        6 => ticks.prop_map(Step::Advance),
    ]
}

const NEVER_DELAY: i64 = i64::MAX / 2;

#[derive(Debug, Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A timer as a plain model has it.
#[derive(Debug, Default)]
struct Model {
    /// The tick after which it has expired, if it was set.
    deadline: Option<u64>,
    woken: Arc<Woken>,
    /// How often it must have been woken.
    wakes: usize,
    /// Whether it has been woken since its deadline was set.
    expired: bool,
}

/// Holds the wheel against the models: what must have expired has, was woken once, and nothing else has.
fn compare(wheel: &mut Wheel, models: &mut BTreeMap<usize, Model>) {
    for (place, model) in models {
        let due = model.deadline.is_some_and(|deadline| deadline <= wheel.now);
        assert_eq!(wheel.slots[*place].expired, due, "{place}: {model:?}");
        if due && !model.expired {
            model.expired = true;
            model.wakes += 1;
        }
        assert_eq!(
            model.woken.0.load(Ordering::Relaxed),
            model.wakes,
            "{model:?}"
        );
        let slot = &mut wheel.slots[*place];
        if !slot.expired && slot.waker.is_none() {
            slot.waker = Some(Waker::from(Arc::clone(&model.woken)));
        }
    }
    for slot in &wheel.slots {
        let in_wheel = slot.entered > wheel.now && slot.entered < wheel.now + RIM;
        assert!(in_wheel || slot.entered == NEVER, "{slot:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Against a map of deadlines, with pauses of any length, moves, drops and slots used again: none is early, none is lost,
    /// and when the wheel has turned all that are over have expired.
    #[test]
    fn the_wheel_is_as_right_as_a_map(steps in vec(step(), 1..200)) {
        let mut wheel = wheel();
        let mut models: BTreeMap<usize, Model> = BTreeMap::new();
        let mut now = 1;
        for step in steps {
            let places: Vec<usize> = models.keys().copied().collect();
            match step {
                Step::Open => {
                    models.insert(wheel.open(), Model::default());
                }
                Step::Set(of, delay) if !places.is_empty() => {
                    let place = *of.get(&places);
                    let deadline = if delay == NEVER_DELAY {
                        tick_of(Instant::NEVER)
                    } else {
                        wheel.now.saturating_add_signed(delay)
                    };
                    wheel.set(place, deadline);
                    let model = models.get_mut(&place).expect("it is there");
                    // One that is over already expires in the tick that comes.
                    model.deadline = Some(deadline.max(wheel.now + 1));
                    model.expired = false;
                }
                Step::Drop(of) if !places.is_empty() => {
                    let place = *of.get(&places);
                    wheel.close(place);
                    models.remove(&place);
                }
                Step::Set(..) | Step::Drop(_) => {}
                Step::Advance(ticks) => {
                    now += ticks;
                    wheel.advance(now).into_iter().for_each(Waker::wake);
                }
            }
            compare(&mut wheel, &mut models);
        }
        // Nothing is forgotten in the end: the wheel's own plan leads to every deadline.
        let last = models.values().filter_map(|model| model.deadline).filter(|tick| *tick < NEVER >> TICK_BITS).max();
        while let Some(last) = last && wheel.now < last {
            let next = wheel.plan();
            prop_assert!(next != NEVER, "it waits for nothing, at {} of {last}", wheel.now);
            wheel.advance(next + 1).into_iter().for_each(Waker::wake);
            compare(&mut wheel, &mut models);
        }
    }
}

/// A runtime whose clock stands still but for jumps.
fn paused() -> LocalRuntime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .expect("a runtime")
}

/// The task that turns the wheel, on a clock that stands still but for jumps: no stop of the process loses a deadline.
#[test]
fn a_process_that_is_stopped_again_and_again_closes_all_idle_connections() {
    const TIMERS: usize = 400;
    const IDLE: Duration = Duration::from_secs(30);
    paused().block_on(async {
        let clock = Clock::start();
        let timers = Timers::new(clock);
        tokio::task::spawn_local(Rc::clone(&timers).run());
        let mut waiting = Vec::new();
        for _ in 0..TIMERS {
            let timer = timers.timer();
            waiting.push(tokio::task::spawn_local(async move {
                let deadline = clock.now() + IDLE;
                timer.set(deadline);
                timer.expired().await;
                assert!(clock.now() >= deadline, "it was early");
            }));
            stop(Duration::from_millis(20)).await;
        }
        let mut stops = [5, 50, 70, 400, 9_000, 12_000].into_iter().cycle();
        let all_over = clock.now() + IDLE + Duration::from_millis(2 * 9);
        while clock.now() < all_over {
            stop(Duration::from_millis(stops.next().expect("for ever"))).await;
        }
        let open = waiting.iter().filter(|task| !task.is_finished()).count();
        assert_eq!(open, 0, "connections whose deadline was lost");
        for task in waiting {
            task.await.expect("none was early");
        }
    });
}

/// Fails a test if it is woken: a panic of foreign code.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("as the test wants it");
    }
}

/// Of the timers that expire in one tick those before it and those behind it are woken in that tick, and later ones in theirs.
#[test]
fn a_waker_that_panics_costs_no_other_timer_its_deadline() {
    const EACH: Duration = Duration::from_secs(1);
    paused().block_on(async {
        let clock = Clock::start();
        let timers = Timers::new(clock);
        let turning = tokio::task::spawn_local(Rc::clone(&timers).run());
        tokio::task::yield_now().await;
        let begun = clock.now();
        let mut waiting = Vec::new();
        for second in 1..=3 {
            for index in 0..5 {
                let timer = timers.timer();
                timer.set(begun + EACH * second);
                let woken = Arc::new(Woken::default());
                let waker = match index {
                    2 => Waker::from(Arc::new(Panics)),
                    _ => Waker::from(Arc::clone(&woken)),
                };
                assert!(!timer.poll_expired(&Context::from_waker(&waker)));
                waiting.push((second, index, timer, woken));
            }
        }
        for now in 1..=3 {
            stop(EACH + Duration::from_millis(9)).await;
            for (second, index, timer, woken) in &waiting {
                let is_due = *second <= now;
                let wakes = usize::from(is_due && *index != 2);
                assert_eq!(
                    woken.0.load(Ordering::Relaxed),
                    wakes,
                    "{now} {second} {index}"
                );
                let noop = Context::from_waker(Waker::noop());
                assert!(!is_due || timer.poll_expired(&noop));
            }
        }
        assert!(!turning.is_finished());
    });
}

/// Time passes in which nothing runs; then all runs that can.
async fn stop(time: Duration) {
    tokio::time::advance(time).await;
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}
