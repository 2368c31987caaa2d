//! The pick itself: who may be picked, then the policy, then the reason.

use std::time::Duration;

use evenkeel_core::{Instant, Random};

use crate::Pool;
use crate::policies::{self, Places};
use crate::survey::Survey;
use crate::turn::Turn;
use crate::typical::Typical;

/// No more servers than this are avoided, the last ones tried.
const AVOIDED: usize = 64;

/// Where the next attempt goes, and why there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The member's place in the pool.
    pub index: u32,
    /// Why.
    pub reason: PickReason,
}

/// Why a server was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PickReason {
    /// The policy chose it.
    Policy,
    /// A server of a backup tier, because the tiers before it are not enough.
    Tier,
    /// Too few servers are usable, so the suspected ones are used as well.
    Panic,
    /// All others were tried before.
    OnlyOneLeft,
    /// It was tried before, and so was everybody else.
    Again,
}

impl PickReason {
    /// The words for all reasons, each at the place of its reason.
    pub const WORDS: [&'static str; 5] = ["policy", "tier", "panic", "only-one-left", "again"];

    /// Its place in [`Self::WORDS`], for tables by reason.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::Policy => 0,
            Self::Tier => 1,
            Self::Panic => 2,
            Self::OnlyOneLeft => 3,
            Self::Again => 4,
        }
    }

    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self.place()]
    }
}

/// Picks servers of one service for one worker.
#[derive(Debug)]
pub struct Picker {
    rng: Random,
    survey: Survey,
    typical: Typical,
    places: Places,
}

impl Picker {
    /// A picker for `pool`. The seed decides its draws and where in the round it begins: give each worker another.
    #[must_use]
    pub fn new(pool: &Pool, seed: u64) -> Self {
        let mut rng = Random::seeded(seed);
        let places = Places::new(pool, &mut rng);
        let mut picker = Self {
            rng,
            survey: Survey::default(),
            typical: Typical::default(),
            places,
        };
        picker.survey.renew(pool, Instant::ZERO);
        picker
            .typical
            .renew(pool, &picker.survey.candidates, Instant::ZERO);
        picker
    }

    /// The server for the next attempt, preferably none of `avoid` (tried before). Nothing if no server may be used.
    pub fn pick(&mut self, pool: &Pool, now: Instant, avoid: &[u32]) -> Option<Pick> {
        self.pick_for(pool, now, avoid, None)
    }

    /// The same for a request with this key ([`crate::key()`]): policies that hash send equal keys to the same server.
    /// Without one they take any.
    pub fn pick_for(
        &mut self,
        pool: &Pool,
        now: Instant,
        avoid: &[u32],
        key: Option<u64>,
    ) -> Option<Pick> {
        self.survey.renew(pool, now);
        self.typical.renew(pool, &self.survey.candidates, now);
        let survey = &self.survey;
        let avoid = avoid
            .get(avoid.len().saturating_sub(AVOIDED)..)
            .unwrap_or_default();

        let candidates = &survey.candidates[..];
        let (list, avoid, again) = if left(candidates, avoid) > 0 {
            (candidates, avoid, false)
        } else if left(&survey.spares, avoid) > 0 {
            (&survey.spares[..], avoid, false)
        } else {
            // Everybody was tried. Anyone but the last one, then.
            let last = avoid
                .get(avoid.len().saturating_sub(1)..)
                .unwrap_or_default();
            (
                candidates,
                if left(candidates, last) > 0 {
                    last
                } else {
                    &[]
                },
                true,
            )
        };
        let is_first = std::ptr::eq(list, candidates);
        let turn = Turn {
            pool,
            list,
            avoid,
            now,
            uneven: survey.uneven,
            whole: survey.whole && is_first,
            tiers: if is_first {
                survey.tiers
            } else {
                pool.tiers().len()
            },
            key: match key {
                None if pool.options().policy.hashes() => self.rng.bits(),
                key => key.unwrap_or_default(),
            },
        };
        let alone = match left(list, avoid) {
            0 => return None,
            1 => turn.open().next(),
            _ => None,
        };
        let index = alone.unwrap_or_else(|| {
            policies::pick(
                &turn,
                &mut self.places,
                self.typical.seconds(),
                &mut self.rng,
            )
        });

        let reason = if again {
            PickReason::Again
        } else if survey.panic {
            PickReason::Panic
        } else if is_backup(pool, index) {
            PickReason::Tier
        } else if alone.is_some() && !avoid.is_empty() {
            PickReason::OnlyOneLeft
        } else {
            PickReason::Policy
        };
        Some(Pick { index, reason })
    }

    /// What the pool takes at present: the median of the servers' estimates, at most 100 ms old; zero if none has one.
    /// Hand it to [`crate::ServerState::end`].
    #[must_use]
    pub fn typical_latency(&self) -> Duration {
        Duration::from_secs_f64(self.typical.seconds())
    }
}

/// Whether a member is not of the first tier.
fn is_backup(pool: &Pool, index: u32) -> bool {
    let first = pool.tiers().first();
    first.is_some_and(|tier| tier.binary_search(&index).is_err())
}

/// How many of `list` (ascending) are not in `avoid` (which may repeat itself).
fn left(list: &[u32], avoid: &[u32]) -> usize {
    let news = |place: usize, index: &u32| !avoid.iter().take(place).any(|other| other == index);
    let avoided = avoid
        .iter()
        .enumerate()
        .filter(|&(place, index)| news(place, index) && list.binary_search(index).is_ok());
    list.len() - avoided.count()
}
