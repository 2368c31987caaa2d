#![doc = include_str!("../README.md")]

pub mod policy;
pub mod server;
mod reported;
mod member;
mod key;
mod tables;
mod group;
pub mod pool;
mod member_bits;
mod eligible;
mod intended;
mod typical;
mod candidates;
mod policies;
pub mod picker;
mod answer;
mod load;

pub use key::key;
pub use load::{AttemptTotals, WeightUpdater};
pub use member::Member;
pub use picker::{NoPick, Pick, PickReason, Picker};
pub use policy::{BalanceOptions, Policy, Subset};
pub use pool::{FAILED_OVER_SHARE, Pool};
pub use reported::ProbedLoad;
pub use server::{Availability, ServerState};
pub use tables::next_prime;
