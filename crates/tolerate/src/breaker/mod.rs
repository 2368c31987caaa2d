//! Whether a server is asked at all, after what it did lately.
//!
//! Intuition: a server that fails everything is best left alone: its clients fail at once and not after a timeout, and it is not
//! held under water by those who ask again. So after enough bad attempts the breaker *opens*: nothing passes for a while. Then it is
//! *half open*: a few attempts on trial pass, and their end decides.
//!
//! Enough is a row, or a share of a window. Both, because each is blind alone: a row of five takes 62 attempts to come by at half of
//! them bad and 111,110 at a tenth, and a share says nothing before there are attempts enough.
//!
//! What a trial has out is counted in the same word as the state, so a place that is given back can neither be lost nor given
//! back twice, and results from before a change are not counted after it. An attempt that never comes back holds its place
//! for [`TrialOptions::longest`] only. Nothing waits: to pass is a few atomics; results that find the window's lock taken
//! are counted but left out of the shares.

mod options;
mod pass;
mod state;
mod window;
mod word;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use evenkeel_core::{Instant, Random};

pub use options::{BreakerOptions, OpenOptions, SlowOptions, TrialOptions};
pub use pass::Pass;
pub use state::{Admitted, BreakerSnapshot, Change, Forced, Mark, Refused, State, Why};
pub use window::{Tally, Window, WindowOptions};

use state::Counts;
use word::Word;

/// A breaker of one server, shared by all workers.
#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    /// State, generation, counts of a trial. Changed as to state only with `core` held.
    word: AtomicU64,
    /// The end of being open, or of a trial. Written before the word that makes it valid.
    until: AtomicU64,
    forced: AtomicU8,
    /// Bad attempts in a row.
    row: AtomicU32,
    counts: Counts,
    core: Mutex<Core>,
}

/// What only its holder touches.
#[derive(Debug)]
struct Core {
    window: Window,
    rng: Random,
    /// Trials that failed since it was closed last.
    failed_trials: u32,
    why: Why,
    since: Instant,
}

impl Breaker {
    /// Closed. `seed` is for the jitter of being open.
    #[must_use]
    pub fn new(options: BreakerOptions, now: Instant, seed: u64) -> Self {
        Self {
            word: AtomicU64::new(Word::new(State::Closed, 0).0),
            until: AtomicU64::new(0),
            forced: AtomicU8::new(0),
            row: AtomicU32::new(0),
            counts: Counts::default(),
            core: Mutex::new(Core {
                window: Window::new(options.window),
                rng: Random::seeded(seed),
                failed_trials: 0,
                why: Why::New,
                since: now,
            }),
            options,
        }
    }

    /// The options it was made with.
    #[must_use]
    pub const fn options(&self) -> &BreakerOptions {
        &self.options
    }

    /// Leave for an attempt that begins now.
    ///
    /// # Errors
    /// If the breaker is open, or a trial has all its attempts out.
    pub fn try_pass(&self, now: Instant) -> Result<Pass<&Self>, Refused> {
        Ok(Pass::new(self, self.admit(now)?))
    }

    /// The same for a pass that outlives the borrow, as futures need it.
    ///
    /// # Errors
    /// If the breaker is open, or a trial has all its attempts out.
    pub fn try_pass_owned(self: &Arc<Self>, now: Instant) -> Result<Pass<Arc<Self>>, Refused> {
        Ok(Pass::new(Arc::clone(self), self.admit(now)?))
    }

    /// The same without a guard: whoever calls it owes one [`Breaker::record`] or [`Breaker::release`]. One that is never paid is
    /// forgiven after [`TrialOptions::longest`].
    ///
    /// # Errors
    /// If the breaker is open, or a trial has all its attempts out.
    pub fn admit(&self, now: Instant) -> Result<Admitted, Refused> {
        let admitted = self.decide(now);
        let count = if admitted.is_ok() {
            &self.counts.passed
        } else {
            &self.counts.refused
        };
        count.fetch_add(1, Ordering::Relaxed);
        admitted
    }

    fn decide(&self, now: Instant) -> Result<Admitted, Refused> {
        let word = self.word();
        match self.forced() {
            Some(Forced::Open) => {
                return Err(Refused {
                    until: Instant::NEVER,
                    state: State::Open,
                });
            }
            Some(Forced::Closed | Forced::MetricsOnly) => {
                return Ok(Admitted::new(word.generation(), false));
            }
            None => {}
        }
        match word.state() {
            State::Closed => Ok(Admitted::new(word.generation(), false)),
            State::Open => self.begin_trial(word, now),
            State::HalfOpen => self.join_trial(now),
        }
    }

    /// An attempt that was admitted ended, after `took`. What changed by it, if anything.
    pub fn record(
        &self,
        admitted: Admitted,
        now: Instant,
        mark: Mark,
        took: Duration,
    ) -> Option<Change> {
        let slow = mark != Mark::Neutral && self.options.is_slow(took);
        self.counts.note(mark, slow);
        if self
            .forced()
            .is_some_and(|forced| forced != Forced::MetricsOnly)
        {
            return None;
        }
        if admitted.is_trial() {
            // A slow answer is not what the trial is waiting for.
            let good = match mark {
                Mark::Good => Some(!slow),
                Mark::Bad => Some(false),
                Mark::Neutral => None,
            };
            self.come_back(admitted, good);
            return self.settle(now);
        }
        self.note(admitted, now, mark, slow)
    }

    /// An attempt that was admitted was not made, or says nothing.
    pub fn release(&self, admitted: Admitted) {
        self.counts.note(Mark::Neutral, false);
        if admitted.is_trial() {
            self.come_back(admitted, None);
        }
    }

    /// Takes the decision out of its hands, or gives it back. Either way it begins closed, with nothing measured.
    pub fn force(&self, forced: Option<Forced>, now: Instant) {
        let mut core = self.core();
        self.forced.store(Forced::code(forced), Ordering::Relaxed);
        core.failed_trials = 0;
        self.change(&mut core, State::Closed, Why::Forced, now, Instant::NEVER);
    }

    /// What was forced, if anything is.
    #[must_use]
    pub fn forced(&self) -> Option<Forced> {
        Forced::of_code(self.forced.load(Ordering::Relaxed))
    }

    /// Its own state, whatever is forced.
    #[must_use]
    pub fn state(&self) -> State {
        self.word().state()
    }

    /// What it knows. Waits for whoever is counting, so it is not for the way of a request.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> BreakerSnapshot {
        let mut core = self.core();
        let state = self.word().state();
        let until = Instant::from_nanos(self.until.load(Ordering::Relaxed));
        self.counts.snapshot(BreakerSnapshot {
            state,
            forced: self.forced(),
            why: core.why,
            since: core.since,
            until: (state != State::Closed).then_some(until),
            row: self.row.load(Ordering::Relaxed),
            window: core.window.tally(now),
            ..BreakerSnapshot::default()
        })
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_core(&self) -> Option<MutexGuard<'_, Core>> {
        match self.core.try_lock() {
            Ok(core) => Some(core),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn refused(&self, state: State, now: Instant) -> Refused {
        let until = Instant::from_nanos(self.until.load(Ordering::Relaxed));
        Refused {
            until: until.max(now),
            state,
        }
    }

    /// The first attempt after the time to be open is over begins the trial and is part of it.
    fn begin_trial(&self, open: Word, now: Instant) -> Result<Admitted, Refused> {
        let refused = self.refused(State::Open, now);
        if refused.until > now {
            return Err(refused);
        }
        // Whoever holds the lock begins it.
        let mut core = self.try_core().ok_or(refused)?;
        if self.word() != open {
            drop(core);
            return self.join_trial(now);
        }
        let until = now + self.options.trial.longest;
        let word = self.change(&mut core, State::HalfOpen, Why::Waited, now, until);
        // Others may have joined since.
        drop(core);
        self.send(word.generation(), now)
    }

    fn join_trial(&self, now: Instant) -> Result<Admitted, Refused> {
        // Decided, but whoever brought the last result found the lock taken.
        let _: Option<Change> = self.settle(now);
        let word = self.word();
        match word.state() {
            State::Closed => return Ok(Admitted::new(word.generation(), false)),
            State::Open => return Err(self.refused(State::Open, now)),
            State::HalfOpen => {}
        }
        self.send(word.generation(), now).or_else(|refused| {
            if refused.until > now {
                return Err(refused);
            }
            // Too long without an end: the places of those who never came back are free again.
            let mut core = self.try_core().ok_or(refused)?;
            if self.word().generation() != word.generation() {
                return Err(refused);
            }
            let until = now + self.options.trial.longest;
            let word = self.change(&mut core, State::HalfOpen, Why::TrialLapsed, now, until);
            drop(core);
            self.send(word.generation(), now)
        })
    }

    /// Takes a place in the trial of `generation`.
    fn send(&self, generation: u32, now: Instant) -> Result<Admitted, Refused> {
        let trial = &self.options.trial;
        let sent = |raw| {
            let word = Word(raw);
            let is_room = word.out() < trial.permits()
                && word.out() + word.good() + word.bad() < trial.attempts();
            let is_same = word.state() == State::HalfOpen && word.generation() == generation;
            (is_same && is_room).then(|| word.sent().0)
        };
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, sent)
            .map(|_| Admitted::new(generation, true))
            .map_err(|_| self.refused(State::HalfOpen, now))
    }

    /// An attempt on trial is over; one of an earlier trial counts no more.
    fn come_back(&self, admitted: Admitted, good: Option<bool>) {
        let back = |raw| {
            let word = Word(raw);
            let is_same =
                word.state() == State::HalfOpen && word.generation() == admitted.generation();
            is_same.then(|| word.back(good).0)
        };
        let came = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, back);
        if came.is_err() {
            self.counts.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the trial if it is decided. If the lock is taken, the next who asks or comes back does.
    fn settle(&self, now: Instant) -> Option<Change> {
        let is_decided = |word: Word| {
            let decided = self.options.trial.decided(word.good(), word.bad());
            decided.filter(|_| word.state() == State::HalfOpen)
        };
        is_decided(self.word())?;
        let mut core = self.try_core()?;
        if is_decided(self.word())? {
            core.failed_trials = 0;
            self.change(
                &mut core,
                State::Closed,
                Why::TrialPassed,
                now,
                Instant::NEVER,
            );
        } else {
            core.failed_trials = core.failed_trials.saturating_add(1);
            self.open(&mut core, Why::TrialFailed, now);
        }
        Some(core.change(self.word().state()))
    }

    /// A result while closed.
    fn note(&self, admitted: Admitted, now: Instant, mark: Mark, slow: bool) -> Option<Change> {
        let is_late = || self.word().generation() != admitted.generation();
        if is_late() {
            self.counts.late.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let row = match mark {
            Mark::Neutral => return None,
            Mark::Bad => self.row.fetch_add(1, Ordering::Relaxed).saturating_add(1),
            Mark::Good => {
                if self.row.load(Ordering::Relaxed) != 0 {
                    self.row.store(0, Ordering::Relaxed);
                }
                0
            }
        };
        let Some(mut core) = self.try_core() else {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        if is_late() {
            self.counts.late.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        core.window.add(now, mark == Mark::Bad, slow);
        if self.forced().is_some() {
            return None;
        }
        let why = self.options.trips(row, core.window.tally(now))?;
        self.open(&mut core, why, now);
        Some(core.change(State::Open))
    }

    fn open(&self, core: &mut Core, why: Why, now: Instant) {
        let length = self.options.open.length(core.failed_trials, &mut core.rng);
        self.change(core, State::Open, why, now, now + length);
    }

    /// The only way from one state to another: all of it with the lock held, so there is one at a time.
    fn change(
        &self,
        core: &mut Core,
        state: State,
        why: Why,
        now: Instant,
        until: Instant,
    ) -> Word {
        core.window.clear();
        (core.why, core.since) = (why, now);
        self.row.store(0, Ordering::Relaxed);
        self.until.store(until.as_nanos(), Ordering::Relaxed);
        let word = self.word().next(state);
        self.word.store(word.0, Ordering::Release);
        self.counts.entered(state);
        word
    }
}

impl Core {
    const fn change(&self, to: State) -> Change {
        Change { to, why: self.why }
    }
}

#[cfg(test)]
mod tests;
