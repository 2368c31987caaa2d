//! What a policy computes once for all picks, over all members of a group, also those that are out of service: then a server
//! that goes away for a while moves only what is its own, and gets the same back.

mod alias;
mod schedule;
mod ring;
mod maglev;
mod hashed;

pub(crate) use alias::Alias;
pub(crate) use hashed::Hashed;
pub(crate) use maglev::Table;
pub use maglev::next_prime;
pub(crate) use ring::Ring;
pub(crate) use schedule::Schedule;

/// A member as a hash policy sees it: its place, what tells it from others, its weight.
pub(crate) type Named<'a> = (u32, &'a str, u32);
