//! The table of a policy that hashes, of either kind.

use super::Named;
use super::maglev::Table;
use super::ring::Ring;
use crate::{BalanceOptions, Policy};

/// The table of a policy that hashes.
#[derive(Debug)]
pub(crate) enum Hashed {
    Ring(Ring),
    Maglev(Table),
}

impl Hashed {
    /// The table for these members, if the policy has one.
    pub(crate) fn new(options: &BalanceOptions, members: &[Named<'_>]) -> Option<Self> {
        if members.is_empty() {
            return None;
        }
        match options.policy {
            Policy::RingHash => Some(Self::Ring(Ring::new(members, options.bounded_load))),
            Policy::Maglev => Some(Self::Maglev(Table::new(members, options.maglev_table))),
            Policy::Random
            | Policy::RoundRobin
            | Policy::WeightedRoundRobin
            | Policy::WeightedRandom
            | Policy::LeastRequests
            | Policy::PowerOfTwo
            | Policy::LeastResponseTime
            | Policy::Prequal => None,
        }
    }
}
