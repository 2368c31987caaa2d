//! The Maglev table, which the servers fill in turns, each in the order of its own permutation (Maglev, NSDI 2016,
//! section 3.4).
//!
//! Hashes are those of Envoy: `offset = xxh64(identity, 0) mod M`, `skip = xxh64(identity, 1) mod (M - 1) + 1`. A
//! weight is the frequency of turns: a server with half of the largest weight takes every second one.

use twox_hash::XxHash64;

use super::TableMember;

const EMPTY: u32 = u32::MAX;
/// A table is never larger: Envoy's bound, a prime number, 20 MB.
const MOST: u32 = 5_000_011;

/// The least prime number that is not below `number`, from 2 to 5,000,011: the sizes that a Maglev table can have.
#[must_use]
pub fn next_prime(number: u32) -> u32 {
    let mut candidates = number.max(2)..MOST;
    candidates.find(|&it| is_prime(it)).unwrap_or(MOST)
}

fn is_prime(number: u32) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    divisors.all(|divisor| !number.is_multiple_of(divisor))
}

/// The table of a pool.
#[derive(Debug)]
pub(crate) struct MaglevTable {
    places: Vec<u32>,
}

/// A server's order of places.
struct Permutation {
    index: u32,
    weight: u64,
    slot: u64,
    skip: u64,
    /// The weight of turns it has taken or let go.
    target: u64,
}

impl MaglevTable {
    /// Of at least `size` places, and as many as servers: the next prime number, so that each server's order comes to every place.
    pub(crate) fn new(members: &[TableMember<'_>], size: u32) -> Self {
        let servers = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let modulus = u64::from(next_prime(size.max(servers)));
        let mut places = vec![EMPTY; modulus as usize];
        let most = members
            .iter()
            .map(|(_, _, weight)| u64::from(*weight))
            .max()
            .unwrap_or(1);
        let mut orders: Vec<Permutation> = members
            .iter()
            .map(|&(index, identity, weight)| Permutation {
                index,
                weight: u64::from(weight),
                slot: XxHash64::oneshot(0, identity.as_bytes()) % modulus,
                skip: XxHash64::oneshot(1, identity.as_bytes()) % (modulus - 1) + 1,
                target: 0,
            })
            .collect();
        let mut left = places.len();
        let mut candidates = 0;
        while left > 0 {
            candidates += 1;
            for order in &mut orders {
                if candidates * order.weight < order.target {
                    continue;
                }
                order.target += most;
                while places[order.slot as usize] != EMPTY {
                    order.slot = (order.slot + order.skip) % modulus;
                }
                places[order.slot as usize] = order.index;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Self { places }
    }

    /// The key's server.
    pub(crate) fn at(&self, key: u64) -> u32 {
        self.places[(key % self.places.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(names: &[&str], size: u32) -> Vec<u32> {
        let members: Vec<TableMember<'_>> =
            (0..).zip(names).map(|(i, name)| (i, *name, 1)).collect();
        MaglevTable::new(&members, size).places
    }

    #[test]
    fn a_size_that_is_not_prime_is_rounded_up() {
        for (size, prime) in [
            (0, 2),
            (2, 2),
            (4, 5),
            (1_000, 1_009),
            (65_536, 65_537),
            (65_537, 65_537),
            (5_000_011, MOST),
            (u32::MAX, MOST),
        ] {
            assert_eq!(next_prime(size), prime);
        }
        for size in [0, 1, 4, 6, 100, 65_536] {
            let table = places(&["a", "b", "c"], size);
            assert_eq!(table.len() as u32, next_prime(size.max(3)));
            let has_places = |index| table.contains(&index);
            assert!((0..3).all(has_places), "{size}: {table:?}");
        }
    }

    /// Envoy's `maglev_lb_test.cc`, by addresses and by host names.
    #[test]
    fn the_published_tables() {
        let addresses: Vec<String> = (90..=95).map(|port| format!("127.0.0.1:{port}")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        assert_eq!(places(&addresses, 7), [2, 4, 0, 1, 5, 0, 3]);
        let names = ["90", "91", "92", "93", "94", "95"];
        assert_eq!(places(&names, 7), [2, 5, 0, 3, 4, 1, 0]);
    }

    #[test]
    fn shares_follow_weights() {
        let table = MaglevTable::new(&[(0, "a", 1), (1, "b", 2), (2, "c", 100)], 65_537);
        let share =
            |index| table.places.iter().filter(|slot| **slot == index).count() as f64 / 65_537.0;
        for (index, weight) in [(0, 1.0), (1, 2.0), (2, 100.0)] {
            let fair = weight / 103.0;
            assert!(
                (share(index) / fair - 1.0).abs() < 0.02,
                "{index}: {}",
                share(index)
            );
        }
    }

    #[test]
    fn a_server_that_goes_moves_few_keys_of_others() {
        let names: Vec<String> = (0..100).map(|n| format!("10.0.0.{n}:80")).collect();
        let all: Vec<TableMember<'_>> = (0..)
            .zip(&names)
            .map(|(i, name)| (i, name.as_str(), 1))
            .collect();
        let before = MaglevTable::new(&all, 65_537).places;
        let after = MaglevTable::new(&all[..99], 65_537).places;
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(old, new)| **old != 99 && old != new)
            .count();
        // 1 % is its own; of the rest about as much again moves.
        assert!(moved < 65_537 * 3 / 100, "{moved}");
    }
}
