//! A hash ring: a key belongs to the next server on it.
//!
//! A server has points in proportion to its weight: XXH64 of `IDENTITY_NUMBER`. A pool has 160 points per server
//! (ketama's number), between 1,024 and 65,536 in total, and at least 16 per server.

use twox_hash::XxHash64;

use super::TableMember;

const EACH: usize = 160;
const LEAST: usize = 1_024;
const MOST: usize = 65_536;
const EACH_AT_LEAST: usize = 16;

/// The ring of a pool.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Ascending by hash.
    pub(crate) points: Vec<(u64, u32)>,
    /// Where the points of each range of hashes begin, by the highest bits: a lookup instead of a search with mostly
    /// cache misses.
    starts: Vec<u32>,
    /// The number of a hash's bits that are ignored for its range.
    shift: u32,
    /// Of the load of a key's server, if there is one.
    pub(crate) bound: Option<f64>,
}

impl Ring {
    pub(crate) fn new(members: &[TableMember<'_>], bound: Option<f64>) -> Self {
        let number = members.len();
        let all = (EACH * number)
            .clamp(LEAST, MOST)
            .max(EACH_AT_LEAST * number);
        let weights: f64 = members
            .iter()
            .map(|(_, _, weight)| f64::from(*weight))
            .sum();
        let mut points = Vec::with_capacity(all + number);
        let mut text = String::new();
        for &(index, identity, weight) in members {
            let own = (all as f64 * f64::from(weight) / weights).round().max(1.0) as u32;
            for number in 0..own {
                text.clear();
                text.push_str(identity);
                text.push('_');
                push_decimal(&mut text, number);
                points.push((XxHash64::oneshot(0, text.as_bytes()), index));
            }
        }
        points.sort_unstable();
        // About as many ranges as points.
        let bits = points.len().ilog2().max(1);
        let shift = u64::BITS - bits;
        let before = |range: u64| points.partition_point(|(hash, _)| hash >> shift < range) as u32;
        let starts = (0..1_u64 << bits).map(before).collect();
        Self {
            points,
            starts,
            shift,
            bound,
        }
    }

    /// The place of the first point at `key` or after it; the number of points if there is none.
    pub(crate) fn slot(&self, key: u64) -> usize {
        let start = self.starts[(key >> self.shift) as usize] as usize;
        let beyond = self.points[start..]
            .iter()
            .take_while(|(hash, _)| *hash < key)
            .count();
        start + beyond
    }
}

/// Writes a number without the machinery of formatting, which would be most of the cost of a large ring.
fn push_decimal(text: &mut String, number: u32) {
    if number >= 10 {
        push_decimal(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_points_is_what_is_said() {
        let names: Vec<String> = (0..5_000).map(|n| format!("10.0.0.{n}:80")).collect();
        for (servers, points) in [
            (1, 1_024),
            (7, 1_120),
            (100, 16_000),
            (1_000, 65_536),
            (5_000, 80_000),
        ] {
            let members: Vec<TableMember<'_>> = (0..)
                .zip(&names[..servers])
                .map(|(i, name)| (i, name.as_str(), 1))
                .collect();
            let ring = Ring::new(&members, None);
            let difference = ring.points.len().abs_diff(points);
            assert!(difference <= servers, "{servers}: {}", ring.points.len());
        }
    }

    #[test]
    fn a_keys_place_is_that_of_a_search() {
        for servers in [1, 3, 50, 700] {
            let names: Vec<String> = (0..servers).map(|n| format!("10.0.0.{n}:80")).collect();
            let members: Vec<TableMember<'_>> = (0..)
                .zip(&names)
                .map(|(i, name)| (i, name.as_str(), 1))
                .collect();
            let ring = Ring::new(&members, None);
            let keys = (0..10_000_u64).map(|n| XxHash64::oneshot(7, &n.to_le_bytes()));
            let own = ring
                .points
                .iter()
                .take(100)
                .flat_map(|(hash, _)| [*hash, hash + 1]);
            for key in keys.chain(own).chain([0, u64::MAX]) {
                let searched = ring.points.partition_point(|(hash, _)| *hash < key);
                assert_eq!(ring.slot(key), searched, "{servers} {key}");
            }
        }
    }

    #[test]
    fn points_follow_weights() {
        let ring = Ring::new(&[(0, "a", 1), (1, "b", 3)], None);
        let of = |index| {
            ring.points
                .iter()
                .filter(|(_, owner)| *owner == index)
                .count()
        };
        assert_eq!((of(0), of(1)), (256, 768));
    }
}
