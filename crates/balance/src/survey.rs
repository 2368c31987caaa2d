//! Which members may be picked at all: standing, tiers and panic, worked out once and not per pick.
//!
//! Looked at again only when a directive was applied anywhere, when a standing expires, or when the pool is another one.
//! Between those a pick costs two comparisons, however large the pool, and yet never uses an old answer.

use evenkeel_core::{Instant, Verdict};

use crate::Pool;
use crate::server::{Standing, changes};

/// 0.55 of 20 is 11, whatever the last bit says.
const ROUNDING: f64 = 1e-6;

/// The members that may be picked, at the moment of the survey and until something changes.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pool: u64,
    changes: u64,
    from: Instant,
    until: Instant,
    /// Who takes attempts, by place, ascending.
    pub(crate) candidates: Vec<u32>,
    /// Who could take an attempt that all the candidates failed: usable members of tiers that are not needed yet.
    pub(crate) spares: Vec<u32>,
    /// Whether suspected members are among the candidates.
    pub(crate) panic: bool,
    /// Whether the candidates are the whole first tier.
    pub(crate) whole: bool,
    /// Whether some take only a part of their share.
    pub(crate) uneven: bool,
    /// How many tiers the candidates come from.
    pub(crate) tiers: usize,
}

impl Survey {
    /// Looks again if anything may have changed. Allocates only when the pool has grown.
    pub(crate) fn renew(&mut self, pool: &Pool, now: Instant) {
        let changes = changes();
        let holds = self.changes == changes
            && self.pool == pool.id()
            && now >= self.from
            && now < self.until;
        if !holds {
            // The counter was read before the standings: a directive in between is seen by the next pick.
            (self.changes, self.pool, self.from) = (changes, pool.id(), now);
            self.look(pool, now);
        }
    }

    /// The first tiers, as many as are needed until one has enough usable members; if none has, panic: every suspected
    /// member too. Known-down and draining ones never.
    fn look(&mut self, pool: &Pool, now: Instant) {
        self.candidates.clear();
        self.spares.clear();
        self.candidates.reserve(pool.members().len());
        self.spares.reserve(pool.members().len());
        (self.panic, self.uneven, self.until) = (false, false, Instant::NEVER);
        self.tiers = 0;

        let mut enough = false;
        for tier in pool.tiers() {
            let list = if enough {
                &mut self.spares
            } else {
                &mut self.candidates
            };
            let before = list.len();
            self.tiers += usize::from(!enough);
            for &index in tier {
                let state = &pool.member(index).state;
                let standing = state.standing(now);
                self.until = self.until.min(state.next_change(now));
                self.uneven |= matches!(
                    standing,
                    Standing::Trial | Standing::Relieved | Standing::Warming
                );
                if standing.is_usable() {
                    list.push(index);
                }
            }
            let usable = list.len() - before;
            enough |= usable > 0
                && usable as f64 + ROUNDING >= pool.options().panic_below * tier.len() as f64;
        }
        if !enough && pool.options().panic_below > 0.0 {
            self.panic(pool, now);
        }
        self.candidates.sort_unstable();
        self.spares.sort_unstable();
        self.whole = pool
            .tiers()
            .first()
            .is_some_and(|tier| *tier == self.candidates);
    }

    fn panic(&mut self, pool: &Pool, now: Instant) {
        let suspected = |index: &u32| {
            pool.member(*index).state.standing(now)
                == Standing::Ejected {
                    verdict: Verdict::Suspected,
                }
        };
        let usable = self.candidates.len();
        self.candidates.extend(
            pool.tiers()
                .iter()
                .flatten()
                .filter(|index| suspected(index)),
        );
        self.panic = self.candidates.len() > usable;
    }
}
