//! A breaker's state in one word, so that it changes as a whole: the state, which of its kind it is, and the counts of a trial.

use super::State;

/// Generation: 24 bits, state: 2, attempts out on trial: 12, good: 13, bad: 13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

const BAD: u32 = 0;
const GOOD: u32 = 13;
const OUT: u32 = 26;
const STATE: u32 = 38;
const GENERATION: u32 = 40;
const COUNT_MASK: u64 = (1 << 13) - 1;
const OUT_MASK: u64 = (1 << 12) - 1;
const GENERATION_MASK: u64 = (1 << 24) - 1;

impl Word {
    pub(super) const fn new(state: State, generation: u32) -> Self {
        Self(((generation as u64 & GENERATION_MASK) << GENERATION) | ((state as u64) << STATE))
    }

    /// The word of the state that follows this one. Generations come again after 16 million changes.
    pub(super) const fn next(self, state: State) -> Self {
        Self::new(state, self.generation().wrapping_add(1))
    }

    pub(super) const fn state(self) -> State {
        match (self.0 >> STATE) & 3 {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    pub(super) const fn generation(self) -> u32 {
        (self.0 >> GENERATION) as u32
    }

    pub(super) const fn out(self) -> u32 {
        ((self.0 >> OUT) & OUT_MASK) as u32
    }

    pub(super) const fn good(self) -> u32 {
        ((self.0 >> GOOD) & COUNT_MASK) as u32
    }

    pub(super) const fn bad(self) -> u32 {
        ((self.0 >> BAD) & COUNT_MASK) as u32
    }

    /// One more out. The caller has checked that there is room.
    pub(super) const fn sent(self) -> Self {
        Self(self.0 + (1 << OUT))
    }

    /// One came back: good, bad, or nothing to say.
    pub(super) const fn back(self, good: Option<bool>) -> Self {
        let less = if self.out() > 0 {
            self.0 - (1 << OUT)
        } else {
            self.0
        };
        Self(match good {
            Some(true) => less + (1 << GOOD),
            Some(false) => less + (1 << BAD),
            None => less,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_one_another() {
        let mut word = Word::new(State::HalfOpen, 0x00FF_FFFF);
        for _ in 0..4_095 {
            word = word.sent();
        }
        assert_eq!((word.out(), word.good(), word.bad()), (4_095, 0, 0));
        for n in 0..4_095 {
            word = word.back(Some(n % 2 == 0));
        }
        assert_eq!((word.out(), word.good(), word.bad()), (0, 2_048, 2_047));
        assert_eq!(word.back(None), word);
        assert_eq!(word.state(), State::HalfOpen);
        assert_eq!(word.generation(), 0x00FF_FFFF);
        let next = word.next(State::Open);
        assert_eq!(
            (next.generation(), next.state(), next.good()),
            (0, State::Open, 0)
        );
    }
}
