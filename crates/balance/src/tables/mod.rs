//! What a policy precomputes over all members of a group, including those that are out of service: a server that leaves
//! for a while moves only its own keys, and gets the same keys back.

mod alias;
mod schedule;
mod ring;
mod maglev;
mod hashed;

pub(crate) use alias::AliasTable;
pub(crate) use hashed::HashTable;
pub(crate) use maglev::MaglevTable;
pub use maglev::next_prime;
pub(crate) use ring::Ring;
pub(crate) use schedule::Schedule;

/// A member as a hash policy sees it: its place, what tells it from others, its weight.
pub(crate) type TableMember<'a> = (u32, &'a str, u32);
