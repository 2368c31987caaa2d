//! Outcomes of real attempts: how many failed in a row, in the window, how, and since when.

use std::time::Duration;

use evenkeel_core::stat::{SlidingWindow, Tally};
use evenkeel_core::{Instant, Outcome, Recent, RequestShape};

/// How many failures are remembered one by one.
const REMEMBERED: usize = 64;
/// A smaller share of attempts that fail is no fault of a server by itself: the limit of `failure_ratio` is 10 %.
const BACKGROUND: f64 = 0.08;
/// A change that is so likely, as the logarithm of the likelihood ratio, is hardly chance: e to that is twelve to one …
const LIKELY: f64 = 2.5;
/// … and this is about a thousand to one.
const CERTAIN: f64 = 7.0;
/// Failures further apart than this are not one fault.
const APART: Duration = Duration::from_secs(60);
/// So many moments are kept at which the present share of failures may have begun; there are hardly ever more than ten.
const CANDIDATES: usize = 64;
/// The usual time between two successes is known after so many.
const KNOWN: u32 = 20;
/// So many times the usual time between two successes without one is silence.
const SILENT: u32 = 10;

/// What an attempt says about its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptVerdict {
    /// Nothing: the client gave up, the pooled connection was old, or evenkeel itself lacked something.
    Nothing,
    /// It serves.
    Success,
    /// It, or the way to it, failed.
    Failure,
}

/// An attempt that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedAttempt {
    /// When.
    pub at: Instant,
    /// How.
    pub outcome: Outcome,
    /// How long it took.
    pub latency: Duration,
    /// What was asked for.
    pub shape: RequestShape,
}

/// A failure that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failure {
    at: Instant,
    /// From when on it shows the fault.
    since: Instant,
    outcome: Outcome,
    shape: RequestShape,
}

/// A failure with which the present share of failures may have begun.
#[derive(Debug, Clone, Copy)]
struct ChangePoint {
    /// From when on it shows the fault.
    since: Instant,
    /// Attempts before it, and failures among them.
    all: u64,
    failed: u64,
}

impl ChangePoint {
    /// The share of failures from here to there.
    fn share(&self, to: &Self) -> f64 {
        (to.failed - self.failed) as f64 / (to.all - self.all).max(1) as f64
    }
}

/// Outcomes of one server's attempts.
#[derive(Debug, Clone)]
pub struct AttemptHistory {
    /// Failures in a row until now.
    pub failed_in_row: u32,
    /// When the first of them was.
    pub row_began: Instant,
    /// All successes ever.
    pub succeeded: u64,
    /// All failures ever.
    pub failed: u64,
    window: SlidingWindow,
    length: Duration,
    failures: Recent<Failure>,
    /// The oldest first. From each to the next the share of failures is greater than from the one before to it.
    candidates: Vec<ChangePoint>,
    successes: Successes,
}

/// When successes come.
#[derive(Debug, Clone, Copy, Default)]
struct Successes {
    /// The latest; zero if there was none.
    last: Instant,
    /// The usual time between two, in nanoseconds: it is computed for each success.
    gap: u64,
    /// How many, up to [`KNOWN`].
    count: u32,
}

impl Successes {
    fn take(&mut self, at: Instant) {
        if self.count > 0 {
            // The mean, at first of all and then of about the last so many.
            let count = u64::from(self.count);
            let since = at.as_nanos().saturating_sub(self.last.as_nanos());
            self.gap = self.gap.saturating_mul(count - 1).saturating_add(since) / count;
        }
        self.count = (self.count + 1).min(KNOWN);
        self.last = self.last.max(at);
    }

    /// Since when there has been none, as seen at `at`, if that is much longer than usual.
    fn silent_since(&self, at: Instant) -> Option<Instant> {
        let gap = Duration::from_nanos(self.gap);
        let is_silent = self.count >= KNOWN && at.since(self.last) > gap * SILENT;
        is_silent.then_some(self.last + gap)
    }
}

impl AttemptHistory {
    /// Counts over the last `window`.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            failed_in_row: 0,
            row_began: Instant::ZERO,
            succeeded: 0,
            failed: 0,
            window: SlidingWindow::new(window),
            length: window,
            failures: Recent::new(REMEMBERED),
            candidates: Vec::new(),
            successes: Successes::default(),
        }
    }

    /// Counts over the last `window` from now on; if that is another one, from zero.
    pub fn set_window(&mut self, window: Duration) {
        if self.length != window {
            self.length = window;
            self.window = SlidingWindow::new(window);
        }
    }

    /// Takes in one.
    pub fn take(&mut self, ended: ObservedAttempt) -> AttemptVerdict {
        let ObservedAttempt { at, outcome, .. } = ended;
        if outcome.is_failure() {
            self.take_failure(ended);
            return AttemptVerdict::Failure;
        }
        if !outcome.is_success() {
            return AttemptVerdict::Nothing;
        }
        self.failed_in_row = 0;
        self.succeeded += 1;
        self.successes.take(at);
        self.window.add(at, false);
        AttemptVerdict::Success
    }

    fn take_failure(&mut self, ended: ObservedAttempt) {
        let ObservedAttempt {
            at,
            outcome,
            latency,
            shape,
        } = ended;
        // What was never answered was so from its beginning on, but a server that has answered another meanwhile did not hang yet.
        let since = match outcome {
            Outcome::AttemptTimeout | Outcome::ConnectTimeout => {
                at.before(latency).max(self.successes.last).min(at)
            }
            Outcome::Answered(_)
            | Outcome::ConnectRefused
            | Outcome::Unreachable
            | Outcome::Stale
            | Outcome::Reset { .. }
            | Outcome::BadResponse
            | Outcome::Truncated
            | Outcome::IdleTimeout
            | Outcome::Cancelled
            | Outcome::LocalError
            | Outcome::StreamRefused
            | Outcome::Superseded
            | Outcome::Rescued => at,
        };
        if self.failed_in_row == 0 {
            self.row_began = at;
        }
        self.may_begin(at, since);
        self.failed_in_row = self.failed_in_row.saturating_add(1);
        self.failed += 1;
        self.window.add(at, true);
        self.failures.push(Failure {
            at,
            since,
            outcome,
            shape,
        });
    }

    /// A failure is about to be taken in: the present share of failures may have begun with it.
    ///
    /// Kept are those with which it may have begun whatever it is now: the corners of the convex minorant of failures over attempts. G.
    /// Romano, I. Eckley, P. Fearnhead and G. Rigaill, "Fast online changepoint detection via functional pruning CUSUM statistics", Journal of
    /// Machine Learning Research 24 (2023).
    fn may_begin(&mut self, at: Instant, since: Instant) {
        let last = self.failures.iter().next_back();
        if last.is_some_and(|last| at.since(last.at) > APART) {
            self.candidates.clear();
        }
        let candidate = ChangePoint {
            since,
            all: self.succeeded + self.failed,
            failed: self.failed,
        };
        let candidates = &mut self.candidates;
        while let [.., first, second] = candidates[..]
            && first.share(&second) >= second.share(&candidate)
        {
            candidates.pop();
        }
        candidates.push(candidate);
        while let [first, second, ..] = candidates[..]
            && (first.share(&second) <= BACKGROUND || candidates.len() > CANDIDATES)
        {
            candidates.remove(0);
        }
    }

    /// Attempts in the window, and failures among them.
    #[must_use]
    pub fn tally(&self, now: Instant) -> Tally {
        self.window.clone().tally(now)
    }

    /// The remembered failures within the window, oldest first.
    #[must_use]
    pub fn failures(&self, now: Instant) -> impl DoubleEndedIterator<Item = (Instant, Outcome)> {
        let from = now.before(self.length);
        self.failures
            .iter()
            .map(|failure| (failure.at, failure.outcome))
            .filter(move |(at, _)| *at >= from)
    }

    /// How the last failure that is remembered ended.
    #[must_use]
    pub fn last_failure(&self) -> Option<Outcome> {
        Some(self.failures.iter().next_back()?.outcome)
    }

    /// The remembered failures, latest first, however long ago.
    pub fn latest_failures(&self) -> impl Iterator<Item = Outcome> {
        self.failures.iter().rev().map(|failure| failure.outcome)
    }

    /// From when on the latest failure shows the fault: what was not answered does so from its beginning on.
    #[must_use]
    pub fn latest_failure_since(&self) -> Option<Instant> {
        self.failures
            .iter()
            .next_back()
            .map(|failure| failure.since)
    }

    /// Whether all failures of the row are of one route that had failed within the window before the row, too: the server has answered
    /// something else between, so it is the route that fails.
    #[must_use]
    pub fn row_is_of_failing_route(&self, now: Instant) -> bool {
        let length = usize::try_from(self.failed_in_row).unwrap_or(usize::MAX);
        let mut latest = self.failures.iter().rev();
        let Some(shape) = latest.next().map(|failure| failure.shape) else {
            return false;
        };
        let is_of_route = |failure: &Failure| failure.shape.route == shape.route;
        shape.is_known()
            && latest
                .by_ref()
                .take(length.saturating_sub(1))
                .all(is_of_route)
            && latest
                .take_while(|failure| failure.at >= now.before(self.length))
                .any(is_of_route)
    }

    /// The mean time between the failures of the row that goes on; none before there are two of them.
    #[must_use]
    pub fn row_gap(&self) -> Option<Duration> {
        let last = self.failures.iter().next_back()?.at;
        let gaps = self.failed_in_row.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some(last.since(self.row_began) / gaps)
    }

    /// How the failures of the row ended, latest first, at most the last 64. None once the row is over: no attempt has
    /// ended for longer than `recent` and than three times the gap between its failures. So a server that requests still reach,
    /// however few, keeps its row, and one that they no longer reach does not.
    pub fn row(&self, now: Instant, recent: Duration) -> impl Iterator<Item = Outcome> {
        let last = self.failures.iter().next_back().map(|failure| failure.at);
        let gap = self.row_gap().unwrap_or_default();
        let lasts = recent.max(gap.saturating_mul(3));
        let goes_on = last.is_some_and(|last| now.since(last) <= lasts);
        let length = if goes_on { self.failed_in_row } else { 0 };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.latest_failures().take(length)
    }

    /// What was asked for by the remembered failures that show a fault since `onset`.
    pub fn shapes_since(&self, onset: Instant) -> impl Iterator<Item = RequestShape> {
        let failures = self.failures.iter();
        failures
            .filter(move |failure| failure.since >= onset)
            .map(|failure| failure.shape)
    }

    /// The first failure within `within` before `moment` that a process leaves behind which ends: a connection that broke off or was
    /// refused.
    #[must_use]
    pub fn broke_off_before(&self, moment: Instant, within: Duration) -> Option<Instant> {
        let from = moment.before(within);
        let broke_off = |outcome: Outcome| {
            matches!(
                outcome,
                Outcome::Reset { .. } | Outcome::Truncated | Outcome::ConnectRefused
            )
        };
        let mut failures = self.failures.iter();
        let first = failures.find(|failure| failure.at >= from && broke_off(failure.outcome))?;
        Some(first.at.min(moment))
    }

    /// Since when attempts have failed as they do now; none if none has failed.
    #[must_use]
    pub fn onset(&self) -> Option<Instant> {
        Some(self.change()?.1)
    }

    /// The same, if they surely fail more often than by chance, and the last failure is not before `from`.
    #[must_use]
    pub fn failing_since(&self, from: Instant) -> Option<Instant> {
        let last = self.failures.iter().next_back()?.at;
        let (likelihood, since) = self.change()?;
        (last >= from && likelihood >= CERTAIN).then_some(since)
    }

    /// Whether attempts fail now more often than by chance.
    #[must_use]
    pub fn fail_now(&self) -> bool {
        self.change()
            .is_some_and(|(likelihood, _)| likelihood >= LIKELY)
    }

    /// Since when nothing has succeeded, as seen at `at`, if successes come much more often.
    #[must_use]
    pub fn silent_since(&self, at: Instant) -> Option<Instant> {
        self.successes.silent_since(at)
    }

    /// When an attempt succeeded last; zero if none did.
    #[must_use]
    pub const fn last_success(&self) -> Instant {
        self.successes.last
    }

    /// The change point, with its likelihood: the candidate from which on the share of failures differs most from a usual one. D. V. Hinkley,
    /// "Inference about the change-point in a sequence of binomial variables", Biometrika 57 (1970).
    fn change(&self) -> Option<(f64, Instant)> {
        let now = self.succeeded + self.failed;
        let candidates = self.candidates.iter().map(|candidate| {
            let all = (now - candidate.all) as f64;
            let failed = (self.failed - candidate.failed) as f64;
            (likelihood(failed, all), candidate.since)
        });
        candidates.max_by(|one, other| one.0.total_cmp(&other.0))
    }

    /// Forgets the window and the row.
    pub fn forget(&mut self) {
        self.failed_in_row = 0;
        self.window.clear();
        self.failures.clear();
        self.candidates.clear();
        self.successes = Successes::default();
    }
}

/// How much likelier `failed` of `all` attempts are with their own share of failures than with a usual one, as a logarithm: their number
/// times the divergence of the two shares.
fn likelihood(failed: f64, all: f64) -> f64 {
    let share = failed / all;
    if share <= BACKGROUND {
        return 0.0;
    }
    let rest = 1.0 - share;
    let of_rest = if rest > 0.0 {
        rest * (rest / (1.0 - BACKGROUND)).ln()
    } else {
        0.0
    };
    all * (share * (share / BACKGROUND).ln() + of_rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct WatchedServer {
        attempts: AttemptHistory,
        now: u64,
    }

    impl WatchedServer {
        fn new() -> Self {
            Self {
                attempts: AttemptHistory::new(Duration::from_secs(10)),
                now: 1_000,
            }
        }

        fn ends(&mut self, outcome: Outcome, latency: u64, after: u64) -> &mut Self {
            self.now += after;
            self.attempts.take(ObservedAttempt {
                at: Instant::from_millis(self.now),
                outcome,
                latency: Duration::from_millis(latency),
                shape: RequestShape::UNKNOWN,
            });
            self
        }

        fn succeed(&mut self, count: u64, every: u64) -> &mut Self {
            (0..count).for_each(|_| {
                self.ends(Outcome::Answered(200), 5, every);
            });
            self
        }

        fn fail(&mut self, count: u64, every: u64) -> &mut Self {
            (0..count).for_each(|_| {
                self.ends(Outcome::Answered(500), 5, every);
            });
            self
        }

        fn onset(&self) -> u64 {
            let onset = self.attempts.onset().expect("something failed");
            onset.as_nanos() / 1_000_000
        }
    }

    #[test]
    fn an_earlier_failure_is_not_the_onset() {
        let mut server = WatchedServer::new();
        server.succeed(100, 10).fail(1, 10).succeed(50, 10);
        let began = server.now + 10;
        assert_eq!(server.fail(5, 10).onset(), began);
        // Of every three one fails, and of the hundred before one did.
        let mut server = WatchedServer::new();
        server.succeed(100, 10).fail(1, 10).succeed(100, 10);
        let began = server.now + 10;
        for _ in 0..20 {
            server.fail(1, 10).succeed(2, 10);
        }
        assert_eq!(server.onset(), began);
        assert!(server.attempts.failing_since(Instant::ZERO).is_some());
    }

    #[test]
    fn a_failure_by_chance_is_no_change() {
        let mut server = WatchedServer::new();
        (0..30).for_each(|_| {
            server.succeed(99, 10).fail(1, 10);
        });
        assert_eq!(server.attempts.failing_since(Instant::ZERO), None);
    }

    #[test]
    fn more_failures_than_are_remembered_have_an_onset_all_the_same() {
        let mut server = WatchedServer::new();
        server.fail(1, 10).succeed(200, 10);
        let began = server.now + 10;
        for _ in 0..100 {
            server.fail(1, 10).succeed(3, 10);
        }
        assert_eq!(server.onset(), began);
    }

    #[test]
    fn a_row_is_bound_in_time() {
        let mut server = WatchedServer::new();
        server.succeed(3, 1_000).fail(1, 1_000);
        let began = server.now + 1_200_000;
        assert_eq!(server.fail(1, 1_200_000).onset(), began);
        server.fail(3, 500);
        assert_eq!(server.onset(), began);
    }

    #[test]
    fn few_candidates_are_kept_whatever_comes() {
        let mut random = evenkeel_core::Random::seeded(1);
        let mut server = WatchedServer::new();
        for round in 0..20_000 {
            if random.below(20_000) < round {
                server.fail(1, 1);
            } else {
                server.succeed(1, 1);
            }
        }
        let kept = server.attempts.candidates.len();
        assert!((1..CANDIDATES).contains(&kept), "{kept}");
    }

    #[test]
    fn what_is_not_answered_is_so_from_its_beginning_on() {
        let mut server = WatchedServer::new();
        let began = server.succeed(100, 10).now;
        server.ends(Outcome::AttemptTimeout, 495, 500);
        assert_eq!(server.onset(), began + 5);
        // Others were answered meanwhile.
        let mut server = WatchedServer::new();
        let began = server.succeed(100, 10).now;
        server.ends(Outcome::AttemptTimeout, 5_000, 500);
        assert_eq!(server.onset(), began);
    }

    #[test]
    fn a_process_that_ends_breaks_off_what_it_has() {
        let mut server = WatchedServer::new();
        server.ends(Outcome::Reset { sent: true }, 5, 100);
        server.fail(1, 900);
        server.ends(Outcome::Reset { sent: true }, 5, 10);
        let at = Instant::from_millis(server.now + 20);
        let near = Duration::from_millis(100);
        let first = server.attempts.broke_off_before(at, near);
        assert_eq!(first, Some(Instant::from_millis(server.now)));
    }

    #[test]
    fn silence_is_known_by_how_often_successes_come() {
        let mut server = WatchedServer::new();
        server.succeed(100, 10);
        let last = server.now;
        let at = |millis| Instant::from_millis(last + millis);
        assert_eq!(server.attempts.silent_since(at(90)), None);
        assert_eq!(server.attempts.silent_since(at(200)), Some(at(10)));
        let mut server = WatchedServer::new();
        server.succeed(5, 10);
        assert_eq!(server.attempts.silent_since(at(200)), None);
    }

    /// What the last attempts say: is only their route failing?
    fn only_their_route(attempts: &[(u64, &str, Outcome)]) -> bool {
        let mut history = AttemptHistory::new(Duration::from_secs(10));
        for (second, method, outcome) in attempts {
            history.take(ObservedAttempt {
                at: Instant::from_millis(second * 1000),
                outcome: *outcome,
                latency: Duration::ZERO,
                shape: RequestShape::of(method.as_bytes(), b"/orders"),
            });
        }
        let last = attempts.last().map_or(0, |attempt| attempt.0);
        history.row_is_of_failing_route(Instant::from_millis(last * 1000))
    }

    #[test]
    fn a_row_is_of_a_failing_route_if_the_server_answered_others_between() {
        let (ok, hung) = (Outcome::Answered(200), Outcome::AttemptTimeout);
        let row = [(3, "POST", hung), (4, "POST", hung)];
        let before = [(1, "POST", hung), (2, "GET", ok)];
        assert!(only_their_route(&[before, row].concat()));
        // Nothing shows that the server answers anything.
        assert!(!only_their_route(&row));
        assert!(!only_their_route(&[(1, "POST", hung), row[0], row[1]]));
        assert!(!only_their_route(
            &[before, [row[0], (4, "GET", hung)]].concat()
        ));
        // Another route failed, or this one too long ago to say something of now.
        assert!(!only_their_route(&[
            (1, "GET", hung),
            (2, "GET", ok),
            row[0],
            row[1]
        ]));
        assert!(!only_their_route(
            &[before, [(60, "POST", hung), (61, "POST", hung)]].concat()
        ));
    }
}
