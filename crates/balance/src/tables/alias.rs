//! A weighted draw in constant time: an alias table (Walker, Vose).

use evenkeel_core::Random;

/// The alias table of a group: each column is one member up to a level, and another one above it.
#[derive(Debug)]
pub(crate) struct AliasTable {
    columns: Vec<AliasColumn>,
}

#[derive(Debug, Clone, Copy)]
struct AliasColumn {
    level: f64,
    below: u32,
    above: u32,
}

impl AliasTable {
    /// The table for members with weights, unless there are none.
    pub(crate) fn new(weights: &[(u32, u32)]) -> Option<Self> {
        let sum: f64 = weights.iter().map(|&(_, weight)| f64::from(weight)).sum();
        if sum <= 0.0 {
            return None;
        }
        let fair = sum / weights.len() as f64;
        let mut columns: Vec<AliasColumn> = weights
            .iter()
            .map(|&(index, weight)| AliasColumn {
                level: f64::from(weight) / fair,
                below: index,
                above: index,
            })
            .collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..columns.len()).partition(|&slot| columns[slot].level < 1.0);
        // A small column is filled up by a large one.
        while let (Some(&lacking), Some(&giving)) = (small.last(), large.last()) {
            small.pop();
            columns[lacking].above = columns[giving].below;
            columns[giving].level -= 1.0 - columns[lacking].level;
            if columns[giving].level < 1.0 {
                large.pop();
                small.push(giving);
            }
        }
        // The rest differs from full by rounding only.
        for slot in small.into_iter().chain(large) {
            columns[slot].level = 1.0;
        }
        Some(Self { columns })
    }

    pub(crate) fn draw(&self, rng: &mut Random) -> u32 {
        let column = self.columns[rng.below(self.columns.len())];
        if rng.unit() < column.level {
            column.below
        } else {
            column.above
        }
    }
}
