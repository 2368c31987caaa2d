//! Whether a request reaches a server while its route is closed: it hangs on all servers, or the service is answered for while they
//! fail.
//!
//! The fault path says which routes are closed. Each request of one that hangs would hold a place at a server until its time is
//! over, and its client would wait as long for nothing. So they are answered at once, but for trials: one at a time of what hangs where
//! an attempt may take less than a second, else one every second (or every quarter of that time, if that is longer), at most four at
//! once. Each trial that is answered lets one more through at a time, so the route is open again a few round trips after it is well,
//! whatever else is known by then; one that hangs closes it. One whose client gives up first after a second or more leaves half as many through: each of several that hang
//! does, while one impatient client of a slow route does not close it for all.
//!
//! Where the service is answered for, an answer is not enough: a trial must succeed, and one that fails closes it.
//!
//! Shared by all workers: atomics, and nothing waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::{ClosedRoute, Instant, Outcome, RequestShape, ServiceOrders};

use crate::Cause;

/// Trials at once while none has been answered.
const TRIALS: u32 = 4;
/// Between the beginnings of two of them, unless an attempt may not take as long.
const SPACE: Duration = Duration::from_secs(1);
/// So many at once are as good as all.
const WIDEST: u32 = 1 << 16;

/// The closed routes of one service.
#[derive(Debug, Clone, Default)]
pub struct ClosedRoutes {
    gates: Vec<(ClosedRoute, Arc<TrialGate>)>,
    until_success: bool,
    until: Instant,
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum RouteAdmission {
    /// What is always done: its route is not closed.
    Usual,
    /// The same; how its attempt ends is to be told.
    Trial(Trial),
    /// No server gets it.
    Refused(Cause),
}

/// Who gets through to one route.
#[derive(Debug, Default)]
struct TrialGate {
    in_flight: AtomicU32,
    /// So many at once get through; none but a trial now and then while it is zero.
    width: AtomicU32,
    /// When the next trial may begin while `width` is zero, in nanoseconds.
    next_at: AtomicU64,
    /// When the latest of those began that were answered: what had begun before proves nothing by hanging.
    proven: AtomicU64,
}

/// One attempt that is made although its route is closed. Counted out when it is dropped.
#[derive(Debug)]
pub struct Trial {
    gate: Arc<TrialGate>,
    until_success: bool,
    begun: Instant,
}

/// What a trial has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It was answered: in whatever way where that hung, else well.
    Answered,
    /// It failed, where only a success opens.
    Failed,
    /// It hung, until its time was over or for a second at least until its client gave up.
    Hung,
    /// Nothing.
    Nothing,
}

impl ClosedRoutes {
    /// By these orders. What trials have shown of routes that stay closed is kept.
    #[must_use]
    pub fn follow(&self, orders: &ServiceOrders) -> Self {
        let gate = |route: &ClosedRoute| {
            let known = self.gates.iter().find(|(one, _)| one == route);
            let gate = known.map_or_else(Arc::default, |(_, gate)| Arc::clone(gate));
            (*route, gate)
        };
        Self {
            gates: orders.closed.iter().map(gate).collect(),
            until_success: orders.until_success,
            until: orders.until,
        }
    }

    /// Whether nothing is closed, so that nothing need be asked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.gates.is_empty()
    }

    /// How many are closed at `now`.
    #[must_use]
    pub fn count(&self, now: Instant) -> usize {
        if now < self.until {
            self.gates.len()
        } else {
            0
        }
    }

    /// What is done at `now` with such a request, whose attempt may take as long as `patience`. Orders that were not renewed are
    /// none.
    #[must_use]
    pub fn entry(&self, shape: RequestShape, now: Instant, patience: Duration) -> RouteAdmission {
        if now >= self.until {
            return RouteAdmission::Usual;
        }
        let Some((_, gate)) = self.gates.iter().find(|(route, _)| route.covers(shape)) else {
            return RouteAdmission::Usual;
        };
        let until_success = self.until_success;
        let space = if until_success {
            SPACE
        } else {
            // A route that is well again waits for its next trial, so they are as close as they hold no more than one place.
            SPACE.min(patience).max(patience / TRIALS)
        };
        if gate.admits(now, space) {
            return RouteAdmission::Trial(Trial {
                gate: Arc::clone(gate),
                until_success,
                begun: now,
            });
        }
        let seconds = gate.seconds_to_next(now);
        RouteAdmission::Refused(if until_success {
            Cause::FallenBack { seconds }
        } else {
            Cause::RouteBroken { seconds }
        })
    }
}

impl TrialGate {
    fn admits(&self, now: Instant, space: Duration) -> bool {
        let width = self.width.load(Ordering::Relaxed);
        if width == 0 {
            let next_at = self.next_at.load(Ordering::Relaxed);
            let is_full = self.in_flight.load(Ordering::Relaxed) >= TRIALS;
            let next = (now + space).as_nanos();
            // One of several workers gets it.
            let order = Ordering::Relaxed;
            if is_full
                || now.as_nanos() < next_at
                || self
                    .next_at
                    .compare_exchange(next_at, next, order, order)
                    .is_err()
            {
                return false;
            }
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let one_more = |now: u32| (now < width).then_some(now + 1);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// When it is worth to ask again: when the next trial may begin, or, while several get through, after a second. From 1 to 3,600.
    fn seconds_to_next(&self, now: Instant) -> u32 {
        if self.width.load(Ordering::Relaxed) > 0 {
            return 1;
        }
        let next_at = self.next_at.load(Ordering::Relaxed);
        let left = Duration::from_nanos(next_at.saturating_sub(now.as_nanos()));
        let up = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        u32::try_from(up.clamp(1, 3_600)).unwrap_or(3_600)
    }

    /// What began at `begun` did not come back, so that so many get through from now on as `width` makes of those until now. What was
    /// answered later speaks against it.
    fn narrow(&self, begun: Instant, width: fn(u32) -> u32) {
        if begun.as_nanos() > self.proven.load(Ordering::Relaxed) {
            let order = Ordering::Relaxed;
            // The closure never declines, so this cannot fail.
            let _: Result<u32, u32> =
                (self.width).fetch_update(order, order, |now| Some(width(now)));
        }
    }
}

impl Trial {
    /// Its attempt ended at `now`.
    #[expect(
        clippy::must_use_candidate,
        reason = "it is told for what it changes; the result is for counting"
    )]
    pub fn ended(self, outcome: Outcome, now: Instant) -> Shown {
        let gate = &self.gate;
        match outcome {
            Outcome::AttemptTimeout => {
                gate.narrow(self.begun, |_| 0);
                Shown::Hung
            }
            _ if self.until_success && outcome.is_failure() => {
                gate.narrow(self.begun, |_| 0);
                Shown::Failed
            }
            Outcome::Answered(_) => {
                gate.proven
                    .fetch_max(self.begun.as_nanos(), Ordering::Relaxed);
                let wider = |width: u32| Some((width + 1).min(WIDEST));
                // The closure never declines, so this cannot fail.
                let _: Result<u32, u32> =
                    gate.width
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, wider);
                Shown::Answered
            }
            // Nobody waited as long as an attempt may take: the place was held all the same.
            Outcome::Cancelled | Outcome::Superseded if now.since(self.begun) >= SPACE => {
                gate.narrow(self.begun, |width| width / 2);
                Shown::Hung
            }
            // It never reached the server, was given up, or shows another fault.
            Outcome::Cancelled
            | Outcome::Superseded
            | Outcome::Rescued
            | Outcome::Stale
            | Outcome::StreamRefused
            | Outcome::IdleTimeout
            | Outcome::LocalError
            | Outcome::ConnectRefused
            | Outcome::ConnectTimeout
            | Outcome::Unreachable
            | Outcome::Reset { .. }
            | Outcome::BadResponse
            | Outcome::Truncated => Shown::Nothing,
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.gate.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::ServiceId;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn shape(target: &str) -> RequestShape {
        RequestShape::of(b"GET", target.as_bytes())
    }

    fn orders(closed: &[ClosedRoute], until: u64) -> ServiceOrders {
        ServiceOrders {
            service: ServiceId(0),
            closed: closed.to_vec(),
            until: at(until),
            ..ServiceOrders::none(ServiceId(0))
        }
    }

    fn closed(target: &str) -> ClosedRoutes {
        ClosedRoutes::default().follow(&orders(&[ClosedRoute::Route(shape(target).route)], 100_000))
    }

    fn trial(routes: &ClosedRoutes, millis: u64) -> Option<Trial> {
        match routes.entry(shape("/slow"), at(millis), SECOND) {
            RouteAdmission::Trial(trial) => Some(trial),
            RouteAdmission::Refused(cause) => {
                assert_eq!(cause, Cause::RouteBroken { seconds: 1 });
                None
            }
            RouteAdmission::Usual => panic!("it is closed"),
        }
    }

    #[test]
    fn what_is_closed_and_for_how_long() {
        let of_method = ClosedRoute::Method(RequestShape::of(b"POST", b"/").method);
        let of_route = ClosedRoute::Route(shape("/slow/7").route);
        let routes = ClosedRoutes::default().follow(&orders(&[of_route, of_method], 5_000));
        let is_usual = |method: &[u8], target: &[u8], millis| {
            let entry = routes.entry(RequestShape::of(method, target), at(millis), SECOND);
            matches!(entry, RouteAdmission::Usual)
        };
        assert!(is_usual(b"GET", b"/", 0));
        assert!(!is_usual(b"GET", b"/slow/8", 0));
        assert!(is_usual(b"HEAD", b"/slow/8", 0));
        assert!(!is_usual(b"POST", b"/whatever", 4_999));
        assert!(is_usual(b"POST", b"/whatever", 5_000));
        assert_eq!((routes.count(at(0)), routes.count(at(5_000))), (2, 0));
        assert!(ClosedRoutes::default().is_empty() && !routes.is_empty());
    }

    #[test]
    fn one_trial_a_second_and_four_at_once() {
        let routes = closed("/slow");
        let mut under_way = Vec::new();
        for millis in (0..20_000).step_by(10) {
            under_way.extend(trial(&routes, millis));
        }
        assert_eq!(under_way.len(), 4);
        let last = under_way.pop().expect("four");
        assert_eq!(last.ended(Outcome::AttemptTimeout, at(20_000)), Shown::Hung);
        under_way.extend(trial(&routes, 20_000));
        assert_eq!(under_way.len(), 4);
        drop(under_way);
        // Those that are over soon come sooner: one holds a place at any time.
        let soon = Duration::from_millis(200);
        let routes = closed("/slow");
        let through =
            (0..2_000).filter_map(
                |millis| match routes.entry(shape("/slow"), at(millis), soon) {
                    RouteAdmission::Trial(trial) => {
                        Some(trial.ended(Outcome::AttemptTimeout, at(millis) + soon))
                    }
                    RouteAdmission::Usual | RouteAdmission::Refused(_) => None,
                },
            );
        assert_eq!(through.count(), 10);
        // Those that hold a server for long are rare.
        let routes = closed("/slow");
        let patience = Duration::from_secs(30);
        let entry = routes.entry(shape("/slow"), at(30_000), patience);
        assert!(matches!(entry, RouteAdmission::Trial(_)));
        // When the next one may begin, in whole seconds.
        for (millis, seconds) in [(30_000, 8), (30_500, 7), (35_501, 2), (37_499, 1)] {
            let entry = routes.entry(shape("/slow"), at(millis), patience);
            let cause = Cause::RouteBroken { seconds };
            assert!(
                matches!(entry, RouteAdmission::Refused(why) if why == cause),
                "{millis}"
            );
        }
        // It is due, but four are under way.
        let hanging = [40_000, 50_000, 60_000]
            .map(|millis| routes.entry(shape("/slow"), at(millis), patience));
        assert!(
            hanging
                .iter()
                .all(|one| matches!(one, RouteAdmission::Trial(_)))
        );
        let soon = Cause::RouteBroken { seconds: 1 };
        let entry = routes.entry(shape("/slow"), at(90_000), patience);
        assert!(matches!(entry, RouteAdmission::Refused(why) if why == soon));
        // It opens: as many as may are under way, and the next one is not far.
        let routes = closed("/slow");
        let RouteAdmission::Trial(first) = routes.entry(shape("/slow"), at(0), patience) else {
            panic!("a trial")
        };
        first.ended(Outcome::Answered(200), at(10));
        let second = routes.entry(shape("/slow"), at(20), patience);
        let third = routes.entry(shape("/slow"), at(20), patience);
        assert!(matches!(second, RouteAdmission::Trial(_)));
        assert!(matches!(third, RouteAdmission::Refused(why) if why == soon));
    }

    #[test]
    fn what_is_answered_for_is_opened_by_successes_and_closed_by_failures() {
        use Outcome::{Answered, AttemptTimeout, ConnectRefused, Reset};
        let all = ServiceOrders {
            closed: vec![ClosedRoute::All],
            until_success: true,
            until: at(100_000),
            ..ServiceOrders::none(ServiceId(0))
        };
        let patience = Duration::from_secs(30);
        for (outcome, shown, width) in [
            (Answered(200), Shown::Answered, 1),
            (Answered(404), Shown::Answered, 1),
            (Answered(503), Shown::Failed, 0),
            (Reset { sent: true }, Shown::Failed, 0),
            (ConnectRefused, Shown::Failed, 0),
            (AttemptTimeout, Shown::Hung, 0),
        ] {
            let routes = ClosedRoutes::default().follow(&all);
            let RouteAdmission::Trial(first) = routes.entry(shape("/any"), at(0), patience) else {
                panic!("a trial")
            };
            let entry = routes.entry(shape("/other"), at(1), patience);
            let cause = Cause::FallenBack { seconds: 1 };
            assert!(matches!(entry, RouteAdmission::Refused(why) if why == cause));
            assert_eq!(first.ended(outcome, at(10)), shown, "{outcome:?}");
            let through =
                std::iter::from_fn(|| match routes.entry(shape("/any"), at(20), patience) {
                    RouteAdmission::Trial(trial) => Some(trial),
                    RouteAdmission::Usual | RouteAdmission::Refused(_) => None,
                });
            assert_eq!(through.collect::<Vec<_>>().len(), width, "{outcome:?}");
            // The next second's.
            let entry = routes.entry(shape("/any"), at(1_000), patience);
            assert!(matches!(entry, RouteAdmission::Trial(_)), "{outcome:?}");
        }
    }

    #[test]
    fn answers_open_it_again_within_a_few_round_trips_and_a_hang_closes_it() {
        let routes = closed("/slow");
        let mut widths = Vec::new();
        // A round trip takes 10 ms; as many come as get through.
        for millis in (0..80).step_by(10) {
            let under_way: Vec<Trial> = std::iter::from_fn(|| trial(&routes, millis)).collect();
            widths.push(under_way.len());
            for one in under_way {
                // It need not be a good answer: that does not hold a place.
                assert_eq!(
                    one.ended(Outcome::Answered(500), at(millis + 10)),
                    Shown::Answered
                );
            }
        }
        assert_eq!(widths, [1, 1, 2, 4, 8, 16, 32, 64]);
        let late = trial(&routes, 90).expect("it is open");
        assert_eq!(late.ended(Outcome::AttemptTimeout, at(1_000)), Shown::Hung);
        assert_eq!(std::iter::from_fn(|| trial(&routes, 1_000)).count(), 1);
    }

    #[test]
    fn what_had_begun_before_an_answer_proves_nothing_by_hanging() {
        let routes = closed("/slow");
        let old = trial(&routes, 0).expect("a trial");
        let new = trial(&routes, 1_000).expect("another one");
        new.ended(Outcome::Answered(200), at(1_001));
        old.ended(Outcome::AttemptTimeout, at(1_002));
        assert!(trial(&routes, 1_010).is_some(), "it stays open");
    }

    /// A route with four trials under way that began together.
    fn four_at_once() -> (ClosedRoutes, Vec<Trial>) {
        let routes = closed("/slow");
        for millis in 0..4 {
            let one = trial(&routes, millis).expect("a trial");
            one.ended(Outcome::Answered(200), at(millis + 1));
        }
        let four: Vec<Trial> = std::iter::from_fn(|| trial(&routes, 1_000)).collect();
        assert_eq!(four.len(), 4);
        (routes, four)
    }

    #[test]
    fn clients_that_give_up_leave_fewer_through() {
        use Outcome::{Answered, AttemptTimeout, Cancelled, Reset};
        // How some of four that began at 1,000 ms ended, and when; and how many get through at once afterwards.
        let cases: [(&[(Outcome, u64)], usize); 8] = [
            (&[(Cancelled, 1_999)], 4),
            (&[(Cancelled, 2_000)], 2),
            (&[(Cancelled, 2_000), (Cancelled, 2_100)], 1),
            (&[(Cancelled, 6_000); 4], 1),
            (&[(AttemptTimeout, 2_000)], 1),
            (&[(Reset { sent: true }, 6_000)], 4),
            // An answer to what began as late as it speaks for it.
            (&[(Answered(200), 1_500), (Cancelled, 2_000)], 5),
            (&[(Cancelled, 2_000), (Answered(200), 2_500)], 3),
        ];
        for (ends, width) in cases {
            let (routes, mut four) = four_at_once();
            for &(outcome, millis) in ends {
                let one = four.pop().expect("one of four");
                let shown = one.ended(outcome, at(millis));
                let hung = outcome == AttemptTimeout || outcome == Cancelled && millis >= 2_000;
                assert_eq!(shown == Shown::Hung, hung, "{ends:?}");
            }
            drop(four);
            let through: Vec<Trial> = std::iter::from_fn(|| trial(&routes, 9_000)).collect();
            assert_eq!(through.len(), width, "{ends:?}");
        }
        // One trial a second, as when it was closed, and no more.
        let (routes, four) = four_at_once();
        for one in four {
            one.ended(Cancelled, at(3_000));
        }
        let through = (3_000..13_000).filter_map(|millis| trial(&routes, millis));
        let ended = through.map(|one| {
            let end = one.begun + 2 * SECOND;
            one.ended(Cancelled, end)
        });
        assert_eq!(ended.count(), 10);
    }

    #[test]
    fn what_says_nothing_changes_nothing_and_renewed_orders_keep_what_is_known() {
        let routes = closed("/slow");
        for outcome in [Outcome::Cancelled, Outcome::Reset { sent: true }] {
            let one = trial(&routes, 0).or_else(|| trial(&routes, 1_000));
            let one = one.expect("a trial");
            let end = one.begun + Duration::from_millis(999);
            assert_eq!(one.ended(outcome, end), Shown::Nothing);
        }
        assert!(trial(&routes, 1_500).is_none());
        trial(&routes, 2_000)
            .expect("the third")
            .ended(Outcome::Answered(200), at(2_000));
        let route = ClosedRoute::Route(shape("/slow").route);
        let renewed = routes.follow(&orders(&[route], 200_000));
        assert!(trial(&renewed, 2_001).is_some(), "it is open");
        let anew = routes
            .follow(&orders(&[], 200_000))
            .follow(&orders(&[route], 200_000));
        assert!(trial(&anew, 2_001).is_some() && trial(&anew, 2_002).is_none());
    }
}
