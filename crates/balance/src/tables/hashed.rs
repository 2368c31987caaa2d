//! The lookup table of a hashing policy, of either kind.

use super::TableMember;
use super::maglev::MaglevTable;
use super::ring::Ring;
use crate::{BalanceOptions, Policy};

/// The table of a policy that hashes.
#[derive(Debug)]
pub(crate) enum HashTable {
    Ring(Ring),
    Maglev(MaglevTable),
}

impl HashTable {
    /// The table for these members, if the policy has one.
    pub(crate) fn new(options: &BalanceOptions, members: &[TableMember<'_>]) -> Option<Self> {
        if members.is_empty() {
            return None;
        }
        match options.policy {
            Policy::RingHash => Some(Self::Ring(Ring::new(members, options.bounded_load))),
            Policy::Maglev => Some(Self::Maglev(MaglevTable::new(
                members,
                options.maglev_table,
            ))),
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
