//! The sequence of smooth weighted round robin, which repeats.

/// Longer sequences are not computed in advance.
const LONGEST: u64 = 8_192;
/// Neither are those that take more comparisons than this, some 50 ms of work.
const DEAREST: u64 = 20_000_000;

/// The sequence of a group.
#[derive(Debug)]
pub(crate) struct Schedule {
    order: Vec<u32>,
}

impl Schedule {
    /// The sequence for members with weights, unless it is empty or too long.
    pub(crate) fn new(weights: &[(u32, u32)]) -> Option<Self> {
        let divisor = weights
            .iter()
            .fold(0, |divisor, &(_, weight)| gcd(divisor, weight))
            .max(1);
        let sum: u64 = weights
            .iter()
            .map(|&(_, weight)| u64::from(weight / divisor))
            .sum();
        if sum == weights.len() as u64 {
            // All alike: simply one after the other.
            let order = weights.iter().map(|&(index, _)| index).collect();
            return Some(Self { order }).filter(|schedule| schedule.len() > 0);
        }
        if sum > LONGEST || sum * weights.len() as u64 > DEAREST {
            return None;
        }
        let mut current = vec![0_i64; weights.len()];
        let step = |_| {
            let mut best = 0;
            for (slot, &(_, weight)) in weights.iter().enumerate() {
                current[slot] += i64::from(weight / divisor);
                if current[slot] > current[best] {
                    best = slot;
                }
            }
            current[best] -= sum as i64;
            weights[best].0
        };
        Some(Self {
            order: (0..sum).map(step).collect(),
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn next(&self, slot: &mut usize) -> Option<u32> {
        if *slot >= self.order.len() {
            *slot = 0;
        }
        let index = self.order.get(*slot).copied();
        *slot += 1;
        index
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
